//! When a pool's gathered turns are published: at once after quiet, and in a storm of them only so
//! often that building costs a sixteenth of one core at the most. Pure: time is an argument.
use std::time::{Duration, Instant};

/// From one snapshot to the next at the least. A backend that went down is skipped by its bit
/// meanwhile; one that came up waits for so long.
const LEAST: Duration = Duration::from_millis(20);
/// Times the cost of the last build that must pass before the next.
const TIMES: u32 = 16;

#[derive(Debug, Default)]
pub(super) struct Cadence {
    /// Not before this.
    next: Option<Instant>,
}

impl Cadence {
    /// When the next one may be published, if that is not now.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|next| *next > now)
    }
    /// One was published now and took so long to build.
    pub(super) fn published(&mut self, now: Instant, cost: Duration) {
        self.next = Some(now + cost + LEAST.max(cost * TIMES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_goes_at_once_and_the_next_waits() {
        let now = Instant::now();
        let mut cadence = Cadence::default();
        assert_eq!(cadence.wait(now), None);
        cadence.published(now, MS);
        assert_eq!(cadence.wait(now + MS), Some(now + 21 * MS));
        assert_eq!(cadence.wait(now + 21 * MS), None);
        assert_eq!(cadence.wait(now + 3600 * 1000 * MS), None, "after quiet at once");
    }

    #[test]
    fn a_storm_of_turns_costs_a_sixteenth_of_a_core() {
        for cost in [MS / 10, MS, 5 * MS, 65 * MS] {
            let (start, mut cadence, mut built) =
                (Instant::now(), Cadence::default(), Duration::ZERO);
            // 10,000 turns in 10 s, each followed by an attempt to publish.
            for turn in 0..10_000 {
                let now = start + turn * MS;
                if cadence.wait(now).is_none() {
                    cadence.published(now, cost);
                    built += cost;
                }
            }
            // The first of them comes at once.
            let most = Duration::from_secs(10) / 16 + cost;
            assert!(built <= most, "{cost:?} each: {built:?}");
            assert!(built >= cost * 9);
        }
    }
}

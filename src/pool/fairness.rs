//! Which places of a backend that failed lately are handed out while everybody else is full. Who fails at
//! once always has a free one: given to whoever comes next, nearly all would fail there. Pure: time and
//! counts are arguments.
//!
//! Within a second such a backend gets one place, and as many as each of those beside it that work well
//! gets, less the share of its own that failed. So who fails each time is tried once a second, and who
//! fails a few times loses next to nothing.
use std::time::{Duration, Instant};

/// Counted anew after so long: less than the second in which it is looked whether somebody waits.
const WHILE: Duration = Duration::from_millis(900);

/// What was counted until a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    /// Places it was given.
    pub(super) own: u64,
    /// Tries that failed there.
    pub(super) failed: u64,
    /// Places that those beside it were given, all together.
    pub(super) others: u64,
    /// Their weight, in shares of its own.
    pub(super) weight: f64,
}

/// What was counted when the current while began.
#[derive(Debug, Default)]
pub(super) struct Turns {
    since: Option<Instant>,
    then: Given,
}

impl Turns {
    /// Whether it may be given one more.
    pub(super) fn allows(&mut self, now: Instant, given: Given) -> bool {
        let is_over = |since| now.saturating_duration_since(since) >= WHILE;
        // With others beside it nothing can be compared.
        if self.since.is_none_or(is_over) || self.then.weight != given.weight {
            *self = Self { since: Some(now), then: given };
            return true;
        }
        let lately = |now: u64, then: u64| now.saturating_sub(then) as f64;
        let own = lately(given.own, self.then.own).max(1.0);
        let well = own - lately(given.failed, self.then.failed).min(own);
        own < lately(given.others, self.then.others) / given.weight * well / own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// How many of so many places it gets in ten seconds, where two others of the same weight get as
    /// many each; each try of it ends before the next, and this share of them fails.
    fn gets(share: f64, places: u64) -> u64 {
        let (mut turns, start) = (Turns::default(), Instant::now());
        let mut given = Given { weight: 2.0, ..Given::default() };
        for n in 0..places {
            given.others += 2;
            // It would take any number.
            for _ in 0..10 {
                let now = start + Duration::from_secs_f64(10.0 * n as f64 / places as f64);
                if turns.allows(now, given) {
                    given.own += 1;
                    given.failed = (given.own as f64 * share) as u64;
                }
            }
        }
        given.own
    }

    #[test]
    fn who_always_fails_is_tried_once_a_second_and_others_get_their_share() {
        assert!((10..=24).contains(&gets(1.0, 10_000)), "{}", gets(1.0, 10_000));
        let (half, few, none) = (gets(0.5, 10_000), gets(0.05, 10_000), gets(0.0, 10_000));
        assert!((4_500..=5_500).contains(&half), "{half}");
        assert!((9_300..=9_700).contains(&few), "{few}");
        assert!((9_900..=10_100).contains(&none), "{none}");
    }

    #[test]
    fn who_stands_beside_nobody_that_moves_is_tried_all_the_same() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let given = Given { own: 7, failed: 7, others: 9, weight: 1.0 };
        assert!(turns.allows(now, given));
        assert!(!turns.allows(now + WHILE - MS, Given { own: 8, failed: 8, ..given }));
        assert!(turns.allows(now + WHILE, Given { own: 8, failed: 8, ..given }));
        let less = Given { others: 1, weight: 0.5, ..given };
        assert!(turns.allows(now + WHILE + MS, less), "others stand beside it");
    }
}

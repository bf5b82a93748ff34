//! Slow start: the share of its weight that a backend has so long after it came. Pure.
use crate::config::{self, Curve};
use std::time::{Duration, Instant};

/// So often a share is counted anew while a window lasts.
const STEPS: u32 = 30;
/// And no sooner than this: each step is a set to be built.
const LEAST_STEP: Duration = Duration::from_millis(100);

/// A backend on its way to its whole weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ramp {
    since: Instant,
}

impl Ramp {
    /// It begins.
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now }
    }

    /// How long ago it began.
    pub(super) fn age(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// The share of the weight it has now: as Envoy's, `max(from, (t / window)^exponent)`; `None`
    /// once it has all of it.
    pub(crate) fn share(self, rules: &config::SlowStart, now: Instant) -> Option<f64> {
        let past = now.saturating_duration_since(self.since).as_secs_f64();
        let part = past / rules.window.as_secs_f64();
        let share = match rules.curve {
            Curve::Linear => part,
            Curve::Quadratic => part * part,
        };
        (part < 1.0).then(|| share.max(rules.from.get()))
    }
}

/// When shares are counted anew.
pub(crate) fn next_step(rules: &config::SlowStart, now: Instant) -> Instant {
    now + (rules.window / STEPS).max(LEAST_STEP)
}

/// What weights are multiplied by while somebody ramps, so that shares of a small one can be told
/// apart: as much as fits into the period of a schedule.
pub(crate) fn scale(sum: u64) -> u32 {
    (MOST_SUM / sum.max(1)).clamp(1, FINEST) as u32
}

/// Hundredths are fine enough.
const FINEST: u64 = 100;
/// 65,536 backends of the heaviest weight.
const MOST_SUM: u64 = 65_536_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Percent;

    #[test]
    fn shares_follow_the_curve_from_the_floor_to_the_whole() {
        let shares = |curve, from: f64| {
            let window = Duration::from_secs(100);
            let rules = config::SlowStart { window, from: Percent::new(from).unwrap(), curve };
            let now = Instant::now();
            let ramp = Ramp::new(now);
            let at = |s: u64| ramp.share(&rules, now + Duration::from_secs(s));
            assert_eq!(ramp.share(&rules, now - window), Some(from), "a clock that steps back");
            [0, 5, 50, 99, 100, 1000].map(|s| at(s).map(|share| (share * 1e4).round() / 1e4))
        };
        let linear = [Some(0.1), Some(0.1), Some(0.5), Some(0.99), None, None];
        assert_eq!(shares(Curve::Linear, 0.1), linear);
        let quadratic = [Some(0.01), Some(0.01), Some(0.25), Some(0.9801), None, None];
        assert_eq!(shares(Curve::Quadratic, 0.01), quadratic);
    }

    #[test]
    fn a_scale_keeps_the_sum_of_weights_within_a_schedule() {
        for sum in [0, 3, 655_360, 655_361, 10_000_000, MOST_SUM, 10 * MOST_SUM] {
            let scale = scale(sum);
            assert!((1..=100).contains(&scale) && u64::from(scale) * sum <= sum.max(MOST_SUM));
        }
        assert_eq!((scale(3), scale(MOST_SUM)), (100, 1));
    }
}

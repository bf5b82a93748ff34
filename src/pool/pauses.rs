//! How long a backend that has work goes without giving anybody a first byte, as a detector of failures by the time
//! between heartbeats learns it (Hayashibara et al., "The phi accrual failure detector", 2004): where quick pages
//! come all the time, one slow page among them makes no pause, and one that gives nothing is told from it by how
//! many wait, long before each of them has waited longer than a slow page takes.
use super::silence::Learnt;
use crate::config;
use std::time::Duration;

/// What is learnt of them, from many threads.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// From the first try since the last first byte to the next one.
    lasting: Learnt,
    /// Logarithms of what first bytes take, in microseconds: what most take, however slow a few are.
    typical: Learnt,
}

impl Pauses {
    /// A first byte ended such a pause, and took so long itself.
    pub(super) fn learn(&self, pause: Duration, took: Duration) {
        self.lasting.learn(pause);
        self.typical.learn(Duration::from_secs_f32((1.0 + took.as_secs_f32() * 1e6).ln()));
    }

    /// How long one is usual: `None` while too little is known. Who had nothing to do gives the first byte no
    /// sooner than most take.
    pub(super) fn most(&self, rules: &config::Silence) -> Option<Duration> {
        let typical = f64::from(self.typical.get().mean()).exp() * 1e-6 * rules.factor;
        let typical = Duration::try_from_secs_f64(typical).unwrap_or(Duration::MAX);
        self.lasting.get().most(rules).map(|most| most.max(typical))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RULES: config::Silence = config::Silence {
        wait: Duration::from_millis(100),
        factor: 4.0,
        hold: Duration::from_secs(1),
    };

    fn most(all: impl IntoIterator<Item = (Duration, Duration)>) -> Option<Duration> {
        let pauses = Pauses::default();
        all.into_iter().for_each(|(pause, took)| pauses.learn(pause, took));
        pauses.most(&RULES)
    }

    #[test]
    fn a_few_slow_pages_among_quick_ones_make_no_long_pause() {
        assert_eq!(most([(MS, MS); 15]), None, "too little is known");
        // Each is soon followed by a quick one.
        let pages = |n: u32| if n % 30 == 7 { (60 * MS, 3000 * MS) } else { (5 * MS, 5 * MS) };
        for n in 100..200 {
            let most = most((0..n).map(pages)).unwrap();
            assert!(most > 20 * MS && most < 200 * MS, "{n}: {most:?}");
        }
        // By the backend's own first bytes alone, one would have to wait for seconds.
        let usual = (0..128)
            .map(pages)
            .fold(super::super::silence::Usual::default(), |usual, (_, took)| usual.learn(took));
        assert!(usual.most(&RULES) > Some(2000 * MS));
    }

    #[test]
    fn who_is_slow_or_has_bursts_has_as_long_as_that_takes() {
        let polls = most((0..50).map(|n| (200 * (n % 5 + 1) * MS, 30_000 * MS))).unwrap();
        assert!(polls > 119_000 * MS, "all are slow: {polls:?}");
        // A hundred at once, each 100 ms: of those that are measured hardly one is the first.
        let burst = most((0..50).map(|_| (Duration::ZERO, 100 * MS))).unwrap();
        assert!(burst >= 399 * MS && burst < 402 * MS, "{burst:?}");
    }
}

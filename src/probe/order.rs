//! When a backend is probed: pure. What its state asks for ([`Order`]) and when the next probe is
//! due ([`Pace`]). Time and chance are arguments.
use crate::config::{Addr, Pool};
use crate::pool::{Backend, Reason, State};
use std::time::{Duration, Instant};

/// While nobody of a pool gets work, each is probed so often.
const OUT: Duration = Duration::from_millis(100);
/// Then the pool as a whole sends a probe so often at most: 2,500 a second are about a tenth of a
/// core. Pools of up to 250 backends are not slowed down by it.
const OUT_EACH: Duration = Duration::from_micros(400);
/// A backend that was not reached, in a pool without `health`, is dialled again after this, then
/// each time twice as late, up to `LAST_TRY`.
const FIRST_TRY: Duration = Duration::from_secs(1);
const LAST_TRY: Duration = Duration::from_secs(10);
/// Intervals are stretched or shrunk by up to this share, so that the probes of many proxies and
/// backends spread.
const JITTER: f64 = 0.1;

/// How a backend is to be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Not at all until something changes.
    Rest,
    /// So often, jittered; the first one at once.
    Every(Duration),
    /// So often, to the point: nobody of its pool gets work. The first one at once.
    Out(Duration),
    /// Only whether it can be reached again, more and more rarely.
    Reach,
}

impl Order {
    /// What a backend's state asks for. `out`: nobody of the pool gets work, each may be probed so
    /// often.
    pub(crate) fn of(
        config: &Pool,
        out: Option<Duration>,
        backend: &Backend,
        state: State,
        reason: Reason,
    ) -> Self {
        let unresolved =
            matches!(backend.addr(), Addr::Host(..)) && backend.resolved().addrs().is_empty();
        let wanted = !matches!(state, State::Drain | State::Maintenance);
        match (&config.health, out) {
            _ if unresolved => Self::Rest,
            (Some(health), Some(out)) if wanted => Self::Out(out.min(health.interval)),
            (Some(health), _) => Self::Every(health.interval),
            (None, out)
                if state == State::Down
                    && matches!(reason, Reason::Connect | Reason::OffLimits) =>
            {
                out.map_or(Self::Reach, Self::Out)
            }
            (None, _) => Self::Rest,
        }
    }
}

/// How often each of so many backends is probed while nobody gets work.
pub(crate) fn out_every(backends: usize) -> Duration {
    OUT.max(OUT_EACH * u32::try_from(backends).unwrap_or(u32::MAX))
}

/// One backend's rhythm.
#[derive(Debug)]
pub(crate) struct Pace {
    order: Order,
    /// Since when the order is of its kind.
    since: Instant,
    /// When the last probe began.
    last: Option<Instant>,
    /// How much the current interval is stretched.
    stretch: f64,
    /// How late the next try of [`Order::Reach`] is.
    again: Duration,
}

impl Pace {
    pub(crate) fn new(order: Order, now: Instant) -> Self {
        Self { order, since: now, last: None, stretch: 1.0, again: FIRST_TRY }
    }

    /// Takes an order. The phase stays: a shorter interval counts from the last probe.
    pub(crate) fn take(&mut self, order: Order, now: Instant) {
        if order == Order::Reach && self.order != Order::Reach {
            (self.since, self.again) = (now, FIRST_TRY);
        }
        self.order = order;
    }

    /// When the next probe is due; past for at once, `None` for never.
    pub(crate) fn due(&self) -> Option<Instant> {
        let after = |every: Duration| self.last.map_or(self.since, |last| last + every);
        match self.order {
            Order::Rest => None,
            Order::Every(every) => Some(after(every.mul_f64(self.stretch))),
            Order::Out(every) => Some(after(every)),
            Order::Reach => Some(self.last.map_or(self.since, |l| l.max(self.since)) + self.again),
        }
    }

    /// A probe begins. `chance` is anything from 0 to 1.
    pub(crate) fn began(&mut self, now: Instant, chance: f64) {
        self.last = Some(now);
        self.stretch = 1.0 - JITTER + 2.0 * JITTER * chance;
    }

    /// It ended.
    pub(crate) fn ended(&mut self, good: bool) {
        match self.order {
            _ if good => self.again = FIRST_TRY,
            Order::Reach => self.again = (self.again * 2).min(LAST_TRY),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The moments of the first probes, from the start, each failing at once.
    fn beats(
        pace: &mut Pace,
        start: Instant,
        count: usize,
        rng: &mut fastrand::Rng,
    ) -> Vec<Duration> {
        let mut at = Vec::new();
        for _ in 0..count {
            let due = pace.due().unwrap();
            at.push(due.saturating_duration_since(start));
            pace.began(due, rng.f64());
            pace.ended(false);
        }
        at
    }

    #[test]
    fn the_first_probe_is_at_once_and_intervals_stay_within_a_tenth() {
        let (start, mut rng) = (Instant::now(), fastrand::Rng::with_seed(7));
        let mut pace = Pace::new(Order::Every(SECOND), start);
        let at = beats(&mut pace, start, 1000, &mut rng);
        assert_eq!(at[0], Duration::ZERO);
        let gaps: Vec<f64> = at.windows(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect();
        assert!(gaps.iter().all(|g| (0.9..=1.1).contains(g)));
        assert!(gaps.iter().any(|g| *g < 0.92) && gaps.iter().any(|g| *g > 1.08), "no jitter");
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((0.99..1.01).contains(&mean), "{mean}");
    }

    #[test]
    fn a_shorter_interval_counts_from_the_last_probe() {
        let start = Instant::now();
        let mut pace = Pace::new(Order::Every(100 * SECOND), start);
        pace.began(start, 0.5);
        assert_eq!(pace.due(), Some(start + 100 * SECOND));
        pace.take(Order::Every(SECOND), start + SECOND / 2);
        assert_eq!(pace.due(), Some(start + SECOND));
        pace.take(Order::Rest, start);
        assert_eq!(pace.due(), None);
        pace.take(Order::Out(OUT), start);
        assert_eq!(pace.due(), Some(start + OUT));
    }

    #[test]
    fn what_was_not_reached_is_tried_after_a_second_and_then_ever_more_rarely() {
        let (start, mut rng) = (Instant::now(), fastrand::Rng::with_seed(7));
        let mut pace = Pace::new(Order::Rest, start);
        pace.take(Order::Reach, start);
        let at: Vec<u64> =
            beats(&mut pace, start, 6, &mut rng).iter().map(Duration::as_secs).collect();
        assert_eq!(at, [1, 3, 7, 15, 25, 35]);
        // It came back, and went again: from the beginning.
        pace.ended(true);
        pace.take(Order::Rest, start);
        let later = start + 100 * SECOND;
        pace.take(Order::Reach, later);
        assert_eq!(pace.due(), Some(later + SECOND));
    }

    #[test]
    fn a_pool_that_is_out_is_probed_ten_times_a_second_and_never_in_a_storm() {
        for (backends, every) in [(0, 100), (3, 100), (250, 100), (1_000, 400), (10_000, 4_000)] {
            assert_eq!(out_every(backends), Duration::from_millis(every), "{backends}");
        }
    }
}

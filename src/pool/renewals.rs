//! How many connections a backend may cost because those that are kept are not trusted: a token bucket
//! (GCRA, ITU-T I.371) in one word that all workers share. Time is an argument.
//!
//! A connection that the proxy closes keeps its port for a minute (TIME_WAIT, RFC 9293 3.6.1), and there are
//! some 28,000 ports to one address, of which Linux finds half quickly.
use crate::config::Rate;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// So many come at once at the most: as in ten seconds at the usual rate.
const BURST: u32 = 1000;

/// When the bucket is full again, in nanoseconds of the backend's life.
#[derive(Debug, Default)]
pub(super) struct Renewals(AtomicU64);

impl Renewals {
    /// Takes a token at this age; whether there was one.
    pub(super) fn take(&self, rate: Rate, age: Duration) -> bool {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (interval, now) = (nanos(rate.interval()), nanos(age));
        let depth = interval.saturating_mul(u64::from(BURST));
        let after = |full: u64| {
            let after = full.max(now).saturating_add(interval);
            (after - now <= depth).then_some(after)
        };
        self.0.fetch_update(Relaxed, Relaxed, after).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_at_once_and_then_as_the_rate_says() {
        let (renewals, begun) = (Renewals::default(), Duration::from_secs(1));
        let rate = Rate::every(Duration::from_millis(10)).unwrap();
        let taken = |age, times| (0..times).filter(|_| renewals.take(rate, age)).count();
        assert_eq!(taken(begun, 5000), 1000);
        assert_eq!(taken(begun + Duration::from_millis(9), 1), 0);
        assert_eq!(taken(begun + Duration::from_secs(1), 5000), 100);
        assert_eq!(taken(begun + Duration::from_secs(60), 5000), 1000, "and no more");
    }
}

//! What a backend may cost because of connections that are kept and not used: a token bucket (GCRA, ITU-T I.371) in
//! one word that all workers share. Time is an argument.
//!
//! A new connection for want of trust in those that are kept is work for both sides, and costs a token. One that the
//! proxy closes in order keeps its port for a minute (TIME_WAIT, RFC 9293 3.6.1), and there are some 28,000 ports to one
//! address, of which Linux finds half quickly: it costs [`IN_ORDER`].
use crate::config::Rate;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// So many come at once at the most: as in ten seconds at the usual rate.
const BURST: u32 = 10_000;
/// What a connection costs that is closed in order.
const IN_ORDER: u32 = 10;

/// When the bucket is full again, in nanoseconds of the backend's life.
#[derive(Debug, Default)]
pub(super) struct Renewals(AtomicU64);

impl Renewals {
    /// Pays for a new connection at this age; whether there was a token for it.
    pub(super) fn take(&self, rate: Rate, age: Duration) -> bool {
        self.pay(rate, age, 1, BURST)
    }

    /// Pays for a connection that is closed in order, and need not be; whether there was enough. Half of
    /// the bucket stays for what is needed.
    pub(super) fn spare(&self, rate: Rate, age: Duration) -> bool {
        self.pay(rate, age, IN_ORDER, BURST / 2)
    }

    /// The same of one that has to be, on credit if need be.
    pub(super) fn charge(&self, rate: Rate, age: Duration) {
        self.pay(rate, age, IN_ORDER, 2 * BURST);
    }

    /// Pays if no more than `most` are owed then.
    fn pay(&self, rate: Rate, age: Duration, cost: u32, most: u32) -> bool {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (interval, now) = (nanos(rate.interval()), nanos(age));
        let of = |tokens: u32| interval.saturating_mul(u64::from(tokens));
        let after = |full: u64| {
            let after = full.max(now).saturating_add(of(cost));
            (after - now <= of(most)).then_some(after)
        };
        self.0.fetch_update(Relaxed, Relaxed, after).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    fn times(mut what: impl FnMut() -> bool) -> usize {
        (0..50_000).filter(|_| what()).count()
    }

    #[test]
    fn there_are_so_many_at_once_and_then_as_the_rate_says() {
        let (renewals, rate) = (Renewals::default(), Rate::every(MS).unwrap());
        let taken = |age| times(|| renewals.take(rate, age));
        assert_eq!(taken(BEGUN), 10_000);
        assert_eq!(taken(BEGUN + MS - Duration::from_nanos(1)), 0);
        assert_eq!(taken(2 * BEGUN), 1000);
        assert_eq!(taken(60 * BEGUN), 10_000, "and no more");
    }

    #[test]
    fn what_is_closed_in_order_costs_ten_and_what_need_not_be_leaves_half() {
        let (renewals, rate) = (Renewals::default(), Rate::every(MS).unwrap());
        assert_eq!(times(|| renewals.spare(rate, BEGUN)), 500);
        assert_eq!(times(|| renewals.take(rate, BEGUN)), 5000);
        assert_eq!(times(|| renewals.spare(rate, BEGUN + 4999 * MS)), 0);
        (0..50_000).for_each(|_| renewals.charge(rate, BEGUN));
        assert_eq!(times(|| renewals.take(rate, 11 * BEGUN)), 0, "what is owed comes first");
        assert_eq!(times(|| renewals.take(rate, 12 * BEGUN)), 1000);
    }
}

//! The keys of a rate limit that are remembered: as many as it says, whoever invents how many.
//!
//! Sixteen bytes a key, all taken when the limit is made. A key has its place in one set of sixteen;
//! where its set is full, it takes the place of the one that is nearest to a full bucket: of those
//! that came once, as invented keys do, the oldest. Who has spent more than others is forgotten last,
//! so that no flood of keys is a way around a limit.
//!
//! No lock: each place is two words. In a flood of keys two threads may for a moment count one key twice.
use super::rate_limit::Bucket;
use crate::metrics::Counter;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::Instant;

/// Places that are looked at for a key: four cache lines.
const WAYS: usize = 16;
/// So often a place is tried to be had while others take it.
const TRIES: usize = 4;

/// Remembered keys.
#[derive(Debug)]
pub(super) struct Keys {
    places: Box<[Place]>,
    /// Keyed by this process alone (SipHash): nobody can choose keys that share a place.
    hasher: RandomState,
    /// What times are counted from.
    begun: Instant,
    /// Keys that were forgotten before their bucket was full again.
    pub(super) evicted: Counter,
}

#[derive(Debug, Default)]
struct Place {
    /// The hash of its key; 0 for none.
    who: AtomicU64,
    /// When the bucket is full again.
    due: AtomicU64,
}

impl Keys {
    /// Room for so many; at least one.
    pub(super) fn new(most: u32) -> Self {
        Self::with(most, RandomState::new(), Instant::now())
    }

    fn with(most: u32, hasher: RandomState, begun: Instant) -> Self {
        let most = most.max(1) as usize;
        let whole = if most < WAYS { most } else { most / WAYS * WAYS };
        let places = (0..whole).map(|_| Place::default()).collect();
        Self { places, hasher, begun, evicted: Counter::new() }
    }

    /// The same keys in room for another number; if there is not room for all, the fullest buckets are
    /// forgotten.
    pub(super) fn resized(&self, most: u32) -> Self {
        let next = Self::with(most, self.hasher.clone(), self.begun);
        next.evicted.add(self.evicted.get());
        for place in &self.places {
            let (who, due) = (place.who.load(Relaxed), place.due.load(Relaxed));
            let set = next.set(who);
            let least = set.iter().min_by_key(|place| place.due.load(Relaxed));
            if let Some(least) = least.filter(|least| who > 0 && least.due.load(Relaxed) < due) {
                least.who.store(who, Relaxed);
                least.due.store(due, Relaxed);
            }
        }
        next
    }

    /// A moment as nanoseconds since these keys began.
    pub(super) fn since(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_nanos() as u64
    }

    fn set(&self, who: u64) -> &[Place] {
        let sets = (self.places.len() / WAYS).max(1);
        let at = ((u128::from(who) * sets as u128) >> 64) as usize * WAYS;
        &self.places[at..(at + WAYS).min(self.places.len())]
    }

    /// When a key's bucket is full again, with nothing taken.
    pub(super) fn due(&self, key: &[u8]) -> u64 {
        let who = self.hasher.hash_one(key).max(1);
        let place = self.set(who).iter().find(|place| place.who.load(Acquire) == who);
        place.map_or(0, |place| place.due.load(Acquire))
    }

    /// Takes a token of a key's bucket: when it is full again.
    ///
    /// # Errors
    ///
    /// There is none: when the bucket is full again, and how long until there is one.
    pub(super) fn take(&self, key: &[u8], bucket: Bucket, now: u64) -> Result<u64, (u64, u64)> {
        let who = self.hasher.hash_one(key).max(1);
        let set = self.set(who);
        for _ in 0..TRIES {
            if let Some(place) = set.iter().find(|place| place.who.load(Acquire) == who) {
                return place.take(bucket, now);
            }
            let Some(place) = set.iter().min_by_key(|place| place.due.load(Acquire)) else { break };
            let (other, due) = (place.who.load(Acquire), place.due.load(Acquire));
            if other == who || place.who.compare_exchange(other, who, AcqRel, Relaxed).is_err() {
                continue;
            }
            if due > now {
                self.evicted.inc();
            }
            // Where another was faster it has begun to count: on from there.
            let _ = place.due.compare_exchange(due, 0, AcqRel, Relaxed);
            // That may have been at another place, which counts then.
            let first = set.iter().find(|place| place.who.load(Acquire) == who).unwrap_or(place);
            if !std::ptr::eq(first, place) {
                let _ = place.who.compare_exchange(who, 0, AcqRel, Relaxed);
            }
            return first.take(bucket, now);
        }
        // Others take its places as fast as it does: it is new, and a new one has tokens.
        bucket.take(0, now).map_err(|wait| (0, wait))
    }
}

impl Place {
    fn take(&self, bucket: Bucket, now: u64) -> Result<u64, (u64, u64)> {
        let mut due = self.due.load(Acquire);
        loop {
            let after = bucket.take(due, now).map_err(|wait| (due, wait))?;
            match self.due.compare_exchange_weak(due, after, AcqRel, Acquire) {
                Ok(_) => return Ok(after),
                Err(seen) => due = seen,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Rate, RateKey, RateLimit};
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    fn bucket(burst: u32) -> Bucket {
        let rate = Rate::every(Duration::from_secs(1)).unwrap();
        Bucket::new(&RateLimit { key: RateKey::Route, rate, burst, keys: 1 })
    }

    fn known(keys: &Keys) -> usize {
        keys.places.iter().filter(|place| place.who.load(Relaxed) > 0).count()
    }

    #[test]
    fn a_key_costs_sixteen_bytes_and_there_are_never_more() {
        assert_eq!(size_of::<Place>(), 16);
        for (most, places) in [(0, 1), (1, 1), (15, 15), (16, 16), (1000, 992), (100_000, 100_000)]
        {
            let keys = Keys::new(most);
            assert_eq!(keys.places.len(), places);
            (0..20_000_u32).for_each(|n| {
                let _ = keys.take(&n.to_be_bytes(), bucket(2), SECOND);
            });
            let known = known(&keys) as u64;
            assert!(known <= places as u64);
            // None is forgotten that need not be: each found a place of its own, or took another's.
            assert_eq!(known + keys.evicted.get(), 20_000, "of {most}");
        }
    }

    #[test]
    fn half_of_the_places_are_enough_for_nearly_all() {
        let keys = Keys::new(100_000);
        (0..50_000_u32).for_each(|n| {
            let _ = keys.take(&n.to_be_bytes(), bucket(2), SECOND);
        });
        assert!(keys.evicted.get() < 500, "{}", keys.evicted.get());
    }

    #[test]
    fn a_flood_of_keys_is_no_way_around_a_limit() {
        let keys = Keys::new(1000);
        let (bucket, mut passed) = (bucket(5), 0);
        for n in 0..100_000_u32 {
            passed += u32::from(keys.take(b"greedy", bucket, SECOND).is_ok());
            let _ = keys.take(&n.to_be_bytes(), bucket, SECOND);
        }
        assert_eq!(passed, 5);
    }

    #[test]
    fn of_those_that_came_once_the_oldest_goes_first() {
        let keys = Keys::new(WAYS as u32);
        let bucket = bucket(1);
        for n in 0..=WAYS as u64 {
            assert!(keys.take(&[n as u8], bucket, n).is_ok());
        }
        let now = WAYS as u64;
        assert_eq!(keys.evicted.get(), 1);
        assert!((1..=WAYS as u8).all(|n| keys.take(&[n], bucket, now).is_err()));
        assert!(keys.take(&[0], bucket, now).is_ok(), "the first was forgotten");
    }

    #[test]
    fn who_need_not_be_remembered_is_no_eviction() {
        let keys = Keys::new(10);
        for n in 0..1000_u64 {
            assert!(keys.take(&n.to_be_bytes(), bucket(1), n * SECOND).is_ok());
        }
        assert_eq!(keys.evicted.get(), 0);
    }

    #[test]
    fn threads_together_get_no_more_than_one() {
        for _ in 0..200 {
            let (keys, bucket, start) = (Keys::new(100), bucket(50), std::sync::Barrier::new(4));
            let passed: usize = std::thread::scope(|s| {
                let one = || {
                    start.wait();
                    (0..40).filter(|_| keys.take(b"k", bucket, SECOND).is_ok()).count()
                };
                let all: Vec<_> = (0..4).map(|_| s.spawn(one)).collect();
                all.into_iter().map(|one| one.join().unwrap()).sum()
            });
            assert_eq!((passed, known(&keys)), (50, 1));
        }
    }
}

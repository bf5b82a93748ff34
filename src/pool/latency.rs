//! How long the answers of a pool take to begin, of late: quantiles, for those who hedge.
//!
//! Counted in buckets of four to each doubling, so that a quantile is at most a quarter too long;
//! what was learnt fades by half in half a minute. Relaxed cells: a request that hedges adds to one and
//! reads them all, nobody else touches them.
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Four to each doubling, from a microsecond to a minute.
const BUCKETS: usize = 100;
/// The longest that is told from longer ones, in microseconds.
const MOST: u64 = (1 << 26) - 1;
/// What one answer adds, so that a part of it can fade.
const UNIT: u64 = 1024;
/// With fewer answers than this, of late, nothing is known.
const LEAST: u64 = 20 * UNIT;
/// What was learnt is half of it after so long.
const HALF: Duration = Duration::from_secs(30);
/// So often it fades at the most.
const FADES: Duration = Duration::from_millis(500);

/// How long answers took.
#[derive(Debug)]
pub(crate) struct Latency {
    buckets: [AtomicU64; BUCKETS],
    faded: Mutex<Instant>,
}

impl Latency {
    /// Nothing is known.
    pub(crate) fn new(now: Instant) -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], faded: Mutex::new(now) }
    }

    /// Time is played from here on.
    #[cfg(test)]
    pub(crate) fn play(&self, now: Instant) {
        *self.faded.lock() = now;
    }

    /// An answer took so long to begin: one relaxed addition.
    pub(crate) fn learn(&self, took: Duration) {
        self.buckets[bucket(took)].fetch_add(UNIT, Relaxed);
    }

    /// How long this share of the answers takes at the most, 0.0 to 1.0; `None` where too little is
    /// known.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let counts: [u64; BUCKETS] = std::array::from_fn(|at| self.buckets[at].load(Relaxed));
        let all: u64 = counts.iter().sum();
        if all < LEAST {
            return None;
        }
        let (wanted, mut sum) = (share * all as f64, 0);
        let reached = |count: &u64| {
            sum += count;
            sum as f64 >= wanted
        };
        Some(edge(counts.iter().position(reached).unwrap_or(BUCKETS - 1)))
    }

    /// Forgets by and by. To be called now and then.
    pub(crate) fn fade(&self, now: Instant) {
        let passed = {
            let mut faded = self.faded.lock();
            let passed = now.saturating_duration_since(*faded);
            if passed < FADES {
                return;
            }
            *faded = now;
            passed
        };
        let kept = 0.5f64.powf(passed.as_secs_f64() / HALF.as_secs_f64());
        for cell in &self.buckets {
            let gone = cell.load(Relaxed) as f64 * (1.0 - kept);
            // Others only add.
            cell.fetch_sub(gone as u64, Relaxed);
        }
    }
}

fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(MOST).min(MOST);
    let log = us.checked_ilog2().unwrap_or(0);
    if log < 2 {
        return us as usize;
    }
    let quarter = us >> (log - 2) & 3;
    (log as usize - 1) * 4 + quarter as usize
}

/// Where a bucket ends.
fn edge(bucket: usize) -> Duration {
    let us = match bucket {
        0..4 => bucket as u64 + 1,
        _ => (bucket as u64 % 4 + 5) << (bucket / 4 - 1),
    };
    Duration::from_micros(us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn every_time_is_in_a_bucket_that_ends_at_most_a_quarter_later() {
        let mut last = 0;
        for us in (0..4000).chain((4000..MOST).step_by(9973)) {
            let at = bucket(Duration::from_micros(us));
            assert!(at == last || at == last + 1 || us > 4000 && at >= last, "{us}");
            last = at;
            let end = edge(at).as_micros() as u64;
            assert!(end > us && end <= us + us / 4 + 1, "{us} is in a bucket up to {end}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_known_once_there_are_some_answers() {
        let latency = Latency::new(Instant::now());
        (1..20).for_each(|n| latency.learn(n * MS));
        assert_eq!(latency.quantile(0.95), None);
        (20..=100).for_each(|n| latency.learn(n * MS));
        for (share, ms) in [(0.5, 50), (0.9, 90), (0.95, 95), (0.99, 99)] {
            let found = latency.quantile(share).unwrap();
            assert!(found >= ms * MS && found <= ms * MS * 5 / 4 + MS, "{share}: {found:?}");
        }
    }

    #[test]
    fn what_was_learnt_fades_and_what_is_new_counts() {
        let start = Instant::now();
        let latency = Latency::new(start);
        (0..1000).for_each(|_| latency.learn(MS));
        let later = |s| start + Duration::from_secs(s);
        (1..=300).for_each(|s| latency.fade(later(s)));
        assert_eq!(latency.quantile(0.5), None, "ten times half of it");
        (0..100).for_each(|_| latency.learn(80 * MS));
        assert!(latency.quantile(0.5).unwrap() >= 80 * MS);
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let start = Instant::now();
        let latency = Latency::new(start + HALF);
        (0..100).for_each(|_| latency.learn(MS));
        latency.fade(start);
        assert!(latency.quantile(0.5).is_some());
    }
}

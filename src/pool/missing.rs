//! Who answers 404 to what the others have: a backend that was deployed empty, or whose disk is gone. It is
//! as fast as one that fails, and never busy, so policies that look at load would send it everything.
//!
//! Whether a page is missing or its backend is wrong nobody can tell of one answer. So now and then a
//! backend's share of 404s is held against that of the others: where it stands out, each weighs as a
//! failure does, for policies alone. Nobody is ejected by it. Pure: counts are arguments.
use parking_lot::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// From one look to the next.
const OF: u32 = 16;
/// It stands out where at least so much of what it is asked for is missing,
const MOST: f64 = 0.5;
/// and so many times as much as at the others.
const TIMES: f64 = 4.0;
/// The others must have answered so often since the last look: where they are slow that takes its time, and
/// he is fast.
const ANSWERS: u64 = 8;

/// Answers, and those of them that were 404.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) all: u64,
    pub(super) missing: u64,
}

impl Found {
    pub(super) fn and(self, other: Self) -> Self {
        Self { all: self.all + other.all, missing: self.missing + other.missing }
    }
    fn since(self, before: Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        Self { all: less(self.all, before.all), missing: less(self.missing, before.missing) }
    }
}

/// What is known of one backend. Touched by answers of 404 alone.
#[derive(Debug, Default)]
pub(super) struct Missing {
    count: AtomicU32,
    stands_out: AtomicBool,
    /// Who the others are, its own answers and theirs at the last look.
    seen: Mutex<(u64, Found, Found)>,
}

impl Missing {
    /// One more; whether it is time to look.
    pub(super) fn count(&self) -> bool {
        self.count.fetch_add(1, Relaxed).wrapping_add(1).is_multiple_of(OF)
    }
    /// So far.
    pub(super) fn so_far(&self) -> u64 {
        u64::from(self.count.load(Relaxed))
    }
    pub(super) fn stands_out(&self) -> bool {
        self.stands_out.load(Relaxed)
    }
    /// Looks again, at its own answers and those of others, whom `set` names: where they are not the same
    /// as before nothing is known.
    pub(super) fn look(&self, own: Found, (set, others): (u64, Found)) {
        let mut seen = self.seen.lock();
        if seen.0 == set && others.since(seen.2).all < ANSWERS {
            return;
        }
        let (before, own_before, others_before) = std::mem::replace(&mut *seen, (set, own, others));
        let (own, others) = (own.since(own_before), others.since(others_before));
        let theirs = (others.missing + 1) as f64 / (others.all + 2) as f64;
        let share = own.missing as f64 / own.all.max(1) as f64;
        let stands_out = before == set && share >= MOST && share >= TIMES * theirs;
        self.stands_out.store(stands_out, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it stands out after answers of its own and of the others.
    fn stands_out(own: (u64, u64), others: (u64, u64)) -> bool {
        let (missing, before) = (Missing::default(), Found { all: 900, missing: 30 });
        let after = |(all, gone)| before.and(Found { all, missing: gone });
        missing.look(before, (1, before));
        missing.look(after(own), (1, after(others)));
        missing.stands_out()
    }

    #[test]
    fn who_has_little_of_what_the_others_have_stands_out() {
        assert!(stands_out((16, 16), (60, 0)) && stands_out((20, 16), (60, 3)));
        assert!(!stands_out((16, 16), (48, 48)), "nobody has it");
        assert!(!stands_out((60, 16), (180, 0)), "some pages");
        assert!(!stands_out((16, 16), (7, 0)), "nobody else was asked");
        let missing = Missing::default();
        let (own, others) = (Found { all: 16, missing: 16 }, Found { all: 48, missing: 0 });
        missing.look(own, (1, others));
        assert!(!missing.stands_out(), "others than before");
        for n in 1..=8 {
            let own = Found { all: 16 + n * 16, missing: 16 + n * 16 };
            missing.look(own, (1, Found { all: 48 + n, missing: 0 }));
            assert_eq!(missing.stands_out(), n == 8, "they are slow, he is fast");
        }
        assert_eq!((0..48).filter(|_| missing.count()).count(), 3);
    }
}

//! What all candidates of a set have in work together, kept by being told whose count changed.
use crate::pool::backend::Candidate;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::atomic::{AtomicI64, AtomicU32};

/// A sum that mends itself: each candidate's part is what was last seen of it, and whoever changes
/// one tells afterwards. A take is told after it was counted, so under threads the sum is at most
/// late, and what follows from it too strict.
pub(super) struct Loads {
    seen: Box<[AtomicU32]>,
    total: Total,
}

/// On a cache line of its own: every worker moves it.
#[repr(align(128))]
struct Total(AtomicI64);

impl Loads {
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        let seen: Box<[AtomicU32]> =
            candidates.iter().map(|c| AtomicU32::new(c.backend.active())).collect();
        let total = seen.iter().map(|seen| i64::from(seen.load(Relaxed))).sum();
        Self { seen, total: Total(AtomicI64::new(total)) }
    }

    /// Looks at one candidate again.
    pub(super) fn look(&self, candidates: &[Candidate], index: usize) {
        let active = || candidates[index].backend.active();
        loop {
            let now = active();
            let before = self.seen[index].swap(now, AcqRel);
            self.total.0.fetch_add(i64::from(now) - i64::from(before), AcqRel);
            // Another thread may have counted meanwhile and been overwritten by what we read.
            if active() == now {
                return;
            }
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total.0.load(Relaxed).max(0) as u64
    }
}

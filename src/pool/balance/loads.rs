//! What all candidates of a set have in work together, kept by being told whose count changed.
use crate::pool::backend::Candidate;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicI64, AtomicU64};

/// A sum that mends itself: each candidate's part is what was last seen of it, and whoever changes
/// one tells afterwards. Under threads the sum may be too low for a moment, and what follows from it
/// too strict, but never too high: what goes is taken off before it is noted as seen, what comes is
/// put on after. And who notes raises a number, so that nobody notes what he read before that.
pub(super) struct Loads {
    /// A number (high half), and the count last seen (low half).
    seen: Box<[AtomicU64]>,
    total: Total,
}

/// On a cache line of its own: every worker moves it.
#[repr(align(128))]
struct Total(AtomicI64);

impl Loads {
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        let seen: Box<[AtomicU64]> =
            candidates.iter().map(|c| AtomicU64::new(u64::from(c.backend.active()))).collect();
        let total = seen.iter().map(|seen| seen.load(Relaxed) as i64).sum();
        Self { seen, total: Total(AtomicI64::new(total)) }
    }

    /// Looks at one candidate again.
    pub(super) fn look(&self, candidates: &[Candidate], index: usize) {
        let active = || candidates[index].backend.active();
        let seen = &self.seen[index];
        loop {
            let before = seen.load(Acquire);
            let now = active();
            let more = i64::from(now) - i64::from(before as u32);
            self.total.0.fetch_add(more.min(0), AcqRel);
            let next = ((before >> 32).wrapping_add(1) << 32) | u64::from(now);
            if seen.compare_exchange(before, next, AcqRel, Relaxed).is_err() {
                self.total.0.fetch_sub(more.min(0), AcqRel);
                continue;
            }
            self.total.0.fetch_add(more.max(0), AcqRel);
            // Another thread may have counted meanwhile.
            if active() == now {
                return;
            }
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total.0.load(Relaxed).max(0) as u64
    }
}

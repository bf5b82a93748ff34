//! What every pick looks at and every lease moves: one backend's live cells, on cache lines of
//! their own, apart from the `Arc`'s count.
use super::cells::Picks;
use super::doubt::Doubt;
use super::ewma::Ewma;
use super::recent::Recent;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};

/// What its silence makes of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quiet {
    /// Nothing.
    No,
    /// It is ejected for it.
    Silent,
    /// It was, and gets one try at a time until it answers one.
    Trial,
}

/// Live cells of a backend. Aligned to two cache lines, because processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Hot {
    /// Leases out. Written by every take and settle.
    active: AtomicU32,
    /// `max_active`; `u32::MAX` for none. Written by commits, and by settles where it is learnt.
    limit: AtomicU32,
    /// The most that may be in work while it is on trial; `u32::MAX` else.
    trial: AtomicU32,
    /// Whether new work may go there. Written by turns and by a request that could not reach it;
    /// relaxed, because a pick that reads it late only makes one try more.
    usable: AtomicBool,
    /// Generation of a set (high half) and the index in it (low half). Written when one is built.
    place: AtomicU64,
    /// Tries that failed one after the other. A success writes it only when it is not 0.
    streak: AtomicU32,
    /// Tries that failed, and those of them that were answered all the same: calls. All three are written
    /// only where the pool has `outlier`.
    faults: AtomicU32,
    failed_calls: AtomicU32,
    /// First bytes that came. Written only where the pool has `outlier.silence`.
    heard: AtomicU32,
    /// [`Quiet`], as a number.
    quiet: AtomicU8,
    /// Since when it was heard of in vain. Written only where the pool has `outlier.silence`.
    pub(super) doubt: Doubt,
    /// What failed lately.
    pub(super) recent: Recent,
    /// What first bytes cost.
    pub(super) ewma: Ewma,
    /// Every take counts here: on a line of their own they would be one more to fetch.
    pub(super) picks: Picks,
}

impl Hot {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            active: AtomicU32::new(0),
            limit: AtomicU32::new(limit),
            trial: AtomicU32::new(u32::MAX),
            usable: AtomicBool::new(true),
            place: AtomicU64::new(u64::MAX),
            streak: AtomicU32::new(0),
            faults: AtomicU32::new(0),
            failed_calls: AtomicU32::new(0),
            heard: AtomicU32::new(0),
            quiet: AtomicU8::new(Quiet::No as u8),
            doubt: Doubt::default(),
            recent: Recent::default(),
            ewma: Ewma::default(),
            picks: Picks::default(),
        }
    }
    pub(super) fn active(&self) -> u32 {
        self.active.load(Acquire)
    }
    pub(super) fn is_full(&self) -> bool {
        self.active.load(Relaxed) >= self.limit.load(Relaxed).min(self.trial.load(Relaxed))
    }
    /// Counts one more, unless that would exceed `max_active` or `ceiling`: compare-and-add, so
    /// that no number of threads exceeds it together.
    pub(super) fn take(&self, ceiling: u32) -> bool {
        let limit = self.limit.load(Relaxed).min(self.trial.load(Relaxed)).min(ceiling);
        if limit == u32::MAX {
            self.active.fetch_add(1, AcqRel);
            return true;
        }
        let below = |active: u32| (active < limit).then_some(active + 1);
        self.active.fetch_update(AcqRel, Acquire, below).is_ok()
    }
    /// Counts one less: before whoever frees a place looks whether somebody waits for it.
    pub(super) fn release(&self) {
        self.active.fetch_sub(1, SeqCst);
    }
    pub(super) fn set_active(&self, active: u32) {
        self.active.store(active, Relaxed);
    }
    pub(super) fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Relaxed)).filter(|limit| *limit != u32::MAX)
    }
    pub(super) fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Relaxed);
    }
    /// First bytes that came so far, modulo 2^32.
    pub(super) fn heard(&self) -> u32 {
        self.heard.load(Relaxed)
    }
    /// A first byte came.
    pub(super) fn hear(&self) {
        self.heard.fetch_add(1, Relaxed);
    }
    pub(super) fn quiet(&self) -> Quiet {
        match self.quiet.load(Relaxed) {
            0 => Quiet::No,
            1 => Quiet::Silent,
            _ => Quiet::Trial,
        }
    }
    /// On trial one more may be in work than there is now.
    pub(super) fn set_quiet(&self, quiet: Quiet) {
        let most = if quiet == Quiet::Trial { self.active().saturating_add(1) } else { u32::MAX };
        self.trial.store(most, Relaxed);
        self.doubt.end(self.heard());
        self.quiet.store(quiet as u8, Relaxed);
    }
    /// A try failed; how many did so in a row.
    pub(super) fn failed(&self) -> u32 {
        self.faults.fetch_add(1, Relaxed);
        self.streak.fetch_add(1, Relaxed).wrapping_add(1)
    }
    /// A try failed that makes no row longer.
    pub(super) fn failed_apart(&self) {
        self.faults.fetch_add(1, Relaxed);
    }
    /// Nothing is held against it any more: one load where nothing was.
    pub(super) fn forgive(&self) {
        if self.streak.load(Relaxed) != 0 {
            self.streak.store(0, Relaxed);
        }
    }
    /// A call that was answered failed.
    pub(super) fn call_failed(&self) {
        self.failed_calls.fetch_add(1, Relaxed);
    }
    /// Calls that were answered and failed so far.
    pub(super) fn failed_calls(&self) -> u64 {
        u64::from(self.failed_calls.load(Relaxed))
    }
    /// Tries that failed so far.
    pub(super) fn faults(&self) -> u64 {
        u64::from(self.faults.load(Relaxed))
    }
    pub(super) fn is_usable(&self) -> bool {
        self.usable.load(Relaxed)
    }
    pub(super) fn set_usable(&self, usable: bool) {
        self.usable.store(usable, Relaxed);
    }
    /// Its index in the set of this generation, if it is in it.
    pub(super) fn place(&self, generation: u32) -> Option<usize> {
        let place = self.place.load(Relaxed);
        ((place >> 32) as u32 == generation).then_some(place as u32 as usize)
    }
    pub(super) fn set_place(&self, generation: u32, index: usize) {
        self.place.store(u64::from(generation) << 32 | index as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_cells_share_no_line_with_anything_else() {
        assert_eq!(align_of::<Hot>(), 128);
        assert_eq!(size_of::<Hot>(), 128, "and all that a pick needs is fetched at once");
    }

    #[test]
    fn take_stops_at_the_lower_of_both_limits() {
        let hot = Hot::new(2);
        assert!(hot.take(1));
        assert!(!hot.take(1), "the ceiling holds");
        assert!(hot.take(9));
        assert!(!hot.take(9), "max_active holds");
        assert!(hot.is_full());
        hot.release();
        assert_eq!(hot.active(), 1);
        hot.set_limit(u32::MAX);
        assert!(hot.take(u32::MAX) && hot.take(u32::MAX));
        assert_eq!(hot.active(), 3);
    }

    #[test]
    fn a_place_counts_for_its_generation_only() {
        let hot = Hot::new(1);
        assert_eq!(hot.place(0), None);
        hot.set_place(7, 3);
        assert_eq!((hot.place(7), hot.place(8)), (Some(3), None));
    }
}

//! Recent failures of one backend as load: each counts as one more in work, and fades by half each
//! second. Who fails at once is always idle, and whoever counts only what is in work sends it
//! everything; weighed so, it gets a few tries a second, whatever the rate.
//!
//! Time comes in as ticks. Value and time stand in one word.
use super::ewma::TICKS_A_SECOND;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// One in work.
pub(super) const ONE: u32 = 16;
/// No more than so many: what failed for an hour can come back in a quarter of a minute.
const MOST: u32 = 4096 * ONE;

/// High half: the load; low half: when it was that. 0: nothing failed yet.
#[derive(Debug, Default)]
pub(super) struct Recent(AtomicU64);

impl Recent {
    /// A try failed.
    pub(super) fn fail(&self, tick: u32) {
        let step = |word: u64| {
            let load = (fade(word, tick) + ONE).min(MOST);
            Some(u64::from(load) << 32 | u64::from(tick.max(word as u32)))
        };
        let _ = self.0.fetch_update(Relaxed, Relaxed, step);
    }
    /// Whether something failed at all: one load.
    #[inline]
    pub(super) fn is_any(&self) -> bool {
        self.0.load(Relaxed) != 0
    }
    /// What the failures weigh now, in parts of [`ONE`].
    pub(super) fn load(&self, tick: u32) -> u32 {
        let word = self.0.load(Relaxed);
        let load = fade(word, tick);
        if load == 0 && word != 0 {
            // It need not be asked again; a failure that comes in between is not lost.
            let _ = self.0.compare_exchange(word, 0, Relaxed, Relaxed);
        }
        load
    }
}

fn fade(word: u64, tick: u32) -> u32 {
    let seconds = tick.saturating_sub(word as u32) / TICKS_A_SECOND;
    ((word >> 32) as u32).checked_shr(seconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u32 = TICKS_A_SECOND;

    #[test]
    fn a_failure_weighs_as_one_in_work_and_fades_to_nothing() {
        let recent = Recent::default();
        assert!(!recent.is_any());
        recent.fail(5);
        recent.fail(5);
        let at = |second: u32| recent.load(5 + second * SECOND);
        assert_eq!([at(0), at(1), at(4)], [2 * ONE, ONE, ONE / 8]);
        assert_eq!((at(6), recent.is_any()), (0, false));
        recent.fail(1000);
        recent.fail(500);
        assert_eq!(recent.load(1000), 2 * ONE, "a clock that seems to go back");
        (0..10_000).for_each(|_| recent.fail(1000));
        assert_eq!(recent.load(1000), MOST);
        assert_eq!(recent.load(1000 + 17 * SECOND), 0);
    }
}

//! Doubt: what has work and gave nobody a first byte for longer than is usual gets little new work
//! while somebody else can take it, long before it is found silent. Pure: times are arguments.
//!
//! Doubt moves, cuts and ejects nothing, so it may come early: a page that is slow, or a pause to
//! collect garbage, costs a few picks that others get. One more try goes there each time the wait has
//! doubled: an answer to it ends the doubt, and where none comes there are votes enough.
use crate::config;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// It begins after this part of `silence.wait` at the least: what machines and garbage collectors
/// take now and then is below.
const PART: u32 = 4;
/// One more try goes there so often at the least, in milliseconds.
const SELDOM: u32 = 1000;
/// Bits of a time in milliseconds, which goes round after four hours.
const TIME: u32 = 24;
const TIMES: u32 = (1 << TIME) - 1;

/// How long it takes at the least, in milliseconds.
pub(super) fn least(rules: &config::Silence) -> u32 {
    u32::try_from((rules.wait / PART).as_millis()).unwrap_or(u32::MAX).max(1)
}

/// What a backend's tries wait for, in one word: its first bytes when the first of them began, modulo
/// 2^16, when that was, and when the last one was let through in doubt.
#[derive(Debug, Default)]
pub(super) struct Doubt(AtomicU64);

fn pack(heard: u32, since: u32, last: u32) -> u64 {
    u64::from(heard as u16) << (2 * TIME)
        | u64::from(since & TIMES) << TIME
        | u64::from(last & TIMES)
}

impl Doubt {
    /// A try begins now, when so many first bytes were heard; `alone`: there is no other.
    #[inline]
    pub(super) fn begin(&self, heard: u32, alone: bool, now: u32) {
        if alone || !self.is_waited_for(heard) {
            self.0.store(pack(heard, now, now), Relaxed);
        }
    }

    /// Nothing is held against who has given so many first bytes.
    pub(super) fn end(&self, heard: u32) {
        self.0.store(pack(heard.wrapping_sub(1), 0, 0), Relaxed);
    }

    /// Whether nothing was heard since a try began.
    #[inline]
    pub(super) fn is_waited_for(&self, heard: u32) -> bool {
        (self.0.load(Relaxed) >> (2 * TIME)) as u16 == heard as u16
    }

    /// How long that is.
    pub(super) fn lasts(&self, now: u32) -> u32 {
        now.wrapping_sub((self.0.load(Relaxed) >> TIME) as u32) & TIMES
    }

    /// Lets one through in doubt: each time it has lasted twice as long, and now and then.
    pub(super) fn lets(&self, now: u32) -> bool {
        let step = |word: u64| {
            let (since, last) = ((word >> TIME) as u32 & TIMES, word as u32 & TIMES);
            let (rest, before) = (now.wrapping_sub(last) & TIMES, last.wrapping_sub(since) & TIMES);
            let is_due = rest >= before.min(SELDOM);
            is_due.then_some((word & !u64::from(TIMES)) | u64::from(now & TIMES))
        };
        self.0.fetch_update(Relaxed, Relaxed, step).is_ok()
    }
}

/// Whether so long is longer than is usual.
pub(super) fn is_long(lasts: u32, usual: Option<Duration>) -> bool {
    usual.is_some_and(|usual| Duration::from_millis(u64::from(lasts)) > usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_from_the_first_try_since_the_last_first_byte() {
        let doubt = Doubt::default();
        doubt.begin(7, true, 100);
        assert!(doubt.is_waited_for(7) && !doubt.is_waited_for(8));
        doubt.begin(7, false, 120);
        assert_eq!(doubt.lasts(130), 30, "of the first one");
        doubt.begin(8, false, 140);
        assert_eq!(doubt.lasts(150), 10, "it spoke meanwhile");
        doubt.begin(8, true, 9_000);
        assert_eq!(doubt.lasts(9_001), 1, "the others ended without a word");
        doubt.begin(65_536 + 9, true, TIMES - 5);
        assert!(doubt.is_waited_for(9));
        assert_eq!(doubt.lasts(TIMES.wrapping_add(15)), 20, "time goes round");
    }

    #[test]
    fn one_more_is_let_through_each_time_it_has_doubled() {
        let doubt = Doubt::default();
        doubt.begin(7, true, 1_000);
        let let_through: Vec<u32> = (25..10_000).filter(|ms| doubt.lets(1_000 + ms)).collect();
        assert_eq!(let_through[..7], [25, 50, 100, 200, 400, 800, 1600]);
        assert_eq!(let_through[7..10], [2600, 3600, 4600], "who is waited for in vain is asked on");
        doubt.begin(8, false, 20_000);
        assert!(doubt.lets(20_025) && !doubt.lets(20_026));
        doubt.end(8);
        assert!(!doubt.is_waited_for(8));
    }
}

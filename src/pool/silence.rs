//! Silence: whether a backend's tries wait for a first byte much longer than is usual for it, while
//! others answer. Pure: time and counts are arguments.
//!
//! Three things must come together. A try waits longer than the backend's own usual allows, which is
//! learnt as TCP learns a round trip (RFC 6298: mean plus four times the mean deviation), so that
//! a wide spread of times, as long polls have it, makes for long patience. Several tries do so, and
//! the backend has given nobody a first byte since the first of them began: a slow page beside
//! others that come is no silence. And the others go on: they give first bytes while it is waited,
//! or have given some since and have nothing left to do. Where all stand still at once it is not
//! this one.
use crate::config;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// First bytes that must have been measured before a wait can be too long.
const KNOWN: u32 = 16;
/// Tries that must wait too long, each without a word of the backend since it began.
const VOTES: u32 = 3;
/// Of so many first bytes one is measured, once the usual is known.
pub(crate) const ONE_OF: u32 = 16;
/// The first so many are all measured.
pub(crate) const ALWAYS: u32 = 64;
/// The weights of a new time in mean and deviation (RFC 6298 2.3).
const ALPHA: f32 = 1.0 / 8.0;
/// As above.
const BETA: f32 = 1.0 / 4.0;

/// What first bytes of a backend usually take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usual {
    mean: f32,
    deviation: f32,
    known: u32,
}

impl Usual {
    /// After a first byte that took so long.
    #[must_use]
    pub(crate) fn learn(self, took: Duration) -> Self {
        let took = took.as_secs_f32();
        if self.known == 0 {
            return Self { mean: took, deviation: took / 2.0, known: 1 };
        }
        Self {
            deviation: self.deviation + BETA * ((took - self.mean).abs() - self.deviation),
            mean: self.mean + ALPHA * (took - self.mean),
            known: (self.known + 1).min(KNOWN),
        }
    }

    /// Whether enough was measured.
    pub(crate) fn is_known(self) -> bool {
        self.known >= KNOWN
    }

    /// How long a wait is not too long; `None` while too little is known.
    pub(crate) fn patience(self, rules: &config::Silence) -> Option<Duration> {
        let usual = f64::from(self.mean + 4.0 * self.deviation) * rules.factor;
        let usual = Duration::try_from_secs_f64(usual).unwrap_or(Duration::MAX);
        self.is_known().then(|| usual.max(rules.wait))
    }
}

/// The usual of a backend, learnt from many threads: the last of two that learn at once counts.
#[derive(Debug, Default)]
pub(super) struct Learnt(AtomicU64);

/// The value's bits below those that count how much is known.
const BITS: u32 = 29;

impl Learnt {
    pub(super) fn get(&self) -> Usual {
        let word = self.0.load(Relaxed);
        let value =
            |shift: u32| f32::from_bits((((word >> shift) as u32) & ((1 << BITS) - 1)) << 2);
        Usual { mean: value(6 + BITS), deviation: value(6), known: (word & 63) as u32 }
    }
    pub(super) fn learn(&self, took: Duration) {
        let usual = self.get().learn(took);
        // Times are below 2^32 s and never negative: the sign is 0, two bits of 23 are not missed.
        let bits = |value: f32| u64::from((value.max(0.0).to_bits() >> 2) & ((1 << BITS) - 1));
        let word = bits(usual.mean) << (6 + BITS) | bits(usual.deviation) << 6;
        self.0.store(word | u64::from(usual.known), Relaxed);
    }
}

/// The votes against one backend.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    /// The first bytes it had given when the first vote was cast.
    heard: u32,
    votes: u32,
}

/// What was heard when a first byte began to be waited for, modulo 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// First bytes of the backend.
    pub(crate) own: u32,
    /// Those of its whole pool.
    pub(crate) all: u32,
}

/// Whether the others of a pool answer while one does not. `then`: what was heard when the wait
/// began, `since`: of all some time later, `now`: of all now. `idle`: one of the others has nothing
/// to do.
pub(crate) fn others_answer(then: Heard, since: u32, now: u32, idle: bool) -> bool {
    now != since || (idle && now != then.all)
}

impl Watch {
    /// A try has waited too long: when it began the backend had given `then` first bytes, now it has
    /// given `heard`. `again`: it has voted already. Says whether there are votes enough; one is
    /// when it is on trial.
    pub(crate) fn vote(&mut self, then: u32, heard: u32, again: bool, trial: bool) -> bool {
        if then != heard {
            return false;
        }
        if self.heard != heard {
            *self = Self { heard, votes: 0 };
        }
        if !again {
            self.votes = self.votes.saturating_add(1);
        }
        self.votes >= if trial { 1 } else { VOTES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RULES: config::Silence = config::Silence {
        wait: Duration::from_millis(200),
        factor: 4.0,
        hold: Duration::from_secs(1),
    };

    fn learnt(times: impl IntoIterator<Item = Duration>) -> Option<Duration> {
        let learnt = Learnt::default();
        times.into_iter().for_each(|time| learnt.learn(time));
        learnt.get().patience(&RULES)
    }

    #[test]
    fn patience_follows_what_is_usual() {
        assert_eq!(learnt([MS; 15]), None, "too little is known");
        assert_eq!(learnt([MS; 16]), Some(200 * MS), "the least");
        let steady = learnt([100 * MS; 100]).unwrap();
        assert!(steady >= 399 * MS && steady < 450 * MS, "{steady:?}");
        // Answers of 1 ms among long polls of up to 30 s.
        let polls = (0..100).map(|i| if i % 4 == 0 { 300 * i * MS } else { MS });
        assert!(learnt(polls).unwrap() > 30_000 * MS);
        let mut once = vec![MS; 50];
        once.push(30_000 * MS);
        assert!(learnt(once.clone()).unwrap() > 30_000 * MS, "one is enough for a while");
        once.extend([MS; 60]);
        assert!(learnt(once).unwrap() < 1000 * MS);
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        for time in [Duration::ZERO, MS, 1234 * MS, Duration::from_secs(1 << 20)] {
            let learnt = Learnt::default();
            learnt.learn(time);
            let (got, want) = (learnt.get(), Usual::default().learn(time));
            assert!((got.mean - want.mean).abs() <= want.mean * 1e-6, "{got:?} {want:?}");
            assert!((got.deviation - want.deviation).abs() <= want.deviation * 1e-6);
            assert_eq!(got.known, 1);
        }
    }

    #[test]
    fn silence_takes_several_tries_no_word_and_others_that_answer() {
        let mut watch = Watch::default();
        let votes = [false; 4].map(|again| watch.vote(7, 7, again, false));
        assert_eq!(votes, [false, false, true, true]);
        let mut watch = Watch::default();
        let votes = [false, true, true, true].map(|again| watch.vote(7, 7, again, false));
        assert_eq!(votes, [false; 4], "a single one");
        let mut watch = Watch::default();
        for heard in 0..100 {
            assert!(!watch.vote(heard, heard, false, false), "it speaks between them");
        }
        assert!(!watch.vote(5, 99, false, true), "it spoke since this one began");
        assert!(watch.vote(99, 99, false, true), "on trial one is enough");
        let then = Heard { own: 7, all: 100 };
        assert!(others_answer(then, 150, 151, false), "they go on");
        assert!(others_answer(then, 150, 150, true), "they have nothing left to do");
        assert!(!others_answer(then, 150, 150, false), "they stand still");
        assert!(!others_answer(then, 100, 100, true), "they never had anything to do");
    }
}

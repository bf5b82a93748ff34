//! Silence: whether a backend's tries wait for a first byte much longer than is usual for it, while
//! others answer. Pure: time and counts are arguments.
//!
//! Four things must come together. A try waits longer than the backend's own usual allows, which is
//! learnt as TCP learns a round trip (RFC 6298: `factor` times the mean, plus four times the mean deviation), so that
//! a wide spread of times, as long polls have it, makes for long patience. Several tries do so, and
//! the backend has given nobody a first byte since the first of them began: a slow page beside
//! others that come is no silence. The others go on: they give first bytes while it is waited,
//! or have given some since and have nothing left to do. Where all stand still at once it is not
//! this one. And so many in a row are no chance: where tries wait as long elsewhere, too, those of
//! one backend may all be slow pages.
//!
//! Of a backend that has answered little since it is known, what it did say and what the others take
//! is all there is to go by: it has twice as long as they have. Where little is known of them all, it
//! has the longer, the less that is.
//!
//! How long the first slow pages take is learnt while they last ([`super::awaited`]), not when they end alone.
//!
//! A try that waits alone has nobody to vote with. What waits far too long is asked of somebody
//! else: where that one answers the same request at once, the first one is silent, and where it takes
//! as long, it was the request.
use crate::config;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// First bytes that must have been measured before a wait can be too long.
const KNOWN: u32 = 16;
/// One of which less is known is waited for so many times as long as the most patiently awaited of the others.
const NEW: u32 = 2;
/// Tries that must wait too long, each without a word of the backend since it began.
const VOTES: u32 = 3;
/// So rarely a backend that is well may have as many slow pages in a row.
const CHANCE: f64 = 1.0 / 200.0;
/// A wait is far too long after so many times what is too long,
const FAR: u32 = 4;
/// and after this at the least.
const FAR_LEAST: Duration = Duration::from_secs(1);
/// Of so many first bytes one is measured, once the usual is known.
pub(crate) const ONE_OF: u32 = 16;
/// The first so many are all measured.
pub(crate) const ALWAYS: u32 = 64;
/// The weights of a new time in mean and deviation (RFC 6298 2.3).
const ALPHA: f32 = 1.0 / 8.0;
/// As above.
const BETA: f32 = 1.0 / 4.0;

/// What a late one weighs of that: a quarter, and four times what it would among those of which one is measured.
const LATE: f32 = 0.25;

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
        self.weigh(took, 1.0)
    }

    /// After one that was measured because it was late: what is rare must be learnt when it comes, but counts
    /// for less than those that stand for many.
    #[must_use]
    pub(crate) fn learn_late(self, took: Duration) -> Self {
        self.weigh(took, LATE)
    }

    fn weigh(self, took: Duration, weight: f32) -> Self {
        let took = took.as_secs_f32();
        if self.known == 0 {
            return Self { mean: took, deviation: took / 2.0, known: 1 };
        }
        let off = (took - self.mean).abs() - self.deviation;
        Self {
            deviation: self.deviation + weight * BETA * off,
            mean: self.mean + weight * ALPHA * (took - self.mean),
            known: (self.known + 1).min(KNOWN),
        }
    }

    /// The mean, in seconds.
    pub(crate) fn mean(self) -> f32 {
        self.mean
    }

    /// Whether enough was measured.
    pub(crate) fn is_known(self) -> bool {
        self.known >= KNOWN
    }

    /// How long a wait is not too long; `None` while too little is known.
    pub(crate) fn patience(self, rules: &config::Silence) -> Option<Duration> {
        self.most(rules).map(|usual| usual.max(rules.wait))
    }

    /// As `patience`, where no wait is too short.
    pub(crate) fn most(self, rules: &config::Silence) -> Option<Duration> {
        self.is_known().then(|| self.guess(rules))
    }

    /// As `patience` of one of which too little is known, beside the others; `None` where they gave nothing.
    pub(crate) fn patience_of_new(
        self,
        others: Others,
        rules: &config::Silence,
    ) -> Option<Duration> {
        let most = others.longest.or_else(|| others.of_few(self.known, rules))?;
        Some(self.guess(rules).max(most.saturating_mul(NEW)))
    }

    fn guess(self, rules: &config::Silence) -> Duration {
        let usual = f64::from(self.mean) * rules.factor + 4.0 * f64::from(self.deviation);
        Duration::try_from_secs_f64(usual).unwrap_or(Duration::MAX)
    }

    /// Whether so long is beyond what most take: what was given up for another one's answer before is
    /// no sign.
    pub(crate) fn is_beyond(self, waited: Duration) -> bool {
        self.is_known() && waited.as_secs_f32() > self.mean + self.deviation
    }
}

/// What others usually take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Others {
    /// The longest patience with one of which enough is known.
    longest: Option<Duration>,
    /// And with any, by the little that is.
    guess: Duration,
    /// First bytes that were measured, of all.
    known: u32,
}

impl Others {
    /// With one more.
    #[must_use]
    pub(crate) fn and(self, usual: Usual, rules: &config::Silence) -> Self {
        Self {
            longest: self.longest.max(usual.patience(rules)),
            guess: self.guess.max(usual.guess(rules)),
            known: self.known.saturating_add(usual.known),
        }
    }

    /// Patience by too few first bytes of each, with so many of one's own: all of them together are enough,
    /// or it is as many times as long as they are too few.
    fn of_few(self, own: u32, rules: &config::Silence) -> Option<Duration> {
        let times = KNOWN.div_ceil(self.known.saturating_add(own).clamp(1, KNOWN));
        (self.known > 0).then(|| self.guess.max(rules.wait).saturating_mul(times))
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
        self.set(self.get().learn(took));
    }
    pub(super) fn learn_late(&self, took: Duration) {
        self.set(self.get().learn_late(took));
    }
    fn set(&self, usual: Usual) {
        // Times are below 2^32 s and never negative: the sign is 0, two bits of 23 are not missed.
        let bits = |value: f32| u64::from((value.max(0.0).to_bits() >> 2) & ((1 << BITS) - 1));
        let word = bits(usual.mean) << (6 + BITS) | bits(usual.deviation) << 6;
        self.0.store(word | u64::from(usual.known), Relaxed);
    }
}

/// When a wait is far too long.
pub(crate) fn far(patience: Duration) -> Duration {
    patience.saturating_mul(FAR).max(FAR_LEAST)
}

/// When those who are one or two, and wait far too long, wait as long as several would, but no longer than most
/// of the time that somebody may wait in the queue behind them.
pub(crate) fn lasting(far: Duration, in_queue: Duration) -> Duration {
    far.saturating_mul(VOTES).min(in_queue.mul_f64(0.75).max(far))
}

/// Whether another backend's answer to the same request after `took` says of one that gave none in
/// `waited` that it is silent: else it was the request.
pub(crate) fn is_contrast(waited: Duration, took: Duration) -> bool {
    took.saturating_mul(2) < waited
}

/// What was heard when a first byte began to be waited for, modulo 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// First bytes of the backend.
    pub(crate) own: u32,
    /// Those of its whole pool.
    pub(crate) all: u32,
    /// Tries of the pool that waited too long.
    pub(crate) late: u32,
}

/// Whether the others of a pool answer while one does not. `then`: what was heard when the wait
/// began, `since`: of all some time later, `now`: of all now. `idle`: one of the others has nothing
/// to do.
pub(crate) fn others_answer(then: Heard, since: u32, now: u32, idle: bool) -> bool {
    now != since || (idle && now != then.all)
}

/// A try that waited too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vote {
    /// What was heard when it began.
    pub(crate) then: Heard,
    pub(crate) begun: Instant,
    /// It has voted already.
    pub(crate) again: bool,
}

/// The votes against one backend: of tries that wait at the same time, or one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    votes: u32,
    /// The first of them that began.
    first: Option<(Heard, Instant)>,
    /// What was heard of all when the first one was cast, or it was last found silent.
    cast: u32,
    /// What it had given when it was found silent.
    silent: Option<u32>,
}

impl Watch {
    /// A try has waited too long; `now`: what is heard. Says whether it stands: not where the backend
    /// has given a first byte since it began.
    pub(crate) fn vote(&mut self, vote: Vote, now: Heard) -> bool {
        if vote.then.own != now.own {
            return false;
        }
        if self.standing(now.own) == 0 {
            let cast = if self.silent == Some(now.own) { self.cast } else { now.all };
            *self = Self { cast, ..Self::default() };
        }
        if self.first.is_none_or(|(_, begun)| vote.begun < begun) {
            self.first = Some((vote.then, vote.begun));
        }
        self.votes = self.votes.saturating_add(u32::from(!vote.again)).max(1);
        true
    }

    /// It was found silent: whoever votes later, on trial, is heard with what others answered since.
    pub(crate) fn found(&mut self, now: Heard) {
        *self = Self { cast: now.all, silent: Some(now.own), ..Self::default() };
    }

    /// Votes that stand while the backend has given so many first bytes.
    pub(crate) fn standing(&self, own: u32) -> u32 {
        self.first.filter(|(then, _)| then.own == own).map_or(0, |_| self.votes)
    }

    /// Whether as many stand as are never too few.
    pub(crate) fn are_several(&self, own: u32) -> bool {
        self.standing(own) >= VOTES
    }

    /// Whether others have answered since the first vote.
    pub(crate) fn others_answered(&self, now: u32) -> bool {
        now != self.cast
    }

    /// Whether these are enough; one is, on trial.
    ///
    /// Of the others' tries since then a share waited too long as well, or had more time been, would
    /// have (Laplace's rule of succession). Were the backend well, all of its own would wait by that
    /// chance each.
    pub(crate) fn is_enough(&self, now: Heard, trial: bool) -> bool {
        let Some((then, _)) = self.first else { return false };
        let late = f64::from(self.late_elsewhere(now));
        let heard = f64::from(now.all.wrapping_sub(then.all));
        let slow = (late + 1.0) / (late + heard + 2.0);
        let votes = self.votes.min(1000) as i32;
        trial || (self.votes >= VOTES && slow.powi(votes) <= CHANCE)
    }

    /// Since when the first of them waits.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.first.map(|(_, begun)| begun)
    }

    /// Whether tries that wait here wait by themselves: fewer than are enough, or nobody else's do.
    pub(crate) fn is_alone(&self, now: Heard) -> bool {
        self.votes < VOTES || self.late_elsewhere(now) == 0
    }

    /// Tries of others that waited too long since.
    fn late_elsewhere(&self, now: Heard) -> u32 {
        let late = self.first.map_or(0, |(then, _)| now.late.wrapping_sub(then.late));
        late.saturating_sub(self.votes)
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

    fn of(times: &[Duration]) -> Usual {
        times.iter().fold(Usual::default(), |usual, time| usual.learn(*time))
    }

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
        let late = of(&[MS; 50]).learn_late(30_000 * MS);
        let patience = late.patience(&RULES).unwrap();
        assert!(patience > 10_000 * MS && patience < 12_000 * MS, "{patience:?}");
    }

    #[test]
    fn one_that_is_new_is_held_to_what_the_others_take_and_to_what_it_said() {
        let others = Others::default().and(of(&[MS; 16]), &RULES).and(of(&[2000 * MS]), &RULES);
        let new = |times: &[Duration]| of(times).patience_of_new(others, &RULES);
        assert_eq!([new(&[]), new(&[MS; 3])], [Some(400 * MS); 2], "those that are known count");
        let slow = new(&[2000 * MS]);
        assert!(slow > Some(10_000 * MS), "it takes its time: {slow:?}");
    }

    #[test]
    fn where_all_are_new_patience_is_the_longer_the_less_is_known() {
        let of_few = |own: usize, others: &[(usize, Duration)]| {
            let and =
                |all: Others, (n, time): &(usize, Duration)| all.and(of(&vec![*time; *n]), &RULES);
            let others = others.iter().fold(Others::default(), and);
            let patience = of(&vec![5 * MS; own]).patience_of_new(others, &RULES);
            patience.map(|patience| (patience.as_secs_f32() * 1000.0).round() as u32)
        };
        assert_eq!(of_few(15, &[]), None, "it is alone");
        assert_eq!(of_few(0, &[(0, MS), (0, MS)]), None, "nobody said anything");
        // The least that is waited for; sixteen are enough.
        assert_eq!(of_few(0, &[(1, 5 * MS)]), Some(2 * 16 * 200));
        assert_eq!(of_few(4, &[(1, 5 * MS)]), Some(2 * 4 * 200));
        // Four times the mean and four deviations of half of it.
        assert_eq!(of_few(1, &[(1, 500 * MS)]), Some(2 * 8 * 3000));
        assert_eq!(of_few(4, &[(4, 5 * MS); 3]), Some(2 * 200), "together enough is known");
        let cold = of_few(0, &[(1, 5 * MS), (1, 1000 * MS)]);
        assert!(cold > Some(90_000), "one was slow at first: {cold:?}");
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

    fn heard(own: u32, all: u32, late: u32) -> Heard {
        Heard { own, all, late }
    }

    /// Votes of tries that began when the backend had given 7 first bytes, and all 100.
    fn votes(again: &[bool], now: Heard) -> Vec<bool> {
        let (mut watch, begun) = (Watch::default(), Instant::now());
        let vote = |again: &bool| {
            let then = heard(7, 100, 50);
            watch.vote(Vote { then, begun, again: *again }, now) && watch.is_enough(now, false)
        };
        again.iter().map(vote).collect()
    }

    #[test]
    fn silence_takes_several_tries_no_word_and_others_that_answer() {
        let now = heard(7, 150, 53);
        assert_eq!(votes(&[false; 4], now), [false, false, true, true]);
        assert_eq!(votes(&[false, true, true, true], now), [false; 4], "a single one");
        assert_eq!(votes(&[false; 4], heard(8, 150, 53)), [false; 4], "it spoke since they began");
        let (mut watch, begun) = (Watch::default(), Instant::now());
        for own in 0..100 {
            let then = heard(own, 100 + own, 50);
            assert!(watch.vote(Vote { then, begun, again: false }, heard(own, 150 + own, 51)));
            assert_eq!(watch.standing(own), 1, "it speaks between them");
            assert_eq!(watch.standing(own + 1), 0);
        }
        let then = heard(99, 160, 60);
        assert!(watch.vote(Vote { then, begun, again: false }, then));
        assert!(watch.is_enough(then, true), "on trial one is enough");
        let then = heard(7, 100, 50);
        assert!(others_answer(then, 150, 151, false), "they go on");
        assert!(others_answer(then, 150, 150, true), "they have nothing left to do");
        assert!(!others_answer(then, 150, 150, false), "they stand still");
        assert!(!others_answer(then, 100, 100, true), "they never had anything to do");
    }

    #[test]
    fn slow_pages_beside_a_few_quick_ones_are_no_silence() {
        // Half of 300 tries wait here, the others elsewhere, and a few were answered there.
        for (own, late, answers) in [(150, 300, 2), (150, 300, 3), (4, 8, 4), (3, 4, 4)] {
            let again = vec![false; own];
            let now = heard(7, 100 + answers, 50 + late);
            assert!(!votes(&again, now)[own - 1], "{own} of {late}, beside {answers}");
        }
        assert!(votes(&[false; 5], heard(7, 108, 55))[4], "nobody else's wait");
        assert!(votes(&[false; 30], heard(7, 200, 80))[29], "few of the others' do");
    }

    #[test]
    fn tries_one_after_the_other_vote_together() {
        let (mut watch, mut now, start) = (Watch::default(), heard(7, 100, 0), Instant::now());
        for n in 0..3 {
            let begun = start + Duration::from_secs(n);
            assert!(!watch.is_enough(now, false));
            assert!(watch.vote(Vote { then: now, begun, again: false }, now));
            assert_eq!(watch.others_answered(now.all), n > 0);
            // Others answer between them.
            (now.all, now.late) = (now.all + 3, now.late + 1);
        }
        assert!(watch.is_enough(now, false) && watch.since() == Some(start));
        let mut silent = watch;
        silent.found(now);
        assert_eq!((silent.standing(7), silent.is_enough(now, true)), (0, false));
        let begun = start + Duration::from_secs(9);
        assert!(silent.vote(Vote { then: now, begun, again: false }, now));
        assert!(!silent.others_answered(now.all) && silent.is_enough(now, true));
        assert!(silent.others_answered(now.all + 1) && silent.since() == Some(begun));
        assert!(watch.is_alone(now));
        now.late += 1;
        assert!(!watch.is_alone(now), "somebody else's try waits, too");
        now.own += 1;
        assert_eq!(watch.standing(now.own), 0);
    }

    #[test]
    fn what_waits_far_too_long_is_compared_with_who_answers_in_its_place() {
        assert_eq!([far(100 * MS), far(2000 * MS)], [1000 * MS, 8000 * MS]);
        let lasts = |queue: u32| lasting(1000 * MS, queue * MS);
        assert_eq!([5000, 2000, 1000].map(lasts), [3000, 1500, 1000].map(|ms| ms * MS));
        assert!(is_contrast(1000 * MS, 3 * MS) && !is_contrast(1000 * MS, 500 * MS));
        let usual = [MS; 16].into_iter().fold(Usual::default(), Usual::learn);
        assert!(usual.is_beyond(20 * MS) && !usual.is_beyond(MS));
        assert!(!Usual::default().is_beyond(20 * MS), "nothing is known");
    }
}

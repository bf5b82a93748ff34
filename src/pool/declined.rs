//! Who declines what the others do: a backend that was deployed empty (404), that lost its secret (401, 403)
//! or its sessions (302 to the login), a wrong build. It is as fast as one that fails, and never busy, so
//! policies that look at load would send it everything.
//!
//! Whether a request is wrong or its backend nobody can tell of one answer. So now and then a
//! backend's share of such answers is held against that of the others: where it stands out, and not by
//! chance (a test of two proportions), each weighs as a failure does, for policies alone. Nobody is ejected by it. While it answers at once the others may be at
//! their first answers: then what they said before counts, and who has nothing beside others who said nothing
//! yet stands out until they did.
//!
//! A client that is bound to a backend is not drawn to it: more of the same one count nothing, or
//! its missing page would keep everybody else away. Pure: counts are arguments.
use super::clients::Who;
use super::outlier::SURE;
use parking_lot::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// From one look to the next,
const OF: u32 = 16;
/// and while it stands out, for it is asked little then.
const OF_THOSE: u32 = 4;
/// After so many, of its own or of the others' answers, a window is left behind: two of them are looked at.
const WINDOW: u64 = 32;
/// It stands out where it declines at least so much of what it is asked for,
const MOST: f64 = 0.5;
/// the odds of it are so many times those of the others, and chance does not explain it.
const TIMES: f64 = 4.0;
/// So many answers of the others say what is usual there.
const ANSWERS: u64 = 8;
/// So many clients are known, each by its number's place.
const KNOWN: usize = 8;

/// Answers, and those of them that declined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) all: u64,
    pub(super) declined: u64,
}

impl Found {
    pub(super) fn and(self, other: Self) -> Self {
        Self { all: self.all + other.all, declined: self.declined + other.declined }
    }
    fn since(self, before: Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        Self { all: less(self.all, before.all), declined: less(self.declined, before.declined) }
    }
    fn share(self) -> f64 {
        self.declined as f64 / self.all.max(1) as f64
    }
    /// Whether its share is greater than that of others by more than chance explains: by so many standard
    /// deviations of the difference, were both shares the same.
    fn is_more_than(self, others: Self) -> bool {
        let (share, one) = (self.and(others).share(), |n: u64| 1.0 / n.max(1) as f64);
        let deviation = (share * (1.0 - share) * (one(self.all) + one(others.all))).sqrt();
        self.share() - others.share() > SURE * deviation && self.odds() >= TIMES * others.odds()
    }
    fn odds(self) -> f64 {
        (self.declined + 1) as f64 / (self.all.saturating_sub(self.declined) + 1) as f64
    }
}

/// What is known of one backend. Touched by such answers alone.
#[derive(Debug, Default)]
pub(super) struct Declined {
    count: AtomicU32,
    /// More of the same client.
    more: AtomicU32,
    known: [AtomicU32; KNOWN],
    stands_out: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Who the others are; 0 before the first look.
    set: u64,
    /// Its own answers and theirs when the last two windows of each began.
    own: [Found; 2],
    others: [Found; 2],
    /// What they said in theirs.
    lately: [Found; 2],
}

impl Declined {
    /// One more, for somebody: whether it is time to look; `None` where it says nothing new.
    pub(super) fn count(&self, who: Who) -> Option<bool> {
        if let Some(number) = who.number() {
            let known = &self.known[number as usize / 2 % KNOWN];
            if known.swap(number, Relaxed) == number {
                self.more.fetch_add(1, Relaxed);
                return None;
            }
        }
        let of = if self.stands_out() { OF_THOSE } else { OF };
        Some(self.count.fetch_add(1, Relaxed).wrapping_add(1).is_multiple_of(of))
    }
    /// Of all its answers those that count.
    pub(super) fn of(&self, all: u64) -> Found {
        let declined = self.count.load(Relaxed).into();
        Found { all: all.saturating_sub(self.more.load(Relaxed).into()), declined }
    }
    pub(super) fn stands_out(&self) -> bool {
        self.stands_out.load(Relaxed)
    }
    /// Looks again, at its own answers and those of others, whom `set` names.
    pub(super) fn look(&self, own: Found, (set, others): (u64, Found)) {
        let seen = &mut *self.seen.lock();
        if seen.set != 0 && seen.set != set {
            // What they answered from here on counts.
            *seen = Seen { set, own: [own; 2], others: [others; 2], ..*seen };
            return;
        }
        for (lately, began) in seen.lately.iter_mut().zip(seen.others) {
            let asked = others.since(began);
            if asked.all >= ANSWERS {
                *lately = asked;
            }
        }
        let is_more = |own: Found| {
            let beside = |said: &Found| said.all == 0 || own.is_more_than(*said);
            own.share() >= MOST && seen.lately.iter().all(beside)
        };
        let stands_out = seen.own.iter().any(|began| is_more(own.since(*began)));
        self.stands_out.store(stands_out, Relaxed);
        for (window, now) in [(&mut seen.own, own), (&mut seen.others, others)] {
            if now.since(window[1]).all >= WINDOW {
                *window = [window[1], now];
            }
        }
        seen.set = set;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(all: u64, declined: u64) -> Found {
        Found { all, declined }
    }

    /// Whether it stands out after answers of its own and of the others.
    fn stands_out(own: (u64, u64), others: (u64, u64)) -> bool {
        let (declined, before) = (Declined::default(), found(900, 30));
        let after = |(all, gone)| before.and(found(all, gone));
        declined.look(before, (2, before));
        declined.look(after(own), (2, after(others)));
        declined.stands_out()
    }

    #[test]
    fn who_has_little_of_what_the_others_have_stands_out() {
        assert!(stands_out((16, 16), (60, 0)) && stands_out((20, 16), (60, 3)));
        assert!(stands_out((60, 60), (180, 120)), "much is declined everywhere, and here all is");
        assert!(!stands_out((16, 16), (60, 40)), "by chance");
        assert!(!stands_out((16, 16), (48, 48)), "nobody has it");
        assert!(!stands_out((60, 16), (180, 0)), "some pages");
        assert!(!stands_out((26, 16), (60, 20)), "a third of them");
        assert!(stands_out((16, 16), (7, 7)), "what they said before");
    }

    #[test]
    fn who_has_nothing_stands_out_until_the_others_said_something() {
        let declined = Declined::default();
        let looks = |own: u64, others: Found| {
            declined.look(found(own, own), (2, others));
            declined.stands_out()
        };
        assert!(looks(16, found(0, 0)) && looks(32, found(7, 7)));
        assert!(!looks(48, found(8, 8)), "they have nothing either");
        assert!(!looks(64, found(9, 8)) && !looks(80, found(11, 8)));
        assert!(looks(96, found(16, 8)), "they have");
        declined.look(found(112, 112), (3, found(900, 900)));
        assert!(declined.stands_out(), "others than before said nothing yet");
        declined.look(found(128, 128), (3, found(950, 950)));
        assert!(!declined.stands_out());
    }

    /// Four backends of which each declines this share, wherever it is asked.
    #[test]
    fn equal_backends_hardly_ever_stand_out() {
        let mut rng = fastrand::Rng::with_seed(7);
        for share in [0.3, 0.4, 0.6, 0.9, 0.97, 1.0] {
            let (mut answers, mut out, mut for_long) = ([found(0, 0); 4], 0, 0);
            let backends: [Declined; 4] = Default::default();
            for n in 0..400_000 {
                answers[n % 4].all += 1;
                if rng.f64() < share {
                    answers[n % 4].declined += 1;
                    let one = &backends[n % 4];
                    if one.count(Who::anybody(7)) == Some(true) {
                        let all = answers.iter().fold(Found::default(), |sum, one| sum.and(*one));
                        one.look(answers[n % 4], (2, all.since(answers[n % 4])));
                    }
                    out += u32::from(one.stands_out());
                }
                let one = backends.iter().filter(|one| one.stands_out()).count();
                for_long = if one == 0 { 0 } else { for_long + 1 };
                assert!(for_long < 400, "{share}: for long");
            }
            println!("{share}: {out} of 400,000");
            assert!(out < 200, "{share}: {out} of 400,000");
        }
    }

    #[test]
    fn who_turns_empty_after_long_stands_out_soon() {
        let declined = Declined::default();
        let looks = |own: Found, others: Found| {
            declined.look(own, (2, others));
            declined.stands_out()
        };
        assert!(!looks(found(100_000, 16), found(300_000, 48)), "as ever");
        assert!(!looks(found(200_000, 32), found(600_000, 99)));
        assert!(looks(found(200_016, 48), found(600_003, 99)));
        // All do now.
        assert!(!looks(found(200_020, 52), found(600_030, 120)));
    }

    #[test]
    fn more_of_one_bound_client_says_nothing() {
        let declined = Declined::default();
        let declined = &declined;
        let said = |n: u64, who: fn(u64) -> Who| (0..n).filter_map(move |n| declined.count(who(n)));
        assert_eq!(said(100, |_| Who::bound(7)).count(), 1);
        assert_eq!(said(100, |n| Who::bound(n % 2 * 2)).count(), 2, "nor of two");
        assert_eq!(declined.of(250), found(250 - 197, 3));
        assert_eq!(said(45, |_| Who::anybody(7)).filter(|look| *look).count(), 3, "of newcomers");
    }
}

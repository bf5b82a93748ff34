//! Who declines what the others do: a backend that was deployed empty (404), that lost its secret (401, 403)
//! or its sessions (302 to the login), a wrong build. It is as fast as one that fails, and never busy, so
//! policies that look at load would send it everything.
//!
//! Whether a request is wrong or its backend nobody can tell of one answer. So now and then a
//! backend's share of such answers is held against that of the others: where it stands out, and not by
//! chance (a test of two proportions), each weighs as a failure does, for policies alone. Nobody is ejected by
//! it. Each of the others counts alike, by its last answers, however many it gave: of several that decline one
//! may have most of all requests, and those who do not may be at their first ones. Then what they said before
//! counts, and who has nothing beside others who said nothing yet stands out until they did.
//!
//! A client that is bound to a backend is not drawn to it, and none of its answers counts: missing pages of some
//! would keep everybody else away, and good ones hide that nobody else has any. Pure: counts are arguments.
use super::clients::Who;
use super::outlier::SURE;
use parking_lot::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

/// From one look to the next,
const OF: u32 = 16;
/// and while it stands out, for it is asked little then.
const OF_THOSE: u32 = 4;
/// After so many answers of a backend a window of it is left behind: two of them are looked at.
const WINDOW: u64 = 32;
/// What each of the others said counts for so many answers at the most.
const EACH: u64 = 2 * WINDOW;
/// It stands out where it declines at least so much of what it is asked for,
const MOST: f64 = 0.5;
/// the odds of it are so many times those of the others, and chance does not explain it.
const TIMES: f64 = 4.0;
/// Once it does, half of that keeps it so.
const STILL: f64 = SURE / 2.0;
/// So many answers of the others say what is usual there.
const ANSWERS: u64 = 8;

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
    /// The same share, of so many answers at the most.
    fn at_most(self, most: u64) -> Self {
        let all = self.all.min(most);
        let declined = (self.share() * all as f64).round() as u64;
        Self { all, declined }
    }
    fn share(self) -> f64 {
        self.declined as f64 / self.all.max(1) as f64
    }
    /// Whether its share is greater than that of others by more than chance explains: by so many standard
    /// deviations of the difference, were both shares the same.
    fn is_more_than(self, others: Self, sure: f64) -> bool {
        let (share, one) = (self.and(others).share(), |n: u64| 1.0 / n.max(1) as f64);
        let deviation = (share * (1.0 - share) * (one(self.all) + one(others.all))).sqrt();
        self.share() - others.share() > sure * deviation && self.odds() >= TIMES * others.odds()
    }
    fn odds(self) -> f64 {
        (self.declined + 1) as f64 / (self.all.saturating_sub(self.declined) + 1) as f64
    }
}

/// What others said in their last two windows, and how many of them said anything there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Others {
    said: [Found; 2],
    by: [u32; 2],
}

impl Others {
    pub(super) fn and(mut self, other: [Found; 2]) -> Self {
        for ((said, by), other) in self.said.iter_mut().zip(&mut self.by).zip(other) {
            *said = said.and(other);
            *by += u32::from(other.all > 0);
        }
        self
    }
    /// What they said, where it is enough to go by. Of a window that has only begun what two thirds of them
    /// said, or it would be what those say who are quick: else it says nothing.
    fn enough(self) -> [Option<Found>; 2] {
        let [first, last] = self.said.map(|said| Some(said).filter(|said| said.all >= ANSWERS));
        let are_most = 3 * self.by[1] >= 2 * self.by[0];
        [first, last.map(|said| if are_most { said } else { Found::default() })]
    }
}

/// What is known of one backend. Touched by such answers alone.
#[derive(Debug, Default)]
pub(super) struct Declined {
    count: AtomicU32,
    /// All answers to bound clients.
    bound: AtomicU64,
    stands_out: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Its answers when the last two windows began.
    began: [Found; 2],
    /// What the others said in theirs.
    lately: [Found; 2],
}

impl Seen {
    /// Its answers in both windows.
    fn pass(&mut self, now: Found) -> [Found; 2] {
        let since = self.began.map(|began| now.since(began));
        if since[1].all >= WINDOW {
            self.began = [self.began[1], now];
        }
        since
    }
}

impl Declined {
    /// One more, for somebody: whether it is time to look; `None` where it says nothing.
    pub(super) fn count(&self, who: Who) -> Option<bool> {
        if who.is_bound() {
            return None;
        }
        let of = if self.stands_out() { OF_THOSE } else { OF };
        Some(self.count.fetch_add(1, Relaxed).wrapping_add(1).is_multiple_of(of))
    }
    /// An answer, whichever, to somebody.
    #[inline]
    pub(super) fn answered(&self, who: Who) {
        if who.is_bound() {
            self.bound.fetch_add(1, Relaxed);
        }
    }
    /// Of all its answers those that count.
    pub(super) fn of(&self, all: u64) -> Found {
        let declined = self.count.load(Relaxed).into();
        Found { all: all.saturating_sub(self.bound.load(Relaxed)), declined }
    }
    pub(super) fn stands_out(&self) -> bool {
        self.stands_out.load(Relaxed)
    }
    /// What it said in its last two windows, as it counts for others.
    pub(super) fn lately(&self, now: Found) -> [Found; 2] {
        self.seen.lock().pass(now).map(|found| found.at_most(EACH))
    }
    /// Looks again, at its own answers and what others said in their windows.
    pub(super) fn look(&self, own: Found, others: Others) {
        let seen = &mut *self.seen.lock();
        for (lately, said) in seen.lately.iter_mut().zip(others.enough()) {
            *lately = said.unwrap_or(*lately);
        }
        let sure = if self.stands_out() { STILL } else { SURE };
        let lately = seen.lately;
        let is_more = |own: &Found| {
            let beside = |said: &Found| said.all == 0 || own.is_more_than(*said, sure);
            own.share() >= MOST && lately.iter().all(beside)
        };
        let stands_out = seen.pass(own).iter().any(is_more);
        self.stands_out.store(stands_out, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(all: u64, declined: u64) -> Found {
        Found { all, declined }
    }

    /// Backends, and what they answered so far.
    struct Pool(Vec<(Declined, Found)>);

    impl Pool {
        fn new(backends: usize) -> Self {
            Self((0..backends).map(|_| Default::default()).collect())
        }
        fn answers(&mut self, at: usize, all: u64, declined: u64) {
            self.0[at].1 = self.0[at].1.and(found(all, declined));
        }
        /// Looks at one.
        fn stands_out(&self, at: usize) -> bool {
            let others = self.0.iter().enumerate().filter(|(n, _)| *n != at);
            let others = others.map(|(_, (declined, all))| declined.lately(*all));
            let (declined, all) = &self.0[at];
            declined.look(*all, others.fold(Others::default(), Others::and));
            declined.stands_out()
        }
    }

    /// Whether the first of four stands out after answers of its own and of each other.
    fn stands_out(own: (u64, u64), others: (u64, u64)) -> bool {
        let mut pool = Pool::new(4);
        (0..4).for_each(|n| pool.answers(n, 300, 10));
        assert!(!pool.stands_out(0) && !pool.stands_out(0));
        (1..4).for_each(|n| pool.answers(n, others.0, others.1));
        pool.answers(0, own.0, own.1);
        pool.stands_out(0)
    }

    #[test]
    fn who_has_little_of_what_the_others_have_stands_out() {
        assert!(stands_out((16, 16), (20, 0)) && stands_out((20, 16), (20, 1)));
        assert!(stands_out((60, 60), (60, 40)), "much is declined everywhere, and here all is");
        assert!(!stands_out((16, 16), (20, 13)), "by chance");
        assert!(!stands_out((16, 16), (16, 16)), "nobody has it");
        assert!(!stands_out((60, 16), (60, 0)), "some pages");
        assert!(!stands_out((26, 16), (20, 7)), "a third of them");
        assert!(stands_out((16, 16), (2, 2)), "what they said before");
    }

    #[test]
    fn who_has_nothing_stands_out_until_the_others_said_something() {
        let mut pool = Pool::new(2);
        let mut looks = |all: u64, declined: u64| {
            pool.answers(0, 16, 16);
            pool.answers(1, all, declined);
            pool.stands_out(0)
        };
        assert!(looks(0, 0) && looks(7, 7));
        assert!(!looks(1, 1), "it has nothing either");
        assert!(!looks(1, 0) && !looks(1, 0));
        assert!(looks(24, 0), "it has");
    }

    #[test]
    fn who_declines_as_some_others_do_stands_out_from_the_rest_however_much_it_is_asked() {
        for (backends, bad) in [(3, 2), (5, 2), (5, 3), (5, 4)] {
            let mut pool = Pool::new(backends);
            (0..backends).for_each(|n| pool.answers(n, 100, 2));
            let mut out = vec![0; bad];
            // The others, who take their time, answer little meanwhile.
            for _ in 0..100 {
                (bad..backends).for_each(|n| pool.answers(n, 4, 0));
                for (n, out) in out.iter_mut().enumerate() {
                    pool.answers(n, 16, 16);
                    *out += u32::from(pool.stands_out(n));
                }
            }
            assert!(out.iter().all(|out| *out > 50), "{bad} of {backends}: {out:?}");
            assert!(!(bad..backends).any(|n| pool.stands_out(n)));
        }
    }

    /// Four backends of which each declines this share, wherever it is asked.
    #[test]
    fn equal_backends_hardly_ever_stand_out() {
        let mut rng = fastrand::Rng::with_seed(7);
        for share in [0.3, 0.4, 0.6, 0.9, 0.97, 1.0] {
            let (mut pool, mut out, mut for_long) = (Pool::new(4), 0, 0);
            for n in 0..400_000 {
                let declines = rng.f64() < share;
                pool.answers(n % 4, 1, declines.into());
                if declines && pool.0[n % 4].0.count(Who::anybody(7)) == Some(true) {
                    pool.stands_out(n % 4);
                }
                out += u32::from(pool.0[n % 4].0.stands_out());
                let one = pool.0.iter().any(|(one, _)| one.stands_out());
                for_long = if one { for_long + 1 } else { 0 };
                assert!(for_long < 400, "{share}: for long");
            }
            println!("{share}: {out} of 400,000");
            assert!(out < 200, "{share}: {out} of 400,000");
        }
    }

    #[test]
    fn who_turns_empty_after_long_stands_out_soon() {
        let mut pool = Pool::new(4);
        let mut looks = |own: (u64, u64), others: (u64, u64)| {
            pool.answers(0, own.0, own.1);
            (1..4).for_each(|n| pool.answers(n, others.0, others.1));
            pool.stands_out(0)
        };
        assert!(!looks((100_000, 16), (100_000, 16)), "as ever");
        assert!(!looks((100_000, 16), (100_000, 17)));
        assert!(looks((16, 16), (1, 0)));
        // All do now.
        assert!(!looks((4, 4), (10, 10)));
    }

    #[test]
    fn bound_clients_say_nothing() {
        let declined = Declined::default();
        let mut all = 0;
        let mut says = |n: u64, who: fn(u64) -> Who, declines: bool| {
            all += n;
            let looks = (0..n).filter_map(|n| {
                declined.answered(who(n));
                declines.then(|| declined.count(who(n))).flatten()
            });
            (looks.collect::<Vec<_>>(), declined.of(all))
        };
        assert_eq!(says(197, Who::bound, true), (vec![], found(0, 0)));
        assert_eq!(says(300, Who::bound, false), (vec![], found(0, 0)));
        assert_eq!(says(53, |_| Who::anybody(7), false), (vec![], found(53, 0)));
        let (looks, all) = says(48, |_| Who::anybody(7), true);
        assert_eq!((looks.iter().filter(|look| **look).count(), all), (3, found(101, 48)));
    }
}

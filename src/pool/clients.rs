//! Whose failures count. Who is bound to one backend, by a cookie or a hash, asks nobody else for his page:
//! what he meets there may be his page as well as his backend. What tells is how its other clients
//! fare. Pure: times and counts are arguments.
//!
//! A first failure of each counts. More of the same client say nothing new while a third of that backend's clients
//! fare well: then they are counted apart. Where fewer do they count; of one or two, who may be the only ones to
//! ask there, if most of what the bound ones asked for failed, and after a while of their own in which others would
//! be answered.
//!
//! A client fares well that was answered well the last time, or the time before: one broken page among many
//! is common. Not one that fails often, though some is answered between.
//!
//! Who is bound to nobody asks anybody: his failures count as they are, and are compared with those of his like
//! elsewhere. He is no client yet. Where nearly all of them are answered they speak for the backend, and never
//! against it: else who leaves his cookies away would be as many ill clients as he likes.
//!
//! How clients fare is noted by buckets, two bits each in one word: what is good costs one load
//! where it is nothing new.
use super::outlier::Tally;
use parking_lot::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// What is not said anew is forgotten after so long, at the latest after twice that.
const WHILE: Duration = Duration::from_secs(15);
/// More failures of a client count after so long, and so long one that fails often is taken to do so.
const PAUSE: Duration = Duration::from_secs(3);
/// A client fails often where one in so many of its failures came right after another one.
const OFTEN: u32 = 3;
/// So many clients speak for all, whatever share fails.
const SEVERAL: u32 = 3;
/// Who is bound to nobody speaks for a backend where so many of them are well for each that failed.
const MOST: u32 = 4;
/// So many clients that failed are known by themselves: with fewer cookies than that nobody is somebody new
/// each time.
const KNOWN: usize = 8;

/// The lower bit of each bucket: alone, the last one was a failure, and so was the one before.
const ILL: u64 = 0x5555_5555_5555_5555;
/// The upper bit: alone, the last one was a failure after an answer. With both it was an answer.
const WELL: u64 = ILL << 1;

/// A client by its number. An odd one comes back to its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Who(u32);

impl Who {
    /// One that is bound to a backend.
    pub(super) fn bound(number: u64) -> Self {
        Self((number >> 32) as u32 ^ number as u32 | 1)
    }
    /// One that may go anywhere, taken for another one each time.
    pub(super) fn anybody(seed: u64) -> Self {
        Self(seed as u32 & !1)
    }
    pub(super) fn is_bound(self) -> bool {
        self.0 & 1 == 1
    }
    /// Its page, and the bits of its bucket there: numbers need not be random.
    fn place(self) -> (usize, u64) {
        let bucket = 3 << (self.0.wrapping_mul(0x9e37_79b1) >> 27 << 1);
        (usize::from(!self.is_bound()), bucket)
    }
}

/// The clients of one backend.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// Two bits of each bucket, see `ILL`. Who is bound to it, and who may be bound to it from then on, and known
    /// by another number.
    pages: [AtomicU64; 2],
    /// Answers to those who are bound to nobody.
    free: AtomicU64,
    /// Made where somebody fails.
    book: Mutex<Option<Box<Book>>>,
}

/// Touched by failures alone.
#[derive(Debug, Default)]
struct Book {
    /// As `pages`, before they were turned.
    before: [u64; 2],
    /// When they were turned, and what was counted then; the same of the time before.
    turned: [Option<(Instant, Tally)>; 2],
    failed: [Option<Failed>; KNOWN],
    /// Failures that were counted apart.
    apart: u64,
    /// Failures of those who are bound to nobody.
    free: u64,
}

/// A client that failed.
#[derive(Clone, Copy, Debug)]
struct Failed {
    who: Who,
    first: Instant,
    last: Instant,
    /// Failures, and those of them that came right after another one.
    times: u32,
    again: u32,
}

impl Failed {
    fn is_often(&self, now: Instant) -> bool {
        let is_late = now.saturating_duration_since(self.last) < PAUSE;
        is_late && self.again.saturating_mul(OFTEN) >= self.times
    }
}

impl Clients {
    /// One was answered well.
    #[inline]
    pub(super) fn answered(&self, who: Who) {
        let (page, bucket) = who.place();
        if self.pages[page].load(Relaxed) & bucket != bucket {
            self.pages[page].fetch_or(bucket, Relaxed);
        }
        if !who.is_bound() {
            self.free.fetch_add(1, Relaxed);
        }
    }

    /// A try of one failed: whether it counts. `tally`: what became of all tries of the backend so far.
    pub(super) fn failed(&self, who: Who, tally: Tally, now: Instant) -> bool {
        let mut book = self.book.lock();
        let book = book.get_or_insert_default();
        let good = self.free.load(Relaxed);
        let tally = tally.since(Tally { good, bad: book.free });
        book.turn(&self.pages, tally, now);
        let again = self.note(who, &book.before);
        if !who.is_bound() {
            book.free += 1;
            return true;
        }
        let counts = !book.knows(who, again, now) || {
            let pages = self.pages.each_ref().map(|page| page.load(Relaxed));
            book.believes(who, pages, tally, now)
        };
        book.apart += u64::from(!counts);
        counts
    }

    /// Notes a failure: whether the one before was one, too.
    fn note(&self, who: Who, before: &[u64; 2]) -> bool {
        let (page, bucket) = who.place();
        let noted = self.pages[page].load(Relaxed) & bucket;
        let last = if noted == 0 { before[page] & bucket } else { noted };
        let fares = if last == bucket && who.is_bound() { WELL } else { ILL };
        self.pages[page].fetch_and(!bucket, Relaxed);
        self.pages[page].fetch_or(bucket & fares, Relaxed);
        last != 0 && last != bucket
    }

    /// What became of the tries of those who are bound to nobody, and the failures that were counted apart.
    pub(super) fn so_far(&self) -> (Tally, u64) {
        let (bad, apart) = self.book.lock().as_ref().map_or((0, 0), |book| (book.free, book.apart));
        (Tally { good: self.free.load(Relaxed), bad }, apart)
    }
}

impl Book {
    /// Turns the pages where it is time. Nobody did while nothing failed: who was bound to the backend then
    /// may be so still, others are somebody else by now.
    fn turn(&mut self, pages: &[AtomicU64; 2], tally: Tally, now: Instant) {
        let last = self.turned[1].map(|(at, _)| now.saturating_duration_since(at));
        if last.is_some_and(|last| last < WHILE) {
            return;
        }
        self.before = pages.each_ref().map(|page| page.swap(0, Relaxed));
        if last.is_none_or(|last| last >= WHILE * 2) {
            self.before[1] = 0;
        }
        self.turned = [self.turned[1], Some((now, tally))];
    }

    /// Whether a client failed lately already; from now on it is known. `again`: the try before failed, too.
    fn knows(&mut self, who: Who, again: bool, now: Instant) -> bool {
        let is_old = |it: &Failed| now.saturating_duration_since(it.last) >= WHILE;
        self.failed.iter_mut().for_each(|it| *it = it.filter(|it| !is_old(it)));
        if let Some(known) = self.failed.iter_mut().flatten().find(|it| it.who == who) {
            known.last = now;
            known.times = known.times.saturating_add(1);
            known.again = known.again.saturating_add(again.into());
            return true;
        }
        // The one that failed longest ago gives way, before anybody a free place.
        let oldest = self.failed.iter_mut().min_by_key(|it| it.map(|it| it.last));
        let new = Failed { who, first: now, last: now, times: 1, again: again.into() };
        oldest.into_iter().for_each(|it| *it = Some(new));
        false
    }

    /// Whether what its clients meet is their backend rather than their pages: one of them failed just now.
    fn believes(&self, who: Who, pages: [u64; 2], tally: Tally, now: Instant) -> bool {
        let is_long = |at: Instant| now.saturating_duration_since(at) >= PAUSE;
        let mut long = self.failed.iter().flatten().filter(|it| is_long(it.first));
        let (well, ill) = self.fare(who, pages, now);
        if ill <= 2 * well {
            return false;
        }
        if ill >= SEVERAL {
            return long.next().is_some();
        }
        let since = self.turned.iter().rev().flatten().find(|(at, _)| is_long(*at));
        let lately = since.map(|(_, then)| tally.since(*then)).unwrap_or_default();
        long.any(|it| it.who == who) && lately.bad > lately.good
    }

    /// How many clients fare well, and how many ill, as one does that failed just now.
    fn fare(&self, who: Who, pages: [u64; 2], now: Instant) -> (u32, u32) {
        let often = self.failed.iter().flatten().filter(|it| it.who == who || it.is_often(now));
        let often = often.fold(0, |all, it| all | it.who.place().1) & ILL;
        let [bound, free] = [0, 1].map(|page| {
            let (now, before) = (pages[page], self.before[page]);
            // What was asked last counts.
            let earlier = (before | before >> 1) & !(now | now >> 1) & ILL;
            let well = (now | before & earlier << 1) >> 1 & ILL;
            (well, (now | before & earlier) & ILL & !well)
        });
        let (newcomers, others) = (free.0.count_ones(), free.1.count_ones());
        let newcomers = if newcomers >= others * MOST { newcomers } else { 0 };
        ((bound.0 & !often).count_ones() + newcomers, (bound.1 | often).count_ones())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A backend that is asked by these clients in turn, each 100 ms, and fails as `fails` says of a client
    /// and a draw. Of the failures those that count, of the second half.
    fn play(clients: &[u32], seconds: u32, fails: impl Fn(u32, f64) -> bool) -> (u64, u64) {
        play_of(|_| true, clients, seconds, fails)
    }

    /// The same of some of the clients.
    fn play_of(
        whose: impl Fn(u32) -> bool,
        clients: &[u32],
        seconds: u32,
        fails: impl Fn(u32, f64) -> bool,
    ) -> (u64, u64) {
        let (book, start) = (Clients::default(), Instant::now());
        let (mut tally, mut rng, mut found) =
            (Tally::default(), fastrand::Rng::with_seed(7), (0, 0));
        for n in 0..seconds * 10 {
            let who = clients[n as usize % clients.len()];
            if !fails(who, rng.f64()) {
                tally.good += 1;
                book.answered(Who(who));
                continue;
            }
            let counts = book.failed(Who(who), tally, start + n * 100 * MS);
            tally.bad += 1;
            if n >= seconds * 5 && whose(who) {
                found = (found.0 + u64::from(counts), found.1 + 1);
            }
        }
        found
    }

    fn share((counts, all): (u64, u64)) -> f64 {
        counts as f64 / all.max(1) as f64
    }

    #[test]
    fn who_fails_at_a_backend_that_others_are_answered_by_counts_once() {
        for others in [&[3][..], &[3, 5, 7, 9, 11]] {
            let all = [others, &[1; 20]].concat();
            assert_eq!(play(&all, 60, |who, _| who == 1).0, 0, "and {others:?}");
            // Nor where some of his pages are good.
            assert_eq!(play(&all, 60, |who, draw| who == 1 && draw < 0.5).0, 0, "and {others:?}");
        }
        // Three cookies of one client, and those who come for the first time: they are new each time.
        let all: Vec<u32> =
            (0..400).map(|n| if n % 2 == 0 { 1 + n % 3 * 2 } else { n * 2 }).collect();
        assert_eq!(play(&all, 60, |who, _| who < 7 && who % 2 == 1).0, 0);
        // Others that are hardly seen: each once in four seconds.
        let quiet: Vec<u32> = (0..40).map(|n| if n == 0 { 3 } else { 1 }).collect();
        assert_eq!(play(&quiet, 60, |who, _| who == 1).0, 0);
    }

    #[test]
    fn others_who_have_a_rare_failing_page_fare_well() {
        for others in [&[3][..], &[3, 5], &[3, 5, 7, 9, 11]] {
            let all = [others, &[1; 20]].concat();
            for rare in [0.01, 0.04] {
                let is_ill = |who, draw| who == 1 || draw < rare;
                let (counts, all) = play_of(|who| who == 1, &all, 600, is_ill);
                // Of one alone it may be twice in a row.
                let most = if others.len() == 1 { all / 50 } else { 0 };
                assert!(counts <= most, "{rare} and {others:?}: {counts} of {all}");
            }
        }
    }

    #[test]
    fn who_is_bound_to_nobody_is_no_client_that_fares_ill() {
        // Most of those who are bound to nobody fail, each is somebody else; one in ten asks is answered.
        for (own, others) in [(&[1; 20][..], &[3, 5][..]), (&[1], &[3])] {
            let all: Vec<u32> = (0..2000)
                .map(|n| match n % 10 {
                    0 => others[n as usize / 10 % others.len()],
                    1..5 => own[n as usize % own.len()],
                    _ => n * 2,
                })
                .collect();
            let is_ill = |who: u32, _| who == 1 || who.is_multiple_of(2);
            assert_eq!(play_of(|who| who == 1, &all, 200, is_ill).0, 0);
            let (counts, all) = play_of(|who| who % 2 == 0, &all, 200, is_ill);
            assert_eq!((counts, all > 400), (all, true), "they count as they are");
        }
        // Nor do a few that are answered speak for one that fails most.
        let all: Vec<u32> = (0..2000).map(|n| [1, 3, n * 2][n as usize % 3]).collect();
        let share = share(play_of(|who| who % 2 == 1, &all, 100, |_, draw| draw < 0.7));
        assert!(share > 0.9, "{share}");
    }

    #[test]
    fn the_pause_is_that_of_who_fails_again() {
        let (book, now) = (Clients::default(), Instant::now());
        let fails = |who, ms: u32| {
            book.failed(Who(who), Tally { good: 0, bad: u64::from(ms) }, now + MS * ms)
        };
        assert_eq!(
            [(3, 0), (3, 2900), (3, 3000)].map(|(who, ms)| fails(who, ms)),
            [true, false, true]
        );
        let mut new = [(1, 3000), (1, 3100), (1, 5900), (1, 6000)].map(|(who, ms)| fails(who, ms));
        assert!(std::mem::take(&mut new[0]), "a first one");
        assert_eq!(new, [false, false, false, true]);
    }

    #[test]
    fn who_fails_all_his_clients_is_believed_of_few_of_them_too() {
        for clients in [&[1][..], &[1, 3], &[1, 3, 5], &[1, 3, 5, 7, 9, 11, 13]] {
            for often in [0.6, 0.9, 1.0] {
                let share = share(play(clients, 20, |_, draw| draw < often));
                assert!(share > 0.9, "{clients:?} fail {often}: {share}");
            }
        }
        let many: Vec<u32> = (0..300).map(|n| n * 2 + 1).collect();
        for often in [0.1, 0.5, 0.9] {
            let share = share(play(&many, 120, |_, draw| draw < often));
            assert!(share > 0.9, "of many {often}: {share}");
        }
        // Some of what one asks for is no sign.
        assert_eq!(play(&[1], 60, |_, draw| draw < 0.3).0, 0);
    }

    #[test]
    fn those_who_fail_again_are_believed_after_a_while() {
        let (book, now, all) = (Clients::default(), Instant::now(), Tally::default());
        let bad = |bad| Tally { bad, ..all };
        let said =
            [0, 100, 2900, 3000].map(|ms| book.failed(Who(1), bad(ms), now + MS * ms as u32));
        assert_eq!(said, [true, false, false, true]);
        assert_eq!(book.so_far().1, 2);
        let book = Clients::default();
        let fails = |who, ms: u32| book.failed(Who(who), all, now + MS * ms);
        assert_eq!(
            [1, 1, 3, 5, 3, 1].map(|who| fails(who, 0)),
            [true, false, true, true, false, false]
        );
        assert_eq!(
            [1, 3, 5, 7].map(|who| fails(who, 3000)),
            [true; 4],
            "most was answered, and three fail"
        );
        assert!((0..9).all(|n| book.failed(Who(n * 2), all, now)), "who is bound to nobody counts");
    }

    #[test]
    fn what_was_good_long_ago_is_forgotten() {
        let (book, start) = (Clients::default(), Instant::now());
        (1..40).for_each(|n| book.answered(Who(n * 2 + 1)));
        let fails =
            |s: u32| book.failed(Who(1), Tally { good: 40, bad: s.into() }, start + s * 1000 * MS);
        let counts: Vec<u32> = (0..40).filter(|s| fails(*s)).collect();
        assert_eq!(counts[..3], [0, 15, 16], "nobody else came");
    }
}

//! Whose failures count. Who is bound to one backend, by a cookie or a hash, asks nobody else for his page:
//! what he meets there may be his page as well as his backend. What tells is how its other clients
//! fare. Pure: times and counts are arguments.
//!
//! A first failure of each counts. More of the same client say nothing new for a while in which others would be
//! answered, if there are any, nor while a third of that backend's clients were answered well when they last
//! asked: then they are counted apart. Where fewer were they count; of one or two, who may be the only ones to
//! ask there, if most of what the backend was asked for failed.
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
/// More failures of the same count after so long.
const PAUSE: Duration = Duration::from_secs(3);
/// So many clients speak for all, whatever share fails.
const SEVERAL: u32 = 3;
/// So many clients that failed are known by themselves: with fewer cookies than that nobody is somebody new
/// each time.
const KNOWN: usize = 8;

/// The lower bit of each bucket: somebody asked.
const ASKED: u64 = 0x5555_5555_5555_5555;

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
    fn is_bound(self) -> bool {
        self.0 & 1 == 1
    }
    /// Where it is bound.
    pub(super) fn number(self) -> Option<u32> {
        self.is_bound().then_some(self.0)
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
    /// Two bits of each bucket: somebody asked; and was answered well, the last time. Who is bound to it, and who
    /// may be bound to it from then on, and known by another number.
    pages: [AtomicU64; 2],
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
}

/// A client that failed.
#[derive(Clone, Copy, Debug)]
struct Failed {
    who: Who,
    first: Instant,
    last: Instant,
}

impl Clients {
    /// One was answered well.
    #[inline]
    pub(super) fn answered(&self, who: Who) {
        let (page, bucket) = who.place();
        if self.pages[page].load(Relaxed) & bucket != bucket {
            self.pages[page].fetch_or(bucket, Relaxed);
        }
    }

    /// A try of one failed: whether it counts. `tally`: what became of all tries of the backend so far.
    pub(super) fn failed(&self, who: Who, tally: Tally, now: Instant) -> bool {
        let mut book = self.book.lock();
        let book = book.get_or_insert_default();
        book.turn(&self.pages, tally, now);
        let (page, bucket) = who.place();
        self.pages[page].fetch_or(bucket & ASKED, Relaxed);
        self.pages[page].fetch_and(!bucket | ASKED, Relaxed);
        let counts = !who.is_bound() || !book.knows(who, now) || {
            let pages = self.pages.each_ref().map(|page| page.load(Relaxed));
            book.believes(pages, tally, now)
        };
        book.apart += u64::from(!counts);
        counts
    }

    /// Failures that were counted apart.
    pub(super) fn apart(&self) -> u64 {
        self.book.lock().as_ref().map_or(0, |book| book.apart)
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

    /// Whether a client failed lately already; from now on it is known.
    fn knows(&mut self, who: Who, now: Instant) -> bool {
        let is_old = |it: &Failed| now.saturating_duration_since(it.last) >= WHILE;
        self.failed.iter_mut().for_each(|it| *it = it.filter(|it| !is_old(it)));
        if let Some(known) = self.failed.iter_mut().flatten().find(|it| it.who == who) {
            known.last = now;
            return true;
        }
        // The one that failed longest ago gives way, before anybody a free place.
        let oldest = self.failed.iter_mut().min_by_key(|it| it.map(|it| it.last));
        oldest.into_iter().for_each(|it| *it = Some(Failed { who, first: now, last: now }));
        false
    }

    /// Whether what its clients meet is their backend rather than their pages.
    fn believes(&self, pages: [u64; 2], tally: Tally, now: Instant) -> bool {
        let is_long = |at: Instant| now.saturating_duration_since(at) >= PAUSE;
        let known = self.failed.iter().flatten();
        if !known.clone().any(|it| is_long(it.first)) {
            return false;
        }
        let (mut well, mut ill) = (0, 0);
        for (page, (now, before)) in pages.into_iter().zip(self.before).enumerate() {
            let failed = known.clone().map(|it| it.who.place()).filter(|place| place.0 == page);
            let failed = failed.fold(0, |all, place| all | place.1) & ASKED;
            // What was asked last counts.
            let (asked, earlier) = (now & ASKED, before & ASKED & !now);
            let good = (now >> 1 & asked | before >> 1 & earlier) & !failed;
            well += good.count_ones();
            ill += ((asked | earlier) & !good | failed).count_ones();
        }
        let since = self.turned.iter().rev().flatten().find(|(at, _)| is_long(*at));
        let lately = since.map(|(_, then)| tally.since(*then)).unwrap_or_default();
        2 * well < ill && (ill >= SEVERAL || lately.bad > lately.good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A backend that is asked by these clients in turn, each 100 ms, and fails as `fails` says of a client
    /// and a draw. Of the failures those that count, of the second half.
    fn play(clients: &[u32], seconds: u32, fails: impl Fn(u32, f64) -> bool) -> (u64, u64) {
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
            if n >= seconds * 5 {
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
        assert_eq!(book.apart(), 2);
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

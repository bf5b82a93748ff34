//! The last failed and slow requests, kept in memory to be looked at: so many of each sort.
//!
//! What clients are at fault for, what we or backends are, and what was slow have places of their own:
//! no flood of one pushes out the others. No lock: a place is a pointer that is swapped.
use super::access::Access;
use super::escape::readable;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes that are kept of what a client may make as long as it likes.
const LONGEST: usize = 2048;

/// Failed tries that are kept of one request: as many as `retry.attempts` allows.
const TRIES: usize = 16;

/// Why a request is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was answered with an error, or cut.
    Failed,
    /// It took longer than `log.slow`.
    Slow,
}

impl Kind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Slow => "slow",
        }
    }
}

/// A try that came to nothing.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Whom it was sent to.
    pub backend: Arc<str>,
    /// When it began, after the request did.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// What became of it: a word of the reasons, or a status.
    pub result: Box<str>,
}

/// Where the time of a request went until its answer began; what is left of it is the answer's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// It waited, and was tried, before its last try began, and for another one after it.
    pub waited: Duration,
    /// Its last try's connection was made; `None` for a kept one.
    pub connect: Option<Duration>,
    /// It was waited for the first byte of an answer, or in vain; `None` where nobody was asked.
    pub backend: Option<Duration>,
}

/// A request that is kept.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields of the access log, as the README lists them")]
pub struct Kept {
    pub kind: Kind,
    pub time: SystemTime,
    pub client: Option<SocketAddr>,
    pub method: Box<str>,
    pub target: Box<str>,
    pub host: Box<str>,
    pub status: u16,
    pub reason: &'static str,
    pub listener: Box<str>,
    pub route: Box<str>,
    pub pool: Box<str>,
    pub backend: Box<str>,
    pub tries: u32,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: Duration,
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub request_id: Box<str>,
    pub tls: &'static str,
    pub sni: Box<str>,
    /// Where its time went.
    pub spent: Spent,
    /// The tries before the last, and the last one if it failed.
    pub attempts: Vec<Attempt>,
}

/// What came of a request, as far as it says whether it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Of its answer; 499 where its client went away before.
    pub status: u16,
    /// `-` when all went well.
    pub reason: &'static str,
    /// Whether the answer is our own.
    pub own: bool,
}

impl Ended {
    /// Whether it failed: by an error of a backend, by one of ours that no route asks for, or in the
    /// middle.
    pub fn is_failure(self) -> bool {
        match self.reason {
            "-" => self.status >= 500,
            "respond" | "redirect" => false,
            _ => !self.own || self.status >= 400,
        }
    }

    /// Whether its client is at fault.
    fn is_refusal(self) -> bool {
        (400..500).contains(&self.status) || self.reason.starts_with("client_")
    }
}

/// The last failed and slow requests.
#[derive(Debug)]
pub struct Errors {
    lanes: ArcSwap<Lanes>,
    /// From so many nanoseconds on a request is slow.
    slow: AtomicU64,
}

#[derive(Debug)]
struct Lanes {
    failed: Lane,
    refused: Lane,
    slow: Lane,
}

#[derive(Debug)]
struct Lane {
    next: AtomicUsize,
    places: Box<[ArcSwapOption<Kept>]>,
}

impl Lane {
    fn new(size: usize) -> Self {
        let places = (0..size).map(|_| ArcSwapOption::empty()).collect();
        Self { next: AtomicUsize::new(0), places }
    }
    fn keep(&self, kept: Arc<Kept>) {
        let at = self.next.fetch_add(1, Relaxed).checked_rem(self.places.len());
        if let Some(place) = at.and_then(|at| self.places.get(at)) {
            place.store(Some(kept));
        }
    }
    /// The oldest first.
    fn all(&self) -> impl Iterator<Item = Arc<Kept>> {
        let start = self.next.load(Relaxed).checked_rem(self.places.len()).unwrap_or(0);
        let (new, old) = self.places.split_at(start);
        old.iter().chain(new).filter_map(ArcSwapOption::load_full)
    }
}

impl Lanes {
    fn new(size: usize) -> Self {
        Self { failed: Lane::new(size), refused: Lane::new(size), slow: Lane::new(size) }
    }
    fn each(&self) -> [&Lane; 3] {
        [&self.failed, &self.refused, &self.slow]
    }
}

impl Default for Errors {
    /// Keeps nothing.
    fn default() -> Self {
        Self { lanes: ArcSwap::from_pointee(Lanes::new(0)), slow: AtomicU64::new(u64::MAX) }
    }
}

impl Errors {
    /// Another number of places, or time; what is kept stays, the last of it where there are fewer.
    pub fn apply(&self, size: usize, slow: Option<Duration>) {
        let nanos = slow.map_or(u64::MAX, |slow| slow.as_nanos().min(u128::from(u64::MAX)) as u64);
        self.slow.store(if size == 0 { u64::MAX } else { nanos }, Relaxed);
        let before = self.lanes.load();
        if before.failed.places.len() == size {
            return;
        }
        let lanes = Lanes::new(size);
        for (from, to) in before.each().into_iter().zip(lanes.each()) {
            from.all().for_each(|kept| to.keep(kept));
        }
        self.lanes.store(Arc::new(lanes));
    }

    /// Why a request is kept, if it is. A compare or two for one that is not.
    #[inline(always)]
    pub fn kind(&self, ended: Ended, took: Duration) -> Option<Kind> {
        if (ended.status >= 500 || ended.reason != "-") && ended.is_failure() {
            return Some(Kind::Failed);
        }
        let slow = took.as_nanos() as u64 >= self.slow.load(Relaxed);
        slow.then_some(Kind::Slow)
    }

    /// Keeps a request.
    #[cold]
    pub fn keep(
        &self,
        kind: Kind,
        (ended, spent): (Ended, Spent),
        access: &Access<'_>,
        mut attempts: Vec<Attempt>,
    ) {
        let lanes = self.lanes.load();
        if lanes.failed.places.is_empty() {
            return;
        }
        attempts.truncate(TRIES);
        let text = |bytes: &[u8]| match bytes.get(..LONGEST) {
            Some(cut) if bytes.len() > LONGEST => (readable(cut) + "…").into(),
            _ => readable(bytes).into(),
        };
        let kept = Kept {
            kind,
            time: UNIX_EPOCH + access.time,
            client: access.client,
            method: text(access.method),
            target: text(access.target),
            host: text(access.host),
            status: access.status,
            reason: access.reason,
            listener: access.listener.into(),
            route: access.route.into(),
            pool: access.pool.into(),
            backend: access.backend.into(),
            tries: access.tries,
            bytes_in: access.bytes_in,
            bytes_out: access.bytes_out,
            duration: access.duration,
            connect: access.connect,
            first_byte: access.first_byte,
            request_id: text(access.request_id),
            tls: access.tls,
            sni: text(access.sni),
            spent,
            attempts,
        };
        let lane = match kind {
            Kind::Slow => &lanes.slow,
            Kind::Failed if ended.is_refusal() => &lanes.refused,
            Kind::Failed => &lanes.failed,
        };
        lane.keep(Arc::new(kept));
    }

    /// All that is kept, the last first.
    pub fn all(&self) -> Vec<Arc<Kept>> {
        let lanes = self.lanes.load();
        let mut all: Vec<_> = lanes.each().into_iter().flat_map(Lane::all).collect();
        all.sort_by_key(|kept| std::cmp::Reverse(kept.time + kept.duration));
        all
    }

    /// The last one with this id.
    pub fn find(&self, request_id: &str) -> Option<Arc<Kept>> {
        self.all().into_iter().find(|kept| &*kept.request_id == request_id)
    }
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;

//! What always holds, whatever happens.
use super::request::{End, How, Request, Stage};
use super::scene::Scene;
use super::server::Mood;
use crate::config::{self, MaxActive, Retry};
use crate::pool::{Backend, BackendId, Pool, Reason, State, Waiting};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A timer rings so late at the most.
const LATE: Duration = Duration::from_millis(5);

/// A place of somebody who failed lately stays free so long at the most, where others are full: what
/// is given once in a while, and the second in which it is looked.
const FREE: Duration = Duration::from_millis(1950);

/// The laws of a pool, and what is to be known of it for them.
#[derive(Debug)]
pub(super) struct Laws {
    config: Option<config::Pool>,
    /// The section was changed: what was taken before may be above what holds now.
    is_changed: bool,
    /// Backends that are well all the time.
    steady: Vec<bool>,
    backends: usize,
    reloads: bool,
    /// The most that may wait.
    size: usize,
    /// Leases out, by backend.
    held: Vec<u32>,
    /// Since when who waits could be there, and how many were taken there until then.
    free: Vec<Option<(Instant, u64)>>,
    /// When requests were first sent, and when tries were made that cost of the budget.
    first: VecDeque<Instant>,
    further: VecDeque<Instant>,
}

impl Laws {
    pub(super) fn new(scene: &Scene) -> Self {
        let ill = |i: usize| scene.turns.iter().any(|(_, s, m)| *s == i && *m != Mood::Well);
        let (config, _) = scene.config(&scene.section);
        let size = config.queue.map_or(0, |queue| queue.size);
        Self {
            config: Some(config),
            is_changed: false,
            steady: (0..scene.servers.len()).map(|i| !ill(i)).collect(),
            backends: scene.servers.len(),
            reloads: !scene.reloads.is_empty(),
            size,
            held: vec![0; scene.servers.len()],
            free: vec![None; scene.servers.len()],
            first: VecDeque::new(),
            further: VecDeque::new(),
        }
    }

    pub(super) fn reloaded(&mut self, config: &config::Pool) {
        self.is_changed = true;
        self.size = self.size.max(config.queue.map_or(0, |queue| queue.size));
        self.config = Some(config.clone());
    }

    /// A backend was chosen just now: it gets work.
    pub(super) fn chosen(&self, pool: &Pool, backend: &Backend) {
        let state = pool.member(backend.id).expect("it is a member").state;
        assert!(state.works() || pool.panic.get() > 0, "{} is {state:?}", backend.name);
    }

    /// A backend was taken: it is not above its limit.
    pub(super) fn taken(&mut self, backend: &Backend) {
        self.held[backend.id.0 as usize] += 1;
        // Where the limit fell meanwhile others may still be there.
        let most = match self.config.as_ref().and_then(|config| config.max_active) {
            _ if self.is_changed => return,
            None => return,
            Some(MaxActive::Fixed(most)) => most,
            Some(MaxActive::Adaptive { min, max }) => {
                let limit = backend.limit().expect("it has one");
                assert!((min..=max).contains(&limit), "its limit is {limit}");
                max
            }
        };
        assert!(backend.active() <= most, "{} of {most} at {}", backend.active(), backend.name);
    }

    /// A request was sent for the first time, to whom its policy chose: nobody of an earlier tier gets
    /// work.
    pub(super) fn asked(&mut self, pool: &Pool, chosen: Option<BackendId>, now: Instant) {
        self.first.push_back(now);
        let Some(chosen) = chosen.filter(|_| pool.is_fresh()) else { return };
        let members = pool.members();
        let tier = members.iter().find(|m| m.backend.id == chosen).map_or(0, |m| m.tier);
        let works = |b: &Backend| b.is_usable() && !b.is_on_trial();
        let earlier = members.iter().find(|m| m.tier < tier && works(&m.backend));
        assert!(earlier.is_none(), "it goes to tier {tier}, before {earlier:?}");
    }

    /// A further try was made: with it there are not more than the budget has.
    pub(super) fn tried(&mut self, costs: bool, retry: &Retry, now: Instant) {
        if !costs || self.is_changed {
            return;
        }
        self.further.push_back(now);
        // Requests are counted by slots, and may be heard of late: each second it is looked whether
        // that was half a second ago.
        let late = retry.window / 20 + Duration::from_millis(1500);
        let since = |all: &mut VecDeque<Instant>, back: Duration| {
            while all.front().is_some_and(|at| *at + back <= now) {
                all.pop_front();
            }
            all.len() as f64
        };
        let tries = since(&mut self.further, retry.window);
        let requests = since(&mut self.first, retry.window + late);
        let most = (retry.budget.get() * requests).max(retry.floor * retry.window.as_secs_f64());
        assert!(tries <= most + 1e-9, "{tries} further tries, {most} are allowed");
    }

    /// A try at a backend failed: it is not well, if only because it has more than it can bear.
    pub(super) fn failed(&mut self, id: BackendId) {
        self.steady[id.0 as usize] = false;
    }

    pub(super) fn settled(&mut self, id: BackendId) {
        self.held[id.0 as usize] -= 1;
    }

    /// One who left the queue had been given a lease: it counts for the budget.
    pub(super) fn left_with_one(&mut self, now: Instant) {
        self.first.push_back(now);
    }

    /// One left the queue with a lease, or without.
    pub(super) fn served(&self, waiting: &Waiting, with: bool, now: Instant) {
        assert!(!with || now <= waiting.until, "served when its time was over");
    }

    /// After each event.
    pub(super) fn look(
        &mut self,
        pool: &Pool,
        requests: &[Request],
        queued: &[usize],
        backends: &[Arc<Backend>],
        now: Instant,
    ) {
        assert_eq!(pool.queue_depth(), queued.len() as i64, "who waits is in the queue");
        assert!(queued.len() <= self.size, "{} wait", queued.len());
        for request in queued {
            let Stage::Queued(waiting) = &requests[*request].stage else {
                panic!("{request} is not in the queue")
            };
            assert!(now <= waiting.until + LATE, "{request} waits beyond its time");
        }
        // No place stays free while one who may have it waits; one of somebody who failed not for long.
        let mut waits = [None; 3];
        waits.iter_mut().zip(queued).for_each(|(waits, request)| *waits = Some(*request));
        let free = |backend: &Backend| {
            waits.into_iter().flatten().find(|r| pool.has_place(backend, &requests[*r].ask(now)))
        };
        for (backend, since) in backends.iter().zip(&mut self.free) {
            let Some(request) = free(backend) else {
                *since = None;
                continue;
            };
            let given = backend.picks().policy.get() + backend.picks().retry.get();
            let (since, then) = since.get_or_insert((now, given));
            if *then != given {
                (*since, *then) = (now, given);
            }
            let long = if backend.has_failed() { FREE } else { Duration::ZERO };
            let is_free = now - *since > long || long.is_zero();
            assert!(!is_free, "{request} waits, and {} is free", backend.name);
        }
        for (backend, held) in backends.iter().zip(&self.held) {
            assert_eq!(backend.active(), *held, "leases of {}", backend.name);
        }
    }

    /// After each event that may have turned somebody.
    pub(super) fn look_at_states(&self, pool: &Pool) {
        let (mut up, mut ejected, mut silent, mut wanted) = (0, 0, 0, 0);
        pool.glance(|m| {
            wanted += 1;
            up += usize::from(m.state.works());
            ejected += usize::from(m.state == State::Ejected);
            silent += usize::from(m.reason == Reason::Silence);
        });
        if let Some(outlier) = self.config.as_ref().and_then(|config| config.outlier.as_ref())
            && !self.reloads
        {
            let most = ((wanted as f64 * outlier.max_ejected.get()) as usize).max(1);
            assert!(ejected - silent <= most, "{ejected} of {wanted} are ejected");
        }
        assert!(ejected == 0 || up > 0, "{ejected} are ejected, and nobody is left");
    }

    /// A request ended.
    pub(super) fn ended(&self, it: &Request, end: End, now: Instant) {
        let failed = match end {
            End::Answered(status) => it.effective.retry.on.statuses.has(status),
            End::Left => false,
            End::Broken(_) => true,
            End::Own(word) => word == "no_backend",
        };
        let retry = &it.effective.retry;
        let may = retry.attempts as usize >= self.backends && retry.on.connect && retry.on.reset;
        let timed_out = end == End::Broken(How::FirstByte) && !retry.on.timeout;
        if failed
            && it.repeatable
            && may
            && self.steady.contains(&true)
            && !self.reloads
            && !timed_out
        {
            let late = it.until.is_some_and(|until| now + retry.backoff.max >= until);
            assert!(
                it.spent || it.full || late,
                "lost after {:?} with one backend well: {end:?}",
                now - it.born
            );
        }
    }

    /// At the end nothing is left over.
    pub(super) fn end(&self, pool: &Pool, requests: &[Request]) {
        for (n, request) in requests.iter().enumerate() {
            assert!(request.is_over(), "{n} never ended");
        }
        assert_eq!(pool.queue_depth(), 0);
        pool.glance(|m| assert_eq!(m.backend.active(), 0, "{} still has work", m.backend.name));
    }
}

/// How a request ended: when it came, since the start, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) born: Duration,
    pub(super) took: Duration,
    pub(super) good: bool,
}

/// What came of a scene.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) good: usize,
    pub(super) failed: usize,
    pub(super) left: usize,
    pub(super) queued: usize,
    pub(super) retries: usize,
    /// Tries beside others.
    pub(super) hedges: usize,
    /// When a client was answered by another one than before.
    pub(super) moves: Vec<Duration>,
    /// Ejections for failures, and for silence.
    pub(super) ejections: usize,
    pub(super) silences: usize,
    /// All but those whose client left.
    pub(super) ends: Vec<Ended>,
    /// When each backend was taken.
    pub(super) picks: Vec<Vec<Duration>>,
    /// Answers of each backend below 500, and from there on.
    pub(super) by_status: Vec<[usize; 2]>,
}

impl Tally {
    pub(super) fn new(backends: usize) -> Self {
        Self {
            picks: vec![Vec::new(); backends],
            by_status: vec![[0; 2]; backends],
            ..Self::default()
        }
    }
    fn push(&mut self, it: &Request, good: bool, start: Instant, now: Instant) {
        self.ends.push(Ended { born: it.born - start, took: now - it.born, good });
    }
    pub(super) fn took(&mut self, server: usize, at: Duration) {
        self.picks[server].push(at);
    }
    pub(super) fn answered(&mut self, server: usize, status: u16) {
        self.by_status[server][usize::from(status >= 500)] += 1;
    }
    pub(super) fn ended(&mut self, it: &Request, end: End, (start, now): (Instant, Instant)) {
        match end {
            End::Answered(status) if status < 500 => {
                self.good += 1;
                self.push(it, true, start, now);
            }
            End::Left => self.left += 1,
            _ => {
                self.failed += 1;
                self.push(it, false, start, now);
            }
        }
    }
    /// The share of a backend's picks in all of a time, in shares of what is fair.
    pub(super) fn share(&self, server: usize, from: Duration, to: Duration) -> f64 {
        let count =
            |picks: &[Duration]| picks.iter().filter(|at| **at >= from && **at < to).count();
        let all: usize = self.picks.iter().map(|picks| count(picks)).sum();
        count(&self.picks[server]) as f64 * self.picks.len() as f64 / all.max(1) as f64
    }
    /// Good answers a second, of requests that came in a time.
    pub(super) fn goodput(&self, from: Duration, to: Duration) -> f64 {
        let is_of = |end: &&Ended| end.good && end.born >= from && end.born < to;
        let good = self.ends.iter().filter(is_of).count();
        good as f64 / (to - from).as_secs_f64()
    }
    pub(super) fn all(&self) -> usize {
        self.good + self.failed + self.left
    }
}

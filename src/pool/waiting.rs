//! The queue of a pool: how a request waits for a place, and how a place that became free finds it.
//!
//! A place is handed over, not announced: whoever frees one takes the lease for the one whose turn it
//! is, and wakes that one alone. While somebody waits, nobody who comes takes a place past the queue.
//!
//! There are two of the kind: behind who is waited for by a client stands what nobody waits for, as copies.
use super::backend::{Backend, BackendId, Candidate};
use super::balance::{Ask, Why};
use super::core::Pool;
use super::lease::{Lease, NoLease};
use super::queue::{Entered, Queue, Ticket};
use crate::metrics::{Gauge, Histogram};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst, fence};
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::sync::oneshot;

type Answer = Result<Lease, NoLease>;

/// Where one waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line {
    /// Before all of the other one, and before who comes.
    Front,
    /// Nobody is kept from a place by those.
    Behind,
}

/// The queue of a pool, and what is counted of it.
#[derive(Debug)]
pub(super) struct Desk {
    pool: Weak<Pool>,
    /// By [`Line`].
    queues: [Mutex<Queue<Asker>>; 2],
    depths: [Gauge; 2],
    further: Arc<AtomicUsize>,
    /// `evenkeel_queue_duration_seconds`
    pub(super) duration: Histogram,
}

/// One who waits: what it asks for, and where it hears of its turn.
#[derive(Debug)]
struct Asker {
    hash: Option<u64>,
    avoid: Box<[BackendId]>,
    seed: u64,
    why: Why,
    prefer: Option<Arc<Backend>>,
    client: u64,
    answer: oneshot::Sender<Answer>,
    /// It may have a place of a later tier.
    further: Option<Further>,
}

/// Counts those in the queue who may have a place that those who came first may not.
#[derive(Debug)]
struct Further(Arc<AtomicUsize>);

impl Further {
    fn new(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, SeqCst);
        Self(all.clone())
    }
}

impl Drop for Further {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Asker {
    fn ask(&self, now: Instant) -> Ask<'_> {
        let ask = Ask::new(now, self.seed).hash(self.hash).avoid(&self.avoid);
        ask.why(self.why).prefer(self.prefer.as_ref()).client(self.client)
    }
}

impl Desk {
    pub(super) fn new(pool: Weak<Pool>) -> Self {
        let (queues, duration) = (Default::default(), Histogram::default());
        Self {
            pool,
            queues,
            depths: [(); 2].map(|()| Gauge::new()),
            further: Arc::default(),
            duration,
        }
    }

    /// How many clients wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue(Line::Front).lock().len()
    }

    /// Whether no client more is let in, where so many may wait.
    pub(super) fn is_shut(&self, size: usize) -> bool {
        self.queue(Line::Front).lock().is_shut(size)
    }

    /// `evenkeel_queue_depth`
    pub(super) fn depth(&self) -> i64 {
        self.depths.iter().map(|depth| depth.get()).sum()
    }

    fn queue(&self, line: Line) -> &Mutex<Queue<Asker>> {
        &self.queues[line as usize]
    }

    /// Says in `waits` and in the depth how many wait. Called under the lock of the queue.
    fn note(&self, line: Line, queue: &Queue<Asker>, waits: &[AtomicBool; 2]) {
        self.depths[line as usize].set(queue.len() as i64);
        waits[line as usize].store(queue.len() > 0, SeqCst);
    }
}

/// A place in the queue of a pool; given up when dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    pool: Arc<Pool>,
    line: Line,
    ticket: Ticket,
    since: Instant,
    /// When the time in it is over.
    pub(crate) until: Instant,
    answer: oneshot::Receiver<Answer>,
}

impl Waiting {
    /// Waits for its turn, or until its time is over.
    pub(super) async fn turn(mut self) -> Answer {
        match tokio::time::timeout_at(self.until.into(), &mut self.answer).await {
            Ok(answer) => answer.unwrap_or(Err(NoLease::Queue)),
            Err(_) => self.give_up(Instant::now()),
        }
    }

    /// Leaves, unless its turn has just come.
    pub(crate) fn give_up(&mut self, now: Instant) -> Answer {
        self.leave(now);
        // What is sent from here on is refused, and goes to the next one.
        self.answer.close();
        self.heard().unwrap_or(Err(NoLease::Queue))
    }

    /// What it was told so far.
    pub(crate) fn heard(&mut self) -> Option<Answer> {
        self.answer.try_recv().ok()
    }

    fn leave(&self, now: Instant) {
        let (desk, line) = (&self.pool.desk, self.line);
        let mut queue = desk.queue(line).lock();
        if queue.leave(self.ticket).is_none() {
            return;
        }
        desk.note(line, &queue, &self.pool.read.waits);
        drop(queue);
        // It may have been one for whom a free place was none.
        self.pool.serve(now);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave(Instant::now());
        self.pool.desk.duration.observe(self.since.elapsed());
    }
}

impl Pool {
    /// Enters the queue; `limit` is when the request itself is over.
    ///
    /// # Errors
    ///
    /// [`NoLease::Queue`]: it is full. [`NoLease::Full`]: there is none.
    pub(crate) fn enter(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        now: Instant,
        limit: Option<Instant>,
    ) -> Result<Waiting, NoLease> {
        self.enter_line(Line::Front, ask, now, limit)
    }

    /// As `enter`.
    pub(super) fn enter_line(
        self: &Arc<Self>,
        line: Line,
        ask: &Ask<'_>,
        now: Instant,
        limit: Option<Instant>,
    ) -> Result<Waiting, NoLease> {
        let config = self.config();
        let Some(rules) = &config.queue else { return Err(NoLease::Full) };
        let (answer, hear) = oneshot::channel();
        let asker = || Asker {
            hash: ask.hash,
            avoid: ask.avoid.into(),
            seed: ask.seed,
            why: ask.why,
            prefer: ask.prefer.cloned(),
            client: ask.client,
            answer,
            further: ask.goes_on().then(|| Further::new(&self.desk.further)),
        };
        let entered = {
            let mut queue = self.desk.queue(line).lock();
            let entered = queue.enter(rules, now, limit, asker);
            self.desk.note(line, &queue, &self.read.waits);
            entered
        };
        let Entered::In { ticket, until, out } = entered else { return Err(NoLease::Queue) };
        if let Some(oldest) = out {
            let _ = oldest.answer.send(Err(NoLease::Queue));
        }
        // A place that was freed before it was known that somebody waits woke nobody: who frees one
        // counts it first and looks for waiters then, here it is the other way round.
        fence(SeqCst);
        self.serve(now);
        Ok(Waiting { pool: self.clone(), line, ticket, since: now, until, answer: hear })
    }

    /// Gives free places to those whose turn it is, one by one. Called whenever somebody may be
    /// served who could not be before, if somebody waits.
    pub(super) fn serve(&self, now: Instant) {
        loop {
            let line = match () {
                () if self.is_waited_for() => Line::Front,
                () if self.is_wanted() => Line::Behind,
                () => return,
            };
            let next = self.desk.pool.upgrade().and_then(|pool| pool.next_turn(line, now));
            let Some((asker, answer)) = next else { return };
            // Who has left meanwhile gives its lease back here, which serves the next.
            let _ = asker.answer.send(answer);
        }
    }

    /// Takes out the next one that can be answered.
    fn next_turn(self: &Arc<Self>, line: Line, now: Instant) -> Option<(Asker, Answer)> {
        let mut queue = self.desk.queue(line).lock();
        // One that avoided nobody found nobody: nor does anybody else, but for those who want one of their
        // own. Whom the last one that avoided somebody had tried: the next one with the same finds nobody.
        let (mut none, mut in_vain) = (false, None::<&[BackendId]>);
        let sticky = self.settings.load().sticky.is_some();
        // Who was asked in vain before may have a place of a later tier; where there is one.
        let has_place = |c: &Candidate| c.backend.is_open(&Ask::new(now, 0));
        let further = self.desk.further.load(SeqCst) > 0 && self.has_later(has_place);
        let mut found = None;
        for (ticket, waiter) in queue.in_order(now) {
            let asker = &waiter.who;
            if waiter.until <= now {
                found = Some((ticket, Err(NoLease::Queue)));
                break;
            }
            let ask = asker.ask(now);
            let may = further && asker.further.is_some();
            let vain = (none && !may) || in_vain.is_some_and(|tried| *tried == *asker.avoid);
            if vain && !ask.prefer.is_some_and(|own| own.is_open(&ask)) {
                continue;
            }
            match self.attempt(&ask) {
                // It waits on.
                Err(NoLease::Pending) if asker.prefer.is_some() => {}
                Err(NoLease::Full | NoLease::Pending) if asker.avoid.is_empty() => {
                    if !sticky && !further {
                        break;
                    }
                    none = true;
                }
                Err(NoLease::Full | NoLease::Pending) => in_vain = Some(&asker.avoid),
                answer => {
                    found = Some((ticket, answer));
                    break;
                }
            }
        }
        let (ticket, answer) = found?;
        let asker = queue.leave(ticket)?;
        self.desk.note(line, &queue, &self.read.waits);
        Some((asker, answer))
    }
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;

//! A backend taken for one connection or request.
use super::adaptive::End;
use super::awaited::Awaited;
use super::backend::{Backend, BackendId, Leave};
use super::balance::{Ask, Why};
use super::budget::Allowance;
use super::clients::Who;
use super::core::Pool;
use super::hot::Quiet;
use super::passive::Left;
use super::silence::{ALWAYS, Heard, ONE_OF, Vote, far};
use crate::metrics::Span;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Why there is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLease {
    /// Nobody is usable.
    Empty,
    /// Somebody may soon be there, or be free: see `Pool::lease_by` and `Pool::lease_in_turn`.
    Pending,
    /// Those that are usable are all to be avoided.
    Avoided,
    /// Those that are usable are all at their limit.
    Full,
    /// They are, and the queue is full, or the time in it is over.
    Queue,
}

impl NoLease {
    /// Why there is none in two tiers: somebody who is full may be free soon.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Full, _) | (_, Self::Full) => Self::Full,
            (Self::Avoided, _) | (_, Self::Avoided) => Self::Avoided,
            _ => self,
        }
    }
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with this status, to the last byte.
    Answered(u16),
    /// A call answered with 200, to the last byte, that says of itself what HTTP says by this status.
    Called(u16),
    /// A layer-4 connection that ended in order.
    Closed,
    /// One that the backend ended first, in order, without a byte for a client that had sent some.
    Empty,
    /// It never reached the backend: refused, unreachable, connect timeout.
    NotReached,
    /// A kept connection turned out closed at its reuse: nobody's fault.
    Stale,
    /// The backend broke it: reset, garbage, truncated, timeout.
    Failed,
    /// We or the client ended it: it is counted as without an answer, and nothing is learnt.
    Abandoned,
}

impl Outcome {
    /// Whether passive health and policies hold it against the backend. An answer of 500 that came fast is no sign
    /// of speed; 501 and 505 speak of the request: its method, its version.
    fn is_fault(self) -> bool {
        match self {
            Self::NotReached | Self::Failed | Self::Empty => true,
            Self::Answered(status) => (500..600).contains(&status) && !matches!(status, 501 | 505),
            Self::Called(status) => matches!(status, 500 | 503),
            Self::Closed | Self::Stale | Self::Abandoned => false,
        }
    }
    /// Whether it was turned away by a backend that can do no more now, by its word (RFC 9110 15.6.4).
    fn turns_away(self) -> bool {
        matches!(self, Self::Answered(503) | Self::Called(503))
    }
    /// The status of HTTP that it was answered with.
    fn status(self) -> Option<u16> {
        match self {
            Self::Answered(status) => Some(status),
            Self::Called(_) => Some(200),
            _ => None,
        }
    }
    /// Whether it turned a request away because it has too many: to passive health that is an answer.
    fn sheds(self) -> bool {
        matches!(self, Self::Answered(429) | Self::Called(429))
    }
    /// Whether it is an answer as most are, which nobody holds against anybody.
    #[inline]
    fn is_plain(self) -> bool {
        matches!(self, Self::Answered(..300))
    }
    /// Whether policies hold it against the backend, which would be idle for ever else: one that can do
    /// nothing of what it is asked for (501) is as fast as one that fails.
    fn weighs(self) -> bool {
        self.is_fault() || self.sheds() || self == Self::Answered(501)
    }
    /// Whether it did nothing of what it was asked for, by its word because of the request: redirects, and
    /// errors of the client but those of one connection (408, 421) or of too many (429).
    fn declines(self) -> bool {
        match self {
            Self::Answered(status) | Self::Called(status) if status >= 300 => {
                status < 500 && !matches!(status, 304 | 408 | 421 | 429)
            }
            _ => false,
        }
    }
}

/// A backend taken for one connection or request: counted below its limit when taken, settled with
/// its outcome at the last byte. A dropped lease counts as [`Outcome::Abandoned`].
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    backend: Arc<Backend>,
    taken: Instant,
    outcome: Outcome,
    ended: Option<Instant>,
    /// How long its first byte took, where that is of use.
    took: Option<Duration>,
    /// Where the pool listens for silence: what was heard when it began to be waited for.
    heard: Option<Heard>,
    /// Who asked.
    who: Who,
    /// What came before, for a further try.
    before: Option<Box<Before>>,
}

/// What came before a further try.
#[derive(Debug)]
struct Before {
    /// Who is to be avoided.
    avoid: Box<[BackendId]>,
    /// Whom its request left because nothing came.
    left: Vec<Left>,
}

impl Lease {
    #[inline]
    pub(super) fn new(pool: Arc<Pool>, backend: Arc<Backend>, ask: &Ask<'_>) -> Self {
        let heard = pool.listens().then(|| {
            backend.wait_from(ask.now);
            pool.hears(&backend)
        });
        let further = || Box::new(Before { avoid: ask.avoid.into(), left: Vec::new() });
        let before = (!ask.avoid.is_empty()).then(further);
        Self {
            pool,
            backend,
            taken: ask.now,
            outcome: Outcome::Abandoned,
            ended: None,
            took: None,
            heard,
            who: ask.who(),
            before,
        }
    }
    /// The backend.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
    /// Its pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
    /// The first byte of the answer came after so long: peak-EWMA learns here, and what is usual; an
    /// adaptive `max_active` when it is known what the answer was.
    pub fn first_byte(&mut self, took: Duration) {
        self.took = Some(took);
        if self.pool.wants_cost() {
            self.backend.learn(took, self.taken + took);
        }
        if self.is_sample() {
            self.backend.learn_usual(took, self.taken + took);
        }
    }
    /// Whether its pool listens for silence.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.heard.is_some()
    }
    /// Whether it is one of those whose first byte is measured for that.
    #[inline]
    pub fn is_sample(&self) -> bool {
        self.heard.is_some_and(|then| then.own < ALWAYS || then.own.is_multiple_of(ONE_OF))
    }
    /// The first byte is waited for from here on: the request was written.
    pub fn listen(&mut self) {
        if self.is_watched() {
            self.heard = Some(self.pool.hears(&self.backend));
        }
    }
    /// The first byte came, `late` where it was waited for too long.
    #[inline]
    pub fn spoke(&self, late: Option<Duration>) {
        if self.speaks(late) {
            self.pool.heard(&self.backend, Instant::now());
        }
    }
    /// As `spoke`, at this moment.
    #[cfg(test)]
    pub(crate) fn spoke_at(&self, late: Option<Duration>, now: Instant) {
        if self.speaks(late) {
            self.pool.heard(&self.backend, now);
        }
    }
    /// Whether that is news.
    #[inline]
    fn speaks(&self, late: Option<Duration>) -> bool {
        if self.heard.is_none() {
            return false;
        }
        self.backend.hot.hear();
        self.pool.hear();
        if let Some(late) = late {
            self.backend.usual.learn_late(late);
        }
        self.backend.hot.quiet() != Quiet::No
    }
    /// How long its first byte may be waited for; `None` where nothing is known, or nobody asks.
    pub fn patience(&self) -> Option<Duration> {
        self.heard?;
        self.pool.patience(&self.backend)
    }
    /// Its wait is first looked at.
    pub fn awaited(&self) -> Awaited {
        Awaited::new(self.pool.heard_of_all())
    }
    /// It was waited for longer than that.
    pub fn overdue(&self, awaited: &mut Awaited, waited: Duration, now: Instant) {
        let Some(then) = self.heard else { return };
        let begun = now.checked_sub(waited).unwrap_or(now);
        let vote = Vote { then, begun, again: awaited.was_told() };
        self.pool.overdue(&self.backend, vote, awaited.since, now);
        let heard = self.backend.hot.heard();
        if awaited.tell(heard, waited) && heard < ALWAYS {
            self.backend.usual.learn(waited);
        }
    }
    /// Whether its backend has been waited for far too long, by few tries and in vain by all: somebody
    /// else may be asked.
    pub fn is_forlorn(&self, waited: Duration) -> bool {
        let (Some(then), Some(patience)) = (self.heard, self.patience()) else { return false };
        waited >= far(patience) && self.pool.is_alone(&self.backend, then)
    }
    /// `timeout.first_byte` is over.
    pub fn in_vain(&self, waited: Duration, now: Instant) {
        if let Some(then) = self.heard {
            self.pool.in_vain(&self.backend, then, waited, now);
        }
    }
    /// Whether somebody else could be leased now for what this is for.
    pub fn has_other(&self, now: Instant) -> bool {
        self.pool.is_open_to(&Ask::new(now, 0).avoid(&self.avoids()))
    }
    /// Another one for what this is for, asked for with this hash and seed, paid for by the budget of
    /// further tries; nothing where nobody else is open, or the budget is spent. `waited`: this one was
    /// waited for in vain.
    pub fn elsewhere(
        &self,
        (hash, seed): (Option<u64>, u64),
        allowed: Allowance,
        waited: Duration,
        now: Instant,
    ) -> Option<Self> {
        let avoid = self.avoids();
        // A wait or two say too little to wake a later tier: they may be slow pages, and who is there a page
        // that only says sorry.
        let within = self.backend.is_usable() && !self.backend.is_missed();
        let ask = Ask::new(now, seed).hash(hash).avoid(&avoid).why(Why::Again).within(within);
        if !self.pool.is_open_to(&ask) || !self.pool.allows_try(allowed, now) {
            return None;
        }
        let mut lease = self.pool.another(&ask)?;
        if !self.pool.take_try(allowed, now) {
            lease.settle(Outcome::Stale);
            return None;
        }
        if let (Some(then), Some(before)) = (self.heard, &mut lease.before) {
            let earlier = self.before.iter().flat_map(|before| before.left.iter().cloned());
            let left = Left { backend: self.backend.clone(), own: then.own, waited };
            before.left = earlier.chain([left]).collect();
        }
        Some(lease)
    }
    /// Whom another one for the same avoids.
    fn avoids(&self) -> Vec<BackendId> {
        let before = self.before.iter().flat_map(|before| before.avoid.iter().copied());
        before.chain([self.backend.id]).collect()
    }
    /// Whether its request may have left somebody because nothing came.
    #[inline]
    pub fn is_further(&self) -> bool {
        self.before.is_some()
    }
    /// The first byte came after so long: that says something of those whom the request left.
    #[cold]
    pub fn compare(&mut self, took: Duration, now: Instant) {
        let left = self.before.as_mut().map(|before| std::mem::take(&mut before.left));
        for left in left.into_iter().flatten() {
            self.pool.compare(&left, &self.backend, took, now);
        }
    }
    /// What another one's answer to the same request says of this one is told by it.
    pub fn vigil(&self) -> Option<Vigil> {
        let then = self.heard?;
        Some(Vigil { pool: self.pool.clone(), backend: self.backend.clone(), then })
    }
    /// Ends when the backend was drained or removed and `pool.drain` has passed since: what still
    /// runs on it is cut.
    pub async fn over(&self) {
        self.backend.over().await;
    }
    /// What becomes of it: heard of as it changes.
    pub fn leave(&self) -> watch::Receiver<Leave> {
        self.backend.leave()
    }
    /// Whether [`Lease::over`] has ended: one load, for those who look now and then.
    pub fn is_over(&self) -> bool {
        self.backend.is_over()
    }
    /// Ends it with an answer that was complete when this was over.
    #[inline]
    pub fn answered(mut self, status: u16, whole: Span) {
        self.outcome = Outcome::Answered(status);
        self.ended = Some(whole.ended());
        self.count(status, whole.since(self.taken));
    }
    fn count(&self, status: u16, took: Duration) {
        let cells = &self.backend.cells;
        cells.by_class[usize::from(status / 100).min(5)].inc();
        self.backend.declined.answered(self.who);
        cells.request_duration.observe(took);
    }
    /// As `answered`, for a call that says of itself what HTTP says by this status.
    pub fn called(mut self, status: u16, whole: Span) {
        self.outcome = Outcome::Called(status);
        self.ended = Some(whole.ended());
        self.count(200, whole.since(self.taken));
    }
    /// Tells passive health how it ended: what nobody is to blame for, or we are, says nothing.
    fn judge(&self, most: u32) {
        let hot = &self.backend.hot;
        match self.outcome {
            fault if fault.is_fault() => {
                if let Outcome::Called(_) = fault {
                    hot.call_failed();
                }
                let binds = self.pool.binds();
                if binds && !self.backend.clients.failed(self.who, self.backend.tally(), self.now())
                {
                    return hot.failed_apart();
                }
                let row = hot.failed();
                if row == 1 {
                    self.pool.fails(&self.backend, self.who, self.now());
                }
                if self.is_load() {
                    return;
                }
                if row.is_multiple_of(most) && hot.is_usable() {
                    self.pool.failing(&self.backend, row, most, self.now());
                }
            }
            Outcome::Answered(_) | Outcome::Called(_) => self.forgive(),
            Outcome::Closed => {
                self.backend.cells.closed.inc();
                self.forgive();
            }
            _ => {}
        }
    }
    /// Whether it may have been turned away because its backend is at work on others.
    fn is_load(&self) -> bool {
        self.outcome.turns_away() && self.backend.row.lock().is_turned_away(self.taken, self.now())
    }
    /// A client was answered well.
    fn forgive(&self) {
        self.backend.hot.forgive();
        // What says that nobody can do what was asked for (501, 505) is no good answer.
        if self.pool.binds() && self.outcome.status().is_none_or(|status| status < 500) {
            self.backend.clients.answered(self.who);
        }
    }
    /// Ends it.
    pub fn settle(mut self, outcome: Outcome) {
        self.outcome = outcome;
        if let Some(status) = outcome.status() {
            self.count(status, self.taken.elapsed());
        }
    }
    /// As `settle`, at this moment.
    #[cfg(test)]
    pub(crate) fn settle_at(mut self, outcome: Outcome, now: Instant) {
        (self.outcome, self.ended) = (outcome, Some(now));
        if let Some(status) = outcome.status() {
            self.count(status, now.saturating_duration_since(self.taken));
        }
    }
    /// Counts what is no answer, and holds against the backend what policies do.
    #[cold]
    fn ended_otherwise(&self) {
        match self.outcome {
            Outcome::NotReached | Outcome::Failed | Outcome::Empty | Outcome::Abandoned => {
                self.backend.cells.by_class[0].inc();
            }
            // Answers are counted where they are told.
            Outcome::Answered(_) | Outcome::Called(_) | Outcome::Closed | Outcome::Stale => {}
        }
        let declined = || self.outcome.declines() && self.pool.declines(&self.backend, self.who);
        if self.outcome.weighs() || declined() {
            self.backend.penalise(self.now(), self.pool.wants_cost());
        }
    }
    /// When it ended, while it does.
    fn now(&self) -> Instant {
        self.ended.unwrap_or_else(Instant::now)
    }
    /// What the backend bears is learnt from answers and failures. An application's 500 that came fast
    /// says nothing of its speed, nor does a request that was turned away with 429: that may be one
    /// client's own limit.
    fn adapt(&self) {
        let end = match self.outcome {
            Outcome::NotReached | Outcome::Failed => Some(End::Refused),
            turned if turned.turns_away() => Some(End::Turned),
            fault if fault.is_fault() => Some(End::Fault),
            Outcome::Answered(_) | Outcome::Called(_) if !self.outcome.sheds() => {
                self.took.map(End::Took)
            }
            _ => None,
        };
        if let Some(end) = end {
            self.backend.adapt(self.taken, end, self.now());
        }
    }
}

/// A try that may be given up for another one's answer.
#[derive(Debug)]
pub struct Vigil {
    pool: Arc<Pool>,
    backend: Arc<Backend>,
    then: Heard,
}

impl Vigil {
    /// It was, having begun then: a wait in vain, where that was longer than most.
    pub fn outrun(&self, begun: Instant, now: Instant) {
        let vote = Vote { then: self.then, begun, again: false };
        self.pool.outrun(&self.backend, vote, now);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.outcome.is_plain() {
            self.ended_otherwise();
        }
        if self.backend.is_over() {
            self.pool.limit_hits.inc("drain");
        }
        let most = self.pool.failures_in_a_row();
        if most > 0 {
            self.judge(most);
        }
        if self.pool.adapts() {
            self.adapt();
        }
        self.backend.hot.release();
        self.pool.load_changed(&self.backend);
        if self.pool.is_wanted() {
            self.pool.serve(self.now());
        }
    }
}

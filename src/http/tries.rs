//! The tries of one request: whom it was sent to, and whether a broken try is sent again.
use super::attempt::Came;
use super::broken::{cause, outcome, status};
use super::downstream::Downstream;
use super::gateway::Target;
use super::held::Held;
use super::relay::body_fault;
use super::reply::Reply;
use super::report::Report;
use super::retry::{Asked, Broke, Cause, Course, Wait};
use super::unwanted::{Unwanted, asked, unwanted};
use crate::config::{self, Percent};
use crate::message::Head;
use crate::net::Timer;
use crate::pool::{Allowance, Ask, Backend, BackendId, Lease, NoLease, Outcome, Why};
use crate::upstream::{Error, Exchange, Failed, Heard, Outgoing, Retry};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

/// How long a first verdict is waited for where `timeout.connect` is off.
const WAIT: Duration = Duration::from_secs(2);

/// Tries beside others a second that are allowed however few requests there are.
pub(crate) const SOME: f64 = 0.1;

/// What to do after a try that broke, or an answer that is asked of somebody else.
pub(super) enum Next {
    /// Send it again, there.
    Again(Lease),
    /// Give the client this answer: nobody else need be asked, or can.
    Keep(Box<Exchange>, Heard),
    /// Give the client this answer of that backend, which nobody bettered: its head is in its place, its
    /// body is here.
    Kept(Arc<Backend>, Vec<u8>),
    /// Give the client our own answer.
    Answer(Box<Reply>),
    /// The client went away.
    Gone,
}

/// Why there is no further try.
enum Stop {
    /// It is not allowed, or nobody is there.
    No,
    /// The client went away.
    Gone,
}

/// What a further try is taken with.
pub(super) struct With<'a, 'g> {
    pub(super) outgoing: &'a Outgoing<'a>,
    pub(super) client: &'a mut dyn Downstream,
    pub(super) timer: &'a mut Timer,
    pub(super) report: &'a mut Report<'g>,
}

/// The tries of one request.
pub(super) struct Tries<'a> {
    target: &'a Target,
    hash: Option<u64>,
    /// Who gets it if it may.
    prefer: Option<&'a Arc<Backend>>,
    client: u64,
    seed: u64,
    now: Instant,
    course: Course,
    tried: Vec<BackendId>,
    /// Those of them that are asked again when nobody else is left, and from when on: who refused without
    /// a look, and who asked for a while that is not too long.
    later: Vec<(BackendId, Instant)>,
    why: Why,
    fresh: bool,
    /// Those who were given up, or refused, are asked again: they are waited for.
    again: bool,
    /// Tries beside others.
    beside: u32,
    /// Whom one of those outran, though nothing broke.
    outrun: Option<BackendId>,
}

impl<'a> Tries<'a> {
    pub(super) fn new(target: &'a Target, hash: Option<u64>, seed: u64, now: Instant) -> Self {
        Self {
            target,
            hash,
            prefer: None,
            client: 0,
            seed,
            now,
            course: Course::new(target.effective.retry.attempts),
            tried: Vec::new(),
            later: Vec::new(),
            why: Why::First,
            fresh: false,
            again: false,
            beside: 0,
            outrun: None,
        }
    }

    /// Asks this one first, for a client of this number.
    pub(super) fn prefer(&mut self, (backend, client): (Option<&'a Arc<Backend>>, u64)) {
        (self.prefer, self.client) = (backend, client);
    }

    /// When the current try began.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// The request as the next try sends it.
    #[inline(always)]
    pub(super) fn outgoing<'o>(&self, request: Outgoing<'o>) -> Outgoing<'o> {
        let keeps = || request.keep > 0 && request.head.method().is_idempotent();
        let (moves, leaves) = (self.moves(request.repeatable || keeps()), self.leaves());
        let asks = (self.hash, self.seed);
        Outgoing { fresh: self.fresh, moves, leaves, asks, ..request }
    }

    /// Takes a backend for the first try.
    pub(super) fn first(&mut self, report: &mut Report<'_>) -> Result<Lease, NoLease> {
        let lease = self.target.pool.lease(&self.ask())?;
        Ok(leased(lease, report))
    }

    /// Where there was none: waits for one if the pool may soon have one, in its queue where everybody
    /// is full. Without one it says why; nothing when the client went away.
    pub(super) async fn wait(
        &mut self,
        none: NoLease,
        until: Option<Instant>,
        client: &mut dyn Downstream,
        report: &mut Report<'_>,
    ) -> Result<Lease, Option<Box<Reply>>> {
        let Some(turn) = self.turn(none, until, client).await else {
            report.turn = Instant::now();
            return Err(None);
        };
        report.turn = self.now;
        match turn {
            Ok(lease) => Ok(leased(lease, report)),
            Err(_) if until.is_some_and(|until| until <= self.now) => Err(Some(late())),
            Err(none) => Err(Some(no_lease(none))),
        }
    }

    /// As `wait`; `None` when the client went away.
    async fn turn(
        &mut self,
        none: NoLease,
        until: Option<Instant>,
        client: &mut dyn Downstream,
    ) -> Option<Result<Lease, NoLease>> {
        let limit = self.now + self.target.effective.timeout.connect.get().unwrap_or(WAIT);
        let limit = until.map_or(limit, |until| until.min(limit));
        let lease = match none {
            NoLease::Pending => {
                let ask = self.ask();
                let mut leased = pin!(self.target.pool.lease_in_turn(&ask, limit, until));
                let leased = poll_fn(|cx| match leased.as_mut().poll(cx) {
                    Poll::Ready(leased) => Poll::Ready(Some(leased)),
                    Poll::Pending => client.poll_gone(cx).map(|()| None),
                });
                leased.await?
            }
            none => Err(none),
        };
        // The try begins here, however long it waited for its turn.
        self.now = Instant::now();
        Some(lease)
    }

    /// Takes another backend for a try beside that of the first one, within this budget.
    pub(super) fn beside(&mut self, budget: Percent, first: BackendId) -> Option<Lease> {
        let (pool, now) = (&self.target.pool, Instant::now());
        let share = budget.get();
        // Else a quiet pool would never have one.
        let floor = if share > 0.0 { SOME } else { 0.0 };
        let allowed = Allowance { share, floor, window: self.target.effective.retry.window };
        if !pool.allows_hedge(allowed, now) {
            return None;
        }
        let avoid = [&self.tried[..], &[first]].concat();
        let ask = Ask::new(now, self.seed).hash(self.hash).avoid(&avoid).why(Why::Hedge);
        let lease = pool.another(&ask)?;
        if !pool.take_hedge(allowed, now) {
            lease.settle(Outcome::Stale);
            return None;
        }
        self.tried = avoid;
        self.tried.push(lease.backend().id);
        self.beside += 1;
        Some(lease)
    }

    /// The try beside that of this one was faster.
    pub(super) fn won_beside(&mut self, slower: BackendId) {
        self.outrun = Some(slower);
    }

    /// A try beside was given up for somebody else: that one is asked again should nobody else be left.
    pub(super) fn come_back_to(&mut self, late: BackendId) {
        self.later.push((late, Instant::now()));
    }

    /// Whether the one that is preferred only took longer than another one: its client stays its client.
    pub(super) fn is_outrun(&self) -> bool {
        self.prefer.is_some_and(|own| self.outrun == Some(own.id))
    }

    /// Whether a further try could begin at once after this one, of which nothing came.
    pub(super) fn could_go_on(&self, came: &Came, answer: &Head) -> bool {
        let (cause, retry, first) = match came {
            Ok((exchange, _)) => {
                let cause = Cause::Status(answer.status());
                (cause, Retry::OnlyIdempotent, exchange.lease().backend().id)
            }
            Err(failed) => {
                let cause = cause(&failed.error, failed.retry, failed.stale);
                (cause, failed.retry, failed.lease.backend().id)
            }
        };
        let begun = retry == Retry::OnlyIdempotent;
        let repeatable = retry != Retry::No;
        let broke = Broke { cause, begun, repeatable, asked: Asked::Nothing };
        let (pool, rules) = (&self.target.pool, &self.target.effective.retry);
        let Some(again) = self.course.clone().after(broke, rules, None, self.seed) else {
            return false;
        };
        let now = Instant::now();
        let avoid = [&self.tried[..], &[first]].concat();
        let is_open = || pool.is_open(&Ask::new(now, self.seed).hash(self.hash).avoid(&avoid));
        (!again.costs || pool.allows_try(allowance(rules), now)) && is_open()
    }

    /// What is told of tries of which one may have had another beside it.
    pub(super) fn raced(&mut self, came: &Came, report: &mut Report<'_>) {
        report.tries += std::mem::take(&mut self.beside);
        let lease = match came {
            Ok((exchange, _)) => exchange.lease(),
            Err(failed) => &failed.lease,
        };
        report.backend = Some(lease.backend().clone());
    }

    fn ask(&self) -> Ask<'_> {
        let ask = Ask::new(self.now, self.seed).hash(self.hash).avoid(&self.tried);
        ask.prefer(self.prefer).client(self.client).why(self.why)
    }

    /// Whether an answer is one that somebody else may be asked for.
    #[inline]
    pub(super) fn is_unwanted(&self, heard: Heard, request: &Head, answer: &Head) -> bool {
        let statuses = &self.target.effective.retry.on.statuses;
        matches!(heard, Heard::Answer(_)) && unwanted(statuses, request, answer).is_some()
    }

    /// Asks somebody else for a better answer, if that may be; what came is the client's else.
    pub(super) async fn instead(
        &mut self,
        exchange: Box<Exchange>,
        heard: Heard,
        answer: &Head,
        mut with: With<'_, '_>,
    ) -> Next {
        let statuses = &self.target.effective.retry.on.statuses;
        let Some(Unwanted { status, is_call }) = unwanted(statuses, with.outgoing.head, answer)
        else {
            return Next::Keep(exchange, heard);
        };
        let may = is_call || with.outgoing.head.method().is_idempotent();
        let asked = asked(answer, SystemTime::now());
        let repeatable = may && exchange.has_whole(with.client);
        let broke = Broke { cause: Cause::Status(status), begun: true, repeatable, asked };
        let backend = exchange.lease().backend().clone();
        with.report.failed(&backend, self.now, Ok(status));
        self.now = Instant::now();
        if let Asked::After(wait) = asked
            && wait <= self.target.effective.retry.backoff.max
        {
            self.later.push((backend.id, self.now + wait));
        }
        let mut held = Some(Held::Open(exchange, heard));
        let again = self.again(broke, backend.id, None, &mut held, &mut with).await;
        let held = held.expect("it is put back");
        match again {
            Ok(lease) => {
                held.end(with.client, self.now);
                Next::Again(lease)
            }
            Err(Stop::No) => {
                with.report.backend = Some(backend);
                held.next(with.outgoing.head)
            }
            Err(Stop::Gone) => Next::Gone,
        }
    }

    /// Settles a broken try and decides what comes next.
    pub(super) async fn after(&mut self, failed: Box<Failed>, mut with: With<'_, '_>) -> Next {
        let Failed { lease, error, retry, stale, connect, begun: there, next } = *failed;
        let (began, lost) = (self.now, Instant::now());
        let backend = lease.backend().id;
        let word = match &error {
            Error::Body(broken) => body_fault(broken).1,
            error => error.word(),
        };
        with.report.failed(lease.backend(), self.now, Err(word));
        lease.settle(outcome(&error, stale));
        if let Error::Body(broken) = &error {
            with.report.lost(began, (connect, there), lost);
            return match body_fault(broken) {
                (0, _) => Next::Gone,
                (status, word) => Next::Answer(Box::new(Reply::own(status, word))),
            };
        }
        let cause = cause(&error, retry, stale);
        let begun = retry == Retry::OnlyIdempotent;
        let may = match retry {
            Retry::NothingWritten | Retry::Refused => true,
            Retry::OnlyIdempotent => with.outgoing.head.method().is_idempotent(),
            Retry::No => false,
        };
        let repeatable = may && with.client.gone() == 0;
        let broke = Broke { cause, begun, repeatable, asked: Asked::Nothing };
        if retry == Retry::Refused {
            self.later.push((backend, lost));
        }
        self.now = Instant::now();
        let stop = match self.again(broke, backend, next, &mut None, &mut with).await {
            Ok(lease) => return Next::Again(lease),
            Err(stop) => stop,
        };
        with.report.lost(began, (connect, there), lost);
        match stop {
            Stop::No => Next::Answer(Box::new(Reply::own(status(&error), error.word()))),
            Stop::Gone => Next::Gone,
        }
    }

    /// The next backend to ask, when it is time, if there is to be a further try: at once where that
    /// was taken and paid for before. `held`: the answer that is there already.
    async fn again(
        &mut self,
        broke: Broke,
        backend: BackendId,
        next: Option<Lease>,
        held: &mut Option<Held>,
        with: &mut With<'_, '_>,
    ) -> Result<Lease, Stop> {
        let (pool, retry) = (&self.target.pool, &self.target.effective.retry);
        let until = with.outgoing.until;
        let left = until.map(|until| until.saturating_duration_since(self.now));
        let again = self.course.after(broke, retry, left, self.seed).ok_or(Stop::No)?;
        let allowed = allowance(retry);
        let costs = again.costs && next.is_none();
        if costs && !pool.allows_try(allowed, self.now) {
            pool.budget_exhausted.inc();
            return Err(Stop::No);
        }
        self.why = Why::Again;
        if broke.cause == Cause::Stale {
            // Nobody's fault: the same backend may be asked again, by another connection.
            self.fresh = true;
        } else {
            self.tried.push(backend);
        }
        let at_once = match again.wait {
            _ if next.is_some() => next,
            Wait::Twice(_) => pool.another(&self.ask()),
            Wait::None | Wait::Always(_) => None,
        };
        let lease = match at_once {
            Some(lease) => lease,
            None => {
                self.rest(again.wait, with).await?;
                self.another(held, with).await?
            }
        };
        if costs && !pool.take_try(allowed, self.now) {
            pool.budget_exhausted.inc();
            lease.settle(Outcome::Stale);
            return Err(Stop::No);
        }
        match broke.cause {
            Cause::Connect => pool.retries_connect.inc(),
            Cause::Reset => pool.retries_reset.inc(),
            Cause::Timeout => pool.retries_timeout.inc(),
            Cause::Status(status) => pool.retries_status.inc(status),
            Cause::Stale | Cause::Other => {}
        }
        with.report.turn = self.now;
        Ok(leased(lease, with.report))
    }

    /// Whether a try that waits for its answer may be given up for another one.
    fn moves(&self, repeatable: bool) -> bool {
        repeatable && self.course.has_more() && self.target.effective.retry.on.reset
    }

    /// Whether a connection that takes too long to be made may be given up for another one.
    fn leaves(&self) -> bool {
        !self.again && self.course.has_more() && self.target.effective.retry.on.connect
    }

    /// Takes a backend that was not tried yet, if one is free; else waits for one, and where nobody else
    /// is left, for those who may be asked again. Whoever waits holds no place that others wait for.
    async fn another(
        &mut self,
        held: &mut Option<Held>,
        with: &mut With<'_, '_>,
    ) -> Result<Lease, Stop> {
        let pool = &self.target.pool;
        if let Some(lease) = pool.another(&self.ask()) {
            return Ok(lease);
        }
        if held.is_some() && self.later.is_empty() && !pool.may_wait(&self.ask()) {
            return Err(Stop::No);
        }
        *held = held.take().map(|held| held.leave(with.client, self.now));
        // Who only refused is as good as others that are full.
        let is_free = held.is_none() && self.later.iter().any(|(_, from)| *from <= self.now);
        if is_free || !pool.may_wait(&self.ask()) {
            self.return_to_some(with).await?;
        }
        match pool.lease(&self.ask()) {
            Ok(lease) => Ok(lease),
            Err(none) => match self.turn(none, with.outgoing.until, with.client).await {
                Some(lease) => lease.map_err(|_| Stop::No),
                None => Err(Stop::Gone),
            },
        }
    }

    /// Those who were tried and may be asked again are, once the first of them may.
    async fn return_to_some(&mut self, with: &mut With<'_, '_>) -> Result<(), Stop> {
        let Some(from) = self.later.iter().map(|(_, from)| *from).min() else { return Ok(()) };
        if with.outgoing.until.is_some_and(|until| until <= from) {
            return Err(Stop::No);
        }
        if self.now < from {
            self.sleep(from, with).await?;
        }
        self.again = true;
        for (id, _) in self.later.extract_if(.., |(_, at)| *at <= from) {
            self.tried.retain(|tried| *tried != id);
        }
        Ok(())
    }

    /// Waits before a further try, if somebody may be asked then.
    async fn rest(&mut self, wait: Wait, with: &mut With<'_, '_>) -> Result<(), Stop> {
        let (Wait::Twice(wait) | Wait::Always(wait)) = wait else { return Ok(()) };
        if self.later.is_empty() && !self.target.pool.is_open(&self.ask()) {
            return Ok(());
        }
        self.sleep(self.now + wait, with).await
    }

    /// Waits until then: not for a client that goes away.
    async fn sleep(&mut self, until: Instant, with: &mut With<'_, '_>) -> Result<(), Stop> {
        with.timer.set(Some(until));
        let there = poll_fn(|cx| match with.client.poll_gone(cx) {
            Poll::Ready(()) => Poll::Ready(false),
            Poll::Pending => with.timer.poll(cx).map(|()| true),
        })
        .await;
        self.now = Instant::now();
        if there { Ok(()) } else { Err(Stop::Gone) }
    }
}

/// What a pool's further tries may come to.
fn allowance(retry: &config::Retry) -> Allowance {
    Allowance { share: retry.budget.get(), floor: retry.floor, window: retry.window }
}

fn leased(lease: Lease, report: &mut Report<'_>) -> Lease {
    report.tries += 1;
    report.backend = Some(lease.backend().clone());
    lease
}

fn late() -> Box<Reply> {
    let late = Error::Request;
    Box::new(Reply::own(status(&late), late.word()))
}

fn no_lease(none: NoLease) -> Box<Reply> {
    match none {
        NoLease::Full => Box::new(Reply::own(503, "max_active")),
        NoLease::Queue => Box::new(Reply::own(503, "queue")),
        NoLease::Empty | NoLease::Pending | NoLease::Avoided => {
            Box::new(Reply::own(503, "no_backend"))
        }
    }
}

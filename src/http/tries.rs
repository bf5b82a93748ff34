//! The tries of one request: whom it was sent to, and whether a broken try is sent again.
use super::downstream::Downstream;
use super::gateway::Target;
use super::relay::body_fault;
use super::reply::Reply;
use super::report::Report;
use crate::message::Source;
use crate::pool::{Ask, BackendId, Lease, NoLease, Outcome};
use crate::upstream::{Error, Failed, Outgoing, Retry};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long a first verdict is waited for where `timeout.connect` is off.
const WAIT: Duration = Duration::from_secs(2);

/// So often a request is sent again because its connection ended in order or was closed already; an
/// HTTP/2 connection ends under many at once, and so may the next one.
const STALE: u32 = 5;

/// What to do after a broken try.
pub(super) enum Next {
    /// Send it again.
    Again,
    /// Give the client our own answer.
    Answer(Box<Reply>),
    /// The client went away.
    Gone,
}

/// The tries of one request.
pub(super) struct Tries<'a> {
    target: &'a Target,
    hash: Option<u64>,
    seed: u64,
    now: Instant,
    left: u32,
    tried: Vec<BackendId>,
    /// Those of them that refused without a look: asked again when nobody else is left.
    refused: Vec<BackendId>,
    /// What the client gets if nobody else can be asked, and whether that try was never looked at.
    last: Option<(Box<Reply>, bool)>,
    fresh: bool,
    /// How often it was nobody's fault.
    stale: u32,
}

impl<'a> Tries<'a> {
    pub(super) fn new(target: &'a Target, hash: Option<u64>, seed: u64, now: Instant) -> Self {
        let left = target.effective.retry.attempts;
        Self {
            target,
            hash,
            seed,
            now,
            left,
            tried: Vec::new(),
            refused: Vec::new(),
            last: None,
            fresh: false,
            stale: 0,
        }
    }

    /// When the current try began.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Whether the next try wants a new connection.
    pub(super) fn fresh(&self) -> bool {
        self.fresh
    }

    /// Takes a backend that was not tried yet, if one is free; else one that refused.
    pub(super) fn lease(&mut self, report: &mut Report<'_>) -> Result<Lease, NoLease> {
        if !self.refused.is_empty() {
            if let Some(lease) = self.target.pool.another(&self.ask()) {
                return Ok(self.leased(lease, report));
            }
            self.tried.retain(|id| !self.refused.contains(id));
            self.refused.clear();
        }
        let lease = self.target.pool.lease(&self.ask())?;
        Ok(self.leased(lease, report))
    }

    /// Where there was none: waits for one if the pool may soon have one, in its queue where everybody
    /// is full. Without one, the last failure is the answer; none when the client went away.
    pub(super) async fn wait(
        &mut self,
        none: NoLease,
        until: Option<Instant>,
        client: &mut dyn Downstream,
        report: &mut Report<'_>,
    ) -> Result<Lease, Option<Box<Reply>>> {
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
                leased.await.ok_or(None)?
            }
            none => Err(none),
        };
        // The try begins here, however long it waited for its turn.
        self.now = Instant::now();
        match lease {
            Ok(lease) => Ok(self.leased(lease, report)),
            Err(_) if until.is_some_and(|until| until <= self.now) => {
                let late = Error::Request;
                Err(Some(Box::new(Reply::own(status(&late), late.word()))))
            }
            Err(none) => {
                Err(Some(self.last.take().map_or_else(|| no_lease(none), |(reply, _)| reply)))
            }
        }
    }

    fn ask(&self) -> Ask<'_> {
        Ask::new(self.now, self.seed).hash(self.hash).avoid(&self.tried)
    }

    fn leased(&self, lease: Lease, report: &mut Report<'_>) -> Lease {
        let pool = &self.target.pool;
        match &self.last {
            Some((_, true)) => pool.retries_connect.inc(),
            Some((_, false)) => pool.retries_reset.inc(),
            None => {}
        }
        report.tries += 1;
        report.backend = Some(lease.backend().clone());
        lease
    }

    /// Settles a broken try and decides what comes next.
    pub(super) fn after(
        &mut self,
        failed: Failed,
        outgoing: &Outgoing<'_>,
        client: &dyn Source,
    ) -> Next {
        let Failed { lease, error, retry, stale } = failed;
        let backend = lease.backend().id;
        lease.settle(outcome(&error, stale));
        if let Error::Body(broken) = &error {
            return match body_fault(broken) {
                (0, _) => Next::Gone,
                (status, word) => Next::Answer(Box::new(Reply::own(status, word))),
            };
        }
        let again = match retry {
            Retry::NothingWritten | Retry::Refused => client.untouched(),
            Retry::OnlyIdempotent => {
                (stale || self.is_reset(&error))
                    && outgoing.head.method().is_idempotent()
                    && client.untouched()
            }
            Retry::No => false,
        };
        let never_sent = matches!(retry, Retry::NothingWritten | Retry::Refused);
        let reply = Box::new(Reply::own(status(&error), error.word()));
        self.now = Instant::now();
        let in_time = outgoing.until.is_none_or(|until| self.now < until);
        if !again || !in_time {
            return Next::Answer(reply);
        }
        if stale && self.stale < STALE {
            self.stale += 1;
            // Nobody's fault, and no try: the same backend may be asked again, by another connection.
            self.fresh = true;
            self.last = None;
            return Next::Again;
        }
        if never_sent && !self.target.effective.retry.on.connect {
            return Next::Answer(reply);
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return Next::Answer(reply);
        }
        self.tried.push(backend);
        if retry == Retry::Refused {
            self.refused.push(backend);
        }
        self.last = Some((reply, never_sent));
        Next::Again
    }

    /// Whether the connection broke before the head of the answer, and that is tried again.
    fn is_reset(&self, error: &Error) -> bool {
        self.target.effective.retry.on.reset && matches!(error, Error::Io(_) | Error::Closed)
    }
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

pub(super) fn outcome(error: &Error, stale: bool) -> Outcome {
    match error {
        _ if stale => Outcome::Stale,
        Error::Local(_) | Error::Body(_) | Error::Request | Error::Over | Error::NoUpgrade => {
            Outcome::Abandoned
        }
        error if error.never_reached() => Outcome::NotReached,
        _ => Outcome::Failed,
    }
}

/// The status of our own answer for a broken try.
pub(super) fn status(error: &Error) -> u16 {
    match error {
        Error::ConnectTimeout | Error::FirstByte | Error::Idle | Error::Request => 504,
        Error::Local(_) | Error::Unresolved | Error::Over | Error::Changed => 503,
        Error::NoUpgrade => 501,
        _ => 502,
    }
}

/// What broke an answer in the middle: the status it would have earned, and the reason for the log.
pub(super) fn cut_fault(error: &Error) -> (u16, &'static str) {
    let status = status(error);
    match error {
        Error::Body(broken) => body_fault(broken),
        Error::Idle | Error::Request | Error::Over => (status, error.word()),
        _ => (status, "upstream_cut"),
    }
}

//! The tries of one request: whom it was sent to, and whether a broken try is sent again.
use super::client::Client;
use super::gateway::Target;
use super::relay::body_fault;
use super::reply::Reply;
use super::report::Report;
use crate::message::Source;
use crate::pool::{Ask, BackendId, Lease, NoLease, Outcome};
use crate::upstream::{Error, Failed, Outgoing, Retry};
use std::time::{Duration, Instant};

/// More tries than this are not remembered one by one; `retry.attempts` is bounded by it.
const MOST: usize = 16;

/// What to do after a broken try.
pub(super) enum Next {
    /// Send it again.
    Again,
    /// Give the client our own answer.
    Answer(Reply),
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
    tried: [BackendId; MOST],
    count: usize,
    last: Option<Reply>,
    fresh: bool,
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
            tried: [BackendId(u32::MAX); MOST],
            count: 0,
            last: None,
            fresh: false,
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

    /// Takes a backend that was not tried yet. Without one, the last failure is the answer.
    pub(super) async fn lease(&mut self, report: &mut Report) -> Result<Lease, Reply> {
        let ask = Ask::new(self.now, self.seed).hash(self.hash).avoid(&self.tried[..self.count]);
        let pool = &self.target.pool;
        let lease = match pool.lease(&ask) {
            Err(NoLease::Empty) => {
                let wait =
                    self.target.effective.timeout.connect.get().unwrap_or(Duration::from_secs(2));
                pool.lease_by(&ask, self.now + wait).await
            }
            taken => taken,
        };
        match lease {
            Ok(lease) => {
                report.tries += 1;
                report.backend = Some(lease.backend().clone());
                Ok(lease)
            }
            Err(none) => Err(self.last.take().unwrap_or_else(|| no_lease(none))),
        }
    }

    /// Settles a broken try and decides what comes next.
    pub(super) fn after(
        &mut self,
        failed: Failed,
        outgoing: &Outgoing<'_>,
        client: &Client,
    ) -> Next {
        let Failed { lease, error, retry, stale } = failed;
        let backend = lease.backend().id;
        lease.settle(outcome(&error, stale));
        if let Error::Body(broken) = &error {
            return match body_fault(broken) {
                (0, _) => Next::Gone,
                (status, word) => Next::Answer(Reply::own(status, word)),
            };
        }
        let again = match retry {
            Retry::NothingWritten => client.untouched(),
            Retry::OnlyIdempotent => {
                (stale || self.is_reset(&error))
                    && outgoing.head.method().is_idempotent()
                    && client.untouched()
            }
            Retry::No => false,
        };
        let never_sent = retry == Retry::NothingWritten;
        let reply = Reply::own(status(&error), error.word());
        self.now = Instant::now();
        let in_time = outgoing.until.is_none_or(|until| self.now < until);
        if !again || !in_time {
            return Next::Answer(reply);
        }
        if stale {
            // Nobody's fault, and no try: the same backend may be asked again, by a new connection.
            self.fresh = true;
            return Next::Again;
        }
        if never_sent && !self.target.effective.retry.on.connect {
            return Next::Answer(reply);
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || self.count == MOST {
            return Next::Answer(reply);
        }
        self.tried[self.count] = backend;
        self.count += 1;
        let pool = &self.target.pool;
        if never_sent {
            pool.retries_connect.inc()
        } else {
            pool.retries_reset.inc()
        }
        self.last = Some(reply);
        Next::Again
    }

    /// Whether the connection broke before the head of the answer, and that is tried again.
    fn is_reset(&self, error: &Error) -> bool {
        self.target.effective.retry.on.reset && matches!(error, Error::Io(_) | Error::Closed)
    }
}

fn no_lease(none: NoLease) -> Reply {
    match none {
        NoLease::Full => Reply::own(503, "max_active"),
        NoLease::Empty | NoLease::Avoided => Reply::own(503, "no_backend"),
    }
}

pub(super) fn outcome(error: &Error, stale: bool) -> Outcome {
    match error {
        _ if stale => Outcome::Stale,
        Error::Local(_) | Error::Body(_) | Error::Request => Outcome::Abandoned,
        error if error.never_reached() => Outcome::NotReached,
        _ => Outcome::Failed,
    }
}

/// The status of our own answer for a broken try.
pub(super) fn status(error: &Error) -> u16 {
    match error {
        Error::ConnectTimeout | Error::FirstByte | Error::Idle | Error::Request => 504,
        Error::Local(_) | Error::Unresolved => 503,
        _ => 502,
    }
}

//! One request, and what is known of it.
use crate::config::Effective;
use crate::http::{Broke, Course};
use crate::pool::{Ask, Awaited, Backend, BackendId, Lease, Waiting, Why};
use std::sync::Arc;
use std::time::Instant;

/// Where a request is.
#[derive(Debug)]
pub(super) enum Stage {
    /// Somebody may soon be there: it looks again when a set is published.
    Pending,
    /// In the queue.
    Queued(Waiting),
    /// At a backend.
    Tried(Lease),
    /// Before a further try.
    Resting,
    Ended,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered(u16),
    /// The try broke, and there was no other.
    Broken(How),
    /// Our own answer.
    Own(&'static str),
    /// The client went away.
    Left,
}

/// How a try broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Refused,
    ConnectTimeout,
    Reset,
    FirstByte,
    /// Its backend went down, or fell silent.
    Left,
}

/// A wait for a first byte that lasts, as `upstream::Exchange` keeps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Long {
    pub(super) awaited: Awaited,
    pub(super) at: Instant,
}

/// A try beside another one.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) lease: Lease,
    pub(super) attempt: u32,
    pub(super) sent: Instant,
}

/// What a try came to that has another one beside it, which may better it.
#[derive(Debug)]
pub(super) struct Beaten {
    pub(super) broke: Broke,
    pub(super) id: BackendId,
    pub(super) end: End,
}

impl Beaten {
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.end, End::Answered(_))
    }
}

/// A further try that is on its way.
#[derive(Debug)]
pub(super) struct After {
    /// It costs of the budget.
    pub(super) costs: bool,
    /// That was taken of it already.
    pub(super) paid: bool,
    /// What the client gets if it does not come about.
    pub(super) end: End,
    /// The answer that somebody else is asked to better.
    pub(super) kept: Option<(Lease, u16)>,
}

#[derive(Debug)]
pub(super) struct Request {
    /// Whether a backend may be asked again for what another one may have begun.
    pub(super) repeatable: bool,
    /// It asks for the broken page.
    pub(super) broken: bool,
    pub(super) born: Instant,
    /// What held when it came.
    pub(super) effective: Arc<Effective>,
    /// When it must be over.
    pub(super) until: Option<Instant>,
    pub(super) seed: u64,
    /// Of its key, where the policy asks for one.
    pub(super) hash: Option<u64>,
    pub(super) stage: Stage,
    /// The number of its current try.
    pub(super) attempt: u32,
    /// Counts its tries.
    pub(super) tries: u32,
    /// One beside that.
    pub(super) beside: Option<Beside>,
    /// What it came to before one beside it stood in.
    pub(super) beaten: Option<Beaten>,
    /// The one beside it was faster.
    pub(super) is_outrun: bool,
    /// Who comes.
    pub(super) client: usize,
    /// Whom it comes back to.
    pub(super) home: Option<Arc<Backend>>,
    /// When the current try began.
    pub(super) sent: Instant,
    /// When it last asked in vain and may soon find somebody.
    pub(super) asked: Instant,
    pub(super) tried: Vec<BackendId>,
    /// Those of them that are asked again when nobody else is left.
    pub(super) later: Vec<BackendId>,
    pub(super) course: Course,
    pub(super) after: Option<After>,
    pub(super) long: Option<Long>,
    /// A backend may have begun with it.
    pub(super) begun: bool,
    /// A further try was not allowed by the budget.
    pub(super) spent: bool,
    /// A further try found everybody else full, and no queue, or waited there in vain.
    pub(super) full: bool,
}

impl Request {
    pub(super) fn new(
        repeatable: bool,
        effective: &Arc<Effective>,
        now: Instant,
        (seed, hash): (u64, Option<u64>),
    ) -> Self {
        Self {
            repeatable,
            broken: false,
            born: now,
            effective: effective.clone(),
            until: effective.timeout.request.get().map(|limit| now + limit),
            seed,
            hash,
            stage: Stage::Resting,
            attempt: 0,
            tries: 0,
            beside: None,
            beaten: None,
            is_outrun: false,
            client: 0,
            home: None,
            sent: now,
            asked: now,
            tried: Vec::new(),
            later: Vec::new(),
            course: Course::new(effective.retry.attempts),
            after: None,
            long: None,
            begun: false,
            spent: false,
            full: false,
        }
    }

    pub(super) fn ask(&self, now: Instant) -> Ask<'_> {
        Ask::new(now, self.seed)
            .hash(self.hash)
            .avoid(&self.tried)
            .prefer(self.home.as_ref())
            .client(self.client as u64)
            .why(if self.tried.is_empty() { Why::First } else { Why::Again })
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }
}

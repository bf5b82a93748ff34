//! The words of a pool's life: what changes it ([`Change`]), what comes of it ([`Turn`]), and how a
//! member is shown.
use super::backend::{Backend, BackendId, Endpoint};
use super::cells::{Cells, Picks};
use super::line::{Counted, Sum};
use super::verdict::Verdict;
use super::words::Word;
use crate::config::Name;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// A backend's state, by the words of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the words operators see")]
pub enum State {
    Up,
    Down,
    Unknown,
    Drain,
    Maintenance,
    Ejected,
    SlowStart,
}

impl State {
    /// Every state, in the order of their numbers.
    pub const ALL: [State; 7] = [
        Self::Up,
        Self::Down,
        Self::Unknown,
        Self::Drain,
        Self::Maintenance,
        Self::Ejected,
        Self::SlowStart,
    ];

    /// Whether a backend gets new work in it.
    pub const fn works(self) -> bool {
        matches!(self, Self::Up | Self::SlowStart)
    }

    /// Whether what runs there ends within `pool.drain`.
    pub(super) fn is_leaving(self) -> bool {
        matches!(self, Self::Drain | Self::Maintenance)
    }
    /// `up`, `down` …
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
            Self::Ejected => "ejected",
            Self::SlowStart => "slow_start",
        }
    }
}

/// Why a backend is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "`word` says it")]
pub enum Reason {
    None,
    /// Probes say so.
    Probe,
    /// A try was refused or could not reach it.
    Connect,
    /// Its name has no address.
    Unresolved,
    /// It is the admin side of this very proxy.
    OffLimits,
    /// An operator said so.
    Operator,
    /// Not probed yet.
    NotProbed,
    /// The config or discovery no longer names it.
    Removed,
    /// It registered itself, and its heartbeat did not come.
    Heartbeat,
    /// Its tries failed one after the other.
    ConsecutiveFailures,
    /// It answered a smaller share of its tries than the others.
    SuccessRate,
    /// Its tries wait for a first byte much longer than is usual for it.
    Silence,
}

impl Reason {
    /// Those of ejections, in the order of their counters.
    pub const EJECTIONS: [Reason; 3] =
        [Self::ConsecutiveFailures, Self::SuccessRate, Self::Silence];

    /// `probe`, `connect` …; empty for none.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Probe => "probe",
            Self::Connect => "connect",
            Self::Unresolved => "unresolved",
            Self::OffLimits => "off_limits",
            Self::Operator => "operator",
            Self::NotProbed => "not probed",
            Self::Removed => "removed",
            Self::Heartbeat => "heartbeat",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::SuccessRate => "success_rate",
            Self::Silence => "silence",
        }
    }
}

/// Why a probe was not good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// What went wrong.
    pub detail: String,
    /// The address that work goes to was never reached.
    pub refused: bool,
}

impl<T: Into<String>> From<T> for Miss {
    fn from(detail: T) -> Self {
        Self { detail: detail.into(), refused: false }
    }
}

/// What an operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words operators see")]
pub enum Wish {
    Up,
    Drain,
    Maintenance,
}

/// What changes a pool.
#[derive(Clone, Debug)]
pub enum Change {
    /// The whole set, by config or discovery. Of two with one name the first counts.
    Endpoints(Vec<Endpoint>),
    /// What the API says of some of its backends, by their names; `None`: nothing any more.
    Words(Vec<(Name, Option<Word>)>),
    /// The pool is gone: nobody is named any more, whoever named him.
    Gone,
    /// What another process knew of its backends, which goes on here.
    Remembered(Vec<Verdict>),
    /// A name's addresses; empty when it has none.
    Resolved {
        /// Whose.
        id: BackendId,
        /// Its addresses, in the resolver's order.
        addrs: Vec<SocketAddr>,
    },
    /// A probe's verdict, with a word on what was seen.
    Probed {
        /// Whose.
        id: BackendId,
        /// `Ok`, or what went wrong.
        verdict: Result<(), Miss>,
    },
    /// A try never reached the backend: down with reason `connect` at once.
    Unreached {
        /// Whose.
        id: BackendId,
        /// What went wrong.
        detail: String,
    },
    /// Nobody may go where it leads, or may again.
    OffLimits {
        /// Whose.
        id: BackendId,
        /// Why; `None`: anybody may.
        why: Option<String>,
    },
    /// So many of its tries failed that `outlier` speaks against it.
    Failing {
        /// Whose.
        id: BackendId,
        /// What was seen.
        detail: String,
    },
    /// Its tries wait too long for a first byte, while others answer.
    Silent {
        /// Whose.
        id: BackendId,
        /// What was seen.
        detail: String,
    },
    /// A backend that was silent, or is on trial for it, gave a first byte.
    Heard {
        /// Whose.
        id: BackendId,
    },
    /// Time passed.
    Tick,
    /// An operator's wish. It is kept by name, through every reload.
    Operator {
        /// Whose.
        name: Name,
        /// What.
        wish: Wish,
    },
}

/// A backend changed its state. Logged once, by the caller of `apply` on the control runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose.
    pub backend: Name,
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub detail: String,
}

impl Turn {
    /// The one line of a turn in the log: a warning when the backend went down or was ejected.
    pub fn log(&self, pool: &Name) {
        let (backend, from, to) = (&self.backend, self.from.word(), self.to.word());
        let (reason, detail) = (self.reason.word(), &self.detail);
        if matches!(self.to, State::Down | State::Ejected) {
            tracing::warn!(%pool, %backend, from, to, reason, detail, "backend turned");
        } else {
            tracing::info!(%pool, %backend, from, to, reason, detail, "backend turned");
        }
    }
}

/// Who says what a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words operators see")]
pub enum Author {
    File,
    Api,
}

impl Author {
    /// `file` or `api`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
        }
    }
}

/// A member at a glance: nothing copied, for who looks at many and often.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "as in `Member`")]
pub struct Glance<'a> {
    pub backend: &'a Arc<Backend>,
    pub state: State,
    pub reason: Reason,
    pub removed: Option<Author>,
}

/// A member as it is shown: a copy.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "names say it")]
pub struct Member {
    pub backend: Arc<Backend>,
    pub weight: u16,
    pub tier: u8,
    pub state: State,
    pub reason: Reason,
    pub since: SystemTime,
    /// The last probe's word: when, and `ok` or what went wrong.
    pub last_probe: Option<(SystemTime, String)>,
    /// Nobody names it any more, by the word of whom; it stays until its last lease ends, at most
    /// for `pool.drain`. Another member may have its name meanwhile.
    pub removed: Option<Author>,
    /// The number of the first that had its name, for as long as somebody has it.
    pub line: BackendId,
    pub(super) told: Counted,
}

impl Member {
    /// What is told of its counters: all that was counted under its name, at whatever address.
    /// Levels are at its own [`Backend`] alone.
    pub fn cells(&self) -> &Cells {
        self.sum().map_or(&self.backend.cells, |sum| &sum.cells)
    }
    /// What is told of how often it was picked.
    pub fn picks(&self) -> &Picks {
        self.sum().map_or_else(|| self.backend.picks(), |sum| &sum.picks)
    }
    /// Whether another member has its name, or had it later, and tells its counters with its own.
    pub fn is_told_elsewhere(&self) -> bool {
        matches!(self.told, Counted::Elsewhere(_))
    }
    fn sum(&self) -> Option<&Sum> {
        match &self.told {
            Counted::Own => None,
            Counted::Line(sum) | Counted::Elsewhere(sum) => Some(sum),
        }
    }
}

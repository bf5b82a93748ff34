//! The truth about a pool: endpoints x health x the operator's wish. Pure: time is an argument.
use super::backend::{BackendId, Endpoint};
use crate::config::Name;
use std::net::SocketAddr;

/// A backend's state, by the words of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "interface.md's words")]
pub enum State {
    Up,
    Down,
    Unknown,
    Drain,
    Maintenance,
}

impl State {
    /// `up`, `down` …
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
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
    /// An operator said so.
    Operator,
    /// Not probed yet.
    NotProbed,
    /// The config or discovery no longer names it.
    Removed,
}

impl Reason {
    /// `probe`, `connect` …; empty for none.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Probe => "probe",
            Self::Connect => "connect",
            Self::Unresolved => "unresolved",
            Self::Operator => "operator",
            Self::NotProbed => "not probed",
            Self::Removed => "removed",
        }
    }
}

/// What an operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "interface.md's words")]
pub enum Wish {
    Up,
    Drain,
    Maintenance,
}

/// What changes a pool.
#[derive(Clone, Debug)]
pub enum Change {
    /// The whole set, by config or discovery.
    Endpoints(Vec<Endpoint>),
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
        verdict: Result<(), String>,
    },
    /// A try never reached the backend: down with reason `connect` at once.
    Unreached {
        /// Whose.
        id: BackendId,
        /// What went wrong.
        detail: String,
    },
    /// An operator's wish.
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

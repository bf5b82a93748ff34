//! Why a backend could not be reached or did not answer, and whether a try may be repeated.
use crate::http1::{Refusal, Rule};
use crate::message::Broken;
use crate::pool::Lease;
use std::time::{Duration, Instant};
use std::{fmt, io};

/// Why a try broke.
#[derive(Debug)]
pub enum Error {
    /// The name has no address.
    Unresolved,
    /// It is the admin side of this very proxy: why nobody may go there.
    OffLimits(&'static str),
    /// Refused, unreachable, reset while connecting.
    Connect(io::Error),
    /// Connected, but TLS did not come about.
    Tls(String),
    /// The pool tells backends of clients in another way since this try began: the next one says
    /// the right thing.
    Changed,
    /// `timeout.connect` passed.
    ConnectTimeout,
    /// A shortage of our own machine: never blamed on a backend.
    Local(io::Error),
    /// Connected, then broken.
    Io(io::Error),
    /// The backend closed before its answer, or inside it.
    Closed,
    /// `timeout.first_byte` passed.
    FirstByte,
    /// `timeout.idle` passed inside a message.
    Idle,
    /// `timeout.request` passed.
    Request,
    /// The backend was drained or removed, and `pool.drain` has passed since.
    Over,
    /// Its backend went down before the answer began, and it can be sent elsewhere.
    Down,
    /// Its backend fell silent, and it can be sent elsewhere.
    Silent,
    /// The answer is no HTTP.
    Garbage(Refusal),
    /// The answer is no HTTP/2, or breaks its rules.
    Malformed(String),
    /// Another protocol was asked for, and the backend's connections cannot switch.
    NoUpgrade,
    /// More interim answers than `limits.interim`.
    Interim,
    /// The request's own body broke: the client's fault.
    Body(Broken),
}

impl Error {
    /// The reason for log and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unresolved => "unresolved",
            Self::OffLimits(_) => "off_limits",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Changed => "changed",
            Self::ConnectTimeout => "timeout_connect",
            Self::Local(_) => "local_shortage",
            Self::Io(_) | Self::Closed => "reset",
            Self::FirstByte => "timeout_first_byte",
            Self::Idle => "timeout_idle",
            Self::Request => "timeout_request",
            Self::Over => "drain_cut",
            Self::Down => "backend_down",
            Self::Silent => "silence",
            Self::Garbage(_) | Self::Malformed(_) => "bad_response",
            Self::NoUpgrade => "upgrade_unsupported",
            Self::Interim => "too_many_interim",
            Self::Body(_) => "client_body",
        }
    }
    /// The limit that the answer was above: the last word of its key.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Interim => Some("interim"),
            Self::Garbage(refusal) => match refusal.rule {
                Rule::HeadTooLarge => Some("head"),
                Rule::TooManyFields => Some("fields"),
                Rule::TrailersTooLarge => Some("trailers"),
                _ => None,
            },
            _ => None,
        }
    }
    /// Whether the backend was never reached.
    pub fn never_reached(&self) -> bool {
        matches!(
            self,
            Self::Unresolved
                | Self::OffLimits(_)
                | Self::Connect(_)
                | Self::Tls(_)
                | Self::Changed
                | Self::ConnectTimeout
                | Self::Local(_)
        )
    }
}

impl From<Refusal> for Error {
    /// An end that came too early is no garbage.
    fn from(refusal: Refusal) -> Self {
        if refusal.rule == Rule::Truncated { Self::Closed } else { Self::Garbage(refusal) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved => f.write_str("its name has no address"),
            Self::OffLimits(why) => f.write_str(why),
            Self::Connect(e) | Self::Local(e) | Self::Io(e) => e.fmt(f),
            Self::Tls(what) => write!(f, "TLS: {what}"),
            Self::Changed => f.write_str("its pool was changed meanwhile"),
            Self::ConnectTimeout => f.write_str("connect timed out"),
            Self::Closed => f.write_str("closed before the end of its answer"),
            Self::FirstByte => f.write_str("no answer in time"),
            Self::Idle => f.write_str("stood still in the middle of a message"),
            Self::Request => f.write_str("the request took too long"),
            Self::Over => f.write_str("its backend was drained, and the time for that is over"),
            Self::Down => f.write_str("its backend went down"),
            Self::Silent => f.write_str("its backend fell silent"),
            Self::Garbage(r) => write!(f, "invalid answer: {r}"),
            Self::Malformed(what) => write!(f, "invalid answer: {what}"),
            Self::NoUpgrade => f.write_str("its connections are HTTP/2's, which cannot switch"),
            Self::Interim => f.write_str("too many interim answers"),
            Self::Body(b) => write!(f, "the request's body: {b}"),
        }
    }
}
impl std::error::Error for Error {}

/// What may be done with a request whose try broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not one byte reached the backend: any request may go elsewhere.
    NothingWritten,
    /// The backend refused it without a look at it: any request may go elsewhere, or there once more.
    Refused,
    /// The backend may have begun: only what may be repeated (RFC 9110 9.2.2).
    OnlyIdempotent,
    /// The head of its answer came, which may be with the client.
    No,
}

/// A try that broke, with its lease given back for the caller to settle.
#[derive(Debug)]
pub struct Failed {
    /// The lease.
    pub lease: Lease,
    /// Why.
    pub error: Error,
    /// What may be done.
    pub retry: Retry,
    /// A kept connection that turned out closed at its reuse, or one that ended in order before it
    /// came to this request: nobody's fault.
    pub stale: bool,
    /// How long its connection took to be made; `None` for a kept one, and where none came about.
    pub connect: Option<Duration>,
    /// When its connection was there; `None` where none came about.
    pub begun: Option<Instant>,
    /// Where it is sent instead: taken, and paid for by the budget.
    pub next: Option<Lease>,
}

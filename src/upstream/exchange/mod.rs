//! One request and its answer at a backend: one face over the wires it may go by.
//!
//! Owns the lease and the wire: at the last byte the lease is settled and the connection given back;
//! an exchange dropped before that closes the connection, or its stream of one, and counts as
//! abandoned. Sending goes on while the answer is read, in the same task.
use super::dialer::Dialer;
use super::http1::Http1;
use super::http2::Http2;
use crate::http1::ResponseVerdict;
use crate::message::Barred;
use crate::pool::{Allowance, Lease};
use head::{Late, Long};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The same of either wire.
macro_rules! wire {
    ($wire:expr, $it:ident => $body:expr) => {
        match $wire {
            Wire::Http1($it) => $body,
            Wire::Http2($it) => $body,
        }
    };
}

mod body;
mod end;
mod head;

/// What a backend said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An interim answer (1xx): to be relayed; more will come.
    Interim,
    /// The head of the answer.
    Answer(ResponseVerdict),
    /// 101: the connection is another protocol's from here on.
    Switched,
}

/// The limits of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the request written to the answer's first byte.
    pub first_byte: Option<Duration>,
    /// No byte either way inside a message.
    pub idle: Option<Duration>,
    /// When all tries together must be over.
    pub until: Option<Instant>,
}

/// What carries it.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "boxed with its exchange; the usual one is the large one"
)]
pub(super) enum Wire {
    /// A connection of its own.
    Http1(Http1),
    /// A stream of a connection that others share.
    Http2(Box<Http2>),
}

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    pub(super) dialer: Arc<Dialer>,
    pub(super) lease: Option<Lease>,
    pub(super) wire: Wire,
    pub(super) begun: Instant,
    /// When the last of the request was written.
    pub(super) asked: Instant,
    /// It is sent elsewhere when its backend goes down or falls silent.
    pub(super) moves: bool,
    /// What further tries may cost its pool, and until when one is begun.
    pub(super) allowed: (Allowance, Option<Instant>),
    /// The hash and the seed that a backend is asked for with.
    pub(super) asks: (Option<u64>, u64),
    /// Where it is sent then: taken before it leaves, so that none leaves in vain.
    pub(super) next: Option<Lease>,
    /// It is waited for long.
    pub(super) long: Option<Long>,
    pub(super) pace: Pace,
    /// When the wait for the head must be over.
    pub(super) late: Option<(Instant, Late)>,
    /// Some of a head came: the rest has no longer than `idle`, however slowly it comes.
    pub(super) in_head: bool,
    pub(super) barred: Option<Barred>,
    pub(super) timed: bool,
    pub(super) ended: bool,
    pub(super) status: u16,
    /// It is a call of gRPC.
    pub(super) call: bool,
    /// What HTTP would say in place of what its head said of such a call.
    pub(super) meant: Option<u16>,
    /// How long the connection took to be made; `None` for a kept one.
    pub connect: Option<Duration>,
    /// How long the first byte took, once it came; zero where nobody wants to know.
    pub first_byte: Option<Duration>,
    /// Body bytes handed on.
    pub received: u64,
}

impl Exchange {
    /// Its limits.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// When its connection was there.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// The status of its answer, once its head came.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The lease, as long as the exchange is not over.
    pub fn lease(&self) -> &Lease {
        self.lease.as_ref().expect("an exchange holds its lease until it is over")
    }
}

/// So often an answer that stands still looks whether its backend was drained and the time for that is
/// over.
pub const LOOK: Duration = Duration::from_secs(1);

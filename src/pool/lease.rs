//! A backend taken for one connection or request.
use super::backend::Backend;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLease {
    /// Nobody is usable.
    Empty,
    /// Those that are usable are all to be avoided.
    Avoided,
    /// Those that are usable are all at `max_active`.
    Full,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with this status, to the last byte.
    Answered(u16),
    /// A layer-4 connection that ended in order.
    Closed,
    /// It never reached the backend: refused, unreachable, connect timeout.
    NotReached,
    /// A kept connection turned out closed at its reuse: nobody's fault.
    Stale,
    /// The backend broke it: reset, garbage, truncated, timeout.
    Failed,
    /// We or the client ended it: nothing is learnt.
    Abandoned,
}

/// A backend taken for one connection or request: counted below its limit when taken, settled with
/// its outcome at the last byte. A dropped lease counts as [`Outcome::Abandoned`].
#[derive(Debug)]
pub struct Lease {/* pool: Arc<Pool>, backend: Arc<Backend>, taken: Instant */}

impl Lease {
    /// The backend.
    pub fn backend(&self) -> &Arc<Backend> {
        todo!()
    }
    /// The first byte of the answer came after so long: peak-EWMA learns here.
    pub fn first_byte(&self, took: Duration) {
        let _ = took;
        todo!()
    }
    /// Ends it.
    pub fn settle(self, outcome: Outcome) {
        let _ = outcome;
        todo!()
    }
}

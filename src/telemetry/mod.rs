//! The process's own log and the access log, each with its writer thread, the last requests
//! that failed, and traces.

mod access;
mod clock;
mod errors;
mod escape;
mod fields;
mod lanes;
mod line;
mod log;
mod number;
mod outlet;
mod room;
mod trace;
mod writer;

pub use access::{Access, AccessLog, Place};
pub(crate) use clock::since_1970;
pub use errors::{Attempt, Ended, Errors, Kept, Kind, Spent};
pub(crate) use escape::seen;
pub use escape::{is_markless, is_unseen};
pub use log::{LogHandle, init};
pub use number::rfc3339;
pub use trace::{Attribute, Moment, Span, SpanKind, Trace, TraceCells, Tracer};

use crate::config::Log;
use std::sync::Arc;

/// What is told of requests and connections while they are served. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// A line for each.
    pub access: AccessLog,
    /// The last of those that failed or were slow.
    pub errors: Arc<Errors>,
    /// Some of them, with each of their tries, for a collector.
    pub tracer: Arc<Tracer>,
}

impl Telemetry {
    /// What a configuration says of it; nothing changes on an error.
    ///
    /// # Errors
    ///
    /// As [`AccessLog::apply`].
    pub fn apply(&self, log: &Log) -> Result<(), crate::config::Problem> {
        self.access.apply(log.access.as_ref())?;
        self.errors.apply(log.errors, log.slow.get());
        Ok(())
    }
}

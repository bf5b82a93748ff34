//! What a desk asks of whoever owns the listener.
use super::ours::Ours;
use super::relay::Relay;
use crate::drain::Watch;
use crate::telemetry::AccessLog;
use std::net::IpAddr;
use std::sync::Arc;

/// Counts the sessions of a listener and knows its current service.
pub trait Threshold: Send + 'static {
    /// What a session holds for its life.
    type Place: Send + 'static;

    /// The service in force.
    fn relay(&self) -> Arc<Relay>;

    /// A place for one session more.
    ///
    /// # Errors
    ///
    /// The word of the limit that was reached.
    fn admit(&self, client: IpAddr) -> Result<(Self::Place, Watch), &'static str>;

    /// The addresses of this process and of its backends.
    fn ours(&self) -> Arc<Ours>;

    /// Where sessions are told of at their end.
    fn access(&self) -> &AccessLog;
}

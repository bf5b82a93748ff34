//! One worker's connections to backends.
use super::error::Error;
use crate::net::Stream;
use crate::pool::Lease;
use std::sync::Arc;
use std::time::Duration;

/// One worker's connections to backends: dials, keeps idle ones.
#[derive(Debug, Default)]
pub struct Dialer {}

impl Dialer {
    /// Nothing idle yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }
    /// Dials the backend of a lease. Counts the connection, its result and its duration; the
    /// stream is plain and belongs to the caller. Tells the pool when the backend was not reached.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub async fn stream(&self, lease: &Lease, timeout: Option<Duration>) -> Result<Stream, Error> {
        let _ = (lease, timeout);
        todo!()
    }
    /// Closes idle connections past their age, those the backend closed, and those of backends
    /// that are gone. Called each second by the worker.
    pub fn sweep(&self) {
        todo!()
    }
}

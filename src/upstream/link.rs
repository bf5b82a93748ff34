//! An open connection to a backend, counted for as long as it lives.
use crate::net::Stream;
use crate::net::proxy_protocol::Written;
use crate::pool::Backend;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

/// An open connection to a backend. Whoever drops it, at the end of its life or in the middle of a
/// request that was cut, it is open no longer.
#[derive(Debug)]
pub struct Link {
    stream: Stream,
    born: Instant,
    /// The number of the way it was connected.
    reach: u64,
    /// For whom it was made, where the backend was told.
    header: Option<Box<Written>>,
    backend: Arc<Backend>,
}

impl Link {
    /// Counts it as open.
    pub(super) fn new(
        stream: Stream,
        backend: &Arc<Backend>,
        reach: u64,
        header: Option<Written>,
        born: Instant,
    ) -> Self {
        backend.cells.open.add(1);
        Self { stream, born, reach, header: header.map(Box::new), backend: backend.clone() }
    }
    /// For whom it was made, where the backend was told: it carries nobody else's requests.
    pub(super) fn header(&self) -> Option<&Written> {
        self.header.as_deref()
    }
    /// The number of the way it was connected ([`crate::pool::Pool::reach_number`]).
    pub(super) fn reach(&self) -> u64 {
        self.reach
    }
    /// When it was made.
    pub fn born(&self) -> Instant {
        self.born
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.backend.cells.open.add(-1);
    }
}

impl Deref for Link {
    type Target = Stream;
    fn deref(&self) -> &Stream {
        &self.stream
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

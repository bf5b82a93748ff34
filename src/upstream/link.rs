//! An open connection to a backend, counted for as long as it lives.
use crate::net::Stream;
use crate::pool::Backend;
use std::borrow::{Borrow, BorrowMut};
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
    backend: Arc<Backend>,
}

impl Link {
    /// Counts it as open.
    pub(super) fn new(stream: Stream, backend: &Arc<Backend>, reach: u64, born: Instant) -> Self {
        backend.cells.open.add(1);
        Self { stream, born, reach, backend: backend.clone() }
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

impl Borrow<Stream> for Link {
    fn borrow(&self) -> &Stream {
        &self.stream
    }
}

impl BorrowMut<Stream> for Link {
    fn borrow_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

//! An open connection to a backend, counted for as long as it lives.
use crate::config::Rate;
use crate::net::Stream;
use crate::net::proxy_protocol::Written;
use crate::pool::{Backend, Place};
use std::borrow::{Borrow, BorrowMut};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So long a backend is remembered that sent bytes behind an answer that has no body.
const SPILL_MEMORY: Duration = Duration::from_secs(60);

/// What the last answer on a connection was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// None yet, or one whose body has an end of its own.
    Framed,
    /// One whose status has no body: 204, 304.
    Bare,
    /// That of a HEAD request.
    Head,
}

/// An open connection to a backend. Whoever drops it, at the end of its life or in the middle of a
/// request that was cut, it is open no longer.
///
/// It stays where it was made: only the way to it is handed around.
#[derive(Debug)]
pub struct Link(Box<Open>);

#[derive(Debug)]
struct Open {
    stream: Stream,
    born: Instant,
    /// The number of the way it was connected.
    reach: u64,
    place: Place,
    last: Last,
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
        place: Place,
        header: Option<Written>,
        born: Instant,
    ) -> Self {
        backend.cells.open.add(1);
        let (header, backend) = (header.map(Box::new), backend.clone());
        Self(Box::new(Open { stream, born, reach, place, last: Last::Framed, header, backend }))
    }
    /// For whom it was made, where the backend was told: it carries nobody else's requests.
    pub(super) fn header(&self) -> Option<&Written> {
        self.0.header.as_deref()
    }
    /// The number of the way it was connected ([`crate::pool::Pool::reach_number`]).
    pub(super) fn reach(&self) -> u64 {
        self.0.reach
    }
    /// Whether it leads to its backend still: not where the name has left that address.
    pub(super) fn is_there(&self) -> bool {
        self.0.backend.holds(&self.0.place)
    }
    /// What it carried last.
    pub(super) fn last(&self) -> Last {
        self.0.last
    }
    pub(super) fn carried(&mut self, last: Last) {
        self.0.last = last;
    }
    /// Closes what carries nothing any more, and its backend keeps open: where many are, by an RST, as other
    /// proxies do, so that its port is free at once (of who closes in order the kernel keeps it for a minute, RFC 9293
    /// 3.6.1, and an address has few). What its backend's host does not have yet of a request, though it answered, it gets.
    pub(super) fn close(mut self, rate: Option<Rate>, now: Instant) {
        let must = !self.0.stream.has_arrived();
        if !self.0.backend.closes_in_order(rate, must, now) {
            self.0.stream.reset_on_close();
        }
    }
    /// Behind an answer that has no body came bytes: what is wrong with one answer of a backend is
    /// so with others, whose connections are closed for a while ([`Last`]).
    pub(super) fn spilled(&self, now: Instant) {
        let backend = &self.0.backend;
        if !backend.has_spilled(SPILL_MEMORY, now) {
            tracing::warn!(pool = %backend.pool, backend = %backend.name, "it sends a body behind answers that have \
                none (to HEAD, or 204 and 304): for a minute no connection is used again after such an answer");
        }
        backend.spilled(now);
    }
    /// Whether no other request may follow what it carried.
    pub(super) fn is_spoilt(&self, now: Instant) -> bool {
        self.0.last != Last::Framed && self.0.backend.has_spilled(SPILL_MEMORY, now)
    }
    /// When it was made.
    pub fn born(&self) -> Instant {
        self.0.born
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.backend.cells.open.add(-1);
    }
}

impl Deref for Link {
    type Target = Stream;
    fn deref(&self) -> &Stream {
        &self.0.stream
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut Stream {
        &mut self.0.stream
    }
}

impl Borrow<Stream> for Link {
    fn borrow(&self) -> &Stream {
        &self.0.stream
    }
}

impl BorrowMut<Stream> for Link {
    fn borrow_mut(&mut self) -> &mut Stream {
        &mut self.0.stream
    }
}

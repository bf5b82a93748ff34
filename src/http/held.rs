//! An answer that nobody has yet, while somebody else is asked to better it.
use super::downstream::Downstream;
use super::reply::Reply;
use super::tries::Next;
use crate::message::{Head, Method};
use crate::pool::Backend;
use crate::upstream::{Exchange, Heard};
use std::sync::Arc;
use std::time::Instant;

/// So much of the body of an answer is kept while its request waits for somebody else in the queue: an
/// error page.
const PAGE: usize = 4 << 10;

/// An answer that somebody else is asked to better.
pub(super) enum Held {
    /// As it came.
    Open(Box<Exchange>, Heard),
    /// Its place was given back: its backend, its status, and its body where that came whole.
    Left(Arc<Backend>, u16, Option<Vec<u8>>),
}

impl Held {
    /// Somebody else is asked: nobody gets it.
    pub(super) fn end(self, client: &mut dyn Downstream, now: Instant) {
        if let Self::Open(mut exchange, _) = self {
            exchange.give_back(client);
            exchange.discard(client, now);
        }
    }

    /// Ends it, and with it its place at the backend.
    pub(super) fn leave(self, client: &mut dyn Downstream, now: Instant) -> Self {
        let Self::Open(mut exchange, _) = self else { return self };
        let (backend, status) = (exchange.lease().backend().clone(), exchange.status());
        exchange.give_back(client);
        Self::Left(backend, status, exchange.detach(client, now, PAGE))
    }

    /// Nobody bettered it: the client gets it, or, where it did not come whole, its status. That of a
    /// HEAD says the length of what is not here.
    pub(super) fn next(self, request: &Head) -> Next {
        match self {
            Self::Open(exchange, heard) => Next::Keep(exchange, heard),
            Self::Left(backend, _, Some(body)) if request.method() != Method::Head => {
                Next::Kept(backend, body)
            }
            Self::Left(_, status, _) => Next::Answer(Box::new(Reply::own(status, "queue"))),
        }
    }
}

//! The end of an exchange: in order, broken off, failed, or as another protocol; what becomes of its lease and
//! of its connection.
use super::{Exchange, Wire};
use crate::http2;
use crate::message::{Chunk, Fill, Pressure, memory};
use crate::metrics::Span;
use crate::net::Spliced;
use crate::pool::Lease;
use crate::reach;
use crate::upstream::connect;
use crate::upstream::error::{Error, Failed, Retry};
use crate::upstream::link::{Last, Link};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// So many pieces of an answer that nobody gets are read.
const PIECES: usize = 8;

impl Exchange {
    /// Ends it in order, after `poll_fill` said `End`: settles the lease and gives the connection
    /// back if it can carry another request.
    #[inline(always)]
    pub fn finish(mut self: Box<Self>, whole: Span) {
        let lease = self.take_lease();
        if let Wire::Http1(wire) = &mut self.wire
            && let Some(link) = wire.take_clean(self.status, whole.ended())
        {
            self.dialer.idle.give(&lease, link, whole.ended());
        }
        self.settle(lease, whole);
    }

    #[inline(always)]
    fn settle(&self, lease: Lease, whole: Span) {
        if self.call {
            return self.called(lease, whole);
        }
        lease.answered(self.status, whole);
    }

    /// One of gRPC says with 200 what came of it: in its trailers, or in its head.
    #[cold]
    fn called(&self, lease: Lease, whole: Span) {
        let meant = self.trailers().and_then(http2::meant).or(self.meant);
        match meant.filter(|_| self.status == 200) {
            Some(status) => lease.called(status, whole),
            None => lease.answered(self.status, whole),
        }
    }

    /// After an error: gives the client's body back what was sent of it and is still here, so that it
    /// can be sent again.
    pub fn give_back(&mut self, body: &mut dyn Spliced) {
        match &mut self.wire {
            Wire::Http1(wire) => wire.pump.give_back(body),
            Wire::Http2(wire) => wire.give_back(body),
        }
    }

    /// Whether all of the request's body that was sent is here, so that it can be given back.
    pub fn has_whole(&self, body: &dyn Spliced) -> bool {
        let kept = match &self.wire {
            Wire::Http1(wire) => wire.pump.kept(),
            Wire::Http2(wire) => wire.kept(),
        };
        body.gone() == kept
    }

    /// The answer goes to the client: nothing of the request is kept any more.
    pub fn keep_nothing(&mut self) {
        match &mut self.wire {
            Wire::Http1(wire) => wire.pump.keep_nothing(),
            Wire::Http2(wire) => wire.keep_nothing(),
        }
    }

    /// Ends it with an answer that nobody gets. If all of that is at hand already, its connection can
    /// carry another request; else it is closed, or the stream.
    pub fn discard(self: Box<Self>, body: &mut dyn Spliced, now: Instant) {
        self.end_at_once(body, now, &mut |_| {});
    }

    /// As `discard`, and keeps the body for later: where all of it is at hand, in no more than `most`
    /// bytes, and nothing follows it.
    pub fn detach(
        self: Box<Self>,
        body: &mut dyn Spliced,
        now: Instant,
        most: usize,
    ) -> Option<Vec<u8>> {
        let (mut kept, mut fits) = (Vec::new(), memory().pressure() == Pressure::None);
        let whole = self.end_at_once(body, now, &mut |data| {
            fits &= kept.len() + data.len() <= most;
            if fits {
                kept.extend_from_slice(data);
            }
        });
        (whole && fits).then_some(kept)
    }

    /// Whether all of its answer was at hand, without trailers.
    fn end_at_once(
        mut self: Box<Self>,
        body: &mut dyn Spliced,
        now: Instant,
        each: &mut dyn FnMut(&[u8]),
    ) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        let whole = Span::new(self.begun, now);
        for _ in 0..PIECES {
            if !wire!(&self.wire, it => it.is_sent()) {
                break;
            }
            match self.poll_fill(&mut nobody, body) {
                Poll::Ready(Ok(Fill::End)) => {
                    let is_all = self.trailers().is_none();
                    self.finish(whole);
                    return is_all;
                }
                Poll::Ready(Ok(Fill::Data)) => {
                    each(self.data());
                    self.consume(self.data().len());
                }
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        let lease = self.take_lease();
        self.settle(lease, whole);
        false
    }

    /// Ends it after an error: closes the connection, or its stream of one, and gives the lease
    /// back.
    pub fn fail(mut self: Box<Self>, error: Error) -> Box<Failed> {
        let lease = self.take_lease();
        let (connect, begun, next) = (self.connect, Some(self.begun), self.next.take());
        if matches!(error, Error::FirstByte) {
            lease.in_vain(self.asked.elapsed(), Instant::now());
        }
        let error = match self.refused_us(&error) {
            None => error,
            Some(why) => {
                let error = Error::Tls(why);
                connect::not_reached(&lease, &error);
                let retry = Retry::NothingWritten;
                return Box::new(Failed {
                    lease,
                    error,
                    retry,
                    stale: false,
                    connect,
                    begun,
                    next,
                });
            }
        };
        if let Some(limit) = error.limit() {
            lease.pool().limit_hits.inc(limit);
        }
        let (retry, stale) = match &self.wire {
            Wire::Http1(wire) => {
                let (retry, reused) = (wire.retry(), self.connect.is_none());
                // What belongs to no answer was one's that has none.
                if let (Error::Garbage(_), Some(link)) = (&error, &wire.link)
                    && reused
                    && link.last() != Last::Framed
                {
                    link.spilled(Instant::now());
                }
                let closed = matches!(error, Error::Io(_) | Error::Closed);
                (retry, reused && !wire.is_begun() && closed)
            }
            Wire::Http2(wire) => wire.retry(&error),
        };
        if stale && matches!(self.wire, Wire::Http1(_)) {
            let now = Instant::now();
            lease.backend().raced(now);
            self.dialer.idle.raced(&lease, self.allowed.0.half(), now);
        }
        Box::new(Failed { lease, error, retry, stale, connect, begun, next })
    }

    /// What the backend has against our certificate, if that is why a new connection ended: TLS 1.3
    /// says it behind the handshake.
    fn refused_us(&self, error: &Error) -> Option<String> {
        let Wire::Http1(wire) = &self.wire else { return None };
        let is_new = self.connect.is_some() && !wire.is_begun();
        let Error::Io(error) = error else { return None };
        if is_new { reach::refused_us(error) } else { None }
    }

    /// The connection after 101, with what was read of the other protocol.
    pub fn into_tunnel(mut self: Box<Self>) -> (Link, Chunk, Lease) {
        let lease = self.take_lease();
        match &mut self.wire {
            Wire::Http1(wire) => {
                let link = wire.link.take().expect("open until over");
                (link, std::mem::replace(&mut wire.buf, Chunk::none()), lease)
            }
            Wire::Http2(wire) => (wire.take_tunnel(), Chunk::none(), lease),
        }
    }

    fn take_lease(&mut self) -> Lease {
        self.lease.take().expect("an exchange holds its lease until it is over")
    }
}

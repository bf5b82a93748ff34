//! The body of an answer, as it comes, while the rest of the request is written.
use super::{Exchange, Wire};
use crate::message::{Barred, Fields, Fill};
use crate::net::{Pipe, Spliced};
use crate::upstream::error::Error;
use std::task::{Context, Poll, ready};

impl Exchange {
    /// Makes body bytes of the answer available, writing the rest of the request meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error`]; follow with [`Exchange::fail`].
    #[inline(always)]
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut dyn Spliced,
    ) -> Poll<Result<Fill, Error>> {
        if self.ended {
            return Poll::Ready(Ok(Fill::End));
        }
        let filled = match &mut self.wire {
            Wire::Http1(wire) => wire.poll_fill(cx, body, self.received),
            Wire::Http2(wire) => wire.poll_fill(cx, body),
        };
        self.ended = matches!(filled, Poll::Ready(Ok(Fill::End)));
        if self.ended
            && let Some(barred) = &self.barred
        {
            barred.strip(wire!(&mut self.wire, it => it.trailers_mut()));
        }
        filled
    }

    /// The client takes none of the bytes at hand for now: what shares a connection with others goes
    /// on meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error`]; follow with [`Exchange::fail`].
    pub fn wait(&mut self, cx: &mut Context<'_>, body: &mut dyn Spliced) -> Result<(), Error> {
        match &mut self.wire {
            Wire::Http2(wire) if !self.ended => wire.wait(cx, body),
            _ => Ok(()),
        }
    }

    /// What the answer's trailers do not say.
    #[cold]
    pub fn bar(&mut self, barred: &Barred) {
        self.barred = Some(barred.clone());
    }

    /// The body bytes at hand.
    #[inline(always)]
    pub fn data(&self) -> &[u8] {
        wire!(&self.wire, it => it.data())
    }

    /// Takes `n` of them.
    #[inline(always)]
    pub fn consume(&mut self, n: usize) {
        wire!(&mut self.wire, it => it.consume(n));
        self.received += n as u64;
    }

    /// How many of the next bytes may be spliced to the client: 0 while bytes are at hand, and once
    /// the backend has closed.
    pub fn opaque(&self) -> u64 {
        match &self.wire {
            Wire::Http1(wire) if !self.ended => wire.opaque(),
            _ => 0,
        }
    }

    /// Moves up to `opaque` body bytes into a pipe, writing the rest of the request meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error`]; follow with [`Exchange::fail`].
    pub fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        body: &mut dyn Spliced,
    ) -> Poll<Result<u64, Error>> {
        // Of a stream nothing is ever opaque.
        let Wire::Http1(wire) = &mut self.wire else { return Poll::Ready(Err(Error::Closed)) };
        let n = ready!(wire.poll_splice(cx, pipe, body))?;
        self.received += n;
        Poll::Ready(Ok(n))
    }

    /// Body bytes of the answer and bytes of the request that were moved so far.
    pub fn moved(&self) -> u64 {
        self.received + wire!(&self.wire, it => it.written())
    }

    /// Whether nothing of the body is at hand.
    pub fn has_nothing(&self) -> bool {
        wire!(&self.wire, it => it.has_nothing())
    }

    /// Whether the connection can be spliced from at all.
    pub fn is_tcp(&self) -> bool {
        match &self.wire {
            Wire::Http1(wire) => wire.link.as_ref().is_some_and(|link| link.tcp().is_some()),
            Wire::Http2(_) => false,
        }
    }

    /// The answer's trailers, once `poll_fill` said `End`.
    pub fn trailers(&self) -> Option<&Fields> {
        wire!(&self.wire, it => it.trailers())
    }
}

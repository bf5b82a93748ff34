//! A request and its answer on an HTTP/1.1 connection of their own.
use super::error::{Error, Retry};
use super::exchange::Heard;
use super::link::{Last, Link};
use super::pump::{Pump, Stop};
use crate::http1::{Client, Event, Want};
use crate::message::{Chunk, Fields, Fill, Head, Part, Pressure, Size, memory};
use crate::net::{Pipe, Spliced};
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// From so many bytes on an answer is read in larger blocks.
const BULK: u64 = 32 << 10;
const BULK_BLOCK: usize = 32 << 10;

/// A request and its answer on a connection.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) link: Option<Link>,
    pub(super) pump: Pump,
    pub(super) client: Client,
    pub(super) buf: Chunk,
    pub(super) data: usize,
    pub(super) skip: usize,
    pub(super) eof: bool,
}

impl Http1 {
    /// Reads and judges until a head is complete; also says whether bytes came.
    #[inline(always)]
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
    ) -> (bool, Poll<Result<Heard, Error>>) {
        let mut came = false;
        loop {
            if self.buf.is_lent() || self.eof {
                match self.judge(head) {
                    Ok(None) => {}
                    Ok(Some(heard)) => return (came, Poll::Ready(Ok(heard))),
                    Err(error) => return (came, Poll::Ready(Err(error))),
                }
            }
            match self.read(cx, Part::Answer) {
                Poll::Pending => return (came, Poll::Pending),
                Poll::Ready(Err(error)) => return (came, Poll::Ready(Err(error))),
                Poll::Ready(Ok(())) => came = true,
            }
        }
    }

    /// Judges the bytes at hand until a head is complete.
    #[inline(always)]
    fn judge(&mut self, head: &mut Head) -> Result<Option<Heard>, Error> {
        let (used, event) = self.client.next(self.buf.data(), self.eof, head)?;
        self.buf.consume(used);
        match event {
            Event::Head(verdict) => Ok(Some(Heard::Answer(verdict))),
            Event::Informational => Ok(Some(Heard::Interim)),
            Event::Switched => Ok(Some(Heard::Switched)),
            Event::Closed => Err(Error::Closed),
            _ if self.eof => Err(Error::Closed),
            _ => Ok(None),
        }
    }

    /// Writes what can be written; says whether something was. A backend that takes no more may have
    /// answered already, so after a broken write it is what can be read, an answer or an end, that
    /// counts.
    #[inline(always)]
    pub(super) fn pump(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut dyn Spliced,
    ) -> Result<bool, Error> {
        self.pump.relieve();
        if self.pump.is_done() {
            return Ok(false);
        }
        let stream = self.link.as_deref_mut().expect("open until over");
        let before = self.pump.written();
        match self.pump.poll(cx, stream, body) {
            Poll::Ready(Err(Stop::Body(broken))) => return Err(Error::Body(broken)),
            Poll::Ready(Err(Stop::Upstream(error))) => {
                if self.pump.written() == 0 {
                    return Err(Error::Io(error));
                }
                self.pump.give_up();
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        Ok(self.pump.written() != before)
    }

    /// Reads once. The block is borrowed when there is something to read into it.
    #[inline(always)]
    fn read(&mut self, cx: &mut Context<'_>, part: Part) -> Poll<Result<(), Error>> {
        if self.eof {
            return Poll::Ready(Ok(()));
        }
        let stream = self.link.as_deref_mut().expect("open until over");
        let n = ready!(stream.poll_read_chunk(cx, &mut self.buf, part)).map_err(Error::Io)?;
        self.eof = n == 0;
        Poll::Ready(Ok(()))
    }

    /// Makes body bytes available; `received` were handed on before.
    #[inline(always)]
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut dyn Spliced,
        received: u64,
    ) -> Poll<Result<Fill, Error>> {
        if self.data > 0 {
            return Poll::Ready(Ok(Fill::Data));
        }
        self.pump(cx, body)?;
        loop {
            // Without a block at hand the machine still knows an end that needs no byte.
            let (used, event) = self.client.next_body(self.buf.data(), self.eof)?;
            match event {
                Event::Data(range) => {
                    self.skip = range.start;
                    self.data = range.len();
                    return Poll::Ready(Ok(Fill::Data));
                }
                Event::End => {
                    self.buf.consume(used);
                    return Poll::Ready(Ok(Fill::End));
                }
                Event::Want(Want::Read | Want::Idle) if !self.eof => self.buf.consume(used),
                _ => return Poll::Ready(Err(Error::Closed)),
            }
            if self.buf.data().is_empty()
                && received > BULK
                && self.buf.spare().len() < BULK_BLOCK
                && memory().pressure() == Pressure::None
            {
                self.buf = Chunk::lend(Size::Body);
            }
            if self.read(cx, Part::Body)?.is_pending() {
                // However slow it is, it holds no block while it says nothing.
                self.buf.rest();
                return Poll::Pending;
            }
        }
    }

    #[inline(always)]
    pub(super) fn data(&self) -> &[u8] {
        if self.data == 0 {
            return &[];
        }
        &self.buf.data()[self.skip..self.skip + self.data]
    }

    #[inline(always)]
    pub(super) fn consume(&mut self, n: usize) {
        assert!(n <= self.data);
        self.buf.consume(self.skip + n);
        self.skip = 0;
        self.data -= n;
    }

    pub(super) fn opaque(&self) -> u64 {
        if self.eof || !self.buf.data().is_empty() { 0 } else { self.client.opaque() }
    }

    pub(super) fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        pipe: &mut Pipe,
        body: &mut dyn Spliced,
    ) -> Poll<Result<u64, Error>> {
        self.pump(cx, body)?;
        // The kernel holds what is under way.
        self.buf.give_up();
        let most = self.client.opaque();
        let stream = self.link.as_deref_mut().expect("open until over");
        let n = ready!(pipe.poll_fill(cx, stream, most)).map_err(Error::Io)? as u64;
        self.eof = n == 0;
        self.client.advance(n);
        Poll::Ready(Ok(n))
    }

    /// Whether the whole request is with the backend.
    #[inline(always)]
    pub(super) fn is_sent(&self) -> bool {
        self.pump.is_done()
    }

    pub(super) fn waits_for_body(&self) -> bool {
        self.pump.waits_for_body()
    }

    #[inline(always)]
    pub(super) fn written(&self) -> u64 {
        self.pump.written()
    }

    #[inline(always)]
    pub(super) fn has_nothing(&self) -> bool {
        self.buf.data().is_empty()
    }

    pub(super) fn trailers(&self) -> Option<&Fields> {
        self.client.trailers()
    }

    pub(super) fn trailers_mut(&mut self) -> Option<&mut Fields> {
        self.client.trailers_mut()
    }

    /// Whether the request is with the backend and not a byte of what is awaited is at hand.
    #[inline(always)]
    pub(super) fn waits(&self) -> bool {
        self.pump.is_done() && self.buf.data().is_empty()
    }

    /// The connection, if it can carry another request; this was the status of its answer.
    #[inline(always)]
    pub(super) fn take_clean(&mut self, status: u16, now: Instant) -> Option<Link> {
        let last = match status {
            _ if self.client.asks_head() => Last::Head,
            204 | 304 => Last::Bare,
            _ => Last::Framed,
        };
        if let Some(link) = &mut self.link {
            link.carried(last);
            if last != Last::Framed && !self.buf.data().is_empty() {
                link.spilled(now);
            }
        }
        let clean = self.pump.is_done()
            && !self.eof
            && self.buf.data().is_empty()
            && self.client.is_reusable();
        if clean { self.link.take() } else { None }
    }

    /// What may be done after an error.
    pub(super) fn retry(&self) -> Retry {
        match (self.client.is_answered(), self.client.is_begun(), self.pump.written()) {
            (true, ..) => Retry::No,
            (_, false, 0) => Retry::NothingWritten,
            _ => Retry::OnlyIdempotent,
        }
    }

    /// Whether a byte came for the request.
    pub(super) fn is_begun(&self) -> bool {
        self.client.is_begun()
    }
}

//! One request and its answer on one connection to a backend.
//!
//! Owns the lease and the connection: at the last byte the lease is settled and the connection
//! given back; an exchange dropped before that closes the connection and counts as abandoned.
//! Sending goes on while the answer is read, in the same task.
use super::dialer::Dialer;
use super::error::{Error, Failed, Retry};
use super::link::Link;
use super::pump::{Pump, Stop};
use crate::http1::{Client, Event, ResponseVerdict, Want};
use crate::message::{Broken, Chunk, Fields, Fill, Head, Part, Pressure, Size, memory};
use crate::net::{Pipe, Spliced, Timer};
use crate::pool::Lease;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// What a backend said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An interim answer (1xx): to be relayed; more will come.
    Interim,
    /// The head of the answer.
    Answer(ResponseVerdict),
    /// 101: the connection is another protocol's from here on.
    Switched,
}

/// The limits of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the request written to the answer's first byte.
    pub first_byte: Option<Duration>,
    /// No byte either way inside a message.
    pub idle: Option<Duration>,
    /// When all tries together must be over.
    pub until: Option<Instant>,
}

/// One request and its answer on one connection.
#[derive(Debug)]
pub struct Exchange {
    pub(super) dialer: Arc<Dialer>,
    pub(super) lease: Option<Lease>,
    pub(super) link: Option<Link>,
    pub(super) begun: Instant,
    pub(super) pump: Pump,
    pub(super) client: Client,
    pub(super) pace: Pace,
    /// When the wait for the head must be over.
    pub(super) late: Option<(Instant, Late)>,
    pub(super) timed: bool,
    pub(super) buf: Chunk,
    pub(super) data: usize,
    pub(super) skip: usize,
    pub(super) eof: bool,
    pub(super) ended: bool,
    pub(super) status: u16,
    /// How long the connection took to be made; `None` for a kept one.
    pub connect: Option<Duration>,
    /// How long the first byte took, once it came; zero where nobody wants to know.
    pub first_byte: Option<Duration>,
    /// Body bytes handed on.
    pub received: u64,
}

impl Exchange {
    /// Its limits.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// The lease, as long as the exchange is not over.
    pub fn lease(&self) -> &Lease {
        self.lease.as_ref().expect("an exchange holds its lease until it is over")
    }

    /// The next head, with the request written meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error`]; follow with [`Exchange::fail`].
    pub async fn head(
        &mut self,
        head: &mut Head,
        body: &mut dyn Spliced,
        timer: &mut Timer,
    ) -> Result<Heard, Error> {
        let mut moved = true;
        std::future::poll_fn(|cx| {
            let polled = self.poll_head(cx, head, body, timer, moved);
            moved = false;
            polled
        })
        .await
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
        body: &mut dyn Spliced,
        timer: &mut Timer,
        first: bool,
    ) -> Poll<Result<Heard, Error>> {
        let mut moved = self.pump(cx, body)? || first;
        loop {
            if (self.buf.is_lent() || self.eof)
                && let Some(heard) = self.judge(head)?
            {
                return Poll::Ready(Ok(heard));
            }
            if self.read(cx, Part::Answer)?.is_pending() {
                if self.lease().is_over() {
                    return Poll::Ready(Err(Error::Over));
                }
                if self.pump.is_done() && body.poll_gone(cx).is_ready() {
                    return Poll::Ready(Err(Error::Body(Broken::Closed)));
                }
                if moved {
                    // The first look comes right after the beginning; one after an interim answer
                    // does not.
                    let fresh = first && self.first_byte.is_none();
                    let now = if fresh { self.begun } else { Instant::now() };
                    self.late = self.deadline(now);
                    timer.start(now, Some(self.look_at(now)));
                }
                ready!(timer.poll(cx));
                let now = Instant::now();
                if self.late.is_some_and(|(at, _)| at <= now) {
                    return Poll::Ready(Err(self.too_late()));
                }
                timer.set(Some(self.look_at(now)));
                ready!(timer.poll(cx));
            }
            moved = true;
        }
    }

    /// When a request that waits looks up: its deadline, or before that whether its backend's time is
    /// over.
    fn look_at(&self, now: Instant) -> Instant {
        let look = now + LOOK;
        self.late.map_or(look, |(at, _)| at.min(look))
    }

    /// Judges the bytes at hand until a head is complete.
    fn judge(&mut self, head: &mut Head) -> Result<Option<Heard>, Error> {
        let (used, event) = self.client.next(self.buf.data(), self.eof, head)?;
        self.buf.consume(used);
        match event {
            Event::Head(verdict) => {
                self.status = head.status();
                Ok(Some(Heard::Answer(verdict)))
            }
            Event::Informational => Ok(Some(Heard::Interim)),
            Event::Switched => Ok(Some(Heard::Switched)),
            Event::Closed => Err(Error::Closed),
            _ if self.eof => Err(Error::Closed),
            _ => Ok(None),
        }
    }

    /// Writes what can be written. A backend that takes no more may have answered already, so after
    /// a broken write it is what can be read, an answer or an end, that counts.
    fn pump(&mut self, cx: &mut Context<'_>, body: &mut dyn Spliced) -> Result<bool, Error> {
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
    fn read(&mut self, cx: &mut Context<'_>, part: Part) -> Result<Poll<()>, Error> {
        if self.eof {
            return Ok(Poll::Ready(()));
        }
        let stream = self.link.as_deref_mut().expect("open until over");
        let n = match stream.poll_read_chunk(cx, &mut self.buf, part) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(read) => read.map_err(Error::Io)?,
        };
        self.eof = n == 0;
        if n > 0 && self.first_byte.is_none() {
            self.first_byte = Some(Duration::ZERO);
            if self.timed {
                let took = self.begun.elapsed();
                self.first_byte = Some(took);
                self.lease().first_byte(took);
            }
        }
        Ok(Poll::Ready(()))
    }

    /// When this must go on, and what it is called if it does not.
    fn deadline(&self, now: Instant) -> Option<(Instant, Late)> {
        let waits = self.pump.is_done() && self.buf.data().is_empty();
        let (limit, late) = if waits {
            (self.pace.first_byte, Late::FirstByte)
        } else {
            (self.pace.idle, Late::Idle)
        };
        let own = limit.map(|limit| (now + limit, late));
        let all = self.pace.until.map(|until| (until, Late::Request));
        own.into_iter().chain(all).min_by_key(|(at, _)| *at)
    }

    fn too_late(&self) -> Error {
        let now = Instant::now();
        if self.pace.until.is_some_and(|until| until <= now) {
            return Error::Request;
        }
        match self.deadline(now) {
            Some((_, Late::FirstByte)) => Error::FirstByte,
            _ if self.pump.waits_for_body() => Error::Body(Broken::Slow),
            _ => Error::Idle,
        }
    }

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
                    self.ended = true;
                    return Poll::Ready(Ok(Fill::End));
                }
                Event::Want(Want::Read | Want::Idle) if !self.eof => self.buf.consume(used),
                _ => return Poll::Ready(Err(Error::Closed)),
            }
            if self.buf.data().is_empty()
                && self.received > BULK
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

    /// The body bytes at hand.
    pub fn data(&self) -> &[u8] {
        if self.data == 0 {
            return &[];
        }
        &self.buf.data()[self.skip..self.skip + self.data]
    }

    /// Takes `n` of them.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.data);
        self.buf.consume(self.skip + n);
        self.skip = 0;
        self.data -= n;
        self.received += n as u64;
    }

    /// How many of the next bytes may be spliced to the client: 0 while bytes are at hand, and once
    /// the backend has closed.
    pub fn opaque(&self) -> u64 {
        if self.ended || self.eof || !self.buf.data().is_empty() { 0 } else { self.client.opaque() }
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
        self.pump(cx, body)?;
        // The kernel holds what is under way.
        self.buf.give_up();
        let most = self.client.opaque();
        let stream = self.link.as_deref_mut().expect("open until over");
        let n = ready!(pipe.poll_fill(cx, stream, most)).map_err(Error::Io)? as u64;
        self.eof = n == 0;
        self.client.advance(n);
        self.received += n;
        Poll::Ready(Ok(n))
    }

    /// Body bytes of the answer and bytes of the request that were moved so far.
    pub fn moved(&self) -> u64 {
        self.received + self.pump.written()
    }

    /// Whether nothing of the body is at hand.
    pub fn has_nothing(&self) -> bool {
        self.buf.data().is_empty()
    }

    /// Whether the connection can be spliced from at all.
    pub fn is_tcp(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.tcp().is_some())
    }

    /// Ends it in order, after `poll_fill` said `End`: settles the lease and gives the connection
    /// back if it can carry another request.
    #[inline(always)]
    pub fn finish(mut self: Box<Self>, now: Instant) {
        let lease = self.take_lease();
        let clean = self.pump.is_done()
            && !self.eof
            && self.buf.data().is_empty()
            && self.client.is_reusable();
        if clean && let Some(link) = self.link.take() {
            self.dialer.idle.give(&lease, link, now);
        }
        lease.answered(self.status, now);
    }

    /// Ends it after an error: closes the connection and gives the lease back.
    pub fn fail(mut self: Box<Self>, error: Error) -> Failed {
        let lease = self.take_lease();
        let retry = match (self.client.is_begun(), self.pump.written()) {
            (true, _) => Retry::No,
            (false, 0) => Retry::NothingWritten,
            _ => Retry::OnlyIdempotent,
        };
        let reused = self.connect.is_none();
        let stale = reused && retry != Retry::No && matches!(error, Error::Io(_) | Error::Closed);
        if stale {
            self.dialer.idle.raced(lease.backend(), Instant::now());
        }
        Failed { lease, error, retry, stale }
    }

    /// The connection after 101, with what was read of the other protocol.
    pub fn into_tunnel(mut self: Box<Self>) -> (Link, Chunk, Lease) {
        let link = self.link.take().expect("open until over");
        (link, std::mem::replace(&mut self.buf, Chunk::none()), self.take_lease())
    }

    fn take_lease(&mut self) -> Lease {
        self.lease.take().expect("an exchange holds its lease until it is over")
    }

    /// The answer's trailers, once `poll_fill` said `End`.
    pub fn trailers(&self) -> Option<&Fields> {
        self.client.trailers()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    FirstByte,
    Idle,
    Request,
}

/// So often a request that waits looks whether its backend was drained and the time for that is
/// over.
pub const LOOK: Duration = Duration::from_secs(1);

/// From so many bytes on an answer is read in larger blocks.
const BULK: u64 = 32 << 10;
const BULK_BLOCK: usize = 32 << 10;

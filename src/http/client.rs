//! The client's side of an HTTP/1 connection: what was read and not used, what is to be written,
//! and the body of the current request as a [`Source`].
use super::address::Origin;
use super::downstream::Downstream;
use super::rate::Rate;
use crate::arrival::Arrival;
use crate::config::Limits;
use crate::http1::{
    self, BodyLength, Event, HeadLimits, Refusal, RequestVerdict, Rule, Server, Want,
};
use crate::message::{
    Back, Barred, Broken, Chunk, Fields, Fill, Head, Kept, Length, Part, Pressure, Size, Source,
    Version, memory,
};
use crate::net::proxy_protocol;
use crate::net::{Pipe, Spliced, Stream};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

/// From so many bytes on a body is read in larger blocks.
const BULK: u64 = 32 << 10;
const BULK_BLOCK: usize = 32 << 10;

/// What reading a request head found.
#[derive(Debug)]
pub(super) enum Read {
    /// A head.
    Request(RequestVerdict),
    /// Nothing is there: the buffer was given back.
    Idle,
    /// The client closed, between requests or inside a head.
    Closed,
}

/// The client's side of a connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: Stream,
    pub(super) origin: Origin,
    pub(super) machine: Server,
    pub(super) buf: Chunk,
    pub(super) out: Chunk,
    pub(super) eof: bool,
    /// Bytes written since the request began.
    pub(super) given: AtomicU64,
    /// Bytes that went through a tunnel from the client.
    pub(super) tunnelled: AtomicU64,
    body: Body,
}

/// The body of the current request.
#[derive(Debug)]
struct Body {
    length: Length,
    data: usize,
    skip: usize,
    taken: u64,
    limit: u64,
    rate: Rate,
    ended: bool,
    /// What was handed on and comes again.
    back: Back,
    barred: Option<Barred>,
}

impl Client {
    pub(super) fn new(stream: Stream, arrival: Arrival, limits: &Limits) -> Self {
        let none = Body {
            length: Length::Empty,
            data: 0,
            skip: 0,
            taken: 0,
            limit: u64::MAX,
            rate: Rate::NONE,
            ended: true,
            back: Back::NONE,
            barred: None,
        };
        let machine = Server::new(heads(limits), limits.trailers);
        Self {
            stream,
            origin: Origin::new(arrival),
            machine,
            buf: Chunk::none(),
            out: Chunk::none(),
            eof: false,
            given: AtomicU64::new(0),
            tunnelled: AtomicU64::new(0),
            body: none,
        }
    }

    /// What bounds heads and trailers from the next request on.
    #[inline]
    pub(super) fn bound_heads(&mut self, limits: &Limits) {
        self.machine.bound(heads(limits), limits.trailers);
    }

    /// Reads until a request head is complete.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
    ) -> Poll<Result<Read, Refusal>> {
        loop {
            let (used, event) = self.machine.next(self.buf.data(), self.eof, head)?;
            self.buf.consume(used);
            match event {
                Event::Head(verdict) => return Poll::Ready(Ok(Read::Request(verdict))),
                Event::Want(Want::Idle) if !self.eof => {
                    // Nothing at hand: what the kernel has is read once, by the first look at it.
                    match self.poll_read(cx, Part::Request) {
                        Poll::Ready(Ok(1..)) => {}
                        Poll::Ready(_) => return Poll::Ready(Ok(Read::Closed)),
                        Poll::Pending if self.buf.is_waiting() => return Poll::Pending,
                        Poll::Pending => return Poll::Ready(Ok(Read::Idle)),
                    }
                }
                Event::Want(Want::Read) if !self.eof => {
                    if ready!(self.poll_read(cx, Part::Request)).is_err() {
                        return Poll::Ready(Ok(Read::Closed));
                    }
                }
                _ => return Poll::Ready(Ok(Read::Closed)),
            }
        }
    }

    /// Reads once into the buffer, which is borrowed if it must be. 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, part: Part) -> Poll<io::Result<usize>> {
        let read = ready!(self.stream.poll_read_chunk(cx, &mut self.buf, part));
        self.eof = !matches!(read, Ok(1..));
        Poll::Ready(read)
    }

    /// Gives the read buffer back when nothing is in it: while a backend thinks, the block serves
    /// other connections, and stays in the processor's cache.
    pub(super) fn rest(&mut self) {
        self.buf.rest();
    }

    /// Whether it waits for our memory and not for the client.
    pub(super) fn is_short(&self) -> bool {
        self.buf.is_waiting()
    }

    /// A request begins, with a body delimited like this and not bounded yet.
    pub(super) fn begin(&mut self, framing: BodyLength) {
        let length = match framing {
            BodyLength::None => Length::Empty,
            BodyLength::Exact(n) => Length::Exact(n),
            _ => Length::Unknown,
        };
        (*self.given.get_mut(), *self.tunnelled.get_mut()) = (0, 0);
        self.body = Body {
            length,
            data: 0,
            skip: 0,
            taken: 0,
            limit: u64::MAX,
            rate: Rate::NONE,
            ended: matches!(framing, BodyLength::None | BodyLength::Exact(0)),
            back: Back::NONE,
            barred: None,
        };
    }

    /// Bytes of the current request's body that were handed on.
    pub(super) fn body_taken(&self) -> u64 {
        self.body.taken
    }

    /// Bytes from the client since the request began: of its body, or through a tunnel.
    pub(super) fn taken(&self) -> u64 {
        self.body.taken + self.tunnelled.load(Relaxed)
    }

    /// Counts bytes written.
    pub(super) fn gave(&mut self, n: usize) {
        *self.given.get_mut() += n as u64;
    }

    /// Writes what is in `out`.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.data().is_empty() {
            let n = ready!(self.stream.poll_write(cx, self.out.data()))?;
            self.out.consume(n);
            self.gave(n);
        }
        self.stream.poll_flush(cx)
    }

    /// Reads and throws away what the client still sends of its body: ready when it ended.
    pub(super) fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        most: u64,
    ) -> Poll<Result<(), Broken>> {
        self.body.back = Back::NONE;
        loop {
            match ready!(self.poll_fill(cx))? {
                Fill::End => return Poll::Ready(Ok(())),
                Fill::Data => self.consume(self.body.data),
            }
            if self.body.taken > most {
                return Poll::Ready(Err(Broken::TooLarge));
            }
        }
    }

    /// Reads and throws away everything until the client closes, `most` bytes at the most.
    pub(super) fn poll_linger(&mut self, cx: &mut Context<'_>, most: &mut u64) -> Poll<()> {
        while !self.eof && *most > 0 {
            self.buf.clear();
            match ready!(self.poll_read(cx, Part::Body)) {
                Ok(n) => *most = most.saturating_sub(n as u64),
                Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    /// The client must send before more can be done, unless it is we who are short of memory.
    fn wait(&mut self, short: bool) {
        if !short {
            self.body.rate.wait();
        }
    }
}

fn heads(limits: &Limits) -> HeadLimits {
    HeadLimits { head: limits.head, fields: limits.fields, target: limits.target }
}

impl Downstream for Client {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    #[cold]
    fn header(&self, version: proxy_protocol::Version) -> Box<proxy_protocol::Written> {
        Box::new(self.origin.header(&self.stream).write(version))
    }

    #[cold]
    fn bar(&mut self, barred: &Barred) {
        self.body.barred = Some(barred.clone());
    }

    fn bound_body(&mut self, limits: &Limits) {
        self.body.limit = limits.body.unwrap_or(u64::MAX);
        self.body.rate.bound(limits.body_rate);
        self.machine.bound_trailers(limits.trailers);
    }

    /// An HTTP/1.0 client gets none (RFC 9110 15.2).
    fn interim(&mut self, cx: &mut Context<'_>, answer: &Head, version: Version) {
        if version == Version::Http10 {
            return;
        }
        http1::response_head(answer, BodyLength::None, false, None, &mut self.out);
        let _ = self.poll_flush(cx);
    }
}

impl Source for Client {
    fn length(&self) -> Length {
        self.body.length
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, Broken>> {
        if self.body.back.is_some() {
            return Poll::Ready(Ok(Fill::Data));
        }
        if self.body.ended {
            return Poll::Ready(Ok(Fill::End));
        }
        if self.body.data > 0 {
            return Poll::Ready(Ok(Fill::Data));
        }
        loop {
            let step = self.machine.next_body(self.buf.data(), self.eof);
            let (used, event) = step.map_err(|refusal| match refusal.rule {
                Rule::Truncated => Broken::Closed,
                rule => Broken::Invalid(rule.word()),
            })?;
            match event {
                Event::Data(range) => {
                    self.body.skip = range.start;
                    self.body.data = range.len();
                    if self.body.taken + self.body.data as u64 > self.body.limit {
                        return Poll::Ready(Err(Broken::TooLarge));
                    }
                    return Poll::Ready(Ok(Fill::Data));
                }
                Event::End => {
                    self.buf.consume(used);
                    self.body.ended = true;
                    if let Some(barred) = &self.body.barred {
                        barred.strip(self.machine.trailers_mut());
                    }
                    return Poll::Ready(Ok(Fill::End));
                }
                Event::Want(Want::Read | Want::Idle) if !self.eof => self.buf.consume(used),
                _ => return Poll::Ready(Err(Broken::Closed)),
            }
            if self.buf.data().is_empty()
                && self.body.taken > BULK
                && self.buf.spare().len() < BULK_BLOCK
                && memory().pressure() == Pressure::None
            {
                self.buf = Chunk::lend(Size::Body);
            }
            match self.poll_read(cx, Part::Body) {
                Poll::Pending => {
                    // However slow it is, it holds no block while it says nothing.
                    self.rest();
                    self.wait(self.buf.is_waiting());
                    return Poll::Pending;
                }
                Poll::Ready(Ok(_)) => self.body.rate.judge(self.body.taken)?,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Io(error.kind()))),
            }
        }
    }

    fn data(&self) -> &[u8] {
        if let Some(back) = self.body.back.data() {
            return back;
        }
        if self.body.data == 0 {
            return &[];
        }
        &self.buf.data()[self.body.skip..self.body.skip + self.body.data]
    }

    fn consume(&mut self, n: usize) {
        if self.body.back.is_some() {
            return self.body.back.consume(n);
        }
        assert!(n <= self.body.data);
        self.buf.consume(self.body.skip + n);
        self.body.skip = 0;
        self.body.data -= n;
        self.body.taken += n as u64;
    }

    fn trailers(&self) -> Option<&Fields> {
        self.machine.trailers()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.eof {
            return Poll::Ready(());
        }
        // Its body went: while the answer is waited for it holds nothing.
        self.rest();
        // A client that sends its next request already is there.
        if self.buf.is_lent() && self.buf.spare().is_empty() {
            return self.stream.poll_closed(cx);
        }
        if !self.buf.is_lent() && self.stream.poll_read_ready(cx).is_pending() {
            return Poll::Pending;
        }
        while let Poll::Ready(read) = self.poll_read(cx, Part::Request) {
            if read.is_err() || self.eof {
                return Poll::Ready(());
            }
            if self.buf.spare().is_empty() {
                break;
            }
        }
        Poll::Pending
    }

    fn put_back(&mut self, kept: Kept) {
        self.body.back.put(kept);
    }

    fn gone(&self) -> u64 {
        self.body.taken - self.body.back.left()
    }
}

impl Spliced for Client {
    fn opaque(&self) -> u64 {
        let waits = !self.buf.data().is_empty() || self.body.back.is_some();
        if self.body.ended || waits || self.stream.tcp().is_none() {
            return 0;
        }
        // What goes beyond the limit is left to the reader, who says so.
        self.machine.opaque().min(self.body.limit.saturating_sub(self.body.taken))
    }

    fn poll_splice(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<(), Broken>> {
        self.rest();
        let most = self.opaque();
        let Poll::Ready(moved) = pipe.poll_fill(cx, &mut self.stream, most) else {
            self.wait(pipe.is_waiting());
            return Poll::Pending;
        };
        let n = moved.map_err(|error| Broken::Io(error.kind()))? as u64;
        self.eof = n == 0;
        if self.eof {
            return Poll::Ready(Err(Broken::Closed));
        }
        self.machine.advance(n);
        self.body.taken += n;
        Poll::Ready(self.body.rate.judge(self.body.taken))
    }
}

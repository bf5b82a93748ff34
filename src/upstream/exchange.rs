//! One request and its answer at a backend: one face over the wires it may go by.
//!
//! Owns the lease and the wire: at the last byte the lease is settled and the connection given back;
//! an exchange dropped before that closes the connection, or its stream of one, and counts as
//! abandoned. Sending goes on while the answer is read, in the same task.
use super::connect;
use super::dialer::Dialer;
use super::error::{Error, Failed, Retry};
use super::http1::Http1;
use super::http2::Http2;
use super::link::{Last, Link};
use crate::http1::ResponseVerdict;
use crate::http2;
use crate::message::{Barred, Broken, Chunk, Fields, Fill, Head, Pressure, memory};
use crate::metrics::Span;
use crate::net::{BEAT, Pipe, Spliced, Timer};
use crate::pool::{Allowance, Lease};
use crate::reach;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

/// So many pieces of an answer that nobody gets are read.
const PIECES: usize = 8;

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

/// What carries it.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "boxed with its exchange; the usual one is the large one"
)]
pub(super) enum Wire {
    /// A connection of its own.
    Http1(Http1),
    /// A stream of a connection that others share.
    Http2(Box<Http2>),
}

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    pub(super) dialer: Arc<Dialer>,
    pub(super) lease: Option<Lease>,
    pub(super) wire: Wire,
    pub(super) begun: Instant,
    /// When the last of the request was written.
    pub(super) asked: Instant,
    /// It is sent elsewhere when its backend goes down or falls silent.
    pub(super) moves: bool,
    /// What further tries may cost its pool, and until when one is begun.
    pub(super) allowed: (Allowance, Option<Instant>),
    /// The hash and the seed that a backend is asked for with.
    pub(super) asks: (Option<u64>, u64),
    /// Where it is sent then: taken before it leaves, so that none leaves in vain.
    pub(super) next: Option<Lease>,
    /// It is waited for long.
    pub(super) long: Option<Long>,
    pub(super) pace: Pace,
    /// When the wait for the head must be over.
    pub(super) late: Option<(Instant, Late)>,
    /// Some of a head came: the rest has no longer than `idle`, however slowly it comes.
    pub(super) in_head: bool,
    pub(super) barred: Option<Barred>,
    pub(super) timed: bool,
    pub(super) ended: bool,
    pub(super) status: u16,
    /// It is a call of gRPC.
    pub(super) call: bool,
    /// What HTTP would say in place of what its head said of such a call.
    pub(super) meant: Option<u16>,
    /// How long the connection took to be made; `None` for a kept one.
    pub connect: Option<Duration>,
    /// How long the first byte took, once it came; zero where nobody wants to know.
    pub first_byte: Option<Duration>,
    /// Body bytes handed on.
    pub received: u64,
}

/// The same of either wire.
macro_rules! wire {
    ($wire:expr, $it:ident => $body:expr) => {
        match $wire {
            Wire::Http1($it) => $body,
            Wire::Http2($it) => $body,
        }
    };
}

impl Exchange {
    /// Its limits.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// When its connection was there.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// The status of its answer, once its head came.
    pub fn status(&self) -> u16 {
        self.status
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
    pub fn head<'a>(
        &'a mut self,
        head: &'a mut Head,
        body: &'a mut dyn Spliced,
        timer: &'a mut Timer,
    ) -> impl Future<Output = Result<Heard, Error>> + 'a {
        let mut first = true;
        std::future::poll_fn(move |cx| self.poll_head(cx, head, body, timer, &mut first))
    }

    /// As `head`; `first` is true when it is polled for the first time.
    ///
    /// # Errors
    ///
    /// As `head`.
    #[inline(always)]
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
        body: &mut dyn Spliced,
        timer: &mut Timer,
        first: &mut bool,
    ) -> Poll<Result<Heard, Error>> {
        let polled = self.poll_heard(cx, head, body, timer, std::mem::take(first));
        if polled.is_ready() {
            timer.wait.end();
        }
        polled
    }

    #[inline(always)]
    fn poll_heard(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
        body: &mut dyn Spliced,
        timer: &mut Timer,
        first: bool,
    ) -> Poll<Result<Heard, Error>> {
        let sent = self.pump(cx, body)?;
        let (came, heard) = match &mut self.wire {
            Wire::Http1(wire) => wire.poll_head(cx, head),
            Wire::Http2(wire) => wire.poll_head(cx, head),
        };
        if came && self.first_byte.is_none() {
            self.first_byte_came();
        }
        if let Poll::Ready(heard) = heard {
            self.in_head = false;
            self.status = head.status();
            if self.call {
                self.meant = http2::meant(head);
            }
            return Poll::Ready(heard);
        }
        if !first {
            self.look(timer, body)?;
        }
        if wire!(&self.wire, it => it.is_sent()) && body.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Error::Body(Broken::Closed)));
        }
        let begins = came && !self.in_head;
        self.in_head |= came;
        if sent || begins || first {
            // The first look comes right after the beginning; one after an interim answer
            // does not.
            let fresh = first && self.first_byte.is_none();
            let now = if fresh { self.begun } else { Instant::now() };
            if sent && !first {
                (self.asked, self.long) = (now, None);
                self.lease.as_mut().into_iter().for_each(Lease::listen);
            }
            self.late = self.deadline(now);
            timer.start(now, self.late.map(|(at, _)| at));
            if first {
                let watched = self.lease().is_watched();
                timer.wait.begin(cx, &self.dialer.looks, watched);
                // Who went between its lease and this moment is news of before.
                if !self.lease().backend().is_usable() {
                    self.look(timer, body)?;
                }
            }
        }
        loop {
            ready!(timer.poll(cx));
            let now = Instant::now();
            if self.late.is_some_and(|(at, _)| at <= now) {
                return Poll::Ready(Err(self.too_late()));
            }
            timer.set(self.late.map(|(at, _)| at));
            self.look(timer, body)?;
        }
    }

    /// What one who waits is woken for: whether its backend is over, and, before a first byte,
    /// whether it is to be waited for any longer.
    #[cold]
    fn look(&mut self, timer: &mut Timer, body: &dyn Spliced) -> Result<(), Error> {
        if self.lease().is_over() {
            return Err(Error::Over);
        }
        if self.first_byte.is_some() {
            return Ok(());
        }
        self.leave(body, Instant::now())?;
        if !wire!(&self.wire, it => it.is_sent()) {
            return Ok(());
        }
        let Some(patience) = self.lease().patience() else { return Ok(()) };
        let now = Instant::now();
        let mut long = self.long.unwrap_or_else(|| Long {
            heard: self.lease().heard_of_all(),
            at: (self.asked + patience).max(now + BEAT),
            told: false,
        });
        if long.at <= now {
            self.lease().overdue(long.heard, now - self.asked, long.told, now);
            (long.told, long.at) = (true, now + patience);
        }
        self.long = Some(long);
        timer.set(Some(self.late.map_or(long.at, |(late, _)| late.min(long.at))));
        self.leave(body, now)
    }

    /// Leaves a backend that gives no answer, where the request can be sent elsewhere: all of it that
    /// was sent is here. Silence may be a slow page: then it leaves only for a place that it has.
    fn leave(&mut self, body: &dyn Spliced, now: Instant) -> Result<(), Error> {
        if !self.moves || !self.has_whole(body) {
            return Ok(());
        }
        let backend = self.lease().backend();
        if backend.is_down() {
            return Err(Error::Down);
        }
        let waited = now.saturating_duration_since(self.asked);
        let told = self.long.is_some_and(|long| long.told);
        let leaves = backend.is_silent() || (told && self.lease().is_forlorn(waited));
        let (allowed, until) = self.allowed;
        if !leaves || until.is_some_and(|until| until <= now) {
            return Ok(());
        }
        self.next = self.lease().elsewhere(self.asks, allowed, waited, now);
        if self.next.is_some() { Err(Error::Silent) } else { Ok(()) }
    }

    /// What follows its first byte is waited for, its backend or its client: where nobody measured it,
    /// that byte came about now.
    pub fn stands(&mut self, now: Instant) {
        if self.first_byte == Some(Duration::ZERO) {
            self.first_byte = Some(now.saturating_duration_since(self.begun));
        }
    }

    fn first_byte_came(&mut self) {
        self.first_byte = Some(Duration::ZERO);
        if self.timed {
            let took = self.begun.elapsed();
            self.first_byte = Some(took);
            if let Some(lease) = &mut self.lease {
                lease.first_byte(took);
            }
        }
        let late = self.long.is_some_and(|long| long.told).then(|| self.asked.elapsed());
        self.lease().spoke(late);
        if self.lease().is_further() {
            let (took, now) = (self.asked.elapsed(), Instant::now());
            self.lease.iter_mut().for_each(|lease| lease.compare(took, now));
        }
    }

    /// Sends what can be sent; says whether something was.
    #[inline(always)]
    fn pump(&mut self, cx: &mut Context<'_>, body: &mut dyn Spliced) -> Result<bool, Error> {
        wire!(&mut self.wire, it => it.pump(cx, body))
    }

    /// When this must go on, and what it is called if it does not.
    fn deadline(&self, now: Instant) -> Option<(Instant, Late)> {
        let (limit, late) = if wire!(&self.wire, it => it.waits()) {
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
            _ if wire!(&self.wire, it => it.waits_for_body()) => Error::Body(Broken::Idle),
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

    /// The answer's trailers, once `poll_fill` said `End`.
    pub fn trailers(&self) -> Option<&Fields> {
        wire!(&self.wire, it => it.trailers())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    FirstByte,
    Idle,
    Request,
}

/// A first byte that is waited for longer than between two beats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Long {
    /// What was heard of its pool when that was first seen.
    heard: u32,
    /// When the backend is to be asked about next.
    at: Instant,
    /// The pool was told that it takes too long.
    told: bool,
}

/// So often an answer that stands still looks whether its backend was drained and the time for that is
/// over.
pub const LOOK: Duration = Duration::from_secs(1);

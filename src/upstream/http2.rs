//! A request and its answer on a stream of an HTTP/2 connection that others share.
//!
//! Bounded by flow control both ways: of the request only what the backend has room for is taken from
//! the client, and what the backend sends is acknowledged as the client takes it.
use super::dialer::Outgoing;
use super::error::{Error, Retry};
use super::exchange::Heard;
use super::kept::{Copied, has_memory};
use super::link::Link;
use super::shared::Slot;
use crate::http1::{self, BodyLength, HeadLimits, ResponseVerdict, Rule};
use crate::http2::conn::{Broken as Cut, Came};
use crate::http2::{self, Code, Outbound};
use crate::message::{Broken, Fields, Fill, Head, Method, Part, Place};
use crate::mux::Stream;
use crate::net::Spliced;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

/// After so many pieces whoever polls may look for the answer, however fast the client sends.
const PIECES: usize = 16;

/// A buffer larger than that is not kept for what comes next.
const KEPT: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// So many bytes are left, where that is known.
    Body(Option<u64>),
    Sent,
    /// The backend takes no more.
    Abandoned,
}

/// Why a backend never looked at a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unseen {
    /// It takes no more on this connection (GOAWAY): in order, and nobody's fault.
    Away,
    /// It did not want it (REFUSED_STREAM).
    Refused,
}

/// A request and its answer on a stream.
pub(super) struct Http2 {
    slot: Slot,
    /// Why it could not be begun.
    unfit: Option<Error>,
    stream: Option<Stream>,
    sending: Sending,
    /// What was sent of the body, until an answer goes to the client: so that it can be sent again
    /// whole. `None` once something of it is gone.
    kept: Option<Copied>,
    written: u64,
    /// Whether the backend has room, and it is the client who does not send.
    waits_for_body: bool,
    method: Method,
    limits: HeadLimits,
    trailers_most: usize,
    heard: bool,
    /// The head of the answer came: interim ones are none.
    answered: bool,
    /// The backend said, or it is known, that it never looked at it.
    unseen: Option<Unseen>,
    /// Bytes that had come over the connection when it began.
    seen: u64,
    /// Its answer has no body.
    bodyless: bool,
    chunk: Vec<u8>,
    /// So much of it was handed on.
    at: usize,
    /// Bytes that the client has taken, and of them those that are counted as memory.
    owed: usize,
    used: usize,
    place: Place,
    trailers: Option<Fields>,
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2").field("sending", &self.sending).finish_non_exhaustive()
    }
}

impl Http2 {
    /// Begins a request; what goes wrong is heard where the answer is waited for.
    pub(super) fn begin(slot: Slot, out: &Outgoing<'_>, written: &str) -> Self {
        let (empty, left) = match out.body {
            BodyLength::None | BodyLength::Exact(0) => (true, None),
            BodyLength::Exact(n) => (false, Some(n)),
            BodyLength::Chunked | BodyLength::UntilClose => (false, None),
        };
        let limits = &out.effective.limits;
        let (is_tls, most) = (slot.is_tls(), out.effective.retry.body);
        let mut all = Self {
            slot,
            unfit: None,
            stream: None,
            sending: if empty { Sending::Sent } else { Sending::Body(left) },
            kept: Some(Copied::of(most)),
            written: 0,
            waits_for_body: false,
            method: out.head.method(),
            limits: HeadLimits { head: limits.head, fields: limits.fields, target: limits.target },
            trailers_most: limits.trailers,
            heard: false,
            answered: false,
            unseen: None,
            seen: 0,
            bodyless: false,
            chunk: Vec::new(),
            at: 0,
            owed: 0,
            used: 0,
            place: Place::none(),
            trailers: None,
        };
        let (head, host, body, trailers) = (out.head, out.host, out.body, out.trailers);
        let outbound = Outbound { head, host, body, trailers, is_tls, written };
        if let Err(unfit) = outbound.check() {
            all.unfit = Some(Error::Body(Broken::Invalid(unfit.rule.word())));
            return all;
        }
        let write = |out: &mut _| outbound.write(out);
        match all.slot.mux().open(all.method, all.limits, empty, write) {
            Some((stream, seen)) => (all.stream, all.seen) = (Some(stream), seen),
            None => {
                all.unseen = Some(Unseen::Away);
                all.unfit = Some(Error::Io(io::Error::other("it takes no more requests")));
            }
        }
        all
    }

    /// The next head, if it is there; also says whether bytes came.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
    ) -> (bool, Poll<Result<Heard, Error>>) {
        let polled = self.poll_answer(cx, head);
        (polled.is_ready() && self.heard, polled)
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>, head: &mut Head) -> Poll<Result<Heard, Error>> {
        if let Some(unfit) = self.unfit.take() {
            return Poll::Ready(Err(unfit));
        }
        let Some(stream) = &self.stream else { return Poll::Ready(Err(Error::Closed)) };
        let came = ready!(stream.poll_head(cx)).map_err(|cut| self.broke(cut))?;
        if !std::mem::replace(&mut self.heard, true) {
            self.slot.answered();
        }
        *head = came;
        if head.status() == 101 {
            return Poll::Ready(Err(Error::Garbage(Rule::UnaskedSwitch.into())));
        }
        if head.status() < 200 {
            return Poll::Ready(Ok(Heard::Interim));
        }
        self.answered = true;
        let ended = self.stream.as_ref().is_some_and(Stream::is_last);
        let verdict = self.judge(head, ended)?;
        Poll::Ready(Ok(Heard::Answer(verdict)))
    }

    /// How the body is delimited; it never is by the end of the connection.
    fn judge(&mut self, head: &Head, ended: bool) -> Result<ResponseVerdict, Error> {
        let body = match http1::of_response(head, self.method)?.body {
            BodyLength::None => BodyLength::None,
            BodyLength::Exact(n) if ended && n > 0 => return Err(Error::Closed),
            _ if ended => BodyLength::Exact(0),
            BodyLength::Exact(n) => BodyLength::Exact(n),
            BodyLength::Chunked | BodyLength::UntilClose => BodyLength::Chunked,
        };
        self.bodyless = body == BodyLength::None;
        Ok(ResponseVerdict { body, keep_alive: true })
    }

    /// What went wrong on the stream or the connection, in our words.
    fn broke(&mut self, cut: Cut) -> Error {
        let reset = |what: String| Error::Io(io::Error::new(ErrorKind::ConnectionReset, what));
        match cut {
            Cut::Away => {
                self.unseen = Some(Unseen::Away);
                self.slot.away();
                reset("it ended the connection (GOAWAY) before this request".into())
            }
            Cut::Reset(code) => {
                if code == Code::REFUSED {
                    self.unseen = Some(Unseen::Refused);
                    self.slot.refused();
                }
                reset(format!("it reset the stream ({code})"))
            }
            Cut::Fault(code, why) => Error::Malformed(format!("{why} ({code})")),
            Cut::Length => Error::Malformed("a body of another length than it said".into()),
            Cut::Refused(refusal) => {
                self.heard = true;
                refusal.into()
            }
            Cut::Ended => Error::Closed,
        }
    }

    /// Keeps what was sent, if it may.
    fn keep(&mut self, piece: &[u8]) {
        self.kept.take_if(|kept| !kept.keep(piece));
    }

    /// Bytes that are kept.
    pub(super) fn kept(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.len() as u64)
    }

    /// None of it is kept any more.
    pub(super) fn keep_nothing(&mut self) {
        self.kept = None;
    }

    /// After an error: gives the client's body back what was sent of it, if all of that is here.
    pub(super) fn give_back(&mut self, body: &mut dyn Spliced) {
        if let Some(kept) = self.kept.take() {
            kept.give_back(body);
        }
    }

    /// Sends what can be sent; says whether something was.
    pub(super) fn pump(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut dyn Spliced,
    ) -> Result<bool, Error> {
        // Asked each second at the least: what is kept must not itself be the shortage for long.
        self.kept.take_if(|kept| kept.len() > 0 && !has_memory());
        let before = self.written;
        for _ in 0..PIECES {
            let Sending::Body(left) = self.sending else { return Ok(self.written != before) };
            if self.poll_piece(cx, left, body)?.is_pending() {
                return Ok(self.written != before);
            }
        }
        cx.waker().wake_by_ref();
        Ok(true)
    }

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        left: Option<u64>,
        body: &mut dyn Spliced,
    ) -> Poll<Result<(), Error>> {
        self.waits_for_body = true;
        let filled = ready!(body.poll_fill(cx)).map_err(Error::Body)?;
        self.waits_for_body = false;
        // Without a stream there is an error to be heard.
        let Some(stream) = &self.stream else { return Poll::Pending };
        if filled == Fill::End {
            let sent = match http2::passing(body.trailers()) {
                Some(trailers) => stream.trailers(trailers),
                None => stream.send(&[], true),
            };
            self.sending = if sent.is_ok() { Sending::Sent } else { Sending::Abandoned };
            return Poll::Ready(Ok(()));
        }
        // It may have answered already: what can be read is what counts.
        let Ok(n) = ready!(stream.poll_room(cx, body.data().len())) else {
            self.sending = Sending::Abandoned;
            return Poll::Ready(Ok(()));
        };
        let piece = &body.data()[..n];
        let last = left == Some(n as u64) || (n == body.data().len() && body.is_last());
        if stream.send(piece, last).is_err() {
            self.sending = Sending::Abandoned;
            return Poll::Ready(Ok(()));
        }
        self.keep(piece);
        body.consume(n);
        self.written += n as u64;
        self.sending =
            if last { Sending::Sent } else { Sending::Body(left.map(|left| left - n as u64)) };
        Poll::Ready(Ok(()))
    }

    /// Makes body bytes available.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut dyn Spliced,
    ) -> Poll<Result<Fill, Error>> {
        if self.at < self.chunk.len() {
            return Poll::Ready(Ok(Fill::Data));
        }
        self.pump(cx, body)?;
        self.acknowledge(cx);
        self.poll_data(cx)
    }

    /// The client takes nothing more for now: its request goes on all the same.
    pub(super) fn wait(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut dyn Spliced,
    ) -> Result<(), Error> {
        self.pump(cx, body).map(drop)
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, Error>> {
        let Some(stream) = &self.stream else { return Poll::Ready(Err(Error::Closed)) };
        self.at = 0;
        self.chunk.clear();
        if self.chunk.capacity() > KEPT {
            self.chunk = Vec::new();
        }
        match ready!(stream.poll_data(cx, &mut self.chunk)) {
            Ok(Came::End) => {
                if let Some(trailers) = stream.take_trailers() {
                    http2::trailers_fit(&trailers, self.trailers_most, self.limits.fields)?;
                    self.trailers = Some(trailers);
                }
                Poll::Ready(Ok(Fill::End))
            }
            Ok(_) if self.bodyless => {
                let what = "a body behind a head that has none";
                Poll::Ready(Err(Error::Malformed(what.into())))
            }
            Ok(_) => Poll::Ready(Ok(Fill::Data)),
            Err(cut) => Poll::Ready(Err(self.broke(cut))),
        }
    }

    /// Lets the backend send as much as was taken, once there is memory for it.
    fn acknowledge(&mut self, cx: &mut Context<'_>) {
        if self.owed == 0 {
            return;
        }
        let Some(stream) = &self.stream else { return };
        let free = self.place.poll_room(cx, Part::Body).is_ready();
        let open = if free { std::mem::take(&mut self.owed) } else { 0 };
        stream.used(std::mem::take(&mut self.used), open);
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.chunk[self.at..]
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.at += n;
        self.owed += n;
        self.used += n;
    }

    /// Whether the whole request is on its way.
    pub(super) fn is_sent(&self) -> bool {
        self.sending == Sending::Sent
    }

    pub(super) fn waits(&self) -> bool {
        self.is_sent()
    }

    pub(super) fn waits_for_body(&self) -> bool {
        self.waits_for_body && matches!(self.sending, Sending::Body(_))
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn has_nothing(&self) -> bool {
        self.at == self.chunk.len()
    }

    pub(super) fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref().filter(|trailers| !trailers.is_empty())
    }

    pub(super) fn trailers_mut(&mut self) -> Option<&mut Fields> {
        self.trailers.as_mut()
    }

    /// What may be done after an error, and whether it is nobody's fault: the backend ended the
    /// connection in order, or it was closed before the request came there.
    pub(super) fn retry(&self, error: &Error) -> (Retry, bool) {
        if self.heard {
            let retry = if self.answered { Retry::No } else { Retry::OnlyIdempotent };
            return (retry, false);
        }
        match self.unseen {
            Some(Unseen::Away) => return (Retry::NothingWritten, true),
            Some(Unseen::Refused) => return (Retry::Refused, false),
            None => {}
        }
        let silent = self.slot.is_reused() && self.slot.seen() == self.seen;
        (Retry::OnlyIdempotent, silent && matches!(error, Error::Io(_) | Error::Closed))
    }

    /// No answer switches protocols yet.
    pub(super) fn take_tunnel(&mut self) -> Link {
        unreachable!("an answer of HTTP/2 that switches is refused")
    }
}

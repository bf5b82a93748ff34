//! A request and its answer on a stream of an HTTP/2 connection that others share.
//!
//! Bounded by flow control both ways: of the request only what the backend has room for is taken from
//! the client, and what the backend sends is acknowledged as the client takes it.
use super::dialer::Outgoing;
use super::error::{Error, Retry};
use super::exchange::Heard;
use super::link::Link;
use super::shared::Slot;
use crate::http1::{self, BodyLength, HeadLimits, ResponseVerdict, Rule};
use crate::http2::{self, Outbound, Pieces};
use crate::message::{
    Broken, Fields, Fill, Head, Kept, Method, Part, Place, Pressure, counted, memory,
};
use crate::net::Spliced;
use bytes::{Buf, Bytes};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// After so many pieces whoever polls may look for the answer, however fast the client sends.
const PIECES: usize = 16;

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
    response: Option<ResponseFuture>,
    send: Option<SendStream<Bytes>>,
    recv: Option<RecvStream>,
    sending: Sending,
    /// What was sent of the body, until an answer goes to the client: so that it can be sent again
    /// whole. `None` once something of it is gone.
    kept: Option<Kept>,
    /// `retry.body`: so much is kept.
    kept_most: usize,
    written: u64,
    /// Whether the backend has room, and it is the client who does not send.
    waits_for_body: bool,
    method: Method,
    limits: HeadLimits,
    trailers_most: usize,
    heard: bool,
    /// The backend said, or it is known, that it never looked at it.
    unseen: Option<Unseen>,
    /// Bytes that had come over the connection when it began.
    seen: u64,
    /// Its answer has no body.
    bodyless: bool,
    chunk: Bytes,
    /// What came behind it.
    behind: Pieces,
    /// Bytes that the client has taken and the backend was not told of.
    owed: usize,
    /// Bytes that are held for it, counted as memory.
    held: usize,
    place: Place,
    trailers: Option<Fields>,
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2").field("sending", &self.sending).finish_non_exhaustive()
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        memory().give(self.held);
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
        let (seen, is_tls, kept_most) = (slot.seen(), slot.is_tls(), out.effective.retry.body);
        let mut all = Self {
            slot,
            unfit: None,
            response: None,
            send: None,
            recv: None,
            sending: if empty { Sending::Sent } else { Sending::Body(left) },
            kept: Some(Kept::default()),
            kept_most,
            written: 0,
            waits_for_body: false,
            method: out.head.method(),
            limits: HeadLimits { head: limits.head, fields: limits.fields, target: limits.target },
            trailers_most: limits.trailers,
            heard: false,
            unseen: None,
            seen,
            bodyless: false,
            chunk: Bytes::new(),
            behind: Pieces::default(),
            owed: 0,
            held: 0,
            place: Place::none(),
            trailers: None,
        };
        let (head, host, body, trailers) = (out.head, out.host, out.body, out.trailers);
        match (Outbound { head, host, body, trailers, is_tls, written }).request() {
            Err(unfit) => all.unfit = Some(Error::Body(Broken::Invalid(unfit.rule.word()))),
            Ok(request) => match all.slot.send(request, empty) {
                Ok((response, send)) => {
                    all.response = Some(response);
                    all.send = (!empty).then_some(send);
                }
                Err(error) => {
                    all.unseen = Some(Unseen::Away);
                    all.unfit = Some(Error::Io(io::Error::other(error)));
                }
            },
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
        let Some(response) = &mut self.response else { return Poll::Ready(Err(Error::Closed)) };
        let interim = match response.poll_informational(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(interim)) => Some(interim.map(http::Response::into_parts)),
            Poll::Ready(None) => None,
        };
        if let Some(interim) = interim {
            let (parts, ()) = interim.map_err(|error| self.broke(&error))?;
            self.heard = true;
            if parts.status == http::StatusCode::SWITCHING_PROTOCOLS {
                return Poll::Ready(Err(Error::Garbage(Rule::UnaskedSwitch.into())));
            }
            http2::answer(&parts, &self.limits, head)?;
            return Poll::Ready(Ok(Heard::Interim));
        }
        let answer = ready!(Pin::new(response).poll(cx)).map_err(|error| self.broke(&error))?;
        self.heard = true;
        self.response = None;
        let (parts, recv) = answer.into_parts();
        http2::answer(&parts, &self.limits, head)?;
        let verdict = self.judge(head, recv.is_end_stream())?;
        self.recv = Some(recv);
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
    fn broke(&mut self, error: &h2::Error) -> Error {
        if error.is_remote() {
            if error.is_go_away() {
                self.unseen = Some(Unseen::Away);
            } else if error.reason() == Some(Reason::REFUSED_STREAM) {
                self.unseen = Some(Unseen::Refused);
            }
            self.slot.broke(error);
            return Error::Io(io::Error::new(ErrorKind::ConnectionReset, error.to_string()));
        }
        if error.is_library() {
            return Error::Malformed(error.to_string());
        }
        match error.get_io() {
            Some(error) => Error::Io(io::Error::new(error.kind(), error.to_string())),
            None => Error::Closed,
        }
    }

    /// Keeps what was sent, if it may.
    fn keep(&mut self, piece: Bytes) {
        let most = self.kept_most;
        let room = memory().pressure() == Pressure::None;
        self.kept.take_if(|kept| !room || !kept.keep(piece, most));
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
            body.put_back(kept);
        }
    }

    /// Sends what can be sent; says whether something was.
    pub(super) fn pump(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut dyn Spliced,
    ) -> Result<bool, Error> {
        // Asked each second at the least: what is kept must not itself be the shortage for long.
        self.kept.take_if(|kept| !kept.is_empty() && memory().pressure() != Pressure::None);
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
        let Some(send) = &mut self.send else { return Poll::Pending };
        if filled == Fill::End {
            self.sending = Sending::Sent;
            let sent = match http2::to_trailers(body.trailers()) {
                Some(trailers) => send.send_trailers(trailers),
                None => send.send_data(Bytes::new(), true),
            };
            if sent.is_err() {
                self.sending = Sending::Abandoned;
            }
            return Poll::Ready(Ok(()));
        }
        if send.capacity() < body.data().len() {
            send.reserve_capacity(body.data().len());
        }
        // Many a client says in a piece of its own, an empty one, that there are no more.
        body.gather(cx);
        if send.capacity() == 0 {
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                // It may have answered already: what can be read is what counts.
                Some(Err(_)) | None => {
                    self.sending = Sending::Abandoned;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let n = body.data().len().min(send.capacity());
        if n == 0 {
            return Poll::Ready(Ok(()));
        }
        let last = left == Some(n as u64) || (n == body.data().len() && body.is_last());
        let piece = counted(&body.data()[..n]);
        if send.send_data(piece.clone(), last).is_err() {
            self.sending = Sending::Abandoned;
            return Poll::Ready(Ok(()));
        }
        body.consume(n);
        self.keep(piece);
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
        if !self.chunk.is_empty() {
            return Poll::Ready(Ok(Fill::Data));
        }
        self.pump(cx, body)?;
        self.acknowledge(cx);
        let filled = self.poll_data(cx);
        self.count();
        filled
    }

    /// The client takes nothing more for now: its request goes on all the same, and what comes
    /// behind the bytes at hand is drawn together.
    pub(super) fn wait(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut dyn Spliced,
    ) -> Result<(), Error> {
        self.pump(cx, body)?;
        if let Some(recv) = &mut self.recv {
            self.behind.gather(recv, cx);
        }
        self.count();
        Ok(())
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, Error>> {
        let Some(recv) = &mut self.recv else { return Poll::Ready(Err(Error::Closed)) };
        loop {
            match ready!(self.behind.poll_next(recv, cx)) {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(_)) if self.bodyless => {
                    let what = "a body behind a head that has none";
                    return Poll::Ready(Err(Error::Malformed(what.into())));
                }
                Some(Ok(piece)) => {
                    self.chunk = piece;
                    return Poll::Ready(Ok(Fill::Data));
                }
                Some(Err(error)) => return Poll::Ready(Err(self.broke(&error))),
                None => break,
            }
        }
        match ready!(recv.poll_trailers(cx)) {
            Ok(None) => {}
            Ok(Some(map)) => {
                let (most, count) = (self.trailers_most, self.limits.fields);
                self.trailers = Some(http2::from_trailers(&map, most, count)?);
            }
            Err(error) => return Poll::Ready(Err(self.broke(&error))),
        }
        Poll::Ready(Ok(Fill::End))
    }

    /// Lets the backend send as much as was taken, once there is memory for it.
    fn acknowledge(&mut self, cx: &mut Context<'_>) {
        if self.owed == 0 || self.place.poll_room(cx, Part::Body).is_pending() {
            return;
        }
        let owed = std::mem::take(&mut self.owed);
        if let Some(recv) = &mut self.recv {
            // It fails only for more than came.
            let _ = recv.flow_control().release_capacity(owed);
        }
    }

    /// Counts what is held as memory.
    fn count(&mut self) {
        let Some(recv) = &mut self.recv else { return };
        let now = recv.flow_control().used_capacity();
        match now.checked_sub(self.held) {
            Some(more) => memory().take(more),
            None => memory().give(self.held - now),
        }
        self.held = now;
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.chunk
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.chunk.advance(n);
        self.owed += n;
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
        self.chunk.is_empty()
    }

    pub(super) fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref().filter(|trailers| !trailers.is_empty())
    }

    /// What may be done after an error, and whether it is nobody's fault: the backend ended the
    /// connection in order, or it was closed before the request came there.
    pub(super) fn retry(&self, error: &Error) -> (Retry, bool) {
        if self.heard {
            return (Retry::No, false);
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

//! The way back of one stream: interim answers, the answer, its body within the client's windows.
use crate::message::Head;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, Response};
use parking_lot::Mutex;
use std::task::{Context, Poll, ready};

/// The stream is over: whoever asked for it has reset it, or its connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// The way back of one stream. Shared by its request and by who watches for its end, both in the
/// stream's own task: the lock is never waited for.
#[derive(Debug)]
pub(super) struct Sender(Mutex<Way>);

#[derive(Debug)]
enum Way {
    /// Nothing was answered yet.
    Head(SendResponse<Bytes>),
    /// The head went.
    Body(SendStream<Bytes>),
}

impl Sender {
    pub(super) fn new(respond: SendResponse<Bytes>) -> Self {
        Self(Mutex::new(Way::Head(respond)))
    }

    /// Passes an interim answer on. One that comes too late goes nowhere.
    pub(super) fn interim(&self, answer: &Head) {
        if let Way::Head(respond) = &mut *self.0.lock() {
            let _ = respond.send_informational(crate::http2::interim(answer));
        }
    }

    /// Sends the head; `end`: nothing follows.
    pub(super) fn respond(&self, head: Response<()>, end: bool) -> Result<(), Gone> {
        let mut way = self.0.lock();
        let Way::Head(respond) = &mut *way else { return Err(Gone) };
        let body = respond.send_response(head, end).map_err(|_| Gone)?;
        *way = Way::Body(body);
        Ok(())
    }

    /// Ready when so many bytes, or fewer, may be sent at once: as far as the client's windows and
    /// `http2.send_buffer` go.
    pub(super) fn poll_room(
        &self,
        cx: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<Result<usize, Gone>> {
        let Way::Body(body) = &mut *self.0.lock() else { return Poll::Ready(Err(Gone)) };
        body.reserve_capacity(wanted);
        loop {
            let room = body.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room.min(wanted)));
            }
            if !matches!(ready!(body.poll_capacity(cx)), Some(Ok(_))) {
                return Poll::Ready(Err(Gone));
            }
        }
    }

    /// Sends a part of the body for which there is room, or a short one that is to wait for it.
    pub(super) fn send(&self, data: Bytes, end: bool) -> Result<(), Gone> {
        let Way::Body(body) = &mut *self.0.lock() else { return Err(Gone) };
        body.send_data(data, end).map_err(|_| Gone)
    }

    /// Sends trailers, which end the stream.
    pub(super) fn trailers(&self, trailers: HeaderMap) -> Result<(), Gone> {
        let Way::Body(body) = &mut *self.0.lock() else { return Err(Gone) };
        body.send_trailers(trailers).map_err(|_| Gone)
    }

    /// Ends the stream in a way that nobody takes for the end of an answer.
    pub(super) fn reset(&self, reason: Reason) {
        match &mut *self.0.lock() {
            Way::Head(respond) => respond.send_reset(reason),
            Way::Body(body) => body.send_reset(reason),
        }
    }

    /// Ready when the stream was reset, or its connection is gone.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.0.lock() {
            Way::Head(respond) => respond.poll_reset(cx).map(drop),
            Way::Body(body) => body.poll_reset(cx).map(drop),
        }
    }
}

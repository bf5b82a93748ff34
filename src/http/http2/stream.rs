//! The client's side of one HTTP/2 stream: its body as a [`Source`]. What is taken is given back to
//! the client's windows only when the backend has it.
use super::held::Held;
use super::request::Carrier;
use super::sender::Sender;
use crate::config::Limits;
use crate::http::address::Origin;
use crate::http::downstream::Downstream;
use crate::http::rate::Rate;
use crate::http1::BodyLength;
use crate::http2::{self, Pieces};
use crate::message::{
    Back, Broken, Fields, Fill, Head, Kept, Length, Part, Place, Pressure, Source, Version, memory,
};
use crate::net::{Spliced, proxy_protocol};
use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The client's side of one stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) origin: Arc<Origin>,
    header: Arc<proxy_protocol::Header>,
    pub(super) sender: Arc<Sender>,
    held: Arc<Held>,
    body: RecvStream,
    data: Bytes,
    /// What came behind it.
    behind: Pieces,
    /// What was handed on and comes again.
    back: Back,
    length: Length,
    /// Bytes of its body, or through a tunnel, that were handed on.
    pub(super) taken: u64,
    /// Bytes of an answer's body that went.
    pub(super) given: u64,
    limit: u64,
    most_trailers: usize,
    rate: Rate,
    /// Whether it is a call of gRPC.
    pub(super) is_call: bool,
    ended: bool,
    trailers: Option<Fields>,
    /// Bytes that were taken, for which the client's window was not opened again.
    owed: usize,
    /// Where it waits for memory.
    place: Place,
}

impl Stream {
    /// Its body is not bounded yet.
    pub(super) fn new(
        carrier: &Carrier,
        sender: Arc<Sender>,
        body: RecvStream,
        is_call: bool,
    ) -> Self {
        Self {
            origin: carrier.origin.clone(),
            header: carrier.header.clone(),
            held: carrier.held.clone(),
            sender,
            data: Bytes::new(),
            behind: Pieces::default(),
            back: Back::NONE,
            length: Length::Empty,
            taken: 0,
            given: 0,
            limit: u64::MAX,
            most_trailers: usize::MAX,
            rate: Rate::NONE,
            is_call,
            ended: body.is_end_stream(),
            body,
            trailers: None,
            owed: 0,
            place: Place::none(),
        }
    }

    /// A request begins whose body is delimited like this.
    pub(super) fn begin(&mut self, framing: BodyLength) {
        self.length = match framing {
            BodyLength::None => Length::Empty,
            BodyLength::Exact(n) => Length::Exact(n),
            _ => Length::Unknown,
        };
        self.ended = framing == BodyLength::None;
    }

    /// What comes from here on is a tunnel's: without a limit.
    pub(super) fn become_tunnel(&mut self) {
        (self.ended, self.limit) = (false, u64::MAX);
        self.rate.bound(None);
    }

    /// Reads and throws away what the client still sends of its body, `most` bytes at the most: one
    /// that is told to stop may not hear why. Ready when it ended, or will not.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, most: u64) -> Poll<()> {
        (self.limit, self.back) = (most, Back::NONE);
        while let Ok(Fill::Data) = ready!(self.poll_fill(cx)) {
            self.consume(self.data.len());
        }
        Poll::Ready(())
    }

    fn id(&self) -> u32 {
        self.body.stream_id().as_u32()
    }

    /// Lets the client send as much again as was taken.
    fn open_window(&mut self) {
        // Fails for more than came: never.
        let _ = self.body.flow_control().release_capacity(std::mem::take(&mut self.owed));
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, Broken>> {
        let came = ready!(self.body.poll_trailers(cx)).map_err(|error| broken(&error))?;
        self.ended = true;
        if let Some(map) = came {
            let read = http2::from_trailers(&map, self.most_trailers, usize::MAX);
            self.trailers = Some(read.map_err(|refusal| Broken::Invalid(refusal.rule.word()))?);
        }
        Poll::Ready(Ok(Fill::End))
    }
}

/// What a broken body is called: the library sees to it that its length is what was said.
fn broken(error: &h2::Error) -> Broken {
    if error.is_library() && error.reason() == Some(Reason::PROTOCOL_ERROR) {
        return Broken::Invalid("bad_content_length");
    }
    Broken::Closed
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.held.end(self.id());
    }
}

impl Source for Stream {
    fn length(&self) -> Length {
        self.length
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, Broken>> {
        if self.back.is_some() {
            return Poll::Ready(Ok(Fill::Data));
        }
        if self.ended {
            return Poll::Ready(Ok(Fill::End));
        }
        if self.owed > 0 && self.place.poll_room(cx, Part::Body).is_ready() {
            self.open_window();
        }
        loop {
            if !self.data.is_empty() {
                return Poll::Ready(Ok(Fill::Data));
            }
            let Poll::Ready(came) = self.behind.poll_next(&mut self.body, cx) else {
                self.rate.wait();
                return Poll::Pending;
            };
            self.rate.judge(self.taken)?;
            let Some(data) = came else { return self.poll_trailers(cx) };
            self.data = data.map_err(|error| broken(&error))?;
            if self.taken + self.data.len() as u64 > self.limit {
                return Poll::Ready(Err(Broken::TooLarge));
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.back.data().unwrap_or(&self.data)
    }

    fn consume(&mut self, n: usize) {
        if self.back.is_some() {
            return self.back.consume(n);
        }
        self.data.advance(n);
        self.taken += n as u64;
        self.owed += n;
        self.held.give(self.id(), n);
        // While memory is short what has come goes on, and nothing more is let in.
        if memory().pressure() == Pressure::None {
            self.open_window();
        }
    }

    fn gather(&mut self, cx: &mut Context<'_>) {
        if !self.ended {
            self.behind.gather(&mut self.body, cx);
        }
    }

    fn is_last(&self) -> bool {
        let last = self.behind.is_empty() && self.body.is_end_stream();
        let back = self.back.is_last() && (self.data.is_empty() || !self.back.is_some());
        last && back && self.trailers.is_none()
    }

    fn trailers(&self) -> Option<&Fields> {
        self.trailers.as_ref()
    }

    fn put_back(&mut self, kept: Kept) {
        self.back.put(kept);
    }

    fn gone(&self) -> u64 {
        self.taken - self.back.left()
    }
}

impl Spliced for Stream {}

impl Downstream for Stream {
    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn header(&self, version: proxy_protocol::Version) -> Box<proxy_protocol::Written> {
        Box::new(self.header.write(version))
    }

    fn bound_body(&mut self, limits: &Limits) {
        self.limit = limits.body.unwrap_or(u64::MAX);
        // A call may say nothing for long: it is a conversation, and no upload.
        self.rate.bound(limits.body_rate.filter(|_| !self.is_call));
        self.most_trailers = limits.trailers;
    }

    fn patience(&self, head: &Head) -> Option<Duration> {
        if self.is_call { http2::timeout(head) } else { None }
    }

    fn interim(&mut self, _: &mut Context<'_>, answer: &Head, _: Version) {
        self.sender.interim(answer);
    }
}

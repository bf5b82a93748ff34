//! The client's side of one HTTP/2 stream: its body as a [`Source`]. What is taken is given back to
//! the client's windows only when the backend has it.
use super::request::Carrier;
use crate::config::Limits;
use crate::http::address::Origin;
use crate::http::downstream::Downstream;
use crate::http::rate::Rate;
use crate::http1::BodyLength;
use crate::http2;
use crate::http2::conn::{Broken as Cut, Came};
use crate::message::{
    Back, Barred, Broken, Fields, Fill, Head, Kept, Length, Part, Place, Pressure, Source, Version,
    memory,
};
use crate::mux;
use crate::net::{Spliced, proxy_protocol};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The client's side of one stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) origin: Arc<Origin>,
    header: Arc<proxy_protocol::Header>,
    pub(super) sender: Arc<mux::Stream>,
    data: Vec<u8>,
    /// So much of it was handed on.
    at: usize,
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
    barred: Option<Barred>,
    /// Bytes that were taken, for which the client's window was not opened again.
    owed: usize,
    /// Where it waits for memory.
    place: Place,
}

impl Stream {
    /// Its body is not bounded yet.
    pub(super) fn new(
        carrier: &Carrier,
        sender: Arc<mux::Stream>,
        ended: bool,
        is_call: bool,
    ) -> Self {
        Self {
            origin: carrier.origin.clone(),
            header: carrier.header.clone(),
            sender,
            data: Vec::new(),
            at: 0,
            back: Back::NONE,
            length: Length::Empty,
            taken: 0,
            given: 0,
            limit: u64::MAX,
            most_trailers: usize::MAX,
            rate: Rate::NONE,
            is_call,
            ended,
            trailers: None,
            barred: None,
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
            self.consume(self.data().len());
        }
        Poll::Ready(())
    }

    /// Nothing more comes but trailers, if there are any.
    fn end(&mut self) -> Result<Fill, Broken> {
        self.ended = true;
        if let Some(mut trailers) = self.sender.take_trailers() {
            let fit = http2::trailers_fit(&trailers, self.most_trailers, usize::MAX);
            fit.map_err(|refusal| Broken::Invalid(refusal.rule.word()))?;
            if let Some(barred) = &self.barred {
                barred.strip(Some(&mut trailers));
            }
            self.trailers = Some(trailers);
        }
        Ok(Fill::End)
    }
}

/// A buffer larger than that is not kept for what comes next.
const KEPT: usize = 64 << 10;

/// What a broken body is called.
fn broken(cut: Cut) -> Broken {
    match cut {
        Cut::Length => Broken::Invalid("bad_content_length"),
        Cut::Refused(refusal) => Broken::Invalid(refusal.rule.word()),
        _ => Broken::Closed,
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
            self.sender.used(0, std::mem::take(&mut self.owed));
        }
        if self.at < self.data.len() {
            return Poll::Ready(Ok(Fill::Data));
        }
        self.at = 0;
        self.data.clear();
        if self.data.capacity() > KEPT {
            self.data = Vec::new();
        }
        let Poll::Ready(came) = self.sender.poll_data(cx, &mut self.data) else {
            self.rate.wait();
            return Poll::Pending;
        };
        self.rate.judge(self.taken)?;
        if came.map_err(broken)? == Came::End {
            return Poll::Ready(self.end());
        }
        let over = self.taken + self.data.len() as u64 > self.limit;
        Poll::Ready(if over { Err(Broken::TooLarge) } else { Ok(Fill::Data) })
    }

    fn data(&self) -> &[u8] {
        self.back.data().unwrap_or(&self.data[self.at..])
    }

    fn consume(&mut self, n: usize) {
        if self.back.is_some() {
            return self.back.consume(n);
        }
        self.at += n;
        self.taken += n as u64;
        self.owed += n;
        // While memory is short what has come goes on, and nothing more is let in.
        let free = memory().pressure() == Pressure::None;
        let open = if free { std::mem::take(&mut self.owed) } else { 0 };
        self.sender.used(n, open);
    }

    fn is_last(&self) -> bool {
        let behind = self.back.is_some() && self.at < self.data.len();
        let last = !behind && self.back.is_last() && self.trailers.is_none();
        last && (self.ended || self.sender.is_last())
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

    fn bar(&mut self, barred: &Barred) {
        self.barred = Some(barred.clone());
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
        self.sender.interim(|out| http2::interim(answer, out));
    }
}

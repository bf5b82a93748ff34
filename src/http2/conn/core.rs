//! One connection without I/O: bytes in, bytes out, and what its streams say between.
use super::late::Late;
use super::streams::{Broken, Recv, Sent, Streams};
use crate::http1::HeadLimits;
use crate::http2::frame::{Code, Frame, PREFACE, STREAM, flag, kind, write_number};
use crate::http2::hpack::{Decoder, Encoder};
use crate::http2::request::Request;
use crate::http2::tally::{Kind, Tally};
use crate::message::Chunk;
use std::collections::VecDeque;
use std::time::Instant;

/// Which side of a connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We are asked.
    Server,
    /// We ask.
    Client,
}

/// What a connection may hold and cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests at once that a client may begin.
    pub streams: u32,
    /// Bytes of a stream's body that may come before they are taken.
    pub window: u32,
    /// Of all streams together.
    pub connection_window: u32,
    /// Bytes that wait for a peer that does not read.
    pub send_buffer: usize,
    /// Requests that a client takes back before they were seen.
    pub resets: usize,
    /// Streams that we end for the peer's faults: of one that is asked, those that were over already.
    pub local_resets: usize,
    /// Of a head.
    pub head: HeadLimits,
}

/// What the peer has said of itself (RFC 9113 6.5.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) window: i64,
    pub(super) streams: u32,
    /// It has said it.
    pub(super) said: bool,
}

/// Why a connection was ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The code that the peer is told.
    pub code: Code,
    /// In words.
    pub why: &'static str,
    /// The flood that it was.
    pub flood: Option<Kind>,
}

impl Fault {
    pub(super) fn new(code: Code, why: &'static str) -> Self {
        Self { code, why, flood: None }
    }
    pub(super) fn flood(kind: Kind) -> Self {
        Self { code: Code::CALM, why: kind.word(), flood: Some(kind) }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.why)
    }
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The preface, of which so much came.
    Preface(usize),
    /// A frame's header is next.
    Frame,
    /// A body: so many bytes are left, then so many of padding; whether the stream ends then.
    Data { key: u32, id: u32, left: usize, padding: usize, ends: bool },
    /// So much that nobody wants.
    Skip(usize),
}

/// A head that comes in parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
    pub(super) stream: u32,
    pub(super) ends: bool,
    pub(super) frames: usize,
}

/// How far we are with leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// The peer was told that we will, and asked to say that it heard.
    Told,
    /// Streams above this one are not served.
    Last(u32),
}

/// One connection.
#[derive(Debug)]
pub struct Core {
    pub(super) side: Side,
    pub(super) limits: Limits,
    pub(super) peer: Peer,
    pub(super) reading: Reading,
    pub(super) partial: Option<Partial>,
    pub(super) block: Vec<u8>,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) streams: Streams,
    /// Streams under way.
    pub(super) open: usize,
    /// The highest stream of the client, whoever that is.
    pub(super) last: u32,
    pub(super) tally: Tally,
    /// Since when the tally was told of no time.
    pub(super) since: Instant,
    /// What may still come for streams that we have reset.
    pub(super) late: Late,
    pub(super) unseen: usize,
    /// A request was refused that nobody has paid for.
    pub(super) refused: bool,
    pub(super) faults: usize,
    /// What the peer may send, and what of it is to be opened again by and by.
    pub(super) window: i64,
    pub(super) owed: usize,
    /// What we may send.
    pub(super) room: i64,
    /// Streams that wait for the connection's room.
    pub(super) queue: VecDeque<u32>,
    /// Streams that wait to say a head: the first is served first, and before any body.
    pub(super) turns: VecDeque<u32>,
    /// Bytes to be sent.
    pub(super) out: Chunk,
    pub(super) leaving: Leaving,
    /// The peer goes away: the last stream that it serves.
    pub(super) away: Option<u32>,
    pub(super) fault: Option<Fault>,
    pub(super) ended: bool,
    /// Requests that came and that nobody has.
    pub(super) asked: VecDeque<(u32, Request)>,
    /// Streams with news for whoever has them.
    pub(super) news: Vec<u32>,
    /// Codes that the peer was told.
    pub(super) told: Vec<Code>,
    pub(super) random: fastrand::Rng,
}

/// All fields of a list together, as RFC 9113 6.5.2 counts them: what the peer is told to keep to.
pub(super) fn list(head: &HeadLimits) -> usize {
    /// What a field counts for besides its name and value.
    const FIELD: usize = 32;
    /// Crumbs of cookies are many, and one field for us.
    const CRUMBS: usize = 256;
    head.head.saturating_add(FIELD * head.fields.saturating_add(CRUMBS))
}

/// Lists so many times as long as they may be end the connection.
pub(super) const LISTS: usize = 4;
/// What both begin with (RFC 9113 6.9.2).
pub(super) const WINDOW: i64 = 65_535;
/// The largest window (RFC 9113 6.9.1).
pub(super) const WINDOW_MOST: i64 = (1 << 31) - 1;
/// The least that may wait to be sent.
const OUT: usize = 16 << 10;
/// What a PING says that asks whether a goodbye was heard.
pub(super) const GOODBYE: [u8; 8] = *b"evenkeel";
/// Any other.
const ALIVE: [u8; 8] = *b"are you?";

impl Core {
    /// A connection that begins now; our beginning waits to be sent. `seed` makes unlike those that
    /// a peer could otherwise foresee.
    pub fn new(side: Side, limits: Limits, seed: u64, now: Instant) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut core = Self {
            side,
            limits,
            peer: Peer { window: WINDOW, streams: u32::MAX, said: false },
            reading: if side == Side::Server { Reading::Preface(0) } else { Reading::Frame },
            partial: None,
            block: Vec::new(),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            streams: Streams::new(random.u64(..)),
            open: 0,
            last: 0,
            tally: Tally::default(),
            since: now,
            late: Late::default(),
            unseen: 0,
            refused: false,
            faults: 0,
            window: i64::from(limits.connection_window),
            owed: 0,
            room: WINDOW,
            queue: VecDeque::new(),
            turns: VecDeque::new(),
            out: Chunk::none(),
            leaving: Leaving::No,
            away: None,
            fault: None,
            ended: false,
            asked: VecDeque::new(),
            news: Vec::new(),
            told: Vec::new(),
            random,
        };
        core.begin();
        core
    }

    fn begin(&mut self) {
        let most = u32::try_from(list(&self.limits.head)).unwrap_or(u32::MAX);
        // SETTINGS: streams, window, list of fields; CONNECT with a protocol, or no PUSH.
        let streams = (3, self.limits.streams);
        let (first, last) = match self.side {
            Side::Server => (streams, (8, 1)),
            Side::Client => ((2, 0), (1, 4096)),
        };
        let settings = [first, (4, self.limits.window), (6, most), last];
        if self.side == Side::Client {
            self.out.extend(PREFACE);
        }
        let len = settings.len() as u32 * 6;
        Frame { len, kind: kind::SETTINGS, flags: 0, stream: 0 }.write(&mut self.out);
        for (id, value) in settings {
            self.out.extend(&u16::to_be_bytes(id));
            self.out.extend(&u32::to_be_bytes(value));
        }
        let more = i64::from(self.limits.connection_window) - WINDOW;
        if more > 0 {
            write_number(kind::WINDOW_UPDATE, 0, more as u32, &mut self.out);
        }
    }

    /// What is to be sent, and how much of it was.
    pub fn out(&mut self) -> &mut Chunk {
        &mut self.out
    }

    /// Something was sent: who waits for room may have some.
    pub fn wrote(&mut self) {
        if self.out.data().is_empty() {
            self.out.rest();
        }
        self.serve_waiting();
    }

    /// Memory that is kept for further streams is given back: to be called now and then. Says whether
    /// there are none at all.
    pub fn rest(&mut self) -> bool {
        self.streams.rest()
    }

    /// Bytes that may wait to be sent: with so many no head and no part of a body is taken.
    pub(super) fn out_most(&self) -> usize {
        self.limits.send_buffer.max(OUT)
    }

    /// Whether twice as many wait: bodies stop before, so it is what answers frames that the peer
    /// does not read. Until it does, nothing is read of it, and nothing begun.
    pub fn is_stuffed(&self) -> bool {
        self.out.data().len() >= 2 * self.out_most()
    }

    /// Whether more may be read.
    pub fn may_read(&self) -> bool {
        !self.is_stuffed() && self.fault.is_none() && !self.ended
    }

    /// The next request that came.
    pub fn asked(&mut self) -> Option<(u32, Request)> {
        if self.is_stuffed() {
            return None;
        }
        while let Some((key, request)) = self.asked.pop_front() {
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.seen = true;
            if matches!(stream.broken, Some(Broken::Reset(_))) {
                // Taken back before anybody saw it.
                self.unseen -= 1;
                self.release(key);
                continue;
            }
            return Some((key, request));
        }
        None
    }

    /// A stream that has news.
    pub fn news(&mut self) -> Option<u32> {
        let key = self.news.pop()?;
        if let Some(stream) = self.streams.get_mut(key) {
            stream.news = false;
        }
        Some(key)
    }

    /// A code that the peer was told.
    pub fn told(&mut self) -> Option<Code> {
        self.told.pop()
    }

    /// Why it was ended by us.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether the preface came whole.
    pub fn has_begun(&self) -> bool {
        !matches!(self.reading, Reading::Preface(_))
    }

    /// Whether the peer has said what it allows.
    pub fn is_agreed(&self) -> bool {
        self.peer.said
    }

    /// Requests under way.
    pub fn open_streams(&self) -> usize {
        self.open
    }

    /// As many requests as the peer takes at once.
    pub fn most_streams(&self) -> usize {
        self.peer.streams as usize
    }

    /// Whether requests may be begun.
    pub fn takes_requests(&self) -> bool {
        let leaves = self.leaving != Leaving::No || self.away.is_some();
        !leaves && self.fault.is_none() && !self.ended && self.last < STREAM - 2
    }

    /// Of a peer that went away before all requests that were begun: those that it served.
    pub fn served(&self) -> Option<usize> {
        self.away.filter(|last| *last < self.last).map(|last| last.div_ceil(2) as usize)
    }

    /// Whether nothing is left to be done.
    pub fn is_over(&self) -> bool {
        let leaves = matches!(self.leaving, Leaving::Last(_)) || self.away.is_some();
        let done = self.ended || self.fault.is_some() || (leaves && self.open == 0);
        done && (self.ended || self.out.data().is_empty())
    }

    /// Takes no more requests, or begins none; those that are under way may end.
    pub fn leave(&mut self) {
        if self.leaving != Leaving::No || self.fault.is_some() || self.ended {
            return;
        }
        if self.side == Side::Client {
            self.leaving = Leaving::Last(0);
            return self.goaway(0, Code::NO_ERROR, "");
        }
        // What is on its way is served: only who answers the PING has heard of it (RFC 9113 6.8).
        self.leaving = Leaving::Told;
        self.goaway(STREAM, Code::NO_ERROR, "");
        self.ping_with(GOODBYE);
    }

    /// The peer was told, and does not say that it heard: nothing more is waited for than what is
    /// under way.
    pub fn depart(&mut self) {
        if self.leaving == Leaving::Told && self.fault.is_none() && !self.ended {
            self.leaving = Leaving::Last(self.last);
            self.goaway(self.last, Code::NO_ERROR, "");
        }
    }

    /// Asks whether the peer is there.
    pub fn ping(&mut self) {
        self.ping_with(ALIVE);
    }

    fn ping_with(&mut self, payload: [u8; 8]) {
        Frame { len: 8, kind: kind::PING, flags: 0, stream: 0 }.write(&mut self.out);
        self.out.extend(&payload);
    }

    pub(super) fn pong(&mut self, payload: &[u8]) {
        Frame { len: 8, kind: kind::PING, flags: flag::ACK, stream: 0 }.write(&mut self.out);
        self.out.extend(payload);
    }

    pub(super) fn goaway(&mut self, last: u32, code: Code, why: &str) {
        let len = 8 + why.len() as u32;
        Frame { len, kind: kind::GOAWAY, flags: 0, stream: 0 }.write(&mut self.out);
        self.out.extend(&last.to_be_bytes());
        self.out.extend(&code.0.to_be_bytes());
        self.out.extend(why.as_bytes());
    }

    /// Ends the connection for what the peer did; it hears why.
    pub(super) fn fail(&mut self, fault: Fault) {
        if self.fault.is_some() {
            return;
        }
        self.fault = Some(fault);
        let last = if self.side == Side::Server { self.last } else { 0 };
        self.goaway(last, fault.code, fault.why);
        self.note(fault.code);
        self.end_all(Broken::Fault(fault.code, fault.why));
    }

    /// Nothing more comes, and nothing can be sent.
    pub fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            self.end_all(Broken::Ended);
        }
    }

    fn end_all(&mut self, broken: Broken) {
        for key in self.streams.keys() {
            self.break_off(key, broken);
        }
    }

    /// A stream ends before its time.
    pub(super) fn break_off(&mut self, key: u32, broken: Broken) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.broken.get_or_insert(broken);
        stream.sent = Sent::Ended;
        stream.rest = None;
        if std::mem::replace(&mut stream.open, false) {
            self.open -= 1;
        }
        self.tell(key);
        self.forget(key);
    }

    /// Whoever has a stream is to hear that something happened.
    #[inline]
    pub(super) fn tell(&mut self, key: u32) {
        if let Some(stream) = self.streams.get_mut(key)
            && stream.user
            && !std::mem::replace(&mut stream.news, true)
        {
            self.news.push(key);
        }
    }

    pub(super) fn write_reset(&mut self, id: u32, code: Code) {
        write_number(kind::RST_STREAM, id, code.0, &mut self.out);
        self.note(code);
        let stream = self.streams.key(id).and_then(|key| self.streams.get(key));
        let recv = stream.map_or(Recv::Body, |stream| stream.recv);
        // A peer may not know our window yet.
        let least = stream.map_or(i64::from(self.limits.window), |stream| stream.window);
        let slack = (WINDOW - i64::from(self.limits.window)).max(0);
        self.late.reset(recv, u64::try_from(least + slack).unwrap_or(0));
    }

    fn note(&mut self, code: Code) {
        if code == Code::REFUSED || code.error().is_some() {
            self.told.push(code);
        }
    }

    /// Ends a stream for what the peer did on it.
    pub(super) fn stream_fault(
        &mut self,
        id: u32,
        code: Code,
        broken: Broken,
    ) -> Result<(), Fault> {
        self.write_reset(id, code);
        if let Some(key) = self.streams.key(id) {
            self.break_off(key, broken);
            if self.side == Side::Client {
                // There are no more of them than we ask for, and others have their answers here.
                return Ok(());
            }
        }
        self.faults += 1;
        if self.faults > self.limits.local_resets {
            return Err(Fault::flood(Kind::LocalResets));
        }
        Ok(())
    }
}

//! One state machine for the side that reads requests, one for the side that reads responses.
//!
//! The caller owns the buffer: it passes the bytes at hand, drops the count that was used, and
//! reads more when told to. Neither machine keeps bytes, so an idle connection needs no buffer.
//!
//! ```text
//! Server   Head --head--> Body --end--> Answer --answered--> Head | Over
//!                                       Answer --switched--> Tunnel
//! Client   Quiet --requested--> Head --1xx--> Head --head--> Body --end--> Quiet | Over
//!                               Head --101--> Tunnel
//! ```
use super::body::{Decoded, Decoder};
use super::framing::{
    BodyLength, RequestVerdict, ResponseVerdict, is_websocket, of_request, of_response,
};
use super::parse::{HeadLimits, Parsed, request, response};
use super::refusal::{Refusal, Rule};
use crate::message::{Fields, Head, Method};
use std::ops::Range;

/// What a machine found in the bytes at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<V> {
    /// A complete head is in `head`.
    Head(V),
    /// A complete interim (1xx, not 101) head is in `head`. Client only.
    Informational,
    /// The peer switched protocols (101); a complete head is in `head`. Client only.
    Switched,
    /// Body bytes, at this range of the input.
    Data(Range<usize>),
    /// The message is complete; `trailers()` may hold some.
    End,
    /// The peer closed between messages.
    Closed,
    /// Nothing can be said without more.
    Want(Want),
}

/// What a machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// More bytes.
    Read,
    /// More bytes, and no byte is at hand between messages: the buffer can be given back.
    Idle,
    /// The answer must be written (server) or the request sent (client) first.
    WriteFirst,
    /// Every byte from here on belongs to another protocol.
    Tunnel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Body,
    Between,
    Tunnel,
    Over,
}

/// What both machines share: where they are, and the body under way.
#[derive(Debug)]
struct Reader {
    state: State,
    resume: u32,
    limits: HeadLimits,
    trailer_limits: HeadLimits,
    decoder: Decoder,
    trailers: Option<Box<Fields>>,
}

impl Reader {
    fn new(state: State, limits: HeadLimits, trailers: usize) -> Self {
        let trailer_limits = HeadLimits { head: trailers, ..limits };
        let decoder = Decoder::new(BodyLength::None, trailer_limits);
        Self { state, resume: 0, limits, trailer_limits, decoder, trailers: None }
    }
    fn begin(&mut self, body: BodyLength) {
        self.state = State::Body;
        self.resume = 0;
        self.decoder = Decoder::new(body, self.trailer_limits);
    }
    /// `None`: the body ended.
    fn body<V>(
        &mut self,
        wire: &[u8],
        eof: bool,
        after: State,
    ) -> Result<(usize, Event<V>), Refusal> {
        Ok(match self.decoder.decode(wire, eof, &mut self.trailers)? {
            Decoded::Data(range) => (range.end, Event::Data(range)),
            Decoded::Need(used) => (used, Event::Want(Want::Read)),
            Decoded::End(used) => {
                self.state = after;
                (used, Event::End)
            }
        })
    }
    fn partial<V>(&mut self, resume: usize, eof: bool) -> Result<(usize, Event<V>), Refusal> {
        self.resume = u32::try_from(resume).unwrap_or(u32::MAX);
        if eof { Err(Rule::Truncated.into()) } else { Ok((0, Event::Want(Want::Read))) }
    }
}

/// Reads requests: the downstream side.
#[derive(Debug)]
pub struct Server(Reader);

impl Server {
    /// A fresh connection. `trailers` bounds the bytes of a trailer section.
    pub fn new(limits: HeadLimits, trailers: usize) -> Self {
        Self(Reader::new(State::Head, limits, trailers))
    }
    /// Other bounds from the next head on.
    #[inline]
    pub fn bound(&mut self, limits: HeadLimits, trailers: usize) {
        self.0.trailer_limits = HeadLimits { head: trailers, ..limits };
        self.0.limits = limits;
    }
    /// Takes one step over the bytes at hand and says how many of them are used up (for `Data`,
    /// those up to the end of the range). `eof`: no byte will follow `wire`.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; the connection must be closed after the answer. The machine is over.
    pub fn next(
        &mut self,
        wire: &[u8],
        eof: bool,
        head: &mut Head,
    ) -> Result<(usize, Event<RequestVerdict>), Refusal> {
        self.step(wire, eof, head).inspect_err(|_| self.0.state = State::Over)
    }
    fn step(
        &mut self,
        wire: &[u8],
        eof: bool,
        head: &mut Head,
    ) -> Result<(usize, Event<RequestVerdict>), Refusal> {
        match self.0.state {
            State::Head if wire.is_empty() && eof => Ok((0, Event::Closed)),
            State::Head if wire.is_empty() => Ok((0, Event::Want(Want::Idle))),
            State::Head => match request(wire, self.0.resume as usize, &self.0.limits, head)? {
                Parsed::Partial(resume) => self.0.partial(resume, eof),
                Parsed::Done(used) => {
                    let verdict = of_request(head)?;
                    self.0.begin(verdict.body);
                    Ok((used, Event::Head(verdict)))
                }
            },
            _ => self.next_body(wire, eof),
        }
    }
    /// As `next` behind a head: for the body and its end.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; the connection must be closed after the answer.
    pub fn next_body(
        &mut self,
        wire: &[u8],
        eof: bool,
    ) -> Result<(usize, Event<RequestVerdict>), Refusal> {
        match self.0.state {
            State::Body => self.0.body(wire, eof, State::Between),
            State::Between => Ok((0, Event::Want(Want::WriteFirst))),
            State::Tunnel => Ok((0, Event::Want(Want::Tunnel))),
            State::Head | State::Over => Ok((0, Event::Closed)),
        }
    }
    /// Whether the current request's body has been read to its end; never after a refusal.
    pub fn is_body_done(&self) -> bool {
        match self.0.state {
            State::Body => self.0.decoder.is_done(),
            State::Over => false,
            State::Head | State::Between | State::Tunnel => true,
        }
    }
    /// Bounds the trailers of the current request, where its route has a limit of its own.
    pub fn bound_trailers(&mut self, trailers: usize) {
        self.0.decoder.bound_trailers(trailers);
    }
    /// How many of the next bytes may be spliced past the decoder.
    pub fn opaque(&self) -> u64 {
        if self.0.state == State::Body { self.0.decoder.opaque() } else { 0 }
    }
    /// Says that so many bytes were moved past the decoder.
    pub fn advance(&mut self, n: u64) {
        self.0.decoder.advance(n);
    }
    /// The trailers of the message that just ended.
    pub fn trailers(&self) -> Option<&Fields> {
        self.0.trailers.as_deref().filter(|trailers| !trailers.is_empty())
    }
    /// The same, to take some out.
    pub fn trailers_mut(&mut self) -> Option<&mut Fields> {
        self.0.trailers.as_deref_mut()
    }
    /// The answer was written to its end. With `keep_alive`, and the body read, the next request
    /// may come; otherwise nothing more is read.
    pub fn answered(&mut self, keep_alive: bool) {
        let stays = keep_alive
            && self.is_body_done()
            && matches!(self.0.state, State::Body | State::Between);
        self.0.state = if stays { State::Head } else { State::Over };
        self.0.resume = 0;
        self.0.trailers = None;
    }
    /// The answer was 101: what follows is not HTTP/1.
    pub fn switched(&mut self) {
        self.0.state = State::Tunnel;
    }
}

/// Reads responses: the upstream side.
#[derive(Debug)]
pub struct Client {
    reader: Reader,
    method: Method,
    upgrade: bool,
    begun: bool,
    answered: bool,
    keep_alive: bool,
}

impl Client {
    /// A fresh connection.
    pub fn new(limits: HeadLimits, trailers: usize) -> Self {
        let reader = Reader::new(State::Between, limits, trailers);
        let (method, upgrade, keep_alive) = (Method::Get, false, true);
        Self { reader, method, upgrade, begun: false, answered: false, keep_alive }
    }
    /// A request with this method is being written; its response comes next. `upgrade`: 101 is a
    /// possible answer (else it is a refusal).
    pub fn requested(&mut self, method: Method, upgrade: bool) {
        if self.reader.state == State::Between {
            self.reader.state = State::Head;
        }
        self.reader.resume = 0;
        self.reader.trailers = None;
        (self.method, self.upgrade) = (method, upgrade);
        (self.begun, self.answered) = (false, false);
    }
    /// Takes one step; as [`Server::next`]. Bytes that nobody asked for are a refusal.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; the backend is at fault. The machine is over.
    pub fn next(
        &mut self,
        wire: &[u8],
        eof: bool,
        head: &mut Head,
    ) -> Result<(usize, Event<ResponseVerdict>), Refusal> {
        self.step(wire, eof, head).inspect_err(|_| self.reader.state = State::Over)
    }
    fn step(
        &mut self,
        wire: &[u8],
        eof: bool,
        head: &mut Head,
    ) -> Result<(usize, Event<ResponseVerdict>), Refusal> {
        self.begun |= !wire.is_empty();
        match self.reader.state {
            State::Head if wire.is_empty() && eof => Ok((0, Event::Closed)),
            State::Head if wire.is_empty() => Ok((0, Event::Want(Want::Read))),
            State::Head => self.head(wire, eof, head),
            _ => self.next_body(wire, eof),
        }
    }
    /// As `next` behind a head: for the body and its end.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; the backend is at fault.
    pub fn next_body(
        &mut self,
        wire: &[u8],
        eof: bool,
    ) -> Result<(usize, Event<ResponseVerdict>), Refusal> {
        match self.reader.state {
            State::Body => {
                let after = if self.keep_alive { State::Between } else { State::Over };
                self.reader.body(wire, eof, after)
            }
            State::Between | State::Over if !wire.is_empty() => Err(Rule::Unasked.into()),
            State::Between | State::Over if eof => Ok((0, Event::Closed)),
            State::Between => Ok((0, Event::Want(Want::WriteFirst))),
            State::Tunnel => Ok((0, Event::Want(Want::Tunnel))),
            State::Head | State::Over => Ok((0, Event::Closed)),
        }
    }
    fn head(
        &mut self,
        wire: &[u8],
        eof: bool,
        head: &mut Head,
    ) -> Result<(usize, Event<ResponseVerdict>), Refusal> {
        let used = match response(wire, self.reader.resume as usize, &self.reader.limits, head)? {
            Parsed::Partial(resume) => return self.reader.partial(resume, eof),
            Parsed::Done(used) => used,
        };
        self.reader.resume = 0;
        let event = match head.status() {
            101 if self.upgrade && is_websocket(head) => {
                self.reader.state = State::Tunnel;
                self.answered = true;
                Event::Switched
            }
            101 => return Err(Rule::UnaskedSwitch.into()),
            100..=199 => Event::Informational,
            _ => {
                let verdict = of_response(head, self.method)?;
                self.keep_alive = verdict.keep_alive;
                self.answered = true;
                self.reader.begin(verdict.body);
                Event::Head(verdict)
            }
        };
        Ok((used, event))
    }
    /// Whether the current request is HEAD, whose answer has no body whatever its head says.
    pub fn asks_head(&self) -> bool {
        self.method == Method::Head
    }
    /// Whether a byte of the current response was seen.
    pub fn is_begun(&self) -> bool {
        self.begun
    }
    /// Whether the head of its answer was complete: interim ones are none.
    pub fn is_answered(&self) -> bool {
        self.answered
    }
    /// Whether the connection is between messages and may carry another request.
    pub fn is_reusable(&self) -> bool {
        self.reader.state == State::Between && self.keep_alive
    }
    /// How many of the next bytes may be spliced past the decoder.
    pub fn opaque(&self) -> u64 {
        if self.reader.state == State::Body { self.reader.decoder.opaque() } else { 0 }
    }
    /// Says that so many bytes were moved past the decoder.
    pub fn advance(&mut self, n: u64) {
        self.reader.decoder.advance(n);
    }
    /// The trailers of the message that just ended.
    pub fn trailers(&self) -> Option<&Fields> {
        self.reader.trailers.as_deref().filter(|trailers| !trailers.is_empty())
    }
    /// The same, to take some out.
    pub fn trailers_mut(&mut self) -> Option<&mut Fields> {
        self.reader.trailers.as_deref_mut()
    }
}

//! One state machine for the side that reads requests, one for the side that reads responses.
//!
//! The caller owns the buffer: it passes the bytes at hand, drops the count that was used, and
//! reads more when told to. Neither machine keeps bytes, so an idle connection needs no buffer.
use super::framing::{RequestVerdict, ResponseVerdict};
use super::parse::HeadLimits;
use super::refusal::Refusal;
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

/// Reads requests: the downstream side.
#[derive(Debug)]
pub struct Server {/* state, resume, decoder, trailers: Fields (only when there are some) */}

impl Server {
    /// A fresh connection. `trailers` bounds the bytes of a trailer section.
    pub fn new(limits: HeadLimits, trailers: usize) -> Self {
        let _ = (limits, trailers);
        todo!()
    }
    /// Takes one step over the bytes at hand and says how many of them are used up (for `Data`,
    /// those up to the end of the range). `eof`: no byte will follow `wire`.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; the connection must be closed after the answer.
    pub fn next(&mut self, wire: &[u8], eof: bool, head: &mut Head) -> Result<(usize, Event<RequestVerdict>), Refusal> {
        let _ = (wire, eof, head);
        todo!()
    }
    /// Whether the current request's body has been read to its end.
    pub fn is_body_done(&self) -> bool {
        todo!()
    }
    /// How many of the next bytes may be spliced past the decoder.
    pub fn opaque(&self) -> u64 {
        todo!()
    }
    /// Says that so many bytes were moved past the decoder.
    pub fn advance(&mut self, n: u64) {
        let _ = n;
        todo!()
    }
    /// The trailers of the message that just ended.
    pub fn trailers(&self) -> Option<&Fields> {
        todo!()
    }
    /// The answer was written to its end. With `keep_alive`, and the body read, the next request
    /// may come; otherwise nothing more is read.
    pub fn answered(&mut self, keep_alive: bool) {
        let _ = keep_alive;
        todo!()
    }
    /// The answer was 101: what follows is not HTTP/1.
    pub fn switched(&mut self) {
        todo!()
    }
}

/// Reads responses: the upstream side.
#[derive(Debug)]
pub struct Client {/* state, resume, decoder, trailers, whether a byte of the response was seen */}

impl Client {
    /// A fresh connection.
    pub fn new(limits: HeadLimits, trailers: usize) -> Self {
        let _ = (limits, trailers);
        todo!()
    }
    /// A request with this method is being written; its response comes next. `upgrade`: 101 is a
    /// possible answer (else it is a refusal).
    pub fn requested(&mut self, method: Method, upgrade: bool) {
        let _ = (method, upgrade);
        todo!()
    }
    /// Takes one step; as [`Server::next`]. Bytes that nobody asked for are a refusal.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; the backend is at fault.
    pub fn next(&mut self, wire: &[u8], eof: bool, head: &mut Head) -> Result<(usize, Event<ResponseVerdict>), Refusal> {
        let _ = (wire, eof, head);
        todo!()
    }
    /// Whether a byte of the current response was seen.
    pub fn is_begun(&self) -> bool {
        todo!()
    }
    /// Whether the connection is between messages and may carry another request.
    pub fn is_reusable(&self) -> bool {
        todo!()
    }
    /// How many of the next bytes may be spliced past the decoder.
    pub fn opaque(&self) -> u64 {
        todo!()
    }
    /// Says that so many bytes were moved past the decoder.
    pub fn advance(&mut self, n: u64) {
        let _ = n;
        todo!()
    }
    /// The trailers of the message that just ended.
    pub fn trailers(&self) -> Option<&Fields> {
        todo!()
    }
}

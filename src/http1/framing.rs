//! How a body is delimited: the only place that decides it, with keep-alive, expect and upgrade.
use super::refusal::Refusal;
use crate::message::{Head, Method};

/// How a body is delimited on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// Content-Length; may be 0.
    Exact(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// Until the connection closes (responses only).
    UntilClose,
}

/// What a request head says about its connection and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVerdict {
    /// Its body.
    pub body: BodyLength,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
    /// `Expect: 100-continue`, of an HTTP/1.1 client.
    pub expect_continue: bool,
    /// `Connection: upgrade` with `Upgrade: websocket`, and a complete handshake by GET without body.
    pub websocket: bool,
}

/// What a response head says about its connection and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseVerdict {
    /// Its body.
    pub body: BodyLength,
    /// Whether the connection may be used again.
    pub keep_alive: bool,
}

/// Judges a request head: framing (9112 6), Host (9112 3.2), Expect (9110 10.1.1).
///
/// # Errors
///
/// [`Refusal`] for whatever is ambiguous.
pub fn of_request(head: &Head) -> Result<RequestVerdict, Refusal> {
    let _ = head;
    todo!()
}

/// Judges a final response head to a request with this method. 1xx are judged by the caller.
///
/// # Errors
///
/// [`Refusal`] for whatever is ambiguous.
pub fn of_response(head: &Head, to: Method) -> Result<ResponseVerdict, Refusal> {
    let _ = (head, to);
    todo!()
}

//! Head to bytes: always strictly valid HTTP/1.1.
use super::framing::BodyLength;
use crate::message::Head;

/// Writes a request head as HTTP/1.1.
///
/// `host` replaces the head's own Host (written first, in its place otherwise). Framing fields of
/// the head are left out and written from `body`; `connection` is the value of a Connection field
/// to write, if any. Hop-by-hop fields must be gone from the head already.
pub fn request_head(head: &Head, host: Option<&[u8]>, body: BodyLength, connection: Option<&str>, out: &mut Vec<u8>) {
    let _ = (head, host, body, connection, out);
    todo!()
}

/// Writes a response head as HTTP/1.1, likewise. `body` as `None` writes no framing field;
/// a Content-Length that must survive (HEAD, 304) is passed as `keep_length`.
pub fn response_head(head: &Head, body: BodyLength, keep_length: bool, connection: Option<&str>, out: &mut Vec<u8>) {
    let _ = (head, body, keep_length, connection, out);
    todo!()
}

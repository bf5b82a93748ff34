//! Head to bytes: always strictly valid HTTP/1.1.
use super::framing::BodyLength;
use crate::message::{Chunk, Fields, Head, Known, reason_phrase};

const FRAMING: u64 =
    Known::ContentLength.bit() | Known::TransferEncoding.bit() | Known::Connection.bit();

/// Writes a request head as HTTP/1.1.
///
/// `host` replaces the head's own Host. Framing fields of the head are left out and written from
/// `body`, but a Content-Length that says just that keeps its place. `connection` is the value of a Connection field to write, if any. Hop-by-hop fields must
/// be gone from the head already.
pub fn request_head(
    head: &Head,
    host: Option<&[u8]>,
    body: BodyLength,
    connection: Option<&str>,
    out: &mut Chunk,
) {
    if let Some(line) = head.usual_line() {
        out.extend(line);
    } else {
        let target = head.path_and_query();
        for part in [head.method_token(), b" ", slash(target), target, b" HTTP/1.1\r\n"] {
            out.extend(part);
        }
    }
    let own = host.or_else(|| head.authority());
    if let Some(host) = own {
        line("Host", host, out);
    }
    let host = if own.is_some() { Known::Host.bit() } else { 0 };
    let stays = stays(head, body);
    head.write_to((FRAMING | host) & !stays, out);
    if stays == 0 {
        framing(body, out);
    }
    finish(connection, out);
}

/// The Content-Length of a head that says what `body` does, to the letter: it keeps its place.
fn stays(head: &Head, body: BodyLength) -> u64 {
    let BodyLength::Exact(n) = body else { return 0 };
    match head.sole(Known::ContentLength) {
        Some((said, true)) if says(said, n) => Known::ContentLength.bit(),
        _ => 0,
    }
}

/// Whether these are the digits of a number and no more.
fn says(digits: &[u8], mut n: u64) -> bool {
    let (Some(first), len) = (digits.first(), digits.len()) else { return false };
    for digit in digits.iter().rev() {
        if *digit != b'0' + (n % 10) as u8 {
            return false;
        }
        n /= 10;
    }
    n == 0 && (*first != b'0' || len == 1)
}

/// An absolute form may go from authority to query at once; the origin form may not.
fn slash(path: &[u8]) -> &'static [u8] {
    if path.first() == Some(&b'?') { b"/" } else { b"" }
}

/// Writes a response head as HTTP/1.1. `body` as `None` writes no framing field; `keep_length`
/// keeps the head's own Content-Length (HEAD, 304), but never of a 1xx or 204, which may not have
/// one (RFC 9110 8.6).
pub fn response_head(
    head: &Head,
    body: BodyLength,
    keep_length: bool,
    connection: Option<&str>,
    out: &mut Chunk,
) {
    let status = head.status();
    if let Some(line) = head.usual_line() {
        out.extend(line);
    } else {
        let digits = [status / 100, status / 10 % 10, status % 10].map(|n| b'0' + n as u8);
        for part in [b"HTTP/1.1 ", &digits[..], b" ", head.reason(), b"\r\n"] {
            out.extend(part);
        }
    }
    let keeps = keep_length && !matches!(status, 100..=199 | 204);
    let stays = stays(head, body);
    let kept = if keeps { Known::ContentLength.bit() } else { stays };
    head.write_to(FRAMING & !kept, out);
    if stays == 0 {
        framing(body, out);
    }
    finish(connection, out);
}

/// Writes a whole short answer of our own: status, fields, body. `head_only` leaves the body out.
pub fn short_answer(
    status: u16,
    fields: &Fields,
    body: &[u8],
    head_only: bool,
    connection: Option<&str>,
    out: &mut Chunk,
) {
    let mut digits = [0; 20];
    for part in [
        b"HTTP/1.1 ",
        decimal(u64::from(status), &mut digits),
        b" ",
        reason_phrase(status).as_bytes(),
        b"\r\n",
    ] {
        out.extend(part);
    }
    fields.write_to(FRAMING, out);
    if !matches!(status, 204 | 304) {
        framing(BodyLength::Exact(body.len() as u64), out);
    }
    finish(connection, out);
    if !head_only && !matches!(status, 204 | 304) {
        out.extend(body);
    }
}

fn line(name: &str, value: &[u8], out: &mut Chunk) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend(part);
    }
}

fn framing(body: BodyLength, out: &mut Chunk) {
    match body {
        BodyLength::None | BodyLength::UntilClose => {}
        BodyLength::Exact(n) => line("Content-Length", decimal(n, &mut [0; 20]), out),
        BodyLength::Chunked => out.extend(b"Transfer-Encoding: chunked\r\n"),
    }
}

fn finish(connection: Option<&str>, out: &mut Chunk) {
    if let Some(value) = connection {
        line("Connection", value.as_bytes(), out);
    }
    out.extend(b"\r\n");
}

fn decimal(mut n: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &digits[at..];
        }
    }
}

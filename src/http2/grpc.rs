//! What gRPC over HTTP/2 says in its own words: a status in fields, and how long its client waits
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
use crate::message::{Fields, Head, Known};
use std::time::Duration;

/// Whether a request with this `content-type` is one of gRPC.
pub fn is_grpc(value: &[u8]) -> bool {
    let kind = b"application/grpc";
    value.len() >= kind.len()
        && value[..kind.len()].eq_ignore_ascii_case(kind)
        && matches!(value.get(kind.len()), None | Some(b'+' | b';' | b' '))
}

/// Whether this is a request of gRPC, whatever version carries it.
#[cold]
pub fn is_call(request: &Head) -> bool {
    request.get(Known::ContentType).is_some_and(is_grpc)
}

/// What HTTP would say in place of the `grpc-status` in the trailers of an answer of 200, or in its
/// head, which then is all of it: 500, 503, 429, 200, else 400. What the call itself earned is no fault
/// of its server (nor is DEADLINE_EXCEEDED: the deadline is the client's).
pub fn meant(fields: &Fields) -> Option<u16> {
    let code = std::str::from_utf8(fields.get(Known::GrpcStatus)?).ok()?.parse().ok()?;
    Some(match code {
        UNKNOWN | INTERNAL | DATA_LOSS => 500,
        UNAVAILABLE => 503,
        RESOURCE_EXHAUSTED => 429,
        OK => 200,
        _ => 400,
    })
}

/// `grpc-timeout`: up to eight digits and a unit. What is written otherwise is no limit.
pub fn timeout(head: &Head) -> Option<Duration> {
    let (unit, digits) = head.get(Known::GrpcTimeout)?.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n = digits.iter().fold(0u64, |n, b| n * 10 + u64::from(b - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(n * 3600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

/// A status of gRPC with a short message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its number.
    pub code: u8,
    /// A word for people.
    pub message: &'static str,
}

impl Status {
    /// That of an answer of our own with this HTTP status and reason.
    pub fn of(http: u16, reason: &'static str) -> Self {
        let code = match (http, reason) {
            // Whoever has a limit may say so: the request can be tried later, or smaller.
            (_, "max_active" | "queue" | "memory") | (413 | 429 | 431, _) => RESOURCE_EXHAUSTED,
            // The call's own time is not over, and nobody has begun with it.
            (_, "timeout_connect") => UNAVAILABLE,
            (408 | 504, _) => DEADLINE_EXCEEDED,
            (401, _) => UNAUTHENTICATED,
            (403, _) => PERMISSION_DENIED,
            (404 | 405 | 501, _) => UNIMPLEMENTED,
            (502 | 503, _) => UNAVAILABLE,
            (400 | 414 | 417 | 421, _) => INTERNAL,
            _ => UNKNOWN,
        };
        Self { code, message: reason }
    }

    /// The fields that say it: trailers, or, behind a content-type, an answer that is nothing else
    /// ("trailers-only").
    pub fn fields(self, is_answer: bool) -> Fields {
        let mut fields = Fields::new();
        if is_answer {
            fields.push(Known::ContentType, &[b"application/grpc"]);
        }
        // Names and values that are valid.
        let _ = fields.append("grpc-status", self.code.to_string().as_bytes());
        let _ = fields.append("grpc-message", self.message.as_bytes());
        fields
    }
}

const OK: u8 = 0;
const UNKNOWN: u8 = 2;
const DEADLINE_EXCEEDED: u8 = 4;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;
const DATA_LOSS: u8 = 15;
const UNAUTHENTICATED: u8 = 16;

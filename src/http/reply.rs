//! The proxy's own answers: one place, a short body, a reason that says whose fault it was.
use super::wire::connection_field;
use crate::http1::short_answer;
use crate::message::{Chunk, Fields, Version, reason_phrase};

/// An answer of the proxy's own.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    reason: &'static str,
    fields: Fields,
    body: Vec<u8>,
}

impl Reply {
    /// For a fault: 400 404 405 408 413 414 417 431 500 501 502 503 504 505 508. The body says no
    /// more than the status does: causes belong in the log.
    pub fn own(status: u16, reason: &'static str) -> Self {
        let mut fields = Fields::new();
        let mut add = |name, value: &[u8]| {
            let _ = fields.append(name, value);
        };
        add("Content-Type", b"text/plain; charset=utf-8");
        match status {
            405 => add("Allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"),
            // A moment: probes look every second or two.
            503 => add("Retry-After", b"1"),
            _ => {}
        }
        let body = format!("{status} {}\n", reason_phrase(status)).into_bytes();
        Self { status, reason, fields, body }
    }
    /// What a route says: no fault.
    pub fn with(status: u16, fields: Fields, body: Vec<u8>) -> Self {
        Self { status, reason: "-", fields, body }
    }
    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }
    /// A word for log and metrics; `-` when it is no fault.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
    /// The fields, for a route's rules.
    pub fn fields(&mut self) -> &mut Fields {
        &mut self.fields
    }
    /// Writes it as HTTP/1.
    pub fn write(&self, version: Version, stays: bool, head_only: bool, out: &mut Chunk) {
        let connection = connection_field(stays, version == Version::Http10);
        short_answer(self.status, &self.fields, &self.body, head_only, connection, out);
    }
}

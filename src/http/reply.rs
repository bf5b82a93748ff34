//! The proxy's own answers: one place, a short body, a reason that says whose fault it was.
use super::date::http_date;
use super::wire::connection_field;
use crate::http1::short_answer;
use crate::http2::hpack::Encoder;
use crate::message::{Chunk, Fields, Head, Known, Version, reason_phrase};
use std::time::SystemTime;

/// An answer of the proxy's own.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    reason: &'static str,
    fields: Fields,
    body: Vec<u8>,
    refusal: bool,
    /// A backend gave it.
    relayed: bool,
}

impl Reply {
    /// For a fault: 400 404 405 408 413 414 417 429 431 500 501 502 503 504 505 508; 204 for what ends
    /// here. The body says no more than the status does: causes belong in the log.
    pub(super) fn own(status: u16, reason: &'static str) -> Self {
        let mut fields = Fields::new();
        let mut add = |name, value: &[u8]| {
            let _ = fields.append(name, value);
        };
        if status != 204 {
            add("Content-Type", b"text/plain; charset=utf-8");
        }
        match status {
            204 | 405 => add("Allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"),
            // A moment: probes look every second or two.
            503 => add("Retry-After", b"1"),
            _ => {}
        }
        let body = format!("{status} {}\n", reason_phrase(status)).into_bytes();
        let refusal = matches!(status, 400 | 405 | 408 | 413 | 414 | 417 | 431 | 501 | 505);
        Self { refusal, ..Self::with(status, reason, fields, body) }
    }
    /// What a route says: no fault.
    pub(super) fn with(
        status: u16,
        reason: &'static str,
        mut fields: Fields,
        body: Vec<u8>,
    ) -> Self {
        // RFC 9110 6.6.1: whoever makes an answer and has a clock dates it.
        if !fields.has(Known::Date) {
            fields.push(Known::Date, &[&http_date(SystemTime::now())]);
        }
        Self { status, reason, fields, body, refusal: false, relayed: false }
    }
    /// An answer of a backend that was kept whole, its head ready for the client.
    pub(super) fn of_backend(answer: &Head, body: Vec<u8>) -> Self {
        let fields = Fields::clone(answer);
        Self { relayed: true, ..Self::with(answer.status(), "-", fields, body) }
    }
    /// Whether it is our own, and no backend's.
    pub(super) fn is_own(&self) -> bool {
        !self.relayed
    }
    /// The status.
    pub(super) fn status(&self) -> u16 {
        self.status
    }
    /// Whether it refuses what the client sent. Then nothing that may stand behind the request is
    /// read: who errs in one thing may err in where a request ends.
    pub(super) fn is_refusal(&self) -> bool {
        self.refusal
    }
    /// A word for log and metrics.
    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }
    /// The fields, for a route's rules.
    pub(super) fn fields(&mut self) -> &mut Fields {
        &mut self.fields
    }
    /// Whether it tells of a fault, and not what a route says.
    pub(super) fn is_fault(&self) -> bool {
        self.status >= 400 && self.reason != "respond" && self.is_own()
    }
    /// Writes its head as HTTP/2.
    pub(super) fn write_http2(&self, out: &mut Encoder) {
        crate::http2::short_answer(self.status, &self.fields, self.body.len(), out);
    }
    /// Its body, where there may be one.
    pub(super) fn http2_body(&self) -> &[u8] {
        if matches!(self.status, 204 | 304) { &[] } else { &self.body }
    }
    /// Writes it as HTTP/1.
    pub(super) fn write(&self, version: Version, stays: bool, head_only: bool, out: &mut Chunk) {
        let connection = connection_field(stays, version == Version::Http10);
        short_answer(self.status, &self.fields, &self.body, head_only, connection, out);
    }
}

/// The limit that this reason tells of, by the last word of its key.
pub(super) fn limit(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "head_too_large" => "head",
        "too_many_fields" => "fields",
        "target_too_long" => "target",
        "trailers_too_large" => "trailers",
        "body_too_large" => "body",
        "too_many_interim" => "interim",
        "timeout_body" => "body_rate",
        "timeout_connect" => "connect",
        "timeout_first_byte" => "first_byte",
        "timeout_header" => "header",
        "timeout_idle" | "client_timeout_idle" => "idle",
        "timeout_request" => "request",
        "timeout_tunnel" => "tunnel",
        "timeout_tunnel_max" => "tunnel_max",
        "max_active" => "max_active",
        "queue" => "queue",
        "memory" => "memory",
        "rate_limited" => "rate_limit",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Size;

    const OWN: [u16; 15] =
        [400, 404, 405, 408, 413, 414, 417, 431, 500, 501, 502, 503, 504, 505, 508];

    fn written(reply: &Reply, version: Version, stays: bool, head_only: bool) -> String {
        let mut out = Chunk::lend(Size::Head);
        reply.write(version, stays, head_only, &mut out);
        String::from_utf8(out.data().to_vec()).unwrap()
    }

    #[test]
    fn every_own_answer_is_short_dated_and_says_its_status() {
        for status in OWN {
            let text = written(&Reply::own(status, "word"), Version::Http11, false, false);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(!reason_phrase(status).is_empty(), "{status}");
            assert!(head.contains("\r\nDate: ") && head.contains(" GMT"), "{head}");
            assert!(head.contains("\r\nConnection: close"), "{head}");
            assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
            assert_eq!(head.contains("\r\nAllow: "), status == 405, "{head}");
            assert_eq!(body, format!("{status} {}\n", reason_phrase(status)));
            assert!(!text.contains("word"));
        }
    }

    #[test]
    fn an_answer_to_head_has_no_body_but_its_length() {
        let text = written(&Reply::own(404, "no_route"), Version::Http11, true, true);
        assert!(text.contains("Content-Length: 14\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        assert!(!text.contains("Connection:"), "{text}");
    }

    #[test]
    fn an_old_client_is_told_that_it_may_stay() {
        let text = written(&Reply::own(404, "no_route"), Version::Http10, true, false);
        assert!(text.contains("Connection: keep-alive\r\n"), "{text}");
        let text = written(&Reply::own(404, "no_route"), Version::Http10, false, false);
        assert!(!text.contains("keep-alive"), "{text}");
    }

    #[test]
    fn an_answer_without_content_has_no_length() {
        let text = written(
            &Reply::with(204, "respond", Fields::new(), b"x".to_vec()),
            Version::Http11,
            true,
            false,
        );
        assert!(!text.contains("Content-Length") && text.ends_with("\r\n\r\n"), "{text}");
    }
}

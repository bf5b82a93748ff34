//! OTLP over HTTP with binary protobuf (opentelemetry-proto 1.x, `collector/trace/v1`): the messages
//! are few and written by hand.
use crate::telemetry::{Attribute, Span, SpanKind};

/// Room for one span, as most of them need.
const SPAN: usize = 512;

/// A message under way.
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
    fn key(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }
    fn number(&mut self, field: u32, number: u64) {
        self.key(field, 0);
        self.varint(number);
    }
    fn fixed64(&mut self, field: u32, number: u64) {
        self.key(field, 1);
        self.0.extend(number.to_le_bytes());
    }
    fn fixed32(&mut self, field: u32, number: u32) {
        self.key(field, 5);
        self.0.extend(number.to_le_bytes());
    }
    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }
    /// A message inside this one, written where it stays: its length has a byte before it, and it makes
    /// room where that takes more.
    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.key(field, 2);
        self.0.push(0);
        let begin = self.0.len();
        write(self);
        let end = self.0.len();
        self.varint((end - begin) as u64);
        let (length, more) = (self.0.len() - end, self.0.len() - end - 1);
        let mut said = [0; 10];
        said[..length].copy_from_slice(&self.0[end..]);
        self.0.truncate(end + more);
        self.0.copy_within(begin..end, begin + more);
        self.0[begin - 1..begin + more].copy_from_slice(&said[..length]);
    }
    /// A `KeyValue` of `common.v1`.
    fn attribute(&mut self, field: u32, name: &str, value: &Attribute) {
        self.message(field, |pair| {
            pair.bytes(1, name.as_bytes());
            pair.message(2, |any| match value {
                Attribute::Text(text) => any.bytes(1, text.as_bytes()),
                // As two's complement.
                Attribute::Number(number) => any.number(3, *number as u64),
            });
        });
    }
}

/// Flags of a span (`SpanFlags`): it is drawn; it is known whether its parent is another process's;
/// it is.
const DRAWN: u32 = 1;
const KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// An `ExportTraceServiceRequest` of these spans.
pub(super) fn request(service: &str, spans: &[Span]) -> Vec<u8> {
    let mut out = Message(Vec::with_capacity(SPAN * (spans.len() + 1)));
    let text = |text: &str| Attribute::Text(text.into());
    out.message(1, |resource_spans| {
        resource_spans.message(1, |resource| {
            resource.attribute(1, "service.name", &text(service));
            resource.attribute(1, "service.version", &text(env!("CARGO_PKG_VERSION")));
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.bytes(1, b"evenkeel");
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            spans.iter().for_each(|one| scope_spans.message(2, |out| span(one, out)));
        });
    });
    out.0
}

fn span(span: &Span, out: &mut Message) {
    out.bytes(1, &span.trace);
    out.bytes(2, &span.id);
    if !span.state.is_empty() {
        out.bytes(3, span.state.as_bytes());
    }
    if let Some(parent) = &span.parent {
        out.bytes(4, parent);
    }
    out.bytes(5, span.name.as_bytes());
    out.number(
        6,
        match span.kind {
            SpanKind::Server => 2,
            SpanKind::Client => 3,
        },
    );
    out.fixed64(7, span.begun);
    out.fixed64(8, span.ended);
    span.attributes.iter().for_each(|(name, value)| out.attribute(9, name, value));
    if span.failed {
        // STATUS_CODE_ERROR
        out.message(15, |status| status.number(3, 2));
    }
    out.fixed32(16, DRAWN | KNOWN | if span.remote && span.parent.is_some() { REMOTE } else { 0 });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_inside_another_is_as_long_as_it_says() {
        for len in [0, 1, 127, 128, 300, 16_383, 16_384, 3_000_000] {
            let (mut out, mut plain) = (Message(b"before".to_vec()), Message(b"before".to_vec()));
            out.message(9, |inner| inner.0.extend((0..len).map(|n| n as u8)));
            plain.bytes(9, &(0..len).map(|n| n as u8).collect::<Vec<_>>());
            assert!(out.0 == plain.0, "{len}");
        }
    }
}

//! What a line of the access log looks like.
//!
//! Text: `time client "method target" host status reason listener route pool backend tries
//! bytes_in bytes_out duration connect first_byte request_id sni proxy tls`, `-` for what is not known.
//! JSON: an object with these names. A template: what it says, with fields as in text that hold nothing
//! its own text may be taken apart by. Times are RFC
//! 3339, durations seconds. Whoever gave a text, a client or the configuration, it cannot leave its
//! field: see [`escape`]. A line is written for every request: nothing here goes by way of `fmt`.
use super::access::{Access, Place};
use super::escape::{LONGEST, Space, escape, escape_marks};
use super::number::{address, digits, seconds, time};
use super::room::{Line, Lines};
use crate::config::{LogField, LogPiece, LogTemplate};
use std::net::SocketAddr;
use std::time::Duration;

/// What a line has at the most besides text that somebody gave: keys, numbers, times and an address.
const OTHER: usize = 1024;

/// Bytes of a line of text or JSON at the most.
#[inline]
pub(super) fn most(a: &Access<'_>) -> usize {
    let names = a.listener.len() + a.route.len() + a.pool.len() + a.backend.len();
    let head = a.method.len() + a.target.len() + a.host.len() + a.request_id.len();
    OTHER + LONGEST * (names + head + a.sni.len() + a.proxy.len() + a.reason.len() + a.tls.len())
}

/// Bytes of a line by a template at the most.
pub(super) fn most_of(template: &LogTemplate, a: &Access<'_>) -> usize {
    let field = most(a);
    let piece = |piece: &LogPiece| match piece {
        LogPiece::Text(text) => text.len(),
        LogPiece::Field(_) => field,
    };
    OTHER + template.pieces.iter().map(piece).sum::<usize>()
}

/// One line of text.
pub(super) fn text(a: &Access<'_>, line: &mut Line<'_>) {
    use LogField as F;
    field("", F::Time, a, line);
    field(" ", F::Client, a, line);
    field(" \"", F::Method, a, line);
    field(" ", F::Target, a, line);
    field("\" ", F::Host, a, line);
    field(" ", F::Status, a, line);
    field(" ", F::Reason, a, line);
    match a.place {
        Some(place) => line.put(&place.text),
        None => {
            field(" ", F::Listener, a, line);
            field(" ", F::Route, a, line);
            field(" ", F::Pool, a, line);
        }
    }
    field(" ", F::Backend, a, line);
    field(" ", F::Tries, a, line);
    field(" ", F::BytesIn, a, line);
    field(" ", F::BytesOut, a, line);
    field(" ", F::Duration, a, line);
    field(" ", F::Connect, a, line);
    field(" ", F::FirstByte, a, line);
    field(" ", F::RequestId, a, line);
    field(" ", F::Sni, a, line);
    field(" ", F::Proxy, a, line);
    field(" ", F::Tls, a, line);
    line.put(b"\n");
}

#[inline(always)]
fn field(before: &str, field: LogField, a: &Access<'_>, line: &mut Line<'_>) {
    line.put(before.as_bytes());
    put(field, a, line);
}

/// One line by a template.
pub(super) fn template(template: &LogTemplate, a: &Access<'_>, line: &mut Line<'_>) {
    for piece in &template.pieces {
        match piece {
            LogPiece::Text(text) => line.put(text.as_bytes()),
            LogPiece::Field(field) => match held(*field, a) {
                Held::Text(text) if !text.is_empty() => escape_marks(text, template.marks, line),
                _ => put(*field, a, line),
            },
        }
    }
    line.put(b"\n");
}

/// What lines of one listener, route and pool say of these.
pub(super) fn place(names: [&str; 3]) -> Place {
    let most = OTHER + LONGEST * names.concat().len();
    let said = |each: fn(&str, &str, &mut Line<'_>)| {
        let mut said = Lines::default();
        said.add(most, |line| {
            for (key, name) in ["listener", "route", "pool"].into_iter().zip(names) {
                each(key, name, line);
            }
        });
        said.bytes().into()
    };
    let text = said(|_, name, line| {
        line.put(b" ");
        match name {
            "" => line.put(b"-"),
            name => escape(name.as_bytes(), Space::Escaped, line),
        }
    });
    let json = said(|key, name, line| {
        line.put(format!(",\"{key}\":\"").as_bytes());
        escape(name.as_bytes(), Space::Kept, line);
        line.put(b"\"");
    });
    Place { text, json }
}

/// What a field holds.
enum Held<'a> {
    Text(&'a [u8]),
    /// A word of our own.
    Word(&'static str),
    Number(u64),
    Seconds(Option<Duration>),
    /// Since 1970.
    Time(Duration),
    Address(Option<SocketAddr>),
}

#[inline(always)]
fn held<'a>(field: LogField, a: &Access<'a>) -> Held<'a> {
    use Held::{Address, Number, Seconds, Text, Time, Word};
    match field {
        LogField::Time => Time(a.time),
        LogField::Client => Address(a.client),
        LogField::Method => Text(a.method),
        LogField::Target => Text(a.target),
        LogField::Host => Text(a.host),
        LogField::Status => Number(u64::from(a.status)),
        LogField::Reason => Word(a.reason),
        LogField::Listener => Text(a.listener.as_bytes()),
        LogField::Route => Text(a.route.as_bytes()),
        LogField::Pool => Text(a.pool.as_bytes()),
        LogField::Backend => Text(a.backend.as_bytes()),
        LogField::Tries => Number(u64::from(a.tries)),
        LogField::BytesIn => Number(a.bytes_in),
        LogField::BytesOut => Number(a.bytes_out),
        LogField::Duration => Seconds(Some(a.duration)),
        LogField::Connect => Seconds(a.connect),
        LogField::FirstByte => Seconds(a.first_byte),
        LogField::RequestId => Text(a.request_id),
        LogField::Sni => Text(a.sni),
        LogField::Proxy => Text(a.proxy.as_bytes()),
        LogField::Tls => Word(a.tls),
    }
}

/// A field of a text line: never empty, and without the space that ends it.
#[inline(always)]
fn put(field: LogField, a: &Access<'_>, line: &mut Line<'_>) {
    match held(field, a) {
        Held::Text(b"") | Held::Word("") | Held::Seconds(None) | Held::Address(None) => {
            line.put(b"-");
        }
        Held::Word(word) => line.put(word.as_bytes()),
        Held::Text(text) => escape(text, Space::Escaped, line),
        Held::Number(number) => digits(number, line),
        Held::Seconds(Some(time)) => seconds(time, line),
        Held::Time(since) => time(since, line),
        Held::Address(Some(client)) => address(client, line),
    }
}

/// One line of JSON.
pub(super) fn json(a: &Access<'_>, line: &mut Line<'_>) {
    use LogField as F;
    member("{\"time\":\"", F::Time, true, a, line);
    member(",\"client\":\"", F::Client, false, a, line);
    member(",\"method\":\"", F::Method, true, a, line);
    member(",\"target\":\"", F::Target, true, a, line);
    member(",\"host\":\"", F::Host, true, a, line);
    member(",\"reason\":\"", F::Reason, true, a, line);
    match a.place {
        Some(place) => line.put(&place.json),
        None => {
            member(",\"listener\":\"", F::Listener, true, a, line);
            member(",\"route\":\"", F::Route, true, a, line);
            member(",\"pool\":\"", F::Pool, true, a, line);
        }
    }
    member(",\"backend\":\"", F::Backend, true, a, line);
    member(",\"status\":", F::Status, true, a, line);
    member(",\"tries\":", F::Tries, true, a, line);
    member(",\"bytes_in\":", F::BytesIn, true, a, line);
    member(",\"bytes_out\":", F::BytesOut, true, a, line);
    member(",\"duration\":", F::Duration, true, a, line);
    member(",\"connect\":", F::Connect, false, a, line);
    member(",\"first_byte\":", F::FirstByte, false, a, line);
    member(",\"request_id\":\"", F::RequestId, true, a, line);
    member(",\"sni\":\"", F::Sni, false, a, line);
    member(",\"proxy\":\"", F::Proxy, false, a, line);
    member(",\"tls\":\"", F::Tls, false, a, line);
    line.put(b"}\n");
}

/// A member of an object: what stands before its value, with the quote that begins it where it is text.
/// One that holds nothing is left out, but for those that are `always` there.
#[inline(always)]
fn member(before: &str, field: LogField, always: bool, a: &Access<'_>, line: &mut Line<'_>) {
    let held = held(field, a);
    match held {
        Held::Text(b"") | Held::Word("") | Held::Seconds(None) | Held::Address(None) if !always => {
            return;
        }
        _ => line.put(before.as_bytes()),
    }
    match held {
        Held::Number(number) => return digits(number, line),
        Held::Seconds(time) => return seconds(time.unwrap_or_default(), line),
        Held::Text(text) => escape(text, Space::Kept, line),
        Held::Word(word) => line.put(word.as_bytes()),
        Held::Time(since) => time(since, line),
        Held::Address(client) => client.into_iter().for_each(|client| address(client, line)),
    }
    line.put(b"\"");
}

#[cfg(test)]
#[path = "line_tests.rs"]
pub(super) mod tests;

//! What a line of the access log looks like.
//!
//! Text: `time client "method target" host status reason listener route pool backend tries
//! bytes_in bytes_out duration connect first_byte request_id sni proxy tls`, `-` for what is not known.
//! JSON: an object with these names. A template: what it says, with fields as in text. Times are RFC
//! 3339, durations seconds. Whoever gave a text, a client or the configuration, it cannot leave its
//! field: see [`escape`]. A line is written for every request: nothing here goes by way of `fmt`.
use super::access::{Access, Place};
use super::escape::{Space, escape};
use super::number::{address, digits, push_rfc3339, seconds};
use crate::config::{LogField, LogPiece, LogTemplate};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// One line of text.
pub(super) fn text(a: &Access<'_>, line: &mut Vec<u8>) {
    use LogField as F;
    field("", F::Time, a, line);
    field(" ", F::Client, a, line);
    field(" \"", F::Method, a, line);
    field(" ", F::Target, a, line);
    field("\" ", F::Host, a, line);
    field(" ", F::Status, a, line);
    field(" ", F::Reason, a, line);
    match a.place {
        Some(place) => line.extend_from_slice(&place.text),
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
    line.push(b'\n');
}

#[inline(always)]
fn field(before: &str, field: LogField, a: &Access<'_>, line: &mut Vec<u8>) {
    line.extend_from_slice(before.as_bytes());
    put(field, a, line);
}

/// One line by a template.
pub(super) fn template(template: &LogTemplate, a: &Access<'_>, line: &mut Vec<u8>) {
    for piece in &template.0 {
        match piece {
            LogPiece::Text(text) => line.extend_from_slice(text.as_bytes()),
            LogPiece::Field(field) => put(*field, a, line),
        }
    }
    line.push(b'\n');
}

/// What lines of one listener, route and pool say of these.
pub(super) fn place(names: [&str; 3]) -> Place {
    let (mut text, mut json) = (Vec::new(), Vec::new());
    for (key, name) in ["listener", "route", "pool"].into_iter().zip(names) {
        text.push(b' ');
        match name {
            "" => text.push(b'-'),
            name => escape(name.as_bytes(), Space::Escaped, &mut text),
        }
        json.extend_from_slice(format!(",\"{key}\":\"").as_bytes());
        escape(name.as_bytes(), Space::Kept, &mut json);
        json.push(b'"');
    }
    Place { text: text.into(), json: json.into() }
}

/// What a field holds.
enum Held<'a> {
    Text(&'a [u8]),
    /// A word of our own.
    Word(&'static str),
    Number(u64),
    Seconds(Option<Duration>),
    Time(SystemTime),
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
fn put(field: LogField, a: &Access<'_>, out: &mut Vec<u8>) {
    match held(field, a) {
        Held::Text(b"") | Held::Word("") | Held::Seconds(None) | Held::Address(None) => {
            out.push(b'-');
        }
        Held::Word(word) => out.extend_from_slice(word.as_bytes()),
        Held::Text(text) => escape(text, Space::Escaped, out),
        Held::Number(number) => digits(number, out),
        Held::Seconds(Some(time)) => seconds(time, out),
        Held::Time(time) => push_rfc3339(time, out),
        Held::Address(Some(client)) => address(client, out),
    }
}

/// One line of JSON.
pub(super) fn json(a: &Access<'_>, line: &mut Vec<u8>) {
    use LogField as F;
    member("{\"time\":", F::Time, true, a, line);
    member(",\"client\":", F::Client, false, a, line);
    member(",\"method\":", F::Method, true, a, line);
    member(",\"target\":", F::Target, true, a, line);
    member(",\"host\":", F::Host, true, a, line);
    member(",\"reason\":", F::Reason, true, a, line);
    match a.place {
        Some(place) => line.extend_from_slice(&place.json),
        None => {
            member(",\"listener\":", F::Listener, true, a, line);
            member(",\"route\":", F::Route, true, a, line);
            member(",\"pool\":", F::Pool, true, a, line);
        }
    }
    member(",\"backend\":", F::Backend, true, a, line);
    member(",\"status\":", F::Status, true, a, line);
    member(",\"tries\":", F::Tries, true, a, line);
    member(",\"bytes_in\":", F::BytesIn, true, a, line);
    member(",\"bytes_out\":", F::BytesOut, true, a, line);
    member(",\"duration\":", F::Duration, true, a, line);
    member(",\"connect\":", F::Connect, false, a, line);
    member(",\"first_byte\":", F::FirstByte, false, a, line);
    member(",\"request_id\":", F::RequestId, true, a, line);
    member(",\"sni\":", F::Sni, false, a, line);
    member(",\"proxy\":", F::Proxy, false, a, line);
    member(",\"tls\":", F::Tls, false, a, line);
    line.extend_from_slice(b"}\n");
}

/// A member of an object; one that holds nothing is left out, but for those that are `always` there.
#[inline(always)]
fn member(name: &str, field: LogField, always: bool, a: &Access<'_>, line: &mut Vec<u8>) {
    let held = held(field, a);
    match held {
        Held::Text(b"") | Held::Word("") | Held::Seconds(None) | Held::Address(None) if !always => {
            return;
        }
        _ => line.extend_from_slice(name.as_bytes()),
    }
    match held {
        Held::Number(number) => digits(number, line),
        Held::Seconds(time) => seconds(time.unwrap_or_default(), line),
        quoted => {
            line.push(b'"');
            match quoted {
                Held::Text(text) => escape(text, Space::Kept, line),
                Held::Word(word) => line.extend_from_slice(word.as_bytes()),
                Held::Time(time) => push_rfc3339(time, line),
                Held::Address(Some(client)) => address(client, line),
                _ => {}
            }
            line.push(b'"');
        }
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
pub(super) mod tests;

//! What a line of the access log looks like.
//!
//! Text: `time client "method target" host status reason listener route pool backend tries
//! bytes_in bytes_out duration connect first_byte request_id sni proxy tls`, `-` for what is not known.
//! JSON: an object with these names. A template: what it says, with fields as in text. Times are RFC
//! 3339, durations seconds. Whoever gave a text, a client or the configuration, it cannot leave its
//! field: see [`escape`]. A line is written for every request: nothing here goes by way of `fmt`.
use super::access::Access;
use crate::config::{LogField, LogPiece, LogTemplate};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One line of text.
pub(super) fn text(a: &Access<'_>) -> String {
    let mut line = Vec::with_capacity(320);
    use LogField as F;
    for (before, field) in [
        ("", F::Time),
        (" ", F::Client),
        (" \"", F::Method),
        (" ", F::Target),
        ("\" ", F::Host),
        (" ", F::Status),
        (" ", F::Reason),
        (" ", F::Listener),
        (" ", F::Route),
        (" ", F::Pool),
        (" ", F::Backend),
        (" ", F::Tries),
        (" ", F::BytesIn),
        (" ", F::BytesOut),
        (" ", F::Duration),
        (" ", F::Connect),
        (" ", F::FirstByte),
        (" ", F::RequestId),
        (" ", F::Sni),
        (" ", F::Proxy),
        (" ", F::Tls),
    ] {
        line.extend_from_slice(before.as_bytes());
        put(field, a, &mut line);
    }
    ended(line)
}

/// A line is text: nothing but that has been written into it.
fn ended(mut line: Vec<u8>) -> String {
    line.push(b'\n');
    // A byte that is none must cost a sign, never the line.
    String::from_utf8(line)
        .unwrap_or_else(|wrong| String::from_utf8_lossy(wrong.as_bytes()).into_owned())
}

/// One line by a template.
pub(super) fn template(template: &LogTemplate, a: &Access<'_>) -> String {
    let mut line = Vec::with_capacity(256);
    for piece in &template.0 {
        match piece {
            LogPiece::Text(text) => line.extend_from_slice(text.as_bytes()),
            LogPiece::Field(field) => put(*field, a, &mut line),
        }
    }
    ended(line)
}

/// What a field holds.
enum Held<'a> {
    Text(&'a [u8]),
    Number(u64),
    Seconds(Option<Duration>),
    Time(SystemTime),
    Address(Option<SocketAddr>),
}

fn held<'a>(field: LogField, a: &Access<'a>) -> Held<'a> {
    use Held::{Address, Number, Seconds, Text, Time};
    match field {
        LogField::Time => Time(a.time),
        LogField::Client => Address(a.client),
        LogField::Method => Text(a.method),
        LogField::Target => Text(a.target),
        LogField::Host => Text(a.host),
        LogField::Status => Number(u64::from(a.status)),
        LogField::Reason => Text(a.reason.as_bytes()),
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
        LogField::Tls => Text(a.tls.as_bytes()),
    }
}

/// A field of a text line: never empty, and without the space that ends it.
#[inline(always)]
fn put(field: LogField, a: &Access<'_>, out: &mut Vec<u8>) {
    match held(field, a) {
        Held::Text(b"") | Held::Seconds(None) | Held::Address(None) => out.push(b'-'),
        Held::Text(text) => escape(text, Space::Escaped, out),
        Held::Number(number) => digits(number, out),
        Held::Seconds(Some(time)) => seconds(time, out),
        Held::Time(time) => push_rfc3339(time, out),
        Held::Address(Some(client)) => address(client, out),
    }
}

/// One line of JSON.
pub(super) fn json(a: &Access<'_>) -> String {
    let mut line = Vec::with_capacity(768);
    use LogField as F;
    for (name, field, always) in [
        ("{\"time\":", F::Time, true),
        (",\"client\":", F::Client, false),
        (",\"method\":", F::Method, true),
        (",\"target\":", F::Target, true),
        (",\"host\":", F::Host, true),
        (",\"reason\":", F::Reason, true),
        (",\"listener\":", F::Listener, true),
        (",\"route\":", F::Route, true),
        (",\"pool\":", F::Pool, true),
        (",\"backend\":", F::Backend, true),
        (",\"status\":", F::Status, true),
        (",\"tries\":", F::Tries, true),
        (",\"bytes_in\":", F::BytesIn, true),
        (",\"bytes_out\":", F::BytesOut, true),
        (",\"duration\":", F::Duration, true),
        (",\"connect\":", F::Connect, false),
        (",\"first_byte\":", F::FirstByte, false),
        (",\"request_id\":", F::RequestId, true),
        (",\"sni\":", F::Sni, false),
        (",\"proxy\":", F::Proxy, false),
        (",\"tls\":", F::Tls, false),
    ] {
        let held = held(field, a);
        match held {
            Held::Text(b"") | Held::Seconds(None) | Held::Address(None) if !always => continue,
            _ => line.extend_from_slice(name.as_bytes()),
        }
        match held {
            Held::Number(number) => digits(number, &mut line),
            Held::Seconds(time) => seconds(time.unwrap_or_default(), &mut line),
            quoted => {
                line.push(b'"');
                match quoted {
                    Held::Text(text) => escape(text, Space::Kept, &mut line),
                    Held::Time(time) => push_rfc3339(time, &mut line),
                    Held::Address(Some(client)) => address(client, &mut line),
                    _ => {}
                }
                line.push(b'"');
            }
        }
    }
    line.push(b'}');
    ended(line)
}

/// Whether a space may stand in a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Kept,
    Escaped,
}

/// Writes text so that it is harmless on a terminal and valid inside a JSON string: quotes and
/// backslashes are escaped, control characters and what turns the direction of writing become
/// `\u00xx`. Bytes that are no UTF-8 become `\u00xx`, too, one for each byte.
fn escape(bytes: &[u8], space: Space, out: &mut Vec<u8>) {
    // Nearly always it is ASCII without any of these. Without an early end, so that many bytes are
    // looked at at once.
    let odd = |b: &u8| !matches!(b, 0x21..=0x7e) | (*b == b'"') | (*b == b'\\');
    if !bytes.iter().fold(false, |any, b| any | odd(b)) {
        return out.extend_from_slice(bytes);
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend([b'\\', c as u8]),
                ' ' if space == Space::Kept => out.push(b' '),
                c if c == ' ' || is_unseen(c) => code(u32::from(c), out),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|b| code(u32::from(*b), out));
    }
}

/// `\u00xx`; no number is above 0xffff.
fn code(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(b"0123456789abcdef"[(number >> shift & 15) as usize]);
    }
}

/// Bytes as text: as they are where they are UTF-8, else each as the character of its number.
pub(super) fn readable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
    }
    out
}

/// Control characters, line ends of Unicode, marks of direction and what has no width; none is above
/// U+FFFF.
pub fn is_unseen(c: char) -> bool {
    let format =
        matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
    c.is_control()
        || format
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// `00` to `99`.
const TWO: [[u8; 2]; 100] = {
    let (mut all, mut n) = ([[b'0'; 2]; 100], 0);
    while n < 100 {
        all[n] = [b'0' + n as u8 / 10, b'0' + n as u8 % 10];
        n += 1;
    }
    all
};

/// The last two digits of a number.
#[inline(always)]
fn two(number: u64) -> [u8; 2] {
    TWO[(number % 100) as usize]
}

/// A number.
fn digits(mut number: u64, out: &mut Vec<u8>) {
    if number < 10 {
        return out.push(b'0' + number as u8);
    }
    let (mut text, mut at) = ([0; 20], 20);
    while number > 9 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&two(number));
        number /= 100;
    }
    if number > 0 {
        at -= 1;
        text[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&text[at..]);
}

/// Seconds with six digits behind the point.
fn seconds(time: Duration, out: &mut Vec<u8>) {
    // As it is rounded to the next microsecond.
    let micros = u64::from((time.subsec_nanos() + 500) / 1000);
    digits(time.as_secs() + micros / 1_000_000, out);
    let micros = micros % 1_000_000;
    let ([a, b], [c, d], [e, f]) = (two(micros / 10_000), two(micros / 100), two(micros));
    out.extend_from_slice(&[b'.', a, b, c, d, e, f]);
}

fn address(addr: SocketAddr, out: &mut Vec<u8>) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            for (n, octet) in ip.octets().into_iter().enumerate() {
                if n > 0 {
                    out.push(b'.');
                }
                digits(u64::from(octet), out);
            }
            out.push(b':');
            digits(u64::from(addr.port()), out);
        }
        IpAddr::V6(_) => out.extend_from_slice(addr.to_string().as_bytes()),
    }
}

/// `2026-11-21T07:10:59.123Z`; times before 1970 are given as 1970, those after 9999 as its end.
pub fn rfc3339(time: SystemTime) -> String {
    let mut out = Vec::with_capacity(24);
    push_rfc3339(time, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

thread_local! {
    /// A second, and what it is called: that of the line before is nearly always that of this one.
    static SECOND: Cell<(u64, [u8; 20])> = const { Cell::new((u64::MAX, [0; 20])) };
}

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

fn push_rfc3339(time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = since.as_secs().min(LAST);
    let (mut known, mut text) = SECOND.get();
    if known != second {
        (known, text) = (second, civil(second));
        SECOND.set((known, text));
    }
    out.extend_from_slice(&text);
    let millis = u64::from(since.subsec_millis());
    let [b, c] = two(millis);
    out.extend_from_slice(&[b'0' + (millis / 100) as u8, b, c, b'Z']);
}

/// `2026-11-21T07:10:59.`
fn civil(since: u64) -> [u8; 20] {
    let (days, second) = ((since / 86_400) as i64, since % 86_400);
    // Days to a civil date (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = (yoe + era * 400 + i64::from(month <= 2)) as u64;
    let mut out = *b"0000-00-00T00:00:00.";
    for (at, number) in [
        (0, year / 100),
        (2, year),
        (5, month as u64),
        (8, day as u64),
        (11, second / 3600),
        (14, second / 60 % 60),
        (17, second % 60),
    ] {
        out[at..at + 2].copy_from_slice(&two(number));
    }
    out
}

#[cfg(test)]
#[path = "line_tests.rs"]
pub(super) mod tests;

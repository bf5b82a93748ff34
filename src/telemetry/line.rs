//! What a line of the access log looks like.
//!
//! Text: `time client "method target" host status reason listener route pool backend tries
//! bytes_in bytes_out duration connect first_byte request_id sni proxy`, `-` for what is not known.
//! JSON: an object with these names. Times are RFC 3339, durations seconds. Whoever gave a text,
//! a client or the configuration, it cannot leave its field: see [`escape`].
use super::access::Access;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One line of text.
pub(super) fn text(a: &Access<'_>) -> String {
    let mut line = String::with_capacity(256);
    let _ = write!(line, "{} ", rfc3339(a.time));
    match a.client {
        Some(client) => drop(write!(line, "{client}")),
        None => line.push('-'),
    }
    line.push_str(" \"");
    field(a.method, &mut line);
    line.push(' ');
    field(a.target, &mut line);
    line.push_str("\" ");
    field(a.host, &mut line);
    let _ = write!(line, " {}", a.status);
    for name in [a.reason, a.listener, a.route, a.pool, a.backend] {
        line.push(' ');
        field(name.as_bytes(), &mut line);
    }
    let took = a.duration.as_secs_f64();
    let _ = write!(line, " {} {} {} {took:.6}", a.tries, a.bytes_in, a.bytes_out);
    for time in [a.connect, a.first_byte] {
        match time {
            Some(time) => drop(write!(line, " {:.6}", time.as_secs_f64())),
            None => line.push_str(" -"),
        }
    }
    for text in [a.request_id, a.sni, a.proxy.as_bytes()] {
        line.push(' ');
        field(text, &mut line);
    }
    line.push('\n');
    line
}

/// One line of JSON.
pub(super) fn json(a: &Access<'_>) -> String {
    let mut line = String::with_capacity(384);
    let _ = write!(line, "{{\"time\":\"{}\"", rfc3339(a.time));
    if let Some(client) = a.client {
        let _ = write!(line, ",\"client\":\"{client}\"");
    }
    let texts: [(&str, &[u8]); 8] = [
        ("method", a.method),
        ("target", a.target),
        ("host", a.host),
        ("reason", a.reason.as_bytes()),
        ("listener", a.listener.as_bytes()),
        ("route", a.route.as_bytes()),
        ("pool", a.pool.as_bytes()),
        ("backend", a.backend.as_bytes()),
    ];
    for (name, value) in texts {
        let _ = write!(line, ",\"{name}\":\"");
        escape(value, Space::Kept, &mut line);
        line.push('"');
    }
    let _ = write!(
        line,
        ",\"status\":{},\"tries\":{},\"bytes_in\":{},\"bytes_out\":{},\"duration\":{:.6}",
        a.status,
        a.tries,
        a.bytes_in,
        a.bytes_out,
        a.duration.as_secs_f64()
    );
    let times: [(&str, Option<Duration>); 2] =
        [("connect", a.connect), ("first_byte", a.first_byte)];
    for (name, time) in times {
        if let Some(time) = time {
            let _ = write!(line, ",\"{name}\":{:.6}", time.as_secs_f64());
        }
    }
    line.push_str(",\"request_id\":\"");
    escape(a.request_id, Space::Kept, &mut line);
    for (name, value) in [("sni", a.sni), ("proxy", a.proxy.as_bytes())] {
        if !value.is_empty() {
            let _ = write!(line, "\",\"{name}\":\"");
            escape(value, Space::Kept, &mut line);
        }
    }
    line.push_str("\"}\n");
    line
}

/// A field of a text line: never empty, and without the space that ends it.
fn field(bytes: &[u8], out: &mut String) {
    match bytes {
        b"" => out.push('-'),
        _ => escape(bytes, Space::Escaped, out),
    }
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
fn escape(bytes: &[u8], space: Space, out: &mut String) {
    // Nearly always it is ASCII without any of these.
    let plain = |b: &u8| matches!(b, 0x21..=0x7e if !matches!(b, b'"' | b'\\'));
    if bytes.iter().all(plain) {
        return out.push_str(std::str::from_utf8(bytes).unwrap_or_default());
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                ' ' if space == Space::Kept => out.push(c),
                c if c == ' ' || is_unseen(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
                c => out.push(c),
            }
        }
        for b in chunk.invalid() {
            let _ = write!(out, "\\u00{b:02x}");
        }
    }
}

/// Control characters, line ends of Unicode and marks of direction; none is above U+FFFF.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `2026-11-21T07:10:59.123Z`; times before 1970 are given as 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = ((since.as_secs() / 86_400) as i64, since.as_secs() % 86_400);
    // Days to a civil date (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
#[path = "line_tests.rs"]
pub(super) mod tests;

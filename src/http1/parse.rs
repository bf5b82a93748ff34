//! Bytes to head, strict by RFC 9112. Resumes where it stopped, never rescans.
//!
//! Two passes: the first finds the end of the head, line by line, and remembers how far it looked;
//! the second reads the complete head once. So however a head is split, its verdict is the same.
//! A head that comes whole and flawless, as nearly all do, is read by the second pass alone.
use super::refusal::{Refusal, Rule};
use crate::message::{
    Fields, Head, Known, Version, byte_at, control_at, is_plain_host, is_plain_name, is_target,
    is_token, is_value,
};
use std::ops::Range;

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of a head (431).
    pub head: usize,
    /// Fields of a head (431).
    pub fields: usize,
    /// Bytes of a request target (414).
    pub target: usize,
}

/// How far a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Complete: so many bytes of the wire were it.
    Done(usize),
    /// More bytes are wanted; pass this number as `resume` next time.
    Partial(usize),
}

/// Empty lines that may stand before a request line (RFC 9112 2.2): one for an old client's slip.
const EMPTY_LINES: usize = 2;

/// Parses a request head from the beginning of `wire`. Empty lines before it are skipped (9112 2.2).
///
/// # Errors
///
/// [`Refusal`] as soon as it is certain.
pub fn request(
    wire: &[u8],
    resume: usize,
    limits: &HeadLimits,
    out: &mut Head,
) -> Result<Parsed, Refusal> {
    let begin = leading_empty_lines(wire);
    if resume == 0
        && let Ok(Some(end)) = request_lines(&wire[begin..], limits, out)
        && end <= limits.head
    {
        return Ok(Parsed::Done(begin + end));
    }
    let end = match find_end(&wire[begin..], resume.saturating_sub(begin), limits.head)? {
        Found::End(end) => begin + end,
        Found::Partial(seen) => return Ok(Parsed::Partial(begin + seen)),
        Found::TooLarge { has_line } => {
            return Err(if has_line { Rule::HeadTooLarge } else { Rule::TargetTooLong }.into());
        }
    };
    request_lines(&wire[begin..end], limits, out)?.ok_or(Rule::RequestLine)?;
    Ok(Parsed::Done(end))
}

/// Reads a whole head and says where it ends; `None` if it does not.
fn request_lines(
    wire: &[u8],
    limits: &HeadLimits,
    out: &mut Head,
) -> Result<Option<usize>, Refusal> {
    out.begin();
    let Some(line) = line_end(wire) else { return Ok(None) };
    let (method, target, version) = request_line(&wire[..line])?;
    if target.len() > limits.target {
        return Err(Rule::TargetTooLong.into());
    }
    out.index_request(wire, method, target, version);
    fields(wire, line + 2, limits.fields, out)
}

/// Parses a response head.
///
/// # Errors
///
/// As [`request`].
pub fn response(
    wire: &[u8],
    resume: usize,
    limits: &HeadLimits,
    out: &mut Head,
) -> Result<Parsed, Refusal> {
    // Whatever does not begin like HTTP/1 is refused at once: it may never end a line.
    let begins = wire.first_chunk() == Some(b"HTTP/1.");
    if !begins && !wire.iter().zip(b"HTTP/1.").all(|(a, b)| a == b) {
        return Err(Rule::StatusLine.into());
    }
    if resume == 0
        && let Ok(Some(end)) = response_lines(wire, limits, out)
        && end <= limits.head
    {
        return Ok(Parsed::Done(end));
    }
    let end = match find_end(wire, resume, limits.head)? {
        Found::End(end) => end,
        Found::Partial(seen) => return Ok(Parsed::Partial(seen)),
        Found::TooLarge { .. } => return Err(Rule::HeadTooLarge.into()),
    };
    response_lines(&wire[..end], limits, out)?.ok_or(Rule::StatusLine)?;
    Ok(Parsed::Done(end))
}

/// As [`request_lines`].
fn response_lines(
    wire: &[u8],
    limits: &HeadLimits,
    out: &mut Head,
) -> Result<Option<usize>, Refusal> {
    out.begin();
    let Some(line) = line_end(wire) else { return Ok(None) };
    let (status, reason, version) = status_line(&wire[..line])?;
    out.index_response(status, reason, version);
    fields(wire, line + 2, limits.fields, out)
}

/// Parses a trailer section up to and with its empty line.
///
/// # Errors
///
/// As [`request`].
pub fn trailers(
    wire: &[u8],
    resume: usize,
    limits: &HeadLimits,
    out: &mut Fields,
) -> Result<Parsed, Refusal> {
    if wire.starts_with(b"\r\n") {
        return Ok(Parsed::Done(2));
    }
    let end = match find_end(wire, resume, limits.head)? {
        Found::End(end) => end,
        Found::Partial(seen) => return Ok(Parsed::Partial(seen)),
        Found::TooLarge { .. } => return Err(Rule::TrailersTooLarge.into()),
    };
    out.begin();
    fields(&wire[..end], 0, limits.fields, out)?.ok_or(Rule::FieldName)?;
    Ok(Parsed::Done(end))
}

fn leading_empty_lines(wire: &[u8]) -> usize {
    let mut at = 0;
    while at < 2 * EMPTY_LINES && wire[at..].starts_with(b"\r\n") {
        at += 2;
    }
    at
}

enum Found {
    End(usize),
    Partial(usize),
    TooLarge { has_line: bool },
}

/// Looks for the empty line that ends a head. `resume`: no line end stands before it that was not
/// looked at.
fn find_end(wire: &[u8], resume: usize, limit: usize) -> Result<Found, Refusal> {
    let window = &wire[..wire.len().min(limit)];
    let mut at = resume.min(window.len());
    while let Some(found) = memchr::memchr(b'\n', &window[at..]) {
        let lf = at + found;
        if lf == 0 || window[lf - 1] != b'\r' {
            return Err(Rule::BareLf.into());
        }
        if lf >= 3 && window[lf - 2] == b'\n' {
            return Ok(Found::End(lf + 1));
        }
        if lf == 1 {
            // An empty line where a start line must be.
            return Err(Rule::RequestLine.into());
        }
        at = lf + 1;
    }
    if wire.len() > limit {
        return Ok(Found::TooLarge { has_line: memchr::memchr(b'\n', window).is_some() });
    }
    Ok(Found::Partial(window.len()))
}

/// Where the first line ends, before its CRLF. In a complete head every LF was seen to follow a CR.
fn line_end(wire: &[u8]) -> Option<usize> {
    byte_at(wire, b'\n')?.checked_sub(1).filter(|cr| wire[*cr] == b'\r')
}

fn request_line(line: &[u8]) -> Result<(Range<usize>, Range<usize>, Version), Refusal> {
    let method = byte_at(line, b' ').ok_or(Rule::RequestLine)?;
    if !is_token(&line[..method]) {
        return Err(Rule::RequestLine.into());
    }
    let target = method + 1;
    let target_end = target + byte_at(&line[target..], b' ').ok_or(Rule::RequestLine)?;
    let version = match &line[target_end + 1..] {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', a, b'.', b] if a.is_ascii_digit() && b.is_ascii_digit() => {
            return Err(Rule::Version.into());
        }
        _ => return Err(Rule::RequestLine.into()),
    };
    if !is_target(&line[target..target_end])
        || !has_form(&line[..method], &line[target..target_end])
    {
        return Err(Rule::Target.into());
    }
    Ok((0..method, target..target_end, version))
}

/// Whether a target has one of the four forms and the method allows it (RFC 9112 3.2).
fn has_form(method: &[u8], target: &[u8]) -> bool {
    if method == b"CONNECT" {
        // The port must be named (RFC 9110 9.3.6); the last colon may be one of an IPv6 address.
        let port = target.iter().rposition(|b| *b == b':').map_or(&[][..], |at| &target[at + 1..]);
        let has_port = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
        return has_port && is_authority(target);
    }
    if target[0] == b'/' {
        return true;
    }
    if target == b"*" {
        return method == b"OPTIONS";
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|s| target.len() > s.len() && target[..s.len()].eq_ignore_ascii_case(s));
    scheme.is_some_and(|scheme| {
        let rest = &target[scheme.len()..];
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
        is_authority(&rest[..end])
    })
}

/// Whether this is a host with an optional port, without userinfo (RFC 9110 4.2.4, RFC 3986 3.2).
pub fn is_authority(bytes: &[u8]) -> bool {
    // Nearly always.
    is_plain_host(without_port(bytes)) || is_any_authority(bytes)
}

/// What stands before a port of up to five digits; all of it where there is none.
fn without_port(bytes: &[u8]) -> &[u8] {
    let digits = bytes.iter().rev().take(5).take_while(|b| b.is_ascii_digit()).count();
    match bytes.split_at(bytes.len() - digits).0 {
        [host @ .., b':'] => host,
        _ => bytes,
    }
}

fn is_any_authority(bytes: &[u8]) -> bool {
    let (host, port) = match bytes.first() {
        None => return false,
        Some(b'[') => {
            let Some(end) = memchr::memchr(b']', bytes) else { return false };
            let inside = &bytes[1..end];
            let is_v6 =
                std::str::from_utf8(inside).is_ok_and(|s| s.parse::<std::net::Ipv6Addr>().is_ok());
            if !is_v6 {
                return false;
            }
            (&b"v6"[..], &bytes[end + 1..])
        }
        Some(_) => bytes.split_at(host_end(bytes)),
    };
    let port_ok = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !host.is_empty() && port_ok
}

/// How far a registered name or an IPv4 address goes, whole escapes included.
fn host_end(bytes: &[u8]) -> usize {
    let mut end = 0;
    loop {
        let rest = &bytes[end..];
        end += rest.iter().position(|b| !HOST[*b as usize]).unwrap_or(rest.len());
        match &bytes[end..] {
            [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => end += 3,
            _ => return end,
        }
    }
}

/// What a registered name or an IPv4 address may be made of, besides escapes (RFC 3986 3.2.2).
static HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        table[i] = b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
            || matches!(b, b'*' | b'+' | b',' | b';' | b'=');
        i += 1;
    }
    table
};

fn status_line(line: &[u8]) -> Result<(u16, Range<usize>, Version), Refusal> {
    let version = match line.get(..9) {
        Some(b"HTTP/1.1 ") => Version::Http11,
        Some(b"HTTP/1.0 ") => Version::Http10,
        _ => return Err(Rule::StatusLine.into()),
    };
    let status = match line.get(9..12) {
        Some([a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']) => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return Err(Rule::StatusLine.into()),
    };
    let reason = match &line[12..] {
        [] => 12..12,
        [b' ', rest @ ..] if rest == b"OK" || is_value(rest) => 13..line.len(),
        _ => return Err(Rule::StatusLine.into()),
    };
    Ok((status, reason, version))
}

/// Reads field lines from `at` to the empty line. `None`: it did not come. Keeps the bytes of all
/// lines that were read, however it ends: a refused head can still be told about.
fn fields(wire: &[u8], at: usize, most: usize, out: &mut Fields) -> Result<Option<usize>, Refusal> {
    let (end, read) = field_lines(wire, at, most, out);
    out.keep(&wire[..end]);
    Ok(read?.then_some(end + 2))
}

/// As `fields`; also says where the last line that was read ends. A value ends where a byte stands that may not be in it:
/// that must be the line's CRLF.
fn field_lines(
    wire: &[u8],
    mut at: usize,
    most: usize,
    out: &mut Fields,
) -> (usize, Result<bool, Refusal>) {
    let mut left = most;
    loop {
        let line = &wire[at..];
        match line {
            [b'\r', b'\n', ..] => return (at, Ok(true)),
            [] => return (at, Ok(false)),
            _ if left == 0 => return (at, Err(Rule::TooManyFields.into())),
            _ => left -= 1,
        }
        let Some(colon) = byte_at(line, b':') else {
            // What begins a line without one is judged once its end is there.
            let ends = control_at(line, 0) < line.len();
            return (at, if ends { Err(bad_name(line)) } else { Ok(false) });
        };
        let name = &line[..colon];
        let known = Known::number(name);
        if known == Known::NONE && !is_name(line, name) {
            return (at, Err(bad_name(line)));
        }
        let end = control_at(line, colon + 1);
        match &line[end..] {
            [b'\r', b'\n', ..] => {}
            [] | [_] => return (at, Ok(false)),
            _ => return (at, Err(Rule::FieldValue.into())),
        }
        let value = &line[colon + 1..end];
        let (before, after, usual) = spaces(value);
        let value = (at + colon + 1 + before, value.len() - before - after);
        out.index_line((at, colon, known), value, usual);
        at += end + 2;
    }
}

/// Whether `name`, with which `line` begins, can be one.
#[inline]
fn is_name(line: &[u8], name: &[u8]) -> bool {
    is_plain_name(line, name.len()) || is_token(name) && name.len() <= usize::from(u16::MAX)
}

/// How many spaces and tabs stand before a value and behind it, and whether it is the usual one
/// space and none.
fn spaces(text: &[u8]) -> (usize, usize, bool) {
    if let [b' ', b'!'..=0xff] | [b' ', b'!'..=0xff, .., b'!'..=0xff] = text {
        return (1, 0, true);
    }
    let is_space = |b: &&u8| matches!(**b, b' ' | b'\t');
    let before = text.iter().take_while(is_space).count();
    let after = text[before..].iter().rev().take_while(is_space).count();
    (before, after, before == 1 && after == 0 && text[0] == b' ')
}

fn bad_name(line: &[u8]) -> Refusal {
    if matches!(line, [b' ' | b'\t', ..]) { Rule::Folded } else { Rule::FieldName }.into()
}

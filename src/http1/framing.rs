//! How a body is delimited: the only place that decides it, with keep-alive, expect and upgrade.
use super::parse::is_authority;
use super::refusal::{Refusal, Rule};
use crate::message::{Head, Known, Method, Version};

/// How a body is delimited on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// Content-Length; may be 0.
    Exact(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// Until the connection closes (responses only).
    UntilClose,
}

/// What a request head says about its connection and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVerdict {
    /// Its body.
    pub body: BodyLength,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
    /// `Expect: 100-continue`, of an HTTP/1.1 client.
    pub expect_continue: bool,
    /// `Connection: upgrade` with `Upgrade: websocket`, and a complete handshake by GET without body.
    pub websocket: bool,
}

/// What a response head says about its connection and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseVerdict {
    /// Its body.
    pub body: BodyLength,
    /// Whether the connection may be used again.
    pub keep_alive: bool,
}

/// Judges a request head: framing (9112 6), Host (9112 3.2), Expect (9110 10.1.1).
///
/// # Errors
///
/// [`Refusal`] for whatever is ambiguous.
#[inline(always)]
pub fn of_request(head: &Head) -> Result<RequestVerdict, Refusal> {
    host(head)?;
    let old = head.version() == Version::Http10;
    let body = match (content_length(head)?, transfer_encoding(head, old)?) {
        (Some(_), true) => return Err(Rule::BothLengths.into()),
        (None, true) => BodyLength::Chunked,
        (Some(n), false) => BodyLength::Exact(n),
        (None, false) => BodyLength::None,
    };
    let expect_continue = expect(head, old)?;
    let websocket = !old
        && body == BodyLength::None
        && head.method() == Method::Get
        && is_websocket(head)
        && has_token(head, Known::Connection, b"upgrade");
    Ok(RequestVerdict { body, keep_alive: keep_alive(head), expect_continue, websocket })
}

/// Judges a final response head to a request with this method. 1xx are judged by the caller.
///
/// # Errors
///
/// [`Refusal`] for whatever is ambiguous.
pub fn of_response(head: &Head, to: Method) -> Result<ResponseVerdict, Refusal> {
    let old = head.version() == Version::Http10;
    let length = content_length(head)?;
    let chunked = transfer_encoding(head, old)?;
    if length.is_some() && chunked {
        return Err(Rule::BothLengths.into());
    }
    let none = to == Method::Head
        || matches!(head.status(), 100..=199 | 204 | 304)
        || (to == Method::Connect && (200..300).contains(&head.status()));
    let body = match (length, chunked) {
        _ if none => BodyLength::None,
        (_, true) => BodyLength::Chunked,
        (Some(n), _) => BodyLength::Exact(n),
        _ => BodyLength::UntilClose,
    };
    Ok(ResponseVerdict { body, keep_alive: keep_alive(head) && body != BodyLength::UntilClose })
}

/// Whether the protocol named is WebSocket: the only one that is tunnelled.
#[inline(always)]
pub(super) fn is_websocket(head: &Head) -> bool {
    head.has(Known::Upgrade) && names_websocket(head)
}

fn names_websocket(head: &Head) -> bool {
    head.get(Known::Upgrade).is_some_and(|v| v.eq_ignore_ascii_case(b"websocket"))
}

#[inline(always)]
fn host(head: &Head) -> Result<(), Refusal> {
    let host = head.sole(Known::Host);
    if host.is_some_and(|(_, once)| !once) {
        return Err(Rule::HostRepeated.into());
    }
    let named = head.authority().is_some();
    match host.map(|(value, _)| value) {
        None if head.version() == Version::Http10 => Ok(()),
        None => Err(Rule::HostMissing.into()),
        Some(b"") if !named => Err(Rule::HostMissing.into()),
        Some(value) if is_authority(value) => Ok(()),
        Some(_) => Err(Rule::HostInvalid.into()),
    }
}

/// One field with one decimal number below 2^63 (9110 8.6): a list or a repetition is refused even
/// where its members are equal.
fn content_length(head: &Head) -> Result<Option<u64>, Refusal> {
    let value = match head.sole(Known::ContentLength) {
        None => return Ok(None),
        Some((value, true)) => value,
        Some(_) => return Err(Rule::LengthRepeated.into()),
    };
    // Nineteen digits fit.
    if value.is_empty() || value.len() > 19 {
        return Err(Rule::LengthInvalid.into());
    }
    let mut number = 0;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Rule::LengthInvalid.into());
        }
        number = number * 10 + u64::from(digit);
    }
    if number > i64::MAX as u64 { Err(Rule::LengthInvalid.into()) } else { Ok(Some(number)) }
}

/// Whether the body is chunked: one field that says exactly that (9112 6.1).
#[inline(always)]
fn transfer_encoding(head: &Head, old: bool) -> Result<bool, Refusal> {
    if head.has(Known::TransferEncoding) { is_chunked(head, old) } else { Ok(false) }
}

fn is_chunked(head: &Head, old: bool) -> Result<bool, Refusal> {
    if old {
        return Err(Rule::CodingOld.into());
    }
    let mut all = head.all(Known::TransferEncoding);
    let value = all.next().ok_or(Rule::CodingInvalid)?;
    if all.next().is_some() {
        return Err(Rule::CodingInvalid.into());
    }
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    let plain = !value.is_empty() && value.iter().all(u8::is_ascii_alphanumeric);
    Err(if plain { Rule::CodingUnknown } else { Rule::CodingInvalid }.into())
}

#[inline(always)]
fn expect(head: &Head, old: bool) -> Result<bool, Refusal> {
    if !head.all(Known::Expect).all(|value| value.eq_ignore_ascii_case(b"100-continue")) {
        return Err(Rule::Expectation.into());
    }
    Ok(!old && head.has(Known::Expect))
}

fn keep_alive(head: &Head) -> bool {
    let old = head.version() == Version::Http10;
    match head.sole(Known::Connection) {
        None => return !old,
        // What nearly every one says.
        Some((b"keep-alive", true)) => return true,
        _ => {}
    }
    if has_token(head, Known::Connection, b"close") {
        return false;
    }
    !old || has_token(head, Known::Connection, b"keep-alive")
}

/// Whether a comma-separated list field has this member.
pub(super) fn has_token(head: &Head, name: Known, token: &[u8]) -> bool {
    let has = |value: &[u8]| {
        value.eq_ignore_ascii_case(token)
            || (value.len() > token.len()
                && value.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(token)))
    };
    head.all(name).any(has)
}

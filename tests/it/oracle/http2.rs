//! Heads of HTTP/2: what is let in is written as one request of HTTP/1 that says the same, and an
//! answer of HTTP/1 becomes one that HTTP/2 allows.
use super::strict::{self, Delimited};
use evenkeel::http1::{self, BodyLength, HeadLimits, Parsed};
use evenkeel::http2;
use evenkeel::message::{Chunk, Head, Known, Method};
use h2::ext::Protocol;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Uri};

const LIMITS: HeadLimits = HeadLimits { head: 64 << 10, fields: 1000, target: 8 << 10 };

/// A byte of flags (1: no body follows; 2: it asks for a WebSocket), then lines: method, scheme,
/// authority, path, and fields as `name: value`, where a value may hold any byte but a line's end.
/// `None`: what the library lets nobody say.
fn parts(input: &[u8]) -> Option<(Parts, bool)> {
    let (flags, rest) = input.split_first()?;
    let mut lines = rest.split(|byte| *byte == b'\n');
    let mut line = || lines.next();
    let (method, scheme, authority, path) = (line()?, line()?, line()?, line()?);
    let mut uri = Uri::builder();
    if !scheme.is_empty() {
        uri = uri.scheme(scheme);
    }
    if !authority.is_empty() {
        uri = uri.authority(authority);
    }
    if !path.is_empty() {
        uri = uri.path_and_query(PathAndQuery::try_from(path).ok()?);
    }
    let mut request = Request::builder().method(method).uri(uri.build().ok()?);
    if flags & 2 != 0 {
        request = request.extension(Protocol::from_static("websocket"));
    }
    for field in lines {
        let at = field.iter().position(|byte| *byte == b':')?;
        let value = field[at + 1..].strip_prefix(b" ").unwrap_or(&field[at + 1..]);
        // As they come off the wire: in lower case.
        let name = HeaderName::from_lowercase(&field[..at]).ok()?;
        request = request.header(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some((request.body(()).ok()?.into_parts().0, flags & 1 != 0))
}

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// What a head says besides its framing and what is for this hop.
fn said(head: &Head) -> Lines {
    let ours = [Known::ContentLength, Known::TransferEncoding, Known::Connection, Known::Upgrade];
    let fields =
        head.iter().filter(|(name, _)| !Known::of(name).is_some_and(|k| ours.contains(&k)));
    let mut lines: Lines =
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect();
    lines.sort();
    lines
}

/// A request, as [`parts`] reads it.
///
/// # Panics
///
/// When it is let in and its bytes for a backend are not exactly one request that says the same.
pub fn request(input: &[u8]) {
    let Some((parts, ended)) = parts(input) else { return };
    let mut head = Head::new();
    let Ok(verdict) = http2::request(&parts, ended, &LIMITS, 7, &mut head) else { return };
    let upgrade = verdict.websocket.then_some("Upgrade");
    let mut out = Chunk::none();
    http1::request_head(&head, None, verdict.body, upgrade, &mut out);
    let wire = out.data();
    let shown = wire.escape_ascii();
    let strictly = strict::request(wire).unwrap_or_else(|fault| panic!("{fault} in {shown}"));
    assert_eq!(strictly.len, wire.len(), "more than a head: {shown}");
    let delimited = match verdict.body {
        BodyLength::None | BodyLength::UntilClose => Delimited::Silent,
        BodyLength::Exact(n) => Delimited::Length(n),
        BodyLength::Chunked => Delimited::Chunked,
    };
    assert_eq!(strictly.delimited, delimited, "{shown}");
    let mut again = Head::new();
    let parsed = http1::request(wire, 0, &LIMITS, &mut again);
    assert_eq!(parsed.expect("our own bytes are refused"), Parsed::Done(wire.len()), "{shown}");
    let read = http1::of_request(&again).expect("our own head is refused");
    assert_eq!((read.body, read.websocket), (verdict.body, verdict.websocket), "{shown}");
    // What it says is what came.
    let method = if verdict.websocket { "GET" } else { parts.method.as_str() };
    assert_eq!(again.method_token(), method.as_bytes());
    if let Some(target) = parts.uri.path_and_query() {
        assert_eq!(again.target(), target.as_str().as_bytes());
    }
    let authority = parts.uri.authority().map(|all| all.as_str().as_bytes());
    let host = authority.or_else(|| parts.headers.get("host").map(HeaderValue::as_bytes));
    assert_eq!(again.get(Known::Host), host, "{shown}");
    assert_eq!(said(&again), said(&head), "{shown}");
    let own = ["host", "cookie", "content-length", "sec-websocket-key"];
    let kept = |name: &str| !own.contains(&name);
    let mut came: Lines = parts
        .headers
        .iter()
        .filter(|(name, _)| kept(name.as_str()))
        .map(|(name, value)| (name.as_str().into(), value.as_bytes().into()))
        .collect();
    came.sort();
    let mut went = said(&again);
    went.retain(|(name, _)| std::str::from_utf8(name).is_ok_and(kept));
    assert_eq!(went, came, "{shown}");
}

/// A byte says what was asked; the rest is an answer of HTTP/1.
///
/// # Panics
///
/// When what becomes of it is nothing that HTTP/2 allows, or says something else.
pub fn response(input: &[u8]) {
    let Some((which, wire)) = input.split_first() else { return };
    let method = [Method::Get, Method::Head, Method::Post][usize::from(which % 3)];
    let mut head = Head::new();
    let Ok(Parsed::Done(_)) = http1::response(wire, 0, &LIMITS, &mut head) else { return };
    if head.status() < 200 {
        let interim = http2::interim(&head);
        return allowed(&head, interim.headers());
    }
    let Ok(verdict) = http1::of_response(&head, method) else { return };
    let answer = http2::response(&head, verdict.body);
    assert_eq!(answer.status().as_u16(), head.status());
    let lengths: Vec<_> = answer.headers().get_all("content-length").iter().collect();
    match verdict.body {
        BodyLength::Exact(n) => assert_eq!(lengths, [&n.to_string()]),
        BodyLength::None => assert!(lengths.len() <= 1),
        _ => assert!(lengths.is_empty()),
    }
    allowed(&head, answer.headers());
}

/// Nothing of HTTP/1's connections (RFC 9113 8.2.2), and of the rest everything.
fn allowed(head: &Head, fields: &http::HeaderMap) {
    let connection =
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"];
    for name in connection {
        assert!(!fields.contains_key(name), "{name}");
    }
    let of_framing = |name: &str| name == "content-length" || connection.contains(&name);
    let mut came: Lines = said(head);
    came.retain(|(name, _)| std::str::from_utf8(name).is_ok_and(|name| !of_framing(name)));
    let went = fields.iter().filter(|(name, _)| !of_framing(name.as_str()));
    let mut went: Lines =
        went.map(|(name, value)| (name.as_str().into(), value.as_bytes().into())).collect();
    went.sort();
    assert_eq!(went, came);
}

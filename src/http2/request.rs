//! A request of HTTP/2 to a head that any backend can be sent.
use super::fields::{LINE, append};
use crate::http1::{self, BodyLength, HeadLimits, Refusal, RequestVerdict, Rule};
use crate::message::{Head, Method, Version};
use h2::ext::Protocol;
use http::header::{COOKIE, HOST};
use http::request::Parts;

/// Whether it asks for a WebSocket (RFC 8441 4).
pub fn is_websocket(parts: &Parts) -> bool {
    let protocol = parts.extensions.get::<Protocol>();
    parts.method == http::Method::CONNECT && protocol.is_some_and(|p| p.as_str() == "websocket")
}

/// Translates a request, as strictly as one of HTTP/1 is read. `ended`: no body follows. `seed` is
/// for the key of a WebSocket's handshake.
///
/// `:authority` becomes `Host`, crumbs of `cookie` are joined (RFC 9113 8.2.3), and who asks for a
/// WebSocket does so as by HTTP/1.1 (RFC 8441 5).
///
/// # Errors
///
/// [`Refusal`] for what is malformed, ambiguous or above the limits; the head may be incomplete.
pub fn request(
    parts: &Parts,
    ended: bool,
    limits: &HeadLimits,
    seed: u64,
    head: &mut Head,
) -> Result<RequestVerdict, Refusal> {
    let websocket = is_websocket(parts);
    let method = if websocket { "GET" } else { parts.method.as_str() };
    let target = target(parts)?;
    if target.len() > limits.target {
        return Err(Rule::TargetTooLong.into());
    }
    head.start_request(method.as_bytes(), target.as_bytes(), Version::Http2)
        .map_err(|_| Refusal::from(Rule::Target))?;
    if parts.extensions.get::<Protocol>().is_some() && !websocket {
        return Err(Rule::Protocol.into());
    }
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(Rule::Scheme.into());
    }
    measure(parts, limits)?;
    host(parts, head)?;
    fields(parts, websocket, head)?;
    if websocket {
        handshake(seed, head)?;
    }
    let mut verdict = http1::of_request(head)?;
    verdict.body = body(verdict, websocket, ended)?;
    Ok(verdict)
}

/// `:path`, or the authority of a CONNECT. Other forms than HTTP/1's origin form are `*` of OPTIONS
/// alone (RFC 9113 8.3.1).
fn target(parts: &Parts) -> Result<&str, Refusal> {
    if parts.method == http::Method::CONNECT && parts.extensions.get::<Protocol>().is_none() {
        let Some(authority) = parts.uri.authority() else { return Err(Rule::HostMissing.into()) };
        // A host with its port, and nothing besides (RFC 9113 8.5).
        let bare = parts.uri.scheme().is_none() && parts.uri.path_and_query().is_none();
        let whole = bare && authority.port_u16().is_some();
        return if whole { Ok(authority.as_str()) } else { Err(Rule::Target.into()) };
    }
    if parts.uri.path().is_empty() {
        return Err(Rule::Target.into());
    }
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let is_star = target == "*" && Method::of(parts.method.as_str().as_bytes()) == Method::Options;
    if target.starts_with('/') || is_star { Ok(target) } else { Err(Rule::Target.into()) }
}

/// As HTTP/1 counts: a line for each field, one for all crumbs of a cookie.
fn measure(parts: &Parts, limits: &HeadLimits) -> Result<(), Refusal> {
    let lines = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE);
    let line =
        parts.method.as_str().len() + parts.uri.path_and_query().map_or(0, |t| t.as_str().len());
    if line + lines.sum::<usize>() > limits.head {
        return Err(Rule::HeadTooLarge.into());
    }
    let crumbs = parts.headers.get_all(COOKIE).iter().count();
    if parts.headers.len() - crumbs.saturating_sub(1) > limits.fields {
        return Err(Rule::TooManyFields.into());
    }
    Ok(())
}

/// `Host` says what `:authority` said. Where both came they must agree (RFC 9113 8.3.1).
fn host(parts: &Parts, head: &mut Head) -> Result<(), Refusal> {
    let mut said = parts.headers.get_all(HOST).iter();
    let host = said.next();
    if said.next().is_some() {
        return Err(Rule::HostRepeated.into());
    }
    match (parts.uri.authority(), host) {
        (Some(authority), Some(host))
            if !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) =>
        {
            Err(Rule::HostDiffers.into())
        }
        (Some(authority), _) => append(head, "host", authority.as_str().as_bytes()),
        (None, Some(host)) => append(head, "host", host.as_bytes()),
        (None, None) => Err(Rule::HostMissing.into()),
    }
}

fn fields(parts: &Parts, websocket: bool, head: &mut Head) -> Result<(), Refusal> {
    let mut cookies = Vec::new();
    for (name, value) in &parts.headers {
        if *name == HOST || (websocket && name.as_str() == "sec-websocket-key") {
            continue;
        }
        if *name == COOKIE {
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(value.as_bytes());
            continue;
        }
        append(head, name.as_str(), value.as_bytes())?;
    }
    if cookies.is_empty() { Ok(()) } else { append(head, "cookie", &cookies) }
}

/// What the handshake of RFC 6455 has and that of RFC 8441 has not.
fn handshake(seed: u64, head: &mut Head) -> Result<(), Refusal> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // 16 bytes in base64: 21 whole digits, one of two bits, and the filling.
    let mut key = [b'='; 24];
    let mut random = fastrand::Rng::with_seed(seed);
    key[..21].fill_with(|| DIGITS[random.usize(..64)]);
    key[21] = DIGITS[random.usize(..4) << 4];
    let add = |head: &mut Head, name, value: &[u8]| {
        head.append(name, value).map_err(|_| Refusal::from(Rule::FieldValue))
    };
    add(head, "connection", b"Upgrade")?;
    add(head, "upgrade", b"websocket")?;
    add(head, "sec-websocket-key", &key)
}

/// A body whose length nobody said is known at its end; one that was said must fit (RFC 9113 8.1.1).
fn body(verdict: RequestVerdict, websocket: bool, ended: bool) -> Result<BodyLength, Refusal> {
    match verdict.body {
        _ if websocket && !verdict.websocket => Err(Rule::LengthInvalid.into()),
        BodyLength::None if websocket || ended => Ok(BodyLength::None),
        BodyLength::None => Ok(BodyLength::Chunked),
        BodyLength::Exact(1..) if ended => Err(Rule::LengthInvalid.into()),
        said => Ok(said),
    }
}

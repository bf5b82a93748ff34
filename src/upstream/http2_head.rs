//! Heads as HTTP/2 has them: a request on its way out, an answer and trailers on their way in
//! (RFC 9113 8).
use super::dialer::Outgoing;
use super::error::Error;
use crate::http1::{BodyLength, HeadLimits, Rule, may_trail};
use crate::message::{Fields, Head, Known, Version};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use std::borrow::Cow;

/// What a request's head cannot be: the word is its answer's reason.
pub(super) type Unfit = &'static str;

/// The head of a request.
///
/// # Errors
///
/// What of it HTTP/2 cannot say.
pub(super) fn request(
    out: &Outgoing<'_>,
    is_tls: bool,
    written: &str,
) -> Result<http::Request<()>, Unfit> {
    let head = out.head;
    let mut request = http::Request::new(());
    *request.method_mut() =
        http::Method::from_bytes(head.method_token()).map_err(|_| "bad_request_line")?;
    *request.version_mut() = http::Version::HTTP_2;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority(out, written)?);
    parts.path_and_query = Some(path(head)?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| "bad_target")?;
    *request.headers_mut() = fields(out)?;
    Ok(request)
}

/// What `Host` would say (RFC 9113 8.3.1).
fn authority(out: &Outgoing<'_>, written: &str) -> Result<Authority, Unfit> {
    let own = || out.head.authority().or_else(|| out.head.get(Known::Host));
    match out.host.or_else(own).filter(|host| !host.is_empty()) {
        Some(host) => Authority::try_from(host).map_err(|_| "bad_host"),
        // A socket's path is no host.
        None => Ok(written.parse().unwrap_or(Authority::from_static("localhost"))),
    }
}

fn path(head: &Head) -> Result<PathAndQuery, Unfit> {
    let said = head.path_and_query();
    let said: Cow<'_, [u8]> = match said.first() {
        Some(b'?') | None => [b"/", said].concat().into(),
        _ => said.into(),
    };
    if let Ok(path) = PathAndQuery::try_from(&*said) {
        return Ok(path);
    }
    // What may not stand in a target (RFC 3986 2) is percent-encoded, which says the same.
    let mut encoded = Vec::with_capacity(said.len() + 16);
    for byte in &*said {
        match byte {
            b'<' | b'>' | b'`' | b'^' | b'\\' | b'|' | b'"' | b'{' | b'}' => {
                encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
            _ => encoded.push(*byte),
        }
    }
    PathAndQuery::try_from(&*encoded).map_err(|_| "bad_target")
}

/// What only HTTP/1 says, or what is said elsewhere.
const LEFT_OUT: u64 = Known::Host.bit()
    | Known::Connection.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::TransferEncoding.bit()
    | Known::Upgrade.bit()
    | Known::Te.bit()
    | Known::ContentLength.bit();

/// Secrets that are kept out of the table which the requests of all clients share (RFC 7541 7.1).
const SECRET: u64 =
    Known::Authorization.bit() | Known::ProxyAuthorization.bit() | Known::Cookie.bit();

/// What no other request says again: in the table (RFC 7541 2.3.2) it would push out what is said
/// again, and be compared with all others of its name.
const UNIQUE: u64 = Known::XRequestId.bit();

fn fields(out: &Outgoing<'_>) -> Result<HeaderMap, Unfit> {
    let mut map = HeaderMap::with_capacity(out.head.len() + 2);
    for (name, value) in out.head.iter() {
        let bit = Known::of(name).map_or(0, Known::bit);
        if LEFT_OUT & bit != 0 {
            continue;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| "bad_field_name")?;
        let mut value = HeaderValue::from_bytes(value).map_err(|_| "bad_field_value")?;
        value.set_sensitive((SECRET | UNIQUE) & bit != 0);
        map.try_append(name, value).map_err(|_| "too_many_fields")?;
    }
    if let BodyLength::Exact(n) = out.body {
        map.insert(http::header::CONTENT_LENGTH, n.into());
    }
    if out.trailers {
        map.insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    Ok(map)
}

/// The head of an answer, final or interim.
///
/// # Errors
///
/// [`Error::Garbage`]
pub(super) fn answer(
    from: &http::response::Parts,
    limits: &HeadLimits,
    head: &mut Head,
) -> Result<(), Error> {
    head.start_response(from.status.as_u16(), Version::Http2);
    put(&from.headers, limits.head, limits.fields, Rule::HeadTooLarge, head)?;
    if LEFT_OUT & !Known::ContentLength.bit() & !Known::Host.bit() & bits(head) != 0 {
        return Err(Error::Malformed("a field that is HTTP/1's alone".into()));
    }
    Ok(())
}

fn bits(fields: &Fields) -> u64 {
    let all = Known::ALL.iter().filter(|known| fields.has(**known));
    all.fold(0, |bits, known| bits | known.bit())
}

/// A trailer section.
///
/// # Errors
///
/// [`Error::Garbage`]
pub(super) fn trailers(from: &HeaderMap, most: usize, count: usize) -> Result<Fields, Error> {
    let mut fields = Fields::new();
    put(from, most, count, Rule::TrailersTooLarge, &mut fields)?;
    Ok(fields)
}

fn put(
    from: &HeaderMap,
    most: usize,
    count: usize,
    too_large: Rule,
    into: &mut Fields,
) -> Result<(), Error> {
    let garbage = |rule: Rule| Error::Garbage(rule.into());
    if from.len() > count {
        return Err(garbage(Rule::TooManyFields));
    }
    let mut left = most;
    for (name, value) in from {
        // As long as its line of HTTP/1.
        let size = name.as_str().len() + value.len() + 4;
        left = left.checked_sub(size).ok_or_else(|| garbage(too_large))?;
        let value = value.as_bytes();
        // RFC 9113 8.2.1
        if value.trim_ascii().len() != value.len() {
            return Err(garbage(Rule::FieldValue));
        }
        into.append(name.as_str(), value).map_err(|_| garbage(Rule::FieldValue))?;
    }
    Ok(())
}

/// The trailers of a request, without those that may not be some.
pub(super) fn request_trailers(from: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in from.iter().filter(|(name, _)| may_trail(name)) {
        let name = HeaderName::from_bytes(name);
        // They were checked when they were read.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            let _ = map.try_append(name, value);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Effective;

    fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new();
        head.start_request(method.as_bytes(), target.as_bytes(), Version::Http11).unwrap();
        for (name, value) in fields {
            head.append(name, value.as_bytes()).unwrap();
        }
        head
    }

    fn made(head: &Head, host: Option<&str>, body: BodyLength) -> Result<http::Request<()>, Unfit> {
        let effective = Effective::default();
        let out = Outgoing {
            head,
            host: host.map(str::as_bytes),
            body,
            upgrade: false,
            trailers: false,
            repeatable: false,
            fresh: false,
            header: None,
            timed: false,
            effective: &effective,
            until: None,
        };
        request(&out, true, "unix:/run/app.sock")
    }

    #[test]
    fn a_target_becomes_a_uri_that_says_the_same() {
        for (target, host, said, uri) in [
            ("/", Some("a.test"), None, "https://a.test/"),
            ("/p?q", Some("a.test:81"), Some("b"), "https://b/p?q"),
            ("http://c:1/p", Some("a.test"), None, "https://c:1/p"),
            ("http://c?q", Some("a.test"), None, "https://c/?q"),
            (
                "/<a>`b?\"c{d}|e^f\\",
                Some("[::1]:80"),
                None,
                "https://[::1]:80/%3Ca%3E%60b?%22c%7Bd%7D%7Ce%5Ef%5C",
            ),
            ("//x//y/../z", Some("a"), None, "https://a//x//y/../z"),
            ("/", None, None, "https://localhost/"),
        ] {
            let fields: Vec<_> = host.map(|host| ("Host", host)).into_iter().collect();
            let made = made(&head("GET", target, &fields), said, BodyLength::None).unwrap();
            assert_eq!(made.uri().to_string(), uri, "{target}");
        }
        let star = made(&head("OPTIONS", "*", &[("Host", "a")]), None, BodyLength::None).unwrap();
        assert_eq!(star.uri().path(), "*");
        let odd = made(&head("GET", "/", &[("Host", "a b")]), None, BodyLength::None);
        assert_eq!(odd.unwrap_err(), "bad_host");
    }

    #[test]
    fn fields_lose_what_is_of_http1_and_secrets_stay_out_of_the_table() {
        let head = head(
            "POST",
            "/",
            &[
                ("Host", "a"),
                ("Transfer-Encoding", "chunked"),
                ("Upgrade", "x"),
                ("TE", "trailers"),
                ("Authorization", "Basic x"),
                ("Cookie", "a=b"),
                ("Cookie", "c=d"),
                ("X-A", "1"),
            ],
        );
        let made = made(&head, None, BodyLength::Exact(7)).unwrap();
        let shown: Vec<_> = made
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap(), value.is_sensitive()))
            .collect();
        assert_eq!(
            shown,
            [
                ("authorization", "Basic x", true),
                ("cookie", "a=b", true),
                ("cookie", "c=d", true),
                ("x-a", "1", false),
                ("content-length", "7", false),
            ]
        );
    }

    #[test]
    fn an_answer_is_bounded_and_strict() {
        let limits = HeadLimits { head: 100, fields: 3, target: 10 };
        let answer = |fields: &[(&'static str, &str)]| {
            let mut from = http::Response::new(()).into_parts().0;
            for (name, value) in fields {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                from.headers.append(HeaderName::from_static(name), value);
            }
            let mut head = Head::new();
            answer(&from, &limits, &mut head).map(|()| head)
        };
        let good = answer(&[("x-a", "1"), ("set-cookie", "a"), ("set-cookie", "b")]).unwrap();
        assert_eq!((good.status(), good.len()), (200, 3));
        assert!(answer(&[("x-a", ""); 4]).is_err(), "too many");
        assert!(answer(&[("x-a", &"x".repeat(93))]).is_ok());
        assert!(answer(&[("x-a", &"x".repeat(94))]).is_err(), "too long");
        for value in [" 1", "1\t"] {
            assert!(answer(&[("x-a", value)]).is_err(), "{value:?}");
        }
        for name in ["connection", "transfer-encoding", "upgrade", "keep-alive"] {
            assert!(answer(&[(name, "x")]).is_err(), "{name}");
        }
        let trailers = |most| {
            let mut map = HeaderMap::new();
            map.insert("x-sum", HeaderValue::from_static("1"));
            super::trailers(&map, most, 1)
        };
        assert!(trailers(10).is_ok() && trailers(9).is_err());
    }

    #[test]
    fn a_request_has_no_trailers_that_mean_something_elsewhere() {
        let head = head("POST", "/", &[("X-Sum", "1"), ("Content-Length", "5"), ("Host", "b")]);
        let map = request_trailers(&head);
        assert_eq!((map.len(), map.contains_key("x-sum")), (1, true));
    }
}

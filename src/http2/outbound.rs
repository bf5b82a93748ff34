//! The side that asks: a request's head on its way to a backend, and an answer's on its way back
//! (RFC 9113 8.3).
use super::fields::{CONNECTION, from_map, to_map};
use crate::http1::{BodyLength, HeadLimits, Refusal, Rule};
use crate::message::{Head, Known, Version};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use std::borrow::Cow;

/// A request as a backend is sent it.
#[derive(Clone, Copy, Debug)]
pub struct Outbound<'a> {
    /// Its head, hop-by-hop fields removed.
    pub head: &'a Head,
    /// The host to name instead of the head's own.
    pub host: Option<&'a [u8]>,
    /// How its body is delimited.
    pub body: BodyLength,
    /// Whether whoever asked takes trailers.
    pub trailers: bool,
    /// Whether it goes by TLS.
    pub is_tls: bool,
    /// The backend's address as written, for a request that names no host.
    pub written: &'a str,
}

impl Outbound<'_> {
    /// As HTTP/2 says it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for what HTTP/2 cannot say.
    pub fn request(&self) -> Result<http::Request<()>, Refusal> {
        let head = self.head;
        let mut request = http::Request::new(());
        *request.method_mut() =
            http::Method::from_bytes(head.method_token()).map_err(|_| Rule::RequestLine)?;
        *request.version_mut() = http::Version::HTTP_2;
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if self.is_tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.authority()?);
        parts.path_and_query = Some(path(head)?);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Rule::Target)?;
        *request.headers_mut() = self.fields()?;
        Ok(request)
    }

    /// What `Host` would say (RFC 9113 8.3.1).
    fn authority(&self) -> Result<Authority, Refusal> {
        let own = || self.head.authority().or_else(|| self.head.get(Known::Host));
        match self.host.or_else(own).filter(|host| !host.is_empty()) {
            Some(host) => Authority::try_from(host).map_err(|_| Rule::HostInvalid.into()),
            // A socket's path is no host.
            None => Ok(self.written.parse().unwrap_or(Authority::from_static("localhost"))),
        }
    }

    fn fields(&self) -> Result<HeaderMap, Refusal> {
        let mut map = HeaderMap::with_capacity(self.head.len() + 2);
        to_map(self.head, SAID_ELSEWHERE, &mut map)?;
        if let BodyLength::Exact(n) = self.body {
            map.insert(CONTENT_LENGTH, n.into());
        }
        if self.trailers {
            map.insert(TE, HeaderValue::from_static("trailers"));
        }
        Ok(map)
    }
}

const SAID_ELSEWHERE: u64 =
    CONNECTION | Known::Host.bit() | Known::Te.bit() | Known::ContentLength.bit();

fn path(head: &Head) -> Result<PathAndQuery, Refusal> {
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
    PathAndQuery::try_from(&*encoded).map_err(|_| Rule::Target.into())
}

/// The head of an answer, final or interim, within these limits.
///
/// # Errors
///
/// [`Refusal`] for what is malformed or above the limits.
pub fn answer(
    from: &http::response::Parts,
    limits: &HeadLimits,
    head: &mut Head,
) -> Result<(), Refusal> {
    head.start_response(from.status.as_u16(), Version::Http2);
    from_map(&from.headers, limits.head, limits.fields, Rule::HeadTooLarge, head)?;
    // It is a word of requests alone.
    if head.has(Known::Te) { Err(Rule::ConnectionField.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderName;

    fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new();
        head.start_request(method.as_bytes(), target.as_bytes(), Version::Http11).unwrap();
        for (name, value) in fields {
            head.append(name, value.as_bytes()).unwrap();
        }
        head
    }

    fn made(
        head: &Head,
        host: Option<&str>,
        body: BodyLength,
    ) -> Result<http::Request<()>, Refusal> {
        let (host, written) = (host.map(str::as_bytes), "unix:/run/app.sock");
        Outbound { head, host, body, trailers: false, is_tls: true, written }.request()
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
        assert_eq!(odd.unwrap_err().rule, Rule::HostInvalid);
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
        for name in ["connection", "transfer-encoding", "upgrade", "keep-alive", "te"] {
            assert!(answer(&[(name, "x")]).is_err(), "{name}");
        }
        let trailers = |most| {
            let mut map = HeaderMap::new();
            map.insert("x-sum", HeaderValue::from_static("1"));
            crate::http2::from_trailers(&map, most, 1)
        };
        assert!(trailers(10).is_ok() && trailers(9).is_err());
    }

    #[test]
    fn a_request_has_no_trailers_that_mean_something_elsewhere() {
        let head = head("POST", "/", &[("X-Sum", "1"), ("Content-Length", "5"), ("Host", "b")]);
        let map = crate::http2::to_trailers(Some(&head)).unwrap();
        assert_eq!((map.len(), map.contains_key("x-sum")), (1, true));
    }
}

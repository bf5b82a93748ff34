//! What of HTTP/2 becomes HTTP/1, and what does not.
use super::*;
use crate::http1::{BodyLength, HeadLimits, RequestVerdict, Rule};
use crate::message::{Chunk, Fields, Head, Size, Version};
use h2::ext::Protocol;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use std::time::Duration;

const LIMITS: HeadLimits = HeadLimits { head: 4096, fields: 20, target: 1024 };

fn parts(method: &str, uri: &str, fields: &[(&str, &[u8])]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request = request.header(name, HeaderValue::from_bytes(value).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

fn translated(parts: &Parts, ended: bool) -> Result<(RequestVerdict, Head), Rule> {
    let mut head = Head::new();
    let read = request(parts, ended, &LIMITS, 1, &mut head);
    read.map(|verdict| (verdict, head)).map_err(|refusal| refusal.rule)
}

fn fault(method: &str, uri: &str, fields: &[(&str, &[u8])]) -> Option<Rule> {
    translated(&parts(method, uri, fields), true).err()
}

/// As it goes to a backend.
fn written(head: &Head, body: BodyLength) -> String {
    let mut out = Chunk::lend(Size::Head);
    crate::http1::request_head(head, None, body, None, &mut out);
    String::from_utf8(out.data().to_vec()).unwrap()
}

#[test]
fn a_request_becomes_what_http_1_would_have_said() {
    let parts = parts(
        "POST",
        "https://a.test:8443/p?q=1",
        &[
            ("x-a", b"1"),
            ("cookie", b"a=1"),
            ("te", b"trailers"),
            ("cookie", b"b=2"),
            ("x-a", b"2"),
        ],
    );
    let (verdict, head) = translated(&parts, false).unwrap();
    assert_eq!((head.version(), verdict.body), (Version::Http2, BodyLength::Chunked));
    assert_eq!(
        written(&head, verdict.body),
        "POST /p?q=1 HTTP/1.1\r\nhost: a.test:8443\r\nx-a: 1\r\nx-a: 2\r\nte: trailers\r\n\
         cookie: a=1; b=2\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
}

#[test]
fn a_body_is_delimited_by_what_was_said_or_by_its_end() {
    let said = |length: Option<&'static [u8]>, ended| {
        let fields: Vec<_> = length.map(|n| ("content-length", n)).into_iter().collect();
        translated(&parts("POST", "https://a.test/", &fields), ended).map(|(v, _)| v.body)
    };
    assert_eq!(said(None, true), Ok(BodyLength::None));
    assert_eq!(said(None, false), Ok(BodyLength::Chunked));
    assert_eq!(said(Some(b"5"), false), Ok(BodyLength::Exact(5)));
    assert_eq!(said(Some(b"0"), true), Ok(BodyLength::Exact(0)));
    assert_eq!(said(Some(b"5"), true), Err(Rule::LengthInvalid));
    for wrong in [&b"+5"[..], b"5, 5", b"", b"0x5", b"99999999999999999999"] {
        assert_eq!(said(Some(wrong), false), Err(Rule::LengthInvalid), "{wrong:?}");
    }
}

#[test]
fn what_is_malformed_is_refused_by_its_rule() {
    let https = "https://a.test/";
    let one = |name: &'static str, value: &'static [u8]| vec![(name, value)];
    type Pairs = Vec<(&'static str, &'static [u8])>;
    let cases: Vec<(&str, &str, Pairs, Rule)> = vec![
        ("GET", https, one("connection", b"close"), Rule::ConnectionField),
        ("GET", https, one("keep-alive", b"1"), Rule::ConnectionField),
        ("GET", https, one("proxy-connection", b"close"), Rule::ConnectionField),
        ("GET", https, one("transfer-encoding", b"chunked"), Rule::ConnectionField),
        ("GET", https, one("upgrade", b"websocket"), Rule::ConnectionField),
        ("GET", https, one("te", b"gzip"), Rule::ConnectionField),
        ("GET", https, one("te", b"trailers, gzip"), Rule::ConnectionField),
        ("GET", https, one("x-a", b" 1"), Rule::FieldValue),
        ("GET", https, one("x-a", b"1\t"), Rule::FieldValue),
        ("GET", https, one("host", b"b.test"), Rule::HostDiffers),
        ("GET", https, vec![("host", b"a.test"), ("host", b"a.test")], Rule::HostRepeated),
        ("GET", "https://u:p@a.test/", vec![], Rule::HostInvalid),
        ("GET", "ftp://a.test/", vec![], Rule::Scheme),
        ("GET", "/p", vec![], Rule::HostMissing),
        ("GET", "/p", one("host", b""), Rule::HostMissing),
        ("GET", "/p", one("host", b"a b"), Rule::HostInvalid),
        ("GET", "*", one("host", b"a"), Rule::Target),
        ("GET", "https://a.test/\u{e4}", vec![], Rule::Target),
        ("GET", https, one("expect", b"more"), Rule::Expectation),
        (
            "POST",
            https,
            vec![("content-length", b"1"), ("content-length", b"2")],
            Rule::LengthRepeated,
        ),
    ];
    for (method, uri, fields, rule) in cases {
        let Ok(_) = uri.parse::<http::Uri>() else { continue };
        assert_eq!(fault(method, uri, &fields), Some(rule), "{method} {uri} {fields:?}");
    }
    let mut nowhere = parts("GET", "/", &[("host", b"a")]);
    for path in ["a", "?q", "a/b"] {
        // What the library would not have let through is no case.
        let Ok(target) = http::uri::PathAndQuery::try_from(path) else { continue };
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(target);
        nowhere.uri = http::Uri::from_parts(uri).unwrap();
        assert_eq!(translated(&nowhere, true).err(), Some(Rule::Target), "{path}");
    }
}

#[test]
fn host_and_authority_that_agree_are_one() {
    let parts = parts("GET", "https://A.test/", &[("x-a", b"1"), ("host", b"a.TEST")]);
    let (_, head) = translated(&parts, true).unwrap();
    assert_eq!(
        written(&head, BodyLength::None),
        "GET / HTTP/1.1\r\nhost: A.test\r\nx-a: 1\r\n\r\n"
    );
}

#[test]
fn options_may_ask_for_the_whole_server() {
    let parts = parts("OPTIONS", "*", &[("host", b"a.test")]);
    let (_, head) = translated(&parts, true).unwrap();
    assert!(written(&head, BodyLength::None).starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn limits_count_as_those_of_http_1() {
    let long = "x".repeat(1024);
    assert_eq!(fault("GET", &format!("https://a/{long}"), &[]), Some(Rule::TargetTooLong));
    let value = vec![b'v'; 1000];
    let many: Vec<(&str, &[u8])> = ["a", "b", "c", "d", "e"].map(|n| (n, &value[..])).into();
    assert_eq!(fault("GET", "https://a/", &many), Some(Rule::HeadTooLarge));
    let many = vec![("a", &b"1"[..]); 21];
    assert_eq!(fault("GET", "https://a/", &many), Some(Rule::TooManyFields));
    // Crumbs are one field.
    let crumbs = vec![("cookie", &b"a=1"[..]); 100];
    assert_eq!(fault("GET", "https://a/", &crumbs), None);
}

#[test]
fn a_websocket_asks_as_by_http_1() {
    let mut parts = parts(
        "CONNECT",
        "https://a.test/chat",
        &[("sec-websocket-version", b"13"), ("sec-websocket-key", b"theirs")],
    );
    parts.extensions.insert(Protocol::from_static("websocket"));
    let (verdict, mut head) = translated(&parts, false).unwrap();
    assert!(verdict.websocket && verdict.body == BodyLength::None);
    let key = head.find("sec-websocket-key").unwrap().to_vec();
    assert!(key.len() == 24 && key.ends_with(b"=="), "{key:?}");
    assert!(b"AQgw".contains(&key[21]), "the last digit has two bits: {key:?}");
    crate::http1::hop_by_hop(&mut head);
    assert!(written(&head, BodyLength::None).starts_with("GET /chat HTTP/1.1\r\nhost: a.test\r\n"));
    parts.headers.insert("content-length", HeaderValue::from(5));
    assert_eq!(translated(&parts, false).err(), Some(Rule::LengthInvalid));
    parts.extensions.insert(Protocol::from_static("connect-udp"));
    assert_eq!(translated(&parts, false).err(), Some(Rule::Protocol));
}

#[test]
fn whatever_is_translated_is_read_as_the_same_by_http_1() {
    let mut random = fastrand::Rng::with_seed(3);
    let names = ["host", "cookie", "te", "x-a", "content-length", "connection", "expect", "via"];
    let values = [&b"a.test"[..], b"1", b"trailers", b"a\tb", b" x", b"", b"chunked", b"\xff"];
    let mut passed = 0;
    for _ in 0..20_000 {
        let fields: Vec<_> = (0..random.usize(..5))
            .map(|_| (names[random.usize(..names.len())], values[random.usize(..values.len())]))
            .collect();
        let uri = ["https://a.test/p?q", "/p", "http://a.test:1/", "*"][random.usize(..4)];
        let method = ["GET", "POST", "OPTIONS", "m"][random.usize(..4)];
        let Ok((verdict, mut head)) = translated(&parts(method, uri, &fields), random.bool())
        else {
            continue;
        };
        passed += 1;
        crate::http1::hop_by_hop(&mut head);
        let mut out = Chunk::lend(Size::Head);
        crate::http1::request_head(&head, None, verdict.body, None, &mut out);
        let wire = String::from_utf8_lossy(out.data()).into_owned();
        let mut again = Head::new();
        let limits = HeadLimits { head: 8192, fields: 40, target: 2048 };
        let parsed = crate::http1::request(out.data(), 0, &limits, &mut again);
        assert!(parsed.is_ok(), "{wire:?}: {parsed:?}");
        let read = crate::http1::of_request(&again).unwrap();
        assert_eq!(read.body, verdict.body, "{wire:?}");
    }
    assert!(passed > 1000, "{passed}");
}

#[test]
fn an_answer_keeps_its_fields_and_loses_its_hop() {
    let mut head = Head::new();
    head.start_response(200, Version::Http11);
    for (name, value) in [
        ("Server", "x"),
        ("Connection", "close"),
        ("Keep-Alive", "1"),
        ("Upgrade", "h3"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "7"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
    ] {
        head.append(name, value.as_bytes()).unwrap();
    }
    let shown = |body| {
        let response = response(&head, body);
        let fields = response.headers().iter();
        fields.map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect::<Vec<_>>()
    };
    let bare = ["server: x", "set-cookie: a", "set-cookie: b"];
    assert_eq!(shown(BodyLength::Chunked), bare);
    assert_eq!(shown(BodyLength::UntilClose), bare);
    assert_eq!(shown(BodyLength::Exact(9)).last().unwrap(), "content-length: 9");
    // To HEAD.
    assert_eq!(shown(BodyLength::None).last().unwrap(), "content-length: 7");
    head.start_response(204, Version::Http11);
    head.append("Content-Length", b"0").unwrap();
    assert!(response(&head, BodyLength::None).headers().is_empty());
}

#[test]
fn trailers_pass_both_ways_without_what_frames_or_routes() {
    let mut fields = Fields::new();
    let claims = ["X-Client-Cert-Verified", "x_client_cert_names", "x-forwarded-port", "X_Real_IP"];
    let kept = [("Grpc-Status", "0"), ("Content-Length", "1"), ("Host", "a")];
    for (name, value) in kept.into_iter().chain(claims.map(|name| (name, "v"))) {
        fields.append(name, value.as_bytes()).unwrap();
    }
    let map = to_trailers(Some(&fields)).unwrap();
    assert_eq!((map.len(), &map["grpc-status"]), (1, &HeaderValue::from_static("0")));
    assert!(to_trailers(None).is_none() && to_trailers(Some(&Fields::new())).is_none());
    assert_eq!(from_trailers(&map, 100, 9).unwrap().find("grpc-status"), Some(&b"0"[..]));
    assert_eq!(from_trailers(&map, 15, 9).unwrap_err().rule, Rule::TrailersTooLarge);
    let mut bad = HeaderMap::new();
    bad.insert("te", HeaderValue::from_static("x"));
    assert_eq!(from_trailers(&bad, 100, 9).unwrap_err().rule, Rule::ConnectionField);
}

#[test]
fn grpc_has_words_of_its_own() {
    let mut head = Head::new();
    let asked = |head: &mut Head, kind: &str, wait: &str| {
        head.start_request(b"POST", b"/s/M", Version::Http2).unwrap();
        let kind = HeaderValue::from_str(kind).unwrap();
        let fields = HeaderMap::from_iter([(http::header::CONTENT_TYPE, kind)]);
        head.append("grpc-timeout", wait.as_bytes()).unwrap();
        (is_grpc(&fields), timeout(head))
    };
    let some = |ms| Some(Duration::from_millis(ms));
    assert_eq!(asked(&mut head, "application/grpc", "100m"), (true, some(100)));
    assert_eq!(asked(&mut head, "application/grpc+proto", "2S"), (true, some(2000)));
    assert_eq!(asked(&mut head, "application/grpc-web", "1M"), (false, some(60_000)));
    assert_eq!(
        asked(&mut head, "text/plain", "99999999H").1,
        Some(Duration::from_secs(359_999_996_400))
    );
    for odd in ["", "m", "100", "100x", "-1m", "123456789m", "1 m"] {
        assert_eq!(asked(&mut head, "application/grpc", odd).1, None, "{odd:?}");
    }
    for (status, reason, code) in [
        (502, "connect", 14),
        (503, "no_backend", 14),
        (503, "max_active", 8),
        (503, "queue", 8),
        (503, "memory", 8),
        (504, "timeout_request", 4),
        (504, "timeout_connect", 14),
        (413, "body_too_large", 8),
        (404, "no_route", 12),
        (400, "bad_target", 13),
        (508, "loop", 2),
    ] {
        assert_eq!(Status::of(status, reason).code, code, "{status} {reason}");
    }
    let answer = Status::of(503, "no_backend").answer();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "14");
    assert_eq!(answer.headers()["content-type"], "application/grpc");
}

fn frame(len: usize, kind: u8, flags: u8) -> Vec<u8> {
    let n = (len as u32).to_be_bytes();
    let mut bytes = vec![n[1], n[2], n[3], kind, flags, 0, 0, 0, 1];
    bytes.resize(9 + len, 0xff);
    bytes
}

#[test]
fn frames_are_found_however_bytes_are_cut() {
    let mut wire = vec![b'P'; 24];
    let frames = [(0, 4, 1), (5, 0, 0), (0, 0, 1), (16384, 0, 0), (8, 6, 0), (300, 1, 4)];
    for (len, kind, flags) in frames {
        wire.extend(frame(len, kind, flags));
    }
    for step in [1, 2, 7, 9, 10, 4096, wire.len()] {
        let (mut walker, mut seen) = (Walker::after(24), Vec::new());
        for part in wire.chunks(step) {
            walker.pass(part, |f| seen.push((f.len as usize, f.kind, f.flags)));
        }
        assert_eq!(seen, frames, "{step}");
    }
}

#[test]
fn padding_is_no_data_however_bytes_are_cut() {
    let mut wire = Vec::new();
    // Of data, of nothing, all of it, more than there is, without the byte that says it; a head has
    // it too, and nobody asks.
    for (kind, flags, payload) in [
        (0, 8, &[2, b'a', b'b', b'c', 0, 0][..]),
        (0, 9, &[0, b'a']),
        (0, 8, &[3, 0, 0, 0]),
        (0, 8, &[200, 0]),
        (0, 8, &[]),
        (0, 0, b"abc"),
        (1, 12, &[1, 0x82, 0]),
    ] {
        wire.extend([0, 0, payload.len() as u8, kind, flags, 0x80, 0, 1, 3]);
        wire.extend(payload);
    }
    for step in 1..wire.len() {
        let (mut walker, mut seen) = (Walker::after(0), Vec::new());
        for part in wire.chunks(step) {
            walker.pass(part, |f| seen.push((f.kind, f.stream, f.data())));
        }
        let wanted = [3, 1, 0, 0, 0, 3].map(|data| (0, 259, data));
        assert_eq!(seen, [&wanted[..], &[(1, 259, 3)]].concat(), "{step}");
        assert!(!walker.is_inside());
    }
    let mut walker = Walker::after(0);
    walker.pass(&wire[..14], |_| {});
    assert!(walker.is_inside());
}

#[test]
fn what_ends_something_is_told_with_its_code() {
    let mut wire = Vec::new();
    for (kind, payload) in [
        (1, &b"head"[..]),
        (3, &[0, 0, 0, 1]),
        (3, &[1, 2]),
        (7, &[0, 0, 0, 9, 0, 0, 0, 11, b'w', b'o', b'r', b'd']),
        (7, &[0, 0, 0, 9]),
        (3, &[0, 0, 0, 7]),
        (0, &b"body"[..]),
    ] {
        wire.extend([0, 0, payload.len() as u8, kind, 0, 0x80, 0, 0, 5]);
        wire.extend(payload);
    }
    for step in 1..wire.len() {
        let (mut walker, mut seen) = (Walker::after(0), Vec::new());
        for part in wire.chunks(step) {
            walker.pass(part, |f| seen.push((f.kind, f.len, f.code)));
        }
        let wanted =
            [(1, 4, 0), (3, 4, 1), (3, 2, 0), (7, 12, 11), (7, 4, 0), (3, 4, 7), (0, 4, 0)];
        assert_eq!(seen, wanted, "{step}");
    }
    let mut walker = Walker::after(0);
    walker.pass(&wire, |f| {
        assert_eq!(f.error().is_some(), (f.kind, f.code) == (3, 1), "{f:?}");
        assert_eq!(f.is_refusal(), f.code == 7);
    });
}

#[test]
fn who_carries_nothing_runs_out_and_who_carries_something_does_not() {
    let of = |len, kind, flags| Frame { len, kind, flags, ..Frame::default() };
    let floods = [
        (of(8, 6, 0), Kind::Other),
        (of(0, 4, 0), Kind::Other),
        (of(4, 8, 0), Kind::Other),
        (of(5, 2, 0), Kind::Other),
        (of(9, 99, 0), Kind::Other),
        (of(0, 0, 0), Kind::DataFrames),
        (Frame { padding: 256, ..of(256, 0, 8) }, Kind::DataFrames),
        (of(0, 9, 0), Kind::Continuations),
        (of(4, 3, 0), Kind::Resets),
    ];
    for (flood, kind) in floods {
        let mut tally = Tally::default();
        let after = (0..20_000).find_map(|n| tally.came(flood).map(|kind| (n, kind)));
        let (n, found) = after.expect("it ends");
        assert!(found == kind && n >= 500, "{flood:?} after {n}");
        tally.passed(Duration::from_secs(1));
        assert_eq!(tally.came(flood), None, "time heals");
    }
    // A byte between two frames that carry nothing pays for none of them, ten pay for no reset.
    for (bytes, flood) in [(1, of(8, 6, 0)), (10, of(4, 3, 0))] {
        let mut tally = Tally::default();
        let ends = (0..20_000).any(|_| {
            (0..bytes).for_each(|_| assert_eq!(tally.came(of(1, 0, 0)), None));
            tally.came(flood).is_some()
        });
        assert!(ends, "{flood:?}");
    }
    // An upload, with a PING for each frame of it; its bytes count, however they are cut.
    for (frames, len) in [(1, 16_384), (4, 1024)] {
        let mut tally = Tally::default();
        for _ in 0..100_000 {
            (0..frames).for_each(|_| assert_eq!(tally.came(of(len, 0, 0)), None));
            assert_eq!(tally.came(of(8, 6, 0)), None);
        }
    }
    // A download: each frame is answered by two windows and a ping. An upload of small messages.
    let mut tally = Tally::default();
    for _ in 0..100_000 {
        tally.went(of(20, 0, 0));
        for _ in 0..3 {
            assert_eq!(tally.came(of(4, 8, 0)), None);
        }
        assert_eq!(tally.came(of(1, 0, 0)), None);
        assert_eq!(tally.came(of(8, 6, 0)), None);
    }
    // Requests that are answered, half of which the client then takes back.
    for n in 0..10_000 {
        assert_eq!(tally.came(of(40, 1, 4)), None);
        tally.went(of(40, 1, 4));
        if n % 2 == 0 {
            assert_eq!(tally.came(of(4, 3, 0)), None);
        }
    }
}

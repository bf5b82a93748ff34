//! What of HTTP/2 becomes HTTP/1, and what does not; what goes by HTTP/2, and what does not.
use super::hpack::{Decoder, Encoder, Judged};
use super::*;
use crate::http1::{BodyLength, HeadLimits, RequestVerdict, Rule};
use crate::message::{Chunk, Fields, Head, Size, Version};
use std::time::Duration;

const LIMITS: HeadLimits = HeadLimits { head: 4096, fields: 20, target: 1024 };

type Pairs<'a> = Vec<(&'a str, &'a [u8])>;

fn asked(fields: &[(&str, &[u8])], ended: bool) -> Request {
    let mut asking = Asking::new(&LIMITS, 1 << 20);
    for (name, value) in fields {
        asking.field(name.as_bytes(), value, &mut Judged::default()).unwrap();
    }
    asking.finish(ended, || 1)
}

/// Method and URI as pseudo-headers, then fields.
fn pairs<'a>(method: &'a str, uri: &'a str, fields: &[(&'a str, &'a [u8])]) -> Pairs<'a> {
    let mut all = vec![(":method", method.as_bytes())];
    let rest = uri.split_once("://").map(|(scheme, rest)| {
        all.push((":scheme", scheme.as_bytes()));
        let at = rest.find('/').unwrap_or(rest.len());
        all.push((":authority", &rest.as_bytes()[..at]));
        &rest[at..]
    });
    if rest.is_none() {
        all.push((":scheme", b"http"));
    }
    all.push((":path", rest.unwrap_or(uri).as_bytes()));
    all.extend(fields);
    all
}

fn translated(pairs: &[(&str, &[u8])], ended: bool) -> Result<(RequestVerdict, Head), Rule> {
    let Request { head, verdict, .. } = asked(pairs, ended);
    verdict.map(|verdict| (verdict, head)).map_err(|refusal| refusal.rule)
}

fn fault(method: &str, uri: &str, fields: &[(&str, &[u8])]) -> Option<Rule> {
    translated(&pairs(method, uri, fields), true).err()
}

/// As it goes to a backend.
fn written(head: &Head, body: BodyLength) -> String {
    let mut out = Chunk::lend(Size::Head);
    crate::http1::request_head(head, None, body, None, &mut out);
    String::from_utf8(out.data().to_vec()).unwrap()
}

/// A block, as it is read.
fn shown(write: impl FnOnce(&mut Encoder)) -> Vec<String> {
    let mut encoder = Encoder::default();
    encoder.begin();
    write(&mut encoder);
    let mut all = Vec::new();
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
    let decoded = Decoder::default().decode(encoder.block(), |name, value, _| {
        all.push(format!("{}: {}", text(name), text(value)));
        Ok(())
    });
    assert_eq!(decoded, Ok(()));
    all
}

#[test]
fn a_request_becomes_what_http_1_would_have_said() {
    let parts = pairs(
        "POST",
        "https://a.test:8443/p?q=1",
        &[
            ("x-a", b"1"),
            ("cookie", b"a=1"),
            ("te", b"trailers"),
            ("cookie", b"b=2"),
            ("x-a", b"2"),
            ("cookie", b""),
        ],
    );
    let (verdict, head) = translated(&parts, false).unwrap();
    assert_eq!((head.version(), verdict.body), (Version::Http2, BodyLength::Chunked));
    assert_eq!(
        written(&head, verdict.body),
        "POST /p?q=1 HTTP/1.1\r\nhost: a.test:8443\r\nx-a: 1\r\nte: trailers\r\nx-a: 2\r\n\
         cookie: a=1; b=2\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
}

#[test]
fn a_body_is_delimited_by_what_was_said_or_by_its_end() {
    let said = |length: Option<&'static [u8]>, ended| {
        let fields: Vec<_> = length.map(|n| ("content-length", n)).into_iter().collect();
        translated(&pairs("POST", "https://a.test/", &fields), ended).map(|(v, _)| v.body)
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
    let cases: Vec<(&str, &str, Pairs<'static>, Rule)> = vec![
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
        assert_eq!(fault(method, uri, &fields), Some(rule), "{method} {uri} {fields:?}");
    }
    for path in ["a", "?q", "a/b", "", "/#f", "/a b", "http://a/"] {
        let all = [(":method", &b"GET"[..]), (":scheme", b"http"), (":path", path.as_bytes())];
        let all = [&all[..], &[(":authority", b"a")]].concat();
        assert_eq!(translated(&all, true).err(), Some(Rule::Target), "{path}");
    }
}

#[test]
fn names_values_and_pseudo_headers_are_as_the_rfc_says() {
    let usual = pairs("GET", "http://a.test/", &[]);
    let with = |field: (&'static str, &'static [u8])| [&usual[..], &[field]].concat();
    for name in ["", "X-A", "x a", "x\r\na", "x\0a", "x:a", "x(", "\u{e4}"] {
        assert_eq!(translated(&with((name, b"1")), true).err(), Some(Rule::FieldName), "{name:?}");
    }
    for value in [&b"a\rb"[..], b"a\nb", b"a\0b", b"a\x01b", b"a\x7f", b" a", b"a "] {
        assert_eq!(translated(&with(("x-a", value)), true).err(), Some(Rule::FieldValue));
        assert_eq!(translated(&with(("cookie", value)), true).err(), Some(Rule::FieldValue));
    }
    for pseudo in [":odd", ":status", ":method", ":path", ":protocol"] {
        let read = translated(&with((pseudo, b"200")), true).err();
        assert_eq!(read, Some(Rule::RequestLine), "{pseudo}");
    }
    let late = [&usual[..2], &[("x-a", &b"1"[..])], &usual[2..]].concat();
    assert!(translated(&late, true).is_err());
    for (missing, rule) in [
        (":method", Rule::RequestLine),
        (":scheme", Rule::Scheme),
        (":path", Rule::Target),
        (":authority", Rule::HostMissing),
    ] {
        let mut less = usual.clone();
        less.retain(|(name, _)| *name != missing);
        assert_eq!(translated(&less, true).err(), Some(rule), "{missing}");
    }
    for method in ["", "G ET", "GET\r\n", "G:T"] {
        assert_eq!(fault(method, "http://a/", &[]), Some(Rule::RequestLine), "{method:?}");
    }
}

#[test]
fn host_and_authority_that_agree_are_one() {
    let parts = pairs("GET", "https://A.test/", &[("x-a", b"1"), ("host", b"a.TEST")]);
    let (_, head) = translated(&parts, true).unwrap();
    assert_eq!(
        written(&head, BodyLength::None),
        "GET / HTTP/1.1\r\nhost: A.test\r\nx-a: 1\r\n\r\n"
    );
}

#[test]
fn options_may_ask_for_the_whole_server() {
    let parts = pairs("OPTIONS", "*", &[("host", b"a.test")]);
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
    let mut parts = pairs(
        "CONNECT",
        "https://a.test/chat",
        &[("sec-websocket-version", b"13"), ("sec-websocket-key", b"theirs")],
    );
    parts.insert(1, (":protocol", b"websocket"));
    let (verdict, mut head) = translated(&parts, false).unwrap();
    assert!(verdict.websocket && verdict.body == BodyLength::None);
    let key = head.find("sec-websocket-key").unwrap().to_vec();
    assert!(key.len() == 24 && key.ends_with(b"=="), "{key:?}");
    assert!(b"AQgw".contains(&key[21]), "the last digit has two bits: {key:?}");
    crate::http1::hop_by_hop(&mut head);
    assert!(written(&head, BodyLength::None).starts_with("GET /chat HTTP/1.1\r\nhost: a.test\r\n"));
    parts.push(("content-length", b"5"));
    assert_eq!(translated(&parts, false).err(), Some(Rule::LengthInvalid));
    parts[1].1 = b"connect-udp";
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
        let parts = pairs(method, uri, &fields);
        let Ok((verdict, mut head)) = translated(&parts, random.bool()) else {
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
    let said = |head: &Head, body| shown(|out| response(head.status(), head, body, out));
    let bare = [":status: 200", "server: x", "set-cookie: a", "set-cookie: b"];
    assert_eq!(said(&head, BodyLength::Chunked), bare);
    assert_eq!(said(&head, BodyLength::UntilClose), bare);
    assert_eq!(said(&head, BodyLength::Exact(9)).last().unwrap(), "content-length: 9");
    // To HEAD.
    assert_eq!(said(&head, BodyLength::None).last().unwrap(), "content-length: 7");
    head.start_response(204, Version::Http11);
    head.append("Content-Length", b"0").unwrap();
    assert_eq!(said(&head, BodyLength::None), [":status: 204"]);
}

#[test]
fn trailers_pass_both_ways_without_what_frames_or_routes() {
    let mut fields = Fields::new();
    let claims = ["X-Client-Cert-Verified", "x_client_cert_names", "x-forwarded-port", "X_Real_IP"];
    let kept = [("Grpc-Status", "0"), ("Content-Length", "1"), ("Host", "a")];
    for (name, value) in kept.into_iter().chain(claims.map(|name| (name, "v"))) {
        fields.append(name, value.as_bytes()).unwrap();
    }
    assert_eq!(shown(|out| trailers(passing(Some(&fields)).unwrap(), out)), ["grpc-status: 0"]);
    assert!(passing(None).is_none() && passing(Some(&Fields::new())).is_none());
    let mut fields = Fields::new();
    fields.append("x-sum", b"1").unwrap();
    assert!(trailers_fit(&fields, 10, 1).is_ok());
    assert_eq!(trailers_fit(&fields, 9, 1).unwrap_err().rule, Rule::TrailersTooLarge);
    assert_eq!(trailers_fit(&fields, 10, 0).unwrap_err().rule, Rule::TooManyFields);
}

#[test]
fn grpc_has_words_of_its_own() {
    let mut head = Head::new();
    let asked = |head: &mut Head, kind: &str, wait: &str| {
        head.start_request(b"POST", b"/s/M", Version::Http2).unwrap();
        head.append("grpc-timeout", wait.as_bytes()).unwrap();
        (is_grpc(kind.as_bytes()), timeout(head))
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
    let answer = Status::of(503, "no_backend").fields(true);
    assert_eq!(answer.find("grpc-status"), Some(&b"14"[..]));
    assert_eq!(answer.find("content-type"), Some(&b"application/grpc"[..]));
}

fn outbound(head: &Head, host: Option<&str>, body: BodyLength) -> Result<Vec<String>, Rule> {
    let (host, written) = (host.map(str::as_bytes), "unix:/run/app.sock");
    let outbound = Outbound { head, host, body, trailers: false, is_tls: true, written };
    outbound.check().map_err(|refusal| refusal.rule)?;
    Ok(shown(|out| outbound.write(out)))
}

fn asks(method: &str, target: &str, fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new();
    head.start_request(method.as_bytes(), target.as_bytes(), Version::Http11).unwrap();
    for (name, value) in fields {
        head.append(name, value.as_bytes()).unwrap();
    }
    head
}

#[test]
fn a_target_becomes_authority_and_path_that_say_the_same() {
    for (target, host, said, authority, path) in [
        ("/", Some("a.test"), None, "a.test", "/"),
        ("/p?q", Some("a.test:81"), Some("b"), "b", "/p?q"),
        ("http://c:1/p", Some("a.test"), None, "c:1", "/p"),
        ("http://c?q", Some("a.test"), None, "c", "/?q"),
        ("/<a>`b?\"c{d}|e^f\\", Some("[::1]:80"), None, "[::1]:80", "/%3Ca%3E%60b?\"c{d}|e%5Ef%5C"),
        ("//x//y/../z", Some("a"), None, "a", "//x//y/../z"),
        ("/", None, None, "localhost", "/"),
    ] {
        let fields: Vec<_> = host.map(|host| ("Host", host)).into_iter().collect();
        let made = outbound(&asks("GET", target, &fields), said, BodyLength::None).unwrap();
        let wanted = [
            ":method: GET",
            ":scheme: https",
            &format!(":authority: {authority}"),
            &format!(":path: {path}"),
        ];
        assert_eq!(made, wanted, "{target}");
    }
    let star = outbound(&asks("OPTIONS", "*", &[("Host", "a")]), None, BodyLength::None).unwrap();
    assert!(star.contains(&":path: *".into()), "{star:?}");
    let odd = outbound(&asks("GET", "/", &[("Host", "a b")]), None, BodyLength::None);
    assert_eq!(odd, Err(Rule::HostInvalid));
}

#[test]
fn fields_lose_what_is_of_http1() {
    let head = asks(
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
    let made = outbound(&head, None, BodyLength::Exact(7)).unwrap();
    assert_eq!(
        made[4..],
        ["authorization: Basic x", "cookie: a=b", "cookie: c=d", "x-a: 1", "content-length: 7"]
    );
}

#[test]
fn an_answer_is_bounded_and_strict() {
    let limits = HeadLimits { head: 100, fields: 3, target: 10 };
    let answer = |status: &str, fields: &[(&str, &str)]| {
        let mut answering = Answering::new(&limits, 1 << 20);
        answering.field(b":status", status.as_bytes(), &mut Judged::default()).unwrap();
        for (name, value) in fields {
            answering.field(name.as_bytes(), value.as_bytes(), &mut Judged::default()).unwrap();
        }
        answering.finish().map_err(|refusal| refusal.rule)
    };
    let good = answer("200", &[("x-a", "1"), ("set-cookie", "a"), ("set-cookie", "b")]).unwrap();
    assert_eq!((good.status(), good.len()), (200, 3));
    assert_eq!(answer("200", &[("x-a", ""); 4]).err(), Some(Rule::TooManyFields));
    assert!(answer("200", &[("x-a", &"x".repeat(93))]).is_ok());
    let long = answer("200", &[("x-a", &"x".repeat(94))]);
    assert_eq!(long.err(), Some(Rule::HeadTooLarge));
    for value in [" 1", "1\t"] {
        assert!(answer("200", &[("x-a", value)]).is_err(), "{value:?}");
    }
    for name in ["connection", "transfer-encoding", "upgrade", "keep-alive", "te"] {
        assert_eq!(answer("200", &[(name, "trailers")]).err(), Some(Rule::ConnectionField));
    }
    for status in ["", "20", "2000", "099", "2x0", "-20"] {
        assert_eq!(answer(status, &[]).err(), Some(Rule::StatusLine), "{status}");
    }
    for late in [":status", ":path", "X-A"] {
        assert!(answer("200", &[("x-a", "1"), (late, "200")]).is_err(), "{late}");
    }
    assert!(Answering::new(&limits, 100).finish().is_err(), "no status");
}

#[test]
fn who_carries_nothing_runs_out_and_who_carries_something_does_not() {
    const PING: (u8, u32) = (6, 0);
    let floods = [
        (PING, Kind::Other),
        ((4, 0), Kind::Other),
        ((8, 0), Kind::Other),
        ((2, 0), Kind::Other),
        ((99, 0), Kind::Other),
        ((0, 0), Kind::DataFrames),
        ((9, 0), Kind::Continuations),
        ((3, 0), Kind::Resets),
    ];
    for ((frame, data), kind) in floods {
        let mut tally = Tally::default();
        let after = (0..20_000).find_map(|n| tally.came(frame, data, false).map(|kind| (n, kind)));
        let (n, found) = after.expect("it ends");
        assert!(found == kind && n >= 500, "{frame} after {n}");
        tally.passed(Duration::from_secs(1));
        assert_eq!(tally.came(frame, data, false), None, "time heals");
    }
    // A byte between two frames that carry nothing pays for none of them, ten pay for no reset.
    for (bytes, flood) in [(1, 6), (10, 3)] {
        let mut tally = Tally::default();
        let ends = (0..20_000).any(|_| {
            (0..bytes).for_each(|_| assert_eq!(tally.came(0, 1, false), None));
            tally.came(flood, 0, false).is_some()
        });
        assert!(ends, "{flood}");
    }
    // An upload, with a PING for each frame of it; its bytes count, however they are cut.
    for (frames, len) in [(1, 16_384), (4, 1024)] {
        let mut tally = Tally::default();
        for _ in 0..100_000 {
            (0..frames).for_each(|_| assert_eq!(tally.came(0, len, false), None));
            assert_eq!(tally.came(6, 0, false), None);
        }
    }
    // A download: each frame is answered by two windows and a ping. An upload of small messages.
    let mut tally = Tally::default();
    for _ in 0..100_000 {
        tally.went();
        for frame in [8, 8, 8, 0, 6] {
            assert_eq!(tally.came(frame, 1, false), None);
        }
    }
    // Requests that are answered, half of which the client then takes back.
    for n in 0..10_000 {
        assert_eq!(tally.came(1, 0, false), None);
        tally.went();
        if n % 2 == 0 {
            assert_eq!(tally.came(3, 0, false), None);
        }
    }
}

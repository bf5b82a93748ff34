//! Heads of every kind go in and out: those of the corpus, and arbitrary ones.
use super::corpus::{REQUESTS, RESPONSES};
use super::http1::{BodyLength, request_head};
use super::message::{Chunk, Head, Version};
use super::strict;
use super::strict_out::{of_a_chunked_body, of_a_request, of_a_response};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[test]
fn the_corpus_goes_out_strictly_valid_and_says_the_same() {
    for wire in REQUESTS {
        let went = of_a_request(wire).expect("good").expect("whole");
        if went.body == BodyLength::Chunked {
            of_a_chunked_body(&wire[went.used..]).expect("good");
        }
    }
    for (wire, asked) in RESPONSES {
        let went = of_a_response(wire, asked[0].0).expect("good").expect("whole");
        if went.body == BodyLength::Chunked {
            of_a_chunked_body(&wire[went.used..]).expect("good");
        }
    }
}

#[test]
fn what_is_unusual_goes_out_in_its_usual_form() {
    for (came, went) in [
        (
            "\r\nGET / HTTP/1.1\r\nHost:a\r\nX:\t v \t\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: v\r\n\r\n",
        ),
        (
            "GET http://B?q HTTP/1.1\r\nX: 1\r\nHost: a\r\n\r\n",
            "GET /?q HTTP/1.1\r\nHost: B\r\nX: 1\r\n\r\n",
        ),
        ("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n"),
        ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: backend.test:80\r\n\r\n"),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\nConnection: x-y, host\r\nX-Y: 1\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n",
        ),
        (
            "PUT / HTTP/1.1\r\ntransfer-encoding: CHUNKED\r\nHost: a\r\nTE: trailers\r\n\r\n",
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
    ] {
        let head = of_a_request(came.as_bytes()).expect("good").expect("whole");
        assert_eq!(String::from_utf8_lossy(&head.written), went);
    }
}

#[test]
fn no_length_stands_where_there_can_be_no_body() {
    use super::message::Method::{Get, Head};
    for (status, to, stays) in
        [(204, Get, false), (199, Get, false), (304, Get, true), (200, Head, true)]
    {
        let wire = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
        let went = of_a_response(wire.as_bytes(), to).expect("good").expect("whole");
        let text = String::from_utf8_lossy(&went.written);
        assert_eq!(text.contains("Content-Length: 5"), stays, "{text}");
    }
}

fn token() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "Accept",
        "cookie",
        "Via",
        "X-Forwarded-For",
        "Connection",
        "keep-alive",
        "TE",
        "Upgrade",
        "Trailer",
        "Proxy-Connection",
        "Date",
        "Set-Cookie",
        "Authorization",
        "Range",
        "x-y",
    ];
    let tchar = b"!#$%&'*+-.^_`|~09azAZ".to_vec();
    prop_oneof![select(known.map(|n| n.as_bytes().to_vec()).to_vec()), vec(select(tchar), 1..8),]
}

/// A value without space around it.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![0x20..0x7fu8, Just(b'\t'), 0x80..=0xffu8, Just(b',')];
    let word = select(vec!["close", "keep-alive", "x-y", "host, x-y", "trailers", "a, close"]);
    prop_oneof![
        vec(byte, 0..20).prop_map(|v| v.trim_ascii().to_vec()),
        word.prop_map(|w| w.as_bytes().to_vec()),
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    select(vec!["", " ", "\t", "  \t"])
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let byte = (0x21..0x7fu8).prop_filter("no fragment", |b| *b != b'#');
    vec(byte, 0..12).prop_map(|mut path| {
        path.insert(0, b'/');
        path
    })
}

fn start() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let host = select(vec!["b", "b.test:8080", "[::1]:80", "127.0.0.1", "%41:"]);
    let method = select(vec!["GET", "POST", "HEAD", "get", "M-SEARCH", "OPTIONS", "~"]);
    let method = method.prop_map(|m| m.as_bytes().to_vec());
    let whole = select(vec![("OPTIONS", "*"), ("CONNECT", "b:443"), ("CONNECT", "[::1]:1")]);
    prop_oneof![
        (method.clone(), path()),
        (method, select(vec!["http://", "HTTPS://"]), host, select(vec!["", "?q", "/p?q"]))
            .prop_map(|(m, scheme, host, rest)| (m, [scheme, host, rest].concat().into_bytes())),
        whole.prop_map(|(m, t)| (m.as_bytes().to_vec(), t.as_bytes().to_vec())),
    ]
}

type Line = (Vec<u8>, &'static str, Vec<u8>, &'static str);

fn add_lines(lines: &[Line], framing: &str, framing_at: usize, wire: &mut Vec<u8>) {
    let at = framing_at % (lines.len() + 1);
    for (i, (name, before, value, after)) in lines.iter().enumerate() {
        if i == at {
            wire.extend(framing.as_bytes());
        }
        for part in [name, &b":"[..], before.as_bytes(), value, after.as_bytes(), b"\r\n"] {
            wire.extend(part);
        }
    }
    if at == lines.len() {
        wire.extend(framing.as_bytes());
    }
    wire.extend(b"\r\n");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_requests_go_out_strictly_valid_and_say_the_same(
        (method, target) in start(),
        old in any::<bool>(),
        lines in vec((token(), space(), value(), space()), 0..8),
        framing in select(vec!["", "Content-Length: 0\r\n", "content-length:42 \r\n"]),
        chunked in any::<bool>(),
        at in any::<usize>(),
    ) {
        let version = if old { "HTTP/1.0" } else { "HTTP/1.1" };
        let mut wire = [&method[..], b" ", &target, b" ", version.as_bytes(), b"\r\n"].concat();
        let framing = match chunked && !old {
            true => "Host: a\r\nTRANSFER-ENCODING: chunked\r\n".to_string(),
            false => format!("Host: a\r\n{framing}"),
        };
        add_lines(&lines, &framing, at, &mut wire);
        let went = of_a_request(&wire);
        prop_assert!(matches!(went, Ok(Some(_))), "{went:?} of {}", wire.escape_ascii());
    }

    #[test]
    fn arbitrary_responses_go_out_strictly_valid_and_say_the_same(
        status in 100..1000u16,
        reason in value(),
        lines in vec((token(), space(), value(), space()), 0..8),
        framing in select(vec!["", "Content-Length: 7\r\n", "Transfer-Encoding: chunked\r\n"]),
        at in any::<usize>(),
        to_head in any::<bool>(),
    ) {
        let mut wire = format!("HTTP/1.1 {status} ").into_bytes();
        wire.extend(reason);
        wire.extend(b"\r\n");
        add_lines(&lines, framing, at, &mut wire);
        let to = if to_head { super::message::Method::Head } else { super::message::Method::Get };
        let went = of_a_response(&wire, to);
        prop_assert!(matches!(went, Ok(Some(_))), "{went:?} of {}", wire.escape_ascii());
    }

    #[test]
    fn damaged_requests_are_refused_or_go_out_strictly_valid(
        which in 0..REQUESTS.len(),
        damage in vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let mut wire = REQUESTS[which].to_vec();
        for (at, byte) in damage {
            let at = at % wire.len();
            wire[at] = byte;
        }
        let _ = of_a_request(&wire);
    }

    /// A head that is built and not read: what it takes can be written, what it refuses leaves it
    /// as it was.
    #[test]
    fn built_heads_go_out_strictly_valid(
        path in path(),
        edits in vec((0..3u8, token(), vec(any::<u8>(), 0..6)), 0..12),
    ) {
        let mut head = Head::new();
        head.start_request(b"GET", &path, Version::Http11).unwrap();
        head.append("Host", b"a").unwrap();
        for (edit, name, value) in &edits {
            let name = std::str::from_utf8(name).unwrap();
            let value = value.trim_ascii();
            let good = value.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f));
            let before = head.len();
            let done = match edit {
                0 => head.append(name, value),
                1 => head.set(name, value),
                _ => {
                    head.remove_named(name.as_bytes());
                    prop_assert!(head.find(name).is_none());
                    continue;
                }
            };
            prop_assert_eq!(done.is_ok(), good);
            prop_assert!(good || head.len() == before);
            prop_assert!(!good || head.find_all(name).last() == Some(value));
        }
        let mut out = Chunk::none();
        request_head(&head, None, BodyLength::None, Some("close"), &mut out);
        let went = strict::request(out.data()).map_err(TestCaseError::fail)?;
        prop_assert_eq!(went.start, [&b"GET"[..], &path, b"HTTP/1.1"]);
        prop_assert_eq!(went.count("host"), 1);
        prop_assert_eq!(went.count("connection"), 1);
    }
}

//! What must hold whatever bytes come in: the checks of the fuzz targets (`fuzz/`), which a test
//! runs on their seeds as well (`fuzz_seeds.rs`).
#![allow(unreachable_pub, reason = "public where the fuzz targets include this file")]
use evenkeel::config::{self, Problem};
use evenkeel::http::{self, Asked};
use evenkeel::http1::{self, BodyLength};
use evenkeel::message::{self, Head, Method, Version};
use evenkeel::net::client_hello::{self, Reader};
use evenkeel::net::proxy_protocol::{self, Ends, Read, Version as ProxyVersion};
use replay::Arrivals;
use std::env::VarError;

pub mod http2;
#[path = "../../../src/http1/tests/replay.rs"]
mod replay;
#[path = "../../../src/http1/tests/strict.rs"]
#[allow(dead_code, reason = "shared with the codec's own tests, which ask more of it")]
mod strict;
#[path = "../../../src/http1/tests/strict_out.rs"]
#[allow(dead_code, reason = "as above")]
mod strict_out;

/// Two bytes say where the rest, a stream of requests, is cut.
///
/// # Panics
///
/// When the cut changes what is said, or a request goes out that is not strictly valid.
pub fn request(input: &[u8]) {
    let Some((at, wire)) = cut(input) else { return };
    let said = replay::requests(wire, &Arrivals::whole(wire.len(), false));
    assert_eq!(replay::requests(wire, &Arrivals::two(at, wire.len(), true)), said);
    assert_eq!(replay::requests(wire, &Arrivals::bytes(wire.len())), said);
    if let Ok(Some(went)) = strict_out::of_a_request(wire)
        && went.body == BodyLength::Chunked
    {
        let _ = strict_out::of_a_chunked_body(&wire[went.used..]);
    }
}

/// A byte says which requests are answered, two where the rest, a stream of responses, is cut.
///
/// # Panics
///
/// As [`request`].
pub fn response(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else { return };
    let Some((at, wire)) = cut(rest) else { return };
    let methods = [Method::Get, Method::Head, Method::Connect, Method::Post];
    let method = |shift: u8| methods[usize::from(which >> shift & 3)];
    let asked = [(method(0), which & 64 != 0), (method(2), which & 128 != 0), (method(4), false)];
    let play = |arrivals: &Arrivals| replay::responses(wire, &asked, arrivals);
    let said = play(&Arrivals::whole(wire.len(), false));
    assert_eq!(play(&Arrivals::two(at, wire.len(), true)), said);
    assert_eq!(play(&Arrivals::bytes(wire.len())), said);
    if let Ok(Some(went)) = strict_out::of_a_response(wire, asked[0].0)
        && went.body == BodyLength::Chunked
    {
        let _ = strict_out::of_a_chunked_body(&wire[went.used..]);
    }
}

fn cut(input: &[u8]) -> Option<(usize, &[u8])> {
    let (at, wire) = input.split_first_chunk::<2>()?;
    Some((usize::from(u16::from_le_bytes(*at)) % (wire.len() + 1), wire))
}

/// A configuration file.
///
/// # Panics
///
/// When a problem has no place or is not one short line.
pub fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    // Other files are not read: what they hold is not in the input.
    if text.contains("include") || ["\\u", "\\U", "\\x"].iter().any(|e| text.contains(e)) {
        return;
    }
    let nothing_set = |_: &str| Err(VarError::NotPresent);
    let lines = text.lines().count() + 1;
    match config::parse_with(&text, "proxy.toml".as_ref(), &nothing_set) {
        Ok(_) => {}
        Err(problems) => problems.iter().for_each(|problem| is_placed(problem, lines)),
    }
}

fn is_placed(problem: &Problem, lines: usize) {
    let said = problem.to_string();
    assert!(problem.at.line as usize <= lines, "{said}");
    assert!(!said.is_empty() && !said.contains('\n') && said.len() < 4000, "{said}");
}

/// A request target.
///
/// # Panics
///
/// When a path is not in normal form, or its normal form is not read as itself.
pub fn path(input: &[u8]) {
    let mut head = Head::new();
    if head.start_request(b"GET", input, Version::Http11).is_err() {
        return;
    }
    let Ok(asked) = http::asked(&head, Some(b"a.test:80")) else { return };
    assert!(asked.host().is_none_or(|host| !host.is_empty()));
    is_normal(&asked);
    let _ = asked.has_encoded_slash();
    let target = match asked.query {
        Some(query) => [&asked.path, &b"?"[..], query].concat(),
        None => asked.path.to_vec(),
    };
    let mut again = Head::new();
    again.start_request(b"GET", &target, Version::Http11).expect("a normal form is a target");
    let twice = http::asked(&again, None).expect("a normal form is a path");
    assert_eq!((&twice.path, twice.query, twice.changed), (&asked.path, asked.query, false));
}

fn is_normal(asked: &Asked<'_>) {
    let path = &asked.path;
    let shown = path.escape_ascii();
    if **path == *b"*" {
        return;
    }
    assert_eq!(path.first(), Some(&b'/'), "{shown}");
    let dots = path.split(|b| *b == b'/').any(|part| matches!(part, b"." | b".."));
    assert!(!dots, "a dot segment in {shown}");
    for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let hex = path.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let plain = byte.is_none_or(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        let lower = hex.is_none_or(|hex| hex.contains(|c: char| c.is_ascii_lowercase()));
        assert!(!plain && !lower, "an escape that is not in normal form in {shown}");
    }
}

/// Two bytes say where the rest, the beginning of a connection, is cut.
///
/// # Panics
///
/// When a PROXY header depends on how it came, takes bytes that are not its own, or is not said
/// again in the same words.
pub fn proxy_header(input: &[u8]) {
    let Some((at, wire)) = cut(input) else { return };
    let said = proxy_protocol::read(wire);
    match proxy_protocol::read(&wire[..at]) {
        Ok(Read::More) => {}
        before => assert_eq!(before, said),
    }
    let Ok(Read::Whole(header, n)) = said else { return };
    assert!((15..=proxy_protocol::MOST).contains(&n) && n <= wire.len());
    assert_eq!(proxy_protocol::read(&wire[..n - 1]), Ok(Read::More));
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let written = header.write(version);
        let Ok(Read::Whole(again, all)) = proxy_protocol::read(written.bytes()) else {
            panic!("{written:?} is no header");
        };
        assert_eq!(all, written.bytes().len());
        // Who has no address is said to be nobody.
        assert!(header.ends == Ends::Unix || again.write(version) == written);
    }
}

/// Two bytes say where the rest, the beginning of a connection, is cut.
///
/// # Panics
///
/// When what a client asks for by TLS depends on how it came, or is no name.
pub fn client_hello(input: &[u8]) {
    let Some((at, wire)) = cut(input) else { return };
    let said = Reader::default().feed(wire);
    let mut reader = Reader::default();
    let parts = match reader.feed(&wire[..at]) {
        Ok(None) => reader.feed(wire),
        before => before,
    };
    assert_eq!(parts, said);
    assert!(said != Ok(None) || wire.len() < client_hello::MOST);
    let Ok(Some(hello)) = said else { return };
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':');
    assert!(hello.name.is_none_or(|name| !name.is_empty() && name.bytes().all(plain)));
}

//! What must be refused in a request, by which rule and with which status; nothing of it is said.
use super::hostile_heads::{CODINGS, EXPECT, HOSTS, LENGTHS, LINES, START, TARGETS};
use super::http1::Rule;
use super::replay::{LIMITS, Said, TRAILERS};
use super::split::requests_in_every_way;

/// Request line and Host of a request that is good so far.
macro_rules! host {
    ($rest:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: a\r\n", $rest).as_bytes()
    };
}
/// A chunked request that is good so far.
macro_rules! chunked {
    ($rest:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", $rest)
            .as_bytes()
    };
}
const CHUNKS: &[(&[u8], Rule)] = &[
    (chunked!("+5\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("-5\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!(" 5\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("5 \r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("5\t;a\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("0x5\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("5_0\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("5h\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!(";a\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("g\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("00000000000000005\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("10000000000000005\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("FFFFFFFFFFFFFFFF\r\nhello\r\n"), Rule::ChunkSize),
    (chunked!("8000000000000000\r\nhello\r\n"), Rule::ChunkSize),
    (chunked!("5\rhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("5\r\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("5\nhello\r\n0\r\n\r\n"), Rule::BareLf),
    (chunked!("\nhello\r\n0\r\n\r\n"), Rule::BareLf),
    (chunked!("5;a\nb\r\nhello\r\n0\r\n\r\n"), Rule::BareLf),
    (chunked!("5;a\rb\r\nhello\r\n0\r\n\r\n"), Rule::ChunkExtension),
    (chunked!("5;a\x00\r\nhello\r\n0\r\n\r\n"), Rule::ChunkExtension),
    (chunked!("5;a\x01\n"), Rule::ChunkExtension),
    (chunked!("5;\u{e4}\r\nhello\r\n0\r\n\r\n"), Rule::ChunkExtension),
    (chunked!("5\r\nhelloX\r\n0\r\n\r\n"), Rule::ChunkEnd),
    (chunked!("5\r\nhello\n0\r\n\r\n"), Rule::ChunkEnd),
    (chunked!("5\r\nhello\rX0\r\n\r\n"), Rule::ChunkEnd),
    (chunked!("5\r\nhello0\r\n\r\n"), Rule::ChunkEnd),
    (chunked!("0\r\nBad Trailer: 1\r\n\r\n"), Rule::FieldName),
    (chunked!("0\r\nX: 1\nY: 2\r\n\r\n"), Rule::BareLf),
    (chunked!("0\r\nX: 1\r\n Y\r\n\r\n"), Rule::Folded),
    (chunked!("0\r\nX: \x00\r\n\r\n"), Rule::FieldValue),
    (chunked!("0\r\n\n"), Rule::BareLf),
    (chunked!(""), Rule::Truncated),
    (chunked!("5"), Rule::Truncated),
    (chunked!("5\r\nhell"), Rule::Truncated),
    (chunked!("5\r\nhello"), Rule::Truncated),
    (chunked!("5\r\nhello\r"), Rule::Truncated),
    (chunked!("5\r\nhello\r\n0\r\n"), Rule::Truncated),
    (chunked!("5\r\nhello\r\n0\r\n\r"), Rule::Truncated),
    (chunked!("5\r\nhello\r\n0\r\nX: 1\r\n"), Rule::Truncated),
    (host!("Content-Length: 5\r\n\r\nhell"), Rule::Truncated),
];

/// The statuses that a client sees, written once more.
const STATUS: &[(Rule, u16)] = &[
    (Rule::HeadTooLarge, 431),
    (Rule::TooManyFields, 431),
    (Rule::TargetTooLong, 414),
    (Rule::Version, 505),
    (Rule::CodingUnknown, 501),
    (Rule::Expectation, 417),
    // Nobody is there to be told: what the log says.
    (Rule::Truncated, 499),
];

fn refused(wire: &[u8], rule: Rule) {
    let said = requests_in_every_way(wire);
    let shown = wire.escape_ascii();
    assert_eq!(said.last(), Some(&Said::Refused(rule)), "{shown}");
    assert!(!said.iter().any(|s| matches!(s, Said::End(_))), "{shown}: a clean end in {said:?}");
    let status = STATUS.iter().find(|(r, _)| *r == rule).map_or(400, |(_, status)| *status);
    assert_eq!(rule.status(), status, "{}", rule.word());
}

#[test]
fn a_bad_head_is_refused_before_anything_is_said() {
    for table in [LENGTHS, CODINGS, LINES, START, HOSTS, TARGETS, EXPECT] {
        for (wire, rule) in table {
            refused(wire, *rule);
            let said = requests_in_every_way(wire);
            assert_eq!(said, [Said::Refused(*rule)], "{}", wire.escape_ascii());
        }
    }
}

#[test]
fn a_bad_body_is_refused_and_never_ends() {
    for (wire, rule) in CHUNKS {
        refused(wire, *rule);
    }
}

#[test]
fn what_is_too_large_is_refused_at_its_limit_and_not_before() {
    let get = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
    };
    let padded = |len: usize| {
        let bare = get("/", "X: \r\n").len();
        get("/", &format!("X: {}\r\n", "x".repeat(len - bare)))
    };
    let fields = |n: usize| get("/", &"X: y\r\n".repeat(n - 1));
    let target = |n: usize| get(&format!("/{}", "x".repeat(n - 1)), "");
    let trailers = |n: usize| {
        let mut wire = chunked!("1\r\nx\r\n0\r\n").to_vec();
        wire.extend(format!("X: {}\r\n\r\n", "x".repeat(n - 7)).into_bytes());
        wire
    };
    for good in
        [padded(LIMITS.head), fields(LIMITS.fields), target(LIMITS.target), trailers(TRAILERS)]
    {
        let said = requests_in_every_way(&good);
        assert_eq!(said.last(), Some(&Said::Closed), "{}", good.escape_ascii());
    }
    refused(&padded(LIMITS.head + 1), Rule::HeadTooLarge);
    refused(&padded(LIMITS.head * 2), Rule::HeadTooLarge);
    refused(&fields(LIMITS.fields + 1), Rule::TooManyFields);
    refused(&target(LIMITS.target + 1), Rule::TargetTooLong);
    refused(&target(LIMITS.head * 2), Rule::TargetTooLong);
    refused(&vec![b'x'; LIMITS.head * 2], Rule::TargetTooLong);
    refused(&trailers(TRAILERS + 1), Rule::TrailersTooLarge);
    let many = ["0\r\n", &"X: y\r\n".repeat(LIMITS.fields + 1), "\r\n"].concat();
    refused(&[chunked!(""), many.as_bytes()].concat(), Rule::TooManyFields);
}

#[test]
fn extensions_are_bounded_in_a_line_and_over_a_body() {
    let line = |len: usize| {
        let mut wire = chunked!("1;").to_vec();
        wire.extend(vec![b'e'; len]);
        wire.extend(b"\r\nx\r\n0\r\n\r\n");
        wire
    };
    assert_eq!(requests_in_every_way(&line(1020)).last(), Some(&Said::Closed));
    refused(&line(1021), Rule::ChunkExtension);
    refused(&line(3000), Rule::ChunkExtension);
    // A line that is bad and too long is bad: a slow sender is told the same as a fast one.
    let bad = [chunked!("zz"), &[b'e'; 2000]].concat();
    refused(&bad, Rule::ChunkSize);
}

#[test]
fn a_request_behind_a_refused_one_is_never_read() {
    for (wire, rule) in [LENGTHS, CODINGS, LINES, HOSTS, TARGETS].concat() {
        let wire = [wire, b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        assert_eq!(requests_in_every_way(&wire), [Said::Refused(rule)], "{}", wire.escape_ascii());
    }
}

//! What must be refused in a backend's response, by which rule; each earns the client a 502.
use super::corpus::GET;
use super::http1::Rule;
use super::message::Method;
use super::replay::{LIMITS, Said};
use super::split::responses_in_every_way;

/// A chunked response that is good so far.
macro_rules! chunked {
    ($rest:literal) => {
        concat!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", $rest).as_bytes()
    };
}
/// A good status line with what follows it.
macro_rules! ok {
    ($rest:literal) => {
        concat!("HTTP/1.1 200 OK\r\n", $rest).as_bytes()
    };
}

const HEADS: &[(&[u8], Rule)] = &[
    (ok!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), Rule::BothLengths),
    (ok!("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), Rule::LengthRepeated),
    (ok!("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), Rule::LengthRepeated),
    (ok!("Content-Length: 5, 5\r\n\r\nhello"), Rule::LengthInvalid),
    (ok!("Content-Length: -1\r\n\r\nhello"), Rule::LengthInvalid),
    (ok!("Content-Length: 9223372036854775808\r\n\r\n"), Rule::LengthInvalid),
    (ok!("Transfer-Encoding: chunked, chunked\r\n\r\n"), Rule::CodingInvalid),
    (ok!("Transfer-Encoding: gzip, chunked\r\n\r\n"), Rule::CodingInvalid),
    (ok!("Transfer-Encoding: gzip\r\n\r\n"), Rule::CodingUnknown),
    (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Rule::CodingOld),
    (ok!("X : 1\r\n\r\n"), Rule::FieldName),
    (ok!("no-colon\r\n\r\n"), Rule::FieldName),
    (ok!("X: 1\r\n folded\r\n\r\n"), Rule::Folded),
    (ok!("X: 1\r2\r\n\r\n"), Rule::FieldValue),
    (ok!("X: 1\x002\r\n\r\n"), Rule::FieldValue),
    (ok!("X: 1\nY: 2\r\n\r\n"), Rule::BareLf),
    (b"HTTP/1.1 200 OK\nX: 1\n\n", Rule::BareLf),
    (b"HTTP/1.1 200 O\x01K\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.1 200 O\rK\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.1 099 Low\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.1 000 Low\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.1 1000 High\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.1 20 Short\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.1 2x0 OK\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.1 +20 OK\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.1  200 OK\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.1\t200 OK\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.1 200\tOK\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.1\r\n\r\n", Rule::StatusLine),
    (b"HTTP/1.2 200 OK\r\n\r\n", Rule::StatusLine),
    (b"HTTP/2.0 200 OK\r\n\r\n", Rule::StatusLine),
    (b"http/1.1 200 OK\r\n\r\n", Rule::StatusLine),
    (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Rule::StatusLine),
    (b" HTTP/1.1 200 OK\r\n\r\n", Rule::StatusLine),
    (b"<html>old</html>", Rule::StatusLine),
    (b"\x15\x03\x01\x00\x02\x02\x50", Rule::StatusLine),
    (b"\x00", Rule::StatusLine),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Rule::UnaskedSwitch),
    (b"HTTP/1.1 200 OK\r\nX", Rule::Truncated),
    (b"HTTP/1.", Rule::Truncated),
];

const BODIES: &[(&[u8], Rule)] = &[
    (chunked!("+5\r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("5 \r\nhello\r\n0\r\n\r\n"), Rule::ChunkSize),
    (chunked!("x\r\n"), Rule::ChunkSize),
    (chunked!("5\r\nhelloX\r\n0\r\n\r\n"), Rule::ChunkEnd),
    (chunked!("5\r\nhello\r\n0\r\nX: \x00\r\n\r\n"), Rule::FieldValue),
    (chunked!("5\nhello"), Rule::BareLf),
    (chunked!("5\r\nhello\r\n"), Rule::Truncated),
    (chunked!("5\r\nhello\r\n0\r\n"), Rule::Truncated),
    (chunked!(""), Rule::Truncated),
    (ok!("Content-Length: 5\r\n\r\nhell"), Rule::Truncated),
];

#[test]
fn a_bad_answer_is_refused_before_anything_is_said() {
    for (wire, rule) in HEADS {
        let said = responses_in_every_way(wire, GET);
        assert_eq!(said, [Said::Refused(*rule)], "{}", wire.escape_ascii());
    }
}

#[test]
fn a_broken_answer_is_never_a_clean_end() {
    for (wire, rule) in BODIES {
        let said = responses_in_every_way(wire, GET);
        let shown = wire.escape_ascii();
        assert!(matches!(said[0], Said::Response(..)), "{shown}: {said:?}");
        assert_eq!(said.last(), Some(&Said::Refused(*rule)), "{shown}");
        assert!(!said.iter().any(|s| matches!(s, Said::End(_))), "{shown}: {said:?}");
    }
}

#[test]
fn surplus_bytes_never_become_the_next_answer() {
    let split: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for first in [
        &b"HTTP/1.1 204 No Content\r\n\r\n"[..],
        b"HTTP/1.1 204 No Content\r\nContent-Length: 38\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 38\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let said = responses_in_every_way(&[first, split].concat(), GET);
        assert!(
            matches!(
                &said[..],
                [Said::Response(..), Said::End(None), Said::Refused(Rule::Unasked)]
            ),
            "{}: {said:?}",
            first.escape_ascii()
        );
    }
    let head = [ok!("Content-Length: 5\r\n\r\n"), b"hello"].concat();
    let said = responses_in_every_way(&head, &[(Method::Head, false)]);
    assert_eq!(said.last(), Some(&Said::Refused(Rule::Unasked)), "{said:?}");
}

#[test]
fn bytes_that_nobody_asked_for_are_refused() {
    for wire in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b"\r\n", b"x"] {
        assert_eq!(responses_in_every_way(wire, &[]), [Said::Refused(Rule::Unasked)]);
    }
    assert_eq!(responses_in_every_way(b"", &[]), [Said::Closed]);
    assert_eq!(responses_in_every_way(b"", GET), [Said::Closed]);
}

#[test]
fn an_answer_that_is_too_large_is_refused() {
    let fields = |n: usize| [ok!(""), "X: y\r\n".repeat(n).as_bytes(), b"\r\n"].concat();
    let said = responses_in_every_way(&fields(LIMITS.fields), GET);
    assert_eq!(said.last(), Some(&Said::Over), "{said:?}");
    for (wire, rule) in [
        (fields(LIMITS.fields + 1), Rule::TooManyFields),
        ([ok!("X: "), &vec![b'x'; LIMITS.head]].concat(), Rule::HeadTooLarge),
        ([&b"HTTP/1.1 200 "[..], &vec![b'x'; LIMITS.head]].concat(), Rule::HeadTooLarge),
    ] {
        assert_eq!(responses_in_every_way(&wire, GET), [Said::Refused(rule)]);
    }
}

//! Every short string over the bytes that matter, held against the checker that reads narrowly.
use super::http1::{BodyLength, Decoded, Decoder, HeadLimits, Parsed, request};
use super::message::Head;
use super::strict;
use super::strict_out::of_a_request;

const LIMITS: HeadLimits = HeadLimits { head: 4096, fields: 100, target: 100 };

/// Calls `with` for every string of at most so many of these bytes, behind a beginning.
fn every_string(begin: &[u8], of: &[u8], most: u32, mut with: impl FnMut(&[u8])) {
    for len in 0..=most {
        for number in 0..of.len().pow(len) {
            let mut wire = begin.to_vec();
            let mut left = number;
            for _ in 0..len {
                wire.push(of[left % of.len()]);
                left /= of.len();
            }
            with(&wire);
        }
    }
}

/// What a decoder makes of these bytes: the body and how much it used, or nothing.
fn decode(wire: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut decoder = Decoder::new(BodyLength::Chunked, LIMITS);
    let (mut body, mut at, mut trailers) = (Vec::new(), 0, None);
    loop {
        match decoder.decode(&wire[at..], true, &mut trailers).ok()? {
            Decoded::Data(range) => {
                body.extend(&wire[at..][range.clone()]);
                at += range.end;
            }
            Decoded::End(used) => return Some((body, at + used)),
            Decoded::Need(_) => panic!("needs more after the end: {}", wire.escape_ascii()),
        }
    }
}

#[test]
fn a_chunked_body_is_read_exactly_as_the_rule_says() {
    let mut good = 0;
    every_string(b"", b"\r\n01x", 7, |wire| {
        let decoded = decode(wire);
        assert_eq!(decoded, strict::chunked(wire).ok(), "{}", wire.escape_ascii());
        good += usize::from(decoded.is_some());
    });
    // A chunk of each hexadecimal size, digits in both cases.
    for size in 1..300usize {
        for hex in [format!("{size:x}"), format!("{size:X}"), format!("{size:08x}")] {
            let wire = [hex.as_bytes(), b"\r\n", &vec![b'd'; size], b"\r\n0\r\n\r\nrest"].concat();
            assert_eq!(decode(&wire), Some((vec![b'd'; size], wire.len() - 4)));
            good += 1;
        }
    }
    assert!(good > 900, "only {good} good bodies");
}

#[test]
fn short_heads_go_out_strictly_valid_and_strict_ones_are_let_in() {
    let mut good = 0;
    every_string(b"G / HTTP/1.1\r\nHost: a\r\n", b"\r\n: a", 6, |wire| {
        let mut head = Head::new();
        let let_in = of_a_request(wire);
        good += usize::from(matches!(let_in, Ok(Some(_))));
        if let Ok(strictly) = strict::request(wire) {
            let parsed = request(wire, 0, &LIMITS, &mut head);
            assert_eq!(parsed, Ok(Parsed::Done(strictly.len)), "{}", wire.escape_ascii());
        }
    });
    assert!(good > 100, "only {good} good heads");
}

#[test]
fn short_request_lines_go_out_strictly_valid_and_strict_ones_are_let_in() {
    let mut good = 0;
    every_string(b"", b"/*: ?@#", 6, |target| {
        for method in ["G", "OPTIONS", "CONNECT"] {
            let begin = format!("{method} ").into_bytes();
            let wire = [&begin[..], target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            let let_in = of_a_request(&wire);
            good += usize::from(let_in.is_ok());
            assert!(let_in.is_ok() || strict::request(&wire).is_err(), "{}", wire.escape_ascii());
        }
    });
    assert!(good > 100, "only {good} good request lines");
}

#[test]
fn short_authorities_are_read_as_the_rule_says() {
    every_string(b"", b"a:[]%1@.", 5, |host| {
        let wire = [b"GET / HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"].concat();
        let strictly = strict::request(&wire);
        assert_eq!(of_a_request(&wire).is_ok(), strictly.is_ok(), "{strictly:?}");
    });
}

//! Request heads that must be refused, and by which rule.
use super::http1::Rule;

type Table = &'static [(&'static [u8], Rule)];

/// Request line and Host of a request that is good so far.
macro_rules! host {
    ($rest:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: a\r\n", $rest).as_bytes()
    };
}
/// A whole request with this target.
macro_rules! target {
    ($method:literal $target:literal) => {
        concat!($method, " ", $target, " HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()
    };
}

pub(super) const LENGTHS: Table = &[
    (host!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), Rule::BothLengths),
    (host!("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"), Rule::BothLengths),
    (host!("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), Rule::LengthRepeated),
    (host!("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), Rule::LengthRepeated),
    (host!("Content-Length: 5\r\nX: y\r\ncontent-LENGTH: 5\r\n\r\nhello"), Rule::LengthRepeated),
    (host!("Content-Length: 5, 5\r\n\r\nhello"), Rule::LengthInvalid),
    (host!("Content-Length: 5,\r\n\r\nhello"), Rule::LengthInvalid),
    (host!("Content-Length: +5\r\n\r\nhello"), Rule::LengthInvalid),
    (host!("Content-Length: -5\r\n\r\nhello"), Rule::LengthInvalid),
    (host!("Content-Length: 0x5\r\n\r\nhello"), Rule::LengthInvalid),
    (host!("Content-Length: 5e0\r\n\r\nhello"), Rule::LengthInvalid),
    (host!("Content-Length: 5.0\r\n\r\nhello"), Rule::LengthInvalid),
    (host!("Content-Length: 5 5\r\n\r\nhello"), Rule::LengthInvalid),
    (host!("Content-Length: \"5\"\r\n\r\nhello"), Rule::LengthInvalid),
    (host!("Content-Length:\r\n\r\n"), Rule::LengthInvalid),
    (host!("Content-Length: \u{665}\r\n\r\n"), Rule::LengthInvalid),
    (host!("Content-Length: 00000000000000000005\r\n\r\nhello"), Rule::LengthInvalid),
    (host!("Content-Length: 9223372036854775808\r\n\r\n"), Rule::LengthInvalid),
    (host!("Content-Length: 18446744073709551621\r\n\r\nhello"), Rule::LengthInvalid),
    (host!("Content-Length: 99999999999999999999999\r\n\r\n"), Rule::LengthInvalid),
];

pub(super) const CODINGS: Table = &[
    (host!("Transfer-Encoding: chunked, chunked\r\n\r\n"), Rule::CodingInvalid),
    (
        host!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Rule::CodingInvalid,
    ),
    (
        host!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"),
        Rule::CodingInvalid,
    ),
    (host!("Transfer-Encoding: x, chunked\r\n\r\n"), Rule::CodingInvalid),
    (host!("Transfer-Encoding: chunked;q=1\r\n\r\n"), Rule::CodingInvalid),
    (host!("Transfer-Encoding: chunked,\r\n\r\n"), Rule::CodingInvalid),
    (host!("Transfer-Encoding: \"chunked\"\r\n\r\n"), Rule::CodingInvalid),
    (host!("Transfer-Encoding: ch unked\r\n\r\n"), Rule::CodingInvalid),
    (host!("Transfer-Encoding:\r\n\r\n"), Rule::CodingInvalid),
    (host!("Transfer-Encoding: \x0bchunked\r\n\r\n"), Rule::FieldValue),
    (host!("Transfer-Encoding: chunked\x0c\r\n\r\n"), Rule::FieldValue),
    (host!("Transfer-Encoding: chunke\u{212a}\r\n\r\n"), Rule::CodingInvalid),
    (host!("Transfer-Encoding: identity\r\n\r\n"), Rule::CodingUnknown),
    (host!("Transfer-Encoding: gzip\r\n\r\n"), Rule::CodingUnknown),
    (host!("Transfer-Encoding: chunkedd\r\n\r\n"), Rule::CodingUnknown),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Rule::CodingOld),
    (
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        Rule::CodingOld,
    ),
];

pub(super) const LINES: Table = &[
    (b"POST / HTTP/1.1\r\nHost : a\r\n\r\n", Rule::FieldName),
    (b"POST / HTTP/1.1\r\nHost\t: a\r\n\r\n", Rule::FieldName),
    (host!("Content-Length : 5\r\n\r\nhello"), Rule::FieldName),
    (host!(": empty\r\n\r\n"), Rule::FieldName),
    (host!("X(y): 1\r\n\r\n"), Rule::FieldName),
    (host!("X\u{e4}: 1\r\n\r\n"), Rule::FieldName),
    (host!("X\0: 1\r\n\r\n"), Rule::FieldName),
    (host!("no-colon\r\n\r\n"), Rule::FieldName),
    (host!("\"quoted\": 1\r\n\r\n"), Rule::FieldName),
    (host!("X: 1\r\n folded\r\n\r\n"), Rule::Folded),
    (host!("X: 1\r\n\tfolded\r\n\r\n"), Rule::Folded),
    (host!("X: 1\r\n \r\n\r\n"), Rule::Folded),
    (b"POST / HTTP/1.1\r\n Host: a\r\n\r\n", Rule::Folded),
    (b"POST / HTTP/1.1\nHost: a\n\n", Rule::BareLf),
    (b"POST / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", Rule::BareLf),
    (host!("X: 1\r\n\n"), Rule::BareLf),
    (b"\nPOST / HTTP/1.1\r\nHost: a\r\n\r\n", Rule::BareLf),
    (host!("X: 1\r2\r\n\r\n"), Rule::FieldValue),
    (host!("X: 1\r\r\n\r\n"), Rule::FieldValue),
    (host!("X\r: 1\r\n\r\n"), Rule::FieldName),
    (host!("X: 1\r\n\r\r\n\r\n"), Rule::FieldName),
    (host!("X: \0\r\n\r\n"), Rule::FieldValue),
    (host!("X: 1\x002\r\n\r\n"), Rule::FieldValue),
    (host!("X: 1\x082\r\n\r\n"), Rule::FieldValue),
    (host!("X: 1\x1b[31m\r\n\r\n"), Rule::FieldValue),
    (host!("X: 1\x7f2\r\n\r\n"), Rule::FieldValue),
    (b"POST /\r HTTP/1.1\r\nHost: a\r\n\r\n", Rule::Target),
    (b"POST / HTTP/1.1\r\r\nHost: a\r\n\r\n", Rule::RequestLine),
];

pub(super) const START: Table = &[
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET / x HTTP/1.1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET /\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"\xc3\xa4 / HTTP/1.1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET / http/1.1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET / HTTP/1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET / HTTP/11.1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET / HTTP/1.1x\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", Rule::Version),
    (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Rule::Version),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Rule::Version),
    (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", Rule::Version),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Rule::Version),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", Rule::RequestLine),
    (b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Rule::RequestLine),
    (b"GET / HTTP/1.1", Rule::Truncated),
    (b"GET / HTTP/1.1\r\nHost: a\r\n", Rule::Truncated),
];

pub(super) const HOSTS: Table = &[
    (b"GET / HTTP/1.1\r\n\r\n", Rule::HostMissing),
    (b"GET / HTTP/1.1\r\nX: 1\r\n\r\n", Rule::HostMissing),
    (b"GET http://a/ HTTP/1.1\r\n\r\n", Rule::HostMissing),
    (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Rule::HostMissing),
    (b"GET / HTTP/1.0\r\nHost:\r\n\r\n", Rule::HostMissing),
    (b"GET http://a/ HTTP/1.1\r\nHost: \r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Rule::HostRepeated),
    (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Rule::HostRepeated),
    (b"GET / HTTP/1.1\r\nHost:\r\nHost: a\r\n\r\n", Rule::HostRepeated),
    (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Rule::HostRepeated),
    (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: <a>\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: user:pw@a\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a:port\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: caf\xc3\xa9\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a%\r\n\r\n", Rule::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a%2x\r\n\r\n", Rule::HostInvalid),
];

pub(super) const TARGETS: Table = &[
    (target!("GET" "/a\x01b"), Rule::Target),
    (target!("GET" "/a\x7f"), Rule::Target),
    (target!("GET" "/a\tb"), Rule::Target),
    (target!("GET" "/a#b"), Rule::Target),
    (target!("GET" "/\u{e4}"), Rule::Target),
    (target!("GET" "*"), Rule::Target),
    (target!("options" "*"), Rule::Target),
    (target!("OPTIONS" "*/"), Rule::Target),
    (target!("GET" "a.test:80"), Rule::Target),
    (target!("GET" "a.test"), Rule::Target),
    (target!("GET" "relative/path"), Rule::Target),
    (target!("GET" "?q"), Rule::Target),
    (target!("GET" "ftp://a/"), Rule::Target),
    (target!("GET" "http:/a/"), Rule::Target),
    (target!("GET" "http://"), Rule::Target),
    (target!("GET" "http:///path"), Rule::Target),
    (target!("GET" "http://?q"), Rule::Target),
    (target!("GET" "http://:80/"), Rule::Target),
    (target!("GET" "http://user@a/"), Rule::Target),
    (target!("GET" "http://a:b/"), Rule::Target),
    (target!("GET" "http://a%zz/"), Rule::Target),
    (target!("GET" "http://[::1/"), Rule::Target),
    (target!("GET" "http://a\\b/"), Rule::Target),
    (target!("CONNECT" "/"), Rule::Target),
    (target!("CONNECT" "*"), Rule::Target),
    (target!("CONNECT" "http://a:80/"), Rule::Target),
    (target!("CONNECT" "a"), Rule::Target),
    (target!("CONNECT" "a:"), Rule::Target),
    (target!("CONNECT" "a:x"), Rule::Target),
    (target!("CONNECT" ":80"), Rule::Target),
    (target!("CONNECT" "[::1]"), Rule::Target),
    (target!("CONNECT" "u@a:80"), Rule::Target),
];

pub(super) const EXPECT: Table = &[
    (host!("Expect: 200-ok\r\n\r\n"), Rule::Expectation),
    (host!("Expect:\r\n\r\n"), Rule::Expectation),
    (host!("Expect: 100-continue, 100-continue\r\n\r\n"), Rule::Expectation),
    (host!("Expect: 100-continue;q=1\r\n\r\n"), Rule::Expectation),
    (host!("Expect: 100-continue\r\nExpect: 200-ok\r\n\r\n"), Rule::Expectation),
    (b"GET / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n", Rule::Expectation),
];

//! Messages that must be understood: each framing, pipelined, with what is optional left out.
use super::message::Method;

/// Streams of requests that are read to their end without a refusal.
pub(super) const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /p?q=1&r=%20 HTTP/1.1\r\nHost: a.test:8080\r\nAccept: */*\r\nX-Empty:\r\nX-Space: \r\n\
      Y:\t v \t\r\nY: second\r\ncookie: a=1; b=2\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://b.test:81?q HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET HTTPS://[::1]:81/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS http://b.test HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
    b"get /lower HTTP/1.1\r\nhOsT: a\r\n\r\n",
    b"M!#$%&'*+-.^_`|~1 / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: caf\xc3\xa9 \xff\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\nHost: a\r\n\r\nignored",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n\r\n",
    b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /3 HTTP/1.1\r\n\
      Host: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n\r\n0\r\n\r\n\
      GET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET /with-body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcDELETE / HTTP/1.1\r\n\
      Host: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: ChunKed\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0000000000000003\r\n\r\n\n\r\n\
      a;name=value;other=\"quo ted\"\r\n0123456789\r\n000\r\n\r\nGET /next HTTP/1.1\r\n\
      Host: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
      3\r\nabc\r\n0;last\r\nX-Sum: 1\r\nX-More:\t2 \r\n\r\nPUT / HTTP/1.1\r\nHost: a\r\n\
      Content-Length: 1\r\n\r\nx",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\
      \x81\x05hello\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
];

/// The requests before a stream of responses: each method, and whether 101 may answer it.
pub(super) type Asked = &'static [(Method, bool)];

/// Streams of responses that are read to their end without a refusal, and what they answer.
pub(super) const RESPONSES: &[(&[u8], Asked)] = &[
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", &[(Method::Get, false)]),
    (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", &[(Method::Get, false)]),
    (b"HTTP/1.1 200 \r\nContent-Length: 2\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n\r\n", GET),
    (b"HTTP/1.1 999 caf\xc3\xa9\tyes\r\nContent-Length: 0\r\n\r\n", GET),
    (b"HTTP/1.1 200 OK\r\n\r\nuntil\r\nthe end", GET),
    (b"HTTP/1.1 200 OK\r\n\r\n", GET),
    (b"HTTP/1.0 200 OK\r\n\r\nold", GET),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", GET),
    (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n1\
          HTTP/1.1 204 No Content\r\n\r\n",
        &[(Method::Get, false), (Method::Delete, false)],
    ),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", GET),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\nB\r\n0123456789\n\r\n0\r\n\
          Grpc-Status: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb",
        &[(Method::Post, false), (Method::Get, false)],
    ),
    (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nxsurplus", GET),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: \
          chunked\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        &[(Method::Head, false), (Method::Head, false), (Method::Get, false)],
    ),
    (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 No Content\r\n\
          Content-Length: 5\r\n\r\n",
        &[(Method::Get, false), (Method::Get, false)],
    ),
    (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
          HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        GET,
    ),
    (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
          \x81\x00\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        &[(Method::Get, true)],
    ),
    (b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 1\r\n\r\nx", &[(Method::Get, true)]),
    (
        b"HTTP/1.1 200 Connected\r\nContent-Length: 5\r\n\r\n",
        &[(Method::Connect, false)],
    ),
];

pub(super) const GET: Asked = &[(Method::Get, false)];

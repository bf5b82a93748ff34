//! Hostile heads and bodies: the status each earns, the connection closed, nothing of it forwarded.
use crate::support::{Backend, Proxy, until};
use evenkeel::pool::{Ask, Balancer, Candidate, Policies};
use evenkeel::server::Options;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// What is sent, and the status it earns.
const CASES: &[(&str, u16)] = &[
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5e0\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(y): 1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n X: 1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: a\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\x002\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\x7f2\r\n\r\n", 400),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a:port\r\n\r\n", 400),
    ("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET a.test:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET relative HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417),
    ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", 405),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400),
    ("\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
];

/// Chunked bodies that break after a good head.
const CHUNKS: &[&str] = &[
    "+5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5_\r\nhello\r\n0\r\n\r\n",
    "00000000000000005\r\nhello\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFF\r\nhello\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\x00\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nBad Trailer: 1\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: 1\nY: 2\r\n\r\n",
];

#[test]
fn hostile_heads_get_their_status_and_reach_nobody() {
    let backend = Backend::named("reached");
    let proxy = Proxy::http(&[backend.addr], "");
    for (bytes, status) in CASES {
        let mut client = proxy.client();
        // A second request behind a refused one is never executed.
        client.send(bytes);
        client.send("GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response();
        assert_eq!(response.status, *status, "{bytes:?}: {response:?}");
        assert_eq!(response.field("Connection"), Some("close"), "{bytes:?}");
        assert!(client.is_closed(), "{bytes:?}");
        assert_eq!(backend.connections(), 0, "{bytes:?}");
    }
}

#[test]
fn broken_chunks_never_look_like_a_clean_end() {
    for chunks in CHUNKS {
        let (tell, heard) = std::sync::mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        let backend = Backend::run(move |peer| {
            let asked = peer.request().is_some();
            let rest = if asked { peer.rest() } else { Vec::new() };
            let _ = tell.lock().unwrap().send(rest);
        });
        let proxy = Proxy::http(&[backend.addr], "");
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunks);
        assert_eq!(client.response().status, 400, "{chunks:?}");
        // A connection that carried nothing yet is kept, until the proxy ends.
        drop(proxy);
        if backend.connections() > 0 {
            let rest = heard.recv_timeout(crate::support::PATIENCE).expect("it was closed");
            assert!(
                !rest.ends_with(b"0\r\n\r\n"),
                "{chunks:?}: {:?}",
                String::from_utf8_lossy(&rest)
            );
        }
    }
}

#[test]
fn nothing_behind_a_refused_request_is_read() {
    let backend = Backend::named("reached");
    let proxy = Proxy::http(&[backend.addr], "limits = { body = \"4B\" }");
    for (refused, status) in [
        ("GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a%2f..%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 413),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            413,
        ),
    ] {
        let mut client = proxy.client();
        client.send(format!("{refused}GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.response();
        assert_eq!(
            (response.status, response.field("Connection")),
            (status, Some("close")),
            "{refused:?}"
        );
        assert!(client.is_closed(), "{refused:?}");
    }
    // The last one was being sent when its size was seen.
    assert!(backend.connections() <= 1);
}

#[test]
fn heads_over_their_limits_are_refused() {
    let backend = Backend::named("reached");
    let proxy = Proxy::http(&[backend.addr], "");
    let long = "x".repeat(9000);
    let huge = "x".repeat(40_000);
    let many = "X: 1\r\n".repeat(101);
    for (bytes, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET /{huge} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {huge}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
    ] {
        let mut client = proxy.client();
        client.send(&bytes);
        assert_eq!(client.response().status, status);
        assert!(client.is_closed());
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn every_byte_that_reaches_a_backend_is_valid() {
    // Legal, if unusual: passed on in canonical form.
    let backend = Backend::echo();
    let proxy = Proxy::http(&[backend.addr], "");
    for (sent, seen) in [
        (
            "\r\nGET / HTTP/1.1\r\nHost:a\r\nX:\t v \t\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: v\r\n",
        ),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", "get / HTTP/1.1\r\nHost: a\r\n"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n"),
        ("GET /a/../b/./c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /b/c HTTP/1.1\r\nHost: a\r\n"),
        (
            "GET http://A.test:81?q HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?q HTTP/1.1\r\nHost: A.test:81\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: [::1]:80\r\nX: \u{e4}\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1]:80\r\nX: \u{e4}\r\n",
        ),
    ] {
        let mut client = proxy.client();
        client.send(sent);
        let text = client.response().text();
        assert!(text.starts_with(seen), "{sent:?}: {text:?}");
    }
    // HTTP/1.0 without Host is legal: the backend still gets one.
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let text = client.response().text();
    assert!(text.contains(&format!("Host: {}\r\n", backend.addr)), "{text:?}");
}

/// Panics while it is armed.
struct Trap(Arc<AtomicBool>);
impl Balancer for Trap {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        assert!(!self.0.load(SeqCst), "boom");
        candidates.iter().position(|candidate| candidate.is_open(ask))
    }
    fn wants_load(&self) -> bool {
        false
    }
}

#[test]
fn a_panic_ends_its_own_connection_and_is_counted() {
    let backend = Backend::named("one");
    let armed = Arc::new(AtomicBool::new(false));
    let trap = armed.clone();
    let policies = Policies::default().with("trap", move |_, _| Box::new(Trap(trap.clone())));
    let options = Options { policies, ..Options::default() };
    let web = crate::support_web(&[backend.addr], "balance = \"trap\"");
    let proxy = Proxy::start_with(&format!("[server]\nworkers = 1\n{web}"), options);
    let mut other = proxy.client();
    assert_eq!(other.ask("GET", "/", "").status, 200);
    for n in 1..=3 {
        armed.store(true, SeqCst);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.is_closed());
        until("it is counted", || proxy.running().state().panics.0.get() == n);
        armed.store(false, SeqCst);
        assert_eq!(other.ask("GET", "/", "").status, 200, "on the same worker");
    }
    proxy.forgive_panics();
}

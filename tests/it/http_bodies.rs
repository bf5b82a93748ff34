//! Bodies in both directions: every framing, any size, bounded memory.
use crate::support::h2::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, block};
use crate::support::{Backend, Proxy, Server, web};
use std::io::{Read, Write};

/// Bytes that differ from place to place.
fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    let backend = Backend::run(|peer| {
        let head = peer.request().unwrap();
        assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n\r\n") {
            body.extend(peer.bytes(1));
        }
        let text = String::from_utf8(body).unwrap();
        assert!(text.contains("X-Sum: 1") && !text.contains("Host"), "{text}");
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-End: yes\r\n\r\n");
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("4;x=\"y\"\r\nwxyz\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n");
    let response = client.response();
    assert_eq!(response.text(), "abc0123456789");
    assert_eq!(response.trailers, ["X-End: yes"]);
}

#[test]
fn who_a_client_is_is_not_for_trailers_to_say_whoever_sends_them() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            let body = peer.request().unwrap();
            peer.answer(&body);
        }
    });
    let words = web(&[backend.addr], "");
    let trusting = words.replacen(
        "pool = \"app\"\n",
        "pool = \"app\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n",
        1,
    );
    let forged = [
        "X-Client-Cert-Verified: yes",
        "x_client_cert_subject: CN=root",
        "X-Forwarded-Port: 1",
        "X_Forwarded_For: 6.6.6.6",
        "X-Real_IP: 6.6.6.6",
        "forwarded: for=6.6.6.6",
    ];
    for words in [words, trusting] {
        let proxy = Proxy::start(&words);
        let mut client = proxy.client();
        client.send(
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
        );
        client.send(format!("{}\r\nX-Sum: 1\r\n\r\n", forged.join("\r\n")));
        assert_eq!(client.response().text(), "1\r\na\r\n0\r\nX-Sum: 1\r\n");
    }
}

/// A route whose rules say something of `X-Env`, `X-Secret` and `X-Sum`.
const RULES: &str = "[[route]]\nlistener = \"web\"\npool = \"app\"\n\
    request_headers = { remove = [\"x-secret\"], set = { X-Env = \"prod\" } }\n\
    response_headers = { remove = [\"X-Sum\"] }\n";

#[test]
fn what_a_route_takes_out_or_sets_is_not_said_behind_the_body() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            let body = peer.request().unwrap();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n\
                 0\r\nx-sum: 1\r\nX-Left: 1\r\n\r\n",
                body.len()
            ));
        }
    });
    let proxy = Proxy::start(&format!("{}{RULES}", web(&[backend.addr], "")));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("1\r\na\r\n0\r\nX-Secret: 1\r\nX-Kept: 1\r\nx-env: dev\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.text(), "1\r\na\r\n0\r\nX-Kept: 1\r\n");
    assert_eq!(answer.trailers, ["X-Left: 1"]);
    let mut client = Frames::connect(proxy.addr());
    client.post(1, "/", &[]);
    client.send(DATA, 0, 1, b"a");
    let trailers = block(&[("x-secret", "1"), ("x-kept", "1"), ("x-env", "dev")]);
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &trailers);
    assert_eq!(client.answer(1), (200, "1\r\na\r\n0\r\nx-kept: 1\r\n".into()));
    // A backend of HTTP/2 that says in the body what trailers came.
    let server = Server::h2(&[]);
    let words = web(&[server.addr], "http = \"2\"");
    let proxy = Proxy::start(&format!("{words}{RULES}"));
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("1\r\na\r\n0\r\nX-Secret: 1\r\nX-Kept: 1\r\nx-env: dev\r\n\r\n");
    let text = client.response().text();
    assert!(text.contains("trailer x-kept: 1") && text.matches("trailer ").count() == 1, "{text}");
    assert_eq!(client.ask("GET", "/trailers", "").trailers, ["grpc-status: 0"]);
}

#[test]
fn large_bodies_pass_byte_for_byte() {
    let size = 8 << 20;
    for chunked in [false, true] {
        let backend = Backend::run(move |peer| {
            let head = peer.request().unwrap();
            let mut body = Vec::new();
            if head.contains("Content-Length") {
                body = peer.bytes(size);
            } else {
                loop {
                    let mut line = Vec::new();
                    while !line.ends_with(b"\r\n") {
                        line.extend(peer.bytes(1));
                    }
                    let n = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16)
                        .unwrap();
                    body.extend(peer.bytes(n));
                    peer.bytes(2);
                    if n == 0 {
                        break;
                    }
                }
            }
            assert!(body == pattern(size));
            if chunked {
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for piece in body.chunks(100_000) {
                    peer.send(format!("{:x}\r\n", piece.len()));
                    peer.send(piece);
                    peer.send("\r\n");
                }
                peer.send("0\r\n\r\n");
            } else {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
                peer.send(&body);
            }
        });
        let proxy = Proxy::http(&[backend.addr], "");
        let mut client = proxy.client();
        let body = pattern(size);
        let mut stream = client.stream().try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            if chunked {
                stream
                    .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .unwrap();
                for piece in body.chunks(77_777) {
                    stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
                    stream.write_all(piece).unwrap();
                    stream.write_all(b"\r\n").unwrap();
                }
                stream.write_all(b"0\r\n\r\n").unwrap();
            } else {
                stream
                    .write_all(
                        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
                            .as_bytes(),
                    )
                    .unwrap();
                stream.write_all(&body).unwrap();
            }
        });
        let response = client.response();
        sender.join().unwrap();
        assert!(
            response.complete && response.body == pattern(size),
            "chunked {chunked}: {} bytes",
            response.body.len()
        );
    }
}

#[test]
fn a_slow_reader_holds_the_backend_back() {
    // 256 MiB offered to a client that reads nothing: what the proxy and both kernels hold is a
    // small part of it, so the backend's writes stop.
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = sent.clone();
    let size: usize = 256 << 20;
    let backend = Backend::run(move |peer| {
        peer.request();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
        let piece = vec![7; 65536];
        for _ in 0..size / piece.len() {
            if peer.stream().write_all(&piece).is_err() {
                return;
            }
            count.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut last = usize::MAX;
    crate::support::until("the backend stands still", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = sent.load(std::sync::atomic::Ordering::SeqCst);
        let still = now > 0 && now == last;
        last = now;
        still
    });
    assert!(last < size / 2, "{last} bytes went ahead of a client that reads nothing");
    let response = client.response();
    assert_eq!((response.complete, response.body.len()), (true, size));
}

#[test]
fn a_body_over_its_limit_is_refused() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            let body = peer.bytes(100);
            peer.answer(&body.len().to_string());
        }
    });
    let proxy = Proxy::http(&[backend.addr], "limits = { body = \"100B\" }");
    let mut client = proxy.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{}",
        "x".repeat(100)
    ));
    assert_eq!(client.response().text(), "100");
    let mut said = proxy.client();
    said.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n");
    assert_eq!(said.response().status, 413);
    let mut unsaid = proxy.client();
    unsaid.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    unsaid.send(format!("65\r\n{}\r\n0\r\n\r\n", "x".repeat(101)));
    assert_eq!(unsaid.response().status, 413);
}

#[test]
fn an_early_answer_is_relayed_and_a_short_rest_is_read() {
    let backend = Backend::run(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    assert_eq!(client.response().status, 403);
    client.send("x".repeat(1000));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 403);
}

#[test]
fn an_upstream_that_dies_in_mid_body_never_looks_like_a_clean_end() {
    for head in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
        let backend = Backend::run(move |peer| {
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n"));
            peer.send(if head.starts_with('C') { "half" } else { "4\r\nhalf\r\n" });
            peer.reset();
        });
        let proxy = Proxy::http(&[backend.addr], "");
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.response();
        // Broken off, or, when it broke before anything was passed on, said to be broken.
        assert!(!response.complete || response.status == 502, "{head}: {response:?}");
    }
}

#[test]
fn one_byte_at_a_time_is_the_same_request_and_answer() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            let body = peer.bytes(3);
            for byte in format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
                String::from_utf8(body).unwrap()
            )
            .bytes()
            {
                peer.send([byte]);
            }
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    for byte in b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" {
        client.stream().write_all(&[*byte]).unwrap();
    }
    assert_eq!(client.response().text(), "abc");
    let mut rest = [0; 1];
    client.stream().set_read_timeout(Some(std::time::Duration::from_millis(50))).unwrap();
    assert!(
        client.stream().read(&mut rest).is_err(),
        "the connection is kept, with nothing more on it"
    );
}

//! One request and its answer: what passes, what is changed, in which order.
use crate::support::{Backend, Client, Proxy, until};
use std::io::{Read, Write};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn fields_pass_in_order_and_case_and_forwarded_ones_are_set() {
    let backend = Backend::echo();
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send(
        "GET /p?q=1 HTTP/1.1\r\nHost: a.test\r\nx-ONE: 1\r\nX-Two:  2  \r\nx-one: 3\r\nConnection: keep-alive, x-hop\r\n\
         X-Hop: secret\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
         Forwarded: for=6.6.6.6\r\nX-Request-Id: abc-1\r\n\r\n",
    );
    let seen = client.response().text();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(
        lines[..5],
        ["GET /p?q=1 HTTP/1.1", "Host: a.test", "x-ONE: 1", "X-Two: 2", "x-one: 3"]
    );
    for gone in ["X-Hop", "TE:", "Keep-Alive", "Connection", "6.6.6.6", "Forwarded: "] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    for there in [
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: a.test",
        "X-Request-Id: abc-1",
    ] {
        assert!(lines.contains(&there), "{there} not in {seen}");
    }
    assert!(seen.contains("Via: 1.1 evenkeel-"), "{seen}");
}

#[test]
fn protected_fields_survive_a_connection_field_that_names_them() {
    let backend = Backend::echo();
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: secret\r\nCookie: c=1\r\n\
         Connection: host, authorization, cookie, x-forwarded-for, content-length\r\n\r\n",
    );
    let seen = client.response().text();
    for there in
        ["Host: a.test", "Authorization: secret", "Cookie: c=1", "X-Forwarded-For: 127.0.0.1"]
    {
        assert!(seen.contains(there), "{there} not in {seen}");
    }
}

#[test]
fn a_trusted_peer_extends_the_chain_and_a_made_up_id_is_replaced() {
    let backend = Backend::echo();
    let web = crate::support_web(&[backend.addr], "");
    let trusting = web
        .replace("protocol = \"http\"", "protocol = \"http\"\ntrusted_proxies = [\"127.0.0.0/8\"]");
    let proxy = Proxy::start(&trusting);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n");
    let seen = client.response().text();
    assert!(seen.contains("X-Forwarded-For: 9.9.9.9, 127.0.0.1"), "{seen}");
    assert!(seen.contains("X-Forwarded-Proto: https"), "{seen}");

    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: <script>\r\n\r\n");
    let seen = client.response().text();
    let id = seen.lines().find_map(|l| l.strip_prefix("X-Request-Id: ")).unwrap();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
}

#[test]
fn connections_are_kept_on_both_sides() {
    let backend = Backend::named("one");
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    for _ in 0..5 {
        client.send(GET);
        assert_eq!(client.response().text(), "one");
    }
    // One worker served them all: its connection was used again each time.
    assert_eq!(backend.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::echo();
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    let many: String =
        (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\n\r\n")).collect();
    client.send(many);
    for n in 0..20 {
        let text = client.response().text();
        assert!(text.starts_with(&format!("GET /{n} HTTP/1.1")), "{n}: {text}");
    }
}

#[test]
fn head_204_and_304_have_no_body() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            let answer = match head.split(' ').nth(1) {
                Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("/304") => {
                    "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"x\"\r\n\r\n"
                }
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
            };
            peer.send(answer);
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    for (method, path, status, length) in [
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, Some("99")),
        // The last one: its connection rests.
        ("HEAD", "/", 200, Some("12345")),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let response = client.response_to(method);
        assert_eq!((response.status, response.field("Content-Length")), (status, length), "{path}");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn interim_answers_are_relayed_when_they_come() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            // Only when the client has the first one does the answer follow.
            let _ = wait.lock().unwrap().recv_timeout(std::time::Duration::from_secs(10));
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n");
            peer.answer("done");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send(GET);
    let first = client.response();
    assert_eq!((first.status, first.field("Link")), (103, Some("</a.css>")));
    go.send(()).unwrap();
    assert_eq!(client.response().field("Link"), Some("</b.css>"));
    assert_eq!(client.response().text(), "done");

    go.send(()).unwrap();
    let mut old = proxy.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    let answer = old.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
}

#[test]
fn interim_answers_are_bounded() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            for _ in 0..40 {
                peer.send("HTTP/1.1 103 Early Hints\r\n\r\n");
            }
            peer.answer("never seen");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send(GET);
    let mut interim = 0;
    let last = loop {
        let response = client.response();
        if response.status != 103 {
            break response;
        }
        interim += 1;
    };
    assert_eq!((interim, last.status), (16, 502));
}

#[test]
fn the_backend_decides_about_100_continue() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            assert!(head.contains("Expect: 100-continue"), "{head}");
            if head.contains("/no") {
                peer.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
                continue;
            }
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = peer.bytes(5);
            peer.answer(&String::from_utf8(body).unwrap());
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send(
        "POST /yes HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.response().status, 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");

    // Without a 100 the body is not read as a request: it could be a smuggled one.
    client.send(
        "POST /no HTTP/1.1\r\nHost: a.test\r\nContent-Length: 40\r\nExpect: 100-continue\r\n\r\n",
    );
    let refused = client.response();
    assert_eq!((refused.status, refused.field("Connection")), (417, Some("close")));
    client.send("GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(client.is_closed());
}

#[test]
fn an_old_client_gets_no_chunks_and_its_keep_alive() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            if head.contains("/chunked") {
                peer.send(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                );
            } else {
                peer.answer("plain");
            }
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let first = client.response();
    assert_eq!((first.text().as_str(), first.field("Connection")), ("plain", Some("keep-alive")));
    client.send("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let second = client.response();
    assert_eq!((second.field("Transfer-Encoding"), second.text().as_str()), (None, "hello"));
    assert!(client.is_closed());

    let mut plain = proxy.client();
    plain.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(plain.response().text(), "plain");
    assert!(plain.is_closed());
}

#[test]
fn an_old_backend_is_understood() {
    let backend = Backend::run(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.0 200 OK\r\nX-Old: yes\r\n\r\nuntil close");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(GET);
        let response = client.response();
        assert_eq!(response.field("Transfer-Encoding"), Some("chunked"));
        assert_eq!((response.text().as_str(), response.complete), ("until close", true));
    }
}

#[test]
fn a_websocket_is_a_tunnel() {
    let backend = Backend::run(|peer| {
        let head = peer.request().unwrap();
        assert!(
            head.contains("Upgrade: websocket") && head.contains("Connection: Upgrade"),
            "{head}"
        );
        // The first bytes of the other protocol may come with the head.
        peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst");
        let bytes = peer.bytes(4);
        peer.send(&bytes);
        assert_eq!(peer.rest(), b"");
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let response = client.response();
    assert_eq!((response.status, response.field("Upgrade")), (101, Some("websocket")));
    assert_eq!(client.bytes(5), b"first");
    client.send("ping");
    assert_eq!(client.bytes(4), b"ping");
    client.end();
    assert!(client.is_closed());
}

#[test]
fn an_old_client_gets_every_kind_of_body_and_then_the_end() {
    let large: &'static str = Box::leak("x".repeat(200_000).into_boxed_str());
    for body in ["small", large] {
        let backend = Backend::run(move |peer| {
            let Some(head) = peer.request() else { return };
            let n = body.len();
            match &head[..6] {
                "GET /c" => peer.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}")),
                "GET /k" => peer.send(format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{n:x}\r\n{body}\r\n0\r\n\r\n"
                )),
                // Cut inside a chunk: the client must not take it for the end.
                _ => peer.send(format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}",
                    n + 100_000
                )),
            }
        });
        let proxy = Proxy::http(&[backend.addr], "");
        for path in ["/c", "/k"] {
            let mut client = proxy.client();
            client.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
            let response = client.response();
            assert_eq!((response.status, response.text().as_str()), (200, body), "{path}");
            assert!(client.is_closed());
        }
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.0\r\n\r\n");
        let mut all = Vec::new();
        // What was not begun yet is a 502; what was is reset.
        match std::io::Read::read_to_end(client.stream(), &mut all) {
            Ok(_) => {
                assert!(all.starts_with(b"HTTP/1.1 502 "), "{}", String::from_utf8_lossy(&all))
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

const HANDSHAKE: &str =
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn bytes_behind_a_refused_handshake_are_no_request() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            assert!(!head.contains("/behind"), "{head}");
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send(format!("{HANDSHAKE}GET /behind HTTP/1.1\r\nHost: a\r\n\r\n"));
    let response = client.response();
    assert_eq!((response.status, response.field("Connection")), (403, Some("close")));
    assert!(client.is_closed());
}

#[test]
fn a_switch_to_another_protocol_than_asked_for_is_502() {
    for upgrade in ["", "Upgrade: h2c\r\n"] {
        let backend = Backend::run(move |peer| {
            peer.request();
            peer.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\n{upgrade}Connection: Upgrade\r\n\r\n"
            ));
            peer.rest();
        });
        let proxy = Proxy::http(&[backend.addr], "");
        let mut client = proxy.client();
        client.send(HANDSHAKE);
        assert_eq!(client.response().status, 502, "{upgrade:?}");
    }
}

#[test]
fn framing_fields_that_are_right_keep_their_place_and_case() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            assert!(head.contains("A: 1\r\ncontent-length: 2\r\nB: 2\r\n"), "{head}");
            peer.bytes(2);
            peer.send("HTTP/1.1 200 OK\r\nA: 1\r\ncONTENT-LENGTH: 2\r\nB: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nA: 1\r\ncontent-length: 2\r\nB: 2\r\n\r\nhi");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    assert!(response.head.contains("A: 1\ncONTENT-LENGTH: 2\nB: 2\n"), "{}", response.head);
    // Another way to write a number is no way out.
    client.send("POST / HTTP/1.1\r\nHost: a\r\nA: 1\r\ncontent-length: 2\r\nB: 2\r\n\r\nhi");
    assert!(client.response().field("Date").is_some(), "one is added where a backend has none");
}

#[test]
fn another_upgrade_is_plain_http() {
    let backend = Backend::echo();
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n");
    let seen = client.response().text();
    assert!(!seen.contains("Upgrade") && !seen.contains("HTTP2-Settings"), "{seen}");
}

#[test]
fn a_client_that_goes_away_cancels_its_request() {
    let (tell, heard) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let backend = Backend::run(move |peer| {
        if peer.request().is_some() {
            // No answer: the end of the connection is waited for.
            let rest = peer.rest();
            let _ = tell.lock().unwrap().send(rest);
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send(GET);
    until("the backend has it", || backend.connections() == 1);
    drop(client);
    assert_eq!(heard.recv_timeout(crate::support::PATIENCE).unwrap(), b"");
}

#[test]
fn the_host_a_backend_sees_is_the_pools_to_say() {
    let backend = Backend::echo();
    for (host, wanted) in [
        ("preserve", "a.test".to_string()),
        ("backend", backend.addr.to_string()),
        ("in.test", "in.test".into()),
    ] {
        let proxy = Proxy::http(&[backend.addr], &format!("host = \"{host}\""));
        let seen = proxy.get("/").text();
        assert!(seen.contains(&format!("Host: {wanted}\r\n")), "{host}: {seen}");
    }
}

#[test]
fn an_absolute_target_names_the_host() {
    let backend = Backend::echo();
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send("GET http://b.test/x?y=1 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let seen = client.response().text();
    assert!(seen.starts_with("GET /x?y=1 HTTP/1.1\r\nHost: b.test\r\n"), "{seen}");
    assert_eq!(seen.matches("Host: ").count(), 2, "Host and X-Forwarded-Host: {seen}");
}

#[test]
fn a_loop_ends() {
    // A proxy whose only backend is itself.
    let port = crate::support::nobody().port();
    let toml = format!(
        "[listener.web]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\npool = \"app\"\n[pool.app]\nbackends = [\"127.0.0.1:{port}\"]\n"
    );
    let proxy = Proxy::start(&toml);
    assert_eq!(proxy.get("/").status, 508);
}

#[test]
fn a_unix_socket_serves_and_is_dialled() {
    let folder = tempfile::tempdir().unwrap();
    let (front, back) = (folder.path().join("front"), folder.path().join("back"));
    let listener = std::os::unix::net::UnixListener::bind(&back).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buf = [0; 4096];
        let n = stream.read(&mut buf).unwrap();
        // A path is no host.
        let head = String::from_utf8_lossy(&buf[..n]).to_ascii_lowercase();
        assert!(head.contains("\r\nhost: localhost\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").unwrap();
    });
    let toml = format!(
        "[listener.web]\nbind = \"unix:{}\"\nprotocol = \"http\"\npool = \"app\"\n[pool.app]\nhost = \"backend\"\nbackends = [\"unix:{}\"]\n",
        front.display(),
        back.display()
    );
    let _proxy = Proxy::start(&toml);
    let mut client = std::os::unix::net::UnixStream::connect(&front).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("unix"), "{text}");
}

#[test]
fn an_idle_client_is_let_go_after_keep_alive() {
    let backend = Backend::named("one");
    let web = crate::support_web(&[backend.addr], "");
    let proxy = Proxy::start(&format!(
        "{web}\n[defaults]\ntimeout = {{ keep_alive = \"50ms\", header = \"50ms\" }}\n"
    ));
    let mut client = proxy.client();
    client.send(GET);
    assert_eq!(client.response().status, 200);
    assert!(client.is_closed());
    // One that never says anything leaves without an answer.
    let mut silent = Client::connect(proxy.addr());
    assert!(silent.is_closed());
}

/// Old clients send a line behind what they said was their last request (RFC 9112 2.2).
#[test]
fn a_last_answer_is_whole_for_a_client_that_still_sends() {
    const LARGE: usize = 2 << 20;
    let backend = Backend::run(|peer| {
        let _ = peer.request();
        peer.answer(&"x".repeat(LARGE));
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    socket2::SockRef::from(&*client.stream()).set_recv_buffer_size(64 << 10).unwrap();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    // All of it is with our kernel, the end of it in nobody's hands yet.
    let mut came = client.bytes(LARGE * 4 / 5).len();
    client.send("\r\n");
    came += client.rest().len();
    assert!(came > LARGE, "{came}");
}

//! HTTP/2 from clients: what passes, asked by clients that nobody here wrote and by raw frames.
use crate::cli::Process;
use crate::support::h2::{
    ACK, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, block, frame,
};
use crate::support::{Backend, Proxy, access_lines, access_log, until, web};
use std::process::{Command, Output};

/// What curl says, body and errors.
fn curl(arguments: &[&str]) -> (String, String) {
    let Output { stdout, stderr, .. } =
        Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).output().unwrap();
    (String::from_utf8_lossy(&stdout).into(), String::from_utf8_lossy(&stderr).into())
}

fn h2c(proxy: &Proxy, path: &str, arguments: &[&str]) -> (String, String) {
    let url = format!("http://{}{path}", proxy.addr());
    curl(&[&["--http2-prior-knowledge", &url], arguments].concat())
}

#[test]
fn curl_asks_by_http_2_and_the_backend_by_http_1() {
    let backend = Backend::echo();
    let (folder, words) = access_log();
    let proxy = Proxy::http(&[backend.addr], &words);
    let (seen, said) = h2c(
        &proxy,
        "/p?q=1",
        &["-H", "X-A: 1", "-H", "Cookie: a=1; b=2", "-w", "%{stderr}%{http_version} %{http_code}"],
    );
    assert_eq!(said, "2 200", "{seen}");
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], "GET /p?q=1 HTTP/1.1");
    let host = format!("host: {}", proxy.addr());
    for there in [
        &host,
        "x-a: 1",
        "cookie: a=1; b=2",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
    ] {
        assert!(lines.contains(&there), "{there} not in {seen}");
    }
    assert!(seen.contains("\r\nVia: 2 evenkeel-"), "{seen}");
    let line = &access_lines(&folder, 1)[0];
    assert!(line.contains("\"status\":200") && line.contains("/p?q=1"), "{line}");
}

#[test]
fn bodies_of_any_length_pass_both_ways() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            let length = head.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            let body = peer.bytes(length.parse().unwrap());
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            peer.send(body);
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let folder = tempfile::tempdir().unwrap();
    for n in [0, 1, 65_535, 65_536, 5_000_000] {
        let path = folder.path().join("up");
        let sent: Vec<u8> = (0..n).map(|i| (i * 7 % 251) as u8).collect();
        std::fs::write(&path, &sent).unwrap();
        let down = folder.path().join("down");
        let (up, to) = (format!("@{}", path.display()), down.display().to_string());
        let (_, said) = h2c(&proxy, "/", &["--data-binary", &up, "-o", &to]);
        assert!(std::fs::read(&down).unwrap() == sent, "{n}: {said}");
        let _ = std::fs::remove_file(&down);
    }
}

#[test]
fn trailers_and_interim_answers_pass() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            peer.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 5\r\n\r\n",
            );
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let out = Command::new("nghttp").args(["-v", &format!("http://{}/", proxy.addr())]).output();
    let text = String::from_utf8_lossy(&out.unwrap().stdout).into_owned();
    for there in [":status: 103", "link: </a.css>", ":status: 200", "hello", "x-sum: 1"] {
        assert!(text.contains(there), "{there} not in {text}");
    }
    assert!(!text.contains("content-length") && !text.contains("transfer-encoding"), "{text}");
}

/// However many come at once: each costs the library more than its bytes.
#[test]
fn many_small_frames_are_a_body() {
    let backend = Backend::run(|peer| {
        let head = peer.request().unwrap();
        assert!(head.contains("content-length: 60000"), "{head}");
        let body = peer.bytes(60_000);
        peer.answer(&body.iter().filter(|byte| **byte == b'x').count().to_string());
    });
    let proxy = Process::serving(|port, admin| {
        format!(
            "[server]\nworkers = 1\n[admin]\nbind = \"127.0.0.1:{admin}\"\n\
             [listener.web]\nbind = \"127.0.0.1:{port}\"\npool = \"app\"\n\
             [pool.app]\nbackends = [\"{}\"]\n",
            backend.addr
        )
    });
    let mut client = Frames::connect(([127, 0, 0, 1], proxy.port).into());
    client.post(1, "/", &[("content-length", "60000")]);
    until("its request is there", || backend.connections() > 0);
    proxy.signal("STOP");
    let frames: Vec<u8> = (1..=60_000)
        .flat_map(|n| frame(DATA, if n == 60_000 { END_STREAM } else { 0 }, 1, b"x"))
        .collect();
    client.write(&frames);
    proxy.signal("CONT");
    assert_eq!(client.answer(1), (200, "60000".into()));
}

#[test]
fn trailers_of_a_request_reach_the_backend() {
    let backend = Backend::run(|peer| {
        let head = peer.request().unwrap();
        assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
        let body = peer.request().unwrap();
        peer.answer(&body);
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = Frames::connect(proxy.addr());
    client.post(1, "/", &[]);
    client.send(DATA, 0, 1, b"hello");
    let forged = [("x-client-cert-verified", "yes"), ("x_client_cert_names", "root")];
    let address = [("x-forwarded-port", "1"), ("x_forwarded_for", "6.6.6.6")];
    let trailers = [&[("x-sum", "1"), ("host", "evil")][..], &forged, &address].concat();
    let trailers = block(&trailers);
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &trailers);
    let (status, body) = client.answer(1);
    assert_eq!((status, &*body), (200, "5\r\nhello\r\n0\r\nx-sum: 1\r\n"));
}

#[test]
fn head_and_answers_without_content_end_where_they_should() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            match head.as_bytes()[0] {
                b'H' => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
                _ if head.contains("/304") => {
                    peer.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n");
                }
                _ => peer.send("HTTP/1.1 204 No Content\r\n\r\n"),
            }
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let (head, _) = h2c(&proxy, "/", &["-I"]);
    assert!(head.starts_with("HTTP/2 200") && head.contains("content-length: 7"), "{head}");
    for (path, start) in [("/304", "HTTP/2 304"), ("/204", "HTTP/2 204")] {
        let (head, said) = h2c(&proxy, path, &["-i"]);
        assert!(head.starts_with(start) && said.is_empty(), "{head} {said}");
    }
    let before = backend.connections();
    let mut client = Frames::connect(proxy.addr());
    for (stream, path, status) in [(1, "/304", 304), (3, "/204", 204), (5, "/304", 304)] {
        client.get(stream, path, &[]);
        assert_eq!(client.answer(stream), (status, String::new()));
    }
    assert!(backend.connections() <= before + 1, "nothing was left that would spoil it");
}

#[test]
fn streams_of_one_connection_are_served_side_by_side() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            if head.starts_with("GET /slow ") {
                let _ = peer.byte();
                return;
            }
            peer.answer("fast");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = Frames::connect(proxy.addr());
    client.get(1, "/slow", &[]);
    client.get(3, "/", &[]);
    assert_eq!(client.answer(3), (200, "fast".into()));
    client.get(5, "/", &[]);
    assert_eq!(client.answer(5), (200, "fast".into()));
}

#[test]
fn h2load_finds_every_answer() {
    let backend = Backend::named("one");
    let proxy = Proxy::http(&[backend.addr], "");
    let url = format!("http://{}/", proxy.addr());
    let out =
        Command::new("h2load").args(["-n", "2000", "-c", "4", "-m", "32", &url]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("2000 succeeded, 0 failed, 0 errored"), "{text}");
    assert!(text.contains("2000 2xx"), "{text}");
}

#[test]
fn an_answer_that_breaks_ends_in_a_reset_and_the_connection_goes_on() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            if head.starts_with("GET /length ") {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
                return;
            }
            if head.starts_with("GET /chunks ") {
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
                return;
            }
            peer.answer("whole");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = Frames::connect(proxy.addr());
    for (stream, path) in [(1, "/length"), (3, "/chunks")] {
        client.get(stream, path, &[]);
        let reset = client.until("a reset", |f| f.stream == stream && f.kind == RST_STREAM);
        assert_eq!(reset.code(), 2, "INTERNAL_ERROR");
    }
    client.get(5, "/", &[]);
    assert_eq!(client.answer(5), (200, "whole".into()));
}

#[test]
fn a_request_that_is_taken_back_ends_at_its_backend() {
    let (asked, heard) = std::sync::mpsc::channel();
    let backend = Backend::run(move |peer| {
        peer.request().unwrap();
        asked.send("asked").unwrap();
        assert_eq!(peer.byte(), None);
        asked.send("ended").unwrap();
    });
    let (folder, words) = access_log();
    let proxy = Proxy::http(&[backend.addr], &words);
    let mut client = Frames::connect(proxy.addr());
    client.get(1, "/", &[]);
    assert_eq!(heard.recv().unwrap(), "asked");
    client.send(RST_STREAM, 0, 1, &8u32.to_be_bytes());
    assert_eq!(heard.recv().unwrap(), "ended");
    let line = &access_lines(&folder, 1)[0];
    assert!(line.contains("\"status\":499") && line.contains("client_gone"), "{line}");
}

#[test]
fn what_is_malformed_reaches_no_backend_and_other_streams_go_on() {
    let backend = Backend::named("fine");
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = Frames::connect(proxy.addr());
    let mut stream = 1;
    let odd: Vec<Vec<(&str, &str)>> = vec![
        vec![(":method", "GET"), (":scheme", "http"), (":authority", "a.test")],
        vec![(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "a")],
        vec![(":method", "GET"), (":scheme", "http"), (":path", "p"), (":authority", "a")],
        vec![(":method", "GET"), (":scheme", "http"), (":path", "*"), (":authority", "a")],
        vec![(":method", "GET"), (":path", "/"), (":authority", "a")],
        vec![(":scheme", "http"), (":path", "/"), (":authority", "a")],
        vec![(":method", "GET"), (":scheme", "http"), (":path", "/")],
        vec![(":scheme", "http"), (":path", "/"), ("host", "a")],
        vec![(":method", "GET"), ("host", "a")],
    ];
    let more = |extra: &[(&'static str, &'static str)]| {
        let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        [&usual[..], extra].concat()
    };
    let odd = odd.into_iter().chain(
        [
            &[(":path", "/2")][..],
            &[("x-a", "1"), (":method", "GET")],
            &[(":status", "200")],
            &[(":protocol", "websocket")],
            &[("connection", "close")],
            &[("keep-alive", "1")],
            &[("proxy-connection", "close")],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "h2c")],
            &[("te", "gzip")],
            &[("host", "b")],
            &[("host", "a"), ("host", "a")],
            &[("x-a", " padded")],
            &[("x-a", "padded\t")],
            &[("content-length", "5")],
            &[("content-length", "0"), ("content-length", "5")],
            &[("content-length", "+0")],
            &[("expect", "more")],
            &[("X-A", "1")],
            &[("x a", "1")],
            &[("", "1")],
            &[("x-a", "a\r\nb")],
            &[("x-a", "a\0")],
            &[(":odd", "1")],
            &[("host", "a"), ("host", "a")],
        ]
        .map(more),
    );
    for fields in odd {
        client.send(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields));
        let frame = client.until("an answer", |f| {
            f.kind == GOAWAY || (f.stream == stream && matches!(f.kind, HEADERS | RST_STREAM))
        });
        match frame.kind {
            RST_STREAM => assert_eq!(frame.code(), 1, "PROTOCOL_ERROR for {fields:?}"),
            HEADERS => {
                assert!(matches!(frame.status(), 400 | 417), "{} for {fields:?}", frame.status());
            }
            _ => panic!("the connection ended for {fields:?}: {frame:?}"),
        }
        stream += 2;
    }
    for authority in ["u:p@a", "a b", "a/b"] {
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
        let fields = [&fields[..], &[(":authority", authority)]].concat();
        client.send(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields));
        let frame = client.until("an answer", |f| f.stream == stream);
        assert!(frame.kind == RST_STREAM || frame.status() == 400, "{authority}: {frame:?}");
        stream += 2;
    }
    assert_eq!(backend.connections(), 0, "nothing reached it");
    client.get(stream, "/", &[]);
    assert_eq!(client.answer(stream), (200, "fine".into()));
}

#[test]
fn a_body_of_another_length_never_looks_whole() {
    let (ended, heard) = std::sync::mpsc::channel();
    let backend = Backend::run(move |peer| {
        peer.request().unwrap();
        ended.send(peer.rest()).unwrap();
    });
    let proxy = Proxy::http(&[backend.addr], "");
    for body in [&b"123"[..], b"1234567"] {
        let mut client = Frames::connect(proxy.addr());
        client.post(1, "/", &[("content-length", "5")]);
        client.send(DATA, END_STREAM, 1, body);
        let reset = client.until("a reset", |f| f.kind == RST_STREAM);
        assert_eq!(reset.code(), 1, "PROTOCOL_ERROR");
        if let Ok(got) = heard.recv_timeout(std::time::Duration::from_secs(1)) {
            assert!(got.len() < 5, "{got:?}");
        }
    }
}

/// However long its end takes: before that nobody can know that it is right.
#[test]
fn a_body_looks_whole_when_its_client_has_ended_it() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            let n = if head.contains("content-length: 4") { 4 } else { 0 };
            let body = String::from_utf8(peer.bytes(n)).unwrap();
            peer.answer(&format!("all of {body}"));
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    for (length, body) in [("4", &b"abcd"[..]), ("0", b"")] {
        for (more, wrong) in [(&b"e"[..], true), (b"", false)] {
            let mut client = Frames::connect(proxy.addr());
            client.post(1, "/", &[("content-length", length)]);
            client.send(DATA, 0, 1, body);
            // Behind another stream's answer the backend would have had all of it.
            for stream in [3, 5, 7] {
                client.get(stream, "/", &[]);
                assert_eq!(client.answer(stream), (200, "all of ".into()));
            }
            client.send(DATA, END_STREAM, 1, more);
            let ended = |f: &crate::support::h2::Frame| {
                f.stream == 1 && (f.kind == RST_STREAM || f.kind == DATA || f.kind == 1)
            };
            let first = client.until("its end", ended);
            assert_eq!(first.kind == RST_STREAM, wrong, "{length}: {first:?}");
        }
    }
}

#[test]
fn own_answers_limits_and_expectations_are_those_of_http_1() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            assert!(head.contains("expect: 100-continue"), "{head}");
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = peer.bytes(5);
            peer.answer(&String::from_utf8_lossy(&body));
        }
    });
    let more = "[defaults.limits]\nhead = \"4KiB\"\nbody = \"10B\"\n\
        [[route]]\npath = \"/gone\"\nrespond = 410\n[[route]]\npath = \"/away\"\nredirect.host = \"b\"";
    let proxy = Proxy::http(&[backend.addr], more);
    let code = &["-w", "%{stderr}%{http_code}", "-o", "/dev/null"];
    assert_eq!(h2c(&proxy, "/gone", code).1, "410");
    assert_eq!(h2c(&proxy, "/away", code).1, "308");
    assert_eq!(h2c(&proxy, "/", &[&["-X", "TRACE"], &code[..]].concat()).1, "405");
    let long = format!("X-A: {}", "a".repeat(5000));
    assert_eq!(h2c(&proxy, "/", &[&["-H", &long], &code[..]].concat()).1, "431");
    assert_eq!(h2c(&proxy, "/", &[&["-d", "12345678901"], &code[..]].concat()).1, "413");
    let (body, _) = h2c(&proxy, "/", &["-d", "12345", "-H", "Expect: 100-continue"]);
    assert_eq!(body, "12345");
}

#[test]
fn a_websocket_goes_through_a_stream() {
    let backend = Backend::run(|peer| {
        let head = peer.request().unwrap();
        for there in ["GET /chat HTTP/1.1", "Upgrade: websocket", "sec-websocket-key: "] {
            assert!(head.contains(there), "{there} not in {head}");
        }
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        );
        let key = head.split("sec-websocket-key: ").nth(1).unwrap().lines().next().unwrap();
        let accept = crate::websocket::accept(key);
        peer.send(format!("Sec-WebSocket-Accept: {accept}\r\n\r\nhi"));
        let got = peer.bytes(4);
        peer.send(got);
        assert_eq!(peer.byte(), None);
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = Frames::connect(proxy.addr());
    let settings = client.until("settings", |f| f.kind == crate::support::h2::SETTINGS);
    assert!(settings.payload.chunks(6).any(|s| s == [0, 8, 0, 0, 0, 1]), "{settings:?}");
    let connect = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "a.test"),
        ("sec-websocket-version", "13"),
    ];
    client.send(HEADERS, END_HEADERS, 1, &block(&connect));
    let head = client.until("a head", |f| f.kind == HEADERS);
    assert_eq!((head.status(), head.flags & END_STREAM), (200, 0));
    client.send(DATA, 0, 1, b"ping");
    let mut got = Vec::new();
    while got != b"hiping" {
        got.extend(client.until("data", |f| f.kind == DATA).payload);
    }
    client.send(DATA, END_STREAM, 1, b"");
    client.until("the end", |f| f.kind == DATA && f.flags & END_STREAM != 0);
}

#[test]
fn a_websocket_that_no_backend_opens_is_not_open() {
    let backend = Backend::named("plain");
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = Frames::connect(proxy.addr());
    let connect = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a.test"),
    ];
    client.send(HEADERS, END_HEADERS, 1, &block(&connect));
    assert_eq!(client.until("a head", |f| f.kind == HEADERS).status(), 502);
}

#[test]
fn grpc_hears_its_own_words() {
    let dead = crate::support::nobody();
    let silent = Backend::run(|peer| {
        let _ = peer.rest();
    });
    let more = format!(
        "[[route]]\npath = \"/silent\"\npool = \"silent\"\n\
         [pool.silent]\nbackends = [\"{}\"]\n",
        silent.addr
    );
    let proxy = Proxy::http(&[dead], &more);
    let ask = |path: &str, fields: &[&str]| {
        let fields: Vec<&str> = fields.iter().flat_map(|f| ["-H", *f]).collect();
        let kind =
            ["-i", "-X", "POST", "-H", "content-type: application/grpc", "-H", "te: trailers"];
        h2c(&proxy, path, &[&kind[..], &fields].concat()).0
    };
    let answer = ask("/s/M", &[]);
    assert!(answer.starts_with("HTTP/2 200") && answer.contains("grpc-status: 14"), "{answer}");
    assert!(answer.contains("content-type: application/grpc"), "{answer}");
    let answer = ask("/silent/M", &["grpc-timeout: 200m"]);
    assert!(answer.contains("grpc-status: 4"), "{answer}");
    let plain = h2c(&proxy, "/s/M", &["-i"]).0;
    assert!(plain.starts_with("HTTP/2 50") && !plain.contains("grpc"), "{plain}");
}

#[test]
fn a_stream_sees_the_plan_of_its_time() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let proxy = Proxy::http(&[one.addr], "");
    let mut client = Frames::connect(proxy.addr());
    client.get(1, "/", &[]);
    assert_eq!(client.answer(1), (200, "one".into()));
    proxy.reload(&web(&[two.addr], "")).unwrap();
    client.get(3, "/", &[]);
    assert_eq!(client.answer(3), (200, "two".into()));
}

#[test]
fn a_drain_lets_streams_end_and_takes_no_more() {
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            let _ = gate.lock().unwrap().recv();
            peer.answer("late");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = Frames::connect(proxy.addr());
    client.get(1, "/", &[]);
    until("it is asked", || backend.connections() == 1);
    // Its listener goes.
    proxy.reload(&web(&[backend.addr], "").replace("listener.web", "listener.other")).unwrap();
    let first = client.until("a goodbye", |f| f.kind == GOAWAY);
    assert_eq!(first.code(), 0);
    // What was on its way is served.
    client.get(3, "/", &[]);
    let ping = client.until("a ping", |f| f.kind == 6);
    client.send(6, ACK, 0, &ping.payload);
    go.send(()).unwrap();
    go.send(()).unwrap();
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let frame = client.until("an end", |f| f.kind == DATA && f.flags & END_STREAM != 0);
        ended.push(frame.stream);
    }
    ended.sort_unstable();
    assert_eq!(ended, [1, 3]);
    assert_eq!(client.next().filter(|f| f.kind != GOAWAY), None, "it is over");
}

#[test]
fn tls_clients_get_http_2_where_both_know_it() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["a.test".into()]).unwrap();
    let (cert, key) = (folder.path().join("a.pem"), folder.path().join("a.key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let backend = Backend::echo();
    let proxy_with = |alpn: &str| {
        let tls = format!(
            "protocol = \"http\"\ntls = {{ certificates = [{{ cert = \"{}\", key = \"{}\" }}]{alpn} }}",
            cert.display(),
            key.display()
        );
        Proxy::start(&web(&[backend.addr], "").replace("protocol = \"http\"", &tls))
    };
    let version = |proxy: &Proxy, flag: &str| {
        let port = proxy.addr().port();
        let (url, to) = (format!("https://a.test:{port}/"), format!("a.test:{port}:127.0.0.1"));
        let (body, said) =
            curl(&[flag, "-k", "--resolve", &to, &url, "-w", "%{stderr}%{http_version}"]);
        assert!(body.contains("X-Forwarded-Proto: https"), "{body} {said}");
        said
    };
    let proxy = proxy_with("");
    assert_eq!(version(&proxy, "--http2"), "2");
    assert_eq!(version(&proxy, "--http1.1"), "1.1");
    let old = proxy_with(", alpn = [\"http/1.1\"]");
    assert_eq!(version(&old, "--http2"), "1.1");
}

#[test]
fn streams_that_a_drain_cuts_are_told_and_counted() {
    let backend = Backend::run(|peer| {
        let Some(head) = peer.request() else { return };
        if head.starts_with("GET /half ") {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
        peer.rest();
    });
    let (folder, words) = access_log();
    let kept = "[listener.kept]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n";
    let server = format!("[server]\ngrace = \"100ms\"\n{kept}{words}\n");
    let listener = web(&[backend.addr], "");
    let pool = &listener[listener.find("[pool.app]").unwrap()..];
    let proxy = Proxy::start(&format!("{server}{listener}"));
    let mut client = Frames::connect(proxy.addr());
    client.get(1, "/half", &[]);
    client.until("half of it", |f| f.kind == DATA && f.payload == b"half");
    client.get(3, "/waiting", &[]);
    until("both are asked", || backend.connections() == 2);
    proxy.reload(&format!("{server}{pool}")).unwrap();
    let lines = access_lines(&folder, 2);
    client.goodbye();
    for (path, status) in [("/half", 200), ("/waiting", 503)] {
        let line = lines.iter().find(|l| l.contains(&format!("\"{path}\""))).unwrap();
        assert!(line.contains("\"reason\":\"drain_cut\""), "{line}");
        assert!(line.contains(&format!("\"status\":{status},")), "{line}");
    }
}

#[test]
fn an_upload_goes_no_faster_than_its_backend_takes_it() {
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let backend = Backend::run(move |peer| {
        peer.request().unwrap();
        gate.lock().unwrap().recv().unwrap();
        let body = peer.bytes(32 << 20);
        peer.answer(&body.len().to_string());
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = Frames::connect(proxy.addr());
    let mut reader = Frames::over(client.stream().try_clone().unwrap());
    client.post(1, "/", &[("content-length", &(32 << 20).to_string())]);
    // As much as the windows let through, while nobody takes anything: a small part of it. What it
    // takes to be sure is that a PING is answered by whom nothing more is let through.
    let (mut stream, mut connection, mut sent) = (1i64 << 20, 65_535i64, 0usize);
    let piece = vec![b'u'; 16_384];
    let mut go = Some(go);
    let mut quiet = 0;
    while sent < 32 << 20 {
        while stream >= 16_384 && connection >= 16_384 && sent < 32 << 20 {
            client.send(DATA, 0, 1, &piece);
            (stream, connection, sent) = (stream - 16_384, connection - 16_384, sent + 16_384);
            quiet = 0;
        }
        if sent == 32 << 20 {
            break;
        }
        if go.is_some() {
            client.send(6, 0, 0, &[0; 8]);
        }
        let frame = reader.until("more room", |f| f.kind == 8 || (f.kind == 6 && f.flags == ACK));
        if frame.kind == 8 {
            let n = i64::from(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
            if frame.stream == 0 {
                connection += n
            } else {
                stream += n
            }
            continue;
        }
        quiet += 1;
        if quiet == 100
            && let Some(go) = go.take()
        {
            assert!(sent < 24 << 20, "{sent} bytes were let through");
            go.send(()).unwrap();
        }
    }
    client.send(DATA, END_STREAM, 1, &[]);
    assert_eq!(reader.answer(1), (200, (32 << 20).to_string()));
}

#[test]
fn an_answer_of_grpc_that_breaks_ends_with_a_status() {
    let backend = Backend::run(|peer| {
        peer.request().unwrap();
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n");
        peer.send("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let out = Command::new("nghttp")
        .args([
            "-v",
            "-H",
            "content-type: application/grpc",
            &format!("http://{}/s/M", proxy.addr()),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("hello") && text.contains("grpc-status: 14"), "{text}");
}

#[test]
fn a_client_that_knows_better_is_believed_before_its_first_request_alone() {
    let backend = Backend::named("one");
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    client.send("PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().status, 505);
    let mut client = proxy.client();
    assert_eq!(client.ask("GET", "/", "").status, 200);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().status, 505);
}

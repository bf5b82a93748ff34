//! HTTP/2 that is wrong: each kind of it is answered with the protocol's own error, counted, and
//! nothing of it reaches a backend.
use crate::support::h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, usual,
};
use crate::support::{Backend, Certs, Client, Proxy, access_lines, access_log, until, web};
use std::io::{Read, Write};
use std::time::Duration;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const COMPRESSION: u32 = 9;

fn word(code: u32) -> &'static str {
    match code {
        PROTOCOL => "protocol_error",
        FLOW_CONTROL => "flow_control_error",
        STREAM_CLOSED => "stream_closed",
        FRAME_SIZE => "frame_size_error",
        COMPRESSION => "compression_error",
        code => panic!("{code} has no word"),
    }
}

fn errors(proxy: &Proxy) -> Vec<(&'static str, u64)> {
    let plan = proxy.running().state().plan.load_full().unwrap();
    plan.listeners["web"].cells.http2_errors.all()
}

fn limits(proxy: &Proxy) -> Vec<(&'static str, u64)> {
    let plan = proxy.running().state().plan.load_full().unwrap();
    plan.listeners["web"].cells.limit_hits.all()
}

/// A request that is fine, but for what follows it.
fn post() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &usual("POST", "/"))
}

#[test]
fn frames_that_are_wrong_end_the_connection_with_their_error() {
    let settings = |id: u16, value: u32| {
        let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        frame(SETTINGS, 0, 0, &payload)
    };
    let window = |n: u32| n.to_be_bytes();
    let head = |flags, stream, payload: &[u8]| frame(HEADERS, flags, stream, payload);
    let whole = END_HEADERS | END_STREAM;
    let cases: Vec<(&str, Vec<u8>, u32)> = vec![
        ("a frame above 16 KiB", frame(DATA, 0, 1, &[0; 16_385]), FRAME_SIZE),
        ("settings of five bytes", frame(SETTINGS, 0, 0, &[0; 5]), FRAME_SIZE),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL),
        ("an ack that says something", frame(SETTINGS, ACK, 0, &[0; 6]), FRAME_SIZE),
        ("push neither on nor off", settings(2, 2), PROTOCOL),
        ("a window above 2^31-1", settings(4, 1 << 31), FLOW_CONTROL),
        ("frames too small", settings(5, 100), PROTOCOL),
        ("frames too large", settings(5, 1 << 24), PROTOCOL),
        ("a ping of seven bytes", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE),
        ("a ping of a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL),
        ("data of no stream", frame(DATA, 0, 0, b"x"), PROTOCOL),
        ("data of an idle stream", frame(DATA, 0, 1, b"x"), PROTOCOL),
        ("a head of no stream", head(whole, 0, &usual("GET", "/")), PROTOCOL),
        ("a head of an even stream", head(whole, 2, &usual("GET", "/")), PROTOCOL),
        ("padding longer than its frame", head(whole | 8, 1, &[200, 0x82]), PROTOCOL),
        ("a priority without its bytes", head(whole | 0x20, 1, &[0, 0]), FRAME_SIZE),
        ("a reset of an idle stream", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), PROTOCOL),
        ("a reset of no stream", frame(RST_STREAM, 0, 0, &[0, 0, 0, 8]), PROTOCOL),
        ("a reset of three bytes", frame(RST_STREAM, 0, 1, &[0; 3]), FRAME_SIZE),
        ("a window of nothing", frame(WINDOW_UPDATE, 0, 0, &window(0)), PROTOCOL),
        ("a window of three bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), FRAME_SIZE),
        ("a window of an idle stream", frame(WINDOW_UPDATE, 0, 1, &window(1)), PROTOCOL),
        ("too large a window", frame(WINDOW_UPDATE, 0, 0, &window((1 << 31) - 1)), FLOW_CONTROL),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &[0x82]), PROTOCOL),
        ("a push", frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]), PROTOCOL),
        ("a goodbye of four bytes", frame(GOAWAY, 0, 0, &[0; 4]), FRAME_SIZE),
        ("a goodbye of a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        (
            "another frame inside a head",
            [head(END_STREAM, 1, &usual("GET", "/")), frame(PING, 0, 0, &[0; 8])].concat(),
            PROTOCOL,
        ),
        (
            "another stream inside a head",
            [
                head(END_STREAM, 1, &usual("GET", "/")),
                frame(CONTINUATION, END_HEADERS, 3, &block(&[("x-a", "1")])),
            ]
            .concat(),
            PROTOCOL,
        ),
        ("the field of number 0", head(whole, 1, &[0x80]), COMPRESSION),
        ("a field of no table", head(whole, 1, &[0x82, 0xff, 0x7f]), COMPRESSION),
        ("a number without an end", head(whole, 1, &[0xff; 20]), COMPRESSION),
        ("a name that is cut", head(whole, 1, &[0, 20, b'x']), COMPRESSION),
        ("Huffman's end inside", head(whole, 1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff]), COMPRESSION),
        ("a table above its bound", head(whole, 1, &[0x3f, 0xe1, 0xff, 0x03]), COMPRESSION),
    ];
    let backend = Backend::named("fine");
    let proxy = Proxy::http(&[backend.addr], "");
    let mut wrong = Vec::new();
    for (what, bytes, code) in cases {
        let before: u64 = errors(&proxy).iter().map(|(_, n)| n).sum();
        let mut client = Frames::connect(proxy.addr());
        client.write(&bytes);
        let said = client.goodbye();
        if said != Some(code) {
            wrong.push(format!("{what}: {said:?} and not {code}"));
        }
        let Some(said) = said.filter(|said| *said != 0) else { continue };
        until(&format!("{what} is counted"), || {
            errors(&proxy).iter().map(|(_, n)| n).sum::<u64>() == before + 1
        });
        assert!(errors(&proxy).iter().any(|(w, _)| *w == word(said)), "{what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(backend.connections(), 0, "nothing reached it");
}

/// What ends a stream, or the connection, that had begun a request.
#[test]
fn frames_that_are_wrong_for_their_stream_end_it() {
    let cases: Vec<(&str, Vec<u8>, &[u32])> = vec![
        (
            "a window of nothing",
            [post(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            &[PROTOCOL],
        ),
        (
            "data behind the end",
            [
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &usual("GET", "/")),
                frame(DATA, 0, 1, b"more"),
            ]
            .concat(),
            &[STREAM_CLOSED, PROTOCOL],
        ),
        (
            "trailers that end nothing",
            [post(), frame(HEADERS, END_HEADERS, 1, &block(&[("x-a", "1")]))].concat(),
            &[PROTOCOL],
        ),
        (
            "padding longer than its frame",
            [post(), frame(DATA, 8, 1, &[9, 1])].concat(),
            &[PROTOCOL],
        ),
        (
            "more data than the window",
            [post(), (0..1280).flat_map(|_| frame(DATA, 0, 1, &[0; 16_384])).collect()].concat(),
            &[FLOW_CONTROL],
        ),
    ];
    // It reads nothing: windows stay closed once the kernel's buffers are full.
    let (_end, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::run(move |_| {
        let _ = wait.lock().unwrap().recv();
    });
    let proxy = Proxy::http(&[backend.addr], "");
    for (what, bytes, codes) in cases {
        let mut client = Frames::connect(proxy.addr());
        client.write(&bytes);
        let ended = client.until(what, |f| matches!(f.kind, RST_STREAM | GOAWAY));
        assert!(codes.contains(&ended.code()), "{what}: {ended:?}");
    }
}

#[test]
fn a_preface_that_is_cut_garbled_or_slow_ends_and_is_counted() {
    let certs = Certs::new();
    certs.make("a", &["a.test"]);
    let backend = Backend::named("fine");
    let more = "[defaults.timeout]\nheader = \"500ms\"";
    let tls = format!("protocol = \"http\"\n{}", certs.table(&["a"], ""));
    let plain = Proxy::http(&[backend.addr], more);
    let secure = Proxy::start(&web(&[backend.addr], more).replace("protocol = \"http\"", &tls));
    // In the clear what is not begun as HTTP/2 is wrong as HTTP/1.
    for garbled in [
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
        "PRI / HTTP/2.0\r\n\r\n",
    ] {
        let mut client = plain.client();
        client.send(garbled);
        assert_eq!(client.response().status, 505, "{garbled:?}");
    }
    // Cut in the middle by the client, and by time.
    let mut cut = plain.client();
    cut.send(&PREFACE[..20]);
    cut.end();
    assert!(!String::from_utf8_lossy(&cut.rest()).contains("HTTP/1"));
    until("it is counted", || errors(&plain) == [("preface", 1)]);
    for n in [17, 23, 24] {
        let mut slow = plain.client();
        slow.send(&PREFACE[..n]);
        slow.rest();
    }
    assert_eq!(limits(&plain), [("header", 3)]);
    // By TLS they had agreed.
    for garbled in [&b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..], &[0; 30], &PREFACE[..10]] {
        let before = errors(&secure).iter().map(|(_, n)| n).sum::<u64>();
        let mut client = agreed(&certs, &secure);
        client.write_all(garbled).unwrap();
        client.conn.send_close_notify();
        client.flush().unwrap();
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1"), "{rest:?}");
        until("it is counted", || {
            errors(&secure).iter().map(|(_, n)| n).sum::<u64>() == before + 1
        });
    }
    // Who says nothing did nothing wrong.
    drop(agreed(&certs, &secure));
    let mut idle = agreed(&certs, &secure);
    let _ = idle.read_to_end(&mut Vec::new());
    assert_eq!(limits(&secure), [("header", 1)]);
    assert_eq!(errors(&secure), [("preface", 3)]);
    assert_eq!(backend.connections(), 0);
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>;

/// A TLS connection that agreed on HTTP/2.
fn agreed(certs: &Certs, proxy: &Proxy) -> Tls {
    agreed_with(certs, proxy, None)
}

fn agreed_with(certs: &Certs, proxy: &Proxy, own: Option<&str>) -> Tls {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certs.ca()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some(name) => {
            let cert = CertificateDer::from_pem_file(certs.path(&format!("{name}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(certs.path(&format!("{name}.key"))).unwrap();
            config.with_client_auth_cert(vec![cert], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = "a.test".try_into().unwrap();
    let connection = rustls::ClientConnection::new(config.into(), name).unwrap();
    let stream = std::net::TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut tls = rustls::StreamOwned::new(connection, stream);
    tls.flush().unwrap();
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock).unwrap();
    }
    assert_eq!(tls.conn.alpn_protocol(), Some(&b"h2"[..]));
    tls
}

/// The next frame.
fn next(tls: &mut Tls) -> Frame {
    let mut head = [0; 9];
    tls.read_exact(&mut head).unwrap();
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    tls.read_exact(&mut payload).unwrap();
    let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
    Frame { kind: head[3], flags: head[4], stream, payload }
}

#[test]
fn a_host_that_the_certificate_is_not_for_is_misdirected() {
    let certs = Certs::new();
    certs.make("a", &["a.test", "*.b.test"]).make("client", &["client.test"]);
    let backend = Backend::named("fine");
    let ca = certs.path("ca.pem").display().to_string();
    let asks = certs.table(&["a"], &format!(", client_ca = \"{ca}\""));
    let (folder, log) = access_log();
    let tls = format!("protocol = \"http\"\n{asks}");
    let proxy = Proxy::start(&web(&[backend.addr], &log).replace("protocol = \"http\"", &tls));
    let said = [
        ("a.test", 200),
        ("other.test", 421),
        ("x.b.test:8443", 200),
        ("x.y.b.test", 421),
        ("A.TEST.", 200),
        ("127.0.0.1", 421),
    ];
    for (authority, status) in said {
        let mut client = agreed_with(&certs, &proxy, Some("client"));
        client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).unwrap();
        let fields =
            [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", authority)];
        let bytes = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields));
        client.write_all(&bytes).unwrap();
        let head = loop {
            let frame = next(&mut client);
            if frame.kind == HEADERS && frame.stream == 1 {
                break frame;
            }
        };
        assert_eq!(head.status(), status, "{authority}");
    }
    let lines = access_lines(&folder, 6);
    let misdirected = lines.iter().filter(|l| l.contains("\"reason\":\"misdirected\""));
    assert_eq!(misdirected.count(), 3);
    // Where no certificate is asked for, names are the routes' business alone.
    let open = format!("protocol = \"http\"\n{}", certs.table(&["a"], ""));
    let proxy = Proxy::start(&web(&[backend.addr], "").replace("protocol = \"http\"", &open));
    let mut client = agreed(&certs, &proxy);
    let fields =
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "other.test")];
    let bytes = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields));
    client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &bytes].concat()).unwrap();
    while next(&mut client).kind != HEADERS {}
}

/// What could mean something else to a backend of HTTP/1.1: refused, and never sent there.
#[test]
fn what_http_1_cannot_say_is_never_said() {
    let backend = Backend::named("fine");
    let proxy = Proxy::http(&[backend.addr], "");
    let pseudo = |name: &str, value: &'static str| -> Vec<(&'static str, &'static str)> {
        let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        usual.map(|(n, v)| if n == name { (n, value) } else { (n, v) }).to_vec()
    };
    let with =
        |name: &'static str, value: &'static str| [pseudo("", ""), vec![(name, value)]].concat();
    let mut cases = Vec::new();
    for bad in ["/a b", "/a\r\nX: 1", "/a\nb", "/a\0b", "/a\tb", "/\u{7f}", "http://a/", "/\u{e4}"]
    {
        cases.push(pseudo(":path", bad));
    }
    for bad in ["G ET", "GET\r\nX: 1", "GET\n", "G\0T", "GET\t", "G:T", "G/T", "G(T"] {
        cases.push(pseudo(":method", bad));
    }
    for bad in ["a b", "a\r\nX: 1", "a\nb", "a\0b", "a/b", "a?b", "a#b", "u@a", "", "[::1"] {
        cases.push(pseudo(":authority", bad));
        if !bad.is_empty() {
            let rest = pseudo("", "").into_iter().filter(|(n, _)| *n != ":authority");
            cases.push(rest.chain([("host", bad)]).collect());
        }
    }
    for bad in ["http\r\n", "ht tp", "ftp", "1http", "http/"] {
        cases.push(pseudo(":scheme", bad));
    }
    for bad in ["x a", "x\ra", "x\na", "x\0a", "x:a", "x\ta", "X-A", "x\u{7f}", "x(", ""] {
        cases.push(with(bad, "1"));
    }
    for bad in [
        "a\rb",
        "a\nb",
        "a\0b",
        "a\r\nX-B: 1",
        "a\r\n\r\nGET / HTTP/1.1",
        "\u{7f}",
        "a\u{1}b",
        " a",
        "a ",
        "\ta",
        "a\t",
    ] {
        cases.push(with("x-a", bad));
        cases.push(with("cookie", bad));
    }
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("connection", "x-a"),
        ("connection", "close"),
        ("proxy-connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "websocket"),
        ("te", "chunked"),
        ("te", "trailers, chunked"),
        ("content-length", "5"),
        ("content-length", "-0"),
        ("content-length", "0x0"),
        ("content-length", "0,0"),
        ("content-length", ""),
        ("content-length", "18446744073709551616"),
        ("host", "b"),
        ("host", "a:80"),
        (":method", "GET"),
        (":path", "/"),
        (":authority", "a"),
        (":scheme", "http"),
        (":odd", "1"),
        (":status", "200"),
    ] {
        cases.push(with(name, value));
    }
    for missing in [":method", ":scheme", ":path", ":authority"] {
        cases.push(pseudo("", "").into_iter().filter(|(n, _)| *n != missing).collect());
    }
    let count = cases.len();
    for fields in cases {
        let mut client = Frames::connect(proxy.addr());
        client.send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields));
        let ended = client.until("an end", |f| {
            f.kind == GOAWAY || (f.stream == 1 && matches!(f.kind, HEADERS | RST_STREAM))
        });
        match ended.kind {
            HEADERS => {
                let status = ended.status();
                assert!((400..500).contains(&status), "{status} for {fields:?}");
            }
            _ => assert_eq!(ended.code(), PROTOCOL, "{fields:?}"),
        }
    }
    assert!(count > 95, "{count} cases");
    assert_eq!(backend.connections(), 0, "not a byte reached it");
}

/// What is malformed ends its stream, and nothing else.
#[test]
fn malformed_heads_end_their_stream() {
    let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let pseudo = |name: &'static str, value: &'static str| -> Vec<(&'static str, &'static str)> {
        usual.map(|(n, v)| if n == name { (n, value) } else { (n, v) }).to_vec()
    };
    let with = |name, value| [&usual[..], &[(name, value)]].concat();
    let without = |name| usual.into_iter().filter(|(n, _)| *n != name).collect::<Vec<_>>();
    let late = [&usual[..2], &[("x-a", "1")], &usual[2..]].concat();
    let malformed = [
        without(":method"),
        without(":scheme"),
        without(":path"),
        without(":authority"),
        pseudo(":path", "/a b"),
        pseudo(":path", "/a\r\nX: 1"),
        pseudo(":path", "/\u{e4}"),
        pseudo(":path", ""),
        pseudo(":path", "http://a/"),
        pseudo(":authority", "a b"),
        pseudo(":authority", "u@a"),
        pseudo(":authority", ""),
        pseudo(":scheme", "ftp"),
        pseudo(":scheme", "ht tp"),
        with(":status", "200"),
        with(":method", "GET"),
        with(":path", "/"),
        late,
        with("connection", "close"),
        with("transfer-encoding", "chunked"),
        with("upgrade", "websocket"),
        with("te", "chunked"),
        with("x-a", " a"),
        with("x-a", "a "),
        with("host", "b"),
        with("content-length", "5"),
        with("content-length", "x"),
        pseudo(":method", "G ET"),
        pseudo(":method", "GET\r\nX: 1"),
        pseudo(":method", "G:T"),
        pseudo(":method", "G/T"),
        pseudo(":method", ""),
        with("x a", "1"),
        with("x\r\na", "1"),
        with("x\0a", "1"),
        with("x:a", "1"),
        with("x(", "1"),
        with("x\u{e4}", "1"),
        with("", "1"),
        with("X-A", "1"),
        with("x-a", "a\rb"),
        with("x-a", "a\nb"),
        with("x-a", "a\0b"),
        with("x-a", "a\u{1}b"),
        with("x-a", "a\u{7f}"),
        with("cookie", "a\r\nb"),
        with(":odd", "1"),
        with(":status", "a"),
        with(":status", "99"),
        pseudo(":path", "/~"),
        pseudo(":authority", "~"),
        pseudo(":scheme", "~"),
        with(":protocol", "~"),
    ];
    let backend = Backend::run(|peer| {
        let Some(head) = peer.request() else { return };
        if head.starts_with("GET /wait ") {
            peer.rest();
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut wrong = Vec::new();
    for fields in &malformed {
        let mut client = Frames::connect(proxy.addr());
        client.get(1, "/wait", &[]);
        // A byte that is no UTF-8 where one is wanted.
        let bytes: Vec<u8> =
            block(fields).into_iter().map(|b| if b == b'~' { 0xff } else { b }).collect();
        client.send(HEADERS, END_STREAM | END_HEADERS, 3, &bytes);
        let ended = client.until("an end", |f| {
            f.kind == GOAWAY || (f.stream == 3 && matches!(f.kind, HEADERS | RST_STREAM))
        });
        match ended.kind {
            HEADERS => assert!((400..500).contains(&ended.status()), "{fields:?}"),
            RST_STREAM => assert_eq!(ended.code(), PROTOCOL),
            _ => wrong.push(format!("{fields:?}: {ended:?}")),
        }
        if ended.kind != GOAWAY {
            client.send(PING, 0, 0, &[0; 8]);
            client.until("a sign of life", |f| f.kind == PING);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Trailers are no better.
    let mut client = Frames::connect(proxy.addr());
    client.post(1, "/", &[]);
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("X-A", "1")]));
    assert_eq!(client.until("an end", |f| f.kind == RST_STREAM).code(), PROTOCOL);
}

#[test]
fn streams_above_the_limit_are_counted() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.rest();
    });
    let web = web(&[backend.addr], "");
    let limit = "protocol = \"http\"\nhttp2 = { streams = 1 }";
    let proxy = Proxy::start(&web.replace("protocol = \"http\"", limit));
    let mut client = Frames::connect(proxy.addr());
    client.until("our settings are known", |f| f.kind == SETTINGS && f.flags == ACK);
    client.get(1, "/", &[]);
    client.get(3, "/", &[]);
    assert_eq!(client.until("a refusal", |f| f.kind == RST_STREAM).code(), 7);
    until("it is counted", || limits(&proxy) == [("streams", 1)]);
}

/// One byte each few milliseconds is as slow as nothing: a head has its time.
#[test]
fn a_head_that_comes_too_slowly_ends() {
    let backend = Backend::named("fine");
    let proxy = Proxy::http(&[backend.addr], "[defaults.timeout]\nheader = \"500ms\"");
    let mut client = Frames::connect(proxy.addr());
    let bytes = frame(HEADERS, END_STREAM | END_HEADERS, 1, &usual("GET", "/"));
    let mut reader = Frames::over(client.stream().try_clone().unwrap());
    let reading = std::thread::spawn(move || reader.goodbye());
    for byte in bytes.iter().take(bytes.len() - 1).cycle().take(2000) {
        if reading.is_finished() {
            break;
        }
        // The rest of a head whose end never comes.
        client.write(&[*byte]);
        std::thread::sleep(Duration::from_millis(20));
    }
    reading.join().unwrap();
    assert_eq!(backend.connections(), 0);
    let _ = Client::connect(proxy.addr());
}

#[test]
fn the_log_says_what_a_client_did_wrong() {
    let backend = Backend::run(|peer| {
        let _ = peer.rest();
    });
    let (folder, words) = access_log();
    let proxy = Proxy::http(&[backend.addr], &words);
    let mut client = Frames::connect(proxy.addr());
    let post = |client: &mut Frames, stream, frames: &[u8]| {
        client.post(stream, "/", &[("content-length", "4")]);
        client.write(frames);
        client.until("a reset", |f| f.kind == RST_STREAM && f.stream == stream);
    };
    client.get(1, "/", &[]);
    until("it is asked", || backend.connections() == 1);
    client.send(RST_STREAM, 0, 1, &8u32.to_be_bytes());
    post(&mut client, 3, &frame(DATA, END_STREAM, 3, b"12345"));
    post(&mut client, 5, &frame(DATA, END_STREAM, 5, b"123"));
    post(&mut client, 7, &frame(WINDOW_UPDATE, 0, 7, &[0; 4]));
    let ended = frame(DATA, END_STREAM, 9, b"1234");
    post(&mut client, 9, &[ended, frame(DATA, 0, 9, b"5")].concat());
    let lines = access_lines(&folder, 5);
    let said = |line: &String| {
        let value = |key: &str| {
            let (_, rest) = line.split_once(&format!("\"{key}\":")).unwrap();
            rest.split([',', '}']).next().unwrap().trim_matches('"').to_string()
        };
        (value("status"), value("reason"))
    };
    let mut said: Vec<_> = lines.iter().map(said).collect();
    said.sort();
    let wanted = [
        ("400", "bad_content_length"),
        ("400", "bad_content_length"),
        ("400", "protocol_error"),
        ("400", "stream_closed"),
        ("499", "client_gone"),
    ];
    assert_eq!(said, wanted.map(|(status, reason)| (status.to_string(), reason.to_string())));
}

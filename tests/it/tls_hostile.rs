//! Hellos that are slow, garbled, cut off or too large: ended in their time, counted, and in nobody's
//! way.
use crate::support::{Backend, Certs, Client, Proxy, until};
use crate::tls::{curl, handshakes, secure, text};
use std::io::Write;
use std::time::{Duration, Instant};

fn proxy(backend: &Backend, certs: &Certs, header: &str) -> Proxy {
    certs.make("a", &["a.test"]);
    let more = format!("timeout = {{ header = \"{header}\" }}");
    let words = secure(backend.addr, &certs.table(&["a"], ""), &more);
    Proxy::start(&format!("[server]\nworkers = 1\n{words}"))
}

/// What a client of rustls says first.
fn hello(certs: &Certs) -> Vec<u8> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certs.ca()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "a.test".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut hello = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut hello).unwrap();
    }
    hello
}

fn hits(proxy: &Proxy, limit: &str) -> u64 {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let hits = plan.listeners["web"].cells.limit_hits.all();
    hits.iter().find(|(word, _)| *word == limit).map_or(0, |(_, n)| *n)
}

fn open(proxy: &Proxy) -> i64 {
    let plan = proxy.running().state().plan.load_full().unwrap();
    plan.listeners["web"].cells.open.get()
}

#[test]
fn a_hello_that_comes_byte_by_byte_has_the_time_of_one_that_does_not() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    let proxy = proxy(&backend, &certs, "400ms");
    let (hello, mut client, begun) = (hello(&certs), proxy.client(), Instant::now());
    // Each byte comes in time to keep a limit that begins anew with each from ever being reached.
    let mut sent = 0;
    while sent < hello.len() && client.stream().write_all(&hello[sent..=sent]).is_ok() {
        sent += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(sent < hello.len(), "all {sent} bytes were waited for");
    assert!(begun.elapsed() >= Duration::from_millis(400));
    client.rest();
    until("it is counted", || handshakes(proxy.running(), "none", "timeout") == 1);
    assert_eq!((hits(&proxy, "header"), backend.connections()), (1, 0));
    // In many pieces, but in time, it is as good as whole.
    let mut slow = Client::secure(&proxy, &certs, "a.test");
    assert_eq!(slow.ask("GET", "/", "").text(), "one");
}

#[test]
fn three_hundred_half_handshakes_are_in_nobodys_way() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    let proxy = proxy(&backend, &certs, "3s");
    let hello = hello(&certs);
    let half: Vec<Client> = (0..300)
        .map(|n| {
            let mut client = proxy.client();
            // Nothing at all, a part of the hello, or all of it and then nothing.
            client.send(&hello[..[0, 1, 5, hello.len() / 2, hello.len()][n % 5]]);
            client
        })
        .collect();
    until("all of them are there", || open(&proxy) == 300);
    // Others are served meanwhile, and at once: none of the three hundred has ended.
    for _ in 0..10 {
        let mut client = Client::secure(&proxy, &certs, "a.test");
        assert_eq!(client.ask("GET", "/", "Connection: close\r\n").text(), "one");
    }
    assert_eq!(handshakes(proxy.running(), "none", "timeout"), 0);
    until("their time is over", || handshakes(proxy.running(), "none", "timeout") == 300);
    until("they are gone", || open(&proxy) == 0);
    assert_eq!(hits(&proxy, "header"), 300);
    drop(half);
}

#[test]
fn what_is_no_hello_gets_an_alert_and_is_counted() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    let proxy = proxy(&backend, &certs, "10s");
    let hello = hello(&certs);
    let mut versionless = hello.clone();
    // The extension that says 1.3 and 1.2 (RFC 8446 4.2.1).
    let known = [0, 43, 0, 5, 4, 3, 4, 3, 3];
    let at = hello.windows(known.len()).position(|part| part == known).unwrap();
    versionless[at + 5..at + 9].copy_from_slice(&[3, 9, 3, 9]);
    let mut lengths = hello.clone();
    // The session id is said to be longer than it may be.
    lengths[43] = 255;
    let oversized = [&[22, 3, 1, 0xff, 0xff][..], &[7; 0xffff]].concat();
    // A message of 16 MiB by its own word, in records that are allowed.
    let mut endless = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    endless.resize(5 + 0x4000, 7);
    for _ in 0..8 {
        endless.extend([22, 3, 3, 0x40, 0]);
        endless.resize(endless.len() + 0x4000, 7);
    }
    let data = b"\x17\x03\x03\x00\x05hello";
    let all: [(&str, Vec<u8>); 6] = [
        ("garbage in a record", b"\x16\x03\x01\x00\x05hello".to_vec()),
        ("lengths that disagree", lengths),
        ("a record that is too long", oversized),
        ("a message that is too long", endless),
        ("a hello, then data", [&hello[..], data].concat()),
        ("a version that is none", versionless),
    ];
    let (mut alerts, mut common, mut served) = (0, 0, 0);
    for (what, bytes) in all {
        let mut client = proxy.client();
        client.send(&bytes);
        // It may have been turned away already.
        let _ = client.stream().shutdown(std::net::Shutdown::Write);
        let answer = client.rest();
        // Records of the server's, the last of them an alert that is fatal; a reset may cut it off
        // where more was sent than is read.
        let (mut at, mut last) = (0, None);
        while let Some([kind, _, _, a, b]) = answer.get(at..at + 5) {
            let n = usize::from(u16::from_be_bytes([*a, *b]));
            last = answer.get(at + 5..at + 5 + n).map(|body| (*kind, body.to_vec()));
            at += 5 + n;
        }
        match last {
            Some((21, body)) => assert!(body.len() > 2 || body[0] == 2, "{what}: {body:?}"),
            last => assert!(what.contains("too long") && last.is_none(), "{what}: {last:?}"),
        }
        let is_common = what == "a version that is none";
        (alerts, common) = (alerts + u64::from(!is_common), common + u64::from(is_common));
        until(what, || {
            let counted = |result| handshakes(proxy.running(), "none", result);
            counted("alert") == alerts && counted("nothing_in_common") == common
        });
        // Its neighbours notice nothing.
        served += usize::from(text(&curl(&proxy, &certs, "a.test", &[])) == "one");
    }
    // Cut off: nobody is there to be told.
    for n in [0, 1, 6, hello.len() - 1] {
        let mut client = proxy.client();
        client.send(&hello[..n]);
        client.end();
        client.rest();
    }
    until("what was cut off is called so", || {
        let counted = |result| handshakes(proxy.running(), "none", result);
        ["empty", "cut", "error"].map(counted) == [1, 3, 0]
    });
    assert_eq!((served, backend.connections()), (6, 1), "nothing else reached the backend");
}

#[test]
fn plain_http_is_told_what_is_spoken_here() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    let proxy = proxy(&backend, &certs, "10s");
    for request in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // A method is of any letters, and an empty line may stand before it.
        "get / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(request);
        let response = client.response();
        assert_eq!((response.status, response.field("Connection")), (400, Some("close")));
        let said = "This port speaks HTTPS: ask with https:// instead of http://\n";
        assert_eq!(response.text(), said);
        assert!(client.is_closed());
    }
    until("each is counted", || handshakes(proxy.running(), "none", "plain_http") == 6);
    // What is neither is told so in the words of TLS: unexpected_message (RFC 8446 6.2).
    for bytes in [
        // Of SSL 2; an alert; data; nothing of the kind.
        &b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"[..],
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x17\x03\x03\x00\x01\x00",
        b"\0\0\0\0",
    ] {
        let mut client = proxy.client();
        client.send(bytes);
        assert_eq!(client.rest(), [21, 3, 3, 0, 2, 2, 10], "{bytes:?}");
    }
    until("each is counted", || handshakes(proxy.running(), "none", "not_tls") == 4);
    assert_eq!(backend.connections(), 0);
}

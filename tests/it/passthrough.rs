//! TLS that is let pass: routed by name, not touched, with real TLS on both sides.
use crate::support::{
    Backend, Certs, Client, Nginx, Proxy, access_lines, access_log, nobody, until,
};
use evenkeel::net::proxy_protocol::{Ends, Read, read};
use rustls::pki_types::ServerName;
use std::io::{Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An nginx that shows the certificate of its name, which is what it says, too.
fn secure(name: &str, certs: &Certs, more: &str) -> (SocketAddr, Nginx) {
    let addr = nobody();
    let (cert, key) = (certs.path(&format!("{name}.pem")), certs.path(&format!("{name}.key")));
    let words = format!(
        "listen {addr} ssl {more}; ssl_certificate {}; ssl_certificate_key {};",
        cert.display(),
        key.display()
    );
    (addr, Nginx::start(name, &words))
}

const TLS: &str =
    "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\ntls = \"passthrough\"\n";

fn pool(name: &str, addr: SocketAddr) -> String {
    format!("[pool.{name}]\nbackends = [\"{addr}\"]\n")
}

fn route(names: &str, pool: &str) -> String {
    format!("[[route]]\nname = \"to-{pool}\"\nsni = {names}\npool = \"{pool}\"\n")
}

/// What curl gets of `https://host/name`, or why not.
fn curl(proxy: &Proxy, host: &str, certs: &Certs) -> Result<String, String> {
    let port = proxy.addr().port();
    let done = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--cacert"])
        .arg(certs.path("ca.pem"))
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
        .arg(format!("https://{host}:{port}/name"))
        .output()
        .expect("curl: install Debian's package curl");
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

/// What `openssl s_client` says of its handshake.
fn s_client(addr: SocketAddr, flags: &[&str]) -> String {
    let done = Command::new("openssl")
        .args(["s_client", "-connect", &addr.to_string()])
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .expect("openssl: install Debian's package openssl");
    [done.stdout, done.stderr].map(|out| String::from_utf8_lossy(&out).into_owned()).concat()
}

/// A client by rustls, with key shares of this group first.
fn client(certs: &Certs, name: &str, large: bool) -> rustls::ClientConnection {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if large {
        let group = rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768;
        provider.kx_groups.retain(|other| other.name() != group.name());
        provider.kx_groups.insert(0, group);
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certs.ca()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    if large {
        // More than one segment, whatever the segment's size is by default.
        config.alpn_protocols = (0..20).map(|n| format!("{n:0>200}").into_bytes()).collect();
        config.alpn_protocols.push(b"http/1.1".to_vec());
    }
    let name = ServerName::try_from(name.to_owned()).unwrap();
    rustls::ClientConnection::new(Arc::new(config), name).unwrap()
}

/// The first message of a client.
fn hello(certs: &Certs, name: &str, large: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    client(certs, name, large).write_tls(&mut bytes).unwrap();
    bytes
}

/// The first message of a client that trusts nobody.
pub(crate) fn plain_hello(name: &str) -> Vec<u8> {
    hello(&Certs::new(), name, false)
}

/// The last octets of a connection that was turned away.
fn last(proxy: &Proxy, bytes: &[u8]) -> Vec<u8> {
    let mut client = proxy.client();
    client.send(bytes);
    client.rest()
}

fn own(proxy: &Proxy, reason: &str) -> u64 {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let all = plan.listeners["web"].cells.own.all();
    all.iter().find(|(word, _)| *word == reason).map_or(0, |(_, count)| *count)
}

#[test]
fn names_go_to_their_pools_and_the_certificate_is_the_backends() {
    let certs = Certs::new();
    certs.make("a", &["a.test"]).make("b", &["x.b.test", "y.x.b.test"]).make("c", &["c.test"]);
    let [(a_addr, _a), (b_addr, _b), (c_addr, _c)] =
        ["a", "b", "c"].map(|name| secure(name, &certs, ""));
    let (folder, log) = access_log();
    let pools = [pool("a", a_addr), pool("b", b_addr), pool("c", c_addr)].concat();
    let routes = [route("\"A.test\"", "a"), route("\"*.b.test\"", "b")].concat();
    let proxy = Proxy::start(&format!("{TLS}pool = \"c\"\n{routes}{pools}{log}"));
    assert_eq!(curl(&proxy, "a.test", &certs).as_deref(), Ok("a"));
    assert_eq!(curl(&proxy, "x.b.test", &certs).as_deref(), Ok("b"));
    assert_eq!(curl(&proxy, "y.x.b.test", &certs).as_deref(), Ok("b"));
    assert_eq!(curl(&proxy, "c.test", &certs).as_deref(), Ok("c"));
    for (flags, subject) in [
        (&["-servername", "a.test"][..], "CN = a\n"),
        (&["-servername", "a.test", "-tls1_2"], "CN = a\n"),
        (&["-servername", "X.B.Test"], "CN = b\n"),
        (&["-noservername"], "CN = c\n"),
    ] {
        let said = s_client(proxy.addr(), flags);
        assert!(said.contains(subject), "{flags:?}: {said}");
    }
    let lines = access_lines(&folder, 8);
    let find = |sni: &str| lines.iter().find(|line| line.contains(sni)).unwrap();
    assert!(find("\"sni\":\"a.test\"").contains("\"route\":\"to-a\",\"pool\":\"a\""));
    assert!(find("\"sni\":\"y.x.b.test\"").contains("\"route\":\"to-b\",\"pool\":\"b\""));
    assert!(find("\"sni\":\"c.test\"").contains("\"route\":\"default\",\"pool\":\"c\""));
}

#[test]
fn a_name_that_nobody_has_is_told_so() {
    let certs = Certs::new();
    let backend = Backend::run(|peer| drop(peer.rest()));
    let (folder, log) = access_log();
    let text = |names: &str| {
        [TLS, &route(names, "a"), &pool("a", backend.addr), &log].map(str::to_string).concat()
    };
    let proxy = Proxy::start(&text("\"a.test\""));
    let said = s_client(proxy.addr(), &["-servername", "b.test"]);
    assert!(said.contains("unrecognized name"), "{said}");
    assert_eq!(last(&proxy, &hello(&certs, "b.test", true)), [21, 3, 3, 0, 2, 2, 112]);
    let said = s_client(proxy.addr(), &["-noservername"]);
    assert!(said.contains("unrecognized name"), "{said}");
    assert_eq!((backend.connections(), own(&proxy, "no_route")), (0, 3));
    let lines = access_lines(&folder, 3);
    for line in &lines {
        assert!(line.contains("\"reason\":\"no_route\""), "{line}");
        assert!(line.contains("\"route\":\"none\",\"pool\":\"none\",\"backend\":\"-\""), "{line}");
    }
    // The next connection sees what a reload said.
    proxy.reload(&text("[\"a.test\", \"b.test\"]")).unwrap();
    let mut client = proxy.client();
    client.send(hello(&certs, "b.test", false));
    until("it is let through", || backend.connections() == 1);
}

#[test]
fn every_byte_reaches_the_backend_however_it_came() {
    let certs = Certs::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let all = heard.clone();
    let backend = Backend::run(move |peer| {
        let bytes = peer.rest();
        all.lock().unwrap().push(bytes);
        peer.send("heard");
    });
    let text = [TLS, &route("\"a.test\"", "a"), &pool("a", backend.addr)].concat();
    let proxy = Proxy::start(&text);
    let large = hello(&certs, "a.test", true);
    assert!(large.len() > 5000, "{}", large.len());
    // In records of a few bytes each, too.
    let records = large[5..].chunks(400).flat_map(|part| {
        [&[22, 3, 1][..], &u16::try_from(part.len()).unwrap().to_be_bytes(), part].concat()
    });
    let records: Vec<u8> = records.collect();
    for bytes in [hello(&certs, "a.test", false), large, records] {
        let all = [&bytes[..], b"and what follows"].concat();
        for size in [1, 7, 1000, all.len()] {
            let mut client = proxy.client();
            for part in all.chunks(size) {
                client.send(part);
            }
            client.end();
            assert_eq!(client.rest(), b"heard", "parts of {size}");
            assert!(heard.lock().unwrap().pop().unwrap() == all, "parts of {size}");
        }
    }
}

#[test]
fn a_hello_larger_than_a_segment_ends_in_a_handshake() {
    let certs = Certs::new();
    certs.make("a", &["a.test"]);
    let (addr, _nginx) = secure("a", &certs, "");
    let proxy = Proxy::start(&[TLS, &route("\"a.test\"", "a"), &pool("a", addr)].concat());
    let mut tls = client(&certs, "a.test", true);
    let mut stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream = rustls::Stream::new(&mut tls, &mut stream);
    stream.write_all(b"GET /name HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.ends_with(b"\r\n\r\na"), "{}", answer.escape_ascii());
}

#[test]
fn what_is_no_hello_reaches_nobody_and_is_called_by_its_name() {
    let certs = Certs::new();
    let backend = Backend::run(|peer| drop(peer.rest()));
    let (folder, log) = access_log();
    // Even where there is a pool for clients that ask for no name.
    let proxy = Proxy::start(&format!("{TLS}pool = \"a\"\n{}{log}", pool("a", backend.addr)));
    let good = hello(&certs, "a.test", false);
    let mut garbled = good.clone();
    garbled[43] = 77;
    let huge = [&[22, 3, 1, 0x40, 0, 1, 0, 0x80, 0][..], &[0; 1000]].concat();
    let mut lines = 0;
    for (bytes, reason, alert) in [
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), "not_tls", 10),
        (b"PROXY TCP4 192.0.2.9 192.0.2.9 1 1\r\n".to_vec(), "not_tls", 10),
        (garbled, "bad_client_hello", 50),
        (vec![22, 3, 1, 0x50, 0], "bad_client_hello", 22),
        (huge, "client_hello_too_large", 50),
    ] {
        let before = own(&proxy, reason);
        assert_eq!(last(&proxy, &bytes), [21, 3, 3, 0, 2, 2, alert], "{reason}");
        lines += 1;
        until(reason, || own(&proxy, reason) == before + 1);
        let line = access_lines(&folder, lines).pop().unwrap();
        assert!(line.contains(&format!("\"reason\":\"{reason}\"")), "{line}");
    }
    let plan = proxy.running().state().plan.load_full().unwrap();
    let hits = plan.listeners["web"].cells.limit_hits.all();
    assert_eq!(hits, [("client_hello", 1)]);
    // Cut anywhere: nobody is told, for nobody is there.
    for n in [0, 1, 5, 40, good.len() - 1] {
        let mut client = proxy.client();
        client.send(&good[..n]);
        client.end();
        assert_eq!(client.rest(), b"", "{n}");
        lines += 1;
        let line = access_lines(&folder, lines).pop().unwrap();
        let reason = if n == 0 { "no_client_hello" } else { "client_hello_cut" };
        assert!(line.contains(&format!("\"reason\":\"{reason}\"")), "{line}");
    }
    assert_eq!(["no_client_hello", "client_hello_cut"].map(|word| own(&proxy, word)), [1, 4]);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_slow_hello_ends_with_its_time() {
    let certs = Certs::new();
    let backend = Backend::run(|peer| drop(peer.rest()));
    let (folder, log) = access_log();
    let more = "pool = \"a\"\ntimeout.header = \"200ms\"\n";
    let proxy = Proxy::start(&format!("{TLS}{more}{}{log}", pool("a", backend.addr)));
    let good = hello(&certs, "a.test", false);
    for n in [0, 1, 100] {
        assert_eq!(last(&proxy, &good[..n]), b"", "{n}");
    }
    assert_eq!((own(&proxy, "timeout_header"), backend.connections()), (3, 0));
    let lines = access_lines(&folder, 3);
    assert!(lines.iter().all(|line| line.contains("\"reason\":\"timeout_header\"")), "{lines:?}");
}

#[test]
fn it_works_behind_a_header_and_sends_one_with_the_name() {
    let certs = Certs::new();
    certs.make("a", &["a.test"]);
    // Between the proxy and nginx somebody who writes down what comes first.
    let (addr, _nginx) = secure("a", &certs, "proxy_protocol");
    let first = Arc::new(Mutex::new(Vec::new()));
    let kept = first.clone();
    let relay = Backend::run(move |peer| {
        let mut bytes = Vec::new();
        while let Ok(Read::More) = read(&bytes) {
            bytes.push(peer.byte().unwrap());
        }
        kept.lock().unwrap().extend_from_slice(&bytes);
        let mut there = TcpStream::connect(addr).unwrap();
        there.write_all(&bytes).unwrap();
        let mut back = (there.try_clone().unwrap(), peer.stream().try_clone().unwrap());
        let copy = std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
        while let Some(byte) = peer.byte() {
            there.write_all(&[byte]).unwrap();
        }
        let _ = there.shutdown(std::net::Shutdown::Write);
        let _ = copy.join();
    });
    let proxy = Proxy::start(&format!(
        "{TLS}proxy_protocol = {{ from = [\"127.0.0.1\"] }}\n{}{}send_proxy_protocol = \"v2\"\n",
        route("\"a.test\"", "a"),
        pool("a", relay.addr),
    ));
    let mut stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.9 198.51.100.2 51234 443\r\n").unwrap();
    let mut tls = client(&certs, "a.test", false);
    let mut stream = rustls::Stream::new(&mut tls, &mut stream);
    stream.write_all(b"GET /name HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.ends_with(b"\r\n\r\na"), "{}", answer.escape_ascii());
    let Ok(Read::Whole(header, _)) = read(&first.lock().unwrap()) else { panic!() };
    assert_eq!(header.tlvs.authority.as_deref(), Some(&b"a.test"[..]));
    assert_eq!(header.tlvs.ssl, None, "it is not ours to say");
    let (source, destination) =
        ("192.0.2.9:51234".parse().unwrap(), "198.51.100.2:443".parse().unwrap());
    assert_eq!(header.ends, Ends::Ip { source, destination });
}

#[test]
fn routes_split_by_weight_and_keep_their_own_limits() {
    let certs = Certs::new();
    let named = |name: &'static str| {
        Backend::run(move |peer| {
            peer.byte();
            peer.send(name);
            drop(peer.rest());
        })
    };
    let (a, b) = (named("a"), named("b"));
    let proxy = Proxy::start(&format!(
        "{TLS}[[route]]\nsni = \"a.test\"\npools = {{ a = 1, b = 1 }}\n\
         [[route]]\nsni = \"b.test\"\npool = \"a\"\ntimeout.tunnel = \"200ms\"\n{}{}",
        pool("a", a.addr),
        pool("b", b.addr)
    ));
    let mut all = std::collections::BTreeMap::<Vec<u8>, u32>::new();
    for _ in 0..40 {
        let mut client = Client::connect(proxy.addr());
        client.send(hello(&certs, "a.test", false));
        *all.entry(client.bytes(1)).or_default() += 1;
    }
    assert!(all.len() == 2 && all.values().all(|n| *n > 3), "{all:?}");
    let mut client = Client::connect(proxy.addr());
    client.send(hello(&certs, "b.test", false));
    let rest = client.rest();
    assert!(rest.len() <= 1, "it stood still for longer than its route allows: {rest:?}");
}

//! What both sides agree on: key exchange, version, and which of two kinds of key is shown. The
//! clients are rustls and openssl.
use crate::support::{Backend, Certs, Client, Proxy, until};
use crate::tls::{s_client, secure};
use rustls::crypto::{SupportedKxGroup, aws_lc_rs};
use rustls::{NamedGroup, ProtocolVersion, SupportedProtocolVersion, version};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Asks for `a.test` with these groups, the preferred first, and versions; what was agreed on.
fn agreed(
    addr: SocketAddr,
    certs: &Certs,
    groups: &[&'static dyn SupportedKxGroup],
    versions: &[&'static SupportedProtocolVersion],
) -> Option<(NamedGroup, ProtocolVersion)> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = groups.to_vec();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certs.ca()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "a.test".try_into().unwrap();
    let connection = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, TcpStream::connect(addr).unwrap());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    assert!(answer.ends_with("\r\n\r\none"), "{answer}");
    let group = stream.conn.negotiated_key_exchange_group()?.name();
    Some((group, stream.conn.protocol_version()?))
}

#[test]
fn keys_are_exchanged_so_that_quantum_computers_learn_nothing_where_both_can() {
    use aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
    let (backend, certs) = (Backend::named("one"), Certs::new());
    certs.make("a", &["a.test"]);
    let proxy = Proxy::start(&secure(backend.addr, &certs.table(&["a"], ""), ""));
    let both: &[_] = &[&version::TLS13, &version::TLS12];
    let (new, old) = (ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2);
    for (groups, versions, group, version) in [
        (&[X25519MLKEM768, X25519][..], both, NamedGroup::X25519MLKEM768, new),
        // Who would rather not, but can.
        (&[X25519, X25519MLKEM768], both, NamedGroup::X25519MLKEM768, new),
        (&[SECP256R1, X25519MLKEM768], both, NamedGroup::X25519MLKEM768, new),
        // Who cannot.
        (&[X25519], both, NamedGroup::X25519, new),
        (&[SECP256R1], both, NamedGroup::secp256r1, new),
        (&[X25519], &[&version::TLS13], NamedGroup::X25519, new),
        (&[X25519], &[&version::TLS12], NamedGroup::X25519, old),
        (&[SECP256R1], &[&version::TLS12], NamedGroup::secp256r1, old),
    ] {
        let seen = agreed(proxy.addr(), &certs, groups, versions);
        assert_eq!(seen, Some((group, version)), "{groups:?}");
    }
    let strict = certs.table(&["a"], ", min_version = \"1.3\"");
    let strict = Proxy::start(&secure(backend.addr, &strict, ""));
    assert!(agreed(strict.addr(), &certs, &[X25519], &[&version::TLS12]).is_none());
    let seen = agreed(strict.addr(), &certs, &[X25519], &[&version::TLS13]);
    assert_eq!(seen, Some((NamedGroup::X25519, new)));
}

#[test]
fn a_backend_is_offered_the_same() {
    let certs = Certs::new();
    certs.make("app", &["app.test"]);
    let config = certs.server("app");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (note, config) = (seen.clone(), Arc::new(config));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let server = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(server, stream.unwrap());
            if stream.read(&mut [0; 4096]).is_err() {
                continue;
            }
            let group = stream.conn.negotiated_key_exchange_group().unwrap().name();
            note.lock().unwrap().push((group, stream.conn.handshake_kind().unwrap()));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    let ca = certs.path("ca.pem").display().to_string();
    let tls = format!("tls = {{ ca_file = \"{ca}\", sni = \"app.test\" }}\nkeep_alive = \"off\"");
    let web = crate::support_web(&[addr], &tls);
    let proxy = Proxy::start(&format!("[server]\nworkers = 1\n{web}"));
    for _ in 0..3 {
        assert_eq!(proxy.get("/").text(), "one");
    }
    let seen = seen.lock().unwrap().clone();
    let (groups, kinds): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
    assert_eq!(groups, [NamedGroup::X25519MLKEM768; 3]);
    use rustls::HandshakeKind::{Full, Resumed};
    assert_eq!(kinds, [Full, Resumed, Resumed], "sessions are resumed");
}

/// Each name has one line, whatever number of certificates it has.
fn expires_once(proxy: &Proxy, list: &[&str]) {
    let text = crate::readme::scrape(proxy);
    let name = "evenkeel_tls_certificate_not_after_timestamp_seconds{";
    let mut lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(name)).collect();
    lines.iter_mut().for_each(|line| *line = line.split(' ').next().unwrap_or_default());
    let expected = ["a.test", "other.test"].map(|n| format!("listener=\"web\",subject=\"{n}\"}}"));
    assert_eq!(lines, expected, "{list:?}");
}

#[test]
fn of_two_kinds_of_key_each_client_is_shown_the_one_it_knows() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    certs.make("other", &["other.test"]);
    certs.make("ec", &["a.test"]).make_rsa("rsa", &["a.test"]);
    // Whichever is said first, also where the name is nobody's.
    for (list, usual, host) in [
        (["ec", "rsa", "other"], "ECDSA", "a.test"),
        (["rsa", "ec", "other"], "RSA", "a.test"),
        (["other", "ec", "rsa"], "ECDSA", "a.test"),
        (["ec", "rsa", "other"], "ECDSA", "unknown.test"),
        (["rsa", "other", "ec"], "RSA", "unknown.test"),
    ] {
        let proxy = Proxy::start(&secure(backend.addr, &certs.table(&list, ""), ""));
        expires_once(&proxy, &list);
        let kind = |more: &[&str]| {
            let seen = s_client(&proxy, &[&["-servername", host], more].concat());
            let kind = seen.lines().find_map(|l| l.strip_prefix("Peer signature type: "));
            kind.unwrap_or_else(|| panic!("no handshake: {seen}")).replace("-PSS", "")
        };
        assert_eq!(kind(&[]), usual, "{list:?}");
        let only_rsa = ["-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"];
        assert_eq!(kind(&only_rsa), "RSA", "{list:?}");
        assert_eq!(kind(&["-sigalgs", "ECDSA+SHA256"]), "ECDSA", "{list:?}");
        let old = ["-tls1_2", "-cipher"];
        assert_eq!(kind(&[&old[..], &["ECDHE-RSA-AES128-GCM-SHA256"]].concat()), "RSA");
        assert_eq!(kind(&[&old[..], &["ECDHE-ECDSA-AES128-GCM-SHA256"]].concat()), "ECDSA");
    }
}

#[test]
fn a_client_that_cannot_use_the_most_exact_certificate_gets_the_next_that_it_can_use() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    certs.make("default", &["default.test"]).make_rsa("other", &["default.test", "other.test"]);
    certs.make("exact", &["x.w.test"]).make_rsa("wild", &["*.w.test"]);
    certs.make("plain", &["plain.test"]);
    let list = certs.table(&["default", "other", "exact", "wild", "plain"], "");
    let proxy = Proxy::start(&secure(backend.addr, &list, ""));
    let shown = |more: &[&str]| {
        let seen = s_client(&proxy, more);
        let name = seen.lines().find_map(|line| line.strip_prefix("subject=CN = "));
        name.unwrap_or_else(|| panic!("no handshake: {seen}")).to_string()
    };
    for (name, by_any, by_rsa) in [
        ("x.w.test", "exact", "wild"),
        ("y.w.test", "wild", "wild"),
        ("default.test", "default", "other"),
        ("unknown.test", "default", "other"),
        ("plain.test", "plain", "other"),
    ] {
        let rsa = ["-sigalgs", "RSA-PSS+SHA256:RSA+SHA256", "-servername", name];
        assert_eq!(shown(&["-servername", name]), by_any, "{name}");
        assert_eq!(shown(&rsa), by_rsa, "{name}");
        assert_eq!(shown(&[&rsa[..], &["-tls1_2"]].concat()), by_rsa, "{name}");
    }
    assert_eq!(shown(&["-noservername", "-sigalgs", "RSA-PSS+SHA256"]), "other");
}

#[test]
fn idle_clients_of_tls_give_way_and_leave_when_it_ends() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    certs.make("a", &["a.test"]);
    let words = secure(backend.addr, &certs.table(&["a"], ""), "timeout = { keep_alive = \"1h\" }");
    let proxy = Proxy::start(&format!("[server]\nmax_connections = 5\nworkers = 1\n{words}"));
    let mut clients: Vec<Client> = Vec::new();
    for n in 0..10 {
        if n == 5 {
            // Timers of their requests wake them once more, half a second later: what is meant is
            // who is told while nothing else wakes him.
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        let mut client = Client::secure(&proxy, &certs, "a.test");
        assert_eq!(client.ask("GET", "/", "").text(), "one");
        // Idle times are told apart by milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(15));
        clients.push(client);
    }
    assert!(clients[..5].iter_mut().all(Client::is_closed), "the oldest leave");
    // All that are left hear of its end at once.
    let mut left: Vec<Client> = clients.drain(6..).collect();
    let open = || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.listeners["web"].cells.open.get()
    };
    until("five are open at most", || open() <= 5);
    proxy.stop();
    assert!(left.iter_mut().all(Client::is_closed));
}

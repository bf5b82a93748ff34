//! TLS with clients: which certificate they get, what they must show, and what backends hear of it.
//! The clients are curl and openssl.
use crate::support::{Backend, Certs, Client, Proxy, access_lines, access_log, until};
use evenkeel::server::Running;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

/// A listener `web` with this tls table before one pool.
pub(crate) fn secure(backend: SocketAddr, tls: &str, more: &str) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n{tls}\n{more}\n\
         [pool.app]\nbackends = [{{ name = \"b1\", addr = \"{backend}\" }}]\n"
    )
}

/// Asks as curl does, for a host that is at the proxy.
pub(crate) fn curl(proxy: &Proxy, certs: &Certs, host: &str, more: &[&str]) -> Output {
    curl_at(proxy.addr(), certs, host, more)
}

pub(crate) fn curl_at(addr: SocketAddr, certs: &Certs, host: &str, more: &[&str]) -> Output {
    let port = addr.port();
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--cacert"])
        .arg(certs.path("ca.pem"))
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
        .args(more)
        .arg(format!("https://{host}:{port}/"))
        .output()
        .expect("curl: install Debian's package curl")
}

pub(crate) fn text(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    String::from_utf8_lossy(&output.stdout).into_owned() + &said
}

/// What `openssl s_client` says of a handshake.
pub(crate) fn s_client(proxy: &Proxy, more: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &proxy.addr().to_string()])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("openssl: install Debian's package openssl");
    text(&output)
}

pub(crate) fn handshakes(running: &Running, version: &str, result: &str) -> u64 {
    let plan = running.state().plan.load_full().unwrap();
    let all = plan.listeners["web"].cells.handshakes.all();
    all.iter().find(|(v, r, _)| (*v, *r) == (version, result)).map_or(0, |(.., n)| *n)
}

#[test]
fn the_certificate_is_that_of_the_name_asked_for() {
    let (backend, certs) = (Backend::echo(), Certs::new());
    certs.make("first", &["first.test"]).make("wild", &["*.wild.test"]);
    certs.make("exact", &["exact.wild.test"]);
    let tls = certs.table(&["first", "wild", "exact"], "");
    let proxy = Proxy::start(&secure(backend.addr, &tls, ""));
    for host in ["first.test", "a.wild.test", "exact.wild.test"] {
        let seen = text(&curl(&proxy, &certs, host, &[]));
        assert!(seen.contains(&format!("Host: {host}:")), "{seen}");
        assert!(seen.contains("X-Forwarded-Proto: https\r\n"), "{seen}");
    }
    // Who asks for nobody, or for somebody else, gets the first, and may refuse it.
    for (name, subject) in [
        (&["-noservername"][..], "CN = first"),
        (&["-servername", "unknown.test"], "CN = first"),
        (&["-servername", "deep.a.wild.test"], "CN = first"),
        (&["-servername", "A.Wild.Test"], "CN = wild"),
        (&["-servername", "exact.wild.test"], "CN = exact"),
        (&["-servername", "exact.wild.test."], "CN = exact"),
        (&["-servername", "a.wild.test."], "CN = wild"),
    ] {
        let seen = s_client(&proxy, name);
        assert!(seen.contains(&format!("subject={subject}")), "{name:?}: {seen}");
    }
    assert!(text(&curl(&proxy, &certs, "other.test", &[])).contains("SSL"));
}

#[test]
fn versions_and_protocols_are_agreed_on() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    certs.make("a", &["a.test"]);
    let both = Proxy::start(&secure(backend.addr, &certs.table(&["a"], ""), ""));
    for (max, version) in [("1.2", "1.2"), ("1.3", "1.3")] {
        let seen = curl(&both, &certs, "a.test", &["--tls-max", max]);
        assert_eq!(text(&seen), "one");
        assert_eq!(handshakes(both.running(), version, "ok"), 1);
    }
    assert!(s_client(&both, &["-alpn", "spdy/1,http/1.1"]).contains("ALPN protocol: http/1.1"));
    let new = certs.table(&["a"], ", min_version = \"1.3\"");
    let new = Proxy::start(&secure(backend.addr, &new, ""));
    assert_eq!(text(&curl(&new, &certs, "a.test", &[])), "one");
    assert!(!curl(&new, &certs, "a.test", &["--tls-max", "1.2"]).status.success());
    until("it is counted", || handshakes(new.running(), "none", "nothing_in_common") == 1);
}

#[test]
fn who_speaks_something_else_is_told_or_turned_away() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    certs.make("a", &["a.test"]);
    let more = "timeout = { header = \"300ms\" }";
    let proxy = Proxy::start(&secure(backend.addr, &certs.table(&["a"], ""), more));
    let response = proxy.get("/");
    assert_eq!(response.status, 400);
    assert!(response.text().starts_with("This port speaks HTTPS"), "{}", response.text());
    // Silence, a hello that stops in the middle, garbage: closed, and others are served meanwhile.
    let mut silent = proxy.client();
    let mut half = proxy.client();
    half.send([22, 3, 1, 2, 0, 1, 0]);
    let mut garbage = proxy.client();
    garbage.send(b"\x16\x03\x01\x00\x05hello");
    let mut other = proxy.client();
    other.send([0, 1, 2]);
    assert_eq!(text(&curl(&proxy, &certs, "a.test", &[])), "one");
    for client in [&mut silent, &mut half, &mut garbage, &mut other] {
        client.rest();
    }
    for (result, count) in [("plain_http", 1), ("timeout", 2), ("alert", 1), ("not_tls", 1)] {
        until(&format!("{count} {result}"), || {
            handshakes(proxy.running(), "none", result) == count
        });
    }
    let plan = proxy.running().state().plan.load_full().unwrap();
    assert_eq!(plan.listeners["web"].cells.limit_hits.all(), [("header", 2)]);
    assert_eq!(backend.connections(), 1);
}

/// How often the backend saw a field, and with what.
pub(crate) fn field(seen: &str, name: &str) -> Vec<String> {
    let prefix = format!("{name}: ");
    seen.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_string).collect()
}

#[test]
fn clients_show_who_they_are_and_backends_are_told() {
    let (backend, certs) = (Backend::echo(), Certs::new());
    certs.make("a", &["a.test"]).make("b", &["b.test"]).make("c", &["client.test"]);
    let strangers = Certs::new();
    strangers.make("c", &["client.test"]);
    let ca = format!(", client_ca = \"{}\", client_headers = true", certs.path("ca.pem").display());
    let proxy = Proxy::start(&secure(backend.addr, &certs.table(&["a", "b"], &ca), ""));
    let own = |certs: &Certs| {
        let path = |name: &str| certs.path(name).display().to_string();
        ["--cert".to_string(), path("c.pem"), "--key".into(), path("c.key")]
    };
    let forged = ["-H", "X-Client-Cert-Subject: CN=root", "-H", "X_Client_Cert_Verified: yes"];
    let shown = own(&certs);
    let mut args: Vec<&str> = shown.iter().map(String::as_str).collect();
    args.extend(forged);
    let seen = text(&curl(&proxy, &certs, "a.test", &args));
    assert_eq!(field(&seen, "X-Client-Cert-Verified"), ["yes"], "{seen}");
    assert_eq!(field(&seen, "X-Client-Cert-Subject"), ["CN=c"]);
    assert_eq!(field(&seen, "X-Client-Cert-Issuer"), ["CN=Test CA"]);
    assert_eq!(field(&seen, "X-Client-Cert-Names"), ["client.test"]);
    let fingerprint = &field(&seen, "X-Client-Cert-Fingerprint")[0];
    assert!(fingerprint.len() == 64 && !seen.contains("X_Client"), "{seen}");
    // Its certificate was asked for by one name: requests to another need another connection.
    let misdirected = [&args[..4], &["-H", "Host: b.test", "-w", "%{http_code}"]].concat();
    assert!(text(&curl(&proxy, &certs, "a.test", &misdirected)).ends_with("421"));
    // Nobody, and somebody whom nobody vouches for.
    assert!(!curl(&proxy, &certs, "a.test", &[]).status.success());
    let stranger = own(&strangers);
    let stranger: Vec<&str> = stranger.iter().map(String::as_str).collect();
    assert!(!curl(&proxy, &certs, "a.test", &stranger).status.success());

    let asked = format!("{ca}, client_auth = \"request\"");
    let proxy = Proxy::start(&secure(backend.addr, &certs.table(&["a"], &asked), ""));
    let seen = text(&curl(&proxy, &certs, "a.test", &forged));
    assert_eq!(field(&seen, "X-Client-Cert-Verified"), ["no"]);
    assert!(field(&seen, "X-Client-Cert-Subject").is_empty(), "{seen}");
}

#[test]
fn sessions_are_resumed_by_every_worker_after_a_reload_and_by_another_proxy() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    certs.make("a", &["a.test"]);
    std::fs::write(certs.path("tickets.key"), (0..160u8).collect::<Vec<_>>()).unwrap();
    let shared = format!(", tickets_file = \"{}\"", certs.path("tickets.key").display());
    let session = certs.path("session").display().to_string();
    let ask = |proxy: &Proxy, version: &str, how: &str| {
        // The ticket of TLS 1.3 comes behind the handshake: an answer must be waited for.
        let mut child = Command::new("openssl")
            .args(["s_client", "-ign_eof", "-connect", &proxy.addr().to_string(), version])
            .args(["-servername", "a.test", how, &session])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), request).unwrap();
        text(&child.wait_with_output().unwrap())
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let words = secure(backend.addr, &certs.table(&["a"], ""), "");
        let proxy = Proxy::start(&format!("[server]\nworkers = 2\n{words}"));
        assert!(ask(&proxy, version, "-sess_out").contains("New, TLSv1."));
        let resumed = |proxy: &Proxy| ask(proxy, version, "-sess_in").contains("Reused, TLSv1.");
        for _ in 0..6 {
            assert!(resumed(&proxy), "whichever worker it comes to");
        }
        certs.make("a", &["a.test"]);
        assert!(proxy.reload(&format!("[server]\nworkers = 2\n{words}")).is_ok());
        assert!(resumed(&proxy), "{version} after another certificate");
        // Another policy: who was not asked for a certificate then is asked now.
        let ca = format!(
            ", client_ca = \"{}\", client_auth = \"request\"",
            certs.path("ca.pem").display()
        );
        let strict = secure(backend.addr, &certs.table(&["a"], &ca), "");
        assert!(proxy.reload(&format!("[server]\nworkers = 2\n{strict}")).is_ok());
        assert!(!resumed(&proxy), "{version} under another policy");
        let words = secure(backend.addr, &certs.table(&["a"], &shared), "");
        let (one, two) = (Proxy::start(&words), Proxy::start(&words));
        assert!(ask(&one, version, "-sess_out").contains("New, TLSv1."));
        assert!(resumed(&two), "{version} at another proxy");
        let more = format!("{shared}{ca}");
        let strict = Proxy::start(&secure(backend.addr, &certs.table(&["a"], &more), ""));
        assert!(!resumed(&strict), "{version} by shared keys under another policy");
    }
}

#[test]
fn certificates_change_under_connections_that_stay() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    certs.make_with("a", &["a.test"], |params| params.serial_number = Some(vec![1].into()));
    let words = secure(backend.addr, &certs.table(&["a"], ""), "");
    let proxy = Proxy::start(&words);
    let serial = || {
        let seen = s_client(&proxy, &["-servername", "a.test"]);
        let pem = seen.split("-----BEGIN").nth(1).map(|rest| format!("-----BEGIN{rest}"));
        let mut child = Command::new("openssl")
            .args(["x509", "-noout", "-serial"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), pem.unwrap().as_bytes()).unwrap();
        text(&child.wait_with_output().unwrap()).trim().to_string()
    };
    assert_eq!(serial(), "serial=01");
    let mut kept = Client::secure(&proxy, &certs, "a.test");
    kept.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(kept.response().text(), "one");
    certs.make_with("a", &["a.test"], |params| params.serial_number = Some(vec![2].into()));
    assert!(proxy.reload(&words).is_ok());
    assert_eq!(serial(), "serial=02");
    // A key that is not its: refused, and the one before goes on.
    std::fs::copy(certs.path("ca.pem"), certs.path("a.pem")).unwrap();
    let refused = proxy.reload(&words).unwrap_err().to_string();
    assert!(refused.contains("a.key: is not the key of"), "{refused}");
    assert_eq!(serial(), "serial=02");
    kept.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(kept.response().text(), "one", "its connection was never touched");
}

#[test]
fn large_bodies_pass_both_ways_and_an_access_line_is_written() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            let body = peer.bytes(length.map_or(0, |n| n.parse().unwrap()));
            peer.answer(std::str::from_utf8(&body).unwrap());
        }
    });
    let certs = Certs::new();
    certs.make("a", &["a.test"]);
    let (folder, log) = access_log();
    let words = secure(backend.addr, &certs.table(&["a"], ""), "");
    let proxy = Proxy::start(&(words + &log));
    let body: String = (0..3_000_000u32).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    std::fs::write(certs.path("body"), &body).unwrap();
    let upload = format!("@{}", certs.path("body").display());
    for version in ["--http1.1", "--http2"] {
        let how = [version, "--data-binary", &upload, "-H", "Expect:"];
        let seen = curl(&proxy, &certs, "a.test", &how);
        assert!(seen.status.success() && seen.stdout == body.as_bytes(), "{version}");
    }
    for line in access_lines(&folder, 2) {
        assert!(line.contains("\"status\":200") && line.contains("\"bytes_in\":3000000"), "{line}");
    }
}

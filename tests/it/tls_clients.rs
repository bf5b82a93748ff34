//! Certificates of clients: whose are good, and what backends are told, by HTTP/1.1 and HTTP/2.
use crate::cli::Process;
use crate::support::{Backend, Certs, Client, Proxy, until};
use crate::tls::{curl, curl_at, field, handshakes, secure, text};
use rcgen::date_time_ymd;
use std::net::SocketAddr;

/// How curl shows the pair of this name.
fn own(certs: &Certs, name: &str) -> Vec<String> {
    let path = |end: &str| certs.path(&format!("{name}.{end}")).display().to_string();
    vec!["--cert".into(), path("pem"), "--key".into(), path("key")]
}

fn client_ca(certs: &Certs, auth: &str) -> String {
    let ca = certs.path("ca.pem").display().to_string();
    format!(", client_ca = \"{ca}\", client_auth = \"{auth}\", client_headers = true")
}

#[test]
fn who_shows_a_bad_certificate_is_turned_away_even_where_none_would_do() {
    let (backend, certs, others) = (Backend::named("one"), Certs::new(), Certs::new());
    certs.make("a", &["a.test"]).make("good", &["client.test"]);
    certs.make_with("old", &["client.test"], |p| p.not_after = date_time_ymd(2001, 1, 1));
    certs.make_with("early", &["client.test"], |p| p.not_before = date_time_ymd(2090, 1, 1));
    others.make("stranger", &["client.test"]);
    for (auth, nobody) in [("require", false), ("request", true)] {
        let words = secure(backend.addr, &certs.table(&["a"], &client_ca(&certs, auth)), "");
        let proxy = Proxy::start(&words);
        let mut refused = 0;
        for (pair, good) in [
            (Some((&certs, "good")), true),
            (Some((&certs, "old")), false),
            (Some((&certs, "early")), false),
            (Some((&others, "stranger")), false),
            (None, nobody),
        ] {
            for version in ["1.2", "1.3"] {
                let how = pair.map_or_else(Vec::new, |(certs, name)| own(certs, name));
                let mut how: Vec<&str> = how.iter().map(String::as_str).collect();
                how.extend(["--tls-max", version]);
                let seen = curl(&proxy, &certs, "a.test", &how);
                let name = pair.map(|(_, name)| name);
                assert_eq!(seen.stdout == b"one", good, "{auth} {name:?}: {}", text(&seen));
                refused += u64::from(!good);
            }
        }
        until("each is counted", || {
            handshakes(proxy.running(), "none", "client_certificate") == refused
        });
    }
}

#[test]
fn what_clients_forge_never_reaches_a_backend_whatever_they_speak() {
    let (backend, certs) = (Backend::echo(), Certs::new());
    certs.make("a", &["a.test"]).make("good", &["client.test"]);
    let forged = [
        "X-Client-Cert-Verified: yes",
        "x-client-cert-subject: CN=root",
        "X-CLIENT-CERT-ISSUER: CN=root",
        "X-Client-Cert-Serial: 00",
        "X-Client-Cert-Fingerprint: 00",
        "X-Client-Cert-Names: root.test",
        "X_Client_Cert_Verified: yes",
        "X-Client-Cert-Other: root",
    ];
    let forged: Vec<&str> = forged.iter().flat_map(|line| ["-H", line]).collect();
    let asked = certs.table(&["a"], &client_ca(&certs, "request"));
    let silent = certs.table(&["a"], "");
    // A proxy before us knows nothing of such fields: it passes on what its clients write.
    let trusting = |words: String| {
        words.replace("pool = \"app\"", "pool = \"app\"\ntrusted_proxies = [\"127.0.0.0/8\"]")
    };
    let kept = ["-H", "X-Forwarded-For: 192.0.2.9"];
    for (version, trusts) in
        ["--http1.1", "--http2"].into_iter().flat_map(|v| [(v, false), (v, true)])
    {
        let secure = |backend, tls: &str, more: &str| match trusts {
            true => trusting(secure(backend, tls, more)),
            false => secure(backend, tls, more),
        };
        // Who is not asked, who shows nothing, and who shows something.
        let proxy = Proxy::start(&secure(backend.addr, &silent, ""));
        let how = [&forged[..], &kept, &[version]].concat();
        let seen = text(&curl(&proxy, &certs, "a.test", &how));
        assert_eq!(seen.contains("X-Forwarded-For: 192.0.2.9"), trusts, "{seen}");
        let fields = |seen: &str| {
            assert!(seen.starts_with("GET / HTTP/1.1"), "{seen}");
            let mut fields: Vec<_> = seen
                .lines()
                .filter(|line| line.to_ascii_lowercase().replace('_', "-").starts_with("x-client"))
                .map(str::to_ascii_lowercase)
                .collect();
            fields.sort();
            fields
        };
        assert!(fields(&seen).is_empty(), "{version}: {seen}");
        let proxy = Proxy::start(&secure(backend.addr, &asked, ""));
        let seen = text(&curl(&proxy, &certs, "a.test", &[&forged[..], &[version]].concat()));
        assert_eq!(fields(&seen), ["x-client-cert-verified: no"], "{version}");
        let shown = own(&certs, "good");
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        let how = [&forged[..], &shown, &[version]].concat();
        let seen = text(&curl(&proxy, &certs, "a.test", &how));
        assert_eq!(fields(&seen).len(), 6, "{version}: {seen}");
        assert!(!seen.contains("root") && seen.contains("CN=good"), "{version}: {seen}");
        assert_eq!(field(&seen, "X-Client-Cert-Names"), ["client.test"]);
    }
}

#[test]
fn a_host_that_the_certificate_is_not_for_is_misdirected() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    certs
        .make("a", &["a.test", "*.a.test", "192.0.2.7", "2001:db8::7"])
        .make("b", &["b.test"])
        .make("c", &["client.test"]);
    let shown = own(&certs, "c");
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    let asked = certs.table(&["a", "b"], &client_ca(&certs, "require"));
    let asking = Proxy::start(&secure(backend.addr, &asked, ""));
    let open = Proxy::start(&secure(backend.addr, &certs.table(&["a", "b"], ""), ""));
    for version in ["--http1.1", "--http2"] {
        for (host, status) in [
            ("a.test", "200"),
            ("x.a.test", "200"),
            ("y.x.a.test", "421"),
            ("b.test", "421"),
            ("192.0.2.7", "200"),
            ("[2001:db8::7]:8443", "200"),
            ("192.0.2.8", "421"),
        ] {
            let line = format!("Host: {host}");
            let how = [version, "-H", &line, "-o", "/dev/null", "-w", "%{http_code}"];
            let seen = text(&curl(&asking, &certs, "a.test", &[&how[..], &shown].concat()));
            assert_eq!(seen, status, "{version} {host}");
            // Where nobody is asked, nothing was proved to one name alone.
            assert_eq!(text(&curl(&open, &certs, "a.test", &how)), "200", "{version} {host}");
        }
    }
}

#[test]
fn only_the_certificate_that_was_shown_counts_for_a_host() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    certs
        .make("a", &["a.test"])
        .make_rsa("both", &["a.test", "b.test"])
        .make("c", &["client.test"]);
    let shown = own(&certs, "c");
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    let asked = certs.table(&["a", "both"], &client_ca(&certs, "require"));
    let proxy = Proxy::start(&secure(backend.addr, &asked, ""));
    let by = ["--tls-max", "1.2", "--ciphers"];
    for version in ["--http1.1", "--http2"] {
        for (cipher, host, status) in [
            ("ECDHE-ECDSA-AES128-GCM-SHA256", "a.test", "200"),
            ("ECDHE-ECDSA-AES128-GCM-SHA256", "b.test", "421"),
            ("ECDHE-RSA-AES128-GCM-SHA256", "a.test", "200"),
            ("ECDHE-RSA-AES128-GCM-SHA256", "b.test", "200"),
            ("ECDHE-RSA-AES128-GCM-SHA256", "c.test", "421"),
        ] {
            let line = format!("Host: {host}");
            let how = [cipher, version, "-H", &line, "-o", "/dev/null", "-w", "%{http_code}"];
            let seen = curl(&proxy, &certs, "a.test", &[&by[..], &how, &shown].concat());
            assert_eq!(text(&seen), status, "{version} {cipher} {host}");
        }
    }
}

#[test]
fn a_handshake_that_fails_is_in_the_log_at_debug_with_its_peer_and_why() {
    let (backend, certs, others) = (Backend::named("one"), Certs::new(), Certs::new());
    certs.make("a", &["a.test"]);
    certs.make_with("old", &["client.test"], |p| p.not_after = date_time_ymd(2001, 1, 1));
    others.make("stranger", &["client.test"]);
    let more = format!("{}, min_version = \"1.3\"", client_ca(&certs, "require"));
    let words = secure(backend.addr, &certs.table(&["a"], &more), "");
    for (level, is_said) in [("evenkeel::entry=debug", true), ("info", false)] {
        let process = Process::serving(|port, admin| {
            let words = words.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
            let admin = format!("[admin]\nbind = \"127.0.0.1:{admin}\"\n");
            format!("[log]\nlevel = \"{level}\"\n{admin}{words}")
        });
        let addr = SocketAddr::from(([127, 0, 0, 1], process.port));
        let mut peers = Vec::new();
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"\x16\x03", b"\0\0"] {
            let mut client = Client::connect(addr);
            peers.push(client.stream().local_addr().unwrap().to_string());
            client.send(bytes);
            // It may have been turned away already.
            let _ = client.stream().shutdown(std::net::Shutdown::Write);
            client.rest();
        }
        for how in [
            &own(&certs, "old")[..],
            &own(&others, "stranger"),
            &["--tls-max".into(), "1.2".into()],
        ] {
            let how: Vec<&str> = how.iter().map(String::as_str).collect();
            assert!(!curl_at(addr, &certs, "a.test", &how).status.success());
        }
        let said = process.end();
        let lines: Vec<_> = said.lines().filter(|line| line.contains("no TLS handshake")).collect();
        if !is_said {
            assert!(lines.is_empty(), "{said}");
            continue;
        }
        let all = [
            ("plain_http", ""),
            ("empty", ""),
            ("cut", ""),
            ("not_tls", ""),
            ("client_certificate", "certificate expired"),
            ("client_certificate", "BadSignature"),
            ("nothing_in_common", "SupportedVersionsExtensionRequired"),
        ];
        assert_eq!(lines.len(), all.len(), "{said}");
        for (result, why) in all {
            let of =
                |line: &&&str| line.contains(&format!("result=\"{result}\"")) && line.contains(why);
            let line = lines.iter().find(of).unwrap_or_else(|| panic!("{result} {why}: {said}"));
            assert!(line.contains("DEBUG") && line.contains(" listener=web "), "{line}");
        }
        for peer in peers {
            assert!(lines.iter().any(|line| line.contains(&peer)), "{peer}: {said}");
        }
    }
}

//! TLS to backends: nginx behind, who must be who it should be.
use crate::support::{Backend, Certs, Nginx, Proxy, Response, access_lines, access_log, until};
use std::net::SocketAddr;

/// An nginx that speaks TLS, by the pair of this name, and answers at `/` with what it knows of us.
fn nginx(certs: &Certs, pair: &str, more: &str) -> Nginx {
    let path = |end: &str| certs.path(&format!("{pair}.{end}")).display().to_string();
    let tls = format!(
        "ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {}; {more}
         location = / {{ return 200 '$ssl_protocol $ssl_server_name $ssl_session_reused $ssl_client_s_dn'; }}
         location = /healthz {{ return 200 'ok'; }}",
        path("pem"),
        path("key")
    );
    Nginx::secure("secure", &tls)
}

fn words(backend: SocketAddr, tls: &str, more: &str) -> String {
    // One worker: each has idle connections of its own.
    format!(
        "[server]\nworkers = 1\n[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n\
         [pool.app]\nbackends = [{{ name = \"b1\", addr = \"{backend}\" }}]\ntls = {tls}\n{more}\n"
    )
}

fn ca(certs: &Certs) -> String {
    format!("ca_file = \"{}\"", certs.path("ca.pem").display())
}

/// Connections to the backend that came to nothing in TLS.
fn refused(proxy: &Proxy) -> u64 {
    let plan = proxy.running().state().plan.load_full().unwrap();
    plan.pools["app"].members()[0].backend.cells.connect_tls.get()
}

#[test]
fn a_backend_is_who_its_certificate_says() {
    let certs = Certs::new();
    certs.make("app", &["app.test"]);
    let nginx = nginx(&certs, "app", "");
    let sni = format!("{{ {}, sni = \"app.test\" }}", ca(&certs));
    let proxy = Proxy::start(&words(nginx.addr, &sni, ""));
    let seen = proxy.get("/").text();
    assert_eq!(seen, "TLSv1.3 app.test . ");
    // Kept and used again: one connection.
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(client.ask("GET", "/", "").text(), seen);
    }
    let plan = proxy.running().state().plan.load_full().unwrap();
    assert_eq!(plan.pools["app"].members()[0].backend.cells.connect_ok.get(), 1);
    // The next one resumes its session.
    let keep = "keep_alive = \"off\"";
    assert!(proxy.reload(&words(nginx.addr, &sni, keep)).is_ok());
    proxy.get("/");
    assert_eq!(proxy.get("/").text(), "TLSv1.3 app.test r ");
}

#[test]
fn who_is_somebody_else_gets_nothing_and_the_log_says_why() {
    let (certs, others) = (Certs::new(), Certs::new());
    certs.make("app", &["app.test"]).make_with("old", &["app.test"], |params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let (app, old) = (nginx(&certs, "app", ""), nginx(&certs, "old", ""));
    for (addr, tls, why) in [
        (app.addr, format!("{{ {}, sni = \"other.test\" }}", ca(&certs)), "not valid for name"),
        (app.addr, format!("{{ {}, sni = \"app.test\" }}", ca(&others)), "BadSignature"),
        (app.addr, format!("{{ {} }}", ca(&certs)), "not valid for name"),
        (old.addr, format!("{{ {}, sni = \"app.test\" }}", ca(&certs)), "expired"),
    ] {
        let (folder, log) = access_log();
        let proxy = Proxy::start(&(words(addr, &tls, "") + &log));
        let Response { status, .. } = proxy.get("/");
        assert_eq!((status, refused(&proxy) > 0), (502, true), "{tls}");
        let line = access_lines(&folder, 1).remove(0);
        assert!(line.contains("\"reason\":\"tls\""), "{line}");
        let plan = proxy.running().state().plan.load_full().unwrap();
        // The probe that would bring it back meets the same.
        let probed = || plan.pools["app"].members().remove(0).last_probe;
        until("it is probed", || probed().is_some());
        let said = probed().unwrap().1.to_string();
        assert!(said.contains("TLS: invalid peer certificate") && said.contains(why), "{said}");
    }
    let open = "{ verify = false }";
    let proxy = Proxy::start(&words(old.addr, open, ""));
    assert_eq!(proxy.get("/").status, 200, "nobody is verified");
    // It speaks no TLS at all.
    let plain = Backend::named("plain");
    let proxy = Proxy::start(&words(plain.addr, open, ""));
    assert_eq!(proxy.get("/").status, 502);
}

#[test]
fn we_show_who_we_are_and_probes_speak_tls_too() {
    let certs = Certs::new();
    certs.make("app", &["app.test"]).make("proxy", &["proxy.test"]);
    let strict =
        format!("ssl_client_certificate {}; ssl_verify_client on;", certs.path("ca.pem").display());
    let nginx = nginx(&certs, "app", &strict);
    let sni = format!("{}, sni = \"app.test\"", ca(&certs));
    let health = "health = { http = \"/healthz\", interval = \"50ms\", fall = 1, rise = 1 }";
    let without = Proxy::start(&words(nginx.addr, &format!("{{ {sni} }}"), health));
    without.until_state("b1", "down");
    let with = format!("{{ {sni}, {} }}", certs.words("proxy"));
    assert!(without.reload(&words(nginx.addr, &with, health)).is_ok());
    without.until_state("b1", "up");
    let seen = without.get("/").text();
    assert!(seen.starts_with("TLSv1.3 app.test ") && seen.ends_with(" CN=proxy"), "{seen}");
}

#[test]
fn another_way_to_a_backend_ends_connections_made_the_old_one() {
    let certs = Certs::new();
    certs.make("app", &["app.test", "new.test"]);
    let nginx = nginx(&certs, "app", "");
    let sni = |name: &str| format!("{{ {}, sni = \"{name}\" }}", ca(&certs));
    let proxy = Proxy::start(&words(nginx.addr, &sni("app.test"), ""));
    let mut client = proxy.client();
    assert!(client.ask("GET", "/", "").text().contains(" app.test "));
    assert!(proxy.reload(&words(nginx.addr, &sni("new.test"), "")).is_ok());
    assert!(client.ask("GET", "/", "").text().contains(" new.test "));
    let plan = proxy.running().state().plan.load_full().unwrap();
    let cells = &plan.pools["app"].members()[0].backend;
    until("the old one is closed", || cells.cells.open.get() == 1);
}

#[test]
fn large_files_pass_both_ways() {
    let certs = Certs::new();
    certs.make("app", &["app.test"]);
    let nginx = nginx(&certs, "app", "");
    let sni = format!("{{ {}, sni = \"app.test\" }}", ca(&certs));
    let proxy = Proxy::start(&words(nginx.addr, &sni, ""));
    let body: Vec<u8> =
        (0..5_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut client = proxy.client();
    client.send(format!(
        "PUT /files/x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    client.send(&body);
    assert_eq!(client.response().status, 201);
    let came = client.ask("GET", "/files/x", "");
    assert!(came.complete && came.body == body);
}

/// A server of openssl; killed when dropped.
struct Server(std::process::Child);

impl Server {
    fn start(addr: SocketAddr, certs: &Certs, pair: &str, more: &[&str]) -> Self {
        let path = |end: &str| certs.path(&format!("{pair}.{end}"));
        let child = std::process::Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &addr.to_string(), "-cert"])
            .arg(path("pem"))
            .arg("-key")
            .arg(path("key"))
            .args(more)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("openssl: install Debian's package openssl");
        let server = Self(child);
        until("it listens", || std::net::TcpStream::connect(addr).is_ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_wrong_with_a_backend_is_in_the_log_and_its_stage_is_counted() {
    use crate::cli::Process;
    use crate::support::{Client, nobody};
    let (certs, others) = (Certs::new(), Certs::new());
    certs.make("app", &["app.test"]).make_with("old", &["app.test"], |params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let lone = rcgen::generate_simple_self_signed(vec!["app.test".into()]).unwrap();
    std::fs::write(certs.path("lone.pem"), lone.cert.pem()).unwrap();
    std::fs::write(certs.path("lone.key"), lone.signing_key.serialize_pem()).unwrap();
    let [app, old, lone] = ["app", "old", "lone"].map(|pair| nginx(&certs, pair, ""));
    let ancient = nobody();
    let oldest = ["-tls1", "-cipher", "ALL:@SECLEVEL=0"];
    let _ancient = Server::start(ancient, &certs, "app", &oldest);
    let of = |certs: &Certs, name: &str| format!("{{ {}, sni = \"{name}\" }}", ca(certs));
    let good = of(&certs, "app.test");
    for (addr, tls, more, why) in [
        (app.addr, of(&certs, "other.test"), "", "certificate not valid for name \"other.test"),
        (app.addr, of(&others, "app.test"), "", "BadSignature"),
        (old.addr, good.clone(), "", "certificate expired: verification time"),
        (lone.addr, good.clone(), "", "UnknownIssuer"),
        // This machine's authorities do not vouch for it either.
        (lone.addr, "true".into(), "", "UnknownIssuer"),
        (ancient, good.clone(), "", "ProtocolVersion"),
        (app.addr, good.clone(), "http = \"2\"", "NoApplicationProtocol"),
    ] {
        let process = Process::serving(|port, admin| {
            words(addr, &tls, more)
                .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
                .replace("[server]", &format!("[admin]\nbind = \"127.0.0.1:{admin}\"\n[server]"))
        });
        let mut client = Client::connect(([127, 0, 0, 1], process.port).into());
        let response = client.ask("GET", "/", "Connection: close\r\n");
        assert_eq!(response.status, 502, "{why}");
        let counted = |result: &str| {
            let labels = format!("{{pool=\"app\",backend=\"b1\",result=\"{result}\"}}");
            process.metric(&format!("evenkeel_upstream_connections_total{labels}"))
        };
        assert!(counted("tls") >= Some(1.0) && counted("ok") == Some(0.0), "{why}");
        let said = process.end();
        let line = said.lines().find(|line| line.contains("backend turned")).unwrap_or_default();
        assert!(line.contains("WARN") && line.contains("TLS: "), "{said}");
        assert!(line.replace("\\\"", "\"").contains(why), "{why}: {line}");
    }
}

#[test]
fn a_backend_that_wants_a_certificate_says_so_behind_the_handshake_and_the_log_too() {
    use crate::cli::Process;
    use crate::support::{Client, nobody};
    let certs = Certs::new();
    certs.make("app", &["app.test"]);
    let addr = nobody();
    let ca_file = certs.path("ca.pem").display().to_string();
    let strict = ["-tls1_3", "-www", "-Verify", "1", "-verify_return_error", "-CAfile", &ca_file];
    let _server = Server::start(addr, &certs, "app", &strict);
    let tls = format!("{{ {}, sni = \"app.test\" }}", ca(&certs));
    let said = "TLS: the backend refused our certificate: certificate required";
    let serving = |more: &str| {
        Process::serving(|port, admin| {
            words(addr, &tls, more)
                .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
                .replace("[server]", &format!("[admin]\nbind = \"127.0.0.1:{admin}\"\n[server]"))
        })
    };
    let process = serving("");
    let ask = |method: &str| {
        let mut client = Client::connect(([127, 0, 0, 1], process.port).into());
        client.ask(method, "/", "Connection: close\r\n").status
    };
    assert_eq!(ask("GET"), 502, "there is nobody else");
    let metric = |name: &str| process.metric(name);
    let by_tls = "evenkeel_upstream_connections_total{pool=\"app\",backend=\"b1\",result=\"tls\"}";
    assert!(metric(by_tls) >= Some(1.0), "the stage is counted");
    // Nothing was looked at: it counts as not reached, until a connect succeeds.
    let own = "evenkeel_responses_own_total{listener=\"web\",reason=\"tls\"}";
    until("the answer is counted, behind its last byte", || metric(own) == Some(1.0));
    let log = process.end();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(said)).collect();
    assert_eq!(lines.len(), 2, "the connection, and the backend's turn: {log}");
    for line in lines {
        assert!(line.contains("WARN") && line.contains(&addr.to_string()), "{log}");
    }
    let other = nginx(&certs, "app", "");
    let both = Process::serving(|port, admin| {
        words(addr, &tls, "")
            .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
            .replace("[server]", &format!("[admin]\nbind = \"127.0.0.1:{admin}\"\n[server]"))
            .replace("backends = [", &format!("backends = [\"{}\", ", other.addr))
    });
    for _ in 0..4 {
        let mut client = Client::connect(([127, 0, 0, 1], both.port).into());
        // Not a POST: the reset behind the alert may hide it.
        assert_eq!(client.ask("GET", "/", "Connection: close\r\n").status, 200);
    }
    drop(both);
    let process = serving("health = { http = \"/\", interval = \"50ms\", fall = 1 }");
    let down = "evenkeel_backend_state{pool=\"app\",backend=\"b1\",state=\"down\"}";
    until("a probe notices", || process.metric(down) == Some(1.0));
    let log = process.end();
    let turned = log.lines().find(|line| line.contains("backend turned")).unwrap_or_default();
    assert!(turned.contains(said), "{log}");
}

#[test]
fn the_check_dials_as_the_pools_say() {
    use crate::cli::check;
    use crate::support::nobody;
    let (certs, others) = (Certs::new(), Certs::new());
    certs.make("app", &["app.test"]).make("own", &["client.test"]);
    certs.make_with("old", &["app.test"], |p| p.not_after = rcgen::date_time_ymd(2001, 1, 1));
    certs.make_with("gone", &["client.test"], |p| p.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let [app, old] = ["app", "old"].map(|pair| nginx(&certs, pair, ""));
    let (strict, plain) = (nobody(), Backend::named("plain"));
    let ca_file = certs.path("ca.pem").display().to_string();
    let asks = ["-tls1_3", "-www", "-Verify", "1", "-verify_return_error", "-CAfile", &ca_file];
    let _strict = Server::start(strict, &certs, "app", &asks);
    // It waits for a header.
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = told.clone();
    let waits = Backend::run(move |peer| heard.lock().unwrap().push(peer.rest()));
    let of = |certs: &Certs, more: &str| format!("{{ {}, sni = \"app.test\"{more} }}", ca(certs));
    let shows = |name: &str| of(&certs, &format!(", {}", certs.words(name)));
    let good = of(&certs, "");
    let pools = [
        ("good", app.addr, good.as_str(), "", None),
        ("name", app.addr, &format!("{{ {} }}", ca(&certs)), "", Some("not valid for name")),
        ("authority", app.addr, &of(&others, ""), "", Some("TLS: invalid peer certificate")),
        ("machine", app.addr, "{ sni = \"app.test\" }", "", Some("UnknownIssuer")),
        ("old", old.addr, &good, "", Some("certificate expired")),
        ("anybody", old.addr, "{ verify = false }", "", None),
        ("no_h2", app.addr, &good, "http = \"2\"", Some("NoApplicationProtocol")),
        ("either", app.addr, &good, "http = \"auto\"", None),
        ("plain", plain.addr, &good, "", Some("TLS: ")),
        ("unknown", strict, &good, "", Some("refused our certificate: certificate required")),
        ("known", strict, &shows("own"), "", None),
        ("too_late", strict, &shows("gone"), "", Some("refused our certificate: ")),
        ("header", waits.addr, "false", "send_proxy_protocol = \"v1\"", None),
    ];
    let mut words = "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"good\"\n".to_string();
    for (name, addr, tls, more, _) in &pools {
        words += &format!("[pool.{name}]\nbackends = [\"{addr}\"]\ntls = {tls}\n{more}\n");
    }
    let dialled = || {
        let done = check(&words, &["--connect"]);
        assert_eq!(done.status.code(), Some(1));
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    // Who refuses us behind the handshake is given a second: a busy machine may take longer.
    let mut said = String::new();
    until("those that refuse us are heard", || {
        said = dialled();
        said.matches("refused our certificate").count() == 2
    });
    for (name, addr, _, _, what) in &pools {
        let key = format!("pool.{name}.backends.");
        let line = said.lines().find(|line| line.contains(&key));
        match what {
            Some(what) => {
                let connect = format!("connect to {addr}: ");
                let line = line.unwrap_or_else(|| panic!("{name}: {said}"));
                assert!(line.contains(&connect) && line.contains(what), "{name}: {line}");
            }
            None => assert_eq!(line, None, "{name}"),
        }
    }
    until("the header came", || !told.lock().unwrap().is_empty());
    assert_eq!(told.lock().unwrap()[0], b"PROXY UNKNOWN\r\n");
}

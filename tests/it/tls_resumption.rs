//! Sessions are resumed, and never for longer than what was shown in them is good.
use crate::support::{Backend, Certs, Proxy, until};
use crate::tls::{field, handshakes, secure, text};
use rcgen::date_time_ymd;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds that a certificate is good for at first: twice as many where the machine was too busy.
const LIVES: [u64; 4] = [4, 8, 16, 32];

/// Signs a pair that is good for so many seconds from now. Returns when it has run out.
fn brief(certs: &Certs, name: &str, host: &str, life: u64) -> SystemTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let end = Duration::from_secs(now + life);
    certs.make_with(name, &[host], |params| params.not_after = date_time_ymd(1970, 1, 1) + end);
    // Its last second is one of its own.
    UNIX_EPOCH + end + Duration::from_secs(1)
}

fn wait_for(end: SystemTime) {
    until("it has run out", || SystemTime::now() > end);
}

/// One request by `openssl s_client`: what it says, and the answer.
fn ask(proxy: &Proxy, more: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-connect", &proxy.addr().to_string()])
        .args(["-servername", "a.test"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl: install Debian's package openssl");
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let _ = child.stdin.as_mut().unwrap().write_all(request);
    text(&child.wait_with_output().unwrap())
}

#[test]
fn a_clients_session_ends_with_its_certificate() {
    let (backend, certs) = (Backend::echo(), Certs::new());
    certs.make("a", &["a.test"]).make("good", &["client.test"]);
    let path = |name: &str| certs.path(name).display().to_string();
    let listening = |auth: &str| {
        let ca = path("ca.pem");
        let more =
            format!(", client_ca = \"{ca}\", client_auth = \"{auth}\", client_headers = true");
        Proxy::start(&secure(backend.addr, &certs.table(&["a"], &more), ""))
    };
    let proxies = ["require", "request"].map(|auth| (auth, listening(auth)));
    let ways =
        || proxies.iter().flat_map(|(auth, proxy)| ["1_2", "1_3"].map(|v| (*auth, proxy, v)));
    let said = |proxy: &Proxy, version: &str, more: &[&str]| {
        let version = format!("-tls{version}");
        ask(proxy, &[&[version.as_str()], more].concat())
    };
    let is_subject =
        |seen: &str, name: &str| field(seen, "X-Client-Cert-Subject") == [format!("CN={name}")];
    // A session of each client with each, and resumed without its certificate.
    let begin = |name: &str| {
        ways().all(|(auth, proxy, version)| {
            let session = path(&format!("{name}-{auth}-{version}"));
            let (cert, key) = (path(&format!("{name}.pem")), path(&format!("{name}.key")));
            let shown = ["-cert", &cert, "-key", &key, "-sess_out", &session];
            let new = said(proxy, version, &shown);
            let resumed = said(proxy, version, &["-sess_in", &session, "-sess_out", &session]);
            is_subject(&new, name) && resumed.contains("Reused, ") && is_subject(&resumed, name)
        })
    };
    assert!(begin("good"));
    let end = LIVES.iter().find_map(|life| {
        let end = brief(&certs, "short", "client.test", *life);
        begin("short").then_some(end)
    });
    wait_for(end.expect("sessions while it is good"));
    let mut refused = 0;
    let before = handshakes(proxies[0].1.running(), "none", "client_certificate");
    for (auth, proxy, version) in ways() {
        let session = path(&format!("short-{auth}-{version}"));
        let seen = said(proxy, version, &["-sess_in", &session]);
        assert!(!seen.contains("Reused, "), "{auth} {version}: {seen}");
        match auth {
            "require" => {
                assert!(!seen.contains("HTTP/1.1 200"), "{version}: {seen}");
                refused += 1;
            }
            _ => {
                assert_eq!(field(&seen, "X-Client-Cert-Verified"), ["no"], "{version}: {seen}");
                assert!(!is_subject(&seen, "short"), "{version}: {seen}");
            }
        }
        // Who has another certificate by now shows it, on the same connection.
        let (cert, key) = (path("good.pem"), path("good.key"));
        let seen = said(proxy, version, &["-sess_in", &session, "-cert", &cert, "-key", &key]);
        assert!(
            is_subject(&seen, "good") && !seen.contains("Reused, "),
            "{auth} {version}: {seen}"
        );
        let session = path(&format!("good-{auth}-{version}"));
        let seen = said(proxy, version, &["-sess_in", &session]);
        assert!(is_subject(&seen, "good") && seen.contains("Reused, "), "{auth} {version}: {seen}");
    }
    until("each is counted", || {
        handshakes(proxies[0].1.running(), "none", "client_certificate") == before + refused
    });
}

/// Shows the certificate that it has now.
#[derive(Debug)]
struct Shows(Mutex<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().unwrap().clone())
    }
}

fn pair(certs: &Certs, name: &str) -> Arc<CertifiedKey> {
    let cert = CertificateDer::from_pem_file(certs.path(&format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(certs.path(&format!("{name}.key"))).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Arc::new(CertifiedKey::from_der(vec![cert], key, &provider).unwrap())
}

/// A backend that says how each handshake was made, and takes its tickets whatever it shows.
fn server(version: &'static rustls::SupportedProtocolVersion, shows: &Arc<Shows>) -> Backend {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth();
    let mut config = config.with_cert_resolver(shows.clone());
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let config = Arc::new(config);
    Backend::run(move |peer| {
        let connection = ServerConnection::new(config.clone()).unwrap();
        let mut stream = StreamOwned::new(connection, peer.stream());
        let mut buf = [0; 4096];
        while matches!(std::io::Read::read(&mut stream, &mut buf), Ok(1..)) {
            let word = match stream.conn.handshake_kind() {
                Some(HandshakeKind::Resumed) => "old",
                _ => "new",
            };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{word}");
            let _ = stream.write_all(answer.as_bytes());
        }
    })
}

#[test]
fn a_session_with_a_backend_ends_with_its_certificate_and_it_is_asked_for_the_next_one() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let certs = Certs::new();
        certs.make("next", &["app.test"]);
        let shows = Arc::new(Shows(Mutex::new(pair(&certs, "next"))));
        let backend = server(version, &shows);
        let words = |more: &str| {
            format!(
                "[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n[pool.app]\n\
                 backends = [{{ name = \"b1\", addr = \"{}\" }}]\n\
                 tls = {{ ca_file = \"{}\", sni = \"app.test\" }}\nkeep_alive = \"off\"\n{more}",
                backend.addr,
                certs.path("ca.pem").display()
            )
        };
        let probed = "health = { http = \"/\", interval = \"50ms\", fall = 1, rise = 1 }";
        let begun = LIVES.iter().find_map(|life| {
            let end = brief(&certs, "short", "app.test", *life);
            *shows.0.lock().unwrap() = pair(&certs, "short");
            let all = ["", probed, ""].map(|more| Proxy::start(&words(more)));
            let is_resumed = |proxy: &Proxy| {
                ["new", "old", "old"].map(|_| proxy.get("/").text()).ends_with(&["old".into()])
            };
            all.iter().all(is_resumed).then_some((end, all))
        });
        let (end, [served, watched, renewed]) = begun.expect("sessions while it is good");
        wait_for(end);
        assert_eq!(served.get("/").status, 502, "{version:?}: nobody believes it any more");
        watched.until_state("b1", "down");
        let plan = watched.running().state().plan.load_full().unwrap();
        let said = plan.pools["app"].members().remove(0).last_probe.unwrap().1.to_string();
        assert!(said.contains("certificate expired"), "{version:?}: {said}");
        // It has another one by now, and nobody notices that the old sessions were of the first.
        *shows.0.lock().unwrap() = pair(&certs, "next");
        for word in ["new", "old", "old"] {
            let answer = renewed.get("/");
            assert_eq!((answer.status, answer.text().as_str()), (200, word), "{version:?}");
        }
        watched.until_state("b1", "up");
    }
}

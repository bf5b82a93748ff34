//! The PROXY protocol towards backends: what HAProxy and nginx understand of it, and whose
//! connections are used again.
use crate::support::h2::Frames;
use crate::support::{Backend, Certs, Client, Haproxy, Nginx, Proxy, nobody, until, web};
use evenkeel::net::proxy_protocol::{Ends, Header, Read, Ssl, read};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// A HAProxy that requires a header and answers with what it says.
fn receiver() -> (SocketAddr, Haproxy) {
    let addr = nobody();
    let sections = format!(
        "frontend f\n  mode http\n  bind {addr} accept-proxy\n  http-request return status 200 \
         content-type text/plain lf-string \"%[src]:%[src_port] %[dst_port] %[fc_pp_authority]\""
    );
    (addr, Haproxy::start(addr, &sections))
}

/// A backend that reads a header, keeps it, and answers each request with the client it names.
fn heard() -> (Backend, Arc<Mutex<Vec<Header>>>) {
    let all = Arc::new(Mutex::new(Vec::new()));
    let kept = all.clone();
    let backend = Backend::run(move |peer| {
        let mut bytes = Vec::new();
        let header = loop {
            match read(&bytes).unwrap_or_else(|fault| panic!("{fault:?}: {}", bytes.escape_ascii()))
            {
                Read::Whole(header, _) => break header,
                Read::More => bytes.push(match peer.byte() {
                    Some(byte) => byte,
                    None => return,
                }),
            }
        };
        let client = match header.ends {
            Ends::Ip { source, .. } => source.to_string(),
            other => format!("{other:?}"),
        };
        kept.lock().unwrap().push(header);
        while peer.request().is_some() {
            peer.answer(&client);
        }
    });
    (backend, all)
}

#[test]
fn haproxy_learns_the_client_by_both_versions_over_http_and_tcp() {
    let (backend, _haproxy) = receiver();
    for version in ["v1", "v2"] {
        for protocol in ["http", "tcp"] {
            let proxy = Proxy::start(&format!(
                "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"{protocol}\"\npool = \"app\"\n\
                 [pool.app]\nsend_proxy_protocol = \"{version}\"\nbackends = [\"{backend}\"]\n"
            ));
            let mut client = proxy.client();
            let own = client.stream().local_addr().unwrap();
            let said = client.ask("GET", "/", "").text();
            let want = format!("{own} {}", proxy.addr().port());
            assert!(said.starts_with(&want), "{version} {protocol}: {said:?}, not {want:?}");
        }
    }
}

#[test]
fn nginx_learns_the_client_before_tls_and_without_it() {
    let (certs, tls, plain) = (Certs::new(), nobody(), nobody());
    certs.make("a", &["a.test"]);
    let nginx = Nginx::start(
        "n",
        &format!(
            "listen {plain} proxy_protocol; listen {tls} ssl proxy_protocol;\n\
             ssl_certificate {}; ssl_certificate_key {};\n\
             location = /who {{ return 200 '$proxy_protocol_addr:$proxy_protocol_port'; }}",
            certs.path("a.pem").display(),
            certs.path("a.key").display()
        ),
    );
    assert!(nginx.addr != plain);
    for version in ["v1", "v2"] {
        let secure = format!(
            "tls = {{ ca_file = \"{}\", sni = \"a.test\" }}",
            certs.path("ca.pem").display()
        );
        for (addr, more) in [(plain, ""), (tls, &*secure)] {
            let more = format!("send_proxy_protocol = \"{version}\"\n{more}");
            let proxy = Proxy::http(&[addr], &more);
            let mut client = proxy.client();
            let own = client.stream().local_addr().unwrap().to_string();
            for _ in 0..3 {
                assert_eq!(client.ask("GET", "/who", "").text(), own, "{version} to {addr}");
            }
        }
        // Without one nginx closes: what is said above was said by the header.
        let proxy = Proxy::http(&[plain], "");
        assert_eq!(proxy.get("/who").status, 502);
    }
}

#[test]
fn a_kept_connection_carries_requests_of_its_own_client_alone() {
    let (backend, headers) = heard();
    let proxy = Proxy::http(&[backend.addr], "send_proxy_protocol = \"v2\"");
    let mut clients = [proxy.client(), proxy.client(), proxy.client()];
    for _ in 0..5 {
        for client in &mut clients {
            let own = client.stream().local_addr().unwrap().to_string();
            assert_eq!(client.ask("GET", "/", "").text(), own);
        }
    }
    // One for each client of each worker that serves it; none was made twice.
    assert_eq!((backend.connections(), headers.lock().unwrap().len()), (3, 3));
}

#[test]
fn connections_kept_for_clients_that_left_give_way() {
    let (backend, _headers) = heard();
    let more = "send_proxy_protocol = \"v1\"\nkeep_alive = { max_idle = 2 }\n[server]\nworkers = 1";
    let proxy = Proxy::http(&[backend.addr], more);
    for _ in 0..6 {
        drop(proxy.get("/"));
        assert_eq!(proxy.client().ask("GET", "/", "").status, 200);
    }
    let mut last = proxy.client();
    assert_eq!(last.ask("GET", "/", "").status, 200);
    let before = backend.connections();
    assert_eq!(last.ask("GET", "/", "").status, 200);
    assert_eq!(backend.connections(), before, "the newest is kept, the oldest gave way");
    let plan = proxy.running().state().plan.load_full().unwrap();
    let cells = &plan.pools["app"].members()[0].backend.cells;
    until("no more are kept than may be", || cells.idle.get() <= 2 && cells.open.get() <= 2);
}

/// An nginx that is spoken to in HTTP/2 behind a header, and says for whom, and on which of its
/// connections.
fn nginx_of_http2(certs: &Certs) -> (SocketAddr, SocketAddr, Nginx) {
    let (plain, secure) = (nobody(), nobody());
    let (cert, key) = (certs.path("a.pem"), certs.path("a.key"));
    let more = format!(
        "listen {plain} proxy_protocol http2; listen {secure} ssl proxy_protocol http2;\n\
         ssl_certificate {}; ssl_certificate_key {};\n\
         location = /who {{ return 200 \"$proxy_protocol_addr:$proxy_protocol_port $connection\"; }}",
        cert.display(),
        key.display()
    );
    (plain, secure, Nginx::start("n", &more))
}

#[test]
fn a_shared_connection_carries_requests_of_its_own_client_alone() {
    let certs = Certs::new();
    certs.make("a", &["a.test"]);
    let (plain, secure, _nginx) = nginx_of_http2(&certs);
    let tls =
        format!("tls = {{ ca_file = \"{}\", sni = \"a.test\" }}", certs.path("ca.pem").display());
    for (addr, tls) in [(plain, ""), (secure, &*tls)] {
        let more = format!("http = \"2\"\nsend_proxy_protocol = \"v2\"\n{tls}");
        let proxy = Proxy::http(&[addr], &format!("{more}\n[server]\nworkers = 1"));
        let mut clients = [proxy.client(), proxy.client(), proxy.client()];
        let mut all = std::collections::BTreeSet::new();
        for _ in 0..4 {
            for client in &mut clients {
                let own = client.stream().local_addr().unwrap().to_string();
                let said = client.ask("GET", "/who", "").text();
                assert!(said.starts_with(&format!("{own} ")), "{said}, not {own}");
                all.insert(said);
            }
        }
        assert_eq!(all.len(), clients.len(), "one for each client: {all:?}");
        // All streams of one client share one.
        let mut streams = Frames::connect(proxy.addr());
        let own = streams.stream().local_addr().unwrap().to_string();
        streams.get(1, "/who", &[]);
        let (_, first) = streams.answer(1);
        assert!(first.starts_with(&own) && all.insert(first.clone()), "{first}");
        for stream in [3, 5, 7] {
            streams.get(stream, "/who", &[]);
            assert_eq!(streams.answer(stream), (200, first.clone()));
        }
    }
}

#[test]
fn shared_connections_of_clients_that_left_give_way() {
    let certs = Certs::new();
    certs.make("a", &["a.test"]);
    let (plain, _, _nginx) = nginx_of_http2(&certs);
    let more =
        "http = \"2\"\nsend_proxy_protocol = \"v1\"\nkeep_alive = { max_idle = 2, idle = \"1h\" }";
    let proxy = Proxy::http(&[plain], &format!("{more}\n[server]\nworkers = 1"));
    for _ in 0..8 {
        assert_eq!(proxy.client().ask("GET", "/who", "").status, 200);
    }
    let plan = proxy.running().state().plan.load_full().unwrap();
    let cells = &plan.pools["app"].members()[0].backend.cells;
    until("no more are kept than may be", || (cells.idle.get(), cells.open.get()) == (2, 2));
}

#[test]
fn a_reload_changes_what_is_said_with_the_next_request() {
    let (backend, _headers) = heard();
    let plain = Backend::named("plain");
    let text = |version: &str| web(&[backend.addr], version);
    let proxy = Proxy::start(&text("send_proxy_protocol = \"v1\""));
    let mut client = proxy.client();
    let own = client.stream().local_addr().unwrap().to_string();
    assert_eq!(client.ask("GET", "/", "").text(), own);
    proxy.reload(&text("send_proxy_protocol = \"v2\"")).unwrap();
    assert_eq!(client.ask("GET", "/", "").text(), own);
    assert_eq!(backend.connections(), 2, "another version is another connection");
    proxy.reload(&web(&[plain.addr], "")).unwrap();
    assert_eq!(client.ask("GET", "/", "").text(), "plain");
}

#[test]
fn what_is_known_of_a_clients_tls_goes_along() {
    ["http", "tcp"].into_iter().for_each(tls_goes_along);
}

fn tls_goes_along(protocol: &str) {
    let certs = Certs::new();
    certs.make("a", &["a.test"]).make("alice", &["alice.test"]);
    let (backend, headers) = heard();
    let proxy = Proxy::start(&format!(
        "[pool.app]\nsend_proxy_protocol = \"v2\"\nbackends = [\"{}\"]\n\
         [listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n\
         protocol = \"{protocol}\"\n{}\n",
        backend.addr,
        certs.table(
            &["a"],
            &format!(
                ", client_ca = \"{}\", client_auth = \"request\"",
                certs.path("ca.pem").display()
            )
        )
    ));
    let curl = |flags: &[&str]| {
        let done = Command::new("curl")
            .args(["-sS", "--http1.1", "--max-time", "20", "--cacert"])
            .arg(certs.path("ca.pem"))
            .args(["--resolve", &format!("a.test:{}:127.0.0.1", proxy.addr().port())])
            .args(flags)
            .arg(format!("https://a.test:{}/", proxy.addr().port()))
            .output()
            .expect("curl: install Debian's package curl");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    curl(&[]);
    curl(&["--tls-max", "1.2"]);
    let (cert, key) = (certs.path("alice.pem"), certs.path("alice.key"));
    curl(&["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()]);
    let bytes = |text: &str| Some(text.as_bytes().into());
    let all = headers.lock().unwrap();
    let said: Vec<_> = all.iter().map(|header| header.tlvs.ssl.clone().unwrap()).collect();
    let none = |version| Ssl { client: 1, verify: 1, version: bytes(version), cn: None };
    let shown = Ssl { client: 7, verify: 0, version: bytes("TLSv1.3"), cn: bytes("alice") };
    assert_eq!(said, [none("TLSv1.3"), none("TLSv1.2"), shown]);
    for header in &*all {
        assert_eq!(header.tlvs.authority, bytes("a.test"));
        assert_eq!(header.tlvs.alpn, bytes("http/1.1"));
        assert!(matches!(header.ends, Ends::Ip { destination, .. } if destination == proxy.addr()));
    }
}

#[test]
fn what_a_proxy_before_us_said_is_passed_on() {
    let (backend, headers) = heard();
    let proxy = Proxy::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n\
         proxy_protocol = {{ from = [\"127.0.0.1\"] }}\n\
         [pool.app]\nsend_proxy_protocol = \"v2\"\nbackends = [\"{}\"]\n",
        backend.addr
    ));
    let mut client = proxy.client();
    let source = "192.0.2.9:51234".parse().unwrap();
    let ends = Ends::Ip { source, destination: "198.51.100.2:443".parse().unwrap() };
    let mut header = Header { ends, ..Header::default() };
    header.tlvs.authority = Some((*b"a.test").into());
    header.tlvs.unique_id = Some((*b"id-1").into());
    header.tlvs.ssl = Some(Ssl { client: 1, verify: 1, ..Ssl::default() });
    client.send(header.write(evenkeel::net::proxy_protocol::Version::V2).bytes());
    assert_eq!(client.ask("GET", "/", "").text(), "192.0.2.9:51234");
    assert_eq!(*headers.lock().unwrap(), [header]);
}

#[test]
fn probes_send_a_header_when_they_are_told_to() {
    let addr = nobody();
    let _nginx = Nginx::start("n", &format!("listen {addr} proxy_protocol;"));
    for version in ["v1", "v2"] {
        let health =
            "{ http = \"/name\", interval = \"50ms\", rise = 1, fall = 1, proxy_protocol = true }";
        let more = format!("send_proxy_protocol = \"{version}\"\nhealth = {health}");
        let proxy = Proxy::http(&[addr], &more);
        proxy.until_state("b1", "up");
        assert_eq!(proxy.get("/name").text(), "n");
        let without = more.replace(", proxy_protocol = true", "");
        let proxy = Proxy::http(&[addr], &without);
        proxy.until_state("b1", "down");
    }
    // A probe is nobody's connection.
    let (backend, headers) = heard();
    let health = "{ http = \"/\", interval = \"50ms\", proxy_protocol = true }";
    let more = format!("send_proxy_protocol = \"v2\"\nhealth = {health}");
    let proxy = Proxy::http(&[backend.addr], &more);
    proxy.until_state("b1", "up");
    assert_eq!(headers.lock().unwrap()[0].ends, Ends::Nobody);
}

#[test]
fn a_backend_that_comes_back_is_greeted_as_it_wants() {
    // Without `health` a connect brings it back: behind TLS it must begin with a header, too.
    let (certs, addr) = (Certs::new(), nobody());
    certs.make("a", &["a.test"]);
    let more = format!(
        "send_proxy_protocol = \"v2\"\ntls = {{ ca_file = \"{}\", sni = \"a.test\" }}",
        certs.path("ca.pem").display()
    );
    let proxy = Proxy::http(&[addr], &more);
    assert_eq!(proxy.get("/name").status, 502);
    proxy.until_state("b1", "down");
    let (cert, key) = (certs.path("a.pem"), certs.path("a.key"));
    let _nginx = Nginx::start(
        "n",
        &format!(
            "listen {addr} ssl proxy_protocol; ssl_certificate {}; ssl_certificate_key {};",
            cert.display(),
            key.display()
        ),
    );
    proxy.until_state("b1", "up");
    let mut client: Client = proxy.client();
    assert_eq!(client.ask("GET", "/name", "").text(), "n");
}

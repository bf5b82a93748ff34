//! WebSockets over HTTP/1.1 and HTTP/2, between a server and clients that nobody here wrote.
use crate::support::h2::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, block};
use crate::support::{Backend, Certs, Client, Proxy, access_lines, access_log, nobody, until, web};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A process of `tests/it/websocket/peers.py`; ended when dropped.
struct Peers {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Peers {
    fn start(arguments: &[&str]) -> Self {
        let python: PathBuf = root().join("target/python/bin/python3");
        assert!(python.is_file(), "no {}: tests/run makes it", python.display());
        let mut command = Command::new(python);
        command.arg(root().join("tests/it/websocket/peers.py")).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }
    /// What it says next; empty at its end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }
    /// Tells it to end, and what it says then.
    fn end(&mut self) -> serde_json::Value {
        drop(self.input.take());
        self.said()
    }
    fn said(&mut self) -> serde_json::Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server of WebSockets.
fn server(tls: &[&str]) -> (Peers, SocketAddr) {
    let addr = nobody();
    let port = addr.port().to_string();
    let mut peers = Peers::start(&[&["server", &port], tls].concat());
    until("the server listens", || {
        assert!(peers.child.try_wait().unwrap().is_none(), "the server ended");
        TcpStream::connect(addr).is_ok()
    });
    (peers, addr)
}

fn hold(version: &str, addr: SocketAddr, path: &str, count: u32) -> Peers {
    let url = format!("ws://{addr}{path}");
    let mut peers = Peers::start(&["hold", version, &url, &count.to_string()]);
    assert_eq!(peers.line(), "open");
    peers
}

#[track_caller]
fn talks(arguments: &[&str]) {
    let mut peers = Peers::start(&[&["talk"], arguments].concat());
    assert_eq!(peers.line(), "talked", "{arguments:?}");
}

#[test]
fn they_pass_in_the_clear_by_both_versions() {
    let (_server, addr) = server(&[]);
    let proxy = Proxy::http(&[addr], "");
    for version in ["1", "2"] {
        for path in ["/echo", "/fragments"] {
            talks(&[version, &format!("ws://{}{path}", proxy.addr())]);
        }
    }
}

#[test]
fn they_pass_by_tls_on_both_sides_by_both_versions() {
    let certs = Certs::new();
    certs.make("localhost", &["localhost"]).make("backend", &["backend.test"]);
    let path = |name: &str| certs.path(name).display().to_string();
    let (_server, addr) = server(&[&path("backend.pem"), &path("backend.key")]);
    let more = format!("tls = {{ ca_file = \"{}\", sni = \"backend.test\" }}", path("ca.pem"));
    let tls = format!("protocol = \"http\"\n{}", certs.table(&["localhost"], ""));
    let proxy = Proxy::start(&web(&[addr], &more).replace("protocol = \"http\"", &tls));
    let url = format!("wss://localhost:{}/fragments", proxy.addr().port());
    for version in ["1", "2"] {
        talks(&[version, &url, &path("ca.pem")]);
    }
}

#[test]
fn they_outlive_every_reload_that_keeps_their_backend() {
    let (_server, addr) = server(&[]);
    let other = Backend::named("other");
    let proxy = Proxy::http(&[addr], "");
    let mut held = ["1", "2"].map(|version| hold(version, proxy.addr(), "/echo", 8));
    for n in 0..60 {
        let more = format!(
            "[pool.other]\nbackends = [\"{}\"]\n[[route]]\npath = \"/{n}\"\npool = \"other\"",
            other.addr
        );
        let web = web(&[addr], &more)
            .replace("backends = [{ name", &format!("backends = [{{ weight = {}, name", n % 9 + 1));
        proxy.reload(&web).unwrap();
    }
    for held in &mut held {
        let said = held.end();
        assert_eq!(said["codes"], serde_json::json!(vec![1000; 8]), "{said}");
        assert!(said["echoes"].as_u64() > Some(5), "{said}");
    }
}

/// What a server says of so many connections that ended.
fn ended(server: &mut Peers, count: usize) -> Vec<serde_json::Value> {
    (0..count).map(|_| server.said()["closed"].clone()).collect()
}

#[test]
fn a_drain_of_the_proxy_says_goodbye_to_each_at_its_own_moment() {
    let (mut server, addr) = server(&[]);
    let (folder, log) = access_log();
    let proxy = Proxy::start(&format!("[server]\ngrace = \"10s\"\n{}", web(&[addr], &log)));
    let mut held: Vec<Peers> = [("1", "/echo"), ("2", "/echo"), ("1", "/push"), ("2", "/push")]
        .map(|(version, path)| hold(version, proxy.addr(), path, 4))
        .into();
    let begun = std::time::Instant::now();
    proxy.stop();
    assert!(begun.elapsed() < std::time::Duration::from_millis(9900), "nobody was cut");
    for held in &mut held {
        let said = held.said();
        assert_eq!(said["codes"], serde_json::json!(vec![1001; 4]), "{said}");
        // Of four moments of eight seconds: one in 100,000 times they are nearer than this.
        assert!(said["spread"].as_f64() > Some(0.1), "{said}");
    }
    assert_eq!(ended(&mut server, 16), vec![serde_json::json!(1001); 16], "nor is a backend");
    for line in access_lines(&folder, 16) {
        assert!(line.contains("\"reason\":\"going_away\""), "{line}");
    }
}

#[test]
fn the_removal_of_a_backend_says_goodbye_too_and_its_return_takes_it_back() {
    let (mut server, addr) = server(&[]);
    let other = Backend::named("other");
    let proxy = Proxy::http(&[addr], "");
    let mut held = ["1", "2"].map(|version| hold(version, proxy.addr(), "/echo", 3));
    let without = |drain: &str| web(&[other.addr], drain).replace("\"b1\"", "\"b2\"");
    // Named again before any moment came.
    proxy.reload(&without("drain = \"10h\"")).unwrap();
    proxy.reload(&web(&[addr], "drain = \"10h\"")).unwrap();
    let mut client = proxy.client();
    client.send(HANDSHAKE);
    assert_eq!(client.response().status, 101);
    drop(client);
    assert_eq!(ended(&mut server, 1), [1006]);
    proxy.reload(&without("drain = \"10s\"")).unwrap();
    for held in &mut held {
        assert_eq!(held.said()["codes"], serde_json::json!(vec![1001; 3]));
    }
    assert_eq!(ended(&mut server, 6), vec![serde_json::json!(1001); 6]);
}

const HANDSHAKE: &str = "GET /echo HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Opens one by hand.
fn shake(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(HANDSHAKE);
    assert_eq!(client.response().status, 101);
    client
}

#[test]
fn limits_of_time_end_them_by_both_versions() {
    let (_server, addr) = server(&[]);
    for (limits, reason) in [
        ("tunnel = \"300ms\"", "timeout_tunnel"),
        ("tunnel = \"off\"\ntunnel_max = \"300ms\"", "timeout_tunnel_max"),
    ] {
        let (folder, log) = access_log();
        let proxy = Proxy::http(&[addr], &format!("[pool.app.timeout]\n{limits}\n{log}"));
        let mut one = shake(&proxy);
        let begun = std::time::Instant::now();
        assert!(one.rest().is_empty());
        assert!(begun.elapsed() > std::time::Duration::from_millis(200));
        let mut two = Frames::connect(proxy.addr());
        two.send(HEADERS, END_HEADERS, 1, &connect("/echo"));
        assert_eq!(two.until("a head", |f| f.kind == HEADERS).status(), 200);
        let reset = two.until("a reset", |f| f.kind == RST_STREAM);
        assert_eq!(reset.code(), 8, "CANCEL");
        for line in access_lines(&folder, 2) {
            assert!(line.contains(&format!("\"reason\":\"{reason}\"")), "{line}");
        }
        let limit = reason.trim_start_matches("timeout_");
        let hit = format!("evenkeel_limit_hits_total{{listener=\"web\",limit=\"{limit}\"}} 2\n");
        assert!(crate::readme::scrape(&proxy).contains(&hit), "{limit}");
    }
    // Who talks is not idle.
    let proxy = Proxy::http(&[addr], "[pool.app.timeout]\ntunnel = \"1s\"");
    let mut held = ["1", "2"].map(|version| hold(version, proxy.addr(), "/echo", 2));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    for held in &mut held {
        assert_eq!(held.end()["codes"], serde_json::json!(vec![1000; 2]));
    }
}

fn connect(path: &str) -> Vec<u8> {
    block(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a.test"),
        ("sec-websocket-version", "13"),
    ])
}

/// A backend that switches, begins a frame and ends it when it is told to; then what it heard.
fn halfway() -> (Backend, Sender<()>, Receiver<Vec<u8>>) {
    let ((go, gate), (tell, heard)) = (channel::<()>(), channel());
    let gate = std::sync::Mutex::new(gate);
    let backend = Backend::run(move |peer| {
        let Some(head) = peer.request() else { return };
        let key = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.to_string())
        });
        peer.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            accept(&key.unwrap())
        ));
        peer.send([0x82, 8]);
        peer.send(b"half");
        let _ = gate.lock().unwrap().recv();
        peer.send(b"done");
        // Behind our own Close nothing of this is passed on.
        peer.send([0x81, 1, b'x']);
        tell.send(peer.rest()).unwrap();
    });
    (backend, go, heard)
}

/// What a server answers to a key, by the hand of openssl.
pub(crate) fn accept(key: &str) -> String {
    let mut child = Command::new("sh")
        .args(["-c", "openssl sha1 -binary | openssl base64"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap().stdout;
    String::from_utf8(out).unwrap().trim().to_string()
}

/// The Close that we say in the client's place, unmasked.
#[track_caller]
fn unmasked(heard: &Receiver<Vec<u8>>) -> Vec<u8> {
    let came = heard.recv().unwrap();
    assert_eq!((came.len(), &came[..2]), (8, &[0x88, 0x82][..]), "{came:?}");
    came[6..].iter().zip(&came[2..6]).map(|(a, b)| a ^ b).collect()
}

#[test]
fn a_frame_under_way_is_finished_before_the_goodbye() {
    let wanted = [&[0x82, 8][..], b"halfdone", &[0x88, 2, 0x03, 0xe9]].concat();
    let both = [halfway(), halfway()];
    let addrs = [both[0].0.addr, both[1].0.addr];
    let start = |addr| {
        let all = format!("[server]\ngrace = \"3s\"\n{}", web(&[addr], ""));
        (Proxy::start(&all), all.replace("listener.web", "listener.other"))
    };
    let [(first, without_first), (second, without_second)] = addrs.map(start);
    let mut one = shake(&first);
    assert!(one.until("half").ends_with(b"half"));
    let mut two = Frames::connect(second.addr());
    two.send(HEADERS, END_HEADERS, 1, &connect("/"));
    assert_eq!(two.until("a head", |f| f.kind == HEADERS).status(), 200);
    let mut got = Vec::new();
    while got.len() < 6 {
        got.extend(two.until("half of it", |f| f.kind == DATA).payload);
    }
    first.reload(&without_first).unwrap();
    second.reload(&without_second).unwrap();
    // Every moment is within four fifths of the grace: the frames are finished after that.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    for (_, go, _) in &both {
        go.send(()).unwrap();
    }
    assert_eq!(one.rest(), wanted[6..]);
    loop {
        let frame = two.until("the rest", |f| f.kind == DATA);
        got.extend(frame.payload);
        if frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(got, wanted);
    // The clients said no Close: their backends are told in their place.
    for (_, _, heard) in &both {
        assert_eq!(unmasked(heard), [0x03, 0xe9]);
    }
}

#[test]
fn what_is_no_websocket_behind_the_handshake_is_cut_as_it_is() {
    let backend = Backend::run(|peer| {
        peer.request();
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        peer.send("no frames at all, but as many lines as you like\n");
        peer.rest();
    });
    let (folder, log) = access_log();
    let all = format!("[server]\ngrace = \"500ms\"\n{}", web(&[backend.addr], &log));
    let proxy = Proxy::start(&all);
    let mut one = shake(&proxy);
    assert!(one.until("\n").ends_with(b"like\n"));
    proxy.reload(&all.replace("listener.web", "listener.other")).unwrap();
    assert!(one.rest().is_empty(), "no word of ours in the middle of it");
    let line = &access_lines(&folder, 1)[0];
    assert!(line.contains("\"reason\":\"drain_cut\""), "{line}");
}

#[test]
fn one_that_a_drain_cuts_over_http_2_is_logged_as_it_was_asked_for() {
    // A frame is never finished, so that no Close can be said.
    let (backend, go, heard) = halfway();
    let (folder, log) = access_log();
    let all = format!("[server]\ngrace = \"500ms\"\n{}", web(&[backend.addr], &log));
    let proxy = Proxy::start(&all);
    let mut client = Frames::connect(proxy.addr());
    client.send(HEADERS, END_HEADERS, 1, &connect("/"));
    client.until("half of it", |f| f.kind == DATA);
    proxy.reload(&all.replace("listener.web", "listener.other")).unwrap();
    let line = &access_lines(&folder, 1)[0];
    assert!(line.contains("\"reason\":\"drain_cut\""), "{line}");
    assert!(line.contains("\"method\":\"CONNECT\""), "{line}");
    go.send(()).unwrap();
    heard.recv().unwrap();
}

#[test]
fn a_backend_that_did_not_read_the_key_opens_nothing_over_http_2() {
    for field in
        ["", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "Sec-WebSocket-Accept: \r\n"]
    {
        let backend = Backend::run(move |peer| {
            peer.request();
            peer.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{field}\r\n"
            ));
            assert!(peer.rest().is_empty());
        });
        let (folder, log) = access_log();
        let proxy = Proxy::http(&[backend.addr], &log);
        let mut client = Frames::connect(proxy.addr());
        client.send(HEADERS, END_HEADERS, 1, &connect("/"));
        assert_eq!(client.until("a head", |f| f.kind == HEADERS).status(), 502, "{field}");
        let line = &access_lines(&folder, 1)[0];
        assert!(line.contains("\"reason\":\"bad_response\""), "{line}");
    }
}

#[test]
fn the_example_does_what_its_comments_say() {
    let (mut server, addr) = server(&[]);
    let plain = Backend::echo();
    let mut text = std::fs::read_to_string(root().join("examples/websocket.toml")).unwrap();
    for (from, to) in [
        ("0.0.0.0:8080", "127.0.0.1:0".to_string()),
        ("\"10.0.0.1:8080\", \"10.0.0.2:8080\"", format!("\"{addr}\"")),
        ("10.0.0.3:8080", plain.addr.to_string()),
        ("grace = \"60s\"", "grace = \"4s\"".to_string()),
    ] {
        assert!(text.contains(from), "it does not say {from}");
        text = text.replace(from, &to);
    }
    let proxy = Proxy::start(&text);
    let mut held = ["1", "2"].map(|version| hold(version, proxy.addr(), "/chat", 2));
    let mut client = proxy.client();
    client.send(HANDSHAKE.replace("/echo", "/api"));
    let answer = client.response();
    assert!(answer.status == 200 && !answer.text().contains("Upgrade"), "{}", answer.text());
    drop(client);
    proxy.stop();
    for held in &mut held {
        assert_eq!(held.said()["codes"], serde_json::json!(vec![1001; 2]));
    }
    assert_eq!(ended(&mut server, 4), vec![serde_json::json!(1001); 4]);
}

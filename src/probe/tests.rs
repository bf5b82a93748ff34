//! Single probes of real sockets: what is well, what is not, and what a failure is called.
use super::check::{self, Verdict};
use super::*;
use crate::config;
use crate::pool::Policies;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

#[path = "beat_tests.rs"]
mod beats;

/// What a peer does when it has answered.
#[derive(Clone, Copy)]
enum End {
    Close,
    /// Holds the connection open and says no more.
    Hold,
    /// An RST.
    Reset,
}

/// Answers each connection by a word for its number and for what it was asked.
struct Peer {
    addr: SocketAddr,
    /// What it was asked, in order.
    asked: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// Reads until this end, then sends the pieces one by one, then ends.
    async fn run(
        until: &'static str,
        answer: impl Fn(usize) -> (Vec<Vec<u8>>, End) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let all = asked.clone();
        let task = tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (pieces, end) = answer(number);
                tokio::spawn(converse(stream, until, pieces, end, all.clone()));
            }
        });
        Self { addr, asked, task: task.abort_handle() }
    }
    /// Speaks HTTP: always the same bytes.
    async fn http(answer: &str) -> Self {
        let answer = answer.as_bytes().to_vec();
        Self::run("\r\n\r\n", move |_| (vec![answer.clone()], End::Close)).await
    }
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn converse(
    mut stream: TcpStream,
    until: &str,
    pieces: Vec<Vec<u8>>,
    end: End,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).ends_with(until) {
        let mut buf = [0; 512];
        match stream.read(&mut buf).await {
            Ok(n) if n > 0 => seen.extend_from_slice(&buf[..n]),
            _ => break,
        }
    }
    asked.lock().unwrap().push(String::from_utf8(seen).unwrap());
    for piece in pieces {
        let _ = stream.set_nodelay(true);
        if stream.write_all(&piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    match end {
        End::Close => drop(stream),
        End::Hold => std::future::pending().await,
        End::Reset => stream.set_zero_linger().unwrap(),
    }
}

/// A pool's section with these backends, by name and address.
fn section(health: &str, backends: &[(&str, String)]) -> config::Pool {
    let one = |(name, addr): &(&str, String)| format!("{{ name = {name:?}, addr = {addr:?} }}");
    let all: Vec<String> = backends.iter().map(one).collect();
    let text = format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"app\"\n\
         [pool.app]\n{health}\nbackends = [{}]\n",
        all.join(", ")
    );
    config::parse(&text, Path::new("proxy.toml")).unwrap().pools["app"].clone()
}

fn commit(config: &config::Pool, before: Option<&Arc<Pool>>) -> Arc<Pool> {
    Pool::prepare(&config.name, config, &Policies::default(), before).unwrap().commit().0
}

fn pool(health: &str, backends: &[(&str, String)]) -> Arc<Pool> {
    commit(&section(health, backends), None)
}

/// One probe of one backend: `ok`, or what was wrong.
async fn probe(health: &str, addr: impl ToString) -> String {
    let pool = pool(health, &[("b", addr.to_string())]);
    let backend = pool.members().remove(0).backend;
    match check::run(&pool.config(), &pool.reach(), &backend).await {
        Verdict::Good => "ok".into(),
        Verdict::Bad(what) | Verdict::Refused(what) => what,
        Verdict::Ours(error) => panic!("our own fault: {error}"),
        Verdict::OffLimits(why) => panic!("nobody may go there: {why}"),
    }
}

/// An address of nobody: bound, and not listening.
fn nobody() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// An address whose accept queue is full, so that connects get no answer at all.
fn black_hole() -> (Vec<socket2::Socket>, SocketAddr) {
    let (socket, addr) = nobody();
    socket.listen(0).unwrap();
    let fill = || {
        let client =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        let _ = client.connect(&addr.into());
        client
    };
    let mut all: Vec<_> = (0..4).map(|_| fill()).collect();
    all.push(socket);
    (all, addr)
}

const PING: &str = r#"health = { tcp = { send = "PING\r\n", expect = "+PONG" }, timeout = "5s" }"#;
const HTTP: &str = r#"health = { http = "/healthz", timeout = "5s" }"#;

#[tokio::test]
async fn a_connect_is_enough_where_no_more_is_said() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (_socket, refused) = nobody();
    for health in ["health = { tcp = true }", ""] {
        assert_eq!(probe(health, addr).await, "ok");
        assert_eq!(probe(health, refused).await, "connect: connection refused");
    }
}

#[tokio::test]
async fn what_is_sent_is_seen_and_what_is_expected_is_found() {
    let whole = Peer::run("\r\n", |_| (vec![b"+PONG\r\n".to_vec()], End::Close)).await;
    assert_eq!(probe(PING, whole.addr).await, "ok");
    assert_eq!(whole.asked(), ["PING\r\n"]);
    // In pieces, after something else, and without an end.
    let pieces = || vec![b"hello\r\n+".to_vec(), b"PO".to_vec(), b"NG".to_vec()];
    let dripping = Peer::run("\r\n", move |_| (pieces(), End::Hold)).await;
    assert_eq!(probe(PING, dripping.addr).await, "ok");
}

#[tokio::test]
async fn another_answer_than_expected_is_said() {
    let other = Peer::run("\r\n", |_| (vec![b"-LOADING".to_vec()], End::Close)).await;
    assert_eq!(probe(PING, other.addr).await, r#"answered "-LOADING", expected "+PONG""#);
    let silent = Peer::run("\r\n", |_| (vec![], End::Close)).await;
    assert_eq!(probe(PING, silent.addr).await, r#"closed without an answer, expected "+PONG""#);
    let endless = Peer::run("\r\n", |_| (vec![vec![b'x'; 1 << 20]], End::Hold)).await;
    let said = probe(PING, endless.addr).await;
    assert!(said.starts_with("answered \"xxxx") && said.len() < 100, "{said}");
}

#[tokio::test]
async fn a_status_is_good_by_its_ranges() {
    let ranges = r#"health = { http = "/", expect = { status = ["200", "404-405"] } }"#;
    for (status, usual, own) in [
        (200, "ok", "ok"),
        (204, "ok", "status 204, expected 200, 404-405"),
        (299, "ok", "status 299, expected 200, 404-405"),
        (301, "status 301, expected 200-299", "status 301, expected 200, 404-405"),
        (404, "status 404, expected 200-299", "ok"),
        (405, "status 405, expected 200-299", "ok"),
        (503, "status 503, expected 200-299", "status 503, expected 200, 404-405"),
    ] {
        let answer = format!("HTTP/1.1 {status} Word\r\nContent-Length: 0\r\n\r\n");
        let peer = Peer::http(&answer).await;
        assert_eq!(probe(HTTP, peer.addr).await, usual);
        assert_eq!(probe(ranges, peer.addr).await, own);
    }
}

#[tokio::test]
async fn an_interim_answer_is_not_the_answer() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let last = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
    let peer = Peer::http(&format!("{hints}{hints}{last}")).await;
    assert_eq!(probe(HTTP, peer.addr).await, "status 500, expected 200-299");
}

#[tokio::test]
async fn a_body_is_searched_however_it_comes() {
    let health = r#"health = { http = "/", timeout = "5s", expect = { body = "all well" } }"#;
    let chunked: Vec<Vec<u8>> = [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "7\r\nxx all \r\n",
        "4\r\nwell\r\n",
        "0\r\n\r\n",
    ]
    .map(|s| s.as_bytes().to_vec())
    .into();
    let peer = Peer::run("\r\n\r\n", move |_| (chunked.clone(), End::Hold)).await;
    assert_eq!(probe(health, peer.addr).await, "ok", "across two chunks");
    let to_its_end = "HTTP/1.1 200 OK\r\n\r\nindeed all well";
    assert_eq!(probe(health, Peer::http(to_its_end).await.addr).await, "ok");
    let other = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall ill.";
    let said = probe(health, Peer::http(other).await.addr).await;
    assert_eq!(said, "the body does not hold \"all well\"");
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1 << 20));
    let said = probe(health, Peer::http(&endless).await.addr).await;
    assert_eq!(said, "the body does not hold \"all well\"", "within 64 KiB");
}

#[tokio::test]
async fn a_get_with_the_said_host_on_a_connection_of_its_own() {
    let peer = Peer::http("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(probe(r#"health = "/healthz?full=1""#, peer.addr).await, "ok");
    let named = r#"health = { http = "/", host = "app.example:81" }"#;
    assert_eq!(probe(named, peer.addr).await, "ok");
    let asked = peer.asked();
    assert!(asked[0].starts_with("GET /healthz?full=1 HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].contains(&format!("\r\nHost: {}\r\n", peer.addr)), "{}", asked[0]);
    assert!(asked[1].contains("\r\nHost: app.example:81\r\n"), "{}", asked[1]);
    for asked in asked.iter().map(|text| text.to_lowercase()) {
        assert!(asked.contains("\r\nconnection: close\r\n") && asked.contains("evenkeel-health"));
    }
}

#[tokio::test]
async fn another_port_is_asked_on_the_same_address() {
    let peer = Peer::http("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let (_socket, refused) = nobody();
    let health = format!("health = {{ http = \"/\", port = {} }}", peer.addr.port());
    assert_eq!(probe(&health, refused).await, "ok");
    let host = format!("\r\nHost: {refused}\r\n");
    assert!(peer.asked()[0].contains(&host), "the backend's own address is named");
}

#[tokio::test]
async fn a_unix_socket_is_probed_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let written = format!("unix:{}", path.display());
    assert_eq!(probe("health = { tcp = true }", &written).await, "ok");
    drop(listener);
    assert_eq!(probe("health = { tcp = true }", &written).await, "connect: connection refused");
}

#[tokio::test]
async fn garbage_is_no_answer() {
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    for garbage in [
        "\0\u{1}\u{2}\u{3}\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 OK 200\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        &large,
    ] {
        let said = probe(HTTP, Peer::http(garbage).await.addr).await;
        assert!(said.starts_with("invalid answer: "), "{said:?} for {garbage:.40?}");
    }
}

#[tokio::test]
async fn closed_or_reset_without_an_answer_is_bad() {
    let closed = Peer::run("\r\n\r\n", |_| (vec![], End::Close)).await;
    assert_eq!(probe(HTTP, closed.addr).await, "closed without an answer");
    let half = Peer::http("HTTP/1.1 200 OK\r\nContent-Le").await;
    assert_eq!(probe(HTTP, half.addr).await, "invalid answer: truncated");
    let reset = Peer::run("\r\n\r\n", |_| (vec![], End::Reset)).await;
    assert_eq!(probe(HTTP, reset.addr).await, "read: connection reset");
    // Where a connect is all that is asked, it was made.
    let at_once = Peer::run("", |_| (vec![], End::Close)).await;
    assert_eq!(probe("health = { tcp = true }", at_once.addr).await, "ok");
}

#[tokio::test]
async fn no_answer_ends_at_the_timeout_whatever_stands_still() {
    let short = "timeout = \"40ms\"";
    let silent = Peer::run("\r\n\r\n", |_| (vec![], End::Hold)).await;
    let half = Peer::run("\r\n\r\n", |_| (vec![b"HTTP/1.1 200 O".to_vec()], End::Hold)).await;
    let body = Peer::run("\r\n\r\n", |_| {
        (vec![b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwait".to_vec()], End::Hold)
    })
    .await;
    let (_sockets, full) = black_hole();
    let asks = [
        "http = \"/\"",
        "http = \"/\", expect = { body = \"ok\" }",
        "tcp = { send = \"a\", expect = \"b\" }",
    ];
    for (addr, asks) in [
        (silent.addr, &asks[..]),
        (half.addr, &asks),
        (body.addr, &asks[1..2]),
        (full, &[asks[0], "tcp = true"]),
    ] {
        for asks in asks {
            let said = probe(&format!("health = {{ {asks}, {short} }}"), addr).await;
            assert_eq!(said, "no answer within 40ms", "{asks} of {addr}");
        }
    }
}

#[tokio::test]
async fn what_follows_a_good_answer_holds_nobody_up() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".to_vec();
    let endless =
        Peer::run("\r\n\r\n", move |_| (vec![answer.clone(), vec![b'x'; 1 << 20]], End::Hold))
            .await;
    assert_eq!(probe(HTTP, endless.addr).await, "ok");
}

#[tokio::test]
async fn a_name_without_an_address_is_bad() {
    assert_eq!(probe(HTTP, "app.internal:80").await, "its name has no address");
}

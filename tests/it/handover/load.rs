//! Ten hand-overs under load: kept connections and new ones, HTTP/1.1, HTTP/2 and TCP, and writes of
//! the API. The load is bounded: each client has one thing under way.
use crate::support::{Backend, Client, Service, call, nobody, until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(2);

/// What several threads count.
#[derive(Default)]
struct Shared {
    done: AtomicUsize,
    stop: AtomicBool,
}

/// A client that asks until it is stopped; its faults.
fn client(
    shared: &Arc<Shared>,
    mut once: impl FnMut() -> Result<(), String> + Send + 'static,
) -> JoinHandle<Vec<String>> {
    let shared = shared.clone();
    std::thread::spawn(move || {
        let mut faults = Vec::new();
        while !shared.stop.load(SeqCst) {
            match once() {
                Ok(()) => drop(shared.done.fetch_add(1, SeqCst)),
                Err(fault) => faults.push(fault),
            }
            std::thread::sleep(PAUSE);
        }
        faults
    })
}

/// One request on a connection; whether it may be kept.
fn one(stream: &mut TcpStream) -> std::io::Result<bool> {
    stream.write_all(REQUEST.as_bytes())?;
    let (mut text, mut piece) = (Vec::new(), [0; 1024]);
    while !text.ends_with(b"\r\n\r\nhello") {
        let n = stream.read(&mut piece)?;
        if n == 0 {
            return Err(std::io::Error::other(format!("it ended after {text:?}")));
        }
        text.extend(&piece[..n]);
    }
    let text = String::from_utf8_lossy(&text).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}");
    Ok(!text.contains("connection: close"))
}

fn connect(addr: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

/// Keeps its connection as long as it may.
fn kept(shared: &Arc<Shared>, addr: SocketAddr) -> JoinHandle<Vec<String>> {
    let mut open = None;
    client(shared, move || {
        let mut stream = match open.take() {
            Some(stream) => stream,
            None => connect(addr).map_err(|e| format!("connect: {e}"))?,
        };
        if one(&mut stream).map_err(|e| format!("kept: {e}"))? {
            open = Some(stream);
        }
        Ok(())
    })
}

fn fresh(shared: &Arc<Shared>, addr: SocketAddr) -> JoinHandle<Vec<String>> {
    client(shared, move || {
        let mut stream = connect(addr).map_err(|e| format!("connect: {e}"))?;
        one(&mut stream).map(drop).map_err(|e| format!("fresh: {e}"))
    })
}

fn echoed(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut back = [0; 4];
    stream.write_all(b"ping")?;
    stream.read_exact(&mut back)?;
    assert_eq!(&back, b"ping");
    Ok(())
}

fn tcp(shared: &Arc<Shared>, addr: SocketAddr) -> JoinHandle<Vec<String>> {
    client(shared, move || {
        let stream = connect(addr).and_then(|mut stream| echoed(&mut stream));
        stream.map_err(|e| format!("tcp: {e}"))
    })
}

/// Streams on one connection as long as it may be used, four at once.
fn http2(shared: &Arc<Shared>, addr: SocketAddr) -> JoinHandle<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut open: Option<h2::client::SendRequest<bytes::Bytes>> = None;
    client(shared, move || {
        runtime.block_on(async {
            // One that is on its way out takes no more streams: that is no fault.
            let ready = match open.take() {
                Some(sender) => sender.ready().await.ok(),
                None => None,
            };
            let mut sender = match ready {
                Some(sender) => sender,
                None => {
                    let stream = tokio::net::TcpStream::connect(addr).await;
                    let stream = stream.map_err(|e| format!("connect: {e}"))?;
                    let (sender, connection) =
                        h2::client::handshake(stream).await.map_err(|e| format!("h2: {e}"))?;
                    tokio::spawn(connection);
                    sender.ready().await.map_err(|e| format!("h2: {e}"))?
                }
            };
            let mut answers = Vec::new();
            for _ in 0..4 {
                let request = http::Request::get("http://a.test/").body(()).unwrap();
                match sender.send_request(request, true) {
                    Ok((answer, _)) => answers.push(answer),
                    // Told in between.
                    Err(_) => break,
                }
            }
            for answer in answers {
                let answer = answer.await.map_err(|e| format!("h2: {e}"))?;
                assert_eq!(answer.status(), 200);
                let mut body = answer.into_body();
                while let Some(piece) = body.data().await {
                    piece.map_err(|e| format!("h2: {e}"))?;
                }
            }
            open = Some(sender);
            Ok(())
        })
    })
}

/// Says one weight after the other; the last that was acknowledged.
fn writer(shared: &Arc<Shared>, admin: SocketAddr) -> JoinHandle<u16> {
    let shared = shared.clone();
    std::thread::spawn(move || {
        let (mut said, mut weight) = (0, 0);
        while !shared.stop.load(SeqCst) {
            weight = weight % 900 + 1;
            let body = format!("{{\"weight\": {weight}}}");
            let mut client = Client::connect(admin);
            let answer = call(&mut client, "PATCH", "/v1/pools/app/backends/b1", "", &body);
            match answer.status {
                200 => said = weight,
                // The process that heard it writes no more: it is said to the other.
                503 => assert!(answer.text().contains("handed over"), "{}", answer.text()),
                other => panic!("{other}: {}", answer.text()),
            }
            std::thread::sleep(PAUSE);
        }
        said
    })
}

#[test]
fn ten_in_a_row_lose_nothing() {
    let backends = [Backend::named("hello"), Backend::named("hello")];
    let echo = Backend::run(|peer| {
        while let Some(byte) = peer.byte() {
            peer.send([byte]);
        }
    });
    let (web, raw) = (nobody(), nobody());
    let service = Service::start(&format!(
        "[server]\ngrace = \"60s\"\n[listener.web]\nbind = \"{web}\"\nprotocol = \"http\"\npool = \"app\"\n\
         [listener.raw]\nbind = \"{raw}\"\nprotocol = \"tcp\"\npool = \"echo\"\n\
         [pool.app]\nhealth = {{ http = \"/\", interval = \"1s\" }}\n\
         backends = [{{ name = \"b1\", addr = \"{}\" }}, {{ name = \"b2\", addr = \"{}\" }}]\n\
         [pool.echo]\nbackends = [\"{}\"]\n",
        backends[0].addr, backends[1].addr, echo.addr
    ));
    until("they are up", || ["b1", "b2"].iter().all(|b| service.member(b)["state"] == "up"));
    let shared = Arc::new(Shared::default());
    let mut tunnel = connect(raw).unwrap();
    echoed(&mut tunnel).unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(kept(&shared, web));
        clients.push(fresh(&shared, web));
        clients.push(http2(&shared, web));
        clients.push(tcp(&shared, raw));
    }
    let writes = writer(&shared, service.admin);
    for round in 1..=10 {
        // Some of everything goes through each of them.
        let before = shared.done.load(SeqCst);
        until("the load goes on", || shared.done.load(SeqCst) > before + 60);
        service.hand_over();
        echoed(&mut tunnel).unwrap_or_else(|e| panic!("hand-over {round}: the tunnel: {e}"));
    }
    let before = shared.done.load(SeqCst);
    until("the load goes on", || shared.done.load(SeqCst) > before + 60);
    shared.stop.store(true, SeqCst);
    let faults: Vec<String> = clients.into_iter().flat_map(|c| c.join().unwrap()).collect();
    assert!(faults.is_empty(), "{} of {}: {faults:?}", faults.len(), shared.done.load(SeqCst));
    let said = writes.join().unwrap();
    assert_eq!(service.member("b1")["weight"], said, "the last word that was acknowledged");
    assert_eq!(service.metric("evenkeel_handovers_total{result=\"success\"}"), Some(10.0));
    assert_eq!(service.metric("evenkeel_handovers_total{result=\"failure\"}"), Some(0.0));
    echoed(&mut tunnel).unwrap();
}

//! What never came to its end, since a drain cut it or its client left: told in the access log,
//! counted, and nothing is left open.
use crate::support::{Backend, Proxy, access_lines, access_log, until, web};
use evenkeel::server::Running;
use std::sync::Arc;
use std::sync::mpsc;

const GONE: &str = r#""reason":"client_gone""#;

/// Answers by the path: the beginning of a body, a tunnel, or nothing.
fn backend() -> Backend {
    Backend::run(|peer| {
        let Some(head) = peer.request() else { return };
        if head.starts_with("GET /tunnel ") {
            peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
            // No WebSocket, whatever it said: nobody knows where it could be told to close.
            peer.send("words");
        } else if head.starts_with("GET /half ") {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
        peer.rest();
    })
}

fn open(running: &Running) -> i64 {
    let plan = running.state().plan.load_full().unwrap();
    plan.pools["app"].members().iter().map(|m| m.backend.cells.open.get()).sum()
}

#[test]
fn what_a_drain_cuts_is_told_and_counted() {
    let backend = backend();
    let (folder, log) = access_log();
    let kept = "[listener.kept]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n";
    let pool = format!("[pool.app]\nbackends = [\"{}\"]\n", backend.addr);
    let server = "[server]\ngrace = \"100ms\"\n";
    let web = "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n";
    let proxy = Proxy::start(&format!("{server}{web}{kept}{pool}{log}"));
    let ask = |fields: &str, path: &str| {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        client
    };
    let mut tunnel = ask("Connection: Upgrade\r\nUpgrade: websocket\r\n", "/tunnel");
    assert_eq!(tunnel.response().status, 101);
    let mut half = ask("", "/half");
    assert!(half.until("half").ends_with(b"half"));
    let mut waiting = ask("", "/waiting");
    let mut slow = proxy.client();
    slow.send("GET / HTTP/1.1\r\nHo");
    until("all are open", || open(proxy.running()) == 3);
    let cells =
        Arc::clone(&proxy.running().state().plan.load_full().unwrap().listeners["web"].cells);

    proxy.reload(&format!("{server}{kept}{pool}{log}")).unwrap();
    let mut lines = access_lines(&folder, 4);
    lines.sort();
    for client in [&mut tunnel, &mut half, &mut waiting, &mut slow] {
        client.rest();
    }
    for (path, status) in [("/half", 200), ("/tunnel", 101), ("/waiting", 503), ("/", 503)] {
        let mut of = lines.iter().filter(|l| l.contains(&format!(r#""target":"{path}""#)));
        let line = of.next().unwrap_or_else(|| panic!("a line of {path}: {lines:#?}"));
        assert!(line.contains(r#""reason":"drain_cut""#), "{line}");
        assert!(line.contains(&format!(r#""status":{status},"#)), "{line}");
    }
    until("no connection is counted as open", || open(proxy.running()) == 0);
    until("nor of a client", || cells.open.get() == 0);
}

#[test]
fn a_client_that_leaves_inside_a_head_is_no_fault_of_anybody() {
    let backend = backend();
    let (folder, log) = access_log();
    let proxy = Proxy::start(&(web(&[backend.addr], "") + &log));
    for _ in 0..2 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHo");
        client.end();
        assert!(client.rest().is_empty(), "nobody is there to be answered");
    }
    // An empty line is no request (RFC 9112 2.2), nor the beginning of one.
    let mut client = proxy.client();
    client.send("\r\n");
    client.end();
    assert!(client.rest().is_empty());
    let mut client = proxy.client();
    client.send("G");
    client.end();
    assert!(client.rest().is_empty());
    for line in access_lines(&folder, 3) {
        assert!(line.contains(r#""status":499"#) && line.contains(GONE), "{line}");
    }
    assert_eq!(access_lines(&folder, 3).len(), 3);
    assert_eq!(backend.connections(), 0);
}

/// It sent so many requests at once that no more are read until the first is answered.
#[test]
fn a_client_that_leaves_behind_many_requests_is_missed() {
    let (tell, told) = mpsc::channel();
    let backend = Backend::run(move |peer| {
        let _ = peer.request();
        tell.send("asked").unwrap();
        peer.rest();
        tell.send("let go").unwrap();
    });
    let (folder, log) = access_log();
    let proxy = Proxy::start(&(web(&[backend.addr], "") + &log));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000));
    assert_eq!(told.recv().unwrap(), "asked");
    drop(client);
    assert_eq!(told.recv().unwrap(), "let go");
    let line = access_lines(&folder, 1).remove(0);
    assert!(line.contains(r#""status":499"#) && line.contains(GONE), "{line}");
}

/// As many requests, and a client that stays: none is lost behind those that were not read.
#[test]
fn a_client_that_sends_many_requests_at_once_is_answered_each() {
    let (tell, told) = mpsc::channel();
    let backend = Backend::run(move |peer| {
        let mut slow = true;
        while peer.request().is_some() {
            if std::mem::take(&mut slow) {
                tell.send(()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            peer.answer("x");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = proxy.client();
    const MANY: usize = 2000;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(MANY));
    told.recv().unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..=MANY {
        assert_eq!(client.response().status, 200);
    }
}

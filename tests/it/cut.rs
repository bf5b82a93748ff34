//! What is cut at the end of a drain: told in the access log, counted, and nothing is left open.
use crate::support::{Backend, Proxy, access_lines, access_log, until};
use evenkeel::server::Running;
use std::sync::Arc;

/// Answers by the path: the beginning of a body, a tunnel, or nothing.
fn backend() -> Backend {
    Backend::run(|peer| {
        let Some(head) = peer.request() else { return };
        if head.starts_with("GET /tunnel ") {
            peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
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
    let mut lines = access_lines(&folder, 3);
    lines.sort();
    for client in [&mut tunnel, &mut half, &mut waiting, &mut slow] {
        client.rest();
    }
    for (path, status) in [("/half", 200), ("/tunnel", 101), ("/waiting", 503)] {
        let mut of = lines.iter().filter(|l| l.contains(&format!(r#""target":"{path}""#)));
        let line = of.next().unwrap_or_else(|| panic!("a line of {path}: {lines:#?}"));
        assert!(line.contains(r#""reason":"drain_cut""#), "{line}");
        assert!(line.contains(&format!(r#""status":{status},"#)), "{line}");
    }
    until("no connection is counted as open", || open(proxy.running()) == 0);
    until("nor of a client", || cells.open.get() == 0);
}

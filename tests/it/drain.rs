//! A backend that is taken out: no new work, and what it has ends within a limit that can be watched.
use crate::readme::scrape;
use crate::support::h2::{Frames, GOAWAY};
use crate::support::{Backend, Client, Proxy, until, web};
use evenkeel::config::Name;
use evenkeel::pool::{Change, Wish};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A metric's value.
fn value(proxy: &Proxy, series: &str) -> Option<f64> {
    let text = scrape(proxy);
    let line = text
        .lines()
        .find(|line| line.split_once("} ").is_some_and(|(s, _)| s == &series[..series.len() - 1]));
    line.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

fn wish(proxy: &Proxy, name: &str, wish: Wish) {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let name = Name::new(name).unwrap();
    plan.pools["app"].apply(Change::Operator { name, wish }, Instant::now());
}

/// Answers at once below `/`, and without an end below `/endless`.
fn backend(name: &'static str) -> Backend {
    Backend::run(move |peer| {
        while let Some(head) = peer.request() {
            if !head.starts_with("GET /endless") {
                peer.answer(name);
                continue;
            }
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while peer.stream().write_all(b"1\r\nx\r\n").is_ok() {}
            return;
        }
    })
}

#[test]
fn what_runs_on_a_drained_backend_can_be_watched_until_it_ends() {
    let all = [backend("b1"), backend("b2")];
    let addrs: Vec<_> = all.iter().map(|backend| backend.addr).collect();
    let proxy = Proxy::start(&web(&addrs, "drain = \"300s\""));
    let plan = proxy.running().state().plan.load_full().unwrap();
    let active = |name: &str| {
        let members = plan.pools["app"].members();
        members.iter().find(|m| &*m.backend.name == name).map_or(0, |m| m.backend.active())
    };
    let ask = |path: &str| {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    };
    // One on each.
    let mut streams = [ask("/endless"), ask("/endless")];
    streams.iter_mut().for_each(|client| assert!(!client.until("x\r\n").is_empty()));
    until("each has one", || active("b1") == 1 && active("b2") == 1);
    let ends = "evenkeel_backend_drain_ends_timestamp_seconds{pool=\"app\",backend=\"b1\"}";
    assert_eq!(value(&proxy, ends), None, "nobody leaves");
    wish(&proxy, "b1", Wish::Drain);
    // Nothing new, and what it has goes on, with its end in sight.
    for _ in 0..10 {
        assert_eq!(ask("/").response().text(), "b2");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    until("its end is known", || value(&proxy, ends).is_some());
    let at = value(&proxy, ends).unwrap();
    assert!((now + 200.0..now + 400.0).contains(&at), "{at} from {now}");
    let on_it = "evenkeel_backend_active{pool=\"app\",backend=\"b1\"}";
    assert_eq!(value(&proxy, on_it), Some(1.0));
    streams.iter_mut().for_each(|client| assert_eq!(client.bytes(8000).len(), 8000));
    // Taken back it is as if nothing had been.
    wish(&proxy, "b1", Wish::Up);
    until("it has no end any more", || value(&proxy, ends).is_none());
    // With less time, or with none left: cut, and counted.
    wish(&proxy, "b1", Wish::Drain);
    proxy.reload(&web(&addrs, "drain = \"50ms\"")).unwrap();
    until("it was cut", || active("b1") == 0);
    let cut = "evenkeel_upstream_limit_hits_total{pool=\"app\",limit=\"drain\"}";
    assert_eq!(value(&proxy, cut), Some(1.0));
    assert_eq!(active("b2"), 1, "and nothing else");
}

/// What is under way at a proxy whose listeners go, by `leave`: it ends in order, tunnels last.
fn listeners_go(leave: impl FnOnce(Proxy) -> JoinHandle<Option<Proxy>>) {
    let (go, gone) = channel::<()>();
    let gone = Mutex::new(gone);
    let slow = Backend::run(move |peer| {
        while let Some(head) = peer.request() {
            if head.starts_with("GET /slow") {
                gone.lock().unwrap().recv().unwrap();
            }
            peer.answer("done");
        }
    });
    let echo = Backend::run(|peer| {
        while let Some(byte) = peer.byte() {
            peer.send([byte]);
        }
    });
    let proxy = Proxy::start(&format!(
        "[server]\ngrace = \"300s\"\n\
         [listener.raw]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"echo\"\n\
         [pool.echo]\nbackends = [\"{}\"]\n{}",
        echo.addr,
        web(&[slow.addr], "")
    ));
    let web = proxy.addr();
    let mut tunnel = Client::connect(proxy.addr_of("raw"));
    let mut said = |byte: &str| {
        tunnel.send(byte);
        String::from_utf8(tunnel.bytes(1)).unwrap()
    };
    assert_eq!(said("a"), "a");
    let (mut busy, mut idle, mut frames) = (proxy.client(), proxy.client(), Frames::connect(web));
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = idle.response();
    assert_eq!((last.text().as_str(), last.field("Connection")), ("done", None));
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    frames.get(1, "/slow", &[]);
    until("both are in work", || slow.connections() >= 2);
    let left = leave(proxy);
    until("nobody is let in", || TcpStream::connect(web).is_err());
    assert!(idle.is_closed());
    // HTTP/2 hears it at once, HTTP/1 with the answer; what is in work is finished.
    frames.until("a GOAWAY", |frame| frame.kind == GOAWAY);
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!(frames.answer(1), (200, "done".into()));
    let answer = busy.response();
    assert_eq!((answer.text().as_str(), answer.field("Connection")), ("done", Some("close")));
    assert!(busy.is_closed());
    // A tunnel is there when all of them are gone, until it ends itself or the grace does.
    assert_eq!(said("b"), "b");
    drop(tunnel);
    drop(left.join().unwrap());
}

#[test]
fn a_process_that_ends_lets_what_is_in_work_end_and_tunnels_last() {
    listeners_go(|proxy| {
        std::thread::spawn(move || {
            proxy.stop();
            None
        })
    });
}

#[test]
fn listeners_that_are_removed_do_the_same() {
    listeners_go(|proxy| {
        std::thread::spawn(move || {
            let other = "[server]\ngrace = \"300s\"\n[listener.other]\nbind = \"127.0.0.1:0\"\n\
                         protocol = \"http\"\n";
            proxy.reload(other).unwrap();
            Some(proxy)
        })
    });
}

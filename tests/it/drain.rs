//! A backend that is taken out: no new work, and what it has ends within a limit that can be watched.
use crate::readme::scrape;
use crate::support::{Backend, Proxy, until, web};
use evenkeel::config::Name;
use evenkeel::pool::{Change, Wish};
use std::io::Write;
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

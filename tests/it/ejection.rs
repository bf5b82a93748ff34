//! Passive health: what the tries of clients say against a backend, and what it costs them.
use crate::support::{Backend, Proxy};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Ejects after three failures in a row, and by nothing else.
const THREE: &str =
    "outlier = { consecutive_failures = 3, success_rate = \"off\", eject = \"1h\" }";

/// Answers each request with this status, and counts them.
fn answering(status: &'static str) -> (Backend, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            counted.fetch_add(1, SeqCst);
            peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    (backend, count)
}

fn reason(proxy: &Proxy, backend: usize) -> &'static str {
    let plan = proxy.running().state().plan.load_full().unwrap();
    plan.pools["app"].members()[backend].reason.word()
}

fn ejections(proxy: &Proxy) -> Vec<u64> {
    let plan = proxy.running().state().plan.load_full().unwrap();
    plan.pools["app"].ejections.iter().map(|counter| counter.get()).collect()
}

#[test]
fn failures_in_a_row_eject_and_the_last_one_stays() {
    let (bad, asked) = answering("500 Internal Server Error");
    let (good, _) = answering("200 OK");
    let proxy = Proxy::http(&[bad.addr, good.addr], THREE);
    let mut client = proxy.client();
    let statuses: Vec<u16> = (0..50).map(|_| client.ask("GET", "/", "").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 3);
    assert_eq!((asked.load(SeqCst), proxy.state("b1").as_str()), (3, "ejected"));
    assert_eq!(reason(&proxy, 0), "consecutive_failures");
    assert_eq!(ejections(&proxy)[0], 1);
    // Two of two would leave nobody.
    let (bad, _) = answering("503 Service Unavailable");
    let (worse, _) = answering("500 Internal Server Error");
    let proxy = Proxy::http(&[bad.addr, worse.addr], THREE);
    let mut client = proxy.client();
    for _ in 0..50 {
        assert!(client.ask("GET", "/", "").status >= 500, "somebody is asked");
    }
    let states = [proxy.state("b1"), proxy.state("b2")];
    assert_eq!(states.iter().filter(|state| *state == "ejected").count(), 1, "{states:?}");
}

#[test]
fn tries_that_were_sent_again_count_and_the_client_sees_none_of_them() {
    let broken = Backend::run(|peer| {
        peer.request();
        peer.reset();
    });
    let good = Backend::named("good");
    let proxy = Proxy::http(&[broken.addr, good.addr], THREE);
    let mut client = proxy.client();
    for _ in 0..12 {
        assert_eq!(client.ask("GET", "/", "").text(), "good");
    }
    assert_eq!(proxy.state("b1"), "ejected");
    assert_eq!(broken.connections(), 3, "three tries were enough");
}

#[test]
fn kept_connections_that_were_closed_meanwhile_are_held_against_nobody() {
    // Closes after its first answer, at the moment the next request comes.
    let racing = Backend::run(|peer| {
        if peer.request().is_some() {
            peer.answer("answer");
        }
        peer.request();
        peer.reset();
    });
    let good = Backend::named("answer");
    let one = "outlier = { consecutive_failures = 1, success_rate = \"off\", eject = \"1h\" }";
    let proxy = Proxy::http(&[racing.addr, good.addr], one);
    let mut client = proxy.client();
    for _ in 0..40 {
        assert_eq!(client.ask("GET", "/", "").text(), "answer");
    }
    assert!(racing.connections() > 1, "no connection was found closed");
    assert_eq!((proxy.state("b1").as_str(), ejections(&proxy)), ("up", vec![0, 0]));
}

#[test]
fn who_was_ejected_comes_back_by_time_alone_and_goes_by_rate_too() {
    let (bad, _) = answering("500 Internal Server Error");
    let (good, _) = answering("200 OK");
    // Its probes are green all the while.
    let more = "health = { tcp = true, interval = \"20ms\" }\n\
         outlier = { consecutive_failures = \"off\", success_rate = { window = \"50ms\", requests = 5 }, eject = \"100ms\", eject_max = \"1h\" }";
    let proxy = Proxy::http(&[bad.addr, good.addr], more);
    let mut client = proxy.client();
    let mut seen = Vec::new();
    // Ejected, back, ejected again, for a longer time.
    crate::support::until("it was ejected twice", || {
        client.ask("GET", "/", "");
        let state = proxy.state("b1");
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        ejections(&proxy)[1] >= 2
    });
    assert_eq!(reason(&proxy, 0), "success_rate");
    assert!(seen.contains(&"ejected".into()) && seen.contains(&"up".into()), "{seen:?}");
    assert_eq!(proxy.state("b2"), "up");
}

//! Real nginx as backends: weighed, killed and frozen while clients go on.
use crate::support::{Client, Nginx, Proxy, until, web};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;

/// Probes that only a frozen server can fail by being slow, however busy the machine is.
const HEALTH: &str =
    "health = { http = \"/name\", interval = \"50ms\", timeout = \"1s\", rise = 1, fall = 2 }";

fn three() -> ([Nginx; 3], Vec<SocketAddr>) {
    let all = ["one", "two", "three"].map(|name| Nginx::start(name, ""));
    let addrs = all.iter().map(|nginx| nginx.addr).collect();
    (all, addrs)
}

/// Clients that ask for `/name` again and again, half of them on a connection each time.
struct Crowd {
    ended: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<u16>>>,
}

impl Crowd {
    fn start(proxy: &Proxy) -> Self {
        let (ended, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..8)
            .map(|n| {
                let (ended, answers, addr) = (ended.clone(), answers.clone(), proxy.addr());
                std::thread::spawn(move || {
                    let mut statuses = Vec::new();
                    let mut client = Client::connect(addr);
                    while !ended.load(SeqCst) {
                        if n % 2 == 0 {
                            client = Client::connect(addr);
                        }
                        statuses.push(client.ask("GET", "/name", "").status);
                        answers.fetch_add(1, SeqCst);
                    }
                    statuses
                })
            })
            .collect();
        Self { ended, answers, clients }
    }

    /// Waits for so many more answers.
    fn go_on(&self, more: usize) {
        let from = self.answers.load(SeqCst);
        until("the clients are answered", || self.answers.load(SeqCst) >= from + more);
    }

    /// How often each status came.
    fn end(self) -> BTreeMap<u16, usize> {
        self.ended.store(true, SeqCst);
        let mut counts = BTreeMap::new();
        for status in self.clients.into_iter().flat_map(|client| client.join().unwrap()) {
            *counts.entry(status).or_default() += 1;
        }
        counts
    }
}

/// How many of so many requests each server answered.
fn shares(proxy: &Proxy, requests: usize) -> BTreeMap<String, usize> {
    let (mut client, mut counts) = (proxy.client(), BTreeMap::new());
    for _ in 0..requests {
        *counts.entry(client.ask("GET", "/name", "").text()).or_default() += 1;
    }
    counts
}

/// Words for three servers of these weights behind one worker, whose round is exact.
fn weighed(addrs: &[SocketAddr], weights: [u32; 3]) -> String {
    let words = web(addrs, &format!("{HEALTH}\n[server]\nworkers = 1"));
    weights.iter().enumerate().fold(words, |toml, (n, weight)| {
        let addr = format!("addr = \"{}\" ", addrs[n]);
        toml.replace(&addr, &format!("{addr}, weight = {weight} "))
    })
}

#[test]
fn shares_are_exactly_the_weights() {
    let (_servers, addrs) = three();
    let proxy = Proxy::start(&weighed(&addrs, [1, 1, 1]));
    for name in ["b1", "b2", "b3"] {
        proxy.until_state(name, "up");
    }
    for weights in [[1, 1, 1], [2, 1, 1], [4, 1, 1], [0, 1, 3], [1, 0, 0], [2, 2, 2]] {
        proxy.reload(&weighed(&addrs, weights)).unwrap();
        let (counts, all) = (shares(&proxy, 300), weights.iter().sum::<u32>());
        for (name, weight) in ["one", "two", "three"].iter().zip(weights) {
            let (got, wanted) = (counts.get(*name).copied().unwrap_or(0), 300 * weight / all);
            // A round that was begun before, and one that does not end within 300 requests.
            let near = got.abs_diff(wanted as usize) <= 2 && (weight > 0 || got == 0);
            assert!(near, "{weights:?}: {counts:?}");
        }
    }
}

#[test]
fn no_request_fails_while_weights_change() {
    let (_servers, addrs) = three();
    let proxy = Proxy::start(&weighed(&addrs, [1, 1, 1]));
    for name in ["b1", "b2", "b3"] {
        proxy.until_state(name, "up");
    }
    let crowd = Crowd::start(&proxy);
    for weights in [[1, 1, 1], [4, 1, 1], [0, 1, 3], [1, 0, 0], [2, 2, 2]] {
        proxy.reload(&weighed(&addrs, weights)).unwrap();
        crowd.go_on(100);
    }
    let counts = crowd.end();
    assert_eq!(counts.keys().collect::<Vec<_>>(), [&200], "{counts:?}");
}

#[test]
fn a_killed_server_costs_no_get() {
    let (mut servers, addrs) = three();
    let proxy = Proxy::http(&addrs, HEALTH);
    let crowd = Crowd::start(&proxy);
    for _ in 0..5 {
        proxy.until_state("b2", "up");
        crowd.go_on(200);
        servers[1].kill();
        crowd.go_on(200);
        proxy.until_state("b2", "down");
        assert!(!shares(&proxy, 9).contains_key("two"));
        servers[1].restart();
    }
    proxy.until_state("b2", "up");
    until("it gets work again", || shares(&proxy, 9).contains_key("two"));
    let counts = crowd.end();
    assert_eq!(counts.keys().collect::<Vec<_>>(), [&200], "{counts:?}");
}

#[test]
fn a_frozen_server_is_taken_out_and_comes_back() {
    let (servers, addrs) = three();
    let proxy = Proxy::http(&addrs, &format!("{HEALTH}\ntimeout = {{ first_byte = \"10s\" }}"));
    for name in ["b1", "b2", "b3"] {
        proxy.until_state(name, "up");
    }
    let crowd = Crowd::start(&proxy);
    crowd.go_on(200);
    servers[2].signal(Signal::STOP);
    proxy.until_state("b3", "down");
    assert!(!shares(&proxy, 30).contains_key("three"), "nobody is sent there any more");
    servers[2].signal(Signal::CONT);
    proxy.until_state("b3", "up");
    until("it gets work again", || shares(&proxy, 9).contains_key("three"));
    crowd.go_on(200);
    let counts = crowd.end();
    // Only who waited on it when it froze may have been told that it took too long, once.
    let late = counts.get(&504).copied().unwrap_or(0);
    assert!(late <= 8 && counts.keys().all(|s| matches!(s, 200 | 504)), "{counts:?}");
}

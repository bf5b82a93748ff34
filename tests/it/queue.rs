//! The queue of a pool: who waits for a place at a backend, in which order, and what ends the wait.
use crate::readme::scrape;
use crate::support::h2::{Frames, RST_STREAM};
use crate::support::{Backend, Client, Proxy, access_lines, access_log, until, web};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A backend that says what it is asked for and answers when it is told to.
struct Gate {
    backend: Backend,
    asked: Receiver<String>,
    go: Sender<()>,
}

impl Gate {
    fn new() -> Self {
        let (ask, asked) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let backend = Backend::run(move |peer| {
            while let Some(head) = peer.request() {
                ask.send(head.split(' ').nth(1).unwrap().into()).unwrap();
                if wait.lock().unwrap().recv().is_err() {
                    return;
                }
                peer.answer("ok");
            }
        });
        Self { backend, asked, go }
    }

    fn addr(&self) -> SocketAddr {
        self.backend.addr
    }

    /// What it is asked for next.
    #[track_caller]
    fn next(&self) -> String {
        self.asked.recv_timeout(crate::support::PATIENCE).expect("the next request comes")
    }

    fn answer(&self) {
        self.go.send(()).unwrap();
    }
}

/// Long, so that however slow the machine is, the queue stays young and no time is over.
const LONG: &str = "max_active = 1\nqueue = { size = 3, timeout = \"1h\" }";

fn depth(proxy: &Proxy) -> i64 {
    proxy.running().state().plan.load_full().unwrap().pools["app"].queue_depth()
}

#[track_caller]
fn until_depth(proxy: &Proxy, n: i64) {
    until(&format!("{n} wait"), || depth(proxy) == n);
}

fn ask(proxy: &Proxy, path: &str) -> Client {
    let mut client = proxy.client();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    client
}

/// One at the backend, the others in the queue in this order.
#[track_caller]
fn line_up(proxy: &Proxy, gate: &Gate, paths: &[&str]) -> Vec<Client> {
    let mut clients = vec![ask(proxy, paths[0])];
    assert_eq!(gate.next(), paths[0]);
    for (n, path) in paths.iter().enumerate().skip(1) {
        clients.push(ask(proxy, path));
        until_depth(proxy, n as i64);
    }
    clients
}

#[test]
fn who_finds_everybody_full_waits_for_its_turn_and_a_full_queue_says_so() {
    let (gate, (folder, log)) = (Gate::new(), access_log());
    let proxy = Proxy::http(&[gate.addr()], &format!("{LONG}\n{log}"));
    let clients = line_up(&proxy, &gate, &["/0", "/1", "/2", "/3"]);
    let refused = ask(&proxy, "/4").response();
    assert_eq!((refused.status, refused.field("Retry-After")), (503, Some("1")));
    let line = access_lines(&folder, 1).remove(0);
    assert!(line.contains(r#""reason":"queue""#) && line.contains(r#""status":503"#), "{line}");
    let text = scrape(&proxy);
    for sample in [
        "evenkeel_queue_depth{pool=\"app\"} 3",
        "evenkeel_responses_own_total{listener=\"web\",reason=\"queue\"} 1",
        "evenkeel_limit_hits_total{listener=\"web\",limit=\"queue\"} 1",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample} in {text}");
    }
    gate.answer();
    for n in 1..4 {
        assert_eq!(gate.next(), format!("/{n}"), "first come, first served");
        gate.answer();
    }
    for mut client in clients {
        assert_eq!(client.response().status, 200);
    }
    let count = "evenkeel_queue_duration_seconds_count{pool=\"app\"} 3";
    assert!(scrape(&proxy).lines().any(|line| line == count));
    assert_eq!(depth(&proxy), 0);
}

#[test]
fn a_wait_ends_with_the_time_in_the_queue_or_with_the_request_s_own() {
    for (more, status, reason) in [
        ("queue = { timeout = \"50ms\" }", 503, "queue"),
        ("queue = {}\ntimeout = { request = \"50ms\" }", 504, "timeout_request"),
    ] {
        let (gate, (folder, log)) = (Gate::new(), access_log());
        let proxy = Proxy::http(&[gate.addr()], &format!("max_active = 1\n{more}\n{log}"));
        // A slow request of another kind holds the place.
        let mut tunnel = proxy.client();
        tunnel.send("GET /held HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(gate.next(), "/held");
        assert_eq!(ask(&proxy, "/").response().status, status);
        let lines = access_lines(&folder, 1);
        let reason = format!("\"reason\":\"{reason}\"");
        assert!(lines.iter().any(|line| line.contains(&reason)), "{lines:?}");
        until_depth(&proxy, 0);
    }
}

#[test]
fn a_client_that_leaves_gives_its_place_up_at_once() {
    let (gate, (folder, log)) = (Gate::new(), access_log());
    let proxy = Proxy::http(&[gate.addr()], &format!("{LONG}\n{log}"));
    let mut clients = line_up(&proxy, &gate, &["/0", "/1", "/2", "/3"]);
    drop(clients.remove(2));
    until_depth(&proxy, 2);
    let line = access_lines(&folder, 1).remove(0);
    assert!(line.contains(r#""reason":"client_gone""#) && line.contains("/2"), "{line}");
    for path in ["/1", "/3"] {
        gate.answer();
        assert_eq!(gate.next(), path);
    }
    gate.answer();
    clients.into_iter().for_each(|mut client| assert_eq!(client.response().status, 200));
}

#[test]
fn an_upload_waits_with_its_body_and_loses_nothing() {
    let gate = Gate::new();
    let proxy = Proxy::http(&[gate.addr()], LONG);
    let mut first = ask(&proxy, "/0");
    gate.next();
    let body = "x".repeat(100_000);
    let mut upload = proxy.client();
    upload.send(format!("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    upload.send(&body);
    until_depth(&proxy, 1);
    gate.answer();
    assert_eq!(first.response().status, 200);
    assert_eq!(gate.next(), "/up");
    gate.answer();
    assert_eq!(upload.response().status, 200);
}

#[test]
fn streams_of_one_connection_wait_each_for_itself() {
    let gate = Gate::new();
    let proxy = Proxy::http(&[gate.addr()], LONG);
    let mut frames = Frames::connect(proxy.addr());
    frames.get(1, "/1", &[]);
    assert_eq!(gate.next(), "/1");
    for (n, stream) in [3, 5, 7].into_iter().enumerate() {
        frames.get(stream, &format!("/{stream}"), &[]);
        until_depth(&proxy, n as i64 + 1);
    }
    frames.get(9, "/9", &[]);
    assert_eq!(frames.answer(9).0, 503);
    frames.send(RST_STREAM, 0, 5, &8u32.to_be_bytes());
    until_depth(&proxy, 2);
    for path in ["/3", "/7"] {
        gate.answer();
        assert_eq!(gate.next(), path);
    }
    gate.answer();
    for stream in [1, 3, 7] {
        assert_eq!(frames.answer(stream).0, 200);
    }
}

#[test]
fn a_reload_serves_who_waits_or_lets_it_wait_and_an_empty_pool_says_so() {
    let (gate, other) = (Gate::new(), Backend::named("other"));
    let proxy = Proxy::http(&[gate.addr()], LONG);
    let mut clients = line_up(&proxy, &gate, &["/0", "/1", "/2", "/3"]);
    // Without a queue: who is in it stays, nobody else comes in.
    proxy.reload(&web(&[gate.addr()], "max_active = 1")).unwrap();
    assert_eq!((ask(&proxy, "/4").response().status, depth(&proxy)), (503, 3));
    // A place more.
    proxy.reload(&web(&[gate.addr()], &LONG.replace("active = 1", "active = 2"))).unwrap();
    assert_eq!((gate.next(), depth(&proxy)), ("/1".into(), 2));
    // A backend more: it serves all that wait.
    proxy.reload(&web(&[gate.addr(), other.addr], LONG)).unwrap();
    for at in [2, 3] {
        assert_eq!(clients[at].response().text(), "other");
    }
    // Nobody is left: nobody waits.
    proxy.reload(&web(&[gate.addr()], LONG)).unwrap();
    let mut last = ask(&proxy, "/5");
    until_depth(&proxy, 1);
    proxy.reload(&web(&[], LONG)).unwrap();
    assert_eq!((last.response().status, depth(&proxy)), (503, 0));
    (0..2).for_each(|_| gate.answer());
    for mut client in clients.drain(..2) {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn who_waits_is_served_in_the_grace_of_a_drain() {
    let gate = Gate::new();
    let proxy = Proxy::http(&[gate.addr()], LONG);
    let mut clients = line_up(&proxy, &gate, &["/0", "/1"]);
    let stopped = std::thread::spawn(move || proxy.stop());
    gate.answer();
    assert_eq!(gate.next(), "/1");
    gate.answer();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    stopped.join().unwrap();
}

#[test]
fn all_are_served_and_never_more_at_once_than_allowed() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (n, m) = (now.clone(), most.clone());
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            m.fetch_max(n.fetch_add(1, SeqCst) + 1, SeqCst);
            std::thread::yield_now();
            n.fetch_sub(1, SeqCst);
            peer.answer("ok");
        }
    });
    let more = "max_active = 3\nqueue = { size = 100, timeout = \"1h\" }";
    let workers = "[server]\nworkers = 2\n";
    let proxy = Proxy::start(&format!("{workers}{}", web(&[backend.addr], more)));
    let addr = proxy.addr();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(move || {
                let mut client = Client::connect(addr);
                for _ in 0..40 {
                    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                    assert_eq!(client.response().status, 200);
                }
            });
        }
    });
    assert!(most.load(SeqCst) <= 3, "{} at once", most.load(SeqCst));
    assert_eq!(depth(&proxy), 0);
}

/// A tcp listener before a backend that takes one at a time, with these rules of its queue.
fn raw(addr: SocketAddr, rules: &str) -> String {
    format!(
        "[listener.raw]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"app\"\n[pool.app]\n\
         max_active = 1\nqueue = {{ size = 10, {rules} }}\nbackends = [\"{addr}\"]\n"
    )
}

/// A connection to it that has asked.
fn ask_raw(proxy: &Proxy) -> Client {
    let mut client = Client::connect(proxy.addr_of("raw"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client
}

#[test]
fn a_tcp_connection_waits_too() {
    let backend = Backend::named("one");
    let proxy = Proxy::start(&raw(backend.addr, "timeout = \"1h\""));
    let ask = || ask_raw(&proxy);
    let mut first = ask();
    assert_eq!(first.response().text(), "one");
    let mut second = ask();
    until_depth(&proxy, 1);
    drop(first);
    assert_eq!(second.response().text(), "one");
    proxy.reload(&raw(backend.addr, "timeout = \"50ms\"")).unwrap();
    assert!(ask().is_closed());
    let own = "evenkeel_responses_own_total{listener=\"raw\",reason=\"queue\"} 1";
    until("it is counted", || scrape(&proxy).lines().any(|line| line == own));
    assert_eq!(depth(&proxy), 0);
}

#[test]
fn a_tcp_client_that_is_gone_gives_its_place_up() {
    let backend = Backend::named("one");
    let proxy = Proxy::start(&raw(backend.addr, "timeout = \"1h\""));
    let ask = || ask_raw(&proxy);
    let mut first = ask();
    assert_eq!(first.response().text(), "one");
    let (mut ended, mut reset) = (ask(), ask());
    until_depth(&proxy, 2);
    // One that ended its sending still listens.
    ended.end();
    let lingers = Some(std::time::Duration::ZERO);
    socket2::SockRef::from(&*reset.stream()).set_linger(lingers).unwrap();
    drop(reset);
    until_depth(&proxy, 1);
    drop(first);
    assert_eq!(ended.response().text(), "one");
    drop(ended);
    // Where the rules say so it counts as gone, and nobody is bothered with what it sent.
    let rules = "timeout = \"1h\", abort_on_close = true";
    proxy.reload(&raw(backend.addr, rules)).unwrap();
    let mut first = ask();
    assert_eq!(first.response().text(), "one");
    let closed = ask();
    until_depth(&proxy, 1);
    drop(closed);
    until_depth(&proxy, 0);
    assert_eq!(backend.connections(), 3);
}

/// Ends what threads do, whatever becomes of a test.
struct End<'a>(&'a AtomicUsize);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(1, SeqCst);
    }
}

#[test]
fn a_limit_with_bounds_follows_what_the_backend_bears() {
    let backend = Backend::named("one");
    let more = "max_active = { min = 2, max = 50 }\nqueue = { size = 100, timeout = \"1h\" }";
    let proxy = Proxy::http(&[backend.addr], more);
    let limit = || {
        let text = scrape(&proxy);
        let sample = "evenkeel_backend_limit{pool=\"app\",backend=\"b1\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(sample));
        line.expect("it has a limit").parse::<u32>().unwrap()
    };
    assert_eq!(limit(), 2, "it begins at the lower bound");
    let (addr, end) = (proxy.addr(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(addr);
                while end.load(SeqCst) == 0 {
                    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                    assert_eq!(client.response().status, 200);
                }
            });
        }
        let _end = End(&end);
        until("it has grown", || limit() > 2);
    });
    proxy.reload(&web(&[backend.addr], "max_active = 7")).unwrap();
    assert_eq!(limit(), 7);
}

/// A page that is switched off says 503 however little is asked for: whoever asks for it in a loop closes
/// its backend for moments only.
#[test]
fn a_page_that_says_503_leaves_a_learnt_limit_to_the_others() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            if head.starts_with("GET /off") {
                peer.send("HTTP/1.1 503 Off\r\nContent-Length: 0\r\n\r\n");
            } else {
                std::thread::sleep(Duration::from_millis(30));
                peer.answer("well");
            }
        }
    });
    let more = "max_active = { min = 2, max = 50 }\nretry = { attempts = 1 }";
    let proxy = Proxy::http(&[backend.addr], more);
    let (addr, end, row) = (proxy.addr(), AtomicUsize::new(0), AtomicUsize::new(0));
    let ask = |path: &'static str, rest: u64, row: Option<&AtomicUsize>| {
        let mut client = Client::connect(addr);
        while end.load(SeqCst) == 0 {
            let well = client.ask("GET", path, "").status == 200;
            if let Some(row) = row {
                row.fetch_update(SeqCst, SeqCst, |n| Some(if well { n + 1 } else { 0 })).unwrap();
            }
            std::thread::sleep(Duration::from_millis(rest));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| ask("/", 5, Some(&row)));
        }
        for _ in 0..3 {
            scope.spawn(|| ask("/off", 2, None));
        }
        let _end = End(&end);
        // More than two seconds.
        until("all others are answered well", || row.load(SeqCst) > 500);
    });
}

const AGAIN: &str = "retry = { attempts = 3, on = [\"connect\", \"reset\", \"5xx\"], budget = \"100%\", floor = \"1000/s\" }";

/// Answers each request by this at once, and counts them.
fn saying(answer: String) -> (Backend, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            count.fetch_add(1, SeqCst);
            peer.send(&answer);
        }
    });
    (backend, asked)
}

fn busy(body: &str) -> String {
    let n = body.len();
    format!("HTTP/1.1 503 Busy\r\nX-Who: busy\r\nContent-Length: {n}\r\n\r\n{body}")
}

/// Always free, it would take whoever comes while the others are full.
#[test]
fn who_fails_at_once_costs_nobody_an_answer_where_others_are_full() {
    for (balance, many) in
        [("round_robin", 1), ("least_connections", 1), ("peak_ewma", 1), ("round_robin", 2)]
    {
        let bad: Vec<_> = (0..many).map(|_| saying(busy("busy"))).collect();
        let slow = || {
            Backend::run(|peer| {
                while peer.request().is_some() {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    peer.answer("good");
                }
            })
        };
        let (one, two) = (slow(), slow());
        let more = format!(
            "balance = \"{balance}\"\nmax_active = 4\nqueue = {{ size = 1000, timeout = \"1h\" }}\n{AGAIN}"
        );
        let addrs: Vec<_> =
            bad.iter().map(|(bad, _)| bad.addr).chain([one.addr, two.addr]).collect();
        let proxy = Proxy::http(&addrs, &more);
        let addr = proxy.addr();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(move || {
                    let mut client = Client::connect(addr);
                    for _ in 0..40 {
                        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                        assert_eq!(client.response().text(), "good");
                    }
                });
            }
        });
        let asked: usize = bad.iter().map(|(_, asked)| asked.load(SeqCst)).sum();
        assert!(asked < 16 * 40 / 2, "{balance}: {many} got {asked} of 640 requests");
    }
}

/// Who is sent again for its status waits in the queue, and holds no place at the one that answered.
#[test]
fn an_answer_that_somebody_else_is_to_better_waits_for_its_turn() {
    let (gate, (bad, asked)) = (Gate::new(), saying(busy("busy")));
    let more = format!("{LONG}\n{AGAIN}");
    let proxy = Proxy::http(&[gate.addr(), bad.addr], &more);
    let mut first = ask(&proxy, "/0");
    assert_eq!(gate.next(), "/0");
    let before = asked.load(SeqCst);
    let mut second = ask(&proxy, "/1");
    until_depth(&proxy, 1);
    let active = || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.pools["app"].members()[1].backend.active()
    };
    until("the place is free again", || active() == 0);
    assert_eq!(asked.load(SeqCst), before + 1);
    gate.answer();
    assert_eq!(first.response().text(), "ok");
    assert_eq!(gate.next(), "/1");
    gate.answer();
    assert_eq!(second.response().text(), "ok");
}

/// A page that came whole is the client's when nobody bettered it, else its status is.
#[test]
fn who_waits_in_vain_gets_the_answer_that_was_there() {
    for (page, whole) in [("busy".to_string(), true), ("x".repeat(5000), false)] {
        let (gate, (bad, _)) = (Gate::new(), saying(busy(&page)));
        let (folder, log) = access_log();
        let more = format!("max_active = 1\nqueue = {{ timeout = \"50ms\" }}\n{AGAIN}\n{log}");
        let proxy = Proxy::http(&[gate.addr(), bad.addr], &more);
        let held = ask(&proxy, "/held");
        assert_eq!(gate.next(), "/held");
        let mut client = ask(&proxy, "/");
        let answer = client.response();
        assert_eq!((answer.status, answer.field("X-Who")), (503, whole.then_some("busy")));
        assert_eq!(answer.text() == page, whole);
        let line = access_lines(&folder, 1).remove(0);
        let reason = if whole { "-" } else { "queue" };
        assert!(line.contains(&format!("\"reason\":\"{reason}\"")), "{line}");
        assert!(line.contains("\"backend\":\"b2\""), "{line}");
        // The connection goes on.
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response().status, 503);
        drop(held);
    }
}

/// Where nobody else is there nobody waits.
#[test]
fn where_all_fail_the_answer_comes_at_once() {
    let ((bad, one), (worse, two)) = (saying(busy("busy")), saying(busy("busy")));
    let proxy = Proxy::http(&[bad.addr, worse.addr], &format!("{LONG}\n{AGAIN}"));
    let mut client = proxy.client();
    for _ in 0..20 {
        let answer = client.ask("GET", "/", "");
        assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    }
    assert_eq!(one.load(SeqCst) + two.load(SeqCst), 40);
    assert_eq!(depth(&proxy), 0);
}

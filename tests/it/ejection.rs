//! Passive health: what the tries of clients say against a backend, and what it costs them.
use crate::support::{Backend, Client, Proxy, Response, Server, until, web};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Ejects after three failures in a row, and by nothing else.
const THREE: &str = "outlier = { consecutive_failures = 3, success_rate = \"off\", silence = \"off\", eject = \"1h\" }";

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
    let well = Arc::new(AtomicBool::new(true));
    let is_well = well.clone();
    let good = Backend::run(move |peer| {
        while peer.request().is_some() {
            let status = if is_well.load(SeqCst) { "200 OK" } else { "500 Internal Server Error" };
            peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let proxy = Proxy::http(&[bad.addr, good.addr], THREE);
    let mut client = proxy.client();
    let statuses: Vec<u16> = (0..50).map(|_| client.ask("GET", "/", "").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 3);
    assert_eq!((asked.load(SeqCst), proxy.state("b1").as_str()), (3, "ejected"));
    assert_eq!(reason(&proxy, 0), "consecutive_failures");
    assert_eq!(ejections(&proxy)[0], 1);
    // Two of two would leave nobody.
    well.store(false, SeqCst);
    for _ in 0..50 {
        assert_eq!(client.ask("GET", "/", "").status, 500, "somebody is asked");
    }
    assert_eq!((ejections(&proxy)[0], proxy.state("b2").as_str()), (1, "up"));
}

fn with_a_bug() -> Backend {
    Backend::run(move |peer| {
        while let Some(head) = peer.request() {
            let status = if head.starts_with("GET /bug") { "500 No" } else { "200 OK" };
            peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    })
}

/// Two backends, by the hash of `user`. The first one answers 500 to pages that begin with `/bug`.
fn two_by_user() -> (Backend, Backend, Proxy) {
    let broken = with_a_bug();
    let (well, _) = answering("200 OK");
    let hash = "balance = { policy = \"consistent_hash\", key = [\"query:user\"] }";
    let proxy = Proxy::http(&[broken.addr, well.addr], &format!("{THREE}\n{hash}"));
    (broken, well, proxy)
}

/// Whoever is bound to one backend asks nobody else for his page: that one fails by it is no sign.
#[test]
fn one_client_bound_to_a_backend_does_not_eject_it_and_several_do() {
    let (_broken, _well, proxy) = two_by_user();
    let mut client = proxy.client();
    let mut ask =
        |page: &str, user: usize| client.ask("GET", &format!("/{page}?user={user}"), "").status;
    // Who comes by a name of the first one, and somebody else who does.
    let bound = (0..).find(|user| ask("bug", *user) == 500).unwrap();
    let all: Vec<u16> = (100..140).map(|user| ask("page", user)).collect();
    assert_eq!(all, [200; 40]);
    let begun = Instant::now();
    // Beyond the time after which one alone would be believed.
    while begun.elapsed() < Duration::from_secs(5) {
        let said: Vec<u16> = (0..5).map(|_| ask("bug", bound)).collect();
        assert_eq!(said, [500; 5], "it is there");
        assert!((100..140).all(|user| ask("page", user) == 200));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(proxy.state("b1"), "up");
    let mut users = 200..;
    until("several are another thing", || {
        ask("bug", users.next().unwrap());
        proxy.state("b1") == "ejected"
    });
    assert_eq!((reason(&proxy, 0), ejections(&proxy)[0]), ("consecutive_failures", 1));
    assert!(users.start < 240, "{} were asked", users.start);
}

/// With nobody else who is answered there, it is the backend.
#[test]
fn a_backend_that_fails_most_of_what_its_only_client_asks_goes() {
    let (_broken, _well, proxy) = two_by_user();
    let mut client = proxy.client();
    let mut ask =
        |page: &str, user: usize| client.ask("GET", &format!("/{page}?user={user}"), "").status;
    let bound = (0..).find(|user| ask("bug", *user) == 500).unwrap();
    until("it is ejected", || {
        (0..9).for_each(|_| _ = ask("bug", bound));
        ask("page", bound);
        proxy.state("b1") == "ejected"
    });
    assert_eq!(ask("bug", bound), 200, "the other one");
    assert_eq!((reason(&proxy, 0), ejections(&proxy)[0]), ("consecutive_failures", 1));
}

/// A page that is broken, or what all of them need: it is nobody's fault alone.
#[test]
fn what_fails_everywhere_ejects_nobody() {
    let backends =
        ["503 Service Unavailable", "500 Internal Server Error", "500 No"].map(answering);
    let proxy = Proxy::http(&backends.each_ref().map(|(backend, _)| backend.addr), THREE);
    let mut client = proxy.client();
    for _ in 0..90 {
        assert!(client.ask("GET", "/", "").status >= 500);
    }
    assert_eq!(ejections(&proxy), [0, 0, 0]);
    assert!(backends.iter().all(|(_, asked)| asked.load(SeqCst) == 30), "all are asked alike");
    // One is taken out: the rows of those that stay say no more than before.
    let two = [backends[0].0.addr, backends[1].0.addr];
    proxy.reload(&web(&two, THREE)).unwrap();
    for _ in 0..60 {
        assert!(client.ask("GET", "/", "").status >= 500);
    }
    assert_eq!(ejections(&proxy)[..2], [0, 0]);
}

/// One that was deployed empty is the fastest of all, and one that can do nothing, too.
#[test]
fn who_declines_what_others_do_attracts_nobody_and_stays() {
    for status in ["404 Not Found", "403 Forbidden", "302 Found", "501 Not Implemented"] {
        let ((empty, asked), (full, _)) = (answering(status), answering("200 OK"));
        let more = format!("{THREE}\nbalance = \"least_connections\"");
        let proxy = Proxy::http(&[empty.addr, full.addr], &more);
        let mut client = proxy.client();
        (0..400).for_each(|_| drop(client.ask("GET", "/", "")));
        let asked = asked.load(SeqCst);
        assert!(asked < 100, "{status}: {asked} of 400");
        assert_eq!(proxy.state("b1"), "up");
    }
}

/// Most of all answers are theirs then: what each backend says counts alike.
#[test]
fn several_that_decline_what_the_rest_does_attract_nobody_either() {
    let full = [(); 3].map(|()| {
        Backend::run(|peer| {
            while peer.request().is_some() {
                std::thread::sleep(Duration::from_millis(2));
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        })
    });
    let empty = [(); 2].map(|()| answering("401 Unauthorized"));
    for policy in ["least_connections", "p2c", "peak_ewma"] {
        let more = format!("{THREE}\nbalance = \"{policy}\"");
        let all =
            empty.iter().map(|(empty, _)| empty.addr).chain(full.iter().map(|full| full.addr));
        let proxy = Proxy::http(&all.collect::<Vec<_>>(), &more);
        let asked = || empty.iter().map(|(_, asked)| asked.load(SeqCst)).sum::<usize>();
        let before = asked();
        let clients = [(); 4].map(|()| proxy.client());
        std::thread::scope(|scope| {
            for mut client in clients {
                scope.spawn(move || {
                    (0..500).for_each(|_| drop(client.ask("GET", "/", "")));
                });
            }
        });
        let declined = asked() - before;
        assert!(declined < 800, "{policy}: {declined} of 2,000, more than their share");
    }
}

/// A client that comes back to a backend by its cookie is not drawn there, whatever it asks for.
#[test]
fn a_page_that_one_client_misses_keeps_nobody_else_away_from_its_backend() {
    let backend = || {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let backend = Backend::run(move |peer| {
            while let Some(head) = peer.request() {
                let status = if head.starts_with("GET /no") { "404 No" } else { "200 OK" };
                counted.fetch_add(usize::from(status == "200 OK"), SeqCst);
                peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
            }
        });
        (backend, asked)
    };
    let ((one, asked), (two, _)) = (backend(), backend());
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret that nobody can guess").unwrap();
    let sticky = format!("sticky = {{ secret_files = {:?} }}", secret.display().to_string());
    let more = format!("{THREE}\n{sticky}\nbalance = \"least_connections\"");
    let proxy = Proxy::http(&[one.addr, two.addr], &more);
    let mut client = proxy.client();
    let cookie = |response: Response| {
        let said = response.field("Set-Cookie").expect("a cookie");
        format!("Cookie: {}\r\n", said.split(';').next().unwrap())
    };
    let mut cookies = Vec::new();
    until("a client comes to the first one", || {
        cookies.push(cookie(client.ask("GET", "/", "")));
        asked.load(SeqCst) > 0
    });
    let own = cookies.pop().unwrap();
    let before = asked.load(SeqCst);
    for n in 0..400 {
        assert_eq!(client.ask("GET", "/no", &own).status, 404);
        if n % 4 == 0 {
            assert_eq!(client.ask("GET", "/", "").status, 200);
        }
    }
    let came = asked.load(SeqCst) - before;
    assert!((20..=80).contains(&came), "{came} of 100 newcomers");
}

/// Every 5xx, but for what speaks of the request. A 404 may be the client's fault as well.
#[test]
fn every_status_that_blames_its_server_is_a_failure() {
    for (status, is_fault) in [
        ("502 Bad Gateway", true),
        ("507 Insufficient Storage", true),
        ("520 Whatever", true),
        ("599 Last", true),
        ("501 Not Implemented", false),
        ("505 HTTP Version Not Supported", false),
        ("404 Not Found", false),
    ] {
        let ((bad, asked), (good, _)) = (answering(status), answering("200 OK"));
        let proxy = Proxy::http(&[bad.addr, good.addr], THREE);
        let mut client = proxy.client();
        (0..40).for_each(|_| drop(client.ask("GET", "/", "")));
        assert_eq!(proxy.state("b1") == "ejected", is_fault, "{status}");
        assert!(!is_fault || asked.load(SeqCst) == 3, "{status}");
    }
}

/// Who judges nobody holds nothing against anybody.
#[test]
fn without_outlier_everybody_is_back_and_with_it_again_all_begins_anew() {
    let ((bad, asked), (good, _)) = (answering("500 Oh"), answering("200 OK"));
    let all = [bad.addr, good.addr];
    let proxy = Proxy::http(&all, THREE);
    let mut client = proxy.client();
    let mut ask = |n: usize| (0..n).for_each(|_| drop(client.ask("GET", "/", "")));
    ask(20);
    assert_eq!(proxy.state("b1"), "ejected");
    proxy.reload(&web(&all, "")).unwrap();
    assert_eq!(proxy.state("b1"), "up");
    proxy.reload(&web(&all, THREE)).unwrap();
    assert_eq!((proxy.state("b1").as_str(), asked.load(SeqCst)), ("up", 3));
    ask(20);
    assert_eq!((proxy.state("b1").as_str(), asked.load(SeqCst)), ("ejected", 6));
}

/// One call of gRPC by HTTP/1.1, of this kind of content.
fn call(client: &mut Client, path: &str, kind: &str) {
    client.send(format!(
        "POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Type: {kind}\r\nTE: trailers\r\n\
         Content-Length: 5\r\n\r\n\0\0\0\0\0"
    ));
    assert_eq!(client.response().status, 200);
}

/// With HTTP's 200: in the head of an answer that is nothing else, and in the trailers.
#[test]
fn calls_that_fail_by_their_own_words_eject() {
    let alone = |status: u8| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: {status}\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    let behind = |status: u8| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n\
             Transfer-Encoding: chunked\r\n\r\n5\r\n\0\0\0\0\0\r\n\
             0\r\ngrpc-status: {status}\r\n\r\n"
        )
    };
    let cases = [
        (alone(14), "application/grpc", true),
        (behind(14), "application/grpc+proto", true),
        (behind(13), "application/grpc", true),
        (alone(2), "application/grpc", true),
        // What the call itself earned, and what its client's deadline did.
        (alone(5), "application/grpc", false),
        (behind(4), "application/grpc", false),
        (alone(8), "application/grpc", false),
        (behind(14), "text/plain", false),
    ];
    for (answer, kind, ejects) in cases {
        let said = answer.clone();
        let bad = Backend::run(move |peer| {
            while peer.request().is_some() {
                peer.bytes(5);
                peer.send(&said);
            }
        });
        let good = Backend::run(move |peer| {
            while peer.request().is_some() {
                peer.bytes(5);
                peer.answer("");
            }
        });
        let proxy = Proxy::http(&[bad.addr, good.addr], THREE);
        let mut client = proxy.client();
        (0..10).for_each(|_| call(&mut client, "/a.B/C", kind));
        let state = if ejects { "ejected" } else { "up" };
        assert_eq!(proxy.state("b1"), state, "{kind} {answer}");
    }
}

/// The same by HTTP/2 to the backends.
#[test]
fn calls_that_fail_by_their_own_words_eject_by_http_2_too() {
    for path in ["/call", "/fail"] {
        let (busy, good) = (Server::h2(&["busy"]), Server::h2(&[]));
        let proxy = Proxy::http(&[busy.addr, good.addr], &format!("http = \"2\"\n{THREE}"));
        let mut client = proxy.client();
        (0..10).for_each(|_| call(&mut client, path, "application/grpc"));
        assert_eq!([proxy.state("b1"), proxy.state("b2")], ["ejected", "up"], "{path}");
    }
}

/// It is never busy, and looks like the one to ask.
#[test]
fn who_turns_requests_away_attracts_none_and_is_not_ejected() {
    for policy in ["least_connections", "p2c", "peak_ewma"] {
        let (full, asked) = answering("429 Too Many Requests");
        let (good, _) = answering("200 OK");
        let more = format!("balance = \"{policy}\"\n{THREE}");
        let proxy = Proxy::http(&[full.addr, good.addr], &more);
        let mut client = proxy.client();
        (0..100).for_each(|_| drop(client.ask("GET", "/", "")));
        let asked = asked.load(SeqCst);
        assert!((1..20).contains(&asked), "{policy}: {asked} of 100");
        assert_eq!(proxy.state("b1"), "up", "{policy}");
    }
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
    let one = "outlier = { consecutive_failures = 1, success_rate = \"off\", silence = \"off\", eject = \"1h\" }";
    let proxy = Proxy::http(&[racing.addr, good.addr], one);
    let mut client = proxy.client();
    for _ in 0..40 {
        assert_eq!(client.ask("GET", "/", "").text(), "answer");
    }
    assert!(racing.connections() > 1, "no connection was found closed");
    assert_eq!((proxy.state("b1").as_str(), ejections(&proxy)), ("up", vec![0, 0, 0]));
}

#[test]
fn who_was_ejected_comes_back_by_time_alone_and_goes_by_rate_too() {
    let (bad, _) = answering("500 Internal Server Error");
    let (good, _) = answering("200 OK");
    // Its probes are green all the while.
    let more = "health = { tcp = true, interval = \"20ms\" }\n\
         outlier = { consecutive_failures = \"off\", success_rate = { window = \"50ms\", requests = 5 }, silence = \"off\", eject = \"100ms\", eject_max = \"1h\" }";
    let proxy = Proxy::http(&[bad.addr, good.addr], more);
    let mut client = proxy.client();
    let mut seen = Vec::new();
    // Ejected, back, ejected again, for a longer time.
    until("it was ejected twice", || {
        // Enough of them for a window, however slow the machine is.
        (0..10).for_each(|_| drop(client.ask("GET", "/", "")));
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

/// Reads requests, and answers them with its name while it is not frozen; counts those it has read.
struct Freezer {
    backend: Backend,
    frozen: Arc<AtomicBool>,
    read: Arc<AtomicUsize>,
}

impl Freezer {
    fn new(name: &'static str) -> Self {
        let (frozen, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stops, counted) = (frozen.clone(), read.clone());
        let backend = Backend::run(move |peer| {
            while let Some(head) = peer.request() {
                let mut body = Vec::new();
                while head.contains("chunked") && !body.ends_with(b"0\r\n\r\n") {
                    body.push(peer.byte().unwrap());
                }
                counted.fetch_add(1, SeqCst);
                while stops.load(SeqCst) {
                    std::thread::sleep(Duration::from_millis(2));
                }
                peer.answer(name);
            }
        });
        Self { backend, frozen, read }
    }
}

#[test]
fn a_frozen_backend_costs_one_wait_until_it_speaks_again() {
    let (cold, good, better) = (Freezer::new("cold"), Freezer::new("good"), Freezer::new("better"));
    let addrs = [cold.backend.addr, good.backend.addr, better.backend.addr];
    // Nothing but silence ends a wait.
    let more = "timeout = { first_byte = \"off\" }\n\
         outlier = { consecutive_failures = \"off\", success_rate = \"off\", silence = { wait = \"100ms\", hold = \"300ms\" } }";
    let proxy = Proxy::http(&addrs, more);
    let mut client = proxy.client();
    // What is usual is learnt.
    (0..100).for_each(|_| drop(client.ask("GET", "/", "")));
    cold.frozen.store(true, SeqCst);
    let before = cold.read.load(SeqCst);
    let (over, lost) = (AtomicBool::new(false), AtomicUsize::new(0));
    const CLIENTS: usize = 6;
    let addr = proxy.addr();
    let posted = std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(addr);
                while !over.load(SeqCst) {
                    let answer = client.ask("GET", "/", "");
                    lost.fetch_add(usize::from(answer.status != 200), SeqCst);
                }
            });
        }
        // One that cannot be sent again: it waits, however long that takes.
        let post = scope.spawn(|| {
            let (mut client, mut all) = (Client::connect(addr), Vec::new());
            while !over.load(SeqCst) {
                all.push(client.ask("POST", "/", "Content-Length: 0\r\n").text());
            }
            all
        });
        // It is tried again after a while, by one at a time, and for longer each time.
        until("it was ejected three times", || ejections(&proxy)[2] >= 3);
        assert_eq!(reason(&proxy, 0), "silence");
        let read = cold.read.load(SeqCst) - before;
        assert!(read <= CLIENTS + 1 + 3, "{read} tries were sent to it");
        cold.frozen.store(false, SeqCst);
        proxy.until_state("b1", "up");
        until("it gets work again", || cold.read.load(SeqCst) > before + read + 20);
        over.store(true, SeqCst);
        post.join().unwrap()
    });
    assert_eq!(lost.load(SeqCst), 0);
    assert!(posted.iter().all(|text| ["cold", "good", "better"].contains(&text.as_str())));
    assert_eq!([proxy.state("b2"), proxy.state("b3")], ["up", "up"]);
}

/// Nothing is known of it, but what others take is.
#[test]
fn a_backend_that_never_answered_costs_one_wait() {
    let (cold, good, better) = (Freezer::new("cold"), Freezer::new("good"), Freezer::new("better"));
    cold.frozen.store(true, SeqCst);
    let addrs = [cold.backend.addr, good.backend.addr, better.backend.addr];
    let more = "retry = { budget = \"100%\" }\ntimeout = { first_byte = \"off\" }";
    let proxy = Proxy::http(&addrs, &format!("{SILENCE}\n{more}"));
    let addr = proxy.addr();
    std::thread::scope(|scope| {
        // Enough that the others are known before each of them waits for it.
        for _ in 0..100 {
            scope.spawn(|| {
                let mut client = Client::connect(addr);
                (0..10).for_each(|_| assert_eq!(client.ask("GET", "/", "").status, 200));
            });
        }
    });
    assert_eq!((reason(&proxy, 0), ejections(&proxy)[2]), ("silence", 1));
    cold.frozen.store(false, SeqCst);
}

/// As in the first minutes of a quiet site.
#[test]
fn where_little_is_known_of_anybody_one_client_pays_once_too() {
    let (cold, good, better) = (Freezer::new("cold"), Freezer::new("good"), Freezer::new("better"));
    let addrs = [cold.backend.addr, good.backend.addr, better.backend.addr];
    let proxy = Proxy::http(&addrs, &format!("{SILENCE}\ntimeout = {{ first_byte = \"off\" }}"));
    let mut client = proxy.client();
    let mut ask = || client.ask("GET", "/", "").status;
    (0..6).for_each(|_| assert_eq!(ask(), 200));
    cold.frozen.store(true, SeqCst);
    (0..12).for_each(|_| assert_eq!(ask(), 200));
    assert_eq!((reason(&proxy, 0), ejections(&proxy)[2]), ("silence", 1));
    cold.frozen.store(false, SeqCst);
}

#[test]
fn what_waits_at_a_backend_that_goes_down_is_sent_elsewhere() {
    let (cold, good) = (Freezer::new("cold"), Freezer::new("good"));
    // Nothing but the probes ends a wait.
    let more = "timeout = { first_byte = \"off\" }\n\
         health = { tcp = { send = \"GET / HTTP/1.1\\r\\n\\r\\n\", expect = \"200\" }, interval = \"20ms\", timeout = \"300ms\", fall = 1 }";
    let proxy = Proxy::http(&[cold.backend.addr, good.backend.addr], more);
    proxy.until_state("b2", "up");
    for request in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
        // Nobody said how long it is, but all of it is kept.
        "PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ] {
        proxy.until_state("b1", "up");
        cold.frozen.store(true, SeqCst);
        // One of the two is sent to the frozen one.
        let (mut one, mut two) = (proxy.client(), proxy.client());
        for client in [&mut one, &mut two] {
            client.send(request);
        }
        assert_eq!([one.response().text(), two.response().text()], ["good", "good"], "{request}");
        proxy.until_state("b1", "down");
        cold.frozen.store(false, SeqCst);
    }
    proxy.until_state("b1", "up");
}

/// Ejects for silence alone, and for long; one further try in ten seconds.
const SILENCE: &str = "outlier = { consecutive_failures = \"off\", success_rate = \"off\", eject_max = \"1h\", silence = { hold = \"1h\" } }";
const POOR: &str = "retry = { attempts = 3, budget = \"0.01%\", floor = \"0.1/s\" }\ntimeout = { first_byte = \"off\" }";

#[test]
fn slow_pages_beside_a_few_quick_ones_are_answered_where_they_are() {
    let (held, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let backend = || {
        let (held, asked) = (held.clone(), asked.clone());
        Backend::run(move |peer| {
            while let Some(head) = peer.request() {
                if head.contains("/slow") {
                    asked.fetch_add(1, SeqCst);
                    while held.load(SeqCst) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
                peer.answer("done");
            }
        })
    };
    let (one, two) = (backend(), backend());
    let proxy = Proxy::http(&[one.addr, two.addr], &format!("{SILENCE}\n{POOR}"));
    let mut quick = proxy.client();
    (0..100).for_each(|_| drop(quick.ask("GET", "/", "")));
    let mut slow: Vec<Client> = (0..12).map(|_| proxy.client()).collect();
    slow.iter_mut().for_each(|client| client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    until("all of them wait", || asked.load(SeqCst) >= 12);
    // Longer than is usual, and mostly without a word.
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(quick.ask("GET", "/", "").status, 200);
    }
    held.store(false, SeqCst);
    let statuses: Vec<u16> = slow.iter_mut().map(|client| client.response().status).collect();
    assert_eq!(statuses, [200; 12]);
    assert_eq!((asked.load(SeqCst), ejections(&proxy)[2]), (12, 0), "each was asked once");
}

#[test]
fn what_the_budget_has_no_try_for_waits_on_at_a_silent_backend() {
    let (cold, good, better) = (Freezer::new("cold"), Freezer::new("good"), Freezer::new("better"));
    let addrs = [cold.backend.addr, good.backend.addr, better.backend.addr];
    let proxy = Proxy::http(&addrs, &format!("{SILENCE}\n{POOR}"));
    let mut client = proxy.client();
    (0..100).for_each(|_| drop(client.ask("GET", "/", "")));
    cold.frozen.store(true, SeqCst);
    let before = cold.read.load(SeqCst);
    let mut waiting: Vec<Client> = (0..24).map(|_| proxy.client()).collect();
    waiting.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    until("some wait", || cold.read.load(SeqCst) >= before + 8);
    let over = AtomicBool::new(false);
    let addr = proxy.addr();
    let texts: Vec<String> = std::thread::scope(|scope| {
        scope.spawn(|| {
            // By POST: what it meets there waits, too.
            let mut client = Client::connect(addr);
            while !over.load(SeqCst) {
                client.ask("POST", "/", "Content-Length: 0\r\n");
            }
        });
        scope.spawn(|| {
            let mut client = Client::connect(addr);
            while !over.load(SeqCst) {
                client.ask("POST", "/", "Content-Length: 0\r\n");
            }
        });
        proxy.until_state("b1", "ejected");
        cold.frozen.store(false, SeqCst);
        let texts = waiting.iter_mut().map(|client| {
            let answer = client.response();
            assert_eq!(answer.status, 200);
            answer.text()
        });
        let texts = texts.collect();
        over.store(true, SeqCst);
        texts
    });
    let stayed = texts.iter().filter(|text| *text == "cold").count();
    assert!((6..=8).contains(&stayed), "one was moved, or two: {stayed} stayed");
}

#[test]
fn one_client_alone_pays_once_for_a_frozen_backend() {
    let (cold, good, better) = (Freezer::new("cold"), Freezer::new("good"), Freezer::new("better"));
    let addrs = [cold.backend.addr, good.backend.addr, better.backend.addr];
    for (method, limit) in [("GET", "off"), ("POST", "1500ms")] {
        let more = format!("{SILENCE}\ntimeout = {{ first_byte = \"{limit}\" }}");
        let proxy = Proxy::http(&addrs, &more);
        let mut client = proxy.client();
        let mut ask = || client.ask(method, "/", "Content-Length: 0\r\n").status;
        (0..100).for_each(|_| assert_eq!(ask(), 200));
        cold.frozen.store(true, SeqCst);
        let statuses: Vec<u16> = (0..30).map(|_| ask()).collect();
        let lost = statuses.iter().filter(|status| **status != 200).count();
        // What may be sent again is; a POST waits to its end, once.
        assert_eq!(lost, usize::from(method == "POST"), "{method}: {statuses:?}");
        assert_eq!((reason(&proxy, 0), ejections(&proxy)[2]), ("silence", 1), "{method}");
        cold.frozen.store(false, SeqCst);
    }
}

#[test]
fn a_page_that_takes_long_everywhere_is_held_against_nobody() {
    let backend = || {
        Backend::run(|peer| {
            while let Some(head) = peer.request() {
                if head.contains("/slow") {
                    std::thread::sleep(Duration::from_millis(2500));
                }
                peer.answer("done");
            }
        })
    };
    let (one, two) = (backend(), backend());
    let proxy = Proxy::http(&[one.addr, two.addr], SILENCE);
    let mut client = proxy.client();
    (0..100).for_each(|_| drop(client.ask("GET", "/", "")));
    for _ in 0..3 {
        assert_eq!(client.ask("GET", "/slow", "").status, 200);
    }
    assert_eq!(ejections(&proxy), [0, 0, 0]);
    let plan = proxy.running().state().plan.load_full().unwrap();
    let retries = plan.pools["app"].retries_reset.get();
    assert!(retries <= 1, "both know now that such waits are usual: {retries} were moved");
}

#[test]
fn hedging_hides_no_frozen_backend() {
    let (cold, good, better) = (Freezer::new("cold"), Freezer::new("good"), Freezer::new("better"));
    let addrs = [cold.backend.addr, good.backend.addr, better.backend.addr];
    let route = "[[route]]\npath = \"/\"\npool = \"app\"\n\
         hedge = { after = \"30ms\", budget = \"100%\" }";
    let proxy = Proxy::http(&addrs, &format!("{SILENCE}\n{route}"));
    let mut client = proxy.client();
    (0..100).for_each(|_| drop(client.ask("GET", "/", "")));
    cold.frozen.store(true, SeqCst);
    until("it is found silent", || {
        assert_eq!(client.ask("GET", "/", "").status, 200);
        ejections(&proxy)[2] > 0
    });
    cold.frozen.store(false, SeqCst);
    assert_eq!((reason(&proxy, 0), proxy.state("b1").as_str()), ("silence", "ejected"));
    assert_eq!([proxy.state("b2"), proxy.state("b3")], ["up", "up"]);
}

//! A reload changes what is said otherwise and touches nothing else.
use crate::support::{Backend, Client, Proxy, nobody, until};
use crate::support_web as web;
use evenkeel::server::ReloadError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A listener on a port that stays, in front of these words.
fn fixed(port: u16, rest: &str) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\npool = \"app\"\n{rest}"
    )
}

#[test]
fn weights_and_backends_change_in_the_running_process() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let proxy = Proxy::start(&web(&[one.addr], ""));
    let mut client = proxy.client();
    client.send(GET);
    assert_eq!(client.response().text(), "one");
    let report = proxy.reload(&web(&[one.addr, two.addr], "")).unwrap();
    assert_eq!((report.generation, report.added), (2, vec!["backend app/b2".to_string()]));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        // The same client connection sees the new plan at its next request.
        client.send(GET);
        seen.insert(client.response().text());
    }
    assert_eq!(seen.len(), 2);
    proxy.reload(&web(&[two.addr], "").replace("b1", "b2")).unwrap();
    for _ in 0..4 {
        client.send(GET);
        assert_eq!(client.response().text(), "two");
    }
    until("the removed one is forgotten", || proxy.state("b1") == "gone");
}

#[test]
fn an_equal_file_changes_nothing() {
    let one = Backend::named("one");
    let proxy = Proxy::start(&web(&[one.addr], ""));
    // Moved in its file, it is still the same.
    let report = proxy.reload(&format!("# a comment\n\n{}", web(&[one.addr], ""))).unwrap();
    assert_eq!(report.generation, 1);
}

#[test]
fn kept_connections_are_not_used_any_more_once_keep_alive_is_off() {
    let one = Backend::named("one");
    let proxy = Proxy::http(&[one.addr], "[server]\nworkers = 1");
    let ask = |times: usize| (0..times).for_each(|_| assert_eq!(proxy.get("/").text(), "one"));
    ask(3);
    assert_eq!(one.connections(), 1);
    let off = web(&[one.addr], "keep_alive = \"off\"\n[server]\nworkers = 1");
    proxy.reload(&off).unwrap();
    ask(3);
    assert_eq!(one.connections(), 4);
}

#[test]
fn what_moves_most_keys_is_said() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let words = |count: usize| {
        let backends: Vec<_> =
            (0..count).map(|n| format!("{{ name = \"b{n}\", addr = \"127.0.0.1:1\" }}")).collect();
        format!(
            "[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n[pool.app]\n\
             balance = {{ policy = \"consistent_hash\", key = \"path\" }}\nbackends = [{}]\n",
            backends.join(", ")
        )
    };
    let proxy = Proxy::start(&words(655));
    let log =
        tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(file.reopen().unwrap()));
    let report =
        tracing::subscriber::with_default(log.finish(), || proxy.reload(&words(656)).unwrap());
    let note = "pool.app: its maglev table goes from 65537 to 1000003 slots; most keys move";
    assert_eq!(report.notes, [note]);
    let said = std::fs::read_to_string(file.path()).unwrap();
    assert!(said.lines().any(|line| line.contains("WARN") && line.ends_with(note)), "{said}");
    assert_eq!(proxy.reload(&words(657)).unwrap().notes, [""; 0]);
}

#[test]
fn a_file_with_problems_leaves_the_old_plan() {
    let one = Backend::named("one");
    let proxy = Proxy::start(&web(&[one.addr], ""));
    let refused = proxy.reload(&web(&[one.addr], "balance = \"fastest\""));
    let Err(ReloadError::Problems(problems)) = refused else { panic!("{refused:?}") };
    assert!(problems[0].to_string().contains("no policy named \"fastest\""), "{problems:?}");
    assert_eq!(proxy.get("/").text(), "one");
    assert_eq!(proxy.running().state().plan.load_full().unwrap().generation, 1);
    assert!(!proxy.running().state().last.lock().as_ref().unwrap().problems.is_empty());
}

#[test]
fn an_address_in_use_leaves_the_old_plan() {
    let one = Backend::named("one");
    let proxy = Proxy::start(&web(&[one.addr], ""));
    let other = Proxy::start(&web(&[one.addr], ""));
    let taken = other.addr().port();
    let words = format!(
        "{}\n[listener.more]\nbind = [\"127.0.0.1:0\", \"127.0.0.1:{taken}\"]\nprotocol = \"http\"\npool = \"app\"\n",
        web(&[one.addr], "")
    );
    let refused = proxy.reload(&words);
    assert!(matches!(refused, Err(ReloadError::Bind(..))), "{refused:?}");
    assert_eq!(proxy.get("/").text(), "one");
    assert!(proxy.running().addresses("more").is_empty());
}

#[test]
fn an_address_may_be_written_in_other_words() {
    let one = Backend::named("one");
    let port = nobody().port();
    let at = |binds: &str| web(&[one.addr], "").replace("\"127.0.0.1:0\"", binds);
    let (name, number) = (format!("\"localhost:{port}\""), format!("\"127.0.0.1:{port}\""));
    let proxy = Proxy::start(&at(&number));
    let mut kept = proxy.client();
    for binds in [&name, &number, &format!("\"0.0.0.0:{port}\""), &name] {
        assert_eq!(kept.ask("GET", "/", "").text(), "one");
        proxy.reload(&at(binds)).unwrap();
        let mut client = Client::connect(([127, 0, 0, 1], port).into());
        assert_eq!(client.ask("GET", "/", "").text(), "one", "{binds}");
    }
    let twice = proxy.reload(&at(&format!("[{name}, {number}]")));
    assert!(matches!(twice, Err(ReloadError::Bind(..))), "the first stays: {twice:?}");
    assert_eq!(kept.ask("GET", "/", "").text(), "one");
}

#[test]
fn open_connections_are_held_to_the_limits_of_the_last_file() {
    let one = Backend::named("one");
    let proxy = Proxy::start(&web(&[one.addr], ""));
    let strict = "[defaults]\nlimits = { target = \"100B\", fields = 5, head = \"1KiB\" }\n";
    let strict = format!("{strict}{}", web(&[one.addr], ""));
    let (long, many) = (format!("/{}", "x".repeat(200)), "A: b\r\n".repeat(6));
    let mut clients = [proxy.client(), proxy.client(), proxy.client()];
    for client in &mut clients {
        assert_eq!(client.ask("GET", &long, &many).status, 200);
    }
    proxy.reload(&strict).unwrap();
    let large = format!("A: {}\r\n", "b".repeat(2000));
    let asked = [(long.as_str(), ""), ("/", many.as_str()), ("/", large.as_str())];
    for (client, (target, fields)) in clients.iter_mut().zip(asked) {
        let refused = client.ask("GET", target, fields).status;
        assert_eq!(refused, if target == "/" { 431 } else { 414 });
    }
    let mut client = proxy.client();
    assert_eq!(client.ask("GET", "/", "").status, 200);
    proxy.reload(&web(&[one.addr], "")).unwrap();
    assert_eq!(client.ask("GET", &long, &many).status, 200, "they are raised, too");
}

#[test]
fn listeners_come_and_go_while_their_connections_finish() {
    let go = Arc::new(AtomicBool::new(false));
    let wait = go.clone();
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            until("it may answer", || wait.load(SeqCst));
            peer.answer("late");
        }
    });
    let pool = format!("[pool.app]\nbackends = [\"{}\"]\n", backend.addr);
    let (first, second) = (nobody().port(), nobody().port());
    let listener = |name: &str, port: u16| {
        format!(
            "[listener.{name}]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\npool = \"app\"\n"
        )
    };
    let pool = format!("[server]\nworkers = 1\n{pool}");
    let proxy = Proxy::start(&format!("{pool}{}", listener("old", first)));
    let mut idle = Client::connect(proxy.addr_of("old"));
    let mut client = Client::connect(proxy.addr_of("old"));
    client.send(GET);
    until("the request is under way", || backend.connections() == 1);
    let report = proxy.reload(&format!("{pool}{}", listener("new", second))).unwrap();
    assert_eq!(
        (report.added, report.removed),
        (vec!["listener new".to_string()], vec!["listener old".to_string()])
    );
    until("nobody listens any more", || {
        std::net::TcpStream::connect(("127.0.0.1", first)).is_err()
    });
    assert!(idle.is_closed(), "the drain has begun");
    go.store(true, SeqCst);
    let response = client.response();
    assert_eq!((response.text().as_str(), response.field("Connection")), ("late", Some("close")));
    let mut new = Client::connect(proxy.addr_of("new"));
    new.send(GET);
    assert_eq!(new.response().text(), "late");
}

#[test]
fn a_tunnel_and_a_tcp_stream_live_through_a_hundred_reloads() {
    let backend = Backend::run(|peer| {
        if peer.request().is_some_and(|head| head.contains("websocket")) {
            peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        }
        loop {
            let Some(byte) = peer.byte() else { return };
            peer.send([byte]);
        }
    });
    let (web_port, raw_port) = (nobody().port(), nobody().port());
    let words = |weight: u32| {
        fixed(
            web_port,
            &format!(
                "[listener.raw]\nbind = \"127.0.0.1:{raw_port}\"\nprotocol = \"tcp\"\npool = \"raw\"\n\
                 [pool.app]\nbackends = [{{ addr = \"{0}\", weight = {weight} }}]\n\
                 [pool.raw]\nbackends = [{{ addr = \"{0}\", weight = {weight} }}]\n",
                backend.addr
            ),
        )
    };
    let proxy = Proxy::start(&words(1));
    let mut socket = Client::connect(proxy.addr_of("web"));
    socket.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n");
    assert_eq!(socket.response().status, 101);
    let mut raw = Client::connect(proxy.addr_of("raw"));
    raw.send("GET / HTTP/1.1\r\n\r\n");
    for n in 0..100 {
        proxy.reload(&words(n % 7 + 1)).unwrap();
        socket.send("x");
        raw.send("y");
        assert_eq!((socket.bytes(1), raw.bytes(1)), (b"x".to_vec(), b"y".to_vec()), "reload {n}");
    }
    assert_eq!(backend.connections(), 2);
}

#[test]
fn requests_in_flight_never_fail_while_weights_change() {
    let backends = [Backend::named("one"), Backend::named("two"), Backend::named("three")];
    let addrs: Vec<_> = backends.iter().map(|b| b.addr).collect();
    let port = nobody().port();
    let words = |weights: [u32; 3]| {
        let list: Vec<String> = addrs
            .iter()
            .zip(weights)
            .map(|(a, w)| format!("{{ addr = \"{a}\", weight = {w} }}"))
            .collect();
        fixed(port, &format!("[pool.app]\nbackends = [{}]\n", list.join(", ")))
    };
    let proxy = Proxy::start(&words([1, 1, 1]));
    let stop = Arc::new(AtomicBool::new(false));
    let addr = proxy.addr();
    let load: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(addr);
                let mut count = 0;
                while !stop.load(SeqCst) {
                    client.send(GET);
                    assert_eq!(client.response().status, 200);
                    count += 1;
                }
                count
            })
        })
        .collect();
    for n in 0..60 {
        proxy.reload(&words([n % 3, 1 + n % 5, 2])).unwrap();
    }
    stop.store(true, SeqCst);
    let served: usize = load.into_iter().map(|l| l.join().unwrap()).sum();
    assert!(served > 0);
}

#[test]
fn stop_lets_what_is_in_flight_finish() {
    let go = Arc::new(AtomicBool::new(false));
    let wait = go.clone();
    let backend = Backend::run(move |peer| {
        peer.request();
        until("it may answer", || wait.load(SeqCst));
        peer.answer("finished");
    });
    let proxy = Proxy::start(&web(&[backend.addr], ""));
    let addr = proxy.addr();
    let mut idle = proxy.client();
    let mut client = proxy.client();
    client.send(GET);
    until("the request is under way", || backend.connections() == 1);
    let stopper = std::thread::spawn(move || proxy.stop());
    until("nothing more is accepted", || std::net::TcpStream::connect(addr).is_err());
    assert!(idle.is_closed(), "an idle connection leaves at once");
    go.store(true, SeqCst);
    assert_eq!(client.response().text(), "finished");
    stopper.join().unwrap();
}

#[test]
fn a_kept_connection_of_a_removed_listener_loses_no_request() {
    let backend = Backend::named("one");
    let pool = format!("[pool.app]\nbackends = [\"{}\"]\n", backend.addr);
    let port = nobody().port();
    let listener = |name: &str| {
        format!(
            "[listener.{name}]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\npool = \"app\"\n"
        )
    };
    let proxy = Proxy::start(&format!("{pool}{}", listener("n0")));
    let addr = proxy.addr_of("n0");
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let done = done.clone();
            std::thread::spawn(move || {
                let (mut client, mut closed) = (Client::connect(addr), 0);
                while !done.load(SeqCst) {
                    let response = client.ask("GET", "/", "");
                    assert_eq!(response.status, 200);
                    // Told that it was the last: the next one comes on another connection.
                    if response.field("Connection") == Some("close") {
                        client = Client::connect(addr);
                        closed += 1;
                    }
                }
                closed
            })
        })
        .collect();
    for round in 1..=5 {
        proxy.reload(&format!("{pool}{}", listener(&format!("n{round}")))).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    done.store(true, SeqCst);
    let closed: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(closed > 0, "connections did move");
}

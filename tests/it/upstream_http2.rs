//! Backends that speak HTTP/2, each by a library or a server of others: Python's h2 for what goes
//! wrong, nghttpd and nginx for what goes right.
use crate::support::{Client, Nginx, Proxy, Response, Server, nobody, until};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::process::Command;

/// One worker, so that all share its connections.
fn two(addr: SocketAddr, more: &str) -> Proxy {
    Proxy::http(&[addr], &format!("http = \"2\"\n{more}\n[server]\nworkers = 1"))
}

fn ask(proxy: &Proxy, method: &str, path: &str, fields: &str, body: &str) -> Response {
    let mut client = proxy.client();
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{fields}\r\n{body}"
    ));
    client.response_to(method)
}

/// A number of what the scripted backend says of itself.
fn state(proxy: &Proxy, word: &str) -> usize {
    let text = proxy.get("/state").text();
    let found = text.split(' ').find_map(|pair| pair.strip_prefix(word)?.strip_prefix('='));
    found.unwrap_or("0").parse().unwrap()
}

/// Open and idle connections to backend b1.
fn open(proxy: &Proxy) -> (i64, i64) {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let cells = &plan.pools["app"].members()[0].backend.cells;
    (cells.open.get(), cells.idle.get())
}

/// How often this limit of pool `app` was reached.
fn hits(proxy: &Proxy, limit: &str) -> u64 {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let all = plan.pools["app"].limit_hits.all();
    all.iter().find(|(word, _)| *word == limit).map_or(0, |(_, n)| *n)
}

#[test]
fn a_request_goes_as_http2_says_it() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "");
    let fields = "X-Mixed-Case: Ab\r\nTE: trailers, deflate\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
        Cookie: a=b\r\nKeep-Alive: timeout=5\r\nContent-Length: 3\r\n";
    let mut client = proxy.client();
    client.send(format!("POST /a?b=<c>`d HTTP/1.1\r\nHost: a.test\r\n{fields}\r\nxyz"));
    let answer = client.response();
    let text = answer.text();
    assert_eq!(answer.status, 200, "{answer:?}");
    for line in [
        ":method: POST",
        ":scheme: http",
        ":authority: a.test",
        ":path: /a?b=%3Cc%3E%60d",
        "x-mixed-case: Ab",
        "te: trailers",
        "cookie: a=b",
        "content-length: 3",
        "body: 3",
        "x-forwarded-for: 127.0.0.1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    for gone in ["host:", "connection:", "x-hop:", "keep-alive:", "transfer-encoding:"] {
        assert!(!text.lines().any(|l| l.starts_with(gone)), "{gone} {text}");
    }
    assert_eq!(answer.field("X-Length"), Some("3"));
    let plain = ask(&proxy, "GET", "/", "", "").text();
    assert!(!plain.contains("te: trailers"), "{plain}");
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    let server = Server::h2(&["window=2000"]);
    let proxy = two(server.addr, "");
    let body = "y".repeat(200_000);
    let sized = format!("Content-Length: {}\r\n", body.len());
    assert_eq!(ask(&proxy, "POST", "/", &sized, &body).field("X-Length"), Some("200000"));
    let chunks = format!(
        "{:x}\r\n{body}\r\n0\r\nX-Sum: 5\r\nContent-Length: 1\r\n\
        X-Client-Cert-Verified: yes\r\nx_forwarded_for: 6.6.6.6\r\n\r\n",
        body.len()
    );
    let answer = ask(&proxy, "PUT", "/", "Transfer-Encoding: chunked\r\n", &chunks);
    let text = answer.text();
    assert!(text.contains("body: 200000") && text.contains("trailer x-sum: 5"), "{text}");
    assert_eq!(text.matches("trailer ").count(), 1, "{text}");
    let answer = proxy.get("/trailers");
    assert_eq!((answer.text().as_str(), answer.complete), ("body", true));
    assert_eq!(answer.trailers, ["grpc-status: 0", "x-sum: 7"]);
    let answer = proxy.get("/bulk/3000000");
    assert_eq!((answer.body.len(), answer.complete), (3_000_000, true));
}

#[test]
fn interim_answers_are_relayed_and_bounded() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "");
    let mut client = proxy.client();
    let hint = client.ask("GET", "/hints", "");
    assert_eq!((hint.status, hint.field("link")), (103, Some("</a.css>")));
    assert_eq!(client.response().text(), "body");
    let mut client = proxy.client();
    client.send("GET /many-hints HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let statuses: Vec<u16> = std::iter::from_fn(|| {
        let status = client.response().status;
        Some(status)
    })
    .take(17)
    .collect();
    assert_eq!(statuses[..16], [103; 16]);
    assert_eq!(statuses[16], 502);
    assert_eq!(hits(&proxy, "interim"), 1);
}

#[test]
fn requests_share_a_connection() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "");
    let mut held: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut held {
        client.send("GET /hold HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    until("all are there", || state(&proxy, "streams") >= 20 && state(&proxy, "most") >= 20);
    assert_eq!(open(&proxy), (1, 0));
    assert_eq!(proxy.get("/release").text(), "released");
    for client in &mut held {
        assert_eq!(client.response().text(), "held");
    }
    assert_eq!(state(&proxy, "conns"), 2, "one, and the look whether it listens");
    until("it is idle", || open(&proxy) == (1, 1));
}

#[test]
fn a_further_connection_is_made_when_all_are_full() {
    for (server, more, most) in
        [(Server::h2(&["streams=1"]), "", 1), (Server::h2(&[]), "http2 = { streams = 4 }", 4)]
    {
        let proxy = two(server.addr, more);
        let mut held: Vec<Client> = (0..8).map(|_| proxy.client()).collect();
        for client in &mut held {
            client.send("GET /hold HTTP/1.1\r\nHost: a.test\r\n\r\n");
        }
        until("all are there", || state(&proxy, "streams") >= 8);
        until("as many as it takes", || open(&proxy).0 >= (8 / most) as i64);
        assert_eq!(proxy.get("/release").text(), "released");
        for client in &mut held {
            assert_eq!(client.response().text(), "held");
        }
        assert_eq!(state(&proxy, "most"), most, "never more at once than it said");
        assert!(hits(&proxy, "streams") >= 1, "it is counted");
    }
}

#[test]
fn what_was_never_looked_at_is_sent_again() {
    for path in ["/refuse-once", "/away-once"] {
        for (method, fields, body) in
            [("GET", "", ""), ("POST", "", ""), ("POST", "Content-Length: 4\r\n", "body")]
        {
            let server = Server::h2(&[]);
            let proxy = two(server.addr, "");
            assert_eq!(proxy.get("/").status, 200);
            let answer = ask(&proxy, method, path, fields, body);
            assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
            assert!(answer.text().contains(&format!("body: {}", body.len())), "{answer:?}");
            assert_eq!(state(&proxy, "refused"), 2);
        }
    }
}

/// As much of a body as may wait is kept until the answer begins.
#[test]
fn what_was_never_looked_at_is_sent_again_with_its_body() {
    for path in ["/refuse-late", "/away-late"] {
        for (length, chunked) in
            [(20_000, false), (60_000, false), (20_000, true), (100_000, false)]
        {
            let server = Server::h2(&["window=1000000"]);
            let proxy = two(server.addr, "");
            let body = "b".repeat(length);
            let answer = if chunked {
                let chunks = format!("{length:x}\r\n{body}\r\n0\r\nX-Sum: 5\r\n\r\n");
                ask(&proxy, "POST", path, "Transfer-Encoding: chunked\r\n", &chunks)
            } else {
                ask(&proxy, "POST", path, &format!("Content-Length: {length}\r\n"), &body)
            };
            if length > 64 << 10 {
                assert_eq!(answer.status, 502, "{path} {length}: {answer:?}");
                continue;
            }
            let text = answer.text();
            assert_eq!(answer.status, 200, "{path} {length}: {text}");
            assert!(text.contains(&format!("body: {length}")), "{path} {length}: {text}");
            assert_eq!(text.contains("trailer x-sum: 5"), chunked, "{path}: {text}");
            assert_eq!(state(&proxy, "refused"), 2);
        }
    }
}

/// Tries without an answer at backend b1, and tries that were made again.
fn in_vain(proxy: &Proxy) -> (u64, u64) {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let pool = &plan.pools["app"];
    (pool.members()[0].backend.cells.by_class[0].get(), pool.retries_connect.get())
}

/// A refusal is a try: others are asked first, and nobody more often than `retry` says.
#[test]
fn what_is_refused_goes_elsewhere_and_not_for_ever() {
    let (refusing, good) = (Server::h2(&["refuse"]), Server::h2(&[]));
    let watcher = two(refusing.addr, "");
    for (retry, tries) in [("attempts = 1", 1), ("attempts = 3", 3), ("on = [\"reset\"]", 1)] {
        let proxy = two(refusing.addr, &format!("retry = {{ {retry} }}"));
        let before = state(&watcher, "refused");
        assert_eq!(ask(&proxy, "POST", "/refuse", "", "").status, 502, "{retry}");
        assert_eq!(state(&watcher, "refused") - before, tries, "{retry}");
        assert_eq!(in_vain(&proxy), (tries as u64, tries as u64 - 1), "{retry}");
    }
    let before = state(&watcher, "refused");
    let more = "http = \"2\"\n[server]\nworkers = 1";
    let proxy = Proxy::http(&[refusing.addr, good.addr], more);
    for _ in 0..4 {
        assert_eq!(ask(&proxy, "POST", "/refuse", "", "").status, 200);
    }
    let refused = state(&watcher, "refused") - before;
    assert!((1..=4).contains(&refused), "{refused}: once for each at the most");
}

#[test]
fn a_try_whose_client_left_is_counted() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "");
    let mut client = proxy.client();
    client.send("GET /silent HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let watcher = two(server.addr, "");
    until("it is there", || state(&watcher, "streams") > 1 && open(&proxy) == (1, 0));
    assert_eq!(in_vain(&proxy).0, 0);
    drop(client);
    until("it is counted", || in_vain(&proxy).0 == 1);
}

#[test]
fn what_may_have_been_looked_at_is_sent_again_only_if_that_does_no_harm() {
    for (method, status) in [("GET", 200), ("POST", 502)] {
        // A connection that was closed while nobody used it.
        let server = Server::h2(&[]);
        let proxy = two(server.addr, "");
        assert_eq!(proxy.get("/").status, 200);
        assert_eq!(ask(&proxy, method, "/drop-once", "", "").status, status, "{method}");
        // A stream that was reset: the other backend is asked.
        let other = Server::h2(&[]);
        assert_eq!(two(other.addr, "").get("/reset-once").status, 502);
        let server = Server::h2(&[]);
        let proxy = Proxy::http(&[server.addr, other.addr], "http = \"2\"");
        let mut all: Vec<u16> =
            (0..2).map(|_| ask(&proxy, method, "/reset-once", "", "").status).collect();
        all.sort_unstable();
        assert_eq!(all, [200, status], "{method}");
    }
}

/// What was interim is with the client; nothing else is.
#[test]
fn a_stream_that_is_reset_behind_an_interim_answer_goes_to_another_backend() {
    let (server, other) = (Server::h2(&[]), Server::h2(&[]));
    assert_eq!(two(other.addr, "").get("/reset-once").status, 502);
    let proxy = Proxy::http(&[server.addr, other.addr], "http = \"2\"");
    for _ in 0..2 {
        let mut client = proxy.client();
        client.send("GET /hints-once HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response().status, 103);
        let mut response = client.response();
        while response.status == 103 {
            response = client.response();
        }
        assert_eq!((response.status, response.text().as_str()), (200, "body"));
    }
}

#[test]
fn a_cut_answer_never_looks_whole() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "");
    for path in ["/cut", "/cut-no-error", "/cut-connection", "/short", "/long"] {
        let answer = proxy.get(path);
        let cut = !answer.complete || answer.status == 502;
        assert!(cut, "{path}: {answer:?}");
    }
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn what_breaks_the_rules_is_refused() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "");
    for path in [
        "/connection",
        "/encoding",
        "/upper",
        "/value",
        "/space",
        "/status",
        "/no-status",
        "/switch",
        "/fields",
        "/huge",
        "/garbage",
        "/continuations",
    ] {
        let answer = proxy.get(path);
        assert_eq!(answer.status, 502, "{path}: {answer:?}");
    }
    assert!(hits(&proxy, "fields") >= 1, "it is counted");
    let answer = proxy.get("/head-with-body");
    assert!(answer.status == 502 || answer.status == 204, "{answer:?}");
    assert_eq!(proxy.get("/").status, 200);
}

/// Another's answer on the same connection comes, whatever the others did.
#[track_caller]
fn beside_another(proxy: &Proxy, others: impl FnOnce()) {
    let mut held = proxy.client();
    held.send("GET /hold HTTP/1.1\r\nHost: a.test\r\n\r\n");
    until("it is held", || state(proxy, "streams") > 1 && open(proxy) == (1, 0));
    others();
    assert_eq!(state(proxy, "conns"), 2, "one, and the look whether it listens");
    assert_eq!(proxy.get("/release").text(), "released");
    assert_eq!(held.response().text(), "held");
}

#[test]
fn answers_to_what_was_taken_back_harm_nobody() {
    const ALL: usize = 700;
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "");
    beside_another(&proxy, || {
        for all in (50..=ALL).step_by(50) {
            let mut clients: Vec<Client> = (0..50).map(|_| proxy.client()).collect();
            for client in &mut clients {
                client.send("GET /silent HTTP/1.1\r\nHost: a.test\r\n\r\n");
            }
            until("all are there", || state(&proxy, "silent") == all);
            drop(clients);
            until("they were taken back", || state(&proxy, "resets") == all);
        }
        assert_eq!(proxy.get("/late").text(), ALL.to_string());
    });
}

#[test]
fn answers_that_cannot_be_used_harm_nobody_else() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "");
    beside_another(&proxy, || {
        let mut client = proxy.client();
        for n in 0..1200 {
            let path = ["/fields", "/upper", "/enormous"][if n % 100 == 0 { 2 } else { n % 2 }];
            let answer = client.ask("GET", path, "");
            assert_eq!(answer.status, 502, "{n} {path}: {answer:?}");
        }
    });
    assert!(hits(&proxy, "fields") >= 500, "it is counted");
}

#[test]
fn an_early_answer_is_passed_on() {
    let server = Server::h2(&["window=1000"]);
    let proxy = two(server.addr, "");
    let mut client = proxy.client();
    client.send("POST /early HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n");
    client.send("x".repeat(1000));
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[test]
fn a_client_that_does_not_read_costs_a_window() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "http2 = { window = \"128KiB\" }");
    let mut client = proxy.client();
    client.send("GET /bulk/100000000 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut before = 0;
    until("it stands still", || {
        let now = state(&proxy, "sent");
        std::mem::replace(&mut before, now) == now && now > 0
    });
    // What the kernel's buffers hold is not ours.
    assert!(before < 20_000_000, "{before}");
    drop(client);
    until("the stream was reset", || state(&proxy, "resets") == 1);
    assert_eq!(state(&proxy, "conns"), 2);
}

#[test]
fn clients_that_do_not_read_hold_up_nobody_else() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "");
    let mut held: Vec<Client> = (0..15).map(|_| proxy.client()).collect();
    for client in &mut held {
        socket2::SockRef::from(&*client.stream()).set_recv_buffer_size(4096).unwrap();
        client.send("GET /bulk/50000000 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    let mut before = 0;
    until("all stand still", || {
        let now = state(&proxy, "sent");
        std::mem::replace(&mut before, now) == now && state(&proxy, "streams") >= 15 && now > 0
    });
    assert_eq!(proxy.get("/bulk/1000000").body.len(), 1_000_000);
    assert_eq!(open(&proxy).0, 1, "all on one connection");
}

#[test]
fn floods_keep_nobody_from_being_served() {
    for path in ["/settings", "/pings", "/empty-data"] {
        let (server, good) = (Server::h2(&[]), Server::h2(&[]));
        let more = format!(
            "http = \"2\"\n[[route]]\npath = \"/good\"\npool = \"good\"\n[pool.good]\nhttp = \"2\"\nbackends = [\"{}\"]",
            good.addr
        );
        let proxy = Proxy::http(
            &[server.addr],
            &format!("timeout = {{ first_byte = \"2s\", idle = \"2s\" }}\n{more}"),
        );
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"));
        for _ in 0..20 {
            assert_eq!(proxy.get("/good").status, 200, "{path}");
        }
        let rest = client.rest();
        let text = String::from_utf8_lossy(&rest);
        assert!(text.starts_with("HTTP/1.1 50") || path == "/empty-data", "{path}: {text}");
        if path == "/empty-data" {
            until("it is counted", || hits(&proxy, "data_frames") == 1);
        }
    }
}

#[test]
fn a_dead_connection_is_noticed() {
    let server = Server::h2(&[]);
    let more = "http2 = { ping = \"1s\" }\ntimeout = { first_byte = \"60s\" }";
    let (proxy, watcher) = (two(server.addr, more), two(server.addr, ""));
    let mut client = proxy.client();
    client.send("GET /silent HTTP/1.1\r\nHost: a.test\r\n\r\n");
    until("it was asked", || state(&watcher, "pings") == 1);
    // Bytes came since: its next silence is another one.
    assert_eq!(proxy.get("/").status, 200);
    server.signal(Signal::STOP);
    assert_eq!(client.response().status, 502, "long before first_byte");
    until("it is closed", || open(&proxy) == (0, 0));
    assert_eq!(hits(&proxy, "ping"), 1);
    server.signal(Signal::CONT);
}

#[test]
fn one_that_speaks_something_else_is_not_reached() {
    let other = crate::support::Backend::named("http/1.1");
    let proxy = two(other.addr, "retry = { attempts = 1 }");
    let answer = proxy.get("/");
    assert_eq!(answer.status, 502, "{answer:?}");
    proxy.until_state("b1", "down");
}

#[test]
fn one_that_says_nothing_is_not_waited_for() {
    let server = Server::h2(&["mute"]);
    let more = "timeout = { connect = \"200ms\" }\nretry = { attempts = 1 }";
    let proxy = two(server.addr, more);
    assert_eq!(proxy.get("/").status, 504);
}

/// What ran out was the request's own time and not `timeout.connect`: the backend is as good as
/// before, for whoever waits longer.
#[test]
fn a_request_that_has_no_time_to_connect_blames_no_backend() {
    let certs = certificate();
    let file = certs.path().join("cert.pem");
    let tls = format!("tls = {{ ca_file = \"{}\", sni = \"localhost\" }}", file.display());
    for http in
        ["http = \"2\"".into(), format!("http = \"1.1\"\n{tls}"), format!("http = \"2\"\n{tls}")]
    {
        let silent = crate::support::Backend::run(|peer| drop(peer.rest()));
        let more = "timeout = { request = \"200ms\" }\n[defaults]\ntimeout = { connect = \"60s\" }";
        let proxy = Proxy::http(&[silent.addr], &format!("{http}\n{more}\n[server]\nworkers = 1"));
        // The second one waits for what the first one dials, where it is shared.
        let mut clients: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response().status, 504, "{http}");
        }
        let plan = proxy.running().state().plan.load_full().unwrap();
        let backend = &plan.pools["app"].members()[0].backend;
        assert!(backend.is_usable(), "{http}");
        assert_eq!(backend.cells.connect_timeout.get(), 0, "{http}");
    }
}

/// Who dials for others may leave: they get what he dialled.
#[test]
fn a_dial_outlives_the_request_that_began_it() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "timeout = { request = \"200ms\" }");
    server.signal(Signal::STOP);
    assert_eq!(proxy.get("/").status, 504);
    server.signal(Signal::CONT);
    until("it is there for the next one", || open(&proxy) == (1, 1));
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(state(&proxy, "conns"), 2, "one, and the look whether it listens");
}

/// However many ask at the same moment, one connection is dialled for them, or as many as it takes.
#[test]
fn a_crowd_does_not_dial_at_once() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "");
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let addr = proxy.addr();
            std::thread::spawn(move || Client::connect(addr).ask("GET", "/", "").status)
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap() == 200));
    assert_eq!(state(&proxy, "conns"), 2, "one, and the look whether it listens");
}

#[test]
fn a_websocket_needs_http1() {
    let server = Server::h2(&[]);
    let proxy = two(server.addr, "");
    let mut client = proxy.client();
    let answer = client.ask(
        "GET",
        "/ws",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    assert_eq!(answer.status, 501, "{answer:?}");
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn nghttpd_serves_files_takes_uploads_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "z".repeat(500_000)).unwrap();
    let addr = nobody();
    let mut command = Command::new("nghttpd");
    command.args(["--no-tls", "--echo-upload", "--trailer", "x-end: 1", "-m", "3", "-d"]);
    command.arg(folder.path()).arg(addr.port().to_string());
    let server = Server::start(command, addr);
    let proxy = two(server.addr, "");
    let answer = proxy.get("/file");
    assert_eq!((answer.status, answer.body.len(), answer.complete), (200, 500_000, true));
    let body = "u".repeat(300_000);
    let sized = format!("Content-Length: {}\r\n", body.len());
    let answer = ask(&proxy, "POST", "/file", &sized, &body);
    assert_eq!((answer.body.len(), answer.complete), (300_000, true));
    let threads: Vec<_> = (0..12)
        .map(|_| {
            let addr = proxy.addr();
            std::thread::spawn(move || Client::connect(addr).ask("GET", "/file", "").body.len())
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 500_000));
    let head = ask(&proxy, "HEAD", "/file", "", "");
    assert_eq!((head.status, head.field("Content-Length")), (200, Some("500000")));
    assert_eq!(proxy.get("/none").status, 404);
}

/// A crowd does not go on together from each connection that ends to the next one.
#[test]
fn nginx_that_ends_its_connections_under_a_crowd_loses_no_request() {
    for requests in [1, 20, 50] {
        let addr = nobody();
        let more = format!("listen {addr} http2; keepalive_requests {requests};");
        let _nginx = Nginx::start("two", &more);
        let proxy = two(addr, "");
        let url = format!("http://{}/name", proxy.addr());
        let load =
            Command::new("h2load").args(["-n", "3000", "-c", "4", "-m", "50", &url]).output();
        let text = String::from_utf8_lossy(&load.unwrap().stdout).into_owned();
        assert!(text.contains("3000 2xx"), "{requests}: {text}");
        let plan = proxy.running().state().plan.load_full().unwrap();
        let dialled = plan.pools["app"].members()[0].backend.cells.connect_ok.get();
        assert!(dialled as usize <= 2 * 3000 / requests + 4, "{requests}: {dialled} connections");
    }
}

/// nginx ends each connection in order after so many requests: none of them is lost.
#[test]
fn nginx_that_ends_its_connections_loses_no_request() {
    let addr = nobody();
    let more = format!(
        "listen {addr} http2; keepalive_requests 20; location = /post {{ return 200 'got'; }}"
    );
    let _nginx = Nginx::start("two", &more);
    let proxy = two(addr, "");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let addr = proxy.addr();
            std::thread::spawn(move || {
                let mut client = Client::connect(addr);
                for _ in 0..100 {
                    let answer = client.ask("GET", "/name", "");
                    assert_eq!((answer.status, answer.text().as_str()), (200, "two"));
                    client.send(
                        "POST /post HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
                    );
                    let answer = client.response();
                    assert_eq!((answer.status, answer.text().as_str()), (200, "got"));
                    client.send(format!(
                        "POST /post HTTP/1.1\r\nHost: a.test\r\nContent-Length: 20000\r\n\r\n{}",
                        "x".repeat(20_000)
                    ));
                    let answer = client.response();
                    assert_eq!((answer.status, answer.text().as_str()), (200, "got"));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    until("all that are open are idle", || {
        let (open, idle) = open(&proxy);
        open == idle
    });
}

/// A certificate for localhost in a folder: `cert.pem` and `key.pem`.
fn certificate() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    folder
}

#[test]
fn by_tls_alpn_decides() {
    let certs = certificate();
    let [both, old] = [nobody(), nobody()];
    let more = format!(
        "listen {both} ssl http2; listen {old} ssl; ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem; \
         location = /version {{ return 200 $server_protocol; }}",
        certs.path().display()
    );
    let _nginx = Nginx::start("tls", &more);
    let tls = format!(
        "tls = {{ ca_file = \"{}/cert.pem\", sni = \"localhost\" }}",
        certs.path().display()
    );
    for (addr, http, version) in [
        // This nginx speaks HTTP/2 on all ports of a server or on none by what a client offers.
        (both, "1.1", "HTTP/1.1"),
        (both, "auto", "HTTP/2.0"),
        (both, "2", "HTTP/2.0"),
    ] {
        let proxy = Proxy::http(&[addr], &format!("http = \"{http}\"\n{tls}"));
        for _ in 0..3 {
            assert_eq!(proxy.get("/version").text(), version, "{http}");
        }
    }
    let proxy = Proxy::http(&[old], &format!("http = \"auto\"\n{tls}"));
    assert_eq!(proxy.get("/version").text(), "HTTP/1.1");
    let proxy = Proxy::http(&[old], &format!("http = \"2\"\n{tls}\nretry = {{ attempts = 1 }}"));
    assert_eq!(proxy.get("/version").status, 502);
}

#[test]
fn what_nobody_wants_is_closed() {
    let server = Server::h2(&[]);
    let words = |more: &str| {
        let more = format!("http = \"2\"\n{more}\n[server]\nworkers = 1");
        crate::support::web(&[server.addr], &more)
    };
    let proxy = Proxy::start(&words("keep_alive = { idle = \"1s\" }"));
    assert_eq!(proxy.get("/").status, 200);
    until("it was idle for long enough", || open(&proxy) == (0, 0));
    let proxy = Proxy::start(&words(""));
    assert_eq!(proxy.get("/").status, 200);
    until("it is kept", || open(&proxy) == (1, 1));
    proxy.reload(&words("http2 = { streams = 7 }")).unwrap();
    until("another way is another connection", || open(&proxy) == (0, 0));
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn probes_speak_http2_too() {
    let server = Server::h2(&[]);
    let more =
        "health = { http = \"/ok\", interval = \"50ms\", expect = { body = \":path: /ok\" } }";
    let proxy = two(server.addr, more);
    proxy.until_state("b1", "up");
    assert_eq!(proxy.get("/").status, 200);
    let proxy = two(server.addr, "health = { http = \"/reset\", interval = \"50ms\" }");
    proxy.until_state("b1", "down");
    let proxy = two(
        server.addr,
        "health = { http = \"/trailers\", interval = \"50ms\", expect = { body = \"other\" } }",
    );
    proxy.until_state("b1", "down");
}

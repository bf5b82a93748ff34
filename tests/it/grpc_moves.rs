//! Calls of gRPC while something moves: reloads, drains, restarts and ends of backends and of the
//! proxy itself.
use crate::cli::Process;
use crate::grpc::{Talk, serve, serve_at, words};
use crate::support::{Nginx, Proxy, Server, access_lines, access_log, nobody, until, web};
use rustix::process::Signal;
use std::process::{Command, Stdio};

/// Open connections to the first backend.
fn open(proxy: &Proxy) -> i64 {
    let plan = proxy.running().state().plan.load_full().unwrap();
    plan.pools["app"].members()[0].backend.cells.open.get()
}

#[test]
fn a_reload_that_keeps_a_backend_touches_no_call() {
    let all = ["a", "b"].map(|name| serve(name, None, &[]));
    let proxy = Proxy::start(&words(&[&all[0]], ""));
    let (mut talk, mut watcher) = (Talk::new(proxy.addr()), Talk::new(all[0].addr));
    assert_eq!(talk.ask("open 1"), "a hello");
    assert_eq!(talk.ask("begin 2 count 1000 100000"), "0");
    for more in [
        "[[route]]\npath = \"/x\"\npool = \"app\"",
        "balance = \"random\"",
        "timeout = { request = \"5s\" }\nlimits = { body = \"1KiB\" }",
        // Another way to speak to it is for the calls that follow.
        "http2 = { streams = 7 }",
    ] {
        let both = words(&[&all[0], &all[1]], more);
        proxy.reload(&both).unwrap();
        assert_eq!(talk.ask("say 1 x"), "a x", "{more}");
    }
    assert_eq!(talk.ask("calls 10").len(), "5 a, 5 b".len());
    assert_eq!(talk.ask("rest 2"), "999");
    assert_eq!(talk.ask("end 1"), "OK");
    assert_eq!(watcher.state("chats"), 1);
}

#[test]
fn calls_of_a_backend_that_was_removed_may_end() {
    let all = ["a", "b"].map(|name| serve(name, None, &[]));
    let drained = |drain: &str| {
        let text = words(&[&all[0], &all[1]], &format!("drain = \"{drain}\""));
        let proxy = Proxy::start(&text);
        let mut talk = Talk::new(proxy.addr());
        let first = talk.ask("open 1");
        let gone = if first == "a hello" { "b1" } else { "b2" };
        let at = text.find(&format!("{{ name = \"{gone}\"")).unwrap();
        let end = at + text[at..].find('}').unwrap() + 1;
        let less =
            format!("{}{}", &text[..at], &text[end..]).replace("[, ", "[").replace(", ]", "]");
        proxy.reload(&less).unwrap();
        let other = if first == "a hello" { "10 b" } else { "10 a" };
        assert_eq!(talk.ask("calls 10"), other);
        (proxy, talk, first)
    };
    let (proxy, mut talk, first) = drained("5m");
    assert_eq!(talk.ask("say 1 x"), first.replace("hello", "x"));
    assert_eq!(talk.ask("end 1"), "OK");
    until("it is forgotten", || proxy.state("b1") == "gone" || proxy.state("b2") == "gone");
    // Within the time for that, and no longer.
    let (_proxy, mut talk, _) = drained("300ms");
    assert_eq!(talk.ask("hear 1"), "UNAVAILABLE drain_cut");
}

#[test]
fn backends_that_restart_lose_no_call() {
    let mut all = ["a", "b"].map(|name| serve(name, None, &[]));
    let (folder, log) = access_log();
    let more = format!("timeout = {{ first_byte = \"5s\" }}\n{log}");
    let proxy = Proxy::start(&words(&[&all[0], &all[1]], &more));
    let mut talk = Talk::new(proxy.addr());
    let mut chats: Vec<String> = (0..2).map(|n| talk.ask(&format!("open {n}"))).collect();
    chats.sort();
    assert_eq!(chats, ["a hello", "b hello"]);
    talk.ask("load");
    talk.until_loaded(100);
    for (n, name) in ["a", "b"].into_iter().enumerate() {
        // It says GOAWAY, and ends with its last call.
        all[n].signal(Signal::TERM);
        talk.until_loaded(100);
        let (mut ended, mut answers) = (0, Vec::new());
        for chat in 0..2 {
            let answer = talk.ask(&format!("say {chat} x"));
            if answer == format!("{name} x") {
                assert_eq!(talk.ask(&format!("end {chat}")), "OK");
                talk.ask(&format!("open {chat}"));
                ended += 1;
            }
            answers.push(answer);
        }
        assert!(ended > 0 && answers.iter().all(|answer| answer.ends_with(" x")), "{answers:?}");
        all[n].ended();
        talk.until_loaded(100);
        all[n] = serve_at(all[n].addr, name, None, &[]);
        until("it is asked again", || talk.ask("calls 20").contains(name));
    }
    let answers = talk.ask("unload");
    let failed = answers.split(", ").filter(|s| !s.ends_with(" a") && !s.ends_with(" b"));
    // What grpcio has taken in at the moment when it is told to stop it cancels itself, or, seldom, names as the
    // last one in its GOAWAY and never answers: that is nobody's to send again.
    let late = "DEADLINE_EXCEEDED timeout_first_byte";
    let is_own = |s: &str| s.ends_with(" CANCELLED CANCELLED") || s == format!("1 {late}");
    assert!(failed.clone().all(is_own), "{answers}");
    let lines = access_lines(&folder, 500);
    let lost: Vec<_> = lines.iter().filter(|line| !line.contains("\"reason\":\"-\"")).collect();
    let is_late = |line: &&String| line.contains("\"reason\":\"timeout_first_byte\"");
    assert!(lost.len() <= 1 && lost.iter().all(is_late), "the proxy lost calls: {lost:?}");
}

/// A server that ends its connections when they are old; and a proxy that does.
#[test]
fn connections_that_grow_old_lose_no_call() {
    for (options, more) in [(&["age=300"][..], ""), (&[], "keep_alive = { max_age = \"1s\" }")] {
        let server = serve("a", None, options);
        let proxy = Proxy::start(&words(&[&server], more));
        let mut talk = Talk::new(proxy.addr());
        assert_eq!(talk.ask("open 1"), "a hello");
        talk.ask("load");
        let mut seen = 0;
        until("there is another connection", || {
            seen = seen.max(open(&proxy));
            seen > 1
        });
        talk.until_loaded(300);
        assert_eq!(talk.ask("say 1 x"), "a x");
        let answers = talk.ask("unload");
        assert!(answers.ends_with(" a") && !answers.contains(','), "{answers}");
        assert_eq!(talk.ask("end 1"), "OK");
    }
}

fn process(server: &Server, grace: &str) -> Process {
    Process::serving(|port, admin| {
        format!(
            "[server]\nworkers = 1\ngrace = \"{grace}\"\n[admin]\nbind = \"127.0.0.1:{admin}\"\n\
             [listener.web]\nbind = \"127.0.0.1:{port}\"\npool = \"app\"\n\
             [pool.app]\nhttp = \"2\"\nbackends = [\"{}\"]\n",
            server.addr
        )
    })
}

#[test]
fn a_proxy_that_ends_lets_calls_end_and_clients_go_on_elsewhere() {
    let server = serve("a", None, &[]);
    let (mut first, second) = (process(&server, "60s"), process(&server, "60s"));
    let target = format!("ipv4:127.0.0.1:{},127.0.0.1:{}", first.port, second.port);
    let mut talk = Talk::new(target);
    assert_eq!(talk.ask("open 1"), "a hello");
    assert_eq!(talk.ask("begin 2 count 1000 100000"), "0");
    talk.ask("load");
    talk.until_loaded(100);
    let calls = |process: &Process| {
        let name = "evenkeel_requests_total{listener=\"web\",route=\"default\",pool=\"app\",method=\"POST\",code=\"200\"}";
        process.metric(name).unwrap_or(0.0)
    };
    assert_eq!(calls(&second), 0.0);
    first.signal("TERM");
    until("they go on elsewhere", || calls(&second) > 100.0);
    assert_eq!(talk.ask("say 1 x"), "a x");
    assert_eq!(talk.ask("call name"), "a");
    assert_eq!(talk.ask("rest 2"), "999");
    assert_eq!(talk.ask("end 1"), "OK");
    assert_eq!(first.ended(), Some(0));
    let answers = talk.ask("unload");
    assert!(answers.ends_with(" a") && !answers.contains(','), "{answers}");
}

#[test]
fn a_call_that_outlives_the_grace_is_cut() {
    let server = serve("a", None, &[]);
    let mut process = process(&server, "500ms");
    let mut talk = Talk::new(format!("127.0.0.1:{}", process.port));
    assert_eq!(talk.ask("open 1"), "a hello");
    process.signal("TERM");
    let said = talk.ask("hear 1");
    assert!(said.starts_with("UNAVAILABLE "), "{said}");
    assert_eq!(process.ended(), Some(0));
}

/// By HTTP/2 on both sides, while the pool changes in every way there is.
#[test]
fn reloads_under_load_lose_no_request() {
    let (folder, log) = crate::support::access_log();
    let addrs = [nobody(), nobody()];
    let _all = addrs.map(|addr| Nginx::start("n", &format!("listen {addr} http2;")));
    let text = |n: usize| {
        let (addrs, more) = match n % 5 {
            0 => (&addrs[..], ""),
            1 => (&addrs[..1], ""),
            2 => (&addrs[..], "http2 = { streams = 20 }"),
            3 => (&addrs[..], "[[route]]\npath = \"/n\"\npool = \"app\""),
            _ => (&addrs[..], "keep_alive = { max_age = \"1s\" }\nbalance = \"least_connections\""),
        };
        web(addrs, &format!("http = \"2\"\n{more}\n[server]\nworkers = 2\n{log}"))
    };
    let proxy = Proxy::start(&text(0));
    let mut load = Command::new("h2load")
        .args(["-n", "40000", "-c", "4", "-m", "50", &format!("http://{}/name", proxy.addr())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reloads = 0;
    while load.try_wait().unwrap().is_none() {
        reloads += 1;
        proxy.reload(&text(reloads)).unwrap();
    }
    let said = String::from_utf8(load.wait_with_output().unwrap().stdout).unwrap();
    let good =
        "40000 total, 40000 started, 40000 done, 40000 succeeded, 0 failed, 0 errored, 0 timeout";
    if !said.contains(good) || !said.contains("40000 2xx") {
        let lines = crate::support::access_lines(&folder, 40_000);
        let bad: Vec<_> = lines.iter().filter(|line| !line.contains("\"status\":200")).collect();
        panic!("{said}\n{bad:#?}");
    }
    assert!(reloads > 5, "{reloads}");
}

//! The last failed and slow requests are kept, each with where its time went.
use crate::admin::words;
use crate::support::{Api, Backend, Client, Response, h2, nobody, until};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// What the slow backend takes, and what counts as slow.
const LONG: Duration = Duration::from_millis(60);
const SLOW: &str = "[log]\nslow = \"50ms\"\nerrors = 4\n";

/// Answers `/slow` late, `/body` at once with a body that is late, `/500` by 500, others at once.
fn backend() -> Backend {
    Backend::run(|peer| {
        while let Some(head) = peer.request() {
            match head.split(' ').nth(1).unwrap() {
                "/slow" => std::thread::sleep(LONG),
                "/body" => {
                    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    std::thread::sleep(LONG);
                    peer.send("2\r\nok\r\n0\r\n\r\n");
                    continue;
                }
                "/500" => {
                    peer.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
                    continue;
                }
                "/reset" => return peer.reset(),
                _ => {}
            }
            peer.answer("ok");
        }
    })
}

fn ask(api: &Api, target: &str, id: &str) -> Response {
    let addr = match api.running().addresses("web").first() {
        Some(evenkeel::config::BindAddr::Ip(addr)) => *addr,
        other => panic!("{other:?}"),
    };
    let mut client = Client::connect(addr);
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: {id}\r\nConnection: close\r\n\r\n"
    ));
    client.response()
}

/// What is kept of a request, once it is.
#[track_caller]
fn kept(api: &Api, id: &str) -> Value {
    let mut found = Value::Null;
    until(&format!("{id} is kept"), || {
        let all = api.get("/v1/errors");
        let mut all = all["errors"].as_array().unwrap().iter();
        found = all.find(|one| one["id"] == id).cloned().unwrap_or_default();
        !found.is_null()
    });
    found
}

#[track_caller]
fn phases(one: &Value) -> [f64; 3] {
    let whole = one["duration"].as_f64().unwrap();
    let of = |name: &str| one["phases"][name].as_f64().unwrap_or(0.0);
    let sum: f64 = ["wait", "connect", "backend", "transfer"].map(of).iter().sum();
    assert!((sum - whole).abs() < 0.000_005, "the phases are the whole: {one}");
    ["wait", "backend", "transfer"].map(of)
}

#[test]
fn what_failed_or_was_slow_is_found_with_the_time_of_each_phase() {
    let backend = backend();
    let long = LONG.as_secs_f64();
    // Whether lines are written, and first bytes measured, or not.
    for access in ["", "access = \"access.log\"\n"] {
        let more = format!("{SLOW}{access}");
        let api = Api::start(&words(&[&backend.addr.to_string()], &more));
        assert_eq!(ask(&api, "/quick", "quick").status, 200);
        assert_eq!(ask(&api, "/slow?a=%22", "slow-1").status, 200);
        assert_eq!(ask(&api, "/slow", "slow").status, 200);
        assert_eq!(ask(&api, "/body", "body").text(), "ok");
        assert_eq!(ask(&api, "/500", "500").status, 500);
        assert_eq!(ask(&api, "/reset", "reset").status, 502);
        let slow = kept(&api, "slow");
        assert_eq!((&slow["kind"], &slow["reason"]), (&"slow".into(), &"-".into()));
        let [wait, backend, transfer] = phases(&slow);
        assert!(wait == 0.0 && backend >= long && transfer < long, "{slow}");
        let body = kept(&api, "body");
        let [wait, backend, transfer] = phases(&body);
        assert!(wait == 0.0 && backend < long && transfer > long / 2.0, "{body}");
        let failed = kept(&api, "500");
        assert_eq!((&failed["kind"], &failed["status"]), (&"failed".into(), &500.into()));
        assert_eq!((&failed["target"], &failed["host"]), (&"/500".into(), &"a.test".into()));
        assert_eq!(
            (&failed["backend"], &failed["attempts"]),
            (&"b1".into(), &Value::Array(vec![]))
        );
        let reset = kept(&api, "reset");
        assert_eq!(
            (&reset["reason"], &reset["attempts"][0]["result"]),
            (&"reset".into(), &"reset".into())
        );
        assert!(reset["first_byte"].is_null(), "{reset}");
        phases(&reset);
        let all = api.get("/v1/errors");
        let all = all["errors"].as_array().unwrap();
        assert!(all.iter().all(|one| one["id"] != "quick"), "{all:?}");
        let said = std::fs::read_to_string(api.path("access.log"));
        assert_eq!(said.is_ok(), !access.is_empty());
    }
}

#[test]
fn tries_that_came_to_nothing_are_told_with_their_own_times() {
    let backend = backend();
    let (gone, there) = (nobody(), backend.addr.to_string());
    let file = words(&[&gone.to_string(), &there], "[log]\nslow = \"1ms\"\n")
        + "balance = \"round_robin\"\nretry = { attempts = 2, budget = \"100%\" }\n";
    let api = Api::start(&file);
    for n in 0..4 {
        assert_eq!(ask(&api, "/slow", &format!("n{n}")).status, 200);
    }
    let all = (0..4).map(|n| kept(&api, &format!("n{n}")));
    let moved: Vec<Value> = all.filter(|one| one["tries"] == 2).collect();
    let moved = moved.first().expect("somebody was sent to who is not there first");
    assert_eq!(moved["attempts"][0]["backend"], "b1");
    assert_eq!(moved["attempts"][0]["result"], "connect");
    assert_eq!(moved["backend"], "b2");
    let [wait, backend, _] = phases(moved);
    assert!(wait > 0.0 && wait >= moved["attempts"][0]["seconds"].as_f64().unwrap(), "{moved}");
    assert!(backend >= LONG.as_secs_f64());
}

#[test]
fn a_rewritten_request_is_kept_as_it_came_whichever_version_brought_it() {
    let backend = backend();
    let file = words(&[&backend.addr.to_string()], SLOW)
        + "[[route]]\nname = \"r\"\npath = \"/old\"\npool = \"app\"\nrewrite = { path = { prefix = \"/500\" } }\n";
    let api = Api::start(&file);
    assert_eq!(ask(&api, "/old?x=1", "old").status, 200);
    assert_eq!(ask(&api, "/old", "new").status, 500);
    let one = kept(&api, "new");
    assert_eq!((&one["target"], &one["route"]), (&"/old".into(), &"r".into()));
    let addr = match api.running().addresses("web").first() {
        Some(evenkeel::config::BindAddr::Ip(addr)) => *addr,
        other => panic!("{other:?}"),
    };
    let mut client = h2::Frames::connect(addr);
    client.get(1, "/old", &[("x-request-id", "two")]);
    assert_eq!(client.answer(1).0, 500);
    assert_eq!(kept(&api, "two")["target"], "/old");
}

#[test]
fn the_command_shows_them_and_no_byte_of_a_client_reaches_the_terminal() {
    // The id of a peer that is trusted is kept as it came.
    let file = words(&[&nobody().to_string()], SLOW)
        .replace("pool = \"app\"", "pool = \"app\"\ntrusted_proxies = [\"127.0.0.1\"]");
    let api = Api::start(&file);
    let id = "hostile\u{202e}\u{9b}31m";
    ask(&api, "/", id);
    kept(&api, id);
    let run = |args: &[&str]| {
        let program = env!("CARGO_BIN_EXE_evenkeel");
        let output =
            Command::new(program).current_dir(api.folder.path()).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = run(&["errors"]);
    assert!(said.contains("hostile") && said.contains("failed"), "{said}");
    assert!(said.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{said:?}");
    let said = run(&["errors", "--json"]);
    let raw = api.call("GET", "/v1/errors", "", "").text();
    for text in [&said, &raw] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
    }
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["errors"][0]["id"], id);
}

#[test]
fn what_was_refused_before_it_had_a_meaning_has_an_id_too() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let log = format!("[log]\naccess = {{ to = {log:?}, format = \"json\" }}\n");
    let api = Api::start(&words(&[&nobody().to_string()], &log));
    let addr = api.running().addresses("web")[0].to_string().parse().unwrap();
    let mut client = Client::connect(addr);
    client.send("GET /odd HTTP/1.1\r\nHost: a\r\nBad Field: 1\r\n\r\n");
    assert_eq!(client.response().status, 400);
    let mut found = Value::Null;
    until("it is kept", || {
        found = api.get("/v1/errors")["errors"][0].clone();
        !found.is_null()
    });
    let id = found["id"].as_str().unwrap().to_string();
    assert_eq!((id.len(), &found["status"]), (32, &400.into()), "{found}");
    let written = || std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    until("it is in the log", || written().contains(&id));
    let lines = written();
    assert_eq!(lines.matches("\"status\":400").count(), 1, "{lines}");
    // One that its client said is kept where it is harmless, as of any other.
    let mut client = Client::connect(addr);
    client.send("GET /known HTTP/1.1\r\nHost: a b\r\nX-Request-Id: known-1\r\n\r\n");
    assert_eq!(client.response().status, 400);
    assert_eq!(kept(&api, "known-1")["target"], "/known");
}

/// Refused as it is read, before a route is looked for, and by none that there is.
#[test]
fn an_id_that_no_request_may_have_is_kept_of_none_that_is_answered_here() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let log = format!("[log]\naccess = {{ to = {log:?}, format = \"json\" }}\n");
    let api = Api::start(&words(&[&nobody().to_string()], &log));
    let addr = api.running().addresses("web")[0].to_string().parse().unwrap();
    let long = "a".repeat(300);
    let mut asked = 0;
    for id in ["a b", "<script>", &long, "\u{202e}evil"] {
        for (head, status) in [
            ("GET /id HTTP/1.1\r\nHost: a b", 400),
            ("TRACE /id HTTP/1.1\r\nHost: a", 405),
            ("GET /id/..%2f HTTP/1.1\r\nHost: a", 400),
        ] {
            let mut client = Client::connect(addr);
            client.send(format!("{head}\r\nX-Request-Id: {id}\r\nConnection: close\r\n\r\n"));
            assert_eq!(client.response().status, status, "{head}");
            asked += 1;
        }
    }
    let mut ids = Vec::new();
    until("all are in the log", || {
        let said = std::fs::read_to_string(folder.path().join("access.log")).unwrap_or_default();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        ids = lines.map(|line| line["request_id"].as_str().unwrap().to_string()).collect();
        ids.len() == asked
    });
    let all = api.get("/v1/errors");
    let kept = all["errors"].as_array().unwrap().iter();
    ids.extend(kept.map(|one| one["id"].as_str().unwrap().to_string()));
    assert!(ids.len() > asked, "{ids:?}");
    for id in ids {
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    }
}

#[test]
fn what_nobody_answered_has_phases_too() {
    // One who never answers, and one whose kernel takes no more connections.
    let silent = Backend::run(|peer| while peer.request().is_some() {});
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&nobody().into()).unwrap();
    deaf.listen(0).unwrap();
    let addr = deaf.local_addr().unwrap().as_socket().unwrap();
    let fill = |_| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&addr.into());
        socket
    };
    let _full: Vec<_> = (0..3).map(fill).collect();
    let long = LONG.as_secs_f64();
    let times = "timeout = { connect = \"60ms\", first_byte = \"60ms\" }\n";
    for (backend, reason, place) in [
        (silent.addr, "timeout_first_byte", 1),
        (addr, "timeout_connect", 0),
        (nobody(), "connect", 0),
    ] {
        let file = words(&[&backend.to_string()], SLOW) + times;
        let api = Api::start(&file);
        ask(&api, "/", "one");
        let one = kept(&api, "one");
        assert_eq!(one["reason"], reason, "{one}");
        let [wait, backend, transfer] = phases(&one);
        let connect = one["phases"]["connect"].as_f64().unwrap();
        let spent = [connect, backend][place];
        // Who is refused at once is soon looked for elsewhere.
        let most = if reason == "connect" { 0.0 } else { wait + transfer };
        assert!(spent > most && (reason == "connect" || spent >= long), "{one}");
        assert_eq!(one["phases"]["backend"].is_null(), place == 0, "{one}");
    }
    // Whose client leaves: it waited for its backend until then.
    let api = Api::start(&words(&[&silent.addr.to_string()], SLOW));
    let addr = match api.running().addresses("web").first() {
        Some(evenkeel::config::BindAddr::Ip(addr)) => *addr,
        other => panic!("{other:?}"),
    };
    let before = silent.connections();
    let mut client = Client::connect(addr);
    client.send("GET /gone HTTP/1.1\r\nHost: a.test\r\n\r\n");
    until("it is asked", || silent.connections() > before);
    drop(client);
    let mut one = Value::Null;
    until("it is kept", || {
        let all = api.get("/v1/errors");
        one = all["errors"].as_array().unwrap().first().cloned().unwrap_or_default();
        !one.is_null()
    });
    assert_eq!((&one["status"], &one["reason"]), (&499.into(), &"client_gone".into()));
    assert_eq!(one["attempts"][0]["result"], "client_gone", "no body was there to break: {one}");
    phases(&one);
    assert!(one["phases"]["backend"].as_f64().is_some(), "{one}");
}

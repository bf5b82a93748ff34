//! The admin API: who may call, what is answered, what is refused and how.
use crate::support::{Api, Backend, Client, TOKEN, call, json, nobody, until};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

/// A listener `web` in front of pool `app` with these backends.
pub(crate) fn words(backends: &[&str], more: &str) -> String {
    let all: Vec<String> = backends
        .iter()
        .enumerate()
        .map(|(n, b)| format!("{{ name = \"b{}\", addr = \"{b}\" }}", n + 1))
        .collect();
    format!(
        "{more}\n[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [pool.app]\nbackends = [{}]\n",
        all.join(", ")
    )
}

#[test]
fn callers_by_tcp_need_the_token_and_those_of_the_socket_do_not() {
    let api = Api::start(&words(&["127.0.0.1:1"], "[admin]\ntoken_file = \"admin.token\""));
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let refused = api.call("GET", "/v1/status", "", "");
    assert_eq!(
        (refused.status, refused.field("content-type")),
        (401, Some("application/problem+json"))
    );
    assert!(refused.field("www-authenticate").is_some_and(|asked| asked.starts_with("Bearer")));
    assert_eq!(api.call("GET", "/v1/status", "Authorization: Bearer no\r\n", "").status, 401);
    assert_eq!(api.call("GET", "/v1/status", &bearer, "").status, 200);
    for open in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(api.call("GET", open, "", "").status, 200, "{open}");
    }
    let path = api.path("state/admin.sock");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o077, 0);
    let mut socket = UnixStream::connect(path).unwrap();
    socket.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"generation\":1"), "{answer}");
    // The token is read again with the file.
    std::fs::write(api.path("admin.token"), "another token, as long\n".replace(' ', "-")).unwrap();
    assert_eq!(api.call("POST", "/v1/reload", &bearer, "").status, 200);
    assert_eq!(api.call("GET", "/v1/status", &bearer, "").status, 401);
    assert_eq!(
        api.call("GET", "/v1/status", "Authorization: Bearer another-token,-as-long\r\n", "")
            .status,
        200
    );
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let limits = "[admin]\nlimits = { body = \"1KiB\", time = \"200ms\", connections = 8 }";
    let api = Api::start(&words(&["127.0.0.1:1"], limits));
    let long = format!("{{\"toml\":\"{}\"}}", "x".repeat(2000));
    for (method, path, fields, body, status) in [
        ("GET", "/v1/nothing", "", "", 404),
        ("GET", "/v1/pools/none", "", "", 404),
        ("DELETE", "/v1/status", "", "", 405),
        ("GET", "/v1/reload", "", "", 405),
        ("POST", "/v1/plan", "", "{", 400),
        ("POST", "/v1/plan", "", "[]", 400),
        ("POST", "/v1/plan", "", "{\"toml\":5}", 400),
        ("POST", "/v1/plan", "", "{\"file\":\"x\"}", 400),
        ("POST", "/v1/plan", "", "{\"toml\":\"a\",\"path\":\"b\"}", 400),
        ("POST", "/v1/plan", "", "{\"toml\":\"a\",\"t\\u006fml\":\"a\"}", 400),
        ("POST", "/v1/plan", "", &long, 413),
        ("POST", "/v1/plan", "", "{\"toml\":\"[listener.x]\"}", 422),
        ("GET", "/v1/status", "Host: evil.test\r\n", "", 403),
        ("POST", "/v1/reload", "Origin: http://evil.test\r\n", "", 403),
        ("GET", "/v1/events", "Sec-Fetch-Site: cross-site\r\n", "", 403),
        ("GET", "http://evil.test/v1/status", "", "", 403),
        ("GET", "/v1/events?last=x", "", "", 400),
    ] {
        let answer = api.call(method, path, fields, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{path}");
        let problem = json(&answer);
        assert_eq!(problem["status"], status);
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        let known = path == "/v1/plan" && status == 400 || path.starts_with("/v1/events?");
        assert_eq!(problem["field"].is_string(), known, "{problem}");
    }
    let mut client = api.client();
    let text = "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}";
    client.send(text);
    assert_eq!(client.response().status, 415);
    // A body that does not come.
    let mut client = api.client();
    client.send("POST /v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{");
    assert_eq!(client.response().status, 408);
    let hits = api.running().state().admin.limit_hits.all();
    assert!(hits.contains(&("body", 1)) && hits.contains(&("time", 1)), "{hits:?}");
}

#[test]
fn a_rate_is_kept_and_those_without_the_token_do_not_use_it_up() {
    let more = "[admin]\ntoken_file = \"admin.token\"\nlimits = { rate = \"1/m\" }";
    let api = Api::start(&words(&["127.0.0.1:1"], more));
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let guesses: Vec<u16> = (0..60).map(|_| api.call("GET", "/v1/status", "", "").status).collect();
    assert!(guesses[0] == 401 && guesses.contains(&429), "{guesses:?}");
    // A flood of one address is not another's.
    let mut other = Client::connect_from([127, 0, 0, 2].into(), api.addr);
    for _ in 0..10 {
        assert_eq!(call(&mut other, "GET", "/v1/status", "", "").status, 401);
    }
    assert_eq!(api.call("GET", "/v1/status", &bearer, "").status, 200);
    let often = api.call("GET", "/v1/status", &bearer, "");
    assert_eq!(often.status, 429);
    assert!(often.field("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(api.call("GET", "/readyz", "", "").status, 200);
}

/// A plan that the owner asks for, head and all.
pub(crate) fn by_socket(socket: &mut UnixStream, body: &str) -> String {
    let length = body.len();
    let asked = format!(
        "POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    socket.write_all(asked.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_plan_says_what_a_reload_then_does_and_each_is_told() {
    let backend = Backend::named("one");
    let addr = backend.addr.to_string();
    let api = Api::start(&words(&[&addr, "127.0.0.1:1"], ""));
    let mut events = api.client();
    events.send("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(String::from_utf8_lossy(&events.until("retry:")).contains("text/event-stream"));
    let new = words(&[&addr], "").replace("name = \"b1\"", "name = \"b1\", weight = 7")
        + "[pool.other]\nbackends = []\n";
    let body = serde_json::json!({ "toml": new }).to_string();
    let planned = api.call("POST", "/v1/plan", "", &body);
    let (planned_text, planned) = (planned.text(), json(&planned));
    let named = |list: &str| -> Vec<String> {
        let of = |o: &serde_json::Value| {
            format!("{} {}", o["kind"].as_str().unwrap(), o["name"].as_str().unwrap())
        };
        planned[list].as_array().unwrap().iter().map(of).collect()
    };
    assert_eq!(named("add"), ["pool other"]);
    assert_eq!(named("change"), ["backend app/b1"]);
    assert_eq!(named("drain"), ["backend app/b2"]);
    assert_eq!(named("keep"), ["listener web", "pool app"]);
    assert_eq!(planned["cut"], serde_json::json!([]));
    assert_eq!(planned["change"][0]["what"], "weight 1 to 7");
    assert_eq!(planned["drain"][0]["what"], "at 127.0.0.1:1: 0 in work, which may end within 300s");
    assert_eq!(api.get("/v1/status")["generation"], 1, "nothing was done");
    api.edit(&new);
    assert_eq!(json(&api.call("POST", "/v1/plan", "", "")), planned);
    let path = serde_json::json!({ "path": api.path("proxy.toml") }).to_string();
    let mut socket = UnixStream::connect(api.path("state/admin.sock")).unwrap();
    let answer = by_socket(&mut socket, &path);
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, planned_text);
    let done = json(&api.call("POST", "/v1/reload", "", ""));
    assert_eq!(done["changed"], true);
    for list in ["add", "change", "keep", "drain", "not_tried"] {
        assert_eq!(done[list], planned[list], "{list}");
    }
    assert_eq!(json(&api.call("POST", "/v1/reload", "", ""))["changed"], false);
    assert_eq!(api.get("/v1/status")["generation"], 2);
    let told = String::from_utf8_lossy(&events.until("event: reload")).into_owned();
    assert!(told.contains("id: "), "{told}");
    assert!(String::from_utf8_lossy(&events.until("\n\n")).contains("\"generation\":2"));
    // A file with problems is refused with all of them, and what ran runs on.
    api.edit("[listener.web]\n");
    let refused = api.call("POST", "/v1/reload", "", "");
    assert_eq!(refused.status, 422);
    assert!(json(&refused)["problems"][0]["what"].as_str().unwrap().contains("says no bind"));
    assert_eq!(api.get("/v1/status")["last_reload"]["result"], "failure");
    assert!(
        String::from_utf8_lossy(&events.until("\"result\":\"failure\"")).contains("event: reload")
    );
}

#[test]
fn what_a_plan_sends_away_is_counted_and_what_it_does_not_try_is_said() {
    let backend = Backend::run(|peer| while peer.request().is_some() {});
    let addr = backend.addr.to_string();
    let file = words(&[&addr], "");
    let api = Api::start(&file);
    let mut waits = Client::connect(api.running().addresses("web")[0].to_string().parse().unwrap());
    waits.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    until("it is under way", || api.member("b1")["active"] == 1);
    let plan = |toml: &str| {
        let body = serde_json::json!({ "toml": toml }).to_string();
        json(&api.call("POST", "/v1/plan", "", &body))
    };
    let moved = plan(&file.replace(&addr, "127.0.0.1:1"));
    let what = format!("addr {addr} to 127.0.0.1:1");
    assert_eq!(
        (&moved["change"][0]["name"], &moved["change"][0]["what"]),
        (&"app/b1".into(), &what.into())
    );
    assert_eq!(
        (&moved["drain"][0]["name"], &moved["drain"][0]["in_work"]),
        (&"app/b1".into(), &1.into())
    );
    assert_eq!(moved["not_tried"], serde_json::json!([]));
    let other = plan(&file.replace("protocol = \"http\"", "protocol = \"tcp\""));
    assert_eq!(
        (&other["drain"][0]["kind"], &other["drain"][0]["in_work"]),
        (&"listener".into(), &1.into())
    );
    assert!(other["change"][0]["what"].as_str().unwrap().starts_with("http2"), "{other}");
    let free = nobody();
    let bound = plan(&file.replace("127.0.0.1:0", &free.to_string()));
    assert_eq!(bound["not_tried"], serde_json::json!([format!("bind {free}")]));
    assert_eq!(bound["drain"], serde_json::json!([]));
    // Whom the API names too stays, although the file drops it.
    let own = serde_json::json!({ "addr": "127.0.0.1:9", "name": "own" }).to_string();
    assert_eq!(api.call("POST", "/v1/pools/app/backends", "", &own).status, 201);
    let with = file.replace("[{", "[{ name = \"own\", addr = \"127.0.0.1:8\" }, {");
    api.edit(&with);
    let done = json(&api.call("POST", "/v1/reload", "", ""));
    assert!(done["change"][0]["what"].as_str().unwrap().contains("the API's word holds"), "{done}");
    let without = plan(&file);
    assert_eq!(without["drain"], serde_json::json!([]));
    assert!(without["change"][0]["what"].as_str().unwrap().contains("no longer"), "{without}");
}

#[test]
fn the_configuration_is_shown_and_no_secret_with_it() {
    let more = "[admin]\ntoken_file = \"admin.token\"\n[[route]]\npath = \"/x\"\npool = \"app\"\n\
        request_headers = { set = { Authorization = \"Basic hidden-1\", X-Env = \"prod\", \
        X-Vault = \"hidden-3\", X-Put = \"at ${PATH}\" } }\n\
        [[route]]\npath = \"/y\"\npool = \"app\"\nheader = { X-Api-Key = \"hidden-2\" }\n[defaults]\ntimeout = { idle = \"9s\" }";
    let send = "health = { tcp = { send = \"AUTH hidden-4\" } }\n";
    let asked = "[pool.asked]\nbackends = []\nhealth = { http = \"/h?token=hidden-5\" }\n";
    let api = Api::start(&(words(&["127.0.0.1:1"], more) + send + asked));
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let asked = format!("/v1/explain?url=http://{}/y", api.running().addresses("web")[0]);
    let why = api.call("GET", &asked, &bearer, "");
    assert!(why.text().contains("header x-api-key is not there, not ***"), "{}", why.text());
    let shown = api.call("GET", "/v1/config", &bearer, "");
    assert!(!shown.text().contains("hidden") && !shown.text().contains(TOKEN), "{}", shown.text());
    let shown = json(&shown);
    assert_eq!(shown["pool"]["asked"]["health"]["http"], "/h?***");
    assert_eq!(shown["pool"]["app"]["timeout"]["idle"], "9s");
    assert_eq!(shown["pool"]["app"]["timeout"]["connect"], "2s");
    assert_eq!(shown["route"][0]["request_headers"]["set"][1]["value"], "prod");
    assert_eq!(shown["route"][0]["request_headers"]["set"][3]["value"], "at ${PATH}");
    assert_eq!(shown["admin"]["limits"]["rate"], "5000/s");
}

#[test]
fn what_the_environment_says_is_put_into_files_and_told_to_nobody() {
    let path = std::env::var("PATH").unwrap();
    let good = words(&["127.0.0.1:1"], "");
    let bad = good.replace("[pool.app]", "[listener.more]\nbind = \"${PATH}\"\n[pool.app]");
    let api = Api::start(&good);
    let refused = |method: &str, body: &str| {
        let answer = api.call("POST", method, "", body);
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(!answer.text().contains(&path), "{}", answer.text());
        answer.text()
    };
    // Neither by what is posted, nor by a file that its caller may have written.
    let withheld = "the environment is not put into what comes over the API";
    assert!(
        refused("/v1/plan", &serde_json::json!({ "toml": bad }).to_string()).contains(withheld)
    );
    let with_default = bad.replace("${PATH}", "${PATH:-127.0.0.1:1}");
    let body = serde_json::json!({ "toml": with_default }).to_string();
    assert!(refused("/v1/plan", &body).contains(withheld));
    std::fs::write(api.path("other.toml"), &bad).unwrap();
    let body = serde_json::json!({ "path": api.path("other.toml") }).to_string();
    // The file that runs has it, and so has its owner's; no problem tells it.
    api.edit(&bad);
    let said = "\"what\":\"\\\"***\\\" has no port";
    for answer in [refused("/v1/plan", ""), refused("/v1/reload", "")] {
        assert!(answer.contains(said), "{answer}");
    }
    assert!(!api.get("/v1/status").to_string().contains(&path));
    let mut socket = UnixStream::connect(api.path("state/admin.sock")).unwrap();
    let answer = by_socket(&mut socket, &body);
    assert!(answer.contains(said), "{answer}");
}

#[test]
fn who_says_nothing_gives_way_and_who_listens_stays() {
    let limits = "[admin]\nlimits = { connections = 4, streams = 1 }";
    let api = Api::start(&words(&["127.0.0.1:1"], limits));
    let mut events = api.client();
    events.send("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    events.until("retry:");
    let held: Vec<_> = (0..12)
        .map(|n| {
            let mut client = api.client();
            // Half a head, a body that does not come, nothing more after an answer.
            client.send(match n % 3 {
                0 => "GET /heal",
                1 => "POST /v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
                _ => "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
            });
            client
        })
        .collect();
    assert_eq!(api.call("GET", "/healthz", "", "").status, 200);
    assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    events.until("event: reload");
    let hits = api.running().state().admin.limit_hits.all();
    assert!(hits.iter().any(|(limit, n)| *limit == "connections" && *n >= 9), "{hits:?}");
    drop(held);
}

/// A scrape that is larger than what the kernel takes of it.
#[test]
fn scrapers_that_do_not_read_hold_little_and_keep_nobody_from_reading() {
    let many: Vec<String> = (1..=400).map(|port| format!("127.0.0.1:{port}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let api = Api::start(&words(&many, "[admin]\nlimits = { answers = \"1MiB\" }"));
    let scrape = || {
        let answer = api.call("GET", "/metrics", "", "");
        assert_eq!(answer.status, 200);
        answer.text()
    };
    let length = scrape().len();
    assert!(length > 1 << 20, "{length} bytes are too few for this test");
    let mut held: Vec<Client> = (0..20).map(|_| api.client()).collect();
    for client in &mut held {
        client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    let hits = || {
        let hits = api.running().state().admin.limit_hits.all();
        hits.iter().find(|(limit, _)| *limit == "answers").map_or(0, |(_, n)| *n)
    };
    until("all of them share one, or wait", || hits() >= 19);
    let made = |text: &str| {
        let name = "evenkeel_admin_requests_total{code=\"200\"} ";
        let line = text.lines().find(|line| line.starts_with(name)).expect("a family");
        line[name.len()..].parse::<f64>().expect("a number")
    };
    // Who reads has one of the last second, and then a new one.
    let first = made(&scrape());
    until("a new one was made", || made(&scrape()) > first);
    let all = held[0].rest();
    assert!(all.len() < length, "{} of {length} bytes: it was not cut", all.len());
}

#[test]
fn events_are_bounded_in_listeners_and_who_comes_later_hears_the_last() {
    let api = Api::start(&words(&["127.0.0.1:1"], "[admin]\nlimits = { streams = 2 }"));
    let listen = |query: &str| {
        let mut client = api.client();
        client.send(format!("GET /v1/events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        client
    };
    let mut first = listen("");
    first.until("retry:");
    let mut second = listen("?last=0");
    let told = String::from_utf8_lossy(&second.until("\"result\":\"success\"")).into_owned();
    assert!(told.contains("\nevent: reload\n"), "the start is a reload, too: {told}");
    assert_eq!(listen("").response().status, 503);
    drop(first);
    until("a place is free", || {
        let mut client = listen("");
        String::from_utf8_lossy(&client.until("\r\n\r\n")).contains(" 200 ")
    });
    assert!(
        api.running().state().admin.limit_hits.all().iter().any(|(limit, _)| *limit == "streams")
    );
}

#[test]
fn who_comes_back_hears_that_it_missed_some() {
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    let told = &api.running().state().events;
    let begun = told.last();
    for n in 0..300 {
        told.tell("turn", serde_json::json!({ "n": n }), SystemTime::now());
    }
    let count = told.last();
    let first = |fields: &str| {
        let mut client = api.client();
        client.send(format!("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
        let heard = client.until(&format!("\nid: {count}\n"));
        let heard = String::from_utf8_lossy(&heard).into_owned();
        heard.split_once("\n\n").unwrap().1.lines().take(2).collect::<Vec<_>>().join("\n")
    };
    let missed = |missed: &str| format!("event: gap\ndata: {{\"missed\":{missed}}}");
    let from = |number: u64| first(&format!("Last-Event-ID: {number}\r\n"));
    assert_eq!(from(begun), missed(&(300 - 256).to_string()));
    assert_eq!(from(count + 1), missed("null"), "another process told it");
    assert_eq!(from(8), missed("null"), "one before this was started did");
    let last = count - 1;
    let next = first(&format!("Last-Event-ID: {last}\r\n"));
    assert_eq!(next, format!("id: {count}"), "it missed none");
}

#[test]
fn a_stream_ends_with_the_token_that_opened_it() {
    let api = Api::start(&words(&["127.0.0.1:1"], "[admin]\ntoken_file = \"admin.token\""));
    let another = "another-token,-as-long";
    let listen = |token: &str| {
        let mut client = api.client();
        let fields = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
        client.send(format!("GET /v1/events HTTP/1.1\r\n{fields}\r\n"));
        client.until("retry:");
        client
    };
    let reload = |token: &str| {
        let bearer = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(api.call("POST", "/v1/reload", &bearer, "").status, 200);
    };
    let mut old = listen(TOKEN);
    reload(TOKEN);
    old.until("event: reload");
    std::fs::write(api.path("admin.token"), format!("{another}\n")).unwrap();
    reload(TOKEN);
    let mut new = listen(another);
    let tell = |what: &str| {
        let data = serde_json::json!({ "what": what });
        api.running().state().events.tell("turn", data, SystemTime::now());
    };
    tell("secret");
    new.until("secret");
    let rest = old.until("\r\n0\r\n\r\n");
    let rest = String::from_utf8_lossy(&rest);
    assert!(!rest.contains("secret"), "{rest}");
}

#[test]
fn who_reads_events_too_slowly_hears_how_many_it_missed() {
    // More than the kernel's buffers and the ring of all can hold, while nobody reads.
    const ALL: u64 = 4000;
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    let mut events = api.client();
    events.send("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    events.until("retry:");
    let told = &api.running().state().events;
    let long = "x".repeat(16 << 10);
    for n in 0..ALL {
        told.tell("turn", serde_json::json!({ "n": n, "long": long }), SystemTime::now());
    }
    let mut heard = String::new();
    let mut missed = 0;
    // Those of before the gap, the gap, then the last of the ring.
    let last = format!("\"n\":{}", ALL - 1);
    loop {
        let event = events.until("\n\n");
        let event = String::from_utf8_lossy(&event);
        heard += &event;
        if event.contains(&last) {
            break;
        }
    }
    let gaps = heard.split("event: gap\ndata: ").skip(1);
    for gap in gaps {
        let gap: serde_json::Value = serde_json::from_str(gap.lines().next().unwrap()).unwrap();
        missed += gap["missed"].as_u64().unwrap();
    }
    let read = heard.matches("event: turn").count() as u64;
    assert!(missed > 0 && read >= 1024, "{missed} {read}");
    assert_eq!(missed + read, ALL);
    // It goes on.
    told.tell("turn", serde_json::json!({ "n": "after" }), SystemTime::now());
    events.until("\"n\":\"after\"");
}

#[test]
fn a_pool_has_a_tag_that_stays_while_nobody_speaks() {
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    let tag = || {
        let mut client = api.client();
        call(&mut client, "GET", "/v1/pools/app", "", "").field("etag").unwrap().to_string()
    };
    let before = tag();
    assert_eq!(before, tag());
    api.edit(&words(&["127.0.0.1:1", "127.0.0.1:2"], ""));
    assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    assert_ne!(before, tag());
}

/// What the kernel holds for nobody: connections to this port that we closed and whose peer reads nothing.
fn orphans(port: u16) -> usize {
    let all = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_one = |line: &&str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next().unwrap_or_default(), fields.nth(1));
        // FIN_WAIT1 and LAST_ACK.
        local.ends_with(&format!(":{port:04X}")) && matches!(state, Some("04" | "09"))
    };
    all.lines().filter(is_one).count()
}

#[test]
fn what_is_not_read_of_a_connection_that_ended_is_not_kept() {
    use socket2::{Domain, Socket, Type};
    let limits = "[admin]\nlimits = { connections = 2, time = \"2s\" }";
    let api = Api::start(&words(&["127.0.0.1:1"], limits));
    let deaf = |field: &str| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        socket.connect(&api.addr.into()).unwrap();
        let asked = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{field}\r\n");
        socket.send(asked.as_bytes()).unwrap();
        socket
    };
    let one = deaf("Connection: close\r\n");
    until("it is ended by us", || orphans(api.addr.port()) == 1);
    until("and gone though nobody read it", || orphans(api.addr.port()) == 0);
    // Nor where its peer said before that it has no more to say, or something that is no request.
    for more in ["", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "garbage\u{1}\r\n\r\n"] {
        let mut two = deaf("");
        two.read_exact(&mut [0]).unwrap();
        let _ = two.send(more.as_bytes());
        if more.is_empty() {
            two.shutdown(std::net::Shutdown::Write).unwrap();
        }
        until(&format!("it is ended by us: {more:?}"), || orphans(api.addr.port()) == 1);
        until("and gone though nobody read it", || orphans(api.addr.port()) == 0);
    }
    let more = [deaf(""), deaf("")];
    until("who reads nothing gives way", || api.call("GET", "/healthz", "", "").status == 200);
    until("and nothing of it is kept", || orphans(api.addr.port()) == 0);
    drop((one, more));
}

#[test]
fn a_connection_that_we_ended_is_over_in_time_whatever_its_peer_goes_on_to_say() {
    let api = Api::start(&words(&["127.0.0.1:1"], "[admin]\nlimits = { time = \"1s\" }"));
    let mut peer = std::net::TcpStream::connect(api.addr).unwrap();
    peer.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let said = [b'x'; 16 << 10];
    until("it is reset", || peer.write(&said).is_err());
    let hits = || api.running().state().admin.limit_hits.all();
    until("that is counted", || hits().iter().any(|(limit, n)| *limit == "time" && *n == 1));
}

#[test]
fn a_connection_ends_in_order_when_it_has_lived_long_and_who_listens_stays() {
    let limits = "[admin]\nlimits = { time = \"250ms\" }";
    let api = Api::start(&words(&["127.0.0.1:1"], limits));
    let mut events = api.client();
    events.send("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    events.until("retry:");
    // One that pauses too long, as on a busy machine, ends without an answer: then another one is tried.
    let lives = || {
        let mut stream = std::net::TcpStream::connect(api.addr).unwrap();
        let mut buffer = [0; 4096];
        loop {
            let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let Ok(n @ 1..) = asked.and_then(|()| stream.read(&mut buffer)) else { return false };
            let answer = String::from_utf8_lossy(&buffer[..n]).to_ascii_lowercase();
            assert!(answer.starts_with("http/1.1 200") && answer.ends_with("ok\n"), "{answer}");
            if answer.contains("connection: close") {
                return true;
            }
        }
    };
    until("one is told that this was its last answer", lives);
    assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    events.until("event: reload");
}

#[test]
fn who_asks_all_the_time_on_all_connections_of_an_address_leaves_others_of_it_their_turn() {
    let api = Api::start(&words(&["127.0.0.1:1"], "[admin]\nlimits = { connections = 4 }"));
    let (addr, over) = (api.addr, Arc::new(AtomicBool::new(false)));
    let asks = |over: Arc<AtomicBool>| {
        std::thread::spawn(move || {
            while !over.load(SeqCst) {
                let mut stream = std::net::TcpStream::connect(addr).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                let many = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(32);
                let mut buffer = [0; 16 << 10];
                while !over.load(SeqCst) && stream.write_all(many.as_bytes()).is_ok() {
                    let mut answered = 0;
                    while answered < 32 {
                        let Ok(n @ 1..) = stream.read(&mut buffer) else { break };
                        answered +=
                            String::from_utf8_lossy(&buffer[..n]).matches("HTTP/1.1 200").count();
                    }
                }
            }
        })
    };
    let all = [(); 6].map(|()| asks(over.clone()));
    let hits = || {
        let hits = api.running().state().admin.limit_hits.all();
        hits.iter().find(|(limit, _)| *limit == "connections").map_or(0, |(_, n)| *n)
    };
    until("all places are taken", || hits() > 0);
    (0..3).for_each(|_| assert_eq!(api.call("GET", "/healthz", "", "").status, 200));
    over.store(true, SeqCst);
    all.into_iter().for_each(|one| one.join().unwrap());
}

#[test]
fn who_takes_all_connections_and_says_a_little_all_the_time_keeps_no_other_address_out() {
    use socket2::{Domain, Socket, Type};
    let api = Api::start(&words(&["127.0.0.1:1"], "[admin]\nlimits = { connections = 4 }"));
    let (addr, over) = (api.addr, Arc::new(AtomicBool::new(false)));
    let talks = |over: Arc<AtomicBool>| {
        let connect = move || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
            socket.connect(&addr.into()).unwrap();
            socket.send(b"GET /healthz HTTP/1.1\r\nX: ").unwrap();
            socket
        };
        std::thread::spawn(move || {
            let mut socket = connect();
            while !over.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
                if socket.send(b"x").is_err() {
                    socket = connect();
                }
            }
        })
    };
    let talkers = [(); 8].map(|()| talks(over.clone()));
    let hits = || {
        let hits = api.running().state().admin.limit_hits.all();
        hits.iter().find(|(limit, _)| *limit == "connections").map_or(0, |(_, n)| *n)
    };
    until("all places are taken", || hits() > 0);
    (0..20).for_each(|_| assert_eq!(api.call("GET", "/healthz", "", "").status, 200));
    // What is no whole request does not keep the same address out either.
    for _ in 0..5 {
        let mut client = Client::connect_from([127, 0, 0, 2].into(), api.addr);
        assert_eq!(call(&mut client, "GET", "/healthz", "", "").status, 200);
    }
    over.store(true, SeqCst);
    talkers.into_iter().for_each(|talker| talker.join().unwrap());
}

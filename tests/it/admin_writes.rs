//! What the API says of backends: it holds at once, survives a restart, a kill and every reload, and
//! never becomes the file's.
use crate::admin::words;
use crate::support::{Api, Backend, Client, Response, call, json, nobody, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

const BACKENDS: &str = "/v1/pools/app/backends";

fn at(name: &str) -> String {
    format!("{BACKENDS}/{name}")
}

#[track_caller]
fn say(api: &Api, method: &str, path: &str, body: Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    api.call(method, path, "", &body)
}

/// Who answers at the listener; empty when nobody does.
fn answers(api: &Api) -> String {
    let addr = api.running().addresses("web")[0].to_string().parse().unwrap();
    let mut client = Client::connect(addr);
    let answer = client.ask("GET", "/", "");
    if answer.status == 200 { answer.text() } else { String::new() }
}

#[test]
fn backends_come_go_and_change_at_run_time() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let api = Api::start(&words(&[&one.addr.to_string()], ""));
    assert_eq!(answers(&api), "one");
    let added =
        say(&api, "POST", BACKENDS, json!({ "addr": two.addr, "name": "b 2/ü", "weight": 3 }));
    assert_eq!(added.status, 201, "{}", added.text());
    assert_eq!(added.field("location"), Some("/v1/pools/app/backends/b%202%2F%C3%BC"));
    let shown = json(&added);
    assert_eq!(
        (&shown["said_by"], &shown["weight"], &shown["state"]),
        (&json!("api"), &json!(3), &json!("up"))
    );
    assert_eq!(json(&api.call("GET", added.field("location").unwrap(), "", "")), shown);
    until("both work", || answers(&api) == "two");
    let changed = say(&api, "PATCH", &at("b1"), json!({ "state": "drain" }));
    assert_eq!((changed.status, json(&changed)["state"].clone()), (200, json!("drain")));
    assert!((0..20).all(|_| answers(&api) == "two"));
    let twice = "{\"weight\":1,\"weight\":2}";
    let twice = api.call("PATCH", &at("b1"), "", twice);
    assert_eq!((twice.status, json(&twice)["field"].clone()), (400, json!("weight")));
    assert_eq!(say(&api, "PATCH", &at("b1"), json!({ "state": "up", "weight": 9 })).status, 200);
    assert_eq!(
        (&api.member("b1")["weight"], &api.member("b1")["said_by"]),
        (&json!(9), &json!("api"))
    );
    until("it is back", || answers(&api) == "one");
    assert_eq!(say(&api, "PATCH", &at("b1"), json!({ "weight": null })).status, 200);
    assert_eq!(
        (&api.member("b1")["weight"], &api.member("b1")["said_by"]),
        (&json!(1), &json!("file"))
    );
    assert_eq!(say(&api, "DELETE", &at("b%202%2F%C3%BC"), Value::Null).status, 202);
    assert_eq!(say(&api, "DELETE", &at("b1"), Value::Null).status, 202);
    until("they are gone", || api.get("/v1/pools/app")["members"] == json!([]));
    assert_eq!(answers(&api), "");
    let covered = &api.get("/v1/status")["covered"];
    assert_eq!(
        covered,
        &json!([{ "pool": "app", "backend": "b1", "key": "removed", "file": "false", "api": "true" }])
    );
    assert_eq!(say(&api, "PATCH", &at("b1"), json!({ "state": null })).status, 200);
    until("it is back", || answers(&api) == "one");
    assert_eq!(api.get("/v1/status")["covered"], json!([]));
}

#[test]
fn a_change_is_answered_by_what_is_after_it() {
    let file = words(&["127.0.0.1:1", "127.0.0.1:2"], "");
    let other = file.replace("pool.app", "pool.x").replace("\"app\"", "\"x\"");
    let api = Api::start(&file);
    let over = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // Its pool goes and comes back meanwhile.
        let reloads = scope.spawn(|| {
            for n in 0..40 {
                api.edit(if n % 2 == 0 { &other } else { &file });
                assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
            }
            over.store(1, SeqCst);
        });
        for n in 1.. {
            let (weight, state) = (n % 1000, if n % 2 == 0 { "drain" } else { "maintenance" });
            let body = json!({ "weight": weight, "state": state });
            let answer = say(&api, "PATCH", &at("b2"), body);
            if answer.status == 200 {
                let is = json(&answer);
                assert_eq!((&is["weight"], &is["state"]), (&json!(weight), &json!(state)));
            } else {
                assert!(matches!(answer.status, 204 | 404), "{}", answer.text());
            }
            if over.load(SeqCst) == 1 {
                break;
            }
        }
        reloads.join().unwrap();
    });
}

#[test]
fn a_write_that_cannot_be_is_refused_and_says_why() {
    let api = Api::start(&words(&["127.0.0.1:1"], "[admin]\nlimits = { words = 1 }"));
    let new = || json!({ "addr": "127.0.0.1:7" });
    for (method, path, body, status, field) in [
        ("POST", "/v1/pools/none/backends", new(), 404, ""),
        ("POST", BACKENDS, json!({ "addr": "127.0.0.1:7", "name": "b1" }), 409, ""),
        ("POST", BACKENDS, json!({}), 400, "addr"),
        ("POST", BACKENDS, json!({ "addr": 7 }), 400, "addr"),
        ("POST", BACKENDS, json!({ "addr": "127.0.0.1" }), 400, "addr"),
        ("POST", BACKENDS, json!({ "addr": "unix:x" }), 400, "addr"),
        ("POST", BACKENDS, json!({ "addr": "a:1", "name": "" }), 400, "name"),
        ("POST", BACKENDS, json!({ "addr": "a:1", "name": "a\nb" }), 400, "name"),
        ("POST", BACKENDS, json!({ "addr": "a:1", "weight": 1001 }), 400, "weight"),
        ("POST", BACKENDS, json!({ "addr": "a:1", "weight": -1 }), 400, "weight"),
        ("POST", BACKENDS, json!({ "addr": "a:1", "tier": 0 }), 400, "tier"),
        ("POST", BACKENDS, json!({ "addr": "a:1", "tier": 2, "backup": true }), 400, "tier"),
        ("POST", BACKENDS, json!({ "addr": "a:1", "ttl": "1" }), 400, "ttl"),
        ("POST", BACKENDS, json!({ "addr": "a:1", "ttl": "10ms" }), 400, "ttl"),
        ("POST", BACKENDS, json!({ "addr": "a:1", "name": ".." }), 400, "name"),
        ("POST", BACKENDS, json!({ "addr": "a:1", "name": "." }), 400, "name"),
        ("POST", BACKENDS, json!({ "addr": "a:1", "port": 1 }), 400, "port"),
        ("PATCH", &at("b1"), json!({ "weight": "7" }), 400, "weight"),
        ("PATCH", &at("b1"), json!({ "state": "down" }), 400, "state"),
        ("PATCH", &at("b1"), json!({ "wait": 7 }), 400, "wait"),
        ("PATCH", &at("b1"), json!({}), 400, ""),
        ("PATCH", &at("b9"), json!({ "weight": 7 }), 404, ""),
        ("DELETE", &at("b9"), Value::Null, 404, ""),
        ("GET", &at("b9"), Value::Null, 404, ""),
        ("PUT", &at("b1/heartbeat"), Value::Null, 404, ""),
    ] {
        let answer = say(&api, method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        let problem = json(&answer);
        assert_eq!(problem["field"].as_str().unwrap_or(""), field, "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(say(&api, "POST", BACKENDS, new()).status, 201);
    assert_eq!(say(&api, "POST", BACKENDS, new()).status, 409, "its name is its address");
    let full = say(&api, "POST", BACKENDS, json!({ "addr": "127.0.0.1:8" }));
    assert!(full.status == 503 && full.text().contains("admin.limits.words"), "{}", full.text());
}

#[test]
fn a_weight_that_is_given_back_is_the_one_it_came_with() {
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    for (name, ttl, came) in [("plain", None, 50), ("beats", Some("60s"), 40), ("none", None, 1)] {
        let mut new = json!({ "addr": "127.0.0.1:2", "name": name, "ttl": ttl });
        if ttl.is_none() {
            new.as_object_mut().unwrap().remove("ttl");
        }
        if came > 1 {
            new["weight"] = json!(came);
        }
        assert_eq!(say(&api, "POST", BACKENDS, new).status, 201);
        for (weight, is) in [(json!(7), 7), (json!(null), came), (json!(8), 8), (json!(null), came)]
        {
            let said = say(&api, "PATCH", &at(name), json!({ "weight": weight }));
            assert_eq!((said.status, json(&said)["weight"].clone()), (200, json!(is)), "{name}");
        }
    }
}

#[test]
fn lines_of_if_match_are_one_list() {
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    for (before, after, status) in
        [("If-Match: \"x\"\r\n", "", 200), ("", "If-Match: \"x\"\r\n", 200)]
    {
        let tag = api.call("GET", "/v1/pools/app", "", "").field("etag").unwrap().to_string();
        let fields = format!("{before}If-Match: {tag}\r\n{after}");
        assert_eq!(api.call("PATCH", &at("b1"), &fields, "{\"weight\":3}").status, status);
    }
    let neither = "If-Match: \"x\"\r\nIf-Match: \"y\"\r\n";
    assert_eq!(api.call("PATCH", &at("b1"), neither, "{\"weight\":3}").status, 412);
}

#[test]
fn of_two_who_write_with_one_tag_one_wins() {
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    for round in 0..20 {
        let tag = api.call("GET", "/v1/pools/app", "", "").field("etag").unwrap().to_string();
        let fields = format!("If-Match: {tag}\r\n");
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let write = |weight: u16| {
                let (fields, addr) = (&fields, api.addr);
                scope.spawn(move || {
                    let body = json!({ "weight": weight }).to_string();
                    call(&mut Client::connect(addr), "PATCH", &at("b1"), fields, &body).status
                })
            };
            let both = [write(round * 2 + 2), write(round * 2 + 3)];
            both.map(|one| one.join().unwrap()).to_vec()
        });
        let mut sorted = statuses.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [200, 412], "{statuses:?}");
    }
}

#[test]
fn words_survive_a_restart_and_a_reload_and_the_file_is_never_written() {
    let file = words(&["127.0.0.1:1", "127.0.0.1:2"], "");
    let api = Api::start(&file);
    for (method, path, body) in [
        (
            "POST",
            BACKENDS.to_string(),
            json!({ "addr": "127.0.0.1:3", "name": "own", "backup": true }),
        ),
        ("PATCH", at("b1"), json!({ "weight": 7, "state": "maintenance" })),
        ("DELETE", at("b2"), Value::Null),
    ] {
        assert!(say(&api, method, &path, body).status < 300);
    }
    let shown = |api: &Api| {
        let pool = api.get("/v1/pools/app");
        let one = |m: &Value| {
            let text = |key: &str| m[key].to_string().replace('"', "");
            format!("{} {} {} {}", text("name"), text("weight"), text("state"), text("tier"))
        };
        pool["members"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|m| m["removed"] == false)
            .map(one)
            .collect::<Vec<_>>()
    };
    let expect = ["b1 7 maintenance 1", "own 1 up 2"];
    assert_eq!(shown(&api), expect);
    // A reload that says something else: the API's words hold, and each is named.
    api.edit(&file.replace("name = \"b1\"", "name = \"b1\", weight = 4"));
    let done = json(&api.call("POST", "/v1/reload", "", ""));
    let covered = json!([
        { "pool": "app", "backend": "b1", "key": "weight", "file": "4", "api": "7" },
        { "pool": "app", "backend": "b1", "key": "state", "file": "up", "api": "maintenance" },
        { "pool": "app", "backend": "b2", "key": "removed", "file": "false", "api": "true" },
    ]);
    assert_eq!((&done["covered"], &done["changed"]), (&covered, &json!(true)));
    assert_eq!(json(&api.call("POST", "/v1/plan", "", "{}"))["covered"], covered);
    assert_eq!(shown(&api), expect);
    let written = std::fs::read_to_string(api.path("proxy.toml")).unwrap();
    let api = Api::start_in(api.end(), &written);
    assert_eq!(shown(&api), expect);
    assert_eq!(api.get("/v1/status")["covered"], covered);
    // A pool that goes and comes back is as the API said.
    api.edit(
        &written
            .replace("[pool.app]", "[pool.other]")
            .replace("pool = \"app\"", "pool = \"other\""),
    );
    assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    assert_eq!(api.call("GET", "/v1/pools/app", "", "").status, 404);
    assert_eq!(api.get("/v1/status")["covered"].as_array().unwrap().len(), 4, "all wait");
    api.edit(&written);
    assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    assert_eq!(shown(&api), expect);
    // What is given back is the file's again.
    for (name, body) in
        [("b1", json!({ "weight": null, "state": null })), ("b2", json!({ "state": null }))]
    {
        assert_eq!(say(&api, "PATCH", &at(name), body).status, 200);
    }
    assert_eq!(say(&api, "DELETE", &at("own"), Value::Null).status, 202);
    until("the file's hold", || shown(&api) == ["b1 4 up 1", "b2 1 up 1"]);
    let api = Api::start_in(api.end(), &written);
    assert_eq!(shown(&api), ["b1 4 up 1", "b2 1 up 1"]);
}

#[test]
fn what_was_removed_stays_so_until_it_is_wanted_back() {
    let both = words(&["127.0.0.1:1", "127.0.0.1:2"], "");
    let one = words(&["127.0.0.1:1"], "");
    let api = Api::start(&both);
    let serve = |file: &str| {
        api.edit(file);
        assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    };
    let is_out = || {
        let out = api.member("b2");
        out.is_null() || out["removed"] == true
    };
    let delete = || say(&api, "DELETE", &at("b2"), Value::Null).status;
    assert_eq!((delete(), delete()), (202, 202));
    serve(&one);
    assert_eq!(delete(), 202);
    serve(&both);
    assert!(is_out(), "{}", api.member("b2"));
    assert_eq!(say(&api, "PATCH", &at("b2"), json!({ "state": "up" })).status, 200);
    until("it is back", || !is_out());
}

#[test]
fn words_on_a_pool_that_no_file_names_can_be_taken_back() {
    let file = words(&["127.0.0.1:1", "127.0.0.1:2"], "");
    let api = Api::start(&file);
    for name in ["b1", "b2"] {
        let body = json!({ "state": "drain", "weight": 7 });
        assert_eq!(say(&api, "PATCH", &at(name), body).status, 200);
    }
    let other = file.replace("pool.app", "pool.x").replace("\"app\"", "\"x\"");
    api.edit(&other);
    assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    let left = || api.get("/v1/status")["covered"].as_array().unwrap().len();
    assert_eq!(left(), 4);
    for (method, name, body, status) in [
        ("PATCH", "b1", json!({ "state": "maintenance" }), 404),
        ("PATCH", "b9", json!({ "state": null }), 404),
        ("PATCH", "b1", json!({ "state": null }), 204),
        ("PATCH", "b1", json!({ "weight": null }), 204),
        ("PATCH", "b1", json!({ "weight": null }), 404),
        ("DELETE", "b2", Value::Null, 202),
        ("DELETE", "b2", Value::Null, 404),
    ] {
        let answer = say(&api, method, &at(name), body);
        assert_eq!(answer.status, status, "{method} {name}: {}", answer.text());
    }
    assert_eq!(left(), 0);
    api.edit(&file);
    assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    for name in ["b1", "b2"] {
        let is = api.member(name);
        assert_eq!((&is["state"], &is["weight"]), (&json!("up"), &json!(1)));
    }
}

#[test]
fn a_torn_file_of_words_is_reported_and_the_last_good_one_holds() {
    let file = words(&["127.0.0.1:1"], "");
    let api = Api::start(&file);
    for weight in [5, 6] {
        assert_eq!(say(&api, "PATCH", &at("b1"), json!({ "weight": weight })).status, 200);
    }
    let folder = api.end();
    let path = folder.path().join("state/words.json");
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 9]).unwrap();
    let api = Api::start_in(folder, &file);
    assert_eq!(api.member("b1")["weight"], 5);
    assert!(api.path("state/words.torn.json").exists());
    // Torn again after a write: what it was before that write holds, and both torn ones are there.
    assert_eq!(say(&api, "PATCH", &at("b1"), json!({ "weight": 6 })).status, 200);
    let folder = api.end();
    std::fs::write(&path, "yy").unwrap();
    let api = Api::start_in(folder, &file);
    assert_eq!(api.member("b1")["weight"], 5);
    assert!(api.path("state/words.torn.2.json").exists());
    // One that somebody took away is as one that is torn; without both nothing was said.
    let folder = api.end();
    std::fs::remove_file(&path).unwrap();
    let api = Api::start_in(folder, &file);
    assert_eq!(api.member("b1")["weight"], 5);
    let folder = api.end();
    let _ = std::fs::remove_file(&path);
    std::fs::remove_file(folder.path().join("state/words.before.json")).unwrap();
    let api = Api::start_in(folder, &file);
    assert_eq!(api.member("b1")["weight"], 1);
}

#[test]
fn words_that_cannot_be_read_end_the_start() {
    let (folder, admin) = (tempfile::tempdir().unwrap(), nobody().port());
    let bind = format!("[admin]\nbind = \"127.0.0.1:{admin}\"\n");
    std::fs::write(folder.path().join("proxy.toml"), words(&["127.0.0.1:1"], &bind)).unwrap();
    // A folder where the file would be: no mode of a file stops root.
    std::fs::create_dir_all(folder.path().join("state/words.json")).unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    let ended = run.current_dir(folder.path()).arg("run").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("words.json, what the API said of backends: "), "{said}");
    assert!(said.contains("let this process read it"), "{said}");
}

#[test]
fn what_cannot_be_kept_does_not_hold() {
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    assert_eq!(say(&api, "PATCH", &at("b1"), json!({ "weight": 5 })).status, 200);
    // A folder where the next file would be: no mode of a file stops root.
    std::fs::create_dir_all(api.path("state/words.next.json")).unwrap();
    let refused = say(&api, "PATCH", &at("b1"), json!({ "weight": 6 }));
    assert!(
        refused.status == 503 && refused.text().contains("does not hold"),
        "{}",
        refused.text()
    );
    assert_eq!(api.member("b1")["weight"], 5);
    std::fs::remove_dir(api.path("state/words.next.json")).unwrap();
    assert_eq!(say(&api, "PATCH", &at("b1"), json!({ "weight": 6 })).status, 200);
    assert_eq!(api.member("b1")["weight"], 6);
}

#[test]
fn who_registers_lives_while_it_beats() {
    let backend = Backend::named("one");
    let api = Api::start(&words(&[], ""));
    let register =
        || say(&api, "POST", BACKENDS, json!({ "addr": backend.addr, "name": "me", "ttl": "1s" }));
    let beat = || api.call("PUT", &at("me/heartbeat"), "", "").status;
    assert_eq!(beat(), 404);
    assert_eq!(register().status, 201);
    assert_eq!((beat(), register().status), (204, 409));
    until("it works", || answers(&api) == "one");
    let is = |state: &str| api.member("me")["state"] == state;
    until("it is down", || is("down"));
    assert_eq!(api.member("me")["reason"], "heartbeat");
    if beat() == 204 {
        until("it is back", || is("up") || is("down"));
    }
    until("it is out", || beat_is_unknown(&api));
    until("it is gone", || api.member("me").is_null());
    assert_eq!(register().status, 201, "it registers again");
}

#[test]
fn an_operators_word_waits_for_who_registers_again() {
    let backend = Backend::named("one");
    let file = words(&[], "");
    let api = Api::start(&file);
    let register = |api: &Api, weight: u16| {
        let body = json!({ "addr": backend.addr, "name": "me", "ttl": "1s", "weight": weight });
        say(api, "POST", BACKENDS, body)
    };
    let shown = |api: &Api| {
        let me = api.member("me");
        (me["weight"].as_u64(), me["state"].as_str().map(String::from))
    };
    assert_eq!(register(&api, 2).status, 201);
    assert_eq!(shown(&api).0, Some(2));
    let maintenance = json!({ "state": "maintenance", "weight": 7 });
    assert_eq!(say(&api, "PATCH", &at("me"), maintenance).status, 200);
    until("it is out", || api.member("me").is_null());
    let covered = api.get("/v1/status")["covered"].to_string();
    assert!(covered.contains("maintenance") && covered.contains("\"7\""), "{covered}");
    // Through a restart, too.
    let api = Api::start_in(api.end(), &file);
    let there = register(&api, 3);
    assert_eq!((there.status, json(&there)["state"].clone()), (201, json!("maintenance")));
    assert_eq!(shown(&api), (Some(7), Some("maintenance".into())));
    assert_eq!(answers(&api), "");
    // Taken back while nobody has the name.
    until("it is out again", || api.member("me").is_null());
    let back = json!({ "state": null, "weight": null });
    assert_eq!(say(&api, "PATCH", &at("me"), back.clone()).status, 204);
    assert_eq!(say(&api, "PATCH", &at("me"), back).status, 404, "nothing is said of it");
    assert_eq!(register(&api, 3).status, 201);
    assert_eq!(shown(&api).0, Some(3));
    until("it works", || answers(&api) == "one");
    // Deleted with what was said of it.
    assert_eq!(say(&api, "PATCH", &at("me"), json!({ "state": "drain" })).status, 200);
    assert_eq!(say(&api, "DELETE", &at("me"), Value::Null).status, 202);
    assert_eq!(register(&api, 1).status, 201);
    until("it works", || answers(&api) == "one");
}

/// Without a beat of its own: one would keep it alive.
fn beat_is_unknown(api: &Api) -> bool {
    api.running().state().words.said().is_empty()
}

/// The binary in a folder.
struct Process(Child, u16);

impl Process {
    fn start(folder: &std::path::Path, admin: u16) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .current_dir(folder)
            .arg("run")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self(child, admin);
        until("it serves", || {
            std::net::TcpStream::connect(("127.0.0.1", admin)).is_ok()
                && process.call("GET", "/readyz", "").status == 200
        });
        process
    }
    fn call(&self, method: &str, path: &str, body: &str) -> Response {
        call(&mut self.client(), method, path, "", body)
    }
    fn client(&self) -> Client {
        Client::connect(([127, 0, 0, 1], self.1).into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The status of an answer; `None` where none came.
fn status(client: &mut Client) -> Option<u16> {
    let head = String::from_utf8_lossy(&client.until("\r\n\r\n")).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    client.bytes(length.parse().ok()?);
    head.get(9..12)?.parse().ok()
}

#[test]
fn no_write_that_was_answered_is_lost_by_a_kill() {
    const WRITERS: usize = 8;
    let (folder, admin) = (tempfile::tempdir().unwrap(), nobody().port());
    let bind = format!("[admin]\nbind = \"127.0.0.1:{admin}\"\n");
    std::fs::write(folder.path().join("proxy.toml"), words(&[], &bind)).unwrap();
    let process = Process::start(folder.path(), admin);
    let answered = AtomicUsize::new(0);
    let known: BTreeSet<String> = std::thread::scope(|scope| {
        let writer = |n: usize| {
            let (mut client, answered) = (process.client(), &answered);
            scope.spawn(move || {
                let mut done = BTreeSet::new();
                for i in 0.. {
                    let name = format!("w{n}-{i}");
                    let body = json!({ "addr": "127.0.0.1:9", "name": name }).to_string();
                    let length = body.len();
                    client.send(format!(
                        "POST {BACKENDS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                         Content-Length: {length}\r\n\r\n{body}"
                    ));
                    match status(&mut client) {
                        Some(status) => assert_eq!(status, 201),
                        None => break,
                    }
                    done.insert(name);
                    answered.fetch_add(1, SeqCst);
                }
                done
            })
        };
        let all: Vec<_> = (0..WRITERS).map(writer).collect();
        until("there are some", || answered.load(SeqCst) >= 500);
        drop(process);
        all.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    let process = Process::start(folder.path(), admin);
    let pool = json(&process.call("GET", "/v1/pools/app", ""));
    let members = pool["members"].as_array().unwrap().iter();
    let found: BTreeSet<String> = members.map(|m| m["name"].as_str().unwrap().into()).collect();
    assert!(known.is_subset(&found), "lost: {:?}", known.difference(&found));
    assert!(found.len() <= known.len() + WRITERS, "{} of {}", found.len(), known.len());
}

/// A backend that begins an answer to each client, and never ends it.
fn endless() -> Backend {
    Backend::run(|peer| {
        if peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
            peer.rest();
        }
    })
}

/// A client whose answer has begun at a backend of the API's own.
fn begun(api: &Api, backend: &Backend) -> Client {
    let added = json!({ "addr": backend.addr, "name": "own" });
    assert_eq!(say(api, "POST", BACKENDS, added).status, 201);
    let addr = api.running().addresses("web")[0].to_string().parse().unwrap();
    let mut client = Client::connect(addr);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(!client.until("x\r\n").is_empty());
    client
}

#[test]
fn what_leaves_says_who_sent_it_away_and_may_be_sent_away_again() {
    let endless = [endless(), endless()];
    let file = words(&[&endless[0].addr.to_string()], "");
    let api = Api::start(&file);
    let mut clients = Vec::new();
    assert_eq!(say(&api, "PATCH", &at("b1"), json!({ "weight": 1 })).status, 200);
    assert_eq!(api.get("/v1/status")["covered"], json!([]), "the file says the same");
    let addr = api.running().addresses("web")[0].to_string().parse().unwrap();
    let mut client = Client::connect(addr);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(!client.until("x\r\n").is_empty());
    clients.push(client);
    assert_eq!(say(&api, "PATCH", &at("b1"), json!({ "state": "drain" })).status, 200);
    clients.push(begun(&api, &endless[1]));
    let shown = |name: &str| {
        let member = api.member(name);
        ["said_by", "removed", "active"].map(|key| member[key].clone())
    };
    assert_eq!(shown("own"), [json!("api"), json!(false), json!(1)]);
    let delete = |name: &str| say(&api, "DELETE", &at(name), Value::Null).status;
    assert_eq!([delete("own"), delete("own")], [202, 202]);
    assert_eq!(shown("own"), [json!("api"), json!(true), json!(1)]);
    assert_eq!(say(&api, "GET", &at("own"), Value::Null).status, 404, "nobody has the name");
    assert_eq!(delete("none"), 404);
    // The file takes its own away, whatever the API said of it; then it is nobody's to delete twice.
    api.edit(&file.replace("name = \"b1\"", "name = \"other\""));
    assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    assert_eq!(shown("b1"), [json!("file"), json!(true), json!(1)]);
    assert_eq!([delete("b1"), delete("b1")], [202, 404], "the word on it is forgotten");
    drop(clients);
    until("it has ended its work", || delete("own") == 404);
}

#[test]
fn two_who_delete_at_once_are_both_told_that_it_goes() {
    let (api, endless) = (Api::start(&words(&["127.0.0.1:1"], "")), endless());
    for _ in 0..20 {
        let client = begun(&api, &endless);
        let all: Vec<u16> = std::thread::scope(|scope| {
            let delete =
                || call(&mut Client::connect(api.addr), "DELETE", &at("own"), "", "").status;
            let all: Vec<_> = (0..8).map(|_| scope.spawn(delete)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(all, [202; 8]);
        drop(client);
        until("it is gone", || api.member("own").is_null());
    }
}

#[test]
fn who_changes_a_state_is_told_when_its_drain_ends() {
    let api = Api::start(&(words(&["127.0.0.1:1"], "") + "drain = \"300s\"\n"));
    for _ in 0..50 {
        for (state, ends) in [("drain", true), ("up", false), ("maintenance", true), ("up", false)]
        {
            let said = json(&say(&api, "PATCH", &at("b1"), json!({ "state": state })));
            assert_eq!((&said["state"], said["drain_ends"].is_string()), (&json!(state), ends));
            assert_eq!(said["drain_ends"], api.member("b1")["drain_ends"], "{state}");
        }
    }
}

#[test]
fn backends_of_the_api_s_own_drain_with_their_pool() {
    let (endless, file) = (endless(), words(&["127.0.0.1:1"], "") + "drain = \"50ms\"\n");
    let api = Api::start(&file);
    assert_eq!(say(&api, "PATCH", &at("b1"), json!({ "state": "drain" })).status, 200);
    let mut client = begun(&api, &endless);
    api.edit(&file.replace("pool.app", "pool.x").replace("\"app\"", "\"x\""));
    assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    assert!(client.rest().is_empty(), "it is cut");
}

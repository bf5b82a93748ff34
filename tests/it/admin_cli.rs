//! The commands that ask and tell a running proxy: by its socket, by its address, and by nobody.
use crate::admin::words;
use crate::support::{Api, Backend, TOKEN, nobody, until};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evenkeel")).current_dir(folder).args(args).output().unwrap()
}

/// What a command says when it is done, and that it is.
#[track_caller]
fn done(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// What a command says when it is not.
#[track_caller]
fn refused(folder: &Path, args: &[&str], code: i32) -> String {
    let output = run(folder, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    said
}

#[track_caller]
fn json_of(folder: &Path, args: &[&str]) -> Value {
    let args = [args, &["--json"]].concat();
    serde_json::from_str(&done(folder, &args)).unwrap_or_else(|e| panic!("{args:?}: {e}"))
}

#[test]
fn a_pipe_that_is_closed_early_is_no_fault() {
    let backend = Backend::named("one");
    let api = Api::start(&words(&[&backend.addr.to_string()], ""));
    let at = api.folder.path();
    let all: [&[&str]; 8] = [
        &["status"],
        &["status", "--json"],
        &["backend", "list"],
        &["explain", "GET", "http://a.test/"],
        &["errors"],
        &["top"],
        &["check"],
        &["man"],
    ];
    for args in all {
        let code = run(at, args).status.code();
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let output = command.current_dir(at).args(args).stdout(write).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked") && !said.contains("Broken pipe"), "{args:?}: {said}");
        assert_eq!(output.status.code(), code, "{args:?}: {said}");
    }
}

#[test]
fn every_command_does_by_the_socket_what_it_says() {
    let backend = Backend::named("one");
    let addr = backend.addr.to_string();
    // The token is not asked of the socket.
    let file = words(&[&addr], "[admin]\ntoken_file = \"admin.token\"")
        + "[pool.hash]\nbalance = { policy = \"consistent_hash\", key = \"path\" }\n\
           backends = [{ name = \"x\", addr = \"127.0.0.1:1\" }, { name = \"y\", addr = \"127.0.0.1:2\" }]\n";
    let api = Api::start(&file);
    let at = api.folder.path();
    assert!(done(at, &["status"]).contains("app/b1"));
    assert_eq!(done(at, &["errors"]), "no request failed or was slow\n");
    assert_eq!(json_of(at, &["status"])["status"]["generation"], 1);
    let said = done(
        at,
        &["backend", "add", "app", "127.0.0.1:3", "--name", "own", "--weight", "2", "--backup"],
    );
    assert_eq!(said, "added app/own at 127.0.0.1:3: up\n");
    let listed = json_of(at, &["backend", "list", "app"]);
    assert_eq!(
        (&listed["members"][1]["tier"], &listed["members"][1]["weight"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(done(at, &["weight", "app/own", "7"]), "app/own: up, weight 7, 0 active\n");
    assert_eq!(done(at, &["weight", "app/own", "file"]), "app/own: up, weight 2, 0 active\n");
    assert_eq!(done(at, &["drain", "app/b1", "--wait"]), "app/b1: drain, weight 1, 0 active\n");
    assert_eq!(json_of(at, &["undrain", "app/b1"])["state"], "up");
    assert_eq!(json_of(at, &["backend", "remove", "app", "own"])["removed"], true);
    until("it is gone", || {
        json_of(at, &["backend", "list", "app"])["members"].as_array().unwrap().len() == 1
    });
    let ring = json_of(at, &["ring", "hash", "--remove", "x"]);
    assert!((ring["moved"].as_f64().unwrap() - 0.5).abs() < 0.02, "{ring}");
    assert!(refused(at, &["ring", "app", "--remove", "b1"], 1).contains("which has no ring"));
    // Plans and reloads.
    std::fs::write(at.join("new.toml"), file.replace("name = \"b1\"", "name = \"b1\", weight = 5"))
        .unwrap();
    let planned = done(at, &["plan", "new.toml"]);
    assert!(
        planned.contains("~ backend app/b1: weight 1 to 5\n") && !planned.contains("restart"),
        "{planned}"
    );
    std::fs::write(at.join("bad.toml"), "[listener.web]\n").unwrap();
    let said = refused(at, &["plan", "bad.toml"], 1);
    assert!(said.contains("bad.toml:1:") && said.contains("listener.web: says no bind"), "{said}");
    assert!(done(at, &["reload"]).starts_with("nothing changed"));
    std::fs::rename(at.join("new.toml"), at.join("proxy.toml")).unwrap();
    assert_eq!(json_of(at, &["reload"])["changed"], true);
    std::fs::rename(at.join("bad.toml"), at.join("proxy.toml")).unwrap();
    // A file that is being mended still says where its proxy is.
    assert!(refused(at, &["reload"], 1).contains("says no bind"));
    assert!(done(at, &["status"]).contains("was refused:"));
}

#[test]
fn a_no_is_json_too_where_json_is_asked_for() {
    let api = Api::start(&words(&["127.0.0.1:1"], "[admin]\ntoken_file = \"admin.token\""));
    let at = api.folder.path();
    std::fs::write(at.join("bad.toml"), "[listener.web]\n").unwrap();
    let url = format!("http://{}", api.addr);
    let no = |args: &[&str]| -> Value {
        let output = run(at, &[args, &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("evenkeel: "), "{args:?}");
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        assert!(said["detail"].is_string() && said["title"].is_string(), "{args:?}: {said}");
        said
    };
    for (args, status) in [
        (&["backend", "list", "none"][..], 404),
        (&["backend", "add", "app", "127.0.0.1:2", "--name", "b1"], 409),
        (&["backend", "remove", "app", "none"], 404),
        (&["drain", "app/none"], 404),
        (&["drain", "app/none", "--wait"], 404),
        (&["undrain", "app/none"], 404),
        (&["weight", "app/none", "7"], 404),
        (&["ring", "app", "--remove", "b1"], 422),
        (&["explain", "--request", "none"], 404),
        (&["explain", "/", "--listener", "none"], 404),
        (&["plan", "bad.toml"], 422),
        (&["status", "--admin", &url], 401),
        (&["top", "--admin", &url], 401),
        (&["errors", "--admin", &url], 401),
    ] {
        assert_eq!(no(args)["status"], status, "{args:?}");
    }
    std::fs::rename(at.join("bad.toml"), at.join("proxy.toml")).unwrap();
    let refused = no(&["reload"]);
    assert_eq!(refused["problems"][0]["key"], "listener.web", "{refused}");
}

/// Whoever has the port, a listener of the data plane, say.
#[test]
fn who_answers_and_is_no_evenkeel_is_not_believed() {
    let answers = |head: &'static str, text: &'static str| {
        Backend::run(move |peer| {
            while peer.request().is_some() {
                let length = text.len();
                peer.send(format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{text}"));
            }
        })
    };
    let page = answers("200 OK\r\nContent-Type: text/plain", "one");
    let json = answers("200 OK\r\nContent-Type: application/json", "{\"ok\": true}");
    let bad = answers("502 Bad Gateway\r\nContent-Type: text/html", "<html>");
    // Nothing to say is the answer to a word on who is not there.
    let silent = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    let at = api.folder.path();
    for (other, said) in [
        (&page, "200, text/plain"),
        (&json, "200, application/json without"),
        (&bad, "502, text/html"),
        (&silent, "204, of no content type"),
    ] {
        let url = format!("http://{}", other.addr);
        for args in [
            &["drain", "app/b1"][..],
            &["drain", "app/b1", "--wait"],
            &["undrain", "app/b1"],
            &["weight", "app/b1", "2"],
            &["backend", "add", "app", "127.0.0.1:2"],
            &["backend", "remove", "app", "b1"],
            &["backend", "list"],
            &["backend", "list", "app"],
            &["reload"],
            &["plan", "proxy.toml"],
            &["ring", "app", "--remove", "b1"],
            &["explain", "/"],
            &["errors"],
            &["status"],
            &["status", "--json"],
            &["top"],
        ] {
            let output = run(at, &[args, &["--admin", &url]].concat());
            let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
            let known = format!("evenkeel: what answers at {url} is no Evenkeel (");
            assert_eq!(output.status.code(), Some(3), "{args:?}: {wrong}");
            assert!(wrong.starts_with(&known) && wrong.contains(said), "{args:?}: {wrong}");
            assert!(output.stdout.is_empty(), "{args:?}");
        }
    }
    // Of a proxy the same is believed.
    let said = done(at, &["backend", "remove", "app", "b1"]);
    assert_eq!(said, "app/b1 drains and is then gone\n");
}

/// Whoever has the port hears no token before it speaks as an Evenkeel does.
#[test]
fn a_stranger_hears_no_token() {
    let heard = Arc::new(Mutex::new(String::new()));
    let answers = |text: &'static str| {
        let heard = heard.clone();
        Backend::run(move |peer| {
            while let Some(head) = peer.request() {
                *heard.lock().unwrap() += &head;
                peer.answer(text);
            }
        })
    };
    let api = Api::start(&words(&["127.0.0.1:1"], "[admin]\ntoken_file = \"admin.token\"\n"));
    let at = api.folder.path();
    for text in ["one", "{\"pools\": []}", ""] {
        let other = answers(text);
        let url = format!("http://{}", other.addr);
        for args in [&["drain", "app/b1"][..], &["backend", "list"], &["status"]] {
            let args = [args, &["--admin", &url, "--token-file", "admin.token"]].concat();
            let said = refused(at, &args, 3);
            assert!(said.contains("is no Evenkeel (GET /readyz: 200, "), "{said}");
        }
    }
    let heard = heard.lock().unwrap();
    assert!(heard.contains("GET /readyz") && !heard.contains(TOKEN), "{heard}");
    // The proxy itself hears it on the same connection.
    let url = format!("http://{}", api.addr);
    let args = ["weight", "app/b1", "2", "--admin", &url, "--token-file", "admin.token"];
    assert!(done(at, &args).contains("app/b1"));
}

#[test]
fn what_can_be_judged_without_a_proxy_is_judged_before_one_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let nobody = format!("[admin]\nbind = \"{}\"\n", nobody());
    std::fs::write(at.join("proxy.toml"), nobody).unwrap();
    let long = "n".repeat(256);
    for wrong in [
        &["backend", "add", "app", "rubbish"][..],
        &["backend", "add", "app", "127.0.0.1"],
        &["backend", "add", "app", "127.0.0.1:99999"],
        &["backend", "add", "app", "unix:x"],
        &["backend", "add", "", "127.0.0.1:1"],
        &["backend", "add", "..", "127.0.0.1:1"],
        &["backend", "add", "app", "127.0.0.1:1", "--name", "."],
        &["backend", "add", "app", "127.0.0.1:1", "--name", ""],
        &["backend", "add", "app", "127.0.0.1:1", "--name", "a\nb"],
        &["backend", "add", "app", "127.0.0.1:1", "--name", &long],
        &["backend", "add", "app", "127.0.0.1:1", "--weight", "1001"],
        &["backend", "add", "app", "127.0.0.1:1", "--weight", "-1"],
        &["backend", "add", "app", "127.0.0.1:1", "--ttl", "5"],
        &["backend", "add", "app", "127.0.0.1:1", "--ttl", "10ms"],
        &["backend", "add", "app", "127.0.0.1:1", "--ttl", "2d"],
        &["backend", "list", ".."],
        &["backend", "remove", "app", ".."],
        &["backend", "remove", "", "b1"],
        &["drain", "app"],
        &["drain", "app/.."],
        &["drain", "./b1", "--wait"],
        &["undrain", "/b1"],
        &["weight", "app/..", "7"],
        &["weight", "app/b1", "1001"],
        &["weight", "app/b1", "1.5"],
        &["ring", "..", "--remove", "b1"],
        &["ring", "app", "--remove", ""],
        &["plan", "none.toml"],
        &["plan", "."],
        &["explain", "/", "--client", "nope"],
        &["explain", "/", "--listener", ""],
        &["explain", "/", "-H", "nope"],
        &["explain", "G T", "/"],
        &["explain", "ftp://a/"],
        &["explain", "--sni", "a b"],
        &["status", "--admin", "https://a:1"],
        &["errors", "--admin", "a"],
        &["top", "--token-file", "none"],
        &["reload", "-c", "none.toml"],
    ] {
        let said = refused(at, wrong, 2);
        assert!(!said.contains("does it run?"), "{wrong:?}: {said}");
    }
    // All else is asked of somebody.
    for right in [
        &["backend", "add", "app", "127.0.0.1:1", "--weight", "1000", "--ttl", "1d"][..],
        &["drain", "a/../b"],
        &["reload"],
        &["plan", "proxy.toml"],
    ] {
        assert!(refused(at, right, 3).contains("does it run?"), "{right:?}");
    }
}

#[test]
fn names_with_slashes_are_understood() {
    let backends = "backends = [{ name = \"x/y\", addr = \"127.0.0.1:1\" }, { name = \"z\", addr = \"127.0.0.1:2\" }]\n";
    let pools = |names: &[&str]| -> String {
        names.iter().map(|name| format!("[pool.\"{name}\"]\n{backends}")).collect()
    };
    let listener = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n";
    let api = Api::start(&format!("{listener}{}", pools(&["a", "a/b"])));
    let folder = api.folder.path();
    assert!(done(folder, &["backend", "list", "a/b"]).contains("a/b/x/y"));
    assert!(done(folder, &["drain", "a/b/z"]).starts_with("a/b/z: drain"));
    assert!(done(folder, &["undrain", "a/b/z"]).starts_with("a/b/z: up"));
    assert!(done(folder, &["weight", "a/b/x/y", "7"]).contains("weight 7"));
    assert!(done(folder, &["drain", "a/x/y"]).starts_with("a/x/y: drain"));
    let said = refused(folder, &["drain", "a/b/none"], 2);
    assert!(said.contains("b/none of pool a or none of pool a/b"), "{said}");
    assert_eq!(
        done(folder, &["backend", "add", "a", "127.0.0.1:3", "--name", "b/z"]).lines().count(),
        1
    );
    let said = refused(folder, &["drain", "a/b/z"], 2);
    assert!(said.contains("b/z of pool a or z of pool a/b"), "{said}");
    assert!(done(folder, &["backend", "remove", "a/b", "z"]).contains("drains"));
}

#[test]
fn a_proxy_is_found_by_its_address_with_the_token_and_who_is_not_there_is_exit_3() {
    let api = Api::start(&words(&["127.0.0.1:1"], "[admin]\ntoken_file = \"admin.token\""));
    let (other, url) = (tempfile::tempdir().unwrap(), format!("http://{}", api.addr));
    let at = other.path();
    std::fs::write(at.join("t"), TOKEN).unwrap();
    let by = |file| ["status", "--admin", &url, "--token-file", file];
    assert!(done(at, &by("t")).contains("app/b1"));
    assert!(refused(at, &["status", "--admin", &url], 1).contains("(401)"));
    assert_eq!(refused(at, &by("none"), 2).lines().count(), 1);
    let socket = format!("unix:{}", api.path("state/admin.sock").display());
    assert!(done(at, &["status", "--admin", &socket]).contains("app/b1"));
    let nobody = format!("http://{}", nobody());
    assert!(refused(at, &["status", "--admin", &nobody], 3).contains("does it run?"));
    assert!(refused(at, &["status", "--ready", "--admin", &nobody], 3).contains("does it run?"));
    assert_eq!(run(at, &["drain", "app"]).status.code(), Some(2));
    assert!(
        refused(at, &["drain", "app/none", "--admin", &socket], 1).contains("no backend named")
    );
    // Its file says where it is.
    std::fs::write(
        at.join("proxy.toml"),
        format!("[admin]\nbind = \"{}\"\ntoken_file = \"t\"\n", api.addr),
    )
    .unwrap();
    assert!(done(at, &["status"]).contains("app/b1"));
}

/// Its `server.state` may say something else by now, and not be in force since the file has a fault.
#[test]
fn who_runs_by_the_same_file_is_no_other_one() {
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    let file = api.path("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let admin = format!("[admin]\nbind = \"{}\"\n", api.addr);
    let listener = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"ap\"\n";
    let state = "[server]\nstate = \"elsewhere\"\n";
    std::fs::write(&file, format!("{admin}{listener}{state}")).unwrap();
    let said = done(api.folder.path(), &["weight", "app/b1", "7"]);
    assert!(said.contains("weight 7"), "{said}\n{text}");
    // By any path.
    let other = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(api.folder.path(), other.path().join("link")).unwrap();
    assert!(done(other.path(), &["status", "-c", "link/proxy.toml"]).contains("app/b1"));
}

/// A file that a link leads to is the one that it leads to.
#[test]
fn a_proxy_is_found_by_every_name_of_its_file() {
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    let (file, other) = (api.path("proxy.toml"), tempfile::tempdir().unwrap());
    let admin = format!("[admin]\nbind = \"{}\"\n", api.addr);
    let listener = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n";
    std::fs::write(&file, format!("{admin}{listener}[pool.app]\nbackends = []\n")).unwrap();
    std::os::unix::fs::symlink(&file, other.path().join("link.toml")).unwrap();
    std::fs::hard_link(&file, other.path().join("hard.toml")).unwrap();
    for name in ["link.toml", "hard.toml"] {
        assert!(done(other.path(), &["weight", "app/b1", "7", "-c", name]).contains("weight 7"));
    }
    std::fs::copy(&file, other.path().join("copy.toml")).unwrap();
    let said = refused(other.path(), &["weight", "app/b1", "7", "-c", "copy.toml"], 3);
    assert!(said.contains("does not run by copy.toml"), "{said}");
}

/// While it is mended.
#[test]
fn a_file_that_hides_where_its_proxy_is_leads_to_who_says_that_it_runs_by_it() {
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    let (at, file) = (api.folder.path(), api.path("proxy.toml"));
    let faults = ["[pool.app]\nservers = [{ state = 1 }]\n", "x = \"", "include = [\"lacks\"]\n"];
    for fault in faults {
        std::fs::write(&file, fault).unwrap();
        assert_eq!(done(at, &["status", "--ready"]), "ready\n", "{fault}");
        assert!(done(at, &["weight", "app/b1", "7"]).contains("weight 7"), "{fault}");
    }
    // Not even the file is there.
    std::fs::remove_file(&file).unwrap();
    assert_eq!(done(at, &["status", "--ready", "-c", "./proxy.toml"]), "ready\n");
    // Without the socket, by what may be its address.
    std::fs::remove_file(api.path("state/admin.sock")).unwrap();
    let twice = format!("[admin]\nbind = \"127.0.0.1:9\"\n[admin]\nbind = \"{}\"\n", api.addr);
    std::fs::write(&file, &twice).unwrap();
    assert!(done(at, &["weight", "app/b1", "7"]).contains("weight 7"));
    // The same words in another file are none of this proxy's.
    let other = tempfile::tempdir().unwrap();
    let own = other.path().join("proxy.toml");
    std::fs::write(&own, &twice).unwrap();
    let said = refused(other.path(), &["weight", "app/b1", "8"], 3);
    let tried =
        format!("nobody who runs by it answers at unix:state/admin.sock or http://{}", api.addr);
    assert!(said.contains(&tried), "{said}");
    // Nor where the address is plain, and only the folder is not.
    let admin = format!("[admin]\nbind = \"{}\"\n", api.addr);
    let listener = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n";
    for server in ["[server]\nstate = 12\n", "[server]\nState = \"s\"\n", "[[server]]\n"] {
        std::fs::write(&own, format!("{admin}{server}{listener}")).unwrap();
        let said = refused(other.path(), &["weight", "app/b1", "8"], 3);
        assert!(said.contains("does not run by proxy.toml: it is another one"), "{said}");
        std::fs::write(&file, format!("{admin}{server}{listener}")).unwrap();
        assert!(done(at, &["weight", "app/b1", "7"]).contains("weight 7"), "{server}");
    }
    // A listener that is included.
    std::fs::write(other.path().join("more.toml"), listener).unwrap();
    std::fs::write(&own, format!("include = [\"more.toml\"]\n{admin}x = 1\n")).unwrap();
    assert!(refused(other.path(), &["weight", "app/b1", "8"], 3).contains("another one"));
}

/// Who did not start, since another one has its address already.
#[test]
fn a_proxy_that_keeps_its_words_elsewhere_is_another_one() {
    for token in ["", "token_file = \"t\"\n"] {
        let api = Api::start(&words(
            &["127.0.0.1:1"],
            &format!("[admin]\n{}", token.replace("\"t\"", "\"admin.token\"")),
        ));
        let own = tempfile::tempdir().unwrap();
        let at = own.path();
        std::fs::write(at.join("t"), TOKEN).unwrap();
        let listener =
            "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n";
        let text = format!(
            "[admin]\nbind = \"{}\"\n{token}{listener}[pool.app]\nbackends = []\n",
            api.addr
        );
        std::fs::write(at.join("proxy.toml"), &text).unwrap();
        let is_left = || {
            for args in
                [&["weight", "app/b1", "7"][..], &["status"], &["reload"], &["status", "--ready"]]
            {
                let said = refused(at, args, 3);
                let why = format!(
                    "the Evenkeel at http://{} does not run by proxy.toml and keeps what it was told in another folder than",
                    api.addr
                );
                assert!(said.contains(&why) && said.contains("state (server.state)"), "{said}");
            }
        };
        is_left();
        // Be it there or not.
        std::fs::create_dir(at.join("state")).unwrap();
        is_left();
        // A fault elsewhere in the file changes nothing.
        std::fs::write(at.join("proxy.toml"), format!("{text}x = 1\n")).unwrap();
        is_left();
        // One that has lost its folder still says which file it runs by.
        let (state, aside) = (api.path("state"), api.path("aside"));
        std::fs::rename(&state, &aside).unwrap();
        is_left();
        std::fs::rename(&aside, &state).unwrap();
        // The same folder by another path is the same.
        std::fs::remove_dir(at.join("state")).unwrap();
        std::fs::remove_file(api.path("state/admin.sock")).unwrap();
        std::os::unix::fs::symlink(api.path("state"), at.join("state")).unwrap();
        assert!(done(at, &["weight", "app/b1", "7"]).contains("weight 7"));
    }
}

#[test]
fn a_drain_waits_for_what_is_in_work_and_status_says_when_nobody_is_left() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            let _ = held.lock().unwrap().recv();
            peer.answer("late");
        }
    });
    let api = Api::start(&words(&[&backend.addr.to_string()], ""));
    let addr = api.running().addresses("web")[0].to_string().parse().unwrap();
    let mut client = crate::support::Client::connect(addr);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    until("it is in work", || api.member("b1")["active"] == 1);
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .current_dir(api.folder.path())
        .args(["drain", "app/b1", "--wait"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("it drains", || api.member("b1")["state"] == "drain");
    assert!(api.member("b1")["drain_ends"].is_string() || api.member("b1")["active"] == 1);
    assert!(waiting.try_wait().unwrap().is_none(), "it waits");
    hold.send(()).unwrap();
    assert_eq!(client.response().text(), "late");
    assert!(waiting.wait().unwrap().success());
    let status = run(api.folder.path(), &["status"]);
    assert_eq!(status.status.code(), Some(1), "nobody is up");
    assert_eq!(done(api.folder.path(), &["status", "--ready"]), "ready\n", "the proxy is");
    let json = done(api.folder.path(), &["status", "--ready", "--json"]);
    assert_eq!(json, "{\"stage\":\"ready\"}\n");
}

#[test]
fn a_pool_without_backends_is_one_where_nobody_works() {
    let backend = Backend::named("one");
    let api = Api::start(&words(&[&backend.addr.to_string()], "[pool.reg]\nbackends = []"));
    let at = api.folder.path();
    let status = run(at, &["status"]);
    let said = String::from_utf8_lossy(&status.stdout);
    assert_eq!(status.status.code(), Some(1), "{said}");
    assert!(said.contains("pool reg has no backends") && !said.contains("pool app"), "{said}");
    assert!(done(at, &["backend", "list", "reg"]).contains("pool reg has no backends"));
    done(at, &["backend", "add", "reg", &backend.addr.to_string()]);
    assert!(!done(at, &["status"]).contains("has no backends"));
}

#[test]
fn top_shows_what_happens_and_drains_by_a_key() {
    let backend = Backend::named("one");
    let api = Api::start(&words(&[&backend.addr.to_string()], ""));
    let shown = json_of(api.folder.path(), &["top"]);
    let rows = shown["rows"].as_array().unwrap();
    assert_eq!(
        (rows.len(), &rows[1]["backend"], &rows[1]["state"]),
        (2, &json!("b1"), &json!("up"))
    );
    assert_eq!(rows[0]["requests_per_second"], 0.0);
    assert!(done(api.folder.path(), &["top"]).contains("  b1 "));
    let mut terminal = Terminal::open(&api);
    until("it draws", || terminal.seen().contains("b1"));
    terminal.press("d");
    until("it drains", || api.member("b1")["state"] == "drain");
    terminal.press("u");
    until("it is back", || api.member("b1")["state"] == "up");
    terminal.press("q");
    assert_eq!(terminal.over(), "0");
}

/// `top` on a terminal of its own, that of script(1).
struct Terminal<'a> {
    api: &'a Api,
    script: std::process::Child,
}

impl<'a> Terminal<'a> {
    fn open(api: &'a Api) -> Self {
        let program = env!("CARGO_BIN_EXE_evenkeel");
        let run = format!(
            "stty -a >before; sh -c 'echo $$ >pid; exec {program} top'; echo $? >code; stty -a >after"
        );
        let mut script = Command::new("script");
        script.current_dir(api.folder.path()).args(["-qfc", &run, "typescript"]);
        script.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        Self { api, script: script.spawn().unwrap() }
    }
    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.api.path(name)).unwrap_or_default()).into()
    }
    fn seen(&self) -> String {
        self.read("typescript")
    }
    fn press(&mut self, keys: &str) {
        self.script.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }
    fn pid(&self) -> String {
        self.read("pid").trim().into()
    }
    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([&format!("-{name}"), &*self.pid()]).status();
        assert!(kill.unwrap().success());
    }
    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        stat.unwrap().rsplit_once(") ").unwrap().1.starts_with('T')
    }
    /// What it ended with. The terminal is as it was.
    #[track_caller]
    fn over(mut self) -> String {
        assert!(self.script.wait().unwrap().success());
        let (before, after) = (self.read("before"), self.read("after"));
        assert!(before.contains(" icanon") && before == after, "{before}{after}");
        assert!(self.seen().contains("\u{1b}[?25h\u{1b}[?1049l"), "{:?}", self.seen());
        self.read("code").trim().into()
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn a_key_of_top_is_for_who_was_chosen_whoever_else_comes_or_goes() {
    let api = Api::start(&words(&["127.0.0.1:1", "127.0.0.1:2"], ""));
    let at = api.folder.path();
    for name in ["c1", "c2"] {
        done(at, &["backend", "add", "app", "127.0.0.1:3", "--name", name]);
    }
    let mut terminal = Terminal::open(&api);
    let marked = |terminal: &Terminal<'_>| {
        let seen = terminal.seen();
        let frame = seen.rsplit("\u{1b}[H").find(|frame| frame.contains("\u{1b}[J"));
        let marked = frame.and_then(|frame| frame.split("\u{1b}[7m>").nth(1)).map(String::from);
        marked.and_then(|line| line.split_whitespace().next().map(String::from))
    };
    until("it draws", || marked(&terminal).is_some());
    for name in ["b2", "c1"] {
        terminal.press("j");
        until("the mark moves", || marked(&terminal).as_deref() == Some(name));
    }
    done(at, &["backend", "remove", "app", "b1"]);
    until("it is seen", || {
        terminal.seen().rsplit("\u{1b}[H").nth(1).is_some_and(|f| !f.contains("b1"))
    });
    assert_eq!(marked(&terminal).as_deref(), Some("c1"));
    terminal.press("d");
    until("who was chosen drains", || api.member("c1")["state"] == "drain");
    done(at, &["backend", "remove", "app", "c1"]);
    until("it is seen", || terminal.seen().contains("app/c1 is gone: up/down choose another"));
    assert_eq!(marked(&terminal), None);
    terminal.press("dj");
    until("another is chosen", || marked(&terminal).as_deref() == Some("c2"));
    assert_eq!(api.member("c2")["state"], "up", "the key was for the one that went");
    terminal.press("d");
    until("who is chosen drains", || api.member("c2")["state"] == "drain");
    assert_eq!(api.member("b2")["state"], "up");
    terminal.press("q");
    assert_eq!(terminal.over(), "0");
}

#[test]
fn a_signal_that_ends_or_stops_top_gives_the_terminal_back() {
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    for (signal, code) in [("TERM", "143"), ("HUP", "129"), ("INT", "130"), ("USR1", "138")] {
        let terminal = Terminal::open(&api);
        until("it draws", || terminal.seen().contains("b1"));
        terminal.signal(signal);
        assert_eq!(terminal.over(), code, "{signal}");
        std::fs::remove_file(api.path("typescript")).unwrap();
    }
    let mut terminal = Terminal::open(&api);
    until("it draws", || terminal.seen().contains("b1"));
    let screens = |terminal: &Terminal<'_>| terminal.seen().matches("\u{1b}[?1049h").count();
    for by_key in [true, false] {
        let taken = screens(&terminal);
        match by_key {
            true => terminal.press("\u{1a}"),
            false => terminal.signal("TSTP"),
        }
        until("it stops", || terminal.is_stopped());
        until("the terminal is given back", || {
            let seen = terminal.seen();
            seen.rfind("\u{1b}[?1049l") > seen.rfind("\u{1b}[?1049h")
        });
        terminal.signal("CONT");
        until("it is taken again", || screens(&terminal) > taken);
    }
    terminal.press("q");
    assert_eq!(terminal.over(), "0");
}

#[test]
fn completions_and_the_manual_name_every_command() {
    let at = std::env::temp_dir();
    let (man, bash) = (done(&at, &["man"]), done(&at, &["completions", "bash"]));
    let help = done(&at, &["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 14, "{help}");
    for command in commands {
        assert!(bash.contains(command), "completions: {command}");
        let section = format!(".SH {}\n", command.to_uppercase());
        assert!(command == "help" || man.contains(&section), "man: {command}");
    }
    assert!(man.contains("fBevenkeel backend list"), "as it is called");
    assert!(man.contains(".SH EXIT STATUS\n0 done") && !man.contains("list(1)"), "one page");
    assert!(help.contains("\nExit codes: 0 done, "));
    for (below, option) in [("add", "ttl"), ("list", "json"), ("remove", "json")] {
        let at = man.find(&format!(".SH BACKEND {}\n", below.to_uppercase())).unwrap();
        let own = man[at + 1..].split("\n.SH BACKEND").next().unwrap();
        assert!(own.contains(&format!("\\-\\-{option}")), "man: backend {below} {option}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(done(&at, &["completions", shell]).contains("undrain"), "{shell}");
    }
}

/// As where `demo` runs.
#[test]
fn where_nobody_says_a_file_and_none_is_there_the_usual_socket_is_asked() {
    let backend = Backend::named("one");
    let api = Api::start(&words(&[&backend.addr.to_string()], ""));
    let at = api.folder.path();
    std::fs::remove_file(at.join("proxy.toml")).unwrap();
    assert!(done(at, &["status"]).contains("app/b1"));
    refused(at, &["status", "--config", "proxy.toml2"], 2);
}

//! What a plan may read, for whom, and that nothing else waits for it.
use crate::admin::{by_socket, words};
use crate::support::{Api, TOKEN, json, until};
use std::os::unix::net::UnixStream;

fn toml(text: &str) -> String {
    serde_json::json!({ "toml": text }).to_string()
}

#[test]
fn without_a_token_a_plan_reads_no_file_that_the_configuration_does_not_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("own.toml"), "[pool.own]\nbackends = []\n").unwrap();
    std::fs::write(at("secret.toml"), "hidden_key = \"hidden-value\"\n").unwrap();
    let sticky = "[pool.sticky]\nbackends = []\nsticky = { secret_files = [\"sticky.key\"] }\n";
    std::fs::write(at("sticky.key"), "hidden-0123456789abcdef0123456789abcdef\n").unwrap();
    let good = words(&["127.0.0.1:1"], "include = [\"own.toml\", \"conf.d/*.toml\"]") + sticky;
    let api = Api::start_in(folder, &good);
    let plan = |text: &str| api.call("POST", "/v1/plan", "", &toml(text));
    // What the file that runs names is read for everybody.
    assert_eq!(plan(&good).status, 200, "{}", plan(&good).text());
    assert_eq!(api.call("POST", "/v1/plan", "", "").status, 200);
    for (from, to, key) in [
        ("own.toml", "secret.toml", "include[0]"),
        ("own.toml", "secret.to?l", "include[0]"),
        ("own.toml", "gone.toml", "include[0]"),
        // A secret is no text, and a text no secret: a problem would quote it.
        ("own.toml", "sticky.key", "include[0]"),
        ("sticky.key", "own.toml", "pool.sticky.sticky.secret_files"),
        ("sticky.key", "secret.toml", "pool.sticky.sticky.secret_files"),
        (
            "[listener.web]",
            "[admin]\ntoken_file = \"sticky.no\"\n[listener.web]",
            "admin.token_file",
        ),
    ] {
        let refused = plan(&good.replace(from, to));
        assert_eq!(refused.status, 422, "{to}");
        assert!(!refused.text().contains("hidden"), "{}", refused.text());
        let problem = json(&refused)["problems"][0].clone();
        assert!(problem["key"].as_str().unwrap().starts_with(key), "{problem}");
        assert!(problem["what"].as_str().unwrap().contains("in force names"), "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains("Unix socket"), "{problem}");
    }
    let path = serde_json::json!({ "path": api.path("secret.toml") }).to_string();
    let refused = api.call("POST", "/v1/plan", "", &path);
    assert_eq!((refused.status, &json(&refused)["field"]), (422, &"path".into()));
    // The owner reads everything.
    let mut socket = UnixStream::connect(api.path("state/admin.sock")).unwrap();
    let answer = by_socket(&mut socket, &path);
    assert!(answer.contains("hidden_key"), "{answer}");
}

#[test]
fn with_the_token_a_plan_reads_files_but_none_that_is_none() {
    let api = Api::start(&words(&["127.0.0.1:1"], "[admin]\ntoken_file = \"admin.token\""));
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let plan = |body: &str| {
        let answer = api.call("POST", "/v1/plan", &bearer, body);
        (answer.status, answer.text())
    };
    std::fs::write(api.path("other.toml"), "nonsense = 1\n").unwrap();
    let path = |path: &str| serde_json::json!({ "path": api.path(path) }).to_string();
    assert!(plan(&path("other.toml")).1.contains("unknown key"));
    for none in
        ["/dev/null", "/proc/kmsg", "/proc/self/environ", "/tmp", "/sys/kernel/uevent_seqnum"]
    {
        let (status, said) = plan(&path(none));
        assert_eq!(status, 422, "{said}");
        // Where it is not there that is said.
        assert!(said.contains("is not a file") || said.contains("No such file"), "{said}");
    }
}

#[test]
fn nothing_waits_for_plans_and_who_leaves_asks_for_none() {
    let more = "[admin]\nlimits = { time = \"1s\", connections = 64 }";
    let file = words(&["127.0.0.1:1"], more);
    let api = Api::start(&file);
    // Wrong in every line: a while to say so.
    let long = toml(&"a=1\n".repeat(100_000));
    let ask = |body: &str| {
        let mut client = api.client();
        let length = body.len();
        client.send(format!(
            "POST /v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ));
        client
    };
    let mut all: Vec<_> = (0..20).map(|_| ask(&long)).collect();
    // Writes and reloads have their threads, whoever plans.
    for weight in 2..6 {
        let body = serde_json::json!({ "weight": weight }).to_string();
        let done = api.call("PATCH", "/v1/pools/app/backends/b1", "", &body);
        assert_eq!(done.status, 200, "{}", done.text());
        assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    }
    let answers: Vec<_> = all.iter_mut().map(crate::support::Client::response).collect();
    drop(all);
    let late: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(answers.iter().all(|answer| matches!(answer.status, 422 | 503)), "{answers:?}");
    for answer in late {
        assert_eq!(answer.field("retry-after"), Some("1"));
        assert!(answer.text().contains("another plan is made"), "{}", answer.text());
    }
    // Whose caller is gone are not made: the next one has its turn.
    drop((0..20).map(|_| ask(&long)).collect::<Vec<_>>());
    until("the turn is free", || api.call("POST", "/v1/plan", "", "").status == 200);
}

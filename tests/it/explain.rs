//! What explain says is what requests then get, and asking moves nothing.
use crate::support::{Api, Backend, Client, json, until};
use evenkeel::config::BindAddr;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

/// Routes of every kind, pools of every policy that keeps an order or a key; `{b}` is a list of three.
const FILE: &str = r#"
[log]
access = { to = "access.log", format = "json" }
[listener.web]
bind = "127.0.0.1:0"
protocol = "http"
pool = "turns"
trusted_proxies = ["127.0.0.1"]
[[route]]
name = "exact"
host = ["api.test", "*.wild.test"]
path = { exact = "/x" }
pool = "turns"
[[route]]
name = "prefix"
host = "api.test"
path = "/v1"
pool = "heavy"
[[route]]
name = "numbers"
host = "api.test"
path = { regex = "^/n/[0-9]+$" }
pool = "turns"
[[route]]
name = "posts"
host = "api.test"
path = "/v1"
method = ["POST", "PURGE"]
pool = "turns"
[[route]]
name = "gold"
host = "api.test"
path = "/v1"
header = { "x-tier" = "gold" }
pool = "turns"
[[route]]
name = "silver"
host = "api.test"
path = "/v1"
header = { "x-tier" = { regex = "^s" }, "x-more" = { present = true } }
pool = "turns"
[[route]]
name = "debug"
host = "api.test"
path = "/v1"
query = { debug = "1" }
pool = "turns"
[[route]]
name = "user"
path = "/user"
pool = "by_user"
[[route]]
name = "where"
path = "/where"
pool = "by_client"
[[route]]
name = "page"
path = "/page"
pool = "by_path"
[[route]]
name = "split"
path = "/split"
pools = { turns = 3, by_user = 2, heavy = 1 }
split_by = ["header:x-user", "client_ip"]
[[route]]
name = "chance"
path = "/chance"
pools = { turns = 1, heavy = 1 }
[[route]]
name = "strict"
path = "/strict"
encoded_slash = "refuse"
pool = "turns"
[[route]]
name = "moved"
path = "/moved"
redirect = { host = "new.test" }
[[route]]
name = "closed"
path = "/closed"
respond = { status = 403 }
[[route]]
name = "nobody"
path = "/nobody"
pool = "nobody"
[pool.turns]
backends = [{b}]
[pool.heavy]
balance = "round_robin"
backends = [{b0}, { name = "b2", addr = "{a1}", weight = 5 }, { name = "b3", addr = "{a2}", weight = 3 }]
[pool.by_user]
balance = { policy = "consistent_hash", key = ["header:x-user", "query:id"], combine = "first", fallback = "round_robin" }
backends = [{b}]
[pool.by_client]
balance = { policy = "consistent_hash", key = "client_ip", table = "ring", bounded_load = 1.25 }
backends = [{b}]
[pool.by_path]
balance = { policy = "consistent_hash", key = ["path", "cookie:sid"] }
backends = [{b}]
[pool.nobody]
backends = []
"#;

struct World {
    api: Api,
    _backends: [Backend; 3],
    addr: SocketAddr,
}

fn world() -> World {
    let backends = [Backend::named("b1"), Backend::named("b2"), Backend::named("b3")];
    let one = |n: usize| format!("{{ name = \"b{}\", addr = \"{}\" }}", n + 1, backends[n].addr);
    let file = FILE
        .replace("{b}", &(0..3).map(one).collect::<Vec<_>>().join(", "))
        .replace("{b0}", &one(0))
        .replace("{a1}", &backends[1].addr.to_string())
        .replace("{a2}", &backends[2].addr.to_string());
    let api = Api::start(&file);
    let addr = match api.running().addresses("web").first() {
        Some(BindAddr::Ip(addr)) => *addr,
        other => panic!("{other:?}"),
    };
    World { api, _backends: backends, addr }
}

/// A request: method, host, target, fields.
type Ask<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)]);

impl World {
    #[track_caller]
    fn explain(&self, (method, host, target, fields): Ask<'_>) -> Value {
        let encoded = |text: &str| -> String {
            let byte = |b: u8| match b.is_ascii_alphanumeric() {
                true => char::from(b).to_string(),
                false => format!("%{b:02X}"),
            };
            text.bytes().map(byte).collect()
        };
        let url = encoded(&format!("http://{host}{target}"));
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!("&header={}", encoded(&format!("{name}: {value}"))))
            .collect();
        self.api.get(&format!("/v1/explain?method={method}&url={url}{fields}&client=127.0.0.1"))
    }

    /// Asks really: its status, and its line in the access log.
    fn really(&self, (method, host, target, fields): Ask<'_>, id: &str) -> (u16, Value) {
        let mut client = Client::connect(self.addr);
        let fields: String = fields.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: {id}\r\nConnection: close\r\n{fields}\r\n"
        ));
        let status = client.response_to(method).status;
        let path = self.api.path("access.log");
        let mut line = Value::Null;
        until("it is logged", || {
            let said = std::fs::read_to_string(&path).unwrap_or_default();
            let found = said.lines().find(|line| line.contains(&format!("\"{id}\"")));
            line = found.map_or(Value::Null, |line| serde_json::from_str(line).unwrap_or_default());
            !line.is_null()
        });
        (status, line)
    }
}

#[test]
fn what_is_said_is_what_requests_get() {
    let world = world();
    let users: Vec<String> = (0..25).map(|n| format!("user-{n}")).collect();
    let fields: Vec<[(&str, &str); 1]> = users.iter().map(|user| [("X-User", &**user)]).collect();
    let clients: Vec<String> = (1..25).map(|n| format!("10.0.{n}.7")).collect();
    let from: Vec<[(&str, &str); 1]> =
        clients.iter().map(|client| [("X-Forwarded-For", &**client)]).collect();
    let pages: Vec<String> = (0..25).map(|n| format!("/page/{n}?x={n}")).collect();
    let mut asks: Vec<Ask<'_>> = vec![
        ("GET", "api.test", "/x", &[]),
        ("GET", "API.test:80", "/x?y", &[]),
        ("GET", "a.b.wild.test", "/x", &[]),
        ("GET", "wild.test", "/x", &[]),
        ("GET", "api.test", "/v1", &[]),
        ("GET", "api.test.", "/v1/a/../b", &[]),
        ("GET", "api.test", "/v10", &[]),
        ("POST", "api.test", "/v1/a", &[]),
        ("PURGE", "api.test", "/v1", &[]),
        ("GET", "api.test", "/n/42", &[]),
        ("GET", "api.test", "/n/x", &[]),
        ("GET", "api.test", "/v1", &[("X-Tier", "gold")]),
        ("GET", "api.test", "/v1", &[("X-Tier", "bronze"), ("x-tier", "gold")]),
        ("GET", "api.test", "/v1", &[("X-Tier", "silver")]),
        ("GET", "api.test", "/v1", &[("X-Tier", "silver"), ("X-More", "")]),
        ("GET", "api.test", "/v1?debug=1", &[]),
        ("GET", "api.test", "/v1?debug=%31", &[]),
        ("GET", "api.test", "/v1?debug=2&debug=1", &[]),
        ("GET", "other.test", "/user?id=7", &[]),
        ("GET", "other.test", "/user", &[]),
        ("GET", "other.test", "/page", &[("Cookie", "a=1; sid=s")]),
        ("GET", "other.test", "/strict/a%2fb", &[]),
        ("GET", "other.test", "/strict/a", &[]),
        ("GET", "other.test", "/moved", &[]),
        ("GET", "other.test", "/closed", &[]),
        ("GET", "other.test", "/nobody", &[]),
        ("TRACE", "other.test", "/", &[]),
        ("OPTIONS", "other.test", "/", &[("Max-Forwards", "0")]),
        ("OPTIONS", "other.test", "/", &[("Max-Forwards", "1")]),
        ("GET", "other.test", "/", &[("Max-Forwards", "0")]),
        ("GET", "other.test", "/a/..%2fb", &[]),
        ("GET", "api.test", "/v1", &[("Expect", "foo")]),
        ("GET", "api.test", "/v1", &[("Transfer-Encoding", "gzip")]),
        ("GET", "api.test", "/v1", &[("Content-Length", "+5")]),
        ("GET", "api.test", "/v1", &[("Content-Length", "1"), ("Content-Length", "1")]),
    ];
    asks.extend(fields.iter().map(|f| ("GET", "u.test", "/user", &f[..])));
    asks.extend(fields.iter().map(|f| ("GET", "u.test", "/split", &f[..])));
    asks.extend(from.iter().map(|f| ("GET", "u.test", "/where", &f[..])));
    asks.extend(from.iter().map(|f| ("GET", "u.test", "/split", &f[..])));
    asks.extend(pages.iter().map(|page| ("GET", "u.test", &**page, &[][..])));
    asks.extend((0..12).map(|_| ("GET", "api.test", "/v1", &[][..])));
    let (mut routes, mut backends, mut answers) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (n, ask) in asks.into_iter().enumerate() {
        let said = world.explain(ask);
        let (status, line) = world.really(ask, &format!("id-{n}"));
        let or = |value: &Value, none: &str| value.as_str().unwrap_or(none).to_string();
        assert_eq!(or(&said["route"], "none"), line["route"], "{ask:?}: {said} {line}");
        assert_eq!(or(&said["pool"], "none"), line["pool"], "{ask:?}: {said} {line}");
        if said["answer"].is_null() {
            assert_eq!(
                or(&said["pick"]["backend"], "-"),
                line["backend"],
                "{ask:?}: {said} {line}"
            );
            backends.insert(or(&said["pick"]["backend"], "-"));
            let expected = if said["pick"].is_null() { 503 } else { 200 };
            assert_eq!(status, expected, "{ask:?}");
        } else {
            answers += 1;
            assert_eq!(
                (&said["answer"]["status"], &said["answer"]["reason"]),
                (&status.into(), &line["reason"]),
                "{ask:?}"
            );
        }
        // Exactly the one that takes it is said to; each other says why not.
        let rules = said["rules"].as_array().unwrap();
        for rule in rules {
            assert!(!rule["why"].as_str().unwrap().is_empty());
            assert!(rule["route"] != said["route"] || rule["matched"] == true, "{ask:?}: {rule}");
        }
        routes.insert(or(&said["route"], "none"));
    }
    assert_eq!((routes.len(), backends.len(), answers), (17, 3, 11), "{routes:?} {backends:?}");
}

#[test]
fn asking_moves_no_schedule_and_no_counter() {
    let world = world();
    let ask: Ask<'_> = ("GET", "api.test", "/v1", &[]);
    let counters = || {
        let metrics = world.api.call("GET", "/metrics", "", "").text();
        let names =
            ["balancer_", "requests_total", "sticky", "limit", "retries", "queue", "active"];
        let still =
            |line: &&str| names.iter().any(|name| line.contains(name)) && !line.contains("_admin_");
        metrics.lines().filter(still).map(str::to_string).collect::<Vec<_>>()
    };
    world.really(ask, "first");
    let before = counters();
    let first = world.explain(ask);
    for _ in 0..100 {
        let again = world.explain(ask);
        assert_eq!((&again["pick"], &again["runner_up"]), (&first["pick"], &first["runner_up"]));
        assert_ne!(again["pick"]["backend"], again["runner_up"]);
        world.explain(("GET", "u.test", "/user", &[("X-User", "7")]));
        world.explain(("GET", "u.test", "/where", &[]));
    }
    assert_eq!(before, counters());
    let (_, line) = world.really(ask, "then");
    assert_eq!(line["backend"], first["pick"]["backend"]);
}

#[test]
fn rules_say_why_and_candidates_how_they_are() {
    let world = world();
    let drained =
        world.api.call("PATCH", "/v1/pools/turns/backends/b2", "", "{\"state\":\"drain\"}");
    assert_eq!(drained.status, 200);
    let mut said = Value::Null;
    until("it is drained", || {
        said = world.explain(("GET", "api.test", "/v1", &[("X-Tier", "gold")]));
        said["candidates"][1]["open"] == false
    });
    let why = |route: &str| {
        let rules = said["rules"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["route"] == route).unwrap();
        (rule["matched"].as_bool().unwrap(), rule["why"].as_str().unwrap().to_string())
    };
    for (route, matched, words) in [
        ("exact", false, "path /v1 is not /x"),
        ("prefix", true, "matches, but gold comes first"),
        ("numbers", false, "path /v1 is not matched by ^/n/[0-9]+$"),
        ("posts", false, "method GET is not POST or PURGE"),
        ("gold", true, "the most specific that matches"),
        ("silver", false, "header x-tier is \"gold\", not matched by ^s"),
        ("debug", false, "query debug is not \"1\""),
        ("default", false, "only where no route matches, and gold does"),
    ] {
        assert_eq!(why(route), (matched, words.to_string()), "{route}");
    }
    let names: Vec<_> =
        said["candidates"].as_array().unwrap().iter().map(|c| &c["backend"]).collect();
    assert_eq!(names, ["b1", "b2", "b3"]);
    assert_eq!(said["candidates"][1]["state"], "drain");
    assert!(said["pick"]["backend"] != "b2" && said["runner_up"] != "b2");
    assert_eq!(said["pick"]["why"], "round_robin");
    let key = world.explain(("GET", "u.test", "/user", &[("X-User", "7")]));
    assert_eq!(
        key["key"]["parts"][0],
        serde_json::json!({ "part": "header:x-user", "value": "7" })
    );
    assert!(key["key"]["parts"][1]["value"].is_null());
    assert_eq!(key["pick"]["why"], "consistent_hash");
    // Without a key it is not the hash that picks.
    let none = world.explain(("GET", "u.test", "/user", &[]));
    assert_eq!((&none["pick"]["why"], none["hash"].is_null()), (&"fallback".into(), true));
    let split = world.explain(("GET", "u.test", "/split", &[]));
    assert_eq!(split["shares"].as_array().unwrap().len(), 3);
    for (query, status) in [
        ("", 422),
        ("url=ftp://a/", 422),
        ("url=https://a.test/", 422),
        ("url=/x&listener=none", 404),
        ("url=/x&client=x", 422),
        ("url=/x&header=x", 422),
        ("url=/x&header=a%20b:c", 422),
        ("url=/x&method=G%20T", 422),
        ("url=/x&url=/y", 422),
        ("url=/%01", 422),
        ("what=x", 422),
        ("id=none", 404),
        ("id=none&url=/x", 422),
        ("url=%zz", 400),
    ] {
        let answer = world.api.call("GET", &format!("/v1/explain?{query}"), "", "");
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert!(json(&answer)["detail"].is_string());
    }
    let told =
        json(&world.api.call("GET", "/v1/explain?url=https://a.test/", "", ""))["detail"].clone();
    let told = told.as_str().unwrap();
    assert!(
        told.starts_with("no listener speaks https: say to which one it comes, as listener="),
        "{told}"
    );
}

#[test]
fn a_pool_without_room_says_who_waits() {
    let backend = Backend::run(|peer| while peer.request().is_some() {});
    let file = crate::admin::words(&[&backend.addr.to_string()], "")
        + "max_active = 1\nqueue = { size = 2, timeout = \"1h\" }\n";
    let api = Api::start(&file);
    let addr = api.running().addresses("web")[0].to_string().parse().unwrap();
    let explain = || api.get("/v1/explain?url=/x");
    assert!(explain()["queue"].is_null());
    let ask = || {
        let mut client = Client::connect(addr);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client
    };
    let mut clients = vec![ask()];
    until("it is in work", || backend.connections() == 1);
    for waiting in 0..3 {
        let queue = serde_json::json!({ "waiting": waiting, "size": 2, "timeout": 3600.0 });
        until("they wait", || explain()["queue"] == queue);
        let said = explain();
        assert!(said["pick"].is_null());
        let reason = if waiting == 2 { "queue".into() } else { Value::Null };
        assert_eq!(said["answer"]["reason"], reason);
        if waiting < 2 {
            clients.push(ask());
        }
    }
}

#[test]
fn a_name_that_tls_asks_for_is_led_as_connections_are() {
    const FILE: &str = r#"
[listener.tls]
bind = "127.0.0.1:0"
protocol = "tcp"
tls = "passthrough"
{default}
[[route]]
name = "any"
sni = "*.a.test"
pool = "app"
[[route]]
name = "one"
sni = ["x.a.test", "b.test"]
pools = { app = 3, other = 1 }
[pool.app]
balance = { policy = "consistent_hash", key = "client_ip" }
backends = [{ name = "b1", addr = "127.0.0.1:1" }]
[pool.other]
backends = []
"#;
    let api = Api::start(&FILE.replace("{default}", ""));
    let led = |name: &str| api.get(&format!("/v1/explain?sni={name}&client=10.1.2.3"));
    let any = led("Y.a.test.");
    assert_eq!((&any["route"], &any["pick"]["backend"]), (&"any".into(), &"b1".into()));
    assert_eq!(any["key"]["parts"][0]["value"], "10.1.2.3");
    assert_eq!(any["rules"][1]["why"], "sni y.a.test is not x.a.test or b.test");
    let one = led("x.a.test");
    assert_eq!((&one["route"], one["shares"].as_array().unwrap().len()), (&"one".into(), 2));
    assert_eq!(one["rules"][0]["why"], "matches, but one comes first");
    for nobody in ["c.test", ""] {
        let said = led(nobody);
        assert_eq!(said["answer"], serde_json::json!({ "status": null, "reason": "no_route" }));
    }
    for (query, status) in
        [("sni=a..b", 422), ("sni=a.test&url=/x", 422), ("sni=a.test&listener=none", 404)]
    {
        let answer = api.call("GET", &format!("/v1/explain?{query}"), "", "");
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
    }
    api.edit(&FILE.replace("{default}", "pool = \"other\""));
    assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    let said = led("");
    assert_eq!(
        (&said["route"], &said["answer"]["reason"]),
        (&"default".into(), &"no_backend".into())
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .current_dir(api.folder.path())
        .args(["explain", "--sni", "b.test"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("> route one: the most specific that matches"), "{text}");
}

#[test]
fn a_request_that_happened_is_explained_by_its_id() {
    let world = world();
    assert_eq!(world.really(("GET", "api.test", "/nobody", &[]), "lost").0, 503);
    let path = "/v1/explain?id=lost";
    until("it is kept", || world.api.call("GET", path, "", "").status == 200);
    let said = world.api.get(path);
    assert_eq!((&said["route"], &said["pool"]), (&"nobody".into(), &"nobody".into()));
    assert_eq!(said["answer"]["reason"], "no_backend");
    assert_eq!(said["request"]["target"], "/nobody");
    let run = |args: &[&str]| {
        let program = env!("CARGO_BIN_EXE_evenkeel");
        let output =
            Command::new(program).current_dir(world.api.folder.path()).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), said)
    };
    let (code, said) = run(&["explain", "--request", "lost"]);
    assert!(
        code == 0 && said.contains("> route nobody") && said.contains("503 no_backend"),
        "{said}"
    );
    let (code, said) = run(&["explain", "POST", "http://api.test/v1", "-H", "X-Tier: gold"]);
    assert!(code == 0 && said.contains("> route posts") && said.contains("picked b"), "{said}");
    let (code, said) = run(&["explain", "/where", "--client", "10.1.2.3", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["key"]["parts"][0]["value"]), (0, &"10.1.2.3".into()));
    assert_eq!(run(&["explain"]).0, 2);
    // What is wrong with the question is told by nobody's answer, also where nobody could answer.
    let elsewhere = ["--admin", "unix:/nobody/admin.sock"];
    for wrong in [
        &["explain", "h:8088/hk"][..],
        &["explain", "/x", "--client", "nope"],
        &["explain", "/x", "-H", "bad"],
        &["explain", "/x", "-H", "bad name: x"],
        &["explain", "GE T", "/x"],
        &["explain", "--sni", "a b"],
    ] {
        assert_eq!(run(wrong).0, 2, "{wrong:?}");
        assert_eq!(run(&[wrong, &elsewhere].concat()).0, 2, "{wrong:?}");
    }
    assert_eq!(run(&[&["explain", "/x"], &elsewhere[..]].concat()).0, 3);
    assert_eq!(run(&["explain", "--request", "unknown"]).0, 1);
}

#[test]
fn parameters_are_read_as_forms_write_them() {
    let world = world();
    let said = |field: &str| {
        let path = format!("/v1/explain?url=http%3A%2F%2Fapi.test%2Fv1&header={field}");
        world.api.get(&path)["route"].clone()
    };
    assert_eq!(said("X-Tier%3A+gold"), "gold");
    assert_eq!(said("X-Tier%3A%20gold"), "gold");
    assert_eq!(said("X-Tier%3A%2Bgold"), "prefix", "a plus");
}

#[test]
fn a_rate_limit_is_looked_at_and_no_token_is_taken() {
    let backend = Backend::named("b1");
    let api = Api::start(&format!(
        "[listener.web]\nprotocol = \"http\"\nbind = \"127.0.0.1:0\"\n[listener.raw]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\n\
         pool = \"app\"\n[[route]]\nname = \"r\"\npath = \"/\"\npool = \"app\"\n\
         rate_limit = {{ key = \"header:x\", rate = \"1/m\", burst = 2 }}\n\
         [pool.app]\nmax_active = 1\nbackends = [{{ name = \"b1\", addr = \"{}\" }}]\n",
        backend.addr
    ));
    let addr = |name: &str| match api.running().addresses(name).first() {
        Some(BindAddr::Ip(addr)) => *addr,
        other => panic!("{other:?}"),
    };
    let said = |x: &str| api.get(&format!("/v1/explain?url=http://a.test/&header=x:{x}"));
    let mut client = Client::connect(addr("web"));
    for (n, left) in [2, 1].into_iter().enumerate() {
        for _ in 0..3 {
            let said = said("a");
            assert_eq!(
                (&said["rate_limit"]["left"], &said["answer"]),
                (&left.into(), &Value::Null)
            );
            assert_eq!(said["pick"]["backend"], "b1");
        }
        assert_eq!(client.ask("GET", "/", "x: a\r\n").status, 200, "{n}");
    }
    let none = said("a");
    assert_eq!(
        (&none["answer"]["status"], &none["answer"]["reason"]),
        (&429.into(), &"rate_limited".into())
    );
    assert!(
        none["rate_limit"]["wait"].as_u64().is_some_and(|wait| wait > 0) && none["pick"].is_null(),
        "{none}"
    );
    assert_eq!(client.ask("GET", "/", "x: a\r\n").status, 429);
    assert_eq!(said("b")["rate_limit"]["left"], 2, "of another key");
    // What is too long, and what is another listener's.
    let long = api.get(&format!("/v1/explain?url=/{}", "x".repeat(9_000)));
    assert_eq!(
        (&long["answer"]["status"], &long["answer"]["reason"]),
        (&414.into(), &"target_too_long".into())
    );
    let raw =
        api.call("GET", &format!("/v1/explain?url=http://a.test:{}/", addr("raw").port()), "", "");
    assert_eq!(raw.status, 422, "{}", raw.text());
    assert!(raw.text().contains("is of listener raw, which carries no requests"), "{}", raw.text());
}

//! The files of `examples/`: each is right, and does what its comments say.
use crate::grpc;
use crate::support::{Backend, Client, Proxy, Response, config, until};
use evenkeel::server::Options;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../../examples/embed_policy.rs"]
#[allow(dead_code, reason = "its main is for people")]
mod embed_policy;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

#[test]
fn every_example_passes_the_check() {
    let mut checked = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{} says first what it is for", path.display());
        let done = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["check", "-c"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        checked += 1;
    }
    assert!(checked >= 8, "{checked} examples");
}

/// Sends one request and hears the answer.
fn ask(proxy: &Proxy, host: &str, target: &str, fields: &str) -> Response {
    let mut client = Client::connect(proxy.addr());
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n"
    ));
    client.response()
}

#[test]
fn the_routes_go_where_their_comments_say() {
    let text = std::fs::read_to_string(folder().join("routes.toml")).unwrap();
    // Every address becomes that of a backend that answers with what it got. A pool is known by
    // the name of its first backend, which is the address the file says.
    let echo = Backend::echo();
    let mut toml = String::new();
    for line in text.lines() {
        match line.strip_prefix("backends = [\"") {
            Some(rest) => {
                let name = rest.split('"').next().unwrap();
                toml +=
                    &format!("backends = [{{ name = \"{name}\", addr = \"{}\" }}]\n", echo.addr);
            }
            None => toml += &format!("{line}\n"),
        }
    }
    let toml = toml
        .replace("\"10.0.0.3:8080\"", &format!("\"{}\"", echo.addr))
        .replace("\"10.0.0.4:8080\"", &format!("\"{}\"", echo.addr))
        .replace("0.0.0.0:8080", "127.0.0.1:0");
    let proxy = Proxy::start(&toml);
    let picks = |pool: &str| {
        let plan = proxy.running().state().plan.load_full().unwrap();
        plan.pools[pool].members().iter().map(|m| m.backend.picks().policy.get()).sum::<u64>()
    };
    for (host, target, fields, pool, line) in [
        ("api.example.com", "/v1/users", "X-Debug: 1\r\n", "api", "GET /v1/users HTTP/1.1"),
        ("API.example.com.:80", "/v1", "X-Tier: gold\r\n", "api-next", "GET /v1 HTTP/1.1"),
        ("api.example.com", "/v1", "X-Tier: gold\r\nX-Trial: y\r\n", "api", "GET /v1 HTTP/1.1"),
        ("a.b.example.org", "/v1x", "", "tenants", "GET /v1x HTTP/1.1"),
        ("example.org", "/v2/users?a=b", "", "api", "GET /users?a=b HTTP/1.1"),
        ("x.test", "/v2", "", "api", "GET / HTTP/1.1"),
        ("x.test", "/files/2026/r.pdf", "", "site", "GET /r.pdf?year=2026 HTTP/1.1"),
        ("x.test", "/blog?a=1&preview=1", "", "site-next", "GET /blog?a=1&preview=1 HTTP/1.1"),
        ("x.test", "/blog?draft=12", "", "site-next", "GET /blog?draft=12 HTTP/1.1"),
        ("x.test", "/blog?draft=x", "", "site", "GET /blog?draft=x HTTP/1.1"),
    ] {
        let before = picks(pool);
        let answer = ask(&proxy, host, target, fields);
        let got = answer.text();
        assert_eq!((answer.status, got.lines().next()), (200, Some(line)), "{host}{target}");
        assert_eq!(picks(pool), before + 1, "{host}{target} went to another pool than {pool}");
        assert_eq!(got.contains("Host: legacy.internal"), target.starts_with("/v2"), "{got}");
    }
    let api = ask(&proxy, "api.example.com", "/v1", "X-Debug: 1\r\n");
    assert_eq!(api.field("X-Served-By"), Some("evenkeel"));
    assert!(
        api.text().contains("X-Env: prod") && !api.text().contains("X-Debug"),
        "{}",
        api.text()
    );
    assert!(api.text().contains("Host: api.internal"), "{}", api.text());
    for (host, target, status, location) in [
        ("shop.example.net", "/a?b=c", 301, Some("https://shop.example.com/a?b=c")),
        ("x.test", "/docs/a?b", 308, Some("http://x.test/manual/a?b")),
        ("x.test", "/robots.txt", 200, None),
        ("x.test", "/admin/x", 404, None),
        ("x.test", "/files/1/a%2fb", 400, None),
    ] {
        let answer = ask(&proxy, host, target, "");
        assert_eq!((answer.status, answer.field("Location")), (status, location), "{host}{target}");
    }
}

#[test]
fn a_policy_of_ones_own_steers_requests() {
    // Each request is in work for as long as its client keeps its body back.
    let slow = |name: &'static str| {
        Backend::run(move |peer| {
            while peer.request().is_some() {
                peer.bytes(1);
                peer.answer(name);
            }
        })
    };
    let all = [slow("b1"), slow("b2"), slow("b3")];
    let toml = format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n[pool.app]\nbalance = \"fill-up\"\nbackends = [{}]\n",
        all.iter()
            .zip(["b3", "b1", "b2"])
            .map(|(backend, name)| format!(
                "{{ name = \"{name}\", addr = \"{}\", weight = 2 }}",
                backend.addr
            ))
            .collect::<Vec<_>>()
            .join(", ")
    );
    let options = Options { policies: embed_policy::policies(), ..Options::default() };
    let proxy = Proxy::start_with(&toml, options);
    let active = || {
        let plan = proxy.running().state().plan.load_full().unwrap();
        let mut all: Vec<_> = plan.pools["app"]
            .members()
            .iter()
            .map(|m| (m.backend.name.to_string(), m.backend.active()))
            .collect();
        all.sort();
        all.into_iter().map(|(_, active)| active).collect::<Vec<_>>()
    };
    let begin = |wanted: [u32; 3]| {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\n");
        until(&format!("{wanted:?} are in work"), || active() == wanted);
        client
    };
    let wanted = [[1, 0, 0], [2, 0, 0], [2, 1, 0], [2, 2, 0], [2, 2, 1], [2, 2, 2]];
    let mut clients: Vec<Client> = wanted.into_iter().map(begin).collect();
    // One of the first backend ends: the next request goes there again.
    clients[0].send("x");
    assert_eq!(clients[0].response().status, 200);
    until("its lease is settled", || active() == [1, 2, 2]);
    begin([2, 2, 2]);
}

#[test]
fn without_the_policy_its_word_is_a_problem() {
    let toml = "[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n[pool.app]\nbalance = \"fill_up\"\nbackends = []\n";
    let config = std::sync::Arc::new(config(toml));
    let compile = |policies| evenkeel::plan::compile(config.clone(), None, &policies);
    assert!(compile(embed_policy::policies()).is_ok());
    let problems = compile(evenkeel::pool::Policies::default()).unwrap_err();
    assert!(problems[0].to_string().contains("no policy named \"fill_up\""), "{}", problems[0]);
}

/// An example as a test runs it: every listener on a port of its own, the log in a folder.
fn read(name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(folder().join(name)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{name} does not say {from}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn the_proxy_protocol_is_taken_and_sent_as_its_comments_say() {
    let echo = Backend::echo();
    // It waits for a header, says its greeting, and what the header said.
    let smtp = Backend::run(|peer| {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let Some(byte) = peer.byte() else { return };
            line.push(byte);
        }
        peer.send("220 hello\r\n");
        peer.send(line);
    });
    let log = tempfile::tempdir().unwrap();
    let log = log.path().join("access.log").display().to_string();
    let proxy = Proxy::start(&read(
        "proxy_protocol.toml",
        &[
            ("access.log", &log),
            ("10.0.0.0/8", "127.0.0.1"),
            ("0.0.0.0:8080", "127.0.0.1:0"),
            ("0.0.0.0:2525", "127.0.0.1:0"),
            ("10.1.0.1:8080", &echo.addr.to_string()),
            (", \"10.1.0.2:8080\"", ""),
            ("10.1.0.3:25", &smtp.addr.to_string()),
            (", \"10.1.0.4:25\"", ""),
        ],
    ));
    let header = "PROXY TCP4 192.0.2.9 198.51.100.2 51234 25\r\n";
    let mut client = proxy.client();
    client.send(header);
    let answer = client.ask("GET", "/", "").text();
    assert!(answer.contains("X-Forwarded-For: 192.0.2.9"), "{answer}");
    let mut without = proxy.client();
    without.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(without.is_closed());
    let mut mail = Client::connect(proxy.addr_of("smtp"));
    mail.send(header);
    assert_eq!(mail.rest(), format!("220 hello\r\n{header}").into_bytes());
}

#[test]
fn calls_go_as_the_examples_of_grpc_say() {
    // The pair of the file itself is everybody's: backends and the client verify by it, too.
    let certs = grpc::certs();
    for (from, to) in [("pem", "ca.pem"), ("pem", "a.pem"), ("key", "a.key")] {
        let pair = folder().join("tls/localhost").with_extension(from);
        std::fs::copy(pair, certs.path(to)).unwrap();
    }
    let all = ["a", "b"].map(|name| grpc::serve(name, Some(&certs), &[]));
    let proxy = Proxy::start(&read(
        "grpc_tls.toml",
        &[
            ("127.0.0.1:8443", "127.0.0.1:0"),
            ("\"tls/", &format!("\"{}/tls/", folder().display())),
            ("127.0.0.1:50051", &all[0].addr.to_string()),
            ("127.0.0.1:50052", &all[1].addr.to_string()),
        ],
    ));
    let mut talk = grpc::Talk::by(proxy.addr_of("calls"), Some(&certs));
    until("both are up", || talk.ask("calls 20") == "10 a, 10 b");

    let all = ["a", "b"].map(|name| grpc::serve(name, None, &[]));
    let proxy = Proxy::start(&read(
        "grpc.toml",
        &[
            ("0.0.0.0:8080", "127.0.0.1:0"),
            ("path = \"/shop.Orders\"", "path = \"/test.T\""),
            ("grpc = \"shop.Orders\"", "grpc = \"app.Good\""),
            ("10.0.0.1:50051", &all[0].addr.to_string()),
            ("10.0.0.2:50051", &all[1].addr.to_string()),
        ],
    ));
    let mut talk = grpc::Talk::new(proxy.addr());
    until("both are up", || {
        let mut two: Vec<String> = (0..2).map(|n| talk.ask(&format!("open {n}"))).collect();
        (0..2).for_each(|n| drop(talk.ask(&format!("end {n}"))));
        two.sort();
        two == ["a hello", "b hello"]
    });
}

#[test]
fn names_of_tls_go_where_the_comments_say() {
    // Each answers with its letter as soon as a hello was passed on to it.
    let named = |name: &'static str| {
        Backend::run(move |peer| {
            if peer.byte() == Some(22) {
                peer.send(name);
            }
        })
    };
    let all = ["site", "shop", "tenants"].map(|name| (name, named(name)));
    let addr = |at: usize| all[at].1.addr.to_string();
    let proxy = Proxy::start(&read(
        "passthrough.toml",
        &[
            ("0.0.0.0:8443", "127.0.0.1:0"),
            ("\"10.0.0.1:8443\", \"10.0.0.2:8443\"", &format!("\"{}\"", addr(0))),
            ("\"10.0.0.3:8443\", \"10.0.0.4:8443\"", &format!("\"{}\"", addr(1))),
            ("send_proxy_protocol = \"v2\"", "# no header"),
            (", proxy_protocol = true", ""),
            ("10.0.0.5:8443", &addr(2)),
            ("10.0.0.6:8443", &addr(2)),
        ],
    ));
    for (name, pool) in [
        ("shop.example.com", "shop"),
        ("a.tenants.example.com", "tenants"),
        ("a.b.tenants.example.com", "tenants"),
        ("tenants.example.com", "site"),
        ("other.test", "site"),
    ] {
        let mut client = Client::connect(proxy.addr_of("tls"));
        client.send(crate::passthrough::plain_hello(name));
        assert_eq!(String::from_utf8(client.rest()).unwrap(), pool, "{name}");
    }
}

/// The lines of an example's first comment that are to be typed.
fn typed(name: &str) -> Vec<String> {
    let text = read(name, &[]);
    let lines = text.lines().take_while(|line| line.starts_with('#'));
    let typed = lines.filter_map(|line| line.strip_prefix("#     "));
    typed.map(str::to_owned).collect()
}

/// A process that is ended with the test.
struct Typed(std::process::Child);

impl Drop for Typed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_the_example_of_tls_has_one_type_runs_as_it_stands_there() {
    let ports: Vec<(String, String)> = ["9001", "9002", "8443", "8080", "9443"]
        .map(|port| (format!(":{port}"), format!(":{}", crate::support::nobody().port())))
        .into();
    let swap =
        |text: &str| ports.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("examples")).unwrap();
    std::os::unix::fs::symlink(folder().join("tls"), place.path().join("examples/tls")).unwrap();
    let file = swap(&read("tls.toml", &[("port = 8443", "port = 1")]));
    // The admin side of each test is its own.
    let admin = format!("[admin]\nbind = \"127.0.0.1:{}\"\n", crate::support::nobody().port());
    std::fs::write(place.path().join("examples/tls.toml"), file + &admin).unwrap();
    let command = |line: &str| {
        let line = swap(line);
        let mut words = line.split(' ');
        let program = match words.next().unwrap() {
            "evenkeel" => env!("CARGO_BIN_EXE_evenkeel"),
            other => other,
        };
        let mut command = Command::new(program);
        command.current_dir(place.path()).args(words);
        command
    };
    let lines = typed("tls.toml");
    let [echo, run, curl] = lines.as_slice() else { panic!("{lines:?}") };
    let start =
        |line: &str| Typed(command(line).stderr(std::process::Stdio::null()).spawn().unwrap());
    let (_echo, _run) = (start(echo), start(run));
    let mut names = std::collections::BTreeSet::new();
    until("both backends answer", || {
        let done = command(curl).args(["--silent"]).output().expect("curl is installed");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        names.extend(
            text.lines().find_map(|line| line.strip_prefix("backend: ")).map(str::to_owned),
        );
        names.len() == 2
    });
    assert!(names.iter().all(|name| ports[..2].iter().any(|(_, port)| name.ends_with(port))));
}

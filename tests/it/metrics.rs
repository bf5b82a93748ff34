//! What Prometheus reads: held against its own tools, with traffic of every kind behind it.
use crate::support::{Api, Backend, Certs, Client, Peer, nobody, until};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy").join(path)
}

/// Runs Debian's promtool with this on its standard input; what it said, if anything was wrong.
#[track_caller]
pub(crate) fn promtool(args: &[&str], folder: &Path, input: &str) -> Result<String, String> {
    let mut command = Command::new("promtool");
    command.args(args).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|e| panic!("promtool: {e}: install Debian's prometheus"));
    let mut to = child.stdin.take().unwrap();
    let input = input.to_string();
    let writer = std::thread::spawn(move || drop(to.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// The same words are sound, and nothing is said against their names and kinds either.
#[track_caller]
pub(crate) fn is_clean(text: &str) {
    let said = promtool(&["check", "metrics"], Path::new("."), text).unwrap_or_else(|said| said);
    assert_eq!(said, "", "promtool has something against this scrape");
}

/// A proxy with every kind of listener, and traffic of each kind behind it.
pub(crate) struct Busy {
    pub(crate) api: Api,
    certs: Certs,
    _backends: Vec<Backend>,
}

impl Busy {
    /// `more` are further words of its file.
    pub(crate) fn start(more: &str) -> Self {
        let certs = Certs::new();
        let tls = certs.make("a", &["a.test"]).table(&["a"], "");
        let (one, two) = (Backend::named("one"), Backend::named("two"));
        let fails = |peer: &mut Peer| {
            while peer.request().is_some() {
                peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
            }
        };
        let (failing, too) = (Backend::run(fails), Backend::run(fails));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut toml = format!("{more}\n");
        let _ = write!(
            toml,
            r#"
[log]
access = "/dev/null"
[listener.web]
bind = "127.0.0.1:0"
protocol = "http"
pool = "app"
[listener.secure]
bind = "127.0.0.1:0"
protocol = "http"
pool = "app"
{tls}
[listener.raw]
bind = "127.0.0.1:0"
protocol = "tcp"
pool = "raw"
proxy_protocol = {{ from = ["127.0.0.1"] }}
[listener.dns]
bind = "127.0.0.1:0"
protocol = "udp"
pool = "dns"
[[route]]
name = "limited"
path = "/limited"
pool = "app"
rate_limit = {{ key = "route", rate = "1/h", burst = 1 }}
[[route]]
name = "copied"
path = "/copied"
pool = "app"
mirror = {{ pool = "failing", share = "100%" }}
hedge = {{ after = "30s" }}
[[route]]
name = "failing"
path = "/failing"
pool = "failing"
[[route]]
name = "own \"words\""
path = "/own"
respond = 404
[pool.app]
health = {{ http = "/", interval = "100ms" }}
sticky = {{ cookie = "k", secret_files = ["{key}"] }}
max_active = 100
queue = {{ size = 10 }}
outlier = {{ consecutive_failures = 5 }}
backends = [{{ name = "one", addr = "{one}" }}, {{ name = "t\"w\\o", addr = "{two}", weight = 3 }}, {{ name = "spare", addr = "{one}", backup = true }}]
[pool.failing]
retry = {{ attempts = 2, on = [503] }}
backends = ["{failing}", "{too}", "{nobody}"]
[pool.raw]
backends = ["{one}"]
[pool.dns]
backends = ["{udp}"]
"#,
            key = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sticky.key").display(),
            one = one.addr,
            two = two.addr,
            failing = failing.addr,
            too = too.addr,
            nobody = nobody(),
            udp = udp.local_addr().unwrap(),
        );
        std::thread::spawn(move || {
            let mut buf = [0; 1500];
            while let Ok((n, from)) = udp.recv_from(&mut buf) {
                let _ = udp.send_to(&buf[..n], from);
            }
        });
        let api = Api::start(&toml);
        until("both are up", || {
            ["one", "t\"w\\o"].iter().all(|name| api.member(name)["state"] == "up")
        });
        let busy = Self { api, certs, _backends: vec![one, two, failing, too] };
        busy.traffic();
        busy
    }

    pub(crate) fn addr(&self, listener: &str) -> SocketAddr {
        match self.api.running().addresses(listener).first() {
            Some(evenkeel::config::BindAddr::Ip(addr)) => *addr,
            other => panic!("{listener} is bound to {other:?}"),
        }
    }

    /// A little of each kind, good and bad.
    pub(crate) fn traffic(&self) {
        let mut client = Client::connect(self.addr("web"));
        for (method, path) in [
            ("GET", "/"),
            ("POST", "/a"),
            ("GET", "/limited"),
            ("GET", "/limited"),
            ("GET", "/copied"),
            ("GET", "/failing"),
            ("GET", "/failing"),
            ("GET", "/failing"),
            ("GET", "/own"),
        ] {
            client.ask(method, path, "");
        }
        Client::connect(self.addr("web")).ask("GET", &format!("/{}", "x".repeat(9000)), "");
        let mut client = Client::secure_at(self.addr("secure"), &self.certs, "a.test");
        assert_eq!(client.ask("GET", "/", "").status, 200);
        let mut client = Client::connect(self.addr("raw"));
        client.send("PROXY TCP4 192.0.2.9 198.51.100.2 51234 25\r\nGET / HTTP/1.1\r\n\r\n");
        assert_eq!(client.response().status, 200);
        let mut client = Client::connect(self.addr("raw"));
        client.send("no header of that kind\r\n");
        assert!(client.is_closed());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        socket.send_to(b"hello", self.addr("dns")).unwrap();
        assert_eq!(socket.recv(&mut [0; 100]).unwrap(), 5);
    }

    /// The answer of `/metrics` with this query.
    #[track_caller]
    pub(crate) fn scrape(&self, query: &str) -> String {
        let answer = self.api.call("GET", &format!("/metrics{query}"), "", "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            answer.field("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8"),
            "{query}"
        );
        answer.text()
    }
}

/// Waits until each series is as it should be: an answer is counted when its last byte was sent.
#[track_caller]
pub(crate) fn until_so(
    scrape: impl Fn() -> String,
    wanted: &[(impl AsRef<str>, impl Fn(f64) -> bool)],
) -> String {
    let (mut text, mut before) = (String::new(), Vec::new());
    until("every series is as it should be", || {
        text = scrape();
        let so = |(series, is): &(_, _)| value(&text, AsRef::as_ref(series)).is_some_and(is);
        let wrong = wanted.iter().filter(|row| !so(row)).map(|(series, _)| series.as_ref());
        let wrong: Vec<String> = wrong.map(str::to_string).collect();
        if wrong != before {
            wrong.iter().for_each(|series| eprintln!("{series} is {:?}", value(&text, series)));
            before = wrong;
        }
        before.is_empty()
    });
    text
}

/// The value of one series, by its line up to the value.
pub(crate) fn value(text: &str, series: &str) -> Option<f64> {
    let of = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(of)
}

#[test]
fn a_scrape_with_everything_on_is_clean() {
    let busy = Busy::start("");
    type Is = fn(f64) -> bool;
    let wanted: [(&str, Is); 10] = [
        (r#"evenkeel_stage{stage="ready"}"#, |n| n == 1.0),
        (r#"evenkeel_stage{stage="draining"}"#, |n| n == 0.0),
        ("evenkeel_buffered_limit_bytes", |n| n > 1e6),
        (
            r#"evenkeel_requests_total{listener="web",route="own \"words\"",pool="none",method="GET",code="404"}"#,
            |n| n == 1.0,
        ),
        (r#"evenkeel_upstream_retries_total{pool="failing",reason="503"}"#, |n| n >= 1.0),
        (r#"evenkeel_backend_weight{pool="app",backend="t\"w\\o"}"#, |n| n == 3.0),
        (r#"evenkeel_rate_limited_total{route="limited"}"#, |n| n == 1.0),
        (r#"evenkeel_tls_handshakes_total{listener="secure",version="1.3",result="ok"}"#, |n| {
            n == 1.0
        }),
        (r#"evenkeel_listener_connections_total{listener="dns"}"#, |n| n == 1.0),
        (r#"evenkeel_proxy_protocol_errors_total{listener="raw",reason="missing"}"#, |n| n == 1.0),
    ];
    let text = until_so(|| busy.scrape(""), &wanted);
    is_clean(&text);
    // No gauge has the name of a counter without its end (OpenMetrics).
    let kinds: Vec<(&str, &str)> =
        text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for (name, _) in kinds.iter().filter(|(_, kind)| *kind == "counter") {
        let bare = name.strip_suffix("_total").unwrap();
        assert!(kinds.iter().all(|(other, _)| *other != bare), "{bare}");
    }
}

#[test]
fn a_counter_that_an_alert_asks_for_is_there_before_its_first_event() {
    let one = Backend::named("one");
    let toml = format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [listener.raw]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"app\"\n\
         [pool.app]\nbackends = [\"{}\"]\n",
        one.addr
    );
    let text = Api::start(&toml).call("GET", "/metrics", "", "").text();
    let alerts = std::fs::read_to_string(deploy("prometheus/alerts.yml")).unwrap();
    let mut asked = 0;
    let calls = ["increase(", "rate("].map(|call| alerts.split(call).skip(1));
    for rest in calls.into_iter().flatten().filter(|rest| rest.starts_with("evenkeel_")) {
        let selector = rest.split('[').next().unwrap();
        let (name, matcher) = selector.split_once('{').unwrap_or((selector, ""));
        // One label at most: `limit="x"` or `reason=~"x|y"`.
        let values = matcher.split('"').nth(1).unwrap_or("").split('|');
        for value in values {
            let is_it = |line: &&str| {
                let there = line.strip_prefix(name).is_some_and(|l| l.starts_with(['{', ' ']));
                there && (value.is_empty() || line.contains(&format!("=\"{value}\"")))
            };
            let found: Vec<&str> = text.lines().filter(is_it).collect();
            assert!(!found.is_empty(), "{name} with {value:?} is born with its first event");
            assert!(found.iter().all(|line| line.ends_with(" 0")), "{found:?}");
            asked += 1;
        }
    }
    assert!(asked >= 10, "{asked}");
    // So many for each listener, whatever else there is.
    let of = |listener: &str| {
        let families = [
            "evenkeel_limit_hits_total{",
            "evenkeel_responses_own_total{",
            "evenkeel_http2_floods_total{",
        ];
        let of = format!("listener=\"{listener}\"");
        let is_one =
            |line: &&str| families.iter().any(|f| line.starts_with(f)) && line.contains(&of);
        text.lines().filter(is_one).count()
    };
    assert_eq!((of("web"), of("raw")), (12, 7));
}

#[test]
fn a_pool_is_told_of_when_its_last_backend_is_gone_too() {
    let one = Backend::named("one");
    let api = Api::start(
        "[metrics]\ncompat = [\"haproxy\"]\n[listener.web]\nbind = \"127.0.0.1:0\"\n\
         protocol = \"http\"\npool = \"reg\"\n[pool.reg]\nbackends = []\n",
    );
    let scrape = |query: &str| api.call("GET", &format!("/metrics{query}"), "", "").text();
    let said = || {
        let text = scrape("");
        is_clean(&text);
        ["evenkeel_pool_backends", "evenkeel_pool_backends_working"]
            .map(|family| value(&text, &format!("{family}{{pool=\"reg\"}}")))
    };
    assert_eq!(said(), [Some(0.0), Some(0.0)]);
    let compat = scrape("?compat=haproxy");
    assert!(compat.contains("haproxy_backend_weight{proxy=\"reg\"} 0\n"), "{compat}");
    assert!(!compat.contains(" -0\n"), "{compat}");
    let body = format!("{{\"addr\": \"{}\", \"name\": \"r1\"}}", one.addr);
    assert_eq!(api.call("POST", "/v1/pools/reg/backends", "", &body).status, 201);
    assert_eq!(said(), [Some(1.0), Some(1.0)]);
    let path = "/v1/pools/reg/backends/r1";
    assert_eq!(api.call("PATCH", path, "", "{\"state\": \"drain\"}").status, 200);
    assert_eq!(said(), [Some(1.0), Some(0.0)]);
    assert_eq!(api.call("DELETE", path, "", "").status, 202);
    assert_eq!(said(), [Some(0.0), Some(0.0)]);
}

#[test]
fn the_rules_do_what_their_tests_say_and_each_says_what_to_do() {
    let folder = deploy("prometheus");
    promtool(&["check", "config", "prometheus.yml"], &folder, "").unwrap();
    promtool(&["test", "rules", "tests.yml"], &folder, "").unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (alerts, recording, tests) = (read("alerts.yml"), read("recording.yml"), read("tests.yml"));
    let mut count = 0;
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        for word in ["summary: \"", "description: \"", "action: \"", "severity: "] {
            assert!(alert.contains(word), "{name} has no {word}");
        }
        let fires = format!("alertname: {name}\n        exp_alerts:\n");
        assert!(tests.contains(&fires), "{name} is never seen to fire");
        count += 1;
    }
    assert!(count >= 20, "{count} alerts");
    let records: Vec<&str> =
        recording.split("- record: ").skip(1).filter_map(|rest| rest.lines().next()).collect();
    assert!(records.len() >= 8);
    let missing: Vec<_> = records.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "not tested: {missing:?}");
    // Whatever they ask for is something we serve.
    let text = format!("{alerts}{recording}");
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let served = Busy::start("").scrape("");
    let words = text.split(|c: char| !word(c) && c != ':').map(|word| word.trim_end_matches(':'));
    for asked in words.filter(|word| word.starts_with("evenkeel_")) {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| asked.strip_suffix(end));
        let line = format!("# TYPE {} ", family.unwrap_or(asked));
        assert!(served.contains(&line) || asked == "evenkeel_requests", "{asked} is not served");
    }
}

#[test]
fn no_counter_of_a_name_sinks_where_its_address_changes() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let words = |addr: SocketAddr| {
        format!(
            "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
             [metrics]\ncompat = [\"haproxy\"]\n[pool.app]\n\
             backends = [{{ name = \"b\", addr = \"{addr}\" }}]\n"
        )
    };
    let api = Api::start(&words(one.addr));
    let web = match api.running().addresses("web").first() {
        Some(evenkeel::config::BindAddr::Ip(addr)) => *addr,
        other => panic!("bound to {other:?}"),
    };
    let ask = || assert_eq!(Client::connect(web).ask("GET", "/", "").status, 200);
    let series = [
        r#"evenkeel_upstream_requests_total{pool="app",backend="b",code="2xx"}"#,
        r#"evenkeel_balancer_picks_total{pool="app",backend="b",reason="policy"}"#,
        r#"evenkeel_upstream_request_duration_seconds_count{pool="app",backend="b"}"#,
    ];
    let compat = [
        r#"haproxy_server_sessions_total{proxy="app",server="b"}"#,
        r#"haproxy_server_http_responses_total{proxy="app",server="b",code="2xx"}"#,
        r#"haproxy_backend_sessions_total{proxy="app"}"#,
    ];
    let all = || {
        let of = |query: &str, series: &[&str]| -> Vec<f64> {
            let text = api.call("GET", &format!("/metrics{query}"), "", "").text();
            series.iter().map(|series| value(&text, series).unwrap_or(-1.0)).collect()
        };
        [of("", &series), of("?compat=haproxy", &compat)].concat()
    };
    let tries = || -> u64 {
        let tries = api.member("b")["tries"].clone();
        tries.as_array().unwrap().iter().filter_map(serde_json::Value::as_u64).sum()
    };
    (0..3).for_each(|_| ask());
    let counted = |n: f64| move |all: Vec<f64>| all.iter().all(|count| *count == n);
    until("three are told", || counted(3.0)(all()));
    for (addr, n) in [(two.addr, 5.0), (one.addr, 7.0)] {
        api.edit(&words(addr));
        assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
        assert!(counted(n - 2.0)(all()), "{:?}", all());
        (0..2).for_each(|_| ask());
        until("so many are told", || counted(n)(all()));
        assert_eq!(tries(), n as u64);
    }
}

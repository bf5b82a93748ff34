//! The README is true: what it shows is read, run and compared.
use crate::support::{Backend, Certs, Client, Proxy, until};
use evenkeel::admin::{self, Access};
use evenkeel::config::{self, Config, Effective};
use evenkeel::http2::Status;
use evenkeel::net::proxy_protocol::{Ends, Header, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// What stands between a line of the README and the next heading.
fn section(heading: &str) -> String {
    let text = read("README.md");
    let mut lines = text.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "the README has no {heading:?}");
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with('#')).collect();
    lines.join("\n")
}

/// The rows of the table whose first column is called `first`, cell by cell.
pub(crate) fn rows(heading: &str, first: &str) -> Vec<Vec<String>> {
    let head = format!("| {first} |");
    let rows: Vec<Vec<String>> = section(heading)
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split(" | ").map(|c| c.trim().to_string()).collect())
        .collect();
    assert!(!rows.is_empty(), "no table {first:?} in {heading:?}");
    rows
}

/// What stands in backticks.
pub(crate) fn code(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(Into::into).collect()
}

#[track_caller]
fn parse(text: &str) -> Config {
    config::parse(text, Path::new("README.toml")).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", lines.join("\n"))
    })
}

#[test]
fn every_file_shown_is_right_and_the_first_is_the_demo() {
    let text = read("README.md");
    let blocks: Vec<&str> =
        text.split("\n```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(*blocks.first().unwrap(), read("proxy.toml"));
    blocks.into_iter().for_each(|block| drop(parse(block)));
}

#[test]
fn the_statuses_of_grpc_are_those_that_are_said() {
    let mut count = 0;
    for row in rows("### gRPC", "status") {
        let said: u8 = row[0].split(' ').next().unwrap().parse().unwrap();
        for http in row[1].split(' ') {
            assert_eq!(Status::of(http.parse().unwrap(), "-").code, said, "{row:?}");
            count += 1;
        }
        for (http, reason) in
            [(503, "max_active"), (503, "queue"), (503, "memory"), (504, "timeout_connect")]
        {
            let is_said = code(&row.concat()).contains(&reason.to_string());
            assert_eq!(Status::of(http, reason).code == said, is_said, "{row:?}");
        }
    }
    assert_eq!(count, 15);
}

#[test]
fn the_problems_shown_are_what_is_said() {
    let wrong = "[listener.web]\nbind = \"127.0.0.1:8080\"\npool = \"ap\"\n\n[pool.app]\n\
        health = { http = \"/healthz\", interval = \"2\" }\ndiscover = { dns = \"app\" }\n\
        weights = [1]\nbackends = [\"10.0.0.1:8080\"]\n";
    let problems = config::parse(wrong, Path::new("proxy.toml")).unwrap_err();
    let lines: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    assert!(section("## Configuration").contains(&format!("```text\n{lines}```")), "{lines}");
}

/// The rows of a table that have a default, as lines of TOML; `only` chooses among the keys.
fn said(heading: &str, first: &str, count: &mut usize, only: &dyn Fn(&str) -> bool) -> String {
    let mut lines = String::new();
    for row in rows(heading, first) {
        let (key, default) = (&code(&row[0])[0], &row[1]);
        let default = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
        let Some(default) = default.filter(|_| only(key)) else { continue };
        *count += 1;
        let _ = writeln!(lines, "{key} = {default}");
    }
    lines
}

#[test]
fn a_default_that_is_said_changes_nothing() {
    // {admin} {server} … stand for the README's tables; without them the same file again.
    let frame = "{admin}[server]\n{server}[log]\n{log}[trace]\notlp = \"http://127.0.0.1:4318\"\n{trace}[defaults.timeout]\n{timeout}\
        [defaults.limits]\n{limits}[defaults.retry]\n{retry}\
        [listener.web]\nbind = \"127.0.0.1:0\"\n{listener}\
        [listener.web.http2]\n{http2}[[route]]\nname = \"a\"\npool = \"app\"\n\
        {route}[route.rate_limit]\nrate = \"1/s\"\n{rate_limit}[route.mirror]\n\
        pool = \"two\"\n{mirror}[[route]]\nname = \"b\"\npath = \"/b\"\nredirect.host = \"x\"\n{redirect}[pool.app]\n{pool}\
        [[pool.app.backends]]\naddr = \"127.0.0.1:1\"\n{backup}[[pool.app.backends]]\n\
        addr = \"127.0.0.1:2\"\n{tier}[pool.app.keep_alive]\n{keep_alive}[pool.app.resolve]\n\
        {resolve}[pool.app.health]\n{health}[pool.hash]\nbackends = []\n[pool.hash.balance]\n\
        policy = \"consistent_hash\"\nkey = \"path\"\n{hash}[listener.dns]\n\
        bind = \"127.0.0.1:0\"\nprotocol = \"udp\"\npool = \"dns\"\n[listener.dns.udp]\n{udp}\
        [pool.dns]\nbackends = []\n[pool.sticky]\nbackends = []\n\
        [pool.sticky.sticky]\nsecret_files = \"tests/config/valid/certs/sticky.key\"\n{sticky}\
        [[route]]\npath = \"/c\"\npool = \"sticky\"\n[pool.two]\nhttp = \"2\"\nbackends = []\n\
        [pool.two.http2]\n{pool_http2}[pool.line]\nbackends = []\nmax_active = 1\n\
        [pool.line.queue]\n{queue}\n[pool.learns]\nbackends = []\n\
        [pool.learns.max_active]\n{max_active}";
    type Only = fn(&str) -> bool;
    let all: Only = |_| true;
    let tables: &[(&str, &str, &str, Only)] = &[
        ("{admin}", "### [admin] and [metrics]", "key", all),
        ("{server}", "### [server]", "key", all),
        ("{log}", "### [log]", "key", |key| !key.starts_with("access.")),
        ("{trace}", "### [trace]", "key", all),
        ("{timeout}", "### timeout", "key", all),
        ("{limits}", "### limits", "key", all),
        ("{retry}", "### retry", "key", all),
        ("{listener}", "### [listener.NAME]", "key", all),
        ("{http2}", "### HTTP/2", "key of `http2`", all),
        ("{route}", "### [[route]]", "key", |key| !key.starts_with("redirect")),
        ("{redirect}", "### [[route]]", "key", |key| key.starts_with("redirect")),
        ("{rate_limit}", "### Rate limits", "key of `rate_limit`", all),
        ("{mirror}", "### Mirrors", "key of `mirror`", all),
        ("{sticky}", "## Stickiness", "key of `sticky`", all),
        ("{pool}", "### [pool.NAME]", "key", all),
        ("{backup}", "### backends", "key", |key| key != "tier"),
        ("{tier}", "### backends", "key", |key| key == "tier"),
        ("{keep_alive}", "### keep_alive", "key", all),
        ("{resolve}", "### resolve", "key", all),
        ("{pool_http2}", "### HTTP/2 to backends", "key of `http2`", all),
        ("{health}", "## Health and states", "key of `health`", all),
        ("{hash}", "## Balancing", "key of `consistent_hash`", all),
        ("{udp}", "## UDP", "key of `udp`", all),
        ("{queue}", "### Queue", "key of `queue`", all),
        ("{max_active}", "### Adaptive limits", "key of `max_active`", all),
    ];
    let (mut with, mut without, mut count) = (frame.to_string(), frame.to_string(), 0);
    for &(mark, heading, first, only) in tables {
        with = with.replace(mark, &said(heading, first, &mut count, &only));
        without = without.replace(mark, "");
    }
    assert!(count >= 60, "only {count} defaults were found");
    let (mut with, mut without) = (parse(&with), parse(&without));
    assert_eq!(Effective::layered([&with.defaults]), Effective::default());
    (with.defaults, without.defaults) = Default::default();
    assert!(with == without, "{with:#?}\nis other than without defaults\n{without:#?}");
}

#[test]
fn every_key_that_is_read_is_in_the_readme() {
    let text = read("README.md");
    let (mut keys, mut missing) = (BTreeSet::new(), Vec::new());
    for entry in std::fs::read_dir(root().join("src/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = std::fs::read_to_string(path).unwrap();
        let source = source.split("#[cfg(test)]").next().unwrap();
        for call in ["t.take(\"", "take(t, \"", "of(\"", "forwarding(t, \""] {
            let names = source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
            keys.extend(names.map(str::to_string));
        }
    }
    assert!(keys.len() > 60 && keys.contains("panic_threshold"), "{keys:?}");
    for key in keys {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let shown = code(&text);
        if !shown.iter().any(|code| code.split(|c| !word(c)).any(|part| part == key)) {
            missing.push(key);
        }
    }
    assert!(missing.is_empty(), "the README does not name {missing:?}");
}

/// What `/metrics` of a proxy says.
pub(crate) fn scrape(proxy: &Proxy) -> String {
    let text = "[metrics]\nbind = \"127.0.0.1:0\"\n[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n";
    let config = evenkeel::config::parse(text, std::path::Path::new("proxy.toml")).unwrap();
    let socket = admin::bind(&config.metrics.unwrap()).unwrap();
    let evenkeel::config::BindAddr::Ip(addr) = socket.addr else { panic!("{socket:?}") };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let access = Access { api: false, known_hosts: false };
    let reloader = proxy.running().reloader.clone();
    runtime.spawn(admin::serve(socket, reloader, "proxy.toml".into(), access));
    let mut client = crate::support::Client::connect(addr);
    client.send("GET /metrics HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let text = client.response().text();
    runtime.shutdown_background();
    text
}

#[test]
fn every_metric_of_the_readme_is_served_and_the_reverse() {
    let backend = Backend::named("one");
    let proxy = Proxy::http(&[backend.addr], "[[route]]\npath = \"/own\"\nrespond = 404");
    assert_eq!(proxy.get("/own").status + proxy.get("/").status, 604);
    proxy.get(&format!("/{}", "x".repeat(9000)));
    let (mut served, mut labels) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for line in scrape(&proxy).lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            served.insert(name.to_string(), kind.to_string());
        } else if let Some((name, rest)) = line.split_once('{') {
            let own = |l: &&str| *l != "le";
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|n| served.contains_key(*n)))
                .unwrap_or(name);
            let found = rest.split("=\"").map(|part| part.rsplit([',', '"']).next().unwrap_or(""));
            let found: Vec<&str> = found.filter(own).collect();
            let found = found[..found.len() - 1].iter().map(ToString::to_string);
            labels.entry(name.into()).or_default().extend(found);
        }
    }
    let mut listed = BTreeMap::new();
    for row in rows("## Metrics", "family") {
        let family = &code(&row[0])[0];
        let (name, said) = family.split_once('{').unwrap_or((family, ""));
        listed.insert(name.to_string(), row[1].clone());
        let said: BTreeSet<String> = said
            .trim_end_matches('}')
            .split(',')
            .filter(|l| !l.is_empty())
            .map(Into::into)
            .collect();
        if let Some(found) = labels.get(name) {
            assert_eq!(said, *found, "labels of {name}");
        }
    }
    assert!(labels.len() > 20, "{labels:?}");
    assert_eq!(listed, served);
}

#[test]
fn the_fields_of_the_access_log_are_those_of_the_readme() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::named("one"));
    let path = folder.path().join("access.log");
    let certs = Certs::new();
    certs.make("a", &["a.test"]);
    let tls = certs.table(&["a"], "");
    let more = format!(
        "[listener.secure]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n{tls}\n[listener.raw]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"raw\"\n\
         proxy_protocol = {{ from = [\"127.0.0.1\"] }}\n[pool.raw]\nbackends = [\"{}\"]\n[log]\naccess = {{ to = \"{}\", format = \"json\" }}",
        backend.addr,
        path.display()
    );
    let proxy = Proxy::http(&[backend.addr], &more);
    proxy.get("/");
    let mut secure = Client::secure_at(proxy.addr_of("secure"), &certs, "a.test");
    assert_eq!(secure.ask("GET", "/", "").text(), "one");
    let mut raw = Client::connect(proxy.addr_of("raw"));
    let addr = "192.0.2.9:51234".parse().unwrap();
    let ends = Ends::Ip { source: addr, destination: addr };
    let mut header = Header { ends, ..Header::default() };
    header.tlvs.authority = Some((*b"a.test").into());
    raw.send(header.write(Version::V2).bytes());
    raw.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(raw.response().text(), "one");
    raw.end();
    drop(raw);
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    until("all are logged", || lines().lines().count() == 3);
    let mut logged = BTreeSet::new();
    for line in lines().lines() {
        let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        logged.extend(line.into_iter().map(|(name, _)| name));
    }
    let listed: BTreeSet<String> =
        rows("## Access log", "field").iter().flat_map(|row| code(&row[0])).collect();
    assert_eq!(listed, logged);
}

#[test]
fn the_reasons_are_those_of_the_program() {
    let mut source = String::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => source += &std::fs::read_to_string(path).unwrap(),
            }
        }
    }
    let listed: BTreeSet<String> =
        rows("### Reasons", "status").iter().flat_map(|row| code(&row[1])).collect();
    for word in &listed {
        assert!(source.contains(&format!("\"{word}\"")), "nothing is called {word:?}");
    }
    // Those of requests that are refused for their form, and of our own answers.
    let rules = source.lines().filter_map(|line| {
        let (word, status) =
            line.trim().strip_suffix(',')?.split_once(" \"")?.1.split_once("\" ")?;
        let client = status.parse::<u16>().is_ok_and(|status| status != 502 && status != 499);
        client.then(|| word.to_string())
    });
    let own = source.split("Reply::own(").skip(1).filter_map(|rest| {
        let rest = rest.split(')').next()?.split_once(", \"")?.1;
        Some(rest.split('"').next()?.to_string()).filter(|word| word != "word")
    });
    let given: BTreeSet<String> = rules.chain(own).collect();
    assert!(given.len() > 25, "{given:?}");
    let missing: Vec<&String> = given.difference(&listed).collect();
    assert!(missing.is_empty(), "the README does not list {missing:?}");
}

#[test]
fn what_is_not_built_yet_is_said() {
    let source = read("src/config/unbuilt.rs");
    let unbuilt: BTreeSet<(String, String)> = source
        .lines()
        .filter_map(|line| {
            line.trim().strip_prefix("(\"")?.strip_suffix("\"),")?.split_once("\", \"")
        })
        .map(|(place, word)| (place.into(), word.into()))
        .collect();
    let listed = rows("## Not built yet", "where");
    let listed: BTreeSet<(String, String)> = listed
        .iter()
        .flat_map(|row| {
            let place = code(&row[0]).pop().unwrap_or_default();
            code(&row[1]).into_iter().map(move |word| (place.clone(), word))
        })
        .collect();
    assert_eq!(listed, unbuilt, "src/config/unbuilt.rs and the README's last table differ");
}

#[test]
fn every_file_the_readme_points_to_is_there() {
    let text = read("README.md");
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with('#')) {
        assert!(root().join(link).exists(), "the README points to {link}");
    }
    let slug = |line: &str| {
        let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect::<String>()
    };
    let headings: Vec<String> = text.lines().filter(|l| l.starts_with('#')).map(slug).collect();
    let links = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links {
        let there = headings.iter().any(|heading| heading == link);
        assert!(there, "no heading of the README is #{link}: {headings:?}");
    }
}

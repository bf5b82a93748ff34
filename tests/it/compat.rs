//! `/metrics?compat=`: the names, labels and kinds of others, and the same counts beneath them.
use crate::metrics::{Busy, is_clean, until_so, value};
use crate::readme::{code, rows};
use crate::support::{Api, Backend, Client, Haproxy, json, nobody, until};
use evenkeel::config::BindAddr;
use std::collections::{BTreeMap, BTreeSet};

const BOTH: &str = "[metrics]\ncompat = [\"haproxy\", \"traefik\"]\n";

/// A family as a scrape shows it: its kind, its labels in order, and the values of some of them.
#[derive(Debug, Default, PartialEq)]
struct Family {
    kind: String,
    labels: BTreeSet<Vec<String>>,
    words: BTreeMap<String, BTreeSet<String>>,
}

/// The families of a scrape whose label values hold no comma.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            all.entry(name.into()).or_default().kind = kind.into();
        } else if !line.starts_with('#') {
            let series = line.rsplit_once(' ').unwrap().0;
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let family = all.get_mut(name).unwrap_or_else(|| panic!("{line} without a TYPE"));
            let pairs = labels.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
            let pairs: Vec<(&str, &str)> = pairs.map(|p| p.split_once('=').unwrap()).collect();
            family.labels.insert(pairs.iter().map(|(name, _)| (*name).to_string()).collect());
            for (name, value) in
                pairs.into_iter().filter(|(name, _)| matches!(*name, "state" | "code"))
            {
                family.words.entry(name.into()).or_default().insert(value.into());
            }
        }
    }
    all
}

#[test]
fn what_is_told_as_haproxy_is_what_haproxy_tells() {
    let backend = Backend::named("one");
    let (addr, stats) = (nobody(), nobody());
    let _haproxy = Haproxy::start(
        stats,
        &format!(
            "frontend web\n  mode http\n  bind {addr}\n  default_backend app\n\
             backend app\n  mode http\n  server one {}  check\n\
             frontend stats\n  mode http\n  bind {stats}\n\
             \x20 http-request use-service prometheus-exporter\n",
            backend.addr
        ),
    );
    let ask = |addr, path: &str| Client::connect(addr).ask("GET", path, "Connection: close\r\n");
    until("it answers", || ask(addr, "/").status == 200);
    let real = families(&ask(stats, "/metrics").text());
    assert!(real.len() > 150, "{}", real.len());
    let busy = Busy::start(BOTH);
    let text = busy.scrape("?compat=haproxy");
    is_clean(&text);
    let ours = families(&text);
    assert!(ours.len() > 60, "{}", ours.len());
    for (name, family) in &ours {
        let real = real.get(name).unwrap_or_else(|| panic!("HAProxy has no {name}"));
        assert_eq!((&family.kind, &family.labels), (&real.kind, &real.labels), "{name}");
        for (label, words) in &family.words {
            assert!(words.is_subset(&real.words[label]), "{name}: {words:?} {real:?}");
        }
    }
}

/// Waits until each series has its value.
#[track_caller]
fn until_these(busy: &Busy, query: &str, wanted: Vec<(String, f64)>) -> String {
    let row = |(series, expected)| (series, move |n: f64| n == expected);
    until_so(|| busy.scrape(query), &wanted.into_iter().map(row).collect::<Vec<_>>())
}

#[test]
fn the_counts_are_ours_under_the_names_of_haproxy() {
    let busy = Busy::start(BOTH);
    let server = |name: &str| format!("proxy=\"app\",server=\"{name}\"");
    let wanted: Vec<(String, f64)> = vec![
        ("haproxy_frontend_status{proxy=\"web\",state=\"UP\"}".into(), 1.0),
        ("haproxy_frontend_http_responses_total{proxy=\"secure\",code=\"2xx\"}".into(), 1.0),
        ("haproxy_frontend_http_responses_total{proxy=\"web\",code=\"5xx\"}".into(), 3.0),
        ("haproxy_frontend_http_requests_total{proxy=\"web\"}".into(), 10.0),
        ("haproxy_frontend_request_errors_total{proxy=\"web\"}".into(), 1.0),
        ("haproxy_frontend_requests_denied_total{proxy=\"web\"}".into(), 1.0),
        ("haproxy_frontend_intercepted_requests_total{proxy=\"web\"}".into(), 1.0),
        ("haproxy_frontend_sessions_total{proxy=\"raw\"}".into(), 2.0),
        ("haproxy_process_ssl_connections_total".into(), 1.0),
        ("haproxy_backend_status{proxy=\"app\",state=\"UP\"}".into(), 1.0),
        ("haproxy_backend_active_servers{proxy=\"app\"}".into(), 2.0),
        ("haproxy_backend_backup_servers{proxy=\"app\"}".into(), 1.0),
        ("haproxy_backend_weight{proxy=\"app\"}".into(), 5.0),
        ("haproxy_backend_agg_server_status{proxy=\"app\",state=\"UP\"}".into(), 3.0),
        ("haproxy_backend_agg_check_status{proxy=\"app\",state=\"L7OK\"}".into(), 3.0),
        ("haproxy_backend_agg_server_status{proxy=\"failing\",state=\"DOWN\"}".into(), 1.0),
        ("haproxy_backend_http_responses_total{proxy=\"failing\",code=\"5xx\"}".into(), 3.0),
        (format!("haproxy_server_status{{{},state=\"UP\"}}", server("one")), 1.0),
        (format!("haproxy_server_check_status{{{},state=\"L7OK\"}}", server("one")), 1.0),
        (format!("haproxy_server_weight{{{}}}", server(r#"t\"w\\o"#)), 3.0),
        (format!("haproxy_server_limit_sessions{{{}}}", server("one")), 100.0),
    ];
    let text = until_these(&busy, "?compat=haproxy", wanted);
    // By the pool: GET / twice, POST /a, /limited once, /copied, each with three bytes of a body.
    let sum = |family: &str, pool: &str| -> f64 {
        let of = |name: &str| value(&text, &format!("{family}{{{}}}", server(name)));
        assert_eq!(pool, "app");
        ["one", r#"t\"w\\o"#, "spare"].iter().map(|name| of(name).unwrap()).sum()
    };
    assert_eq!(sum("haproxy_server_sessions_total", "app"), 5.0);
    assert_eq!(value(&text, "haproxy_backend_sessions_total{proxy=\"app\"}"), Some(5.0));
    let sent = value(&text, "haproxy_backend_bytes_out_total{proxy=\"app\"}").unwrap();
    assert_eq!(sum("haproxy_server_bytes_out_total", "app"), sent);
    assert!(sent > 5.0 * 3.0 && sent < 5.0 * 1000.0, "{sent}");
    let mean = "haproxy_backend_total_time_average_seconds{proxy=\"app\"}";
    assert!(value(&text, mean).unwrap() > 0.0, "{text}");
    let raw = value(&text, "haproxy_server_bytes_in_total{proxy=\"raw\"");
    assert_eq!(raw, None, "labels are whole");
}

#[test]
fn the_counts_are_ours_under_the_names_of_traefik() {
    let busy = Busy::start(BOTH);
    let ok = "code=\"200\",method=\"GET\",protocol=\"http\"";
    let wanted: Vec<(String, f64)> = vec![
        (format!("traefik_entrypoint_requests_total{{{ok},entrypoint=\"web\"}}"), 3.0),
        (format!("traefik_entrypoint_requests_total{{{ok},entrypoint=\"secure\"}}"), 1.0),
        (format!("traefik_service_requests_total{{{ok},service=\"app\"}}"), 4.0),
        (format!("traefik_router_requests_total{{{ok},router=\"copied\",service=\"app\"}}"), 1.0),
        (
            "traefik_router_requests_total{code=\"429\",method=\"GET\",protocol=\"http\",router=\"limited\",service=\"app\"}".into(),
            1.0,
        ),
        (
            format!("traefik_service_request_duration_seconds_bucket{{{ok},service=\"app\",le=\"+Inf\"}}"),
            4.0,
        ),
        (format!("traefik_service_request_duration_seconds_count{{{ok},service=\"app\"}}"), 4.0),
        ("traefik_open_connections{entrypoint=\"raw\",protocol=\"TCP\"}".into(), 0.0),
        ("traefik_config_reloads_total".into(), 1.0),
    ];
    let text = until_these(&busy, "?compat=traefik", wanted);
    is_clean(&text);
    assert!(text.contains("traefik_tls_certs_not_after{cn=\"a\",serial=\""), "{text}");
    assert!(text.contains("\",sans=\"a.test\"} "), "{text}");
    let up: Vec<&str> =
        text.lines().filter(|l| l.starts_with("traefik_service_server_up{")).collect();
    assert!(
        up.iter()
            .any(|l| l.contains("service=\"app\",url=\"http://127.0.0.1:") && l.ends_with(" 1"))
    );
    assert!(up.iter().any(|l| l.contains("service=\"failing\"") && l.ends_with(" 0")), "{up:?}");
    // What stands at each bound is what ours count up to there, and never less than at one before.
    let bucket = |le: &str| {
        let series = format!(
            "traefik_entrypoint_request_duration_seconds_bucket{{{ok},entrypoint=\"web\",le=\"{le}\"}}"
        );
        value(&text, &series).unwrap_or_else(|| panic!("{series} in\n{text}"))
    };
    let counts = ["0.1", "0.3", "1.2", "5", "+Inf"].map(bucket);
    assert!(counts.is_sorted() && counts[4] == 3.0, "{counts:?}");
    let nobody =
        text.lines().find(|l| l.contains("service=\"none\"") || l.contains("router=\"own"));
    assert_eq!(nobody, None, "what no pool took is of its entry point alone");
}

fn file(backends: &[&Backend], compat: &str) -> String {
    let all = backends.iter().enumerate();
    let all: Vec<String> =
        all.map(|(n, b)| format!("{{ name = \"b{n}\", addr = \"{}\" }}", b.addr)).collect();
    format!(
        "{compat}[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [[route]]\nname = \"a\"\npath = \"/a\"\npool = \"app\"\n[pool.app]\nbackends = [{}]\n",
        all.join(", ")
    )
}

#[test]
fn a_sum_never_sinks_and_what_is_counted_besides_follows_the_file() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let api = Api::start(&file(&[&one, &two], ""));
    let BindAddr::Ip(web) = api.running().addresses("web")[0].clone() else { panic!() };
    let mut client = Client::connect(web);
    let mut ask = |n: usize| (0..n).for_each(|_| drop(client.ask("GET", "/a", "")));
    let scrape =
        |compat: &str| api.call("GET", &format!("/metrics?compat={compat}"), "", "").text();
    let reload = |toml: &str| {
        api.edit(toml);
        assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    };
    let sessions = || value(&scrape("haproxy"), "haproxy_backend_sessions_total{proxy=\"app\"}");
    let service = "traefik_service_requests_total{code=\"200\",method=\"GET\",protocol=\"http\",service=\"app\"}";
    ask(10);
    assert_eq!(sessions(), Some(10.0));
    let count =
        |series: &str, n: f64| until_so(|| scrape("traefik"), &[(series, move |is| is == n)]);
    count(service, 10.0);
    let details = ["haproxy_server_bytes_in_total", "traefik_service_request_duration_seconds"];
    let is_detailed = || details.map(|name| scrape(name.split('_').next().unwrap()).contains(name));
    assert_eq!(is_detailed(), [false, false]);
    // A backend goes, and a route: what they counted stays.
    reload(&file(&[&one], BOTH).replace("[[route]]\nname = \"a\"", "[[route]]\nname = \"b\""));
    assert_eq!(sessions(), Some(10.0));
    assert_eq!(value(&scrape("traefik"), service), Some(10.0), "its service is there still");
    let router = "traefik_router_requests_total{code=\"200\",method=\"GET\",protocol=\"http\",router=\"a\",service=\"app\"}";
    assert_eq!(value(&scrape("traefik"), router), None, "there is no such router");
    ask(5);
    assert_eq!(sessions(), Some(15.0));
    assert_eq!(is_detailed(), [true, true]);
    count(&service.replace("requests_total", "request_duration_seconds_count"), 5.0);
    count(service, 15.0);
    count(
        &service
            .replace("service=\"app\"", "entrypoint=\"web\"")
            .replace("_service_", "_entrypoint_"),
        15.0,
    );
    reload(&file(&[&one], ""));
    assert_eq!(is_detailed(), [false, false]);
}

#[test]
fn a_backend_that_has_another_address_is_one_series() {
    let slow = Backend::run(|peer| {
        peer.request();
        peer.rest();
    });
    let fast = Backend::named("fast");
    let api = Api::start(&file(&[&slow], ""));
    let BindAddr::Ip(web) = api.running().addresses("web")[0].clone() else { panic!() };
    let mut waiting = Client::connect(web);
    waiting.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    until("it is in work", || api.member("b0")["active"] == 1);
    api.edit(&file(&[&fast], ""));
    assert_eq!(api.call("POST", "/v1/reload", "", "").status, 200);
    let members = api.get("/v1/pools/app")["members"].as_array().unwrap().len();
    assert_eq!(members, 2, "the one before is there until its request ends");
    for query in ["", "?compat=haproxy", "?compat=traefik"] {
        let text = api.call("GET", &format!("/metrics{query}"), "", "").text();
        is_clean(&text);
        let mut seen = BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let series = line.rsplit_once(' ').unwrap().0;
            assert!(seen.insert(series), "{series} is there twice");
        }
    }
}

#[test]
fn the_readme_lists_what_is_told() {
    let served = |busy: &Busy| -> BTreeSet<String> {
        let text = busy.scrape("?compat=haproxy") + &busy.scrape("?compat=traefik");
        let all = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next());
        all.filter(|name| !name.starts_with("process_")).map(Into::into).collect()
    };
    let (mut listed, mut besides) = (BTreeSet::new(), BTreeSet::new());
    for row in rows("### Metrics under other names", "asked for") {
        for prefix in code(&row[0]) {
            let prefix = prefix.strip_suffix('*').unwrap();
            let full = |word: String| format!("{prefix}{word}");
            listed.extend(code(&row[1]).into_iter().map(full));
            besides.extend(code(&row[2]).into_iter().map(full));
            let left = code(&row[3]).into_iter().filter(|word| !word.ends_with('*')).map(full);
            let told: Vec<String> =
                left.filter(|name| listed.contains(name) || besides.contains(name)).collect();
            assert!(told.is_empty(), "left out and told: {told:?}");
        }
    }
    assert_eq!(served(&Busy::start("")), listed);
    listed.extend(besides);
    assert_eq!(served(&Busy::start(BOTH)), listed);
}

#[test]
fn another_name_is_refused_in_words() {
    let api = Api::start(&file(&[], ""));
    for query in ["compat=envoy", "compat=", "compat", "a=b&compat=Haproxy", "compat=%zz"] {
        let answer = api.call("GET", &format!("/metrics?{query}"), "", "");
        assert_eq!(answer.status, 400, "{query}");
        let said = json(&answer)["detail"].as_str().unwrap().to_string();
        assert!(said.ends_with("there are \"haproxy\" and \"traefik\""), "{said}");
    }
    assert_eq!(api.call("GET", "/metrics?format=x", "", "").status, 200);
    let told = api.call("GET", "/metrics?compat=haproxy", "", "");
    assert_eq!(told.status, 200);
    assert!(!told.text().contains(" -0\n"), "nobody in a pool is no less than nothing");
}

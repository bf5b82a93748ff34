//! The dashboard of `examples/deploy/grafana`, and those made for others: every expression is asked of a
//! real Prometheus that scrapes a busy proxy, and has an answer.
use crate::metrics::{Busy, deploy};
use crate::support::{Client, nobody, until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

/// Debian's Prometheus with the rules of `examples/deploy`; killed when dropped.
struct Prometheus {
    addr: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// It scrapes this address twice a second, by our names and by those of others.
    fn start(target: SocketAddr) -> Self {
        let (addr, folder) = (nobody(), tempfile::tempdir().unwrap());
        let rules = ["recording.yml", "alerts.yml"].map(|file| deploy("prometheus").join(file));
        let job = |name: &str, params: &str| {
            format!(
                "  - job_name: {name}\n{params}    static_configs:\n      - targets: [\"{target}\"]\n"
            )
        };
        let config = format!(
            "global:\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n  evaluation_interval: 500ms\n\
             rule_files: [\"{}\", \"{}\"]\nscrape_configs:\n{}{}{}",
            rules[0].display(),
            rules[1].display(),
            job("evenkeel", ""),
            job("haproxy", "    params: { compat: [haproxy] }\n"),
            job("traefik", "    params: { compat: [traefik] }\n"),
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let words = folder.path().join("words");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={addr}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&words).unwrap());
        let mut child = command.spawn().expect("prometheus: install Debian's package prometheus");
        let mut ended = false;
        until("Prometheus is ready", || {
            ended = child.try_wait().unwrap().is_some();
            let ask = || Client::connect(addr).ask("GET", "/-/ready", "Connection: close\r\n");
            ended || (TcpStream::connect(addr).is_ok() && ask().status == 200)
        });
        assert!(!ended, "{}", std::fs::read_to_string(&words).unwrap_or_default());
        Self { addr, child, _folder: folder }
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let answer = Client::connect(self.addr).ask("GET", path, "Connection: close\r\n");
        let said = answer.text();
        assert_eq!(answer.status, 200, "{path}: {said}");
        serde_json::from_str::<Value>(&said).unwrap()["data"].take()
    }

    /// The series of an expression at this moment: labels, and a value that is a number.
    #[track_caller]
    fn query(&self, expr: &str) -> Vec<(Value, f64)> {
        let mut encoded = String::new();
        for byte in expr.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(byte.into()),
                byte => encoded += &format!("%{byte:02X}"),
            }
        }
        let mut data = self.get(&format!("/api/v1/query?query={encoded}"));
        let Value::Array(all) = data["result"].take() else { panic!("{expr}: {data}") };
        let one = |mut series: Value| {
            let value: f64 = series["value"][1].as_str()?.parse().ok()?;
            value.is_finite().then(|| (series["metric"].take(), value))
        };
        all.into_iter().filter_map(one).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(deploy("grafana/evenkeel.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// With what Grafana puts in place of its variables when all is chosen.
fn filled(expr: &str) -> String {
    let expr = expr.replace("$__rate_interval", "10s").replace("$job", "evenkeel");
    let expr = expr.replace("$instance", ".*").replace("$pool", ".*");
    assert!(!expr.contains('$') || expr.contains("${1}xx"), "a variable that nobody fills: {expr}");
    expr
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Every expression of the dashboard, by where it stands.
fn expressions(dashboard: &Value) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let place = format!("{} {}", text(&panel["title"]), text(&target["refId"]));
            let before = all.insert(place.clone(), filled(text(&target["expr"])));
            assert_eq!(before, None, "{place} stands twice");
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        if let Some(expr) = annotation["expr"].as_str() {
            all.insert(text(&annotation["name"]).into(), filled(expr));
        }
    }
    all
}

/// What dashboards made for HAProxy and Traefik ask, in their forms.
const OTHERS: [&str; 28] = [
    "count(haproxy_process_build_info)",
    "haproxy_process_start_time_seconds",
    "haproxy_process_current_connections / haproxy_process_max_connections",
    "rate(haproxy_process_requests_total[10s])",
    "sum by (proxy) (rate(haproxy_frontend_http_requests_total{proxy=~\"web\"}[10s]))",
    "sum by (proxy, code) (rate(haproxy_frontend_http_responses_total[10s]))",
    "rate(haproxy_backend_http_responses_total{code=\"5xx\"}[10s])",
    "haproxy_backend_status{state=\"UP\"} == 1",
    "haproxy_server_status{state=\"DOWN\"} == 1",
    "haproxy_frontend_current_sessions / haproxy_frontend_limit_sessions * 100",
    "sum by (proxy) (haproxy_backend_current_queue)",
    "haproxy_backend_active_servers",
    "avg by (proxy) (haproxy_backend_response_time_average_seconds)",
    "rate(haproxy_server_bytes_in_total[10s])",
    "rate(haproxy_backend_bytes_out_total[10s])",
    "rate(haproxy_server_connection_errors_total[10s])",
    "increase(haproxy_server_check_up_down_total[10s])",
    "rate(haproxy_process_dropped_logs_total[10s])",
    "count(traefik_config_reloads_total)",
    "sum by (entrypoint) (rate(traefik_entrypoint_requests_total{entrypoint=~\"web|secure\"}[10s]))",
    "(sum by (method) (rate(traefik_entrypoint_request_duration_seconds_bucket{le=\"0.3\",code=\"200\"}[10s])) + sum by (method) (rate(traefik_entrypoint_request_duration_seconds_bucket{le=\"1.2\",code=\"200\"}[10s]))) / 2 / sum by (method) (rate(traefik_entrypoint_request_duration_seconds_count{code=\"200\"}[10s]))",
    "sum by (method, code) (rate(traefik_service_requests_total{service=~\"app.*\",protocol=\"http\"}[10s]))",
    "topk(15, traefik_service_request_duration_seconds_sum{protocol=\"http\"} / traefik_service_request_duration_seconds_count{protocol=\"http\"})",
    "1 - sum by (service) (rate(traefik_service_request_duration_seconds_bucket{le=\"0.3\"}[10s])) / sum by (service) (rate(traefik_service_request_duration_seconds_count[10s]))",
    "sum by (service, method, code) (rate(traefik_service_requests_total{code!~\"2..|5..\",protocol=\"http\"}[10s])) > 0",
    "sum by (service, method) (rate(traefik_service_responses_bytes_total{protocol=\"http\"}[10s])) > 0",
    "sum by (entrypoint) (traefik_open_connections)",
    "traefik_service_server_up == 0",
];

#[test]
fn every_expression_has_an_answer_and_every_rule_is_sound() {
    let busy = Busy::start("[metrics]\ncompat = [\"haproxy\", \"traefik\"]\n");
    let prometheus = Prometheus::start(busy.api.addr);
    let dashboard = dashboard();
    let mut wanted = expressions(&dashboard);
    assert!(wanted.len() >= 60, "{}", wanted.len());
    // What nothing comes of here is told as 0; then its family is there, at least.
    let served = busy.scrape("");
    for (place, expr) in wanted.iter().filter(|(_, expr)| expr.contains("or vector(0)")) {
        let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        let family = expr.split(word).find(|word| word.starts_with("evenkeel_")).unwrap();
        assert!(served.contains(&format!("# TYPE {family} ")), "{place}: no {family}");
    }
    wanted.extend(OTHERS.iter().map(|expr| ((*expr).to_string(), (*expr).to_string())));
    // A variable has values: its metric is there, with the label.
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "query" {
            let query = text(&variable["query"]["query"]);
            assert_eq!(query, text(&variable["definition"]));
            let inner = query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')'));
            let (selector, label) = inner.unwrap().rsplit_once(", ").unwrap();
            wanted.insert(query.into(), format!("count by ({label}) ({})", filled(selector)));
        }
    }
    let recording = std::fs::read_to_string(deploy("prometheus/recording.yml")).unwrap();
    for record in recording.split("- record: ").skip(1).filter_map(|rest| rest.lines().next()) {
        wanted.insert(record.into(), record.into());
    }
    let mut left = wanted;
    until("every expression has an answer", || {
        busy.traffic();
        left.retain(|_, expr| prometheus.query(expr).is_empty());
        if !left.is_empty() {
            eprintln!("{} without an answer: {:?}", left.len(), left.keys());
        }
        left.is_empty()
    });
    // Labels of compat jobs are theirs alone.
    for (job, other) in [("haproxy", "traefik"), ("traefik", "haproxy")] {
        let expr = format!("count({{job=\"{job}\", __name__=~\"{other}_.*|evenkeel_.*\"}})");
        assert!(prometheus.query(&expr).is_empty(), "{expr}");
    }
    assert_eq!(prometheus.query("sum(up)").first().map(|(_, up)| *up), Some(3.0));
    let groups = prometheus.get("/api/v1/rules");
    let mut rules = 0;
    for group in groups["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert_eq!(rule["health"], "ok", "{rule}");
            rules += 1;
        }
    }
    assert!(rules >= 29, "{rules}");
    // The backend that nobody is behind is on its way to an alert, in words without a hole.
    let alerts = prometheus.get("/api/v1/alerts");
    let down = |alert: &&Value| alert["labels"]["alertname"] == "EvenkeelBackendDown";
    let down = alerts["alerts"].as_array().unwrap().iter().find(down);
    let summary = text(&down.unwrap_or_else(|| panic!("{alerts}"))["annotations"]["summary"]);
    assert!(
        summary.starts_with("failing/127.0.0.1:") && summary.ends_with(" is down"),
        "{summary}"
    );
}

/// What Grafana 11 and 12 have without further plugins, of what the dashboard uses.
const KINDS: [&str; 4] = ["row", "stat", "timeseries", "table"];

#[test]
fn the_dashboard_has_the_form_grafana_reads() {
    let dashboard = dashboard();
    assert_eq!((&dashboard["uid"], &dashboard["title"]), (&"evenkeel".into(), &"Evenkeel".into()));
    assert_eq!(dashboard["id"], Value::Null, "Grafana gives it one");
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39, "of Grafana 11 or later");
    assert!(dashboard.get("__inputs").is_none(), "it can be provisioned as it is");
    let source = serde_json::json!({ "type": "prometheus", "uid": "${datasource}" });
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables.iter().map(|variable| text(&variable["name"])).collect();
    assert_eq!(names, ["datasource", "job", "instance", "pool"]);
    assert_eq!(
        (&variables[0]["type"], &variables[0]["query"]),
        (&"datasource".into(), &"prometheus".into())
    );
    for variable in &variables[1..] {
        assert_eq!((&variable["type"], &variable["datasource"]), (&"query".into(), &source));
        assert_eq!((&variable["multi"], &variable["includeAll"]), (&true.into(), &true.into()));
    }
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let (kind, title) = (text(&panel["type"]), text(&panel["title"]));
        assert!(KINDS.contains(&kind), "{title} is a {kind}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24 && at("w") > 0 && at("h") > 0, "{title}: beyond the grid");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(places.insert((x, y)), "{title} lies over another");
            }
        }
        if kind == "row" {
            assert_eq!(
                (&panel["collapsed"], &panel["panels"]),
                (&false.into(), &Value::Array(vec![]))
            );
            continue;
        }
        assert_eq!(panel["datasource"], source, "{title}");
        assert!(panel["options"].is_object() && panel["fieldConfig"]["overrides"].is_array());
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(!text(&defaults["unit"]).is_empty(), "{title} has no unit");
        assert_eq!(defaults["thresholds"]["steps"][0]["value"], Value::Null, "{title}");
        let targets = panel["targets"].as_array().unwrap();
        let refs: BTreeSet<&str> = targets.iter().map(|target| text(&target["refId"])).collect();
        assert_eq!(refs.len(), targets.len(), "{title}");
        for target in targets {
            assert_eq!(target["datasource"], source, "{title}");
            let expr = text(&target["expr"]);
            let pooled = ["instance=~\"$instance\"", "job=~\"$job\""];
            assert!(
                pooled.iter().all(|word| expr.contains(word)),
                "{title} shows every proxy: {expr}"
            );
            assert_eq!(target["instant"], Value::Bool(kind == "table"), "{title}");
        }
    }
    assert!(ids.len() > 50);
}

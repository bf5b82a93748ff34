//! Traces, as a collector reads them that knows what the specification says.
use crate::support::{Backend, Client, Proxy, Server, h2, json, nobody, python, until, web};
use serde_json::Value;
use std::net::SocketAddr;

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

struct Collector(Server);

impl Collector {
    fn start() -> Self {
        let addr = nobody();
        let mut command = python("traces/collector.py");
        command.arg(addr.port().to_string());
        Self(Server::start(command, addr))
    }
    fn words(&self, more: &str) -> String {
        format!("[trace]\notlp = \"http://{}\"\n{more}\n", self.0.addr)
    }
    fn get(&self, path: &str) -> Value {
        json(&Client::connect(self.0.addr).ask("GET", path, ""))
    }
    /// The spans of a trace, once there are so many.
    #[track_caller]
    fn spans(&self, trace: &str, n: usize) -> Vec<Value> {
        let mut all = Vec::new();
        until(&format!("{n} spans came"), || {
            let said = self.get("/spans");
            assert_eq!(said["wrong"], serde_json::json!([]), "as the specification says");
            let of = |span: &&Value| trace.is_empty() || span["trace"] == trace;
            all = said["spans"].as_array().unwrap().iter().filter(of).cloned().collect();
            all.len() >= n
        });
        assert_eq!(all.len(), n, "{all:?}");
        all
    }
    fn answer(&self, words: &str) {
        let mut client = Client::connect(self.0.addr);
        let n = words.len();
        client
            .send(format!("PUT /answer HTTP/1.1\r\nHost: c\r\nContent-Length: {n}\r\n\r\n{words}"));
        assert_eq!(client.response().status, 204);
    }
}

fn of_kind<'a>(spans: &'a [Value], kind: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["kind"] == kind).collect()
}

fn cells(proxy: &Proxy) -> [u64; 3] {
    let cells = &proxy.running().state().telemetry.tracer.cells;
    let of = |cell: &std::sync::atomic::AtomicU64| cell.load(std::sync::atomic::Ordering::Relaxed);
    [of(&cells.sent), of(&cells.dropped), of(&cells.failed)]
}

fn parent(head: &str) -> String {
    let line = head.lines().find(|line| line.to_lowercase().starts_with("traceparent:"));
    line.map_or(String::new(), |line| line.split_once(':').unwrap().1.trim().into())
}

#[test]
fn a_trace_goes_on_through_the_proxy_with_a_span_for_each_try() {
    let (collector, backend) = (Collector::start(), Backend::echo());
    let gone = nobody();
    let proxy = Proxy::http(
        &[gone, backend.addr],
        &format!(
            "retry = {{ attempts = 2, budget = \"100%\" }}\n{}",
            collector.words("sample = \"0%\"\nservice = \"edge\"")
        ),
    );
    // Whoever is asked first: in the end somebody was sent to who is not there.
    let (mut tries, mut id) = (1, 0);
    while tries == 1 {
        id += 1;
        let trace = format!("{id:032x}");
        let fields =
            format!("traceparent: 00-{trace}-b7ad6b7169203331-01\r\ntracestate: a=1,b=2\r\n");
        let answer = proxy.client().ask("GET", "/x?secret=1", &fields);
        let said = parent(&answer.text());
        assert!(answer.text().contains("tracestate: a=1,b=2"), "{}", answer.text());
        // Its end is told a moment after its last byte.
        let mut spans = Vec::new();
        until("its spans came", || {
            let all = collector.get("/spans");
            let all = all["spans"].as_array().unwrap().iter();
            spans = all.filter(|span| span["trace"] == trace.as_str()).cloned().collect();
            !of_kind(&spans, "server").is_empty()
        });
        let server = of_kind(&spans, "server")[0];
        assert_eq!(
            (&server["parent"], &server["remote"]),
            (&"b7ad6b7169203331".into(), &true.into())
        );
        assert_eq!((&server["name"], &server["service"]), (&"GET default".into(), &"edge".into()));
        assert_eq!((&server["state"], &server["error"]), (&"a=1,b=2".into(), &false.into()));
        let told = &server["attributes"];
        assert_eq!(
            (&told["url.path"], &told["http.response.status_code"]),
            (&"/x".into(), &200.into())
        );
        assert!(!server.to_string().contains("secret"), "{server}");
        let clients = of_kind(&spans, "client");
        tries = clients.len();
        for client in &clients {
            assert_eq!(client["parent"], server["id"]);
            let inside = |name: &str| client[name].as_u64().unwrap();
            assert!(inside("begun") >= server["begun"].as_u64().unwrap(), "{client} {server}");
            assert!(inside("ended") <= server["ended"].as_u64().unwrap(), "{client} {server}");
        }
        let last = clients.last().unwrap();
        assert_eq!(said, format!("00-{trace}-{}-01", last["id"].as_str().unwrap()));
        assert_eq!(last["attributes"]["evenkeel.backend"], "b2");
        if tries == 2 {
            assert_eq!(clients[0]["attributes"]["error.type"], "connect");
            assert_eq!((&clients[0]["error"], &last["error"]), (&true.into(), &false.into()));
            assert_eq!(last["attributes"]["http.request.resend_count"], 1);
        }
    }
}

#[test]
fn a_trace_begins_here_and_what_is_not_drawn_says_so() {
    let (collector, backend) = (Collector::start(), Backend::echo());
    let proxy = Proxy::http(&[backend.addr], &collector.words("sample = \"100%\""));
    let text = proxy.get("/a").text();
    let said = parent(&text);
    let parts: Vec<&str> = said.split('-').collect();
    let spans = collector.spans(parts[1], 2);
    assert_eq!(of_kind(&spans, "server")[0]["parent"], "");
    assert_eq!(of_kind(&spans, "client")[0]["id"], parts[2]);
    // Not drawn by who began it: nobody hears of it, and it is passed on.
    let unsampled = GOOD.replace("-01", "-00");
    let answer = proxy.client().ask("GET", "/", &format!("traceparent: {unsampled}\r\n"));
    assert_eq!(parent(&answer.text()), unsampled);
    // By HTTP/2, and answered by ourselves.
    let mut client = h2::Frames::connect(proxy.addr());
    client.get(1, "/two", &[("traceparent", GOOD)]);
    assert_eq!(client.answer(1).0, 200);
    let spans = collector.spans(TRACE, 2);
    assert_eq!(of_kind(&spans, "server")[0]["attributes"]["url.path"], "/two");
    let none = web(&[], &collector.words("sample = \"100%\""));
    proxy.reload(&none).unwrap();
    let lost = GOOD.replace("0af7", "1af7");
    assert_eq!(proxy.client().ask("GET", "/", &format!("traceparent: {lost}\r\n")).status, 503);
    let spans = collector.spans(&TRACE.replace("0af7", "1af7"), 1);
    assert_eq!(spans[0]["attributes"]["error.type"], "no_backend");
    assert_eq!(spans[0]["error"], true);
    // Switched off, nothing is touched.
    proxy.reload(&web(&[backend.addr], "")).unwrap();
    assert_eq!(parent(&proxy.get("/").text()), "");
    let answer = proxy.client().ask("GET", "/", "traceparent: what ever\r\n");
    assert_eq!(parent(&answer.text()), "what ever");
}

#[test]
fn a_collector_that_breaks_costs_spans_and_no_request() {
    let (collector, backend) = (Collector::start(), Backend::named("one"));
    let words = collector.words("sample = \"100%\"\nqueue = 4");
    let proxy = Proxy::http(&[backend.addr], &words);
    // Busy for a moment: asked again.
    collector.answer("503 1");
    assert_eq!(proxy.get("/").status, 200);
    collector.spans("", 2);
    assert_eq!(collector.get("/batches")["batches"], 2);
    until("they are counted", || cells(&proxy) == [2, 0, 0]);
    // It says when.
    collector.answer("503 1 2");
    assert_eq!(proxy.get("/").status, 200);
    until("they are counted", || cells(&proxy) == [4, 0, 0]);
    let said = collector.get("/batches");
    assert!(said["pause"].as_f64().unwrap() >= 2.0, "{said}");
    // Refused for good: not asked again.
    collector.answer("400 1");
    assert_eq!(proxy.get("/").status, 200);
    until("they are lost", || cells(&proxy) == [4, 0, 2]);
    // Taken in part: what was refused is lost, and is not sent again.
    collector.answer("200 1");
    assert_eq!(proxy.get("/").status, 200);
    until("one of two is lost", || cells(&proxy) == [5, 0, 3]);
    // Gone, or nobody: the queue is as long as it is, and requests are answered.
    let gone: SocketAddr = nobody();
    let elsewhere = words.replace(&collector.0.addr.to_string(), &gone.to_string());
    proxy.reload(&web(&[backend.addr], &elsewhere)).unwrap();
    let mut client = proxy.client();
    for _ in 0..400 {
        assert_eq!(client.ask("GET", "/", "").text(), "one");
    }
    until("each is lost, here or there", || {
        let [_, dropped, failed] = cells(&proxy);
        dropped > 0 && dropped + failed == 3 + 2 * 400
    });
    // Back again.
    proxy.reload(&web(&[backend.addr], &words)).unwrap();
    assert_eq!(client.ask("GET", "/", "").status, 200);
    until("they are taken", || cells(&proxy)[0] == 7);
    // What is under way when the process ends is sent before.
    assert_eq!(client.ask("GET", "/", "").status, 200);
    drop(client);
    proxy.stop();
    collector.spans("", 8);
}

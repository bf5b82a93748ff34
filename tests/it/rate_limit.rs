//! How often requests of one key may come: whose they are, what the refused are told, what is counted.
use crate::readme::scrape;
use crate::support::h2::{END_STREAM, Frames, HEADERS};
use crate::support::{Backend, Client, Proxy, Response, nobody};
use std::net::SocketAddr;

/// So slow that no test sees a token come back.
const SLOW: &str = "rate = \"1/h\"";

/// A listener with these words, and a route `api` below `/api` with these to a backend.
fn words(backend: SocketAddr, listener: &str, route: &str) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n{listener}\n\
         [[route]]\nname = \"api\"\npath = \"/api\"\n{route}\n\
         [pool.app]\nbackends = [\"{backend}\"]\n"
    )
}

fn limited(limit: &str) -> String {
    format!("pool = \"app\"\nrate_limit = {{ {limit} }}")
}

fn ask(proxy: &Proxy, path: &str, fields: &str) -> Response {
    ask_by(&mut proxy.client(), path, fields)
}

fn ask_by(client: &mut Client, path: &str, fields: &str) -> Response {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    client.response()
}

fn number(response: &Response, field: &str) -> Option<u64> {
    response.field(field).map(|value| value.parse().unwrap())
}

/// Limit, tokens left and whether more is said.
fn told(response: &Response) -> (u16, Option<u64>, Option<u64>) {
    let reset = number(response, "RateLimit-Reset");
    assert_eq!(reset.is_some(), response.field("RateLimit-Limit").is_some());
    (response.status, number(response, "RateLimit-Limit"), number(response, "RateLimit-Remaining"))
}

#[test]
fn what_comes_too_often_is_refused_and_told_when_to_come_again() {
    let backend = Backend::named("one");
    let proxy = Proxy::start(&words(backend.addr, "", &limited(&format!("{SLOW}, burst = 3"))));
    let mut client = proxy.client();
    for left in [2, 1, 0] {
        let passed = ask_by(&mut client, "/api", "");
        assert_eq!((told(&passed), passed.text().as_str()), ((200, Some(3), Some(left)), "one"));
        let reset = number(&passed, "RateLimit-Reset").unwrap();
        assert!((3600 * (2 - left)..=3600 * (3 - left)).contains(&reset), "{reset}");
        assert_eq!(passed.field("Retry-After"), None);
    }
    // On the same connection: it is nobody's fault in what a request is.
    let refused = ask_by(&mut client, "/api/x", "");
    assert_eq!(told(&refused), (429, Some(3), Some(0)));
    let wait = number(&refused, "Retry-After").unwrap();
    assert!((3590..=3600).contains(&wait), "{wait}");
    assert_eq!(refused.text(), "429 Too Many Requests\n");
    // What is not of this route has no limit, and says none.
    assert_eq!(told(&ask_by(&mut client, "/", "")), (200, None, None));
    let text = scrape(&proxy);
    for line in [
        "evenkeel_rate_limited_total{route=\"api\"} 1",
        "evenkeel_rate_limit_evictions_total{route=\"api\"} 0",
        "evenkeel_responses_own_total{listener=\"web\",reason=\"rate_limited\"} 1",
        "evenkeel_limit_hits_total{listener=\"web\",limit=\"rate_limit\"} 1",
        "evenkeel_requests_total{listener=\"web\",route=\"api\",pool=\"app\",method=\"GET\",code=\"429\"} 1",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
    }
}

/// What became of requests of these chains of addresses.
/// Whoever answers, the token is spent.
#[test]
fn an_answer_of_our_own_says_where_the_client_stands_as_well() {
    let limit = format!("{SLOW}, burst = 3");
    let words = words(nobody(), "", &format!("{}\nlimits = {{ body = \"10B\" }}", limited(&limit)));
    let proxy = Proxy::start(&words);
    let mut client = proxy.client();
    client.send("POST /api HTTP/1.1\r\nHost: a.test\r\nContent-Length: 50\r\n\r\n");
    assert_eq!(told(&client.response()), (413, Some(3), Some(2)));
    assert_eq!(told(&ask(&proxy, "/api", "")), (502, Some(3), Some(1)));
    assert_eq!(told(&ask(&proxy, "/api", "")), (503, Some(3), Some(0)));
}

fn by_address(proxy: &Proxy, chains: &[&str]) -> Vec<u16> {
    let fields = |chain: &str| format!("X-Forwarded-For: {chain}\r\n");
    chains.iter().map(|chain| ask(proxy, "/api", &fields(chain)).status).collect()
}

#[test]
fn a_client_is_its_network_as_trusted_proxies_say() {
    let backend = Backend::named("one");
    let limit = limited(&format!("{SLOW}, burst = 1, prefix = {{ v4 = 24, v6 = 48 }}"));
    let trusting =
        words(backend.addr, "trusted_proxies = [\"127.0.0.1\", \"10.9.0.0/16\"]", &limit);
    let proxy = Proxy::start(&trusting);
    let chains = [
        "192.0.2.1",
        "192.0.2.200",
        "192.0.3.1",
        "::ffff:192.0.3.9",
        "2001:db8:1::1",
        "2001:db8:1:ffff::2",
        "2001:db8:2::1",
        // What is said left of the first address that is not trusted is anybody's word.
        "203.0.113.1, 192.0.2.7, 10.9.1.1",
        "203.0.113.1, 10.9.1.1",
    ];
    assert_eq!(by_address(&proxy, &chains), [200, 429, 200, 429, 200, 429, 200, 429, 200]);
    // Where nobody is believed each is 127.0.0.1.
    let proxy = Proxy::start(&words(backend.addr, "", &limit));
    assert_eq!(by_address(&proxy, &["192.0.2.1", "192.0.3.1"]), [200, 429]);
}

#[test]
fn requests_without_the_field_are_one_client() {
    let backend = Backend::named("one");
    let limit = limited(&format!("key = \"header:X-User\", {SLOW}, burst = 1"));
    let proxy = Proxy::start(&words(backend.addr, "", &limit));
    let fields = ["X-User: a\r\n", "x-user: b\r\n", "X-User: a\r\n", "", "X-User:\r\n"];
    let statuses = fields.map(|fields| ask(&proxy, "/api", fields).status);
    assert_eq!(statuses, [200, 200, 429, 200, 429]);
}

#[test]
fn a_route_is_one_whatever_listener_it_is_asked_by() {
    let backend = Backend::named("one");
    let route = "rate_limit = { key = \"route\", rate = \"1/h\", burst = 2 }\nrespond = 204\n";
    let other = "[listener.other]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n";
    let proxy = Proxy::start(&format!("{}{other}", words(backend.addr, "", route)));
    let by = |listener| ask_by(&mut Client::connect(proxy.addr_of(listener)), "/api", "");
    assert_eq!(told(&by("web")), (204, Some(2), Some(1)));
    assert_eq!(told(&by("other")), (204, Some(2), Some(0)));
    assert_eq!((by("web").status, by("other").status), (429, 429));
}

#[test]
fn what_a_backend_says_of_its_own_limit_stays_alone() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nratelimit-limit: 7\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let proxy = Proxy::start(&words(backend.addr, "", &limited(SLOW)));
    let answer = ask(&proxy, "/api", "");
    assert_eq!(answer.head.to_lowercase().matches("ratelimit-").count(), 1, "{}", answer.head);
    assert_eq!(answer.field("RateLimit-Limit"), Some("7"));
}

#[test]
fn a_reload_forgets_nobody_while_key_and_route_stay() {
    let backend = Backend::named("one");
    let with = |limit: &str| words(backend.addr, "", &limited(limit));
    let proxy = Proxy::start(&with("rate = \"1/h\", burst = 1"));
    let status = || ask(&proxy, "/api", "").status;
    assert_eq!((status(), status()), (200, 429));
    proxy.reload(&with("rate = \"2/h\", burst = 1, keys = 5000")).unwrap();
    assert_eq!(status(), 429, "another rate and another number of keys");
    proxy.reload(&with("rate = \"1/h\", burst = 2")).unwrap();
    assert_eq!((status(), status()), (200, 429), "a larger bucket has one token more");
    assert!(scrape(&proxy).contains("evenkeel_rate_limited_total{route=\"api\"} 3\n"));
    proxy.reload(&with("key = \"route\", rate = \"1/h\", burst = 1")).unwrap();
    assert_eq!(status(), 200, "another key");
}

#[test]
fn invented_keys_take_no_more_than_their_places() {
    let backend = Backend::named("one");
    let limit = limited(&format!("key = \"header:X-Key\", {SLOW}, burst = 2, keys = 32"));
    let proxy = Proxy::start(&words(backend.addr, "", &limit));
    let mut client = proxy.client();
    let mut greedy = 0;
    for n in 0..500 {
        let field = format!("X-Key: {n}\r\n");
        assert_eq!(ask_by(&mut client, "/api", &field).status, 200);
        greedy += u32::from(ask_by(&mut client, "/api", "X-Key: greedy\r\n").status == 200);
    }
    assert_eq!(greedy, 2, "who has spent most is forgotten last");
    let text = scrape(&proxy);
    let name = "evenkeel_rate_limit_evictions_total{route=\"api\"} ";
    let evicted: u32 = text.split(name).nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!((501 - 32..=501).contains(&evicted), "{evicted}");
}

#[test]
fn by_http_2_it_is_the_same_and_a_call_gets_its_status() {
    let backend = Backend::named("one");
    let proxy = Proxy::start(&words(backend.addr, "", &limited(&format!("{SLOW}, burst = 1"))));
    let mut frames = Frames::connect(proxy.addr());
    frames.get(1, "/api", &[]);
    assert_eq!(frames.answer(1), (200, "one".into()));
    frames.get(3, "/api", &[]);
    assert_eq!(frames.answer(3), (429, "429 Too Many Requests\n".into()));
    frames.get(5, "/api", &[("content-type", "application/grpc")]);
    let answer = frames.until("the call's end", |frame| frame.kind == HEADERS && frame.stream == 5);
    assert_eq!((answer.status(), answer.flags & END_STREAM), (200, END_STREAM));
    assert!(scrape(&proxy).contains("evenkeel_rate_limited_total{route=\"api\"} 2\n"));
}

//! gRPC through the proxy, by HTTP/2 on both of its sides: grpcio asks and answers; h2 of PyPI asks
//! where a client is wanted that gives nothing up.
use crate::support::h2::{Frames, WINDOW_UPDATE};
use crate::support::{
    Backend, Certs, Client, Proxy, Server, access_lines, access_log, nobody, python, until, web,
};
use evenkeel::message::memory;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// A server by grpcio with this name; with TLS where there are certificates.
pub(crate) fn serve(name: &str, certs: Option<&Certs>, options: &[&str]) -> Server {
    serve_at(nobody(), name, certs, options)
}

pub(crate) fn serve_at(
    addr: SocketAddr,
    name: &str,
    certs: Option<&Certs>,
    options: &[&str],
) -> Server {
    let mut command = python("grpc/peer.py");
    command.args(["serve", &addr.port().to_string(), name]).args(options).args(folder(certs));
    Server::start(command, addr)
}

fn folder(certs: Option<&Certs>) -> Option<String> {
    certs.map(|certs| format!("tls={}", certs.path("").display()))
}

/// Certificates for localhost.
pub(crate) fn certs() -> Certs {
    let certs = Certs::new();
    certs.make("a", &["localhost"]);
    certs
}

/// Words for a pool that asks by TLS, and for a listener that is asked by it.
fn tls_to_backends(certs: &Certs) -> String {
    format!("tls = {{ ca_file = \"{}\", sni = \"localhost\" }}", certs.path("ca.pem").display())
}

fn tls_from_clients(certs: &Certs) -> String {
    format!("[listener.web.tls]\ncertificates = [{{ {} }}]", certs.words("a"))
}

/// HTTP/2 to these backends, on one worker.
pub(crate) fn words(backends: &[&Server], more: &str) -> String {
    let addrs: Vec<SocketAddr> = backends.iter().map(|server| server.addr).collect();
    web(&addrs, &format!("http = \"2\"\n{more}\n[server]\nworkers = 1"))
}

fn proxy(backends: &[&Server], more: &str) -> Proxy {
    Proxy::start(&words(backends, more))
}

/// Runs a scenario of `peer.py` by its name.
#[track_caller]
pub(crate) fn check(addr: SocketAddr, scenario: &str, certs: Option<&Certs>) {
    let mut command = python("grpc/peer.py");
    command.args(["check", &addr.to_string(), scenario]).args(folder(certs));
    let done = command.output().unwrap();
    assert!(done.status.success(), "{scenario}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A client that is told what to do, a line each.
pub(crate) struct Talk {
    child: Child,
    says: ChildStdin,
    hears: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    pub(crate) fn new(target: impl ToString) -> Self {
        Self::by(target, None)
    }
    /// By TLS where there are certificates.
    pub(crate) fn by(target: impl ToString, certs: Option<&Certs>) -> Self {
        let mut command = python("grpc/peer.py");
        command.args(["talk", &target.to_string()]).args(folder(certs));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let says = child.stdin.take().unwrap();
        let hears = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, says, hears }
    }
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.hear()
    }
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.says, "{line}").unwrap();
    }
    #[track_caller]
    pub(crate) fn hear(&mut self) -> String {
        self.hears.next().expect("an answer, but peer.py ended").unwrap()
    }
    /// A number that a server counts under this word.
    pub(crate) fn state(&mut self, word: &str) -> usize {
        let text = self.ask("call state");
        let found = text.split(' ').find_map(|pair| pair.strip_prefix(word)?.strip_prefix('='));
        found.unwrap_or("0").parse().unwrap()
    }
    /// A load without a pause has had so many answers.
    #[track_caller]
    pub(crate) fn until_loaded(&mut self, more: usize) {
        let loaded = |talk: &mut Self| talk.ask("loaded").parse::<usize>().unwrap();
        let wanted = loaded(self) + more;
        until("it was asked so often", || loaded(self) >= wanted);
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one call hears, a line each.
fn raw(proxy: &Proxy, path: &str, fields: &[&str]) -> Vec<String> {
    let mut command = python("grpc/peer.py");
    command.args(["raw", &proxy.addr().port().to_string(), path]).args(fields);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(str::to_string).collect()
}

/// An answer of the proxy's own, which says nothing but a status.
#[track_caller]
fn is_status(lines: &[String], status: u8, message: &str) {
    let has = |line: &str| assert!(lines.iter().any(|l| l == line), "{line} not in {lines:?}");
    has(":status: 200");
    has("content-type: application/grpc");
    has(&format!("grpc-status: {status}"));
    has(&format!("grpc-message: {message}"));
    assert_eq!(lines.last().unwrap(), "end", "{lines:?}");
}

#[test]
fn everything_passes_in_the_clear() {
    let server = serve("a", None, &[]);
    check(proxy(&[&server], "").addr(), "everything", None);
}

#[test]
fn everything_passes_by_tls_on_both_sides() {
    let certs = certs();
    let server = serve("a", Some(&certs), &[]);
    let more = format!("{}\n{}", tls_to_backends(&certs), tls_from_clients(&certs));
    check(proxy(&[&server], &more).addr(), "everything", Some(&certs));
    // What the handshake agrees on is HTTP/2 as well.
    let auto = words(&[&server], &more).replace("http = \"2\"", "http = \"auto\"");
    check(Proxy::start(&auto).addr(), "everything", Some(&certs));
}

#[test]
fn everything_passes_by_tls_on_one_side() {
    let certs = certs();
    let (plain, secure) = (serve("a", None, &[]), serve("a", Some(&certs), &[]));
    check(proxy(&[&plain], &tls_from_clients(&certs)).addr(), "everything", Some(&certs));
    check(proxy(&[&secure], &tls_to_backends(&certs)).addr(), "everything", None);
}

#[test]
fn what_is_compressed_stays_so() {
    let server = serve("a", None, &[]);
    let (folder, log) = access_log();
    check(proxy(&[&server], &log).addr(), "compressed", None);
    let line: serde_json::Value = serde_json::from_str(&access_lines(&folder, 1)[0]).unwrap();
    // Of 4.8 MB.
    for bytes in ["bytes_in", "bytes_out"] {
        assert!((1..100_000).contains(&line[bytes].as_u64().unwrap()), "{line}");
    }
}

/// A deadline is kept by the proxy, whatever its client and its backend do.
#[test]
fn a_deadline_is_kept_for_who_does_not_keep_it() {
    let server = Server::h2(&[]);
    let (folder, log) = access_log();
    let proxy = proxy(&[&server], &log);
    let resets = || {
        let text = proxy.get("/state").text();
        text.split(' ').find_map(|pair| pair.strip_prefix("resets=")).unwrap().to_string()
    };
    is_status(&raw(&proxy, "/silent", &["grpc-timeout=200m"]), 4, "timeout_request");
    until("its call was taken back", || resets() == "1");
    // In the middle of an answer the status is in its trailers.
    let lines = raw(&proxy, "/begin", &["grpc-timeout=200m"]);
    assert_eq!(lines[lines.len() - 4], format!("data {}", hex(b"begun")), "{lines:?}");
    let end = ["trailer grpc-status: 4", "trailer grpc-message: timeout_request", "end"];
    assert_eq!(lines[lines.len() - 3..], end);
    until("its call was taken back", || resets() == "2");
    // The shorter of two counts; what is no time is none.
    is_status(&raw(&proxy, "/silent", &["grpc-timeout=0n"]), 4, "timeout_request");
    let quick = web(&[server.addr], "http = \"2\"\ntimeout = { request = \"200ms\" }");
    let quick = Proxy::start(&quick);
    for wait in ["1H", "99999999H", "soon"] {
        let wait = format!("grpc-timeout={wait}");
        is_status(&raw(&quick, "/silent", &[&wait]), 4, "timeout_request");
    }
    // A client that is still sending.
    is_status(&raw(&proxy, "/silent", &["grpc-timeout=200m", "body=10"]), 4, "timeout_request");
    let lines = access_lines(&folder, 3);
    assert!(lines.iter().any(|line| line.contains("timeout_request")), "{lines:?}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Who waits for a first verdict waits no longer than his call may take.
#[test]
fn a_deadline_holds_before_there_is_a_backend() {
    let silent = Backend::run(|peer| drop(peer.rest()));
    let more = "http = \"2\"\nhealth = { http = \"/\", timeout = \"30s\", interval = \"60s\" }\n\
        timeout = { connect = \"60s\" }";
    let proxy = Proxy::http(&[silent.addr], more);
    is_status(&raw(&proxy, "/test.T/name", &["grpc-timeout=200m"]), 4, "timeout_request");
}

#[test]
fn own_answers_are_statuses() {
    let server = serve("a", None, &[]);
    let limits = "limits = { body = \"1KiB\" }\n[defaults]\nlimits = { head = \"2KiB\" }";
    let proxy = proxy(&[&server], limits);
    let long = format!("x-long={}", "x".repeat(3000));
    is_status(&raw(&proxy, "/test.T/name", &[&long]), 8, "head_too_large");
    is_status(&raw(&proxy, "/test.T/total", &["body=2000"]), 8, "body_too_large");
    // In the middle of an answer, too.
    let mut talk = Talk::new(proxy.addr());
    assert_eq!(talk.ask("open 1"), "a hello");
    let said = talk.ask(&format!("say 1 {}", "x".repeat(2000)));
    assert_eq!(said, "RESOURCE_EXHAUSTED body_too_large");

    let nowhere = Proxy::http(&[nobody()], "http = \"2\"");
    is_status(&raw(&nowhere, "/test.T/name", &[]), 14, "connect");
    nowhere.until_state("b1", "down");
    is_status(&raw(&nowhere, "/test.T/name", &[]), 14, "no_backend");

    let mute = Server::h2(&["mute"]);
    let more = "timeout = { connect = \"200ms\" }\nretry = { attempts = 1 }";
    is_status(&raw(&self::proxy(&[&mute], more), "/test.T/name", &[]), 14, "timeout_connect");

    let routes = format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\n[pool.app]\nhttp = \"2\"\nmax_active = 1\n\
         backends = [\"{}\"]\n[[route]]\npath = \"/test.T\"\npool = \"app\"\n",
        server.addr
    );
    let routed = Proxy::start(&routes);
    is_status(&raw(&routed, "/other.T/name", &[]), 12, "no_route");
    let mut talk = Talk::new(routed.addr());
    assert_eq!(talk.ask("open 1"), "a hello");
    is_status(&raw(&routed, "/test.T/name", &[]), 8, "max_active");
    assert_eq!(talk.ask("end 1"), "OK");
    until("the call is counted as over", || talk.ask("call name") == "a");
}

/// What was sent of a call is kept until its answer begins.
#[test]
fn a_call_that_was_never_looked_at_is_made_again() {
    for path in ["/refuse-once", "/away-once", "/refuse-late", "/away-late"] {
        let long = ["body=15000", "body=15000", "body=15000", "split"];
        for more in [&[][..], &["split"], &long] {
            let server = Server::h2(&[]);
            let lines = raw(&proxy(&[&server], ""), path, more);
            assert_eq!((&*lines[0], lines.last().map(|l| &**l)), (":status: 200", Some("end")));
            let own = lines.iter().any(|line| line.starts_with("grpc-status"));
            assert!(!own, "{path} {more:?}: {lines:?}");
        }
    }
}

/// An upload must come at `limits.body_rate`; a call is none, and may say nothing for long.
#[test]
fn a_call_may_be_silent_for_longer_than_an_upload() {
    let server = serve("a", None, &[]);
    let proxy = proxy(&[&server], "limits = { body_rate = \"1MiB/s\" }");
    let mut talk = Talk::new(proxy.addr());
    assert_eq!(talk.ask("open 1"), "a hello");
    assert_eq!(talk.ask("wait 11"), "waited");
    assert_eq!((talk.ask("say 1 x"), talk.ask("say 1 y")), ("a x".into(), "a y".into()));
    assert_eq!(talk.ask("end 1"), "OK");
}

#[test]
fn a_backend_that_dies_is_no_end() {
    let server = serve("a", None, &[]);
    let proxy = proxy(&[&server], "");
    let mut talk = Talk::new(proxy.addr());
    assert_eq!(talk.ask("open 1"), "a hello");
    assert_eq!(talk.ask("begin 2 die"), "first");
    assert_eq!(talk.ask("hear 2"), "UNAVAILABLE upstream_cut");
    assert_eq!(talk.ask("hear 1"), "UNAVAILABLE upstream_cut");
    assert!(talk.ask("call name").starts_with("UNAVAILABLE "));
    for path in ["/cut", "/cut-no-error", "/cut-connection"] {
        let other = Server::h2(&[]);
        let proxy = self::proxy(&[&other], "");
        let lines = raw(&proxy, path, &[]);
        let status = lines.iter().position(|line| line == "trailer grpc-status: 14");
        let reset = lines.last().unwrap() == "reset 2";
        assert!(
            status.is_some() || reset || lines.contains(&"grpc-status: 14".into()),
            "{lines:?}"
        );
    }
}

/// A reader that stands still costs the windows of its stream, and gets all when it goes on.
#[test]
fn a_client_that_reads_slowly_holds_up_the_server() {
    let server = serve("a", None, &[]);
    let proxy = proxy(&[&server], "timeout = { idle = \"60s\" }");
    let (mut talk, mut watcher) = (Talk::new(proxy.addr()), Talk::new(server.addr));
    let (n, size) = (40_000, 1000);
    assert_eq!(talk.ask(&format!("begin 1 count {n} {size}")), "0");
    let mut before = 0;
    until("it stands still", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = watcher.state("sent");
        std::mem::replace(&mut before, now) == now && now > 0
    });
    // The most of it is in the client's windows and the kernel's buffers.
    assert!(before < n * size / 2, "{before} of {} were sent", n * size);
    until("what is held is bounded", || memory().used() < 2 << 20);
    assert_eq!(talk.ask("rest 1"), (n - 1).to_string());
    until("nothing is held", || memory().used() < 64 << 10);
}

#[test]
fn a_server_that_reads_slowly_holds_up_the_client() {
    let server = serve("a", None, &[]);
    let more =
        "timeout = { idle = \"60s\", first_byte = \"60s\" }\nhttp2 = { send_buffer = \"64KiB\" }";
    let proxy = proxy(&[&server], more);
    let (mut talk, mut watcher) = (Talk::new(proxy.addr()), Talk::new(server.addr));
    let n = 40_000;
    talk.ask(&format!("pour 1 {n} 1000 sink"));
    let mut before = 0;
    until("it stands still", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = talk.ask("poured").parse().unwrap();
        std::mem::replace(&mut before, now) == now && now > 0
    });
    assert!(before < n, "all were sent to one who reads nothing");
    until("what is held is bounded", || memory().used() < 2 << 20);
    assert_eq!(watcher.ask("call release"), "released");
    assert_eq!(talk.ask("result 1"), n.to_string());
    until("nothing is held", || memory().used() < 64 << 10);
}

/// What waits is bounded in frames as well, without an end for the calls beside it.
#[test]
fn small_messages_wait_for_a_server_that_reads_slowly() {
    let server = Server::h2(&["window=1000"]);
    let proxy = proxy(&[&server], "timeout = { idle = \"60s\", first_byte = \"60s\" }");
    let mut talk = Talk::new(proxy.addr());
    // Each in a frame of its own: more than the library lets wait.
    let n = 40_000;
    talk.ask(&format!("pour 1 {n} 1 stall"));
    until("all are on their way", || talk.ask("poured") == n.to_string());
    assert_eq!(proxy.get("/").status, 200);
    until("what is held is bounded", || memory().used() < 2 << 20);
    assert_eq!(proxy.get("/release").text(), "released");
    let bytes: usize = (0..n).map(|i| 5 + i.to_string().len()).sum();
    assert_eq!(talk.ask("result 1"), bytes.to_string());
}

#[test]
fn small_messages_wait_for_clients_that_read_slowly() {
    let server = Server::h2(&[]);
    let windows = "http2 = { window = \"64KiB\", connection_window = \"1MiB\" }";
    let proxy = proxy(&[&server], &format!("{windows}\ntimeout = {{ idle = \"60s\" }}"));
    let dripped = || {
        let text = proxy.get("/state").text();
        let found = text.split(' ').find_map(|pair| pair.strip_prefix("dripped="));
        found.map_or(0, |n| n.parse::<usize>().unwrap())
    };
    let n = 40_000;
    let mut slow: Vec<Frames> = (0..2).map(|_| Frames::connect(proxy.addr())).collect();
    slow.iter_mut().for_each(|client| client.get(1, &format!("/drip/{n}"), &[]));
    let mut old = proxy.client();
    socket2::SockRef::from(&*old.stream()).set_recv_buffer_size(4096).unwrap();
    old.send(format!("GET /drip/{n} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    let mut before = 0;
    until("they stand still", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let now = dripped();
        std::mem::replace(&mut before, now) == now && now > 2 * 20_000
    });
    let drip = |at: usize| format!("drip{:02}", (n - at) % 100);
    let whole: String = (0..n).map(drip).collect();
    for mut client in slow {
        client.send(WINDOW_UPDATE, 0, 0, &(1u32 << 30).to_be_bytes());
        client.send(WINDOW_UPDATE, 0, 1, &(1u32 << 30).to_be_bytes());
        assert!(client.answer(1) == (200, whole.clone()), "not all, or not in order");
    }
    assert!(old.response().text() == whole);
}

/// Either way goes on while the other one waits.
#[test]
fn a_client_that_does_not_read_yet_can_send() {
    let server = serve("a", None, &[]);
    let proxy = proxy(&[&server], "timeout = { idle = \"60s\" }");
    let (mut talk, mut watcher) = (Talk::new(proxy.addr()), Talk::new(server.addr));
    assert_eq!(talk.ask("both 1 8000"), "0");
    until("all were taken", || watcher.state("taken") == 8_000);
    assert_eq!(talk.ask("rest 1"), "7999");
}

#[test]
fn calls_of_one_connection_are_spread() {
    let all = ["a", "b", "c"].map(|name| serve(name, None, &[]));
    let proxy = proxy(&[&all[0], &all[1], &all[2]], "");
    let mut talk = Talk::new(proxy.addr());
    assert_eq!(talk.ask("calls 300"), "100 a, 100 b, 100 c");
    for policy in ["random", "p2c", "peak_ewma"] {
        let proxy = self::proxy(&[&all[0], &all[1], &all[2]], &format!("balance = \"{policy}\""));
        let answers = Talk::new(proxy.addr()).ask("calls 300");
        let names: Vec<&str> =
            answers.split(", ").filter_map(|said| said.split(' ').nth(1)).collect();
        assert_eq!(names, ["a", "b", "c"], "{policy}: {answers}");
    }
    let hash = "balance = { policy = \"consistent_hash\", key = \"path\" }";
    let proxy = self::proxy(&[&all[0], &all[1], &all[2]], hash);
    let answers = Talk::new(proxy.addr()).ask("calls 300");
    assert!(answers.starts_with("300 "), "{answers}");
    // Who has a call that lasts gets the next one later.
    let least = "balance = \"least_connections\"";
    let proxy = self::proxy(&[&all[0], &all[1], &all[2]], least);
    let mut talk = Talk::new(proxy.addr());
    let mut busy: Vec<String> = (1..=6).map(|n| talk.ask(&format!("open {n}"))).collect();
    busy.sort();
    let two = |name: &str| [format!("{name} hello"), format!("{name} hello")];
    assert_eq!(busy, [two("a"), two("b"), two("c")].concat());
}

#[test]
fn max_active_counts_calls() {
    let all = ["a", "b"].map(|name| serve(name, None, &[]));
    let proxy = proxy(&[&all[0], &all[1]], "max_active = 2");
    let mut talk = Talk::new(proxy.addr());
    for n in 1..=4 {
        assert!(talk.ask(&format!("open {n}")).ends_with(" hello"));
    }
    assert_eq!(talk.ask("open 5"), "RESOURCE_EXHAUSTED max_active");
    assert_eq!(talk.ask("end 2"), "OK");
    until("there is room again", || talk.ask("open 6").ends_with(" hello"));
}

#[test]
fn the_health_service_is_asked() {
    let certs = certs();
    for (server, tls) in [
        (serve("a", None, &[]), String::new()),
        (serve("a", Some(&certs), &[]), tls_to_backends(&certs)),
    ] {
        for (service, state, detail) in [
            ("", "up", ""),
            ("app.Good", "up", ""),
            ("app.Bad", "down", "it says NOT_SERVING, expected SERVING"),
            ("app.None", "down", "grpc-status 5"),
        ] {
            let health = format!("health = {{ grpc = \"{service}\", interval = \"50ms\" }}\n{tls}");
            let proxy = proxy(&[&server], &health);
            proxy.until_state("b1", state);
            let plan = proxy.running().state().plan.load_full().unwrap();
            let members = plan.pools["app"].members();
            assert!(format!("{:?}", members[0]).contains(detail), "{:?}", members[0]);
        }
    }
}

/// A unary call as an HTTP/1.1 client with trailers can send it.
#[test]
fn a_call_by_http1_keeps_its_trailers() {
    let server = serve("a", None, &[]);
    let proxy = proxy(&[&server], "");
    let mut client: Client = proxy.client();
    client.send(
        "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/grpc\r\n\
         TE: trailers\r\nConnection: TE\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0",
    );
    let answer = client.response();
    assert_eq!(
        (answer.status, &answer.body[..]),
        (200, &b"\0\0\0\0\x02\x08\x01"[..]),
        "{answer:?}"
    );
    assert!(answer.trailers.iter().any(|line| line == "grpc-status: 0"), "{answer:?}");
}

/// A backend that speaks HTTP/1.1 can answer calls all the same, if it knows of trailers.
#[test]
fn a_backend_of_http1_answers_with_its_trailers() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            let head = head.to_ascii_lowercase();
            assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
            let mut body = Vec::new();
            while !body.ends_with(b"\r\n0\r\n\r\n") {
                body.push(peer.byte().unwrap());
            }
            if head.starts_with("post /test.t/name ") {
                peer.send(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n\
                     7\r\n\0\0\0\0\x02ok\r\n0\r\ngrpc-status: 0\r\n\r\n",
                );
            } else if head.starts_with("post /test.t/echo ") {
                peer.send(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\
                     grpc-status: 9\r\ngrpc-message: no\r\n\r\n",
                );
            } else {
                peer.answer("this is no answer of gRPC");
            }
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut talk = Talk::new(proxy.addr());
    assert_eq!(talk.ask("call name"), "ok");
    assert_eq!(talk.ask("call echo"), "FAILED_PRECONDITION no");
    assert!(talk.ask("call head").starts_with("UNKNOWN "));
    // One that speaks HTTP/2 alone is not understood.
    let server = serve("a", None, &[]);
    let proxy = Proxy::http(&[server.addr], "");
    let mut talk = Talk::new(proxy.addr());
    assert_eq!(talk.ask("call name"), "UNAVAILABLE bad_response");
}

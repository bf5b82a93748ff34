//! The PROXY protocol of clients: who is believed, what is refused, and what HAProxy and curl send.
use crate::support::{
    Backend, Certs, Client, Haproxy, Proxy, access_lines, access_log, nobody, until,
};
use std::net::SocketAddr;
use std::process::Command;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// A proxy whose clients on this machine must send a header.
fn required(backend: SocketAddr, more: &str) -> Proxy {
    behind("127.0.0.0/8", backend, more)
}

fn behind(from: &str, backend: SocketAddr, more: &str) -> Proxy {
    Proxy::start(&format!(
        "[pool.app]\nbackends = [\"{backend}\"]\n[listener.web]\nbind = \"127.0.0.1:0\"\n\
         pool = \"app\"\nproxy_protocol = {{ from = [\"{from}\"] }}\n{more}\n"
    ))
}

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 198.51.100.2 51234 443\r\n").into_bytes()
}

/// A PROXY header of version 2 for 192.0.2.9:51234 with these TLVs.
fn v2(tlvs: &[u8]) -> Vec<u8> {
    let ends = [192, 0, 2, 9, 198, 51, 100, 2, 0xc8, 0x22, 0x01, 0xbb];
    let length = u16::try_from(ends.len() + tlvs.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x21, 0x11], &length, &ends, tlvs].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

/// Errors of this reason so far.
fn errors(proxy: &Proxy, reason: &str) -> u64 {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let all = plan.listeners["web"].cells.proxy_protocol_errors.all();
    all.iter().find(|(word, _)| *word == reason).map_or(0, |(_, count)| *count)
}

#[test]
fn the_client_is_who_the_header_says_however_it_comes() {
    let backend = Backend::echo();
    let (folder, log) = access_log();
    let proxy = required(backend.addr, &log);
    let headers = [v1("192.0.2.9"), v2(b""), v2(&tlv(0xe0, &[7; 3000]))];
    let mut lines = 0;
    for header in &headers {
        let all = [header, GET].concat();
        // In one part, in two, and byte by byte around its end.
        for cut in [0, 1, 5, 12, 15, 16, 20, header.len() - 1, header.len(), header.len() + 3] {
            let mut client = proxy.client();
            for part in [&all[..cut], &all[cut..]] {
                client.send(part);
                // Each part is a segment of its own.
                client.stream().set_nodelay(true).unwrap();
                std::thread::yield_now();
            }
            let answer = client.response().text();
            assert!(
                answer.contains("X-Forwarded-For: 192.0.2.9\n")
                    || answer.contains("X-Forwarded-For: 192.0.2.9\r\n"),
                "{answer}"
            );
            lines += 1;
        }
    }
    let mut client = proxy.client();
    for byte in [&v1("192.0.2.9")[..], GET].concat() {
        client.send([byte]);
    }
    assert_eq!(client.response().status, 200);
    // The next request of a connection is the same client's.
    let answer = client.ask("GET", "/", "").text();
    assert!(answer.contains("X-Forwarded-For: 192.0.2.9"), "{answer}");
    let lines = access_lines(&folder, lines + 2);
    assert!(lines.iter().all(|line| line.contains("\"client\":\"192.0.2.9:51234\"")), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("\"proxy\":\"127.0.0.1:")), "{lines:?}");
}

#[test]
fn one_without_a_header_or_with_a_bad_one_is_closed_and_reaches_nobody() {
    let backend = Backend::echo();
    let proxy = required(backend.addr, "");
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(200)).into_bytes();
    let mut short = v2(b"");
    short[15] = 11;
    let mut past = v2(&tlv(0x02, b"a.test"));
    let at = past.len() - 7;
    past[at] = 7;
    let family = [SIGNATURE, &[0x21, 0x41, 0, 0]].concat();
    let mut counted = std::collections::BTreeMap::<&str, u64>::new();
    for (bytes, reason) in [
        (GET.to_vec(), "missing"),
        (b"\x16\x03\x01\x02\x00".to_vec(), "missing"),
        (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 99999\r\n".to_vec(), "invalid"),
        (b"PROXY TCP4 1.1.1.1\r\n".to_vec(), "invalid"),
        (long, "too_large"),
        (short, "invalid"),
        (past, "invalid"),
        (family, "invalid"),
        ([SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(), "too_large"),
    ] {
        let mut client = proxy.client();
        client.send([&bytes[..], GET].concat());
        assert!(client.is_closed(), "{}", bytes.escape_ascii());
        let count = counted.entry(reason).or_default();
        *count += 1;
        until(reason, || errors(&proxy, reason) == *count);
    }
    // Cut in the middle, and closed without a word as probes do.
    let whole = v1("192.0.2.9");
    for (bytes, reason) in
        [(&whole[..30], "truncated"), (&v2(b"")[..15], "truncated"), (b"", "empty")]
    {
        let mut client = proxy.client();
        client.send(bytes);
        client.end();
        assert!(client.is_closed());
        let count = counted.entry(reason).or_default();
        *count += 1;
        until(reason, || errors(&proxy, reason) == *count);
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_slow_header_ends_with_its_time() {
    let backend = Backend::echo();
    let proxy = required(backend.addr, "timeout.header = \"200ms\"");
    for begin in [&b""[..], b"PROXY TCP4 192.0.2.9 ", SIGNATURE] {
        let before = errors(&proxy, "timeout");
        let mut client = proxy.client();
        client.send(begin);
        assert!(client.is_closed());
        until("it is counted", || errors(&proxy, "timeout") == before + 1);
    }
    let plan = proxy.running().state().plan.load_full().unwrap();
    assert_eq!(plan.listeners["web"].cells.limit_hits.all(), [("header", 3)]);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn for_others_a_header_is_plain_bytes_and_nothing_in_it_is_believed() {
    let backend = Backend::echo();
    let proxy = behind("10.0.0.0/8", backend.addr, "");
    let answer = proxy.get("/");
    assert!(answer.text().contains("X-Forwarded-For: 127.0.0.1"), "{}", answer.text());
    for header in [v1("192.0.2.9"), v2(b"")] {
        let mut client = proxy.client();
        client.send([&header[..], GET].concat());
        assert_eq!(client.response().status, 400, "{}", header.escape_ascii());
        assert!(client.is_closed());
    }
    assert_eq!(backend.connections(), 1);
    let plan = proxy.running().state().plan.load_full().unwrap();
    assert_eq!(plan.listeners["web"].cells.proxy_protocol_errors.all(), []);
}

#[test]
fn one_that_speaks_for_nobody_is_the_client_itself() {
    let backend = Backend::echo();
    let proxy = required(backend.addr, "");
    let unspec = [SIGNATURE, &[0x21, 0x00, 0, 0]].concat();
    let local = [SIGNATURE, &[0x20, 0x11, 0, 12], &v2(b"")[16..]].concat();
    let v1 = b"PROXY UNKNOWN 192.0.2.9 192.0.2.9 1 1\r\n".to_vec();
    for header in [unspec, local, v1] {
        let mut client = proxy.client();
        client.send([&header[..], GET].concat());
        let answer = client.response().text();
        assert!(answer.contains("X-Forwarded-For: 127.0.0.1"), "{answer}");
    }
}

#[test]
fn limits_trust_and_hashes_are_of_the_client_that_is_claimed() {
    let all = [Backend::named("b1"), Backend::named("b2"), Backend::named("b3")];
    let list: Vec<String> = all.iter().map(|b| format!("\"{}\"", b.addr)).collect();
    let echo = Backend::echo();
    let proxy = Proxy::start(&format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\npool = \"app\"\ntrusted_proxies = [\"192.0.2.0/24\"]\n\
         proxy_protocol = {{ from = [\"127.0.0.1\"] }}\nlimits.per_client = 1\n\
         [[route]]\npath = \"/echo\"\npool = \"echo\"\n[pool.echo]\nbackends = [\"{}\"]\n\
         [pool.app]\nbalance = {{ policy = \"consistent_hash\", key = \"client_ip\" }}\nbackends = [{}]\n",
        echo.addr,
        list.join(", ")
    ));
    let begin = |client: &str| {
        let mut connection = proxy.client();
        connection.send(v1(client));
        connection
    };
    // Each has one connection of its own, though they all come from one address.
    let mut names = std::collections::BTreeSet::new();
    for n in 0..40 {
        let client = format!("203.0.113.{n}");
        let mut first = begin(&client);
        let name = first.ask("GET", "/", "").text();
        let mut second = begin(&client);
        second.send(GET);
        assert!(second.is_closed(), "{client} has a second one");
        drop(first);
        let mut again = String::new();
        until("its place is free", || {
            let mut third = begin(&client);
            third.send(GET);
            if third.is_closed() {
                return false;
            }
            again = third.response().text();
            true
        });
        assert_eq!(again, name, "the same client goes to the same backend");
        names.insert(name);
    }
    assert_eq!(names.len(), 3, "they spread over all backends");
    // Who may speak for others by header fields is judged by the address that is claimed.
    let answer = begin("192.0.2.9").ask("GET", "/echo", "X-Forwarded-For: 198.51.100.7\r\n").text();
    assert!(answer.contains("X-Forwarded-For: 198.51.100.7, 192.0.2.9"), "{answer}");
    let answer =
        begin("203.0.113.9").ask("GET", "/echo", "X-Forwarded-For: 198.51.100.7\r\n").text();
    assert!(answer.contains("X-Forwarded-For: 203.0.113.9"), "{answer}");
    assert!(!answer.contains("198.51.100.7"), "{answer}");
}

#[test]
fn what_a_header_says_besides_is_in_the_log() {
    let backend = Backend::echo();
    let (folder, log) = access_log();
    let proxy = required(backend.addr, &log);
    let ssl = [&[7, 0, 0, 0, 0], &tlv(0x21, b"TLSv1.3")[..], &tlv(0x22, b"alice\"\r\n")].concat();
    let tlvs =
        [tlv(0x01, b"h2"), tlv(0x02, b"a.test"), tlv(0x05, b"id 1"), tlv(0x20, &ssl)].concat();
    let mut client = proxy.client();
    client.send([&v2(&tlvs)[..], GET].concat());
    assert_eq!(client.response().status, 200);
    let lines = access_lines(&folder, 1);
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    let said = line["proxy"].as_str().unwrap().split_once(';').unwrap().1;
    let want = "alpn=h2;authority=a.test;unique_id=id%201;tls=TLSv1.3;cn=alice\"%0D%0A";
    assert_eq!((said, line["sni"].as_str()), (want, Some("a.test")));
}

#[test]
fn a_header_comes_before_tls_as_curl_sends_it() {
    let (certs, backend) = (Certs::new(), Backend::echo());
    let proxy = required(backend.addr, &certs.make("a", &["a.test"]).table(&["a"], ""));
    let curl = |flags: &[&str]| {
        let addr = proxy.addr();
        let done = Command::new("curl")
            .args(["-sS", "--max-time", "20", "--cacert"])
            .arg(certs.path("ca.pem"))
            .args(["--resolve", &format!("a.test:{}:127.0.0.1", addr.port())])
            .args(flags)
            .arg(format!("https://a.test:{}/x", addr.port()))
            .output()
            .expect("curl: install Debian's package curl");
        (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let (good, answer) = curl(&["--haproxy-protocol"]);
    assert!(good && answer.contains("X-Forwarded-Proto: https"), "{answer}");
    let (good, answer) = curl(&[]);
    assert!(!good, "{answer}");
    until("it is counted", || errors(&proxy, "missing") == 1);
}

#[test]
fn what_haproxy_sends_is_understood() {
    let certs = Certs::new();
    certs.make("a", &["a.test"]);
    let read = |name: &str| std::fs::read_to_string(certs.path(name)).unwrap();
    let both = certs.path("both.pem");
    std::fs::write(&both, read("a.pem") + &read("a.key")).unwrap();
    let (backend, (folder, log)) = (Backend::echo(), access_log());
    let proxy = required(backend.addr, &log);
    let [one, two, tls] = [nobody(), nobody(), nobody()];
    let to = proxy.addr();
    let _haproxy = Haproxy::start(
        one,
        &format!(
            "listen one\n  bind {one}\n  server s {to} send-proxy\n\
             listen two\n  bind {two}\n  server s {to} send-proxy-v2\n\
             listen tls\n  bind {tls} ssl crt {}\n  unique-id-format id-%pid\n\
             \x20 server s {to} send-proxy-v2-ssl-cn proxy-v2-options unique-id,authority,crc32c",
            both.display()
        ),
    );
    for addr in [one, two] {
        let mut client = Client::connect(addr);
        let own = client.stream().local_addr().unwrap();
        let answer = client.ask("GET", "/", "").text();
        assert!(answer.contains("X-Forwarded-For: 127.0.0.1"), "{answer}");
        client.end();
        let line = |line: &String| line.contains(&format!("\"client\":\"{own}\""));
        until("its own address is logged", || access_lines(&folder, 1).iter().any(line));
    }
    let done = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--cacert"])
        .arg(certs.path("ca.pem"))
        .args(["--resolve", &format!("a.test:{}:127.0.0.1", tls.port())])
        .arg(format!("https://a.test:{}/", tls.port()))
        .output()
        .expect("curl: install Debian's package curl");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    until("its TLS is logged", || {
        let lines = access_lines(&folder, 1);
        lines.iter().any(|line| {
            line.contains(";authority=a.test;unique_id=id-") && line.contains(";tls=TLSv1.3")
        })
    });
    // HAProxy's own start looked whether the port is open.
    assert_eq!(errors(&proxy, "invalid") + errors(&proxy, "missing"), 0);
}

#[test]
fn tcp_listeners_take_a_header_too() {
    let backend = Backend::run(|peer| {
        let all = peer.rest();
        peer.send(all);
    });
    let (folder, log) = access_log();
    let proxy = required(backend.addr, &format!("protocol = \"tcp\"\n{log}"));
    let mut client = proxy.client();
    client.send([&v2(&tlv(0x02, b"a.test"))[..], b"hello"].concat());
    client.end();
    assert_eq!(client.rest(), b"hello");
    let lines = access_lines(&folder, 1);
    assert!(lines[0].contains("\"client\":\"192.0.2.9:51234\""), "{}", lines[0]);
    assert!(lines[0].contains("\"sni\":\"a.test\""), "{}", lines[0]);
}

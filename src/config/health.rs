//! `pool.health`: what a probe asks and what it takes for an answer.
use super::addr;
use super::hint::quoted;
use super::problem::Wrong;
use super::route_path;
use super::table::{Item, Table};
use super::value::Kind;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
const RISE: u32 = 2;
const FALL: u32 = 3;
const PATH: &str = "/healthz";
/// Good statuses when none are said: 2xx.
const GOOD: (u16, u16) = (200, 299);
/// More probes in a row than this are never waited for.
const ROW: u64 = 10_000;

/// `pool.health`
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What is asked.
    pub check: Check,
    /// Another port than the backend's.
    pub port: Option<u16>,
    /// From one probe to the next; jittered.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// Good probes in a row until up.
    pub rise: u32,
    /// Bad probes in a row until down.
    pub fall: u32,
    /// Whether probes begin with a PROXY header that speaks for nobody.
    pub proxy_protocol: bool,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// Connect; then, if said, send and expect.
    Tcp {
        /// Bytes to send.
        send: Option<Vec<u8>>,
        /// Bytes the answer must begin with or hold.
        expect: Option<Vec<u8>>,
    },
    /// A datagram, and one that answers it.
    Udp {
        /// What it holds.
        send: Vec<u8>,
        /// What the answer must hold; any answer will do when nothing is said.
        expect: Option<Vec<u8>>,
    },
    /// A GET.
    Http {
        /// The path.
        path: String,
        /// `Host`; the backend's address by default.
        host: Option<String>,
        /// Ranges of good statuses, both ends included; default 200 to 299.
        status: Vec<(u16, u16)>,
        /// What the body must hold.
        body: Option<String>,
    },
    /// `grpc.health.v1.Health/Check`, by HTTP/2.
    Grpc {
        /// The service asked for; empty for the server as a whole.
        service: String,
        /// `:authority`; the backend's address by default.
        host: Option<String>,
    },
}

/// A table, or the path of an HTTP probe.
/// `announced`: whether its pool has `send_proxy_protocol`.
pub(super) fn health(item: &Item<'_>, announced: bool) -> Option<Health> {
    if item.kind() == Kind::Text {
        let path = item.checked(route_path::target)?;
        let check = Check::Http { path, host: None, status: vec![GOOD], body: None };
        return Some(Health {
            check,
            port: None,
            interval: INTERVAL,
            timeout: TIMEOUT,
            rise: RISE,
            fall: FALL,
            proxy_protocol: false,
        });
    }
    item.table("pool.health", |t| table(t, announced)).flatten()
}

fn table(t: &mut Table<'_>, announced: bool) -> Option<Health> {
    let check = check(t);
    let proxy = t.take("proxy_protocol").map(|item| (item.flag() == Some(true), item));
    if let Some((true, item)) = proxy.as_ref().filter(|_| !announced) {
        item.key_wrong(
            Wrong::new("means nothing without the pool's send_proxy_protocol")
                .hint("write send_proxy_protocol = \"v2\" beside health"),
        );
    }
    let of_udp = matches!(check, Some(Check::Udp { .. }));
    if let Some((true, item)) = proxy.as_ref().filter(|_| announced && of_udp) {
        item.key_wrong(Wrong::new("means nothing to a udp probe"));
    }
    let health = Health {
        port: t.take("port").and_then(|item| item.count(1..=65_535)),
        interval: t.take("interval").and_then(|item| item.duration()).unwrap_or(INTERVAL),
        timeout: t.take("timeout").and_then(|item| item.duration()).unwrap_or(TIMEOUT),
        rise: t.take("rise").and_then(|item| item.count(1..=ROW)).unwrap_or(RISE),
        fall: t.take("fall").and_then(|item| item.count(1..=ROW)).unwrap_or(FALL),
        proxy_protocol: proxy.is_some_and(|(on, _)| on),
        check: check?,
    };
    Some(health)
}

/// The kind: at most one; none is `http`.
fn check(t: &mut Table<'_>) -> Option<Check> {
    let (http, tcp, udp) = (t.take("http"), t.take("tcp"), t.take("udp"));
    let (host, expect, grpc) = (t.take("host"), t.take("expect"), t.take("grpc"));
    if let Some(grpc) = grpc {
        return call(&grpc, &[http, tcp, udp], host, expect);
    }
    let (word, other) = match (&tcp, &udp) {
        (None, None) => {
            let path = http.map_or(Some(PATH.into()), |item| item.checked(route_path::target));
            let host = host.and_then(|item| item.checked(addr::authority));
            let (status, body) =
                expect.and_then(|item| answer(&item)).unwrap_or((vec![GOOD], None));
            return Some(Check::Http { path: path?, host, status, body });
        }
        (Some(_), other) => ("tcp", other.as_ref()),
        (None, Some(_)) => ("udp", None),
    };
    for item in http.iter().chain(other) {
        let what = format!("contradicts {word}: a probe is of one kind");
        item.key_wrong(Wrong::new(what));
    }
    for item in [host, expect].into_iter().flatten() {
        let hint = format!("write {word} = {{ send = \"…\", expect = \"…\" }}");
        item.key_wrong(Wrong::new(format!("means nothing to a {word} probe")).hint(hint));
    }
    let Some(tcp) = tcp else { return datagram(&udp?) };
    if tcp.kind() == Kind::Flag {
        if tcp.flag() == Some(false) {
            tcp.wrong(Wrong::new("false is no kind of probe").hint("leave the key out"));
        }
        return Some(Check::Tcp { send: None, expect: None });
    }
    tcp.table("pool.health.tcp", |t| Check::Tcp {
        send: bytes(t, "send"),
        expect: bytes(t, "expect"),
    })
}

/// A question of gRPC's health service: SERVING is good.
fn call(
    grpc: &Item<'_>,
    others: &[Option<Item<'_>>],
    host: Option<Item<'_>>,
    expect: Option<Item<'_>>,
) -> Option<Check> {
    for item in others.iter().flatten() {
        item.key_wrong(Wrong::new("contradicts grpc: a probe is of one kind"));
    }
    if let Some(item) = expect {
        item.key_wrong(
            Wrong::new("means nothing to a grpc probe: SERVING is what is expected")
                .hint("leave the key out"),
        );
    }
    let host = host.and_then(|item| item.checked(addr::authority));
    Some(Check::Grpc { service: grpc.text()?, host })
}

/// There is nothing to connect to: what is not answered says nothing.
fn datagram(item: &Item<'_>) -> Option<Check> {
    let read = item.table("pool.health.udp", |t| {
        if !t.has("send") {
            t.missing(Wrong::new("says nothing to send").hint("write send = \"…\""));
        }
        (bytes(t, "send"), bytes(t, "expect"))
    });
    let (send, expect) = read?;
    Some(Check::Udp { send: send?, expect })
}

fn bytes(t: &mut Table<'_>, key: &'static str) -> Option<Vec<u8>> {
    let item = t.take(key)?;
    let text = item.text()?;
    if text.is_empty() {
        item.wrong(Wrong::new("is empty").hint("leave the key out"));
    }
    Some(text.into_bytes())
}

type Answer = (Vec<(u16, u16)>, Option<String>);

fn answer(item: &Item<'_>) -> Option<Answer> {
    item.table("pool.health.expect", |t| {
        let status = t.take("status").map(|item| (item.list(), item));
        let status = status.map(|(all, item)| {
            if all.is_empty() {
                item.fault("an empty list lets no answer pass");
            }
            all.iter().filter_map(statuses).collect()
        });
        let body = t.take("body").and_then(|item| item.text());
        (status.unwrap_or_else(|| vec![GOOD]), body)
    })
}

/// `200`, `"200"` or `"200-299"`.
fn statuses(item: &Item<'_>) -> Option<(u16, u16)> {
    if item.kind() == Kind::Number {
        return item.count(100..=599).map(|status| (status, status));
    }
    item.checked(|text| {
        let no = || {
            let wrong =
                Wrong::new(format!("{} is not a range of statuses from 100 to 599", quoted(text)));
            wrong.hint("write for example \"200-299\"")
        };
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let read = |text: &str| {
            text.trim().parse::<u16>().ok().filter(|status| (100..=599).contains(status))
        };
        match (read(low), read(high)) {
            (Some(low), Some(high)) if low <= high => Ok((low, high)),
            _ => Err(no()),
        }
    })
}

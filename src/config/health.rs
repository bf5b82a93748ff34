//! `pool.health`: what a probe asks and what it takes for an answer.
use super::addr;
use super::hint::quoted;
use super::model::{Check, Health};
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

/// A table, or the path of an HTTP probe.
pub(super) fn health(item: &Item<'_>) -> Option<Health> {
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
        });
    }
    item.table("pool.health", table).flatten()
}

fn table(t: &mut Table<'_>) -> Option<Health> {
    let check = check(t);
    let health = Health {
        port: t.take("port").and_then(|item| item.count(1..=65_535)),
        interval: t.take("interval").and_then(|item| item.duration()).unwrap_or(INTERVAL),
        timeout: t.take("timeout").and_then(|item| item.duration()).unwrap_or(TIMEOUT),
        rise: t.take("rise").and_then(|item| item.count(1..=ROW)).unwrap_or(RISE),
        fall: t.take("fall").and_then(|item| item.count(1..=ROW)).unwrap_or(FALL),
        check: check?,
    };
    Some(health)
}

/// The kind: at most one; none is `http`.
fn check(t: &mut Table<'_>) -> Option<Check> {
    let (http, tcp, grpc) = (t.take("http"), t.take("tcp"), t.take("grpc"));
    let (host, expect) = (t.take("host"), t.take("expect"));
    if let Some(grpc) = grpc {
        for item in [&http, &tcp].into_iter().flatten() {
            item.key_wrong(Wrong::new("contradicts grpc: a probe is of one kind"));
        }
        if let Some(item) = expect {
            item.key_wrong(
                Wrong::new("means nothing to a grpc probe: SERVING is what is expected")
                    .hint("leave the key out"),
            );
        }
        let host = host.and_then(|item| item.checked(addr::authority));
        return Some(Check::Grpc { service: grpc.text()?, host });
    }
    let Some(tcp) = tcp else {
        let path = http.map_or(Some(PATH.into()), |item| item.checked(route_path::target));
        let host = host.and_then(|item| item.checked(addr::authority));
        let (status, body) = expect.and_then(|item| answer(&item)).unwrap_or((vec![GOOD], None));
        return Some(Check::Http { path: path?, host, status, body });
    };
    if let Some(http) = http {
        http.key_wrong(Wrong::new("contradicts tcp: a probe is of one kind"));
    }
    for item in [host, expect].into_iter().flatten() {
        item.key_wrong(
            Wrong::new("means nothing to a tcp probe")
                .hint("write tcp = { send = \"…\", expect = \"…\" }"),
        );
    }
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

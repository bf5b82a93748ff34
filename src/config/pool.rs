//! `[pool.*]`: backends and how one of them is chosen.
use super::addr;
use super::balance;
use super::chains::{Owner, Wait};
use super::datagrams::Carries;
use super::draft::{Draft, Said};
use super::health;
use super::model::{
    Addr, Backend, Family, HostSent, KeepAlive, MaxActive, Pool, ProxyProtocol, Queue, Resolve,
};
use super::outlier;
use super::over::{self, Only, Place};
use super::pool_http::{self, PoolHttp};
use super::problem::{At, Wrong};
use super::slow_start;
use super::sticky;
use super::table::{Item, Table};
use super::tls;
use super::units::{Name, Percent, Rate, Timeout, Weight};
use super::value::{Kind, normal};
use std::collections::HashMap;
use std::time::Duration;

/// Connections kept idle for each worker and backend.
const MAX_IDLE: usize = 64;

/// From one connection that is made because kept ones are not trusted to the next: some percent of a core at both
/// ends. Those that are closed in order count ten times: with a burst they are 7,000 in the minute for which Linux keeps
/// the port of each, of 14,000 that it finds quickly.
const RENEW: Duration = Duration::from_millis(1);

/// What log and metrics call the pool of what had none.
const NOBODY: &str = "none";

/// All pools of a file.
pub(super) fn pools(item: &Item<'_>, draft: &mut Draft) {
    for (name, item) in item.entries() {
        let Some(name) = item.name(name) else { continue };
        if let Some(first) = draft.pool_names.get(&name) {
            item.twice("pool", first);
            continue;
        }
        draft.pool_names.insert(name.clone(), item.key_at());
        if &*name == NOBODY {
            let wrong = Wrong::new("is the name of what had no pool in log and metrics");
            item.key_wrong(wrong.hint("any other will do"));
        }
        if let Some(pool) = item.table("pool", |t| pool(&name, &item, t, draft)) {
            draft.pools.insert(name, pool);
        }
    }
}

fn pool(name: &Name, item: &Item<'_>, t: &mut Table<'_>, draft: &mut Draft) -> Pool {
    let (mut only, mut unix) = (Only::default(), Vec::new());
    let http = t.take("http").map(|item| {
        draft.pool_http.insert(name.clone(), said(&item));
        pool_http::version(&item)
    });
    let http = http.unwrap_or(Some(PoolHttp::One));
    let host = t.take("host");
    only.http.extend(host.as_ref().map(said));
    let balance = t.take("balance").and_then(|item| balance::balance(&item, &mut only.http));
    let sticky = t.take("sticky");
    only.http.extend(sticky.as_ref().map(said));
    let (tls, announced) = (t.take("tls"), t.take("send_proxy_protocol"));
    let max_active = t.take("max_active");
    let queue = queue(t, max_active.as_ref(), &mut only.tcp);
    only.streams.extend(tls.iter().chain(&announced).map(said));
    only.streams.extend(queue.iter().map(|(said, _)| said.clone()));
    let health = t.take("health").and_then(|item| health::health(&item, announced.is_some()));
    let outlier = t.take("outlier").and_then(|item| outlier::outlier(&item, &mut only.http));
    let judged = health.is_some() || outlier.is_some();
    let pool = Pool {
        name: name.clone(),
        at: item.key_at(),
        host: host.and_then(|item| host_sent(&item)).unwrap_or(HostSent::Preserve),
        balance: balance.unwrap_or_else(|| balance::default(item.key_at())),
        http: http.or(Some(PoolHttp::One)),
        http2: pool_http::limits(t, http, tls.is_some(), &mut only.http),
        tls: tls.and_then(|item| tls::pool(&item, draft)),
        send_proxy_protocol: announced.and_then(|item| announce(&item)),
        sticky: sticky.and_then(|item| sticky::sticky(&item, draft)),
        health,
        outlier,
        slow_start: t.take("slow_start").and_then(|item| slow_start::slow_start(&item)),
        panic_threshold: t.take("panic_threshold").and_then(|item| threshold(&item, judged)),
        max_active: max_active.and_then(|item| self::max_active(&item, &mut only.http)),
        queue: queue.map(|(_, queue)| queue),
        keep_alive: keep_alive(t, &mut only.http),
        resolve: resolve(t),
        drain: t.take("drain").and_then(|item| item.timeout()).unwrap_or(Timeout::secs(300)),
        carries: Carries::Streams,
        backends: backends(t, &mut unix),
        over: over::overrides(t, Place::Pool, &mut only),
    };
    out_of_reach(t, &pool);
    if let Some(item) = t.again("health").and_then(|item| item.inside("port")) {
        draft.probe_ports.insert(name.clone(), said(&item));
    }
    let waits = &mut only.retry.waits;
    let wait = t.again("queue").and_then(|item| item.inside("timeout"));
    waits.extend(wait.map(|item| (Wait::Queue, said(&item))));
    let wait = t.again("outlier").and_then(|item| item.inside("silence")?.inside("wait"));
    waits.extend(wait.map(|item| (Wait::Silence, said(&item))));
    draft.http_only.insert(name.clone(), only.http);
    draft.stream_only.insert(name.clone(), only.streams);
    draft.tcp_only.insert(name.clone(), only.tcp);
    draft.retries.insert(Owner::Pool(name.clone()), only.retry);
    draft.unix.insert(name.clone(), unix);
    pool
}

pub(super) fn said(item: &Item<'_>) -> Said {
    Said { key: item.path.clone(), at: item.key_at() }
}

fn announce(item: &Item<'_>) -> Option<ProxyProtocol> {
    let words = [("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];
    item.word("pool.send_proxy_protocol", &words)
}

fn host_sent(item: &Item<'_>) -> Option<HostSent> {
    item.checked(|text| match &*normal(text) {
        "preserve" => Ok(HostSent::Preserve),
        "backend" => Ok(HostSent::Backend),
        _ => addr::authority(text).map(HostSent::Name),
    })
}

/// `judged`: something may take a backend out that can still be reached.
fn threshold(item: &Item<'_>, judged: bool) -> Option<Percent> {
    if item.is_off() {
        return None;
    }
    let share = item.percent()?;
    if share.get() == 0.0 {
        let wrong = Wrong::new("\"0%\" is never undercut");
        item.wrong(wrong.hint("write \"off\", or for example \"50%\""));
    } else if !judged {
        let what =
            "means nothing here: without health and outlier nobody is out who could be asked";
        item.key_wrong(Wrong::new(what));
    }
    Some(share)
}

/// What is said of a pool that nothing ever comes to.
fn out_of_reach(t: &Table<'_>, pool: &Pool) {
    // Those of weight 0 serve who has a cookie of theirs.
    let none = pool.backends.iter().all(|backend| backend.weight.get() == 0);
    if let (Some(item), true, false, None) =
        (t.again("backends"), none, pool.backends.is_empty(), &pool.sticky)
    {
        item.fault("every weight is 0: no backend would get anything");
    }
    let request = pool.over.timeout.request.and_then(Timeout::get);
    let said = t.again("queue").and_then(|item| item.inside("timeout"));
    if let (Some(item), Some(queue), Some(request)) = (said, &pool.queue, request)
        && queue.timeout > request
    {
        let what = format!("{:?} is never reached: timeout.request is {request:?}", queue.timeout);
        item.wrong(Wrong::new(what).hint("leave it out, or write less than request"));
    }
}

/// A number, or a table of bounds for what is learnt of answers by HTTP.
fn max_active(item: &Item<'_>, http_only: &mut Vec<Said>) -> Option<MaxActive> {
    const RANGE: std::ops::RangeInclusive<u64> = 1..=u32::MAX as u64;
    if item.kind() != Kind::Table {
        return item.count_or_off(RANGE).flatten().map(MaxActive::Fixed);
    }
    http_only.push(said(item));
    item.table("pool.max_active", |t| {
        let (low, high) = (t.take("min"), t.take("max"));
        let min = low.as_ref().and_then(|item| item.count(RANGE)).unwrap_or(MIN_ACTIVE);
        let max = high.as_ref().and_then(|item| item.count(RANGE)).unwrap_or(MAX_ACTIVE);
        if min > max {
            let wrong = Wrong::new(format!("min is {min}, and max is {max}"));
            let item = low.as_ref().or(high.as_ref()).unwrap_or(item);
            item.wrong(wrong.hint("write for example { min = 4, max = 1000 }"));
        }
        if let (true, Some(item)) = (min == max, low.as_ref().or(high.as_ref())) {
            let wrong = Wrong::new(format!("min and max are both {min}: nothing is left to learn"));
            item.wrong(wrong.hint(format!("write max_active = {min}")));
        }
        MaxActive::Adaptive { min, max }
    })
}

/// Fewer requests at once than this cannot be told from noise.
const MIN_ACTIVE: u32 = 4;
/// More than this few backends serve at once; Envoy's default.
const MAX_ACTIVE: u32 = 1000;

/// More than this cannot be served in any time a client waits: it is a slip.
const QUEUE: u64 = 1_000_000;

/// A queue is for when everybody is at `max_active`: without that nobody ever waits.
fn queue(
    t: &mut Table<'_>,
    max_active: Option<&Item<'_>>,
    tcp_only: &mut Vec<Said>,
) -> Option<(Said, Queue)> {
    let item = t.take("queue")?;
    if max_active.is_none_or(Item::is_off) {
        let wrong = Wrong::new("nobody ever waits: the pool has no max_active");
        item.key_wrong(wrong.hint("write for example max_active = 100"));
    }
    let mut queue = Queue::default();
    item.table("pool.queue", |t| {
        queue.size = t.take("size").and_then(|item| item.count(1..=QUEUE)).unwrap_or(queue.size);
        queue.timeout = t.take("timeout").and_then(|item| item.duration()).unwrap_or(queue.timeout);
        if let Some(item) = t.take("abort_on_close") {
            tcp_only.push(said(&item));
            queue.abort_on_close = item.flag().unwrap_or_default();
        }
    })?;
    Some((said(&item), queue))
}

fn keep_alive(t: &mut Table<'_>, http_only: &mut Vec<Said>) -> KeepAlive {
    let mut keep = KeepAlive {
        idle: Timeout::secs(30),
        max_idle: MAX_IDLE,
        max_age: Timeout::secs(600),
        renew: Rate::every(RENEW),
    };
    let Some(item) = t.take("keep_alive") else { return keep };
    http_only.push(said(&item));
    if item.is_off() {
        keep.idle = Timeout::OFF;
        return keep;
    }
    item.table("pool.keep_alive", |t| {
        let idle = t.take("idle").and_then(|item| item.timeout());
        keep.max_idle =
            t.take("max_idle").and_then(|item| item.count(0..=1_000_000)).unwrap_or(keep.max_idle);
        let max_age = t.take("max_age").and_then(|item| item.timeout());
        if let Some(item) = t.take("renew") {
            keep.renew = if item.is_off() { None } else { item.rate().or(keep.renew) };
        }
        over::in_reach(t, ("idle", idle), ("max_age", max_age));
        keep.idle = idle.unwrap_or(keep.idle);
        keep.max_age = max_age.unwrap_or(keep.max_age);
    });
    keep
}

fn resolve(t: &mut Table<'_>) -> Resolve {
    const FAMILIES: [(&str, Family); 5] = [
        ("any", Family::Any),
        ("v4", Family::V4),
        ("v6", Family::V6),
        ("ipv4", Family::V4),
        ("ipv6", Family::V6),
    ];
    let mut all = Resolve { interval: Duration::from_secs(30), family: Family::Any };
    if let Some(item) = t.take("resolve") {
        item.table("pool.resolve", |t| {
            all.interval =
                t.take("interval").and_then(|item| item.duration()).unwrap_or(all.interval);
            all.family = t
                .take("family")
                .and_then(|item| item.word("pool.resolve.family", &FAMILIES))
                .unwrap_or(all.family);
        });
    }
    all
}

fn backends(t: &mut Table<'_>, unix: &mut Vec<Said>) -> Vec<Backend> {
    let Some(item) = t.take("backends") else {
        if !t.has("discover") {
            t.missing(
                Wrong::new("says no backends")
                    .hint("write for example backends = [\"10.0.0.1:8080\"]"),
            );
        }
        return Vec::new();
    };
    let mut names: HashMap<Name, At> = HashMap::new();
    let mut all = Vec::new();
    for item in item.array() {
        let Some(backend) = backend(&item) else { continue };
        if let Some(first) = names.get(&backend.name) {
            item.wrong(
                Wrong::new(format!(
                    "the backend {:?} is already at {}:{}:{}",
                    backend.name, first.file, first.line, first.column
                ))
                .hint("give one of them another name"),
            );
            continue;
        }
        names.insert(backend.name.clone(), backend.at.clone());
        if let Addr::Unix(_) = backend.addr {
            unix.push(Said { key: item.path.clone(), at: item.at() });
        }
        all.push(backend);
    }
    all
}

/// A table, or the address alone.
fn backend(item: &Item<'_>) -> Option<Backend> {
    if item.kind() == Kind::Text {
        let (text, addr) = address(item)?;
        let name = item.hold(Name::new(&text).map_err(Wrong::new))?;
        return Some(Backend { name, at: item.at(), addr, weight: Weight::DEFAULT, tier: 1 });
    }
    if item.kind() != Kind::Table {
        item.wrong_type("an address or a table");
        return None;
    }
    let read = item.table("pool.backends", |t| {
        let name =
            t.take("name").map(|item| item.checked(|text| Name::new(text).map_err(Wrong::new)));
        let addr = t.take("addr");
        if addr.is_none() {
            t.missing(
                Wrong::new("says no addr").hint("write for example addr = \"10.0.0.1:8080\""),
            );
        }
        let addr = addr.and_then(|item| address(&item));
        let weight = t.take("weight").and_then(|item| item.count::<u16>(0..=1000));
        let weight = weight.and_then(Weight::new).unwrap_or(Weight::DEFAULT);
        let tier = tier(t);
        let (text, addr) = addr?;
        let name = match name {
            Some(name) => name?,
            None => item.hold(Name::new(&text).map_err(Wrong::new))?,
        };
        Some(Backend { name, at: item.at(), addr, weight, tier })
    });
    read.flatten()
}

fn address(item: &Item<'_>) -> Option<(String, Addr)> {
    let text = item.text()?;
    let addr = item.hold(addr::dial(&text, |path| item.page.file.path(path)))?;
    Some((text, addr))
}

/// `backup = true` is tier 2 in one word; both at once would be two answers to one question.
fn tier(t: &mut Table<'_>) -> u8 {
    let (backup, tier) = (t.take("backup"), t.take("tier"));
    if let (Some(_), Some(tier)) = (&backup, &tier) {
        tier.key_wrong(
            Wrong::new("contradicts backup: backup = true is tier 2").hint("keep one of them"),
        );
    }
    let backup = backup.and_then(|item| item.flag()).unwrap_or(false);
    tier.and_then(|item| item.count(1..=255)).unwrap_or(if backup { 2 } else { 1 })
}

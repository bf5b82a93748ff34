//! What the admin side shows, copied out of the running things.
use super::differs::differs;
use crate::config::Name;
use crate::metrics::{BUCKETS, Counter};
use crate::plan::Plan;
use crate::pool::{Author, Member, Pool, Ring, Words};
use crate::server::{Covered, Drained, HandOver, HandOvers, Leaving, Report, Said, State};
use crate::telemetry::rfc3339;
use serde::Serialize;
use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// `GET /v1/status`
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    pid: u32,
    generation: u64,
    uptime_seconds: f64,
    stage: &'static str,
    connections: i64,
    listeners: Vec<Listener>,
    last_reload: Option<Reload>,
    hand_over: HandOverView,
    needs_restart: Vec<String>,
    covered: Vec<CoveredView>,
    /// Upper bounds of the buckets of durations, in seconds.
    buckets: Vec<f64>,
    /// Certificates, the first to expire first.
    certificates: Vec<Certificate>,
}

/// The process before this one, and the last that was to come after it.
#[derive(Debug, Serialize)]
struct HandOverView {
    from: Option<Before>,
    last: Option<After>,
    /// Processes that served before and have not ended: their work is counted nowhere here.
    draining: Vec<u32>,
}

#[derive(Debug, Serialize)]
struct Before {
    at: String,
    pid: u32,
    version: String,
}

#[derive(Debug, Serialize)]
struct After {
    at: String,
    result: &'static str,
    pid: Option<u32>,
    why: Option<String>,
}

fn hand_over(said: &HandOvers) -> HandOverView {
    let before =
        |(pid, version, at): (u32, String, SystemTime)| Before { at: rfc3339(at), pid, version };
    let after = |last: HandOver| After {
        at: rfc3339(last.at),
        result: if last.why.is_none() { "success" } else { "failure" },
        pid: last.pid,
        why: last.why,
    };
    let (from, last) = (said.from.lock().clone(), said.last.lock().clone());
    HandOverView { from: from.map(before), last: last.map(after), draining: said.older.left() }
}

#[derive(Debug, Serialize)]
struct Certificate {
    listener: String,
    subject: String,
    not_after: String,
}

/// A value of the file that the API's word covers.
#[derive(Debug, Serialize)]
struct CoveredView {
    pool: String,
    backend: String,
    key: &'static str,
    file: Option<String>,
    api: String,
}

fn covered(all: &[Covered]) -> Vec<CoveredView> {
    let one = |c: &Covered| CoveredView {
        pool: c.pool.to_string(),
        backend: c.backend.to_string(),
        key: c.key,
        file: c.file.clone(),
        api: c.api.clone(),
    };
    all.iter().map(one).collect()
}

#[derive(Debug, Serialize)]
struct Listener {
    name: String,
    bound: Vec<String>,
    connections: i64,
}

#[derive(Debug, Serialize)]
struct Reload {
    at: String,
    result: &'static str,
    problems: Vec<String>,
}

/// `GET /v1/pools`
#[derive(Debug, Serialize)]
pub(super) struct Pools {
    pools: Vec<PoolView>,
}

#[derive(Debug, Serialize)]
pub(super) struct PoolView {
    name: String,
    policy: String,
    members: Vec<MemberView>,
}

#[derive(Debug, Serialize)]
pub(super) struct MemberView {
    name: String,
    addr: String,
    weight: u16,
    tier: u8,
    state: &'static str,
    reason: &'static str,
    active: u32,
    health: Option<Probe>,
    since: String,
    said_by: &'static str,
    /// What registered itself lives while its heartbeat comes so often.
    ttl_seconds: Option<f64>,
    /// When what it still has in work is cut.
    drain_ends: Option<String>,
    /// Nobody names it any more.
    removed: bool,
    /// Tries so far by the class of their answer, 1xx to 5xx; the first had none.
    tries: Vec<u64>,
    /// How long they took, by `buckets` of `/v1/status`; the last are longer than all.
    latency: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct Probe {
    last: &'static str,
    at: String,
    detail: String,
}

pub(super) fn status(state: &State) -> Status {
    let plan = state.plan.load_full();
    let addresses = state.addresses();
    let listener = |(name, listener): (&Name, &crate::plan::Listener)| Listener {
        name: name.to_string(),
        bound: addresses.get(name).into_iter().flatten().map(ToString::to_string).collect(),
        connections: listener.cells.open.get(),
    };
    let reload = |last: crate::server::LastReload| Reload {
        at: rfc3339(last.at),
        result: if last.problems.is_empty() { "success" } else { "failure" },
        problems: last.problems,
    };
    Status {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        generation: plan.as_ref().map_or(0, |plan| plan.generation),
        uptime_seconds: state.started.elapsed().as_secs_f64(),
        stage: state.stage().word(),
        connections: state.connections(),
        listeners: plan.iter().flat_map(|plan| &plan.listeners).map(listener).collect(),
        last_reload: state.last.lock().clone().map(reload),
        hand_over: hand_over(&state.hand_overs),
        needs_restart: state.needs_restart.lock().clone(),
        covered: plan
            .as_ref()
            .map_or_else(Vec::new, |plan| covered(&state.words.said().covered(&plan.config))),
        buckets: BUCKETS.to_vec(),
        certificates: plan.as_deref().map_or_else(Vec::new, certificates),
    }
}

fn certificates(plan: &Plan) -> Vec<Certificate> {
    let mut all = Vec::new();
    for (name, listener) in &plan.listeners {
        let acceptor = listener.entry.acceptor();
        for one in acceptor.iter().flat_map(|acceptor| acceptor.identities()) {
            all.push((one.not_after, name.to_string(), one.label.to_string()));
        }
    }
    all.sort();
    let shown = |(at, listener, subject): (i64, String, String)| Certificate {
        listener,
        subject,
        not_after: rfc3339(UNIX_EPOCH + Duration::from_secs(at.max(0) as u64)),
    };
    all.into_iter().map(shown).collect()
}

pub(super) fn pools(state: &State) -> Pools {
    let plan = state.plan.load_full();
    let said = state.words.said();
    let all = plan.iter().flat_map(|plan| plan.pools.values());
    Pools { pools: all.map(|pool| view(pool, &said)).collect() }
}

/// A pool and its tag.
pub(super) fn pool(state: &State, name: &str) -> Option<(PoolView, String)> {
    let plan = state.plan.load_full()?;
    let (pool, said) = (plan.pools.get(name)?, state.words.said());
    Some((view(pool, &said), said.tag(pool)))
}

/// One member by its name.
pub(super) fn found(state: &State, (pool, name): (&str, &str)) -> Option<MemberView> {
    let plan = state.plan.load_full()?;
    let (pool, mut id) = (plan.pools.get(pool)?, None);
    pool.glance(|at| {
        if at.removed.is_none() && &*at.backend.name == name {
            id = Some(at.backend.id);
        }
    });
    Some(member(pool.member(id?)?, &state.words.said().of(&pool.name)))
}

fn view(pool: &Pool, said: &Said) -> PoolView {
    let words = said.of(&pool.name);
    PoolView {
        name: pool.name.to_string(),
        policy: pool.config().balance.policy.clone(),
        members: pool.members().into_iter().map(|m| member(m, &words)).collect(),
    }
}

fn member(m: Member, words: &Words) -> MemberView {
    let probe = |(at, detail): (SystemTime, String)| Probe {
        last: if detail == "ok" { "pass" } else { "fail" },
        at: rfc3339(at),
        detail,
    };
    let word = words.get(&m.backend.name).filter(|_| m.removed.is_none());
    // Of one that leaves: who sent it away.
    let author = m.removed.unwrap_or(if word.is_some() { Author::Api } else { Author::File });
    let (now, wall) = (Instant::now(), SystemTime::now());
    let ends = m.backend.drain_ends().map(|at| wall + at.saturating_duration_since(now));
    let tries = m.cells().by_class.iter().map(Counter::get).collect();
    let latency = m.cells().request_duration.counts().to_vec();
    MemberView {
        name: m.backend.name.to_string(),
        addr: m.backend.addr().to_string(),
        weight: m.weight,
        tier: m.tier,
        state: m.state.word(),
        reason: m.reason.word(),
        active: m.backend.active(),
        health: m.last_probe.map(probe),
        since: rfc3339(m.since),
        said_by: author.word(),
        ttl_seconds: word.and_then(|word| word.ttl).map(|ttl| ttl.as_secs_f64()),
        drain_ends: ends.map(rfc3339),
        removed: m.removed.is_some(),
        tries,
        latency,
    }
}

/// `GET /v1/pools/{pool}/ring`: shares of all keys.
#[derive(Debug, Serialize)]
pub(super) struct RingView {
    moved: f64,
    needless: f64,
    shares: Vec<Share>,
}

#[derive(Debug, Serialize)]
struct Share {
    backend: String,
    before: f64,
    after: f64,
}

pub(super) fn ring(ring: &Ring) -> RingView {
    let share = |keys: usize| keys as f64 / ring.keys as f64;
    let one = |(name, before, after): &(Name, usize, usize)| Share {
        backend: name.to_string(),
        before: share(*before),
        after: share(*after),
    };
    let shares = ring.shares.iter().map(one).collect();
    RingView { moved: share(ring.moved), needless: share(ring.needless), shares }
}

/// What a reload did, or would do, to one object.
#[derive(Debug, Serialize)]
struct Object {
    kind: String,
    name: String,
    what: String,
    /// Connections, sessions and requests that are sent away with it; null of what sends none away.
    in_work: Option<i64>,
}

/// `POST /v1/plan`
#[derive(Debug, Serialize)]
pub(super) struct PlanView {
    generation: u64,
    add: Vec<Object>,
    change: Vec<Object>,
    keep: Vec<Object>,
    drain: Vec<Object>,
    cut: Vec<Object>,
    needs_restart: Vec<String>,
    covered: Vec<CoveredView>,
    notes: Vec<String>,
    /// What only a reload finds out.
    not_tried: Vec<String>,
}

/// `POST /v1/reload`
#[derive(Debug, Serialize)]
pub(super) struct ReloadView {
    changed: bool,
    #[serde(flatten)]
    plan: PlanView,
}

/// `backend app/b1`; a table such as `defaults` has no kind of its own.
fn object(said: &str, what: String) -> Object {
    let (kind, name) = said.split_once(' ').unwrap_or(("table", said));
    Object { kind: kind.into(), name: name.into(), what, in_work: None }
}

fn leaving(drained: &Drained) -> Object {
    let at = match &drained.what {
        Leaving::Listener(_) => String::new(),
        Leaving::Datagrams(_, addr) => format!("at {addr}: "),
        Leaving::Backend(.., addr) => format!("at {addr}: "),
    };
    let within = drained.within.map_or_else(String::new, |time| format!(" within {time:?}"));
    let what = format!("{at}{} in work, which may end{within}", drained.in_work);
    Object { in_work: Some(drained.in_work), ..object(&drained.what.object(), what) }
}

pub(super) fn planned(report: &Report) -> PlanView {
    let more = |said: &String| report.more.get(said).cloned();
    let objects = |all: &[String]| {
        all.iter().map(|said| object(said, more(said).unwrap_or_default())).collect::<Vec<_>>()
    };
    let changed = |said: &String| {
        let (before, after) = report.compared.as_ref()?;
        Some(differs(said, (before, after)))
    };
    let change =
        |said: &String| object(said, more(said).or_else(|| changed(said)).unwrap_or_default());
    let leaves: HashSet<String> = report.drained.iter().map(|one| one.what.object()).collect();
    let rest = report.removed.iter().filter(|said| !leaves.contains(*said));
    let rest = rest.map(|said| object(said, String::new()));
    PlanView {
        generation: report.generation,
        add: objects(&report.added),
        change: report.changed.iter().map(change).collect(),
        keep: objects(&report.keep),
        drain: report.drained.iter().map(leaving).chain(rest).collect(),
        // A reload cuts nothing: what goes has `pool.drain` or `server.grace` to end.
        cut: Vec::new(),
        needs_restart: report.needs_restart.clone(),
        covered: covered(&report.covered),
        notes: report.notes.clone(),
        not_tried: report.not_tried.clone(),
    }
}

pub(super) fn report(report: &Report, changed: bool) -> ReloadView {
    ReloadView { changed, plan: planned(report) }
}

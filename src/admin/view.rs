//! What the admin side shows, copied out of the running things.
use crate::config::{self, Name};
use crate::metrics::{BUCKETS, Counter};
use crate::plan::Plan;
use crate::pool::{Member, Pool, Ring, Words};
use crate::server::{Covered, HandOver, HandOvers, Planned, Report, Said, State};
use crate::telemetry::rfc3339;
use serde::Serialize;
use std::collections::HashMap;
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
    HandOverView { from: from.map(before), last: last.map(after) }
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
        if !at.removed && &*at.backend.name == name {
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
    let word = words.get(&m.backend.name).filter(|_| !m.removed);
    let (now, wall) = (Instant::now(), SystemTime::now());
    let ends = m.backend.drain_ends().map(|at| wall + at.saturating_duration_since(now));
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
        said_by: if word.is_some() { "api" } else { "file" },
        ttl_seconds: word.and_then(|word| word.ttl).map(|ttl| ttl.as_secs_f64()),
        drain_ends: ends.map(rfc3339),
        removed: m.removed,
        tries: m.backend.cells.by_class.iter().map(Counter::get).collect(),
        latency: m.backend.cells.request_duration.counts().to_vec(),
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
}

/// `POST /v1/reload`
#[derive(Debug, Serialize)]
pub(super) struct ReloadView {
    changed: bool,
    #[serde(flatten)]
    plan: PlanView,
}

/// `backend app/b1`; a table such as `defaults` has no kind of its own.
fn object(said: &str) -> Object {
    let (kind, name) = said.split_once(' ').unwrap_or(("table", said));
    Object { kind: kind.into(), name: name.into(), what: String::new() }
}

fn plan_of(report: &Report) -> PlanView {
    let objects = |all: &[String]| all.iter().map(|said| object(said)).collect();
    PlanView {
        generation: report.generation,
        add: objects(&report.added),
        change: objects(&report.changed),
        keep: objects(&report.keep),
        drain: objects(&report.removed),
        // A reload cuts nothing: what goes has `pool.drain` or `server.grace` to end.
        cut: Vec::new(),
        needs_restart: report.needs_restart.clone(),
        covered: covered(&report.covered),
        notes: report.notes.clone(),
    }
}

pub(super) fn report(report: &Report, changed: bool) -> ReloadView {
    ReloadView { changed, plan: plan_of(report) }
}

pub(super) fn planned(state: &State, planned: &Planned) -> PlanView {
    let mut view = plan_of(&planned.report);
    let (before, after) = (backends(&planned.before), backends(&planned.after));
    for object in view.change.iter_mut().filter(|object| object.kind == "backend") {
        let key = object.name.as_str();
        object.what = before.get(key).zip(after.get(key)).map_or_else(String::new, differs);
    }
    let Some(plan) = state.plan.load_full() else { return view };
    let mut active = HashMap::new();
    for pool in plan.pools.values() {
        pool.glance(|at| {
            let key = format!("{}/{}", pool.name, at.backend.name);
            *active.entry(key).or_insert(0_i64) += i64::from(at.backend.active());
        });
    }
    let ends = |open: i64, time: Option<Duration>| {
        let within = time.map_or_else(String::new, |time| format!(" within {time:?}"));
        format!("{open} in work, which may end{within}")
    };
    for object in &mut view.drain {
        object.what = match &*object.kind {
            "listener" => {
                let open = plan.listeners.get(&*object.name).map_or(0, |l| l.cells.open.get());
                ends(open, Some(planned.after.server.grace))
            }
            "backend" => {
                let pool = object.name.split_once('/').and_then(|(pool, _)| plan.pools.get(pool));
                let time = pool.and_then(|pool| pool.config().drain.get());
                ends(active.get(&object.name).copied().unwrap_or(0), time)
            }
            _ => String::new(),
        };
    }
    view
}

fn backends(config: &config::Config) -> HashMap<String, &config::Backend> {
    let mut all = HashMap::new();
    for (pool, section) in &config.pools {
        all.extend(section.backends.iter().map(|b| (format!("{pool}/{}", b.name), b)));
    }
    all
}

fn differs((before, after): (&&config::Backend, &&config::Backend)) -> String {
    let mut all = Vec::new();
    if before.addr != after.addr {
        all.push(format!("addr {} to {}", before.addr, after.addr));
    }
    if before.weight != after.weight {
        all.push(format!("weight {} to {}", before.weight.get(), after.weight.get()));
    }
    if before.tier != after.tier {
        all.push(format!("tier {} to {}", before.tier, after.tier));
    }
    all.join(", ")
}

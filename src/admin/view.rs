//! What the admin side shows, copied out of the running things.
use crate::config::Name;
use crate::pool::{Member, Pool};
use crate::server::{Stage, State};
use crate::telemetry::rfc3339;
use serde::Serialize;
use std::time::SystemTime;

/// `GET /v1/status`
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    generation: u64,
    uptime_seconds: f64,
    stage: &'static str,
    connections: i64,
    listeners: Vec<Listener>,
    last_reload: Option<Reload>,
    needs_restart: Vec<String>,
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
struct MemberView {
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
        generation: plan.as_ref().map_or(0, |plan| plan.generation),
        uptime_seconds: state.started.elapsed().as_secs_f64(),
        stage: match state.stage() {
            Stage::Starting => "starting",
            Stage::Ready => "ready",
            Stage::Draining => "draining",
        },
        connections: state.connections(),
        listeners: plan.iter().flat_map(|plan| &plan.listeners).map(listener).collect(),
        last_reload: state.last.lock().clone().map(reload),
        needs_restart: state.needs_restart.lock().clone(),
    }
}

pub(super) fn pools(state: &State) -> Pools {
    let plan = state.plan.load_full();
    Pools {
        pools: plan.iter().flat_map(|plan| plan.pools.values()).map(|pool| view(pool)).collect(),
    }
}

pub(super) fn pool(state: &State, name: &str) -> Option<PoolView> {
    state.plan.load_full()?.pools.get(name).map(|pool| view(pool))
}

fn view(pool: &Pool) -> PoolView {
    PoolView {
        name: pool.name.to_string(),
        policy: pool.config().balance.policy.clone(),
        members: pool.members().into_iter().map(member).collect(),
    }
}

fn member(m: Member) -> MemberView {
    let probe = |(at, detail): (SystemTime, String)| Probe {
        last: if detail == "ok" { "pass" } else { "fail" },
        at: rfc3339(at),
        detail,
    };
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
        said_by: "file",
    }
}

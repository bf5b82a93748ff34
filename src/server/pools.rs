//! What runs beside each pool on the control runtime: probes, names, publication.
use super::state::State;
use crate::config::Name;
use crate::discover::{self, Resolver};
use crate::net::OffLimits;
use crate::plan::Pools;
use crate::pool::{Change, Pool, Reason, Turn};
use crate::probe;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

/// Removed backends that ended their last request are looked for so often.
const FORGET: Duration = Duration::from_secs(1);

/// The tasks of every pool; dropping it ends them.
#[derive(Default)]
pub(super) struct Keepers(BTreeMap<Name, (Arc<Pool>, Vec<JoinHandle<()>>)>);

impl Keepers {
    /// Starts what is new and ends what is gone: backends of a removed pool drain as removed
    /// backends do.
    pub(super) fn follow(
        &mut self,
        pools: &Pools,
        resolver: &Arc<dyn Resolver>,
        control: &Handle,
        state: &Arc<State>,
    ) {
        self.0.retain(|name, (pool, tasks)| {
            let stays = pools.contains_key(name);
            if !stays {
                tasks.iter().for_each(JoinHandle::abort);
                drop(control.spawn(end(pool.clone())));
            }
            stays
        });
        for (name, pool) in pools {
            self.0.entry(name.clone()).or_insert_with(|| {
                let tasks = vec![
                    control.spawn(publish(pool.clone())),
                    control.spawn(tell(pool.clone(), state.clone())),
                    control.spawn(discover::run(pool.clone(), resolver.clone(), off_limits(state))),
                    control.spawn(probe::run(pool.clone())),
                ];
                (pool.clone(), tasks)
            });
        }
    }
}

/// Takes those out that are where no backend may be, and lets those in again that are no longer.
pub(super) fn keep_off(pools: &Pools, off_limits: &OffLimits) {
    for (name, pool) in pools {
        let mut all = Vec::new();
        pool.glance(|at| {
            if at.removed.is_none() {
                all.push((at.backend.clone(), at.reason == Reason::OffLimits));
            }
        });
        for (backend, was) in all {
            let target = backend.dial().map(|(target, _)| target);
            let why = target.and_then(|target| off_limits.why(&target)).map(str::to_string);
            if why.is_some() != was {
                let change = Change::OffLimits { id: backend.id, why };
                pool.apply(change, Instant::now()).iter().for_each(|turn| turn.log(name));
            }
        }
    }
}

/// Where no name may lead to.
fn off_limits(state: &Arc<State>) -> discover::OffLimits {
    let state = state.clone();
    Box::new(move |addr| {
        let plan = state.plan.load();
        state.off_limits.why_at(addr).is_some()
            || plan.as_ref().is_some_and(|plan| plan.config.admin.is_open_at(addr))
    })
}

impl Drop for Keepers {
    fn drop(&mut self) {
        self.0.values().flat_map(|(_, tasks)| tasks).for_each(JoinHandle::abort);
    }
}

/// Tells of a pool's turns to whoever listens.
async fn tell(pool: Arc<Pool>, state: Arc<State>) {
    let mut turns = pool.turns();
    loop {
        match turns.recv().await {
            Ok((at, turn)) => state.events.turned(&pool.name, &turn, at),
            Err(RecvError::Lagged(missed)) => {
                let data = serde_json::json!({ "pool": &*pool.name, "missed": missed });
                state.events.tell("gap", data, SystemTime::now());
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Publishes a pool's turns as they gather, and tells it the time.
async fn publish(pool: Arc<Pool>) {
    let mut changes = pool.changes();
    loop {
        let now = Instant::now();
        for turn in pool.apply(Change::Tick, now) {
            turn.log(&pool.name);
        }
        match pool.publish(now) {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => {
                let due = pool.due().map_or(FORGET, |due| due.saturating_duration_since(now));
                drop(tokio::time::timeout(due.min(FORGET), changes.changed()).await);
            }
        }
    }
}

/// Drains every backend of a pool that is gone, until none has work any more.
async fn end(pool: Arc<Pool>) {
    let turns = pool.apply(Change::Gone, Instant::now());
    log_turns(&pool.name, &turns);
    while !pool.members().is_empty() {
        pool.publish(Instant::now());
        tokio::time::sleep(FORGET).await;
    }
}

/// Logs what turned.
pub(super) fn log_turns(pool: &Name, turns: &[Turn]) {
    for turn in turns {
        tracing::info!(%pool, backend = %turn.backend, from = turn.from.word(), to = turn.to.word(),
            reason = turn.reason.word(), "backend turned");
    }
}

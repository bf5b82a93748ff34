//! What runs beside each pool on the control runtime: probes, names, publication.
use crate::config::Name;
use crate::discover::{self, Resolver};
use crate::plan::Pools;
use crate::pool::{Pool, Turn};
use crate::probe;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Removed backends that ended their last request are looked for so often.
const FORGET: Duration = Duration::from_secs(1);

/// The tasks of every pool; dropping it ends them.
#[derive(Default)]
pub(super) struct Keepers(BTreeMap<Name, Vec<JoinHandle<()>>>);

impl Keepers {
    /// Starts what is new and ends what is gone.
    pub(super) fn follow(&mut self, pools: &Pools, resolver: &Arc<dyn Resolver>, control: &Handle) {
        self.0.retain(|name, tasks| {
            let stays = pools.contains_key(name);
            if !stays {
                tasks.iter().for_each(JoinHandle::abort);
            }
            stays
        });
        for (name, pool) in pools {
            self.0.entry(name.clone()).or_insert_with(|| {
                vec![
                    control.spawn(publish(pool.clone())),
                    control.spawn(discover::run(pool.clone(), resolver.clone())),
                    control.spawn(probe::run(pool.clone())),
                ]
            });
        }
    }
}

impl Drop for Keepers {
    fn drop(&mut self) {
        self.0.values().flatten().for_each(JoinHandle::abort);
    }
}

/// Publishes a pool's turns as they gather.
async fn publish(pool: Arc<Pool>) {
    let mut changes = pool.changes();
    loop {
        match pool.publish(Instant::now()) {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => drop(tokio::time::timeout(FORGET, changes.changed()).await),
        }
    }
}

/// Logs what turned.
pub(super) fn log_turns(pool: &Name, turns: &[Turn]) {
    for turn in turns {
        tracing::info!(%pool, backend = %turn.backend, from = turn.from.word(), to = turn.to.word(),
            reason = turn.reason.word(), "backend turned");
    }
}

//! Active health probes: a heartbeat for each backend. Knows no runtime: spawns on the one it runs on.
//!
//! Each backend has a task of its own, so that one that does not answer disturbs no other. A task
//! lives as long as its backend is in the pool, through every reload: its phase is kept. Here the
//! members are followed and each task is told how to beat; only tasks whose order changed wake.

mod beat;
mod check;
mod grpc;
mod http;
mod http2;
mod order;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use crate::pool::{Backend, BackendId, Pool};
use beat::{Beat, Shared};
#[cfg(test)]
pub(crate) use order::Pace;
pub(crate) use order::{Order, out_every};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Members are looked at no sooner than so long after the last look: turns come in crowds.
const REST: Duration = Duration::from_millis(20);
/// And no sooner than so many times what the last look took: 5 % of a core at most.
const REST_FACTOR: u32 = 20;

/// Probes every backend of a pool for as long as it is polled. Also brings back backends that are
/// down with reason `connect` where there is no `health`. Dropping it ends every probe.
pub async fn run(pool: Arc<Pool>) {
    let mut beats = Beats { shared: Arc::new(Shared::new(pool.clone())), all: HashMap::new() };
    let mut changes = pool.changes();
    loop {
        changes.mark_unchanged();
        let begun = Instant::now();
        beats.follow();
        let rest = REST.max(begun.elapsed() * REST_FACTOR);
        // The sender lives in the pool, so the wait cannot fail.
        let _ = changes.changed().await;
        tokio::time::sleep_until((begun + rest).into()).await;
    }
}

/// The heartbeats of a pool.
struct Beats {
    shared: Arc<Shared>,
    all: HashMap<BackendId, Beat>,
}

impl Beats {
    /// Starts who is new, ends who is gone, tells each how to beat.
    fn follow(&mut self) {
        let members = self.members();
        let pool = &self.shared.pool;
        let config = pool.config();
        let out = pool.is_out().then(|| out_every(members.len()));
        let mut before = std::mem::take(&mut self.all);
        for (backend, state, reason) in members {
            let order = Order::of(&config, out, &backend, state, reason);
            let beat = match before.remove(&backend.id) {
                Some(beat) => beat,
                None => Beat::start(&self.shared, &backend, order),
            };
            beat.tell(order);
            self.all.insert(backend.id, beat);
        }
    }

    fn members(&self) -> Vec<(Arc<Backend>, crate::pool::State, crate::pool::Reason)> {
        let mut members = Vec::with_capacity(self.all.len());
        self.shared.pool.glance(|g| {
            if g.removed.is_none() {
                members.push((g.backend.clone(), g.state, g.reason));
            }
        });
        members
    }
}

//! `Pool` itself: the members behind one lock, the snapshot behind one atomic pointer.
use super::backend::{Backend, BackendId};
use super::balance::{Ask, Policies};
use super::lease::{Lease, NoLease};
use super::members::{Change, Reason, State, Turn};
use crate::config::{self, Name, Problem};
use crate::metrics::{Counter, Gauge, Histogram};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// A pool. One `Arc` for as long as its name lives, through every reload.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// Rendered labels: `pool="app"`.
    pub labels: String,
    /// `evenkeel_balancer_no_backend_total`
    pub no_backend: Counter,
    /// `evenkeel_upstream_retries_total` for `connect` and `reset`.
    pub retries_connect: Counter,
    /// As above.
    pub retries_reset: Counter,
    /// `evenkeel_upstream_connect_duration_seconds`
    pub connect_duration: Histogram,
    /// `evenkeel_health_check_duration_seconds`
    pub check_duration: Histogram,
    /// `evenkeel_pool_panic`
    pub panic: Gauge,
    // number: u64 unique in the process (the Dialer keys idle connections by it),
    // members: Mutex<Members>, snapshot: ArcSwap<Snapshot>, pending publication …
}

/// A pool that was checked and built and has changed nothing yet.
#[derive(Debug)]
pub struct Prepared {/* … */}

impl Prepared {
    /// Applies it: cannot fail. The same `Arc` where the name stays.
    pub fn commit(self) -> (Arc<Pool>, Vec<Turn>) {
        todo!()
    }
    /// What the pool will be after `commit`: the same `Arc` that `commit` returns, so that routes
    /// can be compiled against it before.
    pub fn pool(&self) -> &Arc<Pool> {
        todo!()
    }
}

/// A member as it is shown: a copy.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "names say it")]
pub struct Member {
    pub backend: Arc<Backend>,
    pub weight: u16,
    pub tier: u8,
    pub state: State,
    pub reason: Reason,
    pub since: SystemTime,
    /// The last probe's word: when, and `ok` or what went wrong.
    pub last_probe: Option<(SystemTime, String)>,
}

impl Pool {
    /// Checks a pool's section and builds what can be built, changing nothing.
    ///
    /// # Errors
    ///
    /// Every problem of the section.
    pub fn prepare(
        name: &Name,
        config: &config::Pool,
        policies: &Policies,
        previous: Option<&Arc<Pool>>,
    ) -> Result<Prepared, Vec<Problem>> {
        let _ = (name, config, policies, previous);
        todo!()
    }
    /// The one door in.
    pub fn apply(&self, change: Change, now: Instant) -> Vec<Turn> {
        let _ = (change, now);
        todo!()
    }
    /// Publishes gathered turns if it is time: at most every 20 ms or ten times the last build's
    /// cost. Returns when it wants to be called again. Called by the control runtime.
    pub fn publish(&self, now: Instant) -> Option<Instant> {
        let _ = now;
        todo!()
    }
    /// Waits until `apply` has left something to publish. Control runtime only.
    pub async fn changed(&self) {
        todo!()
    }
    /// The one door out.
    ///
    /// # Errors
    ///
    /// [`NoLease`]
    pub fn lease(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, NoLease> {
        let _ = ask;
        todo!()
    }
    /// As `lease`; while nobody of the pool was ever probed it waits for the first verdict, until
    /// the deadline.
    ///
    /// # Errors
    ///
    /// [`NoLease`]
    pub async fn lease_by(self: &Arc<Self>, ask: &Ask<'_>, deadline: Instant) -> Result<Lease, NoLease> {
        let _ = (ask, deadline);
        todo!()
    }
    /// The settings in force.
    pub fn config(&self) -> Arc<config::Pool> {
        todo!()
    }
    /// A number unique in the process, for keys of maps.
    pub fn number(&self) -> u64 {
        todo!()
    }
    /// The hash of a request's key parts, when the policy wants one: config().balance.hash has the parts.
    pub fn wants_hash(&self) -> bool {
        todo!()
    }
    /// Everyone, in the order of the config; removed ones that still drain come last.
    pub fn members(&self) -> Vec<Member> {
        todo!()
    }
    /// One backend by its number.
    pub fn backend(&self, id: BackendId) -> Option<Arc<Backend>> {
        let _ = id;
        todo!()
    }
    /// Whether nobody is usable: then all of it are probed every 100 ms and one good probe suffices.
    pub fn is_out(&self) -> bool {
        todo!()
    }
}

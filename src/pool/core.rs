//! `Pool` itself: the members behind one lock, the snapshot behind one atomic pointer.
use super::backend::{Backend, BackendId, Endpoint};
use super::balance::{Ask, Policies};
use super::lease::{Lease, NoLease};
use super::members::{Change, Member, Members, Turn};
use super::snapshot::Snapshot;
use crate::config::{self, Name, Problem};
use crate::metrics::{Counter, Gauge, Histogram, labels};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// A new snapshot is published at most this often, or every ten times its last cost: a table of a
/// million slots must not be built ten thousand times while ten thousand backends come up.
const CADENCE: Duration = Duration::from_millis(20);
/// Backends at their limit that one lease passes over before it looks at everybody in turn.
const PASSED_OVER: usize = 16;

/// A pool. One `Arc` for as long as its name lives, through every reload.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// Rendered labels: `pool="app"`.
    pub labels: String,
    /// `evenkeel_balancer_no_backend_total`
    pub no_backend: Counter,
    /// `evenkeel_upstream_retries_total` for `connect`.
    pub retries_connect: Counter,
    /// As above, for `reset`.
    pub retries_reset: Counter,
    /// `evenkeel_upstream_connect_duration_seconds`
    pub connect_duration: Histogram,
    /// `evenkeel_health_check_duration_seconds`
    pub check_duration: Histogram,
    /// `evenkeel_pool_panic`
    pub panic: Gauge,
    policies: Policies,
    members: Mutex<Book>,
    settings: ArcSwap<config::Pool>,
    snapshot: ArcSwap<Snapshot>,
    learns: AtomicBool,
    version: watch::Sender<u64>,
    first_verdict: Notify,
}

#[derive(Debug)]
struct Book {
    members: Members,
    stale: bool,
    not_before: Option<Instant>,
}

/// A pool that was checked and has changed nothing yet.
#[derive(Debug)]
pub struct Prepared {
    pool: Arc<Pool>,
    config: Arc<config::Pool>,
}

impl Prepared {
    /// Applies it: cannot fail. The same `Arc` where the name stays.
    pub fn commit(self) -> (Arc<Pool>, Vec<Turn>) {
        let turns = self.pool.settle(&self.config);
        (self.pool, turns)
    }
    /// What the pool is after `commit`, so that routes can be compiled against it before.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Pool {
    /// Checks a pool's section, changing nothing.
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
        policies.check(name, &config.balance)?;
        let config = Arc::new(config.clone());
        let pool =
            previous.cloned().unwrap_or_else(|| Arc::new(Self::new(name, &config, policies)));
        Ok(Prepared { pool, config })
    }

    fn new(name: &Name, config: &Arc<config::Pool>, policies: &Policies) -> Self {
        let members = Members::new(name.clone(), config.clone());
        Self {
            name: name.clone(),
            labels: labels(&[("pool", name)]),
            no_backend: Counter::new(),
            retries_connect: Counter::new(),
            retries_reset: Counter::new(),
            connect_duration: Histogram::default(),
            check_duration: Histogram::default(),
            panic: Gauge::new(),
            policies: policies.clone(),
            members: Mutex::new(Book { members, stale: false, not_before: None }),
            settings: ArcSwap::new(config.clone()),
            snapshot: ArcSwap::from_pointee(Snapshot::empty()),
            learns: AtomicBool::new(false),
            version: watch::Sender::new(0),
            first_verdict: Notify::new(),
        }
    }

    /// Settings and endpoints of a config, at this moment: what an operator or a probe said since
    /// they were read is kept.
    fn settle(&self, config: &Arc<config::Pool>) -> Vec<Turn> {
        let now = Instant::now();
        let mut book = self.members.lock();
        self.settings.store(config.clone());
        self.learns.store(config.balance.policy == "peak_ewma", Relaxed);
        let mut turns = book.members.apply(Change::Settings(config.clone()), now);
        let endpoint = |b: &config::Backend| Endpoint {
            name: b.name.clone(),
            addr: b.addr.clone(),
            weight: b.weight,
            tier: b.tier,
        };
        turns.extend(
            book.members
                .apply(Change::Endpoints(config.backends.iter().map(endpoint).collect()), now),
        );
        self.build(&mut book, now);
        drop(book);
        self.version.send_modify(|v| *v += 1);
        turns
    }

    /// The one door in.
    pub fn apply(&self, change: Change, now: Instant) -> Vec<Turn> {
        let mut book = self.members.lock();
        let was_probed = book.members.probed;
        let turns = book.members.apply(change, now);
        book.stale |= !turns.is_empty();
        // Whoever comes up in a pool that had nobody is wanted at once.
        if book.stale && self.snapshot.load().candidates.is_empty() {
            self.build(&mut book, now);
        }
        let first = !was_probed && book.members.probed;
        drop(book);
        if first {
            self.first_verdict.notify_waiters();
        }
        if !turns.is_empty() {
            self.version.send_modify(|v| *v += 1);
        }
        turns
    }

    /// Publishes gathered turns if it is time. Returns when it wants to be called again, if it
    /// does. Called by the control runtime.
    pub fn publish(&self, now: Instant) -> Option<Instant> {
        let mut book = self.members.lock();
        book.stale |= book.members.forget(now);
        if !book.stale {
            return None;
        }
        if let Some(at) = book.not_before.filter(|at| *at > now) {
            return Some(at);
        }
        self.build(&mut book, now);
        None
    }

    /// Builds and stores a snapshot; the lock is held until it is stored.
    fn build(&self, book: &mut Book, now: Instant) {
        let begun = Instant::now();
        let config = self.settings.load_full();
        let (candidates, panic) = book.members.usable();
        for (slot, candidate) in candidates.iter().enumerate() {
            candidate.backend.set_slot(slot as u32);
        }
        let balancer = self.policies.build(&candidates, &config, &self.name);
        let limit = config.max_active.unwrap_or(u32::MAX);
        self.panic.set(i64::from(panic));
        self.snapshot.store(Arc::new(Snapshot {
            candidates: candidates.into(),
            balancer,
            limit,
            panic,
        }));
        book.stale = false;
        book.not_before = Some(now + CADENCE.max(begun.elapsed() * 10));
    }

    /// Hears of every change that `apply` took: for probes, discovery and whoever publishes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// The one door out.
    ///
    /// # Errors
    ///
    /// [`NoLease`]
    pub fn lease(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, NoLease> {
        let snapshot = self.snapshot.load();
        let all = &*snapshot.candidates;
        let Some(first) = snapshot.balancer.pick(all, ask) else {
            self.no_backend.inc();
            return Err(if ask.avoid.is_empty() || all.is_empty() {
                NoLease::Empty
            } else {
                NoLease::Avoided
            });
        };
        let index = if self.take(&snapshot, first) {
            Some(first)
        } else {
            self.pass_over(&snapshot, first, ask)
        };
        let Some(index) = index else {
            self.no_backend.inc();
            return Err(NoLease::Full);
        };
        let backend = all[index].backend.clone();
        match (snapshot.panic, ask.avoid.is_empty()) {
            (true, _) => backend.cells.panic_picks.inc(),
            (_, true) => backend.cells.picks.inc(),
            _ => backend.cells.retry_picks.inc(),
        }
        snapshot.balancer.load_changed(all, index);
        Ok(Lease::new(self.clone(), backend, ask.now))
    }

    /// Counts one more at this candidate, below `max_active` and the policy's own bound.
    fn take(&self, snapshot: &Snapshot, index: usize) -> bool {
        let bound = snapshot.balancer.bound(&snapshot.candidates, index).unwrap_or(u32::MAX);
        snapshot.candidates[index].backend.take(snapshot.limit.min(bound))
    }

    /// The pick was at its limit: picks again without it, and in the end asks everybody.
    fn pass_over(&self, snapshot: &Snapshot, first: usize, ask: &Ask<'_>) -> Option<usize> {
        let all = &*snapshot.candidates;
        let mut avoid = [BackendId(u32::MAX); 2 * PASSED_OVER];
        let mut count = ask.avoid.len().min(PASSED_OVER);
        avoid[..count].copy_from_slice(&ask.avoid[..count]);
        let mut full = first;
        while count < avoid.len() {
            avoid[count] = all[full].backend.id;
            count += 1;
            let again = Ask::new(ask.now, ask.seed).hash(ask.hash).avoid(&avoid[..count]);
            full = snapshot.balancer.pick(all, &again)?;
            if self.take(snapshot, full) {
                return Some(full);
            }
        }
        let start = ask.seed as usize % all.len();
        (start..all.len()).chain(0..start).find(|i| all[*i].is_open(ask) && self.take(snapshot, *i))
    }

    /// As `lease`; while nobody of a probed pool was ever probed it waits for the first verdict,
    /// until the deadline.
    ///
    /// # Errors
    ///
    /// [`NoLease`]
    pub async fn lease_by(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        deadline: Instant,
    ) -> Result<Lease, NoLease> {
        let first_verdict = self.first_verdict.notified();
        tokio::pin!(first_verdict);
        first_verdict.as_mut().enable();
        let waits = self.settings.load().health.is_some() && !self.members.lock().members.probed;
        if waits {
            let _ = tokio::time::timeout_at(deadline.into(), first_verdict).await;
        }
        self.lease(ask)
    }

    /// Tells the policy that a backend's load moved.
    pub(super) fn load_changed(&self, backend: &Arc<Backend>) {
        let snapshot = self.snapshot.load();
        let slot = backend.slot() as usize;
        if snapshot.candidates.get(slot).is_some_and(|c| Arc::ptr_eq(&c.backend, backend)) {
            snapshot.balancer.load_changed(&snapshot.candidates, slot);
        }
    }

    /// Whether latencies are of use to its policy.
    pub(super) fn learns(&self) -> bool {
        self.learns.load(Relaxed)
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<config::Pool> {
        self.settings.load_full()
    }

    /// Everyone, in the order of the config; removed ones that still drain come last.
    pub fn members(&self) -> Vec<Member> {
        self.members.lock().members.list()
    }

    /// One backend by its number, unless it was removed.
    pub fn backend(&self, id: BackendId) -> Option<Arc<Backend>> {
        self.members.lock().members.backend(id)
    }

    /// Whether nobody is up: then all of it are probed every 100 ms and one good probe suffices.
    pub fn is_out(&self) -> bool {
        self.members.lock().members.is_out()
    }
}

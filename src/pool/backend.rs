//! A backend in its three shapes: said ([`Endpoint`]), known ([`Backend`]), usable ([`Candidate`]).
use super::balance::Ask;
use crate::config::{Addr, Name, Weight};
use crate::metrics::{Counter, Gauge, Histogram, labels};
use crate::net::Target;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use tokio::sync::watch;

/// A backend's number in its pool: dense, never reused in the pool's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

/// A backend as config or discovery says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its identity.
    pub name: Name,
    /// Its address as written.
    pub addr: Addr,
    /// Its weight.
    pub weight: Weight,
    /// 1 first.
    pub tier: u8,
}

/// A backend as the pool knows it: counters that outlive every set it is in.
#[derive(Debug)]
pub struct Backend {
    /// Its number.
    pub id: BackendId,
    /// Its name.
    pub name: Name,
    /// Its pool's name.
    pub pool: Name,
    /// Rendered labels: `pool="app",backend="b"`.
    pub labels: String,
    /// Counters.
    pub cells: Cells,
    addr: Addr,
    written: String,
    resolved: ArcSwap<Vec<SocketAddr>>,
    turn: AtomicU32,
    /// Whether it was removed and its time is over.
    over: watch::Sender<bool>,
    /// Requests in work over all backends of the pool.
    total: Arc<Total>,
    hot: Hot,
}

/// What every pick looks at, on cache lines of its own, apart from the `Arc`'s count.
#[derive(Debug)]
#[repr(align(128))]
struct Hot {
    active: AtomicU32,
    usable: AtomicBool,
    /// Its index in the current set.
    slot: AtomicU32,
    /// Peak-EWMA of the first byte, nanoseconds as f64 bits; 0 before the first.
    ewma: AtomicU64,
    /// When it was last moved, nanoseconds since `epoch`.
    ewma_at: AtomicU64,
    epoch: Instant,
}

/// Requests in work over a pool, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Total(AtomicU32);

/// Half of an EWMA is forgotten in about 7 s: finagle's default decay time.
const DECAY: f64 = 10e9;
/// What a failed try counts as at least: a backend that fails fast must never look fast.
const PENALTY: f64 = 1e9;

/// What is counted at a backend.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is the metric of interface.md that its name says")]
pub struct Cells {
    /// `evenkeel_upstream_requests_total` by status class 1xx to 5xx; index 0 is no answer.
    pub by_class: [Counter; 6],
    pub request_duration: Histogram,
    /// `evenkeel_upstream_connections_total` by result.
    pub connect_ok: Counter,
    pub connect_refused: Counter,
    pub connect_timeout: Counter,
    pub connect_unreachable: Counter,
    pub connect_error: Counter,
    /// Open connections: those idle, and all.
    pub open: Gauge,
    pub idle: Gauge,
    pub checks_pass: Counter,
    pub checks_fail: Counter,
    /// Unix milliseconds of the last probe's end; 0 for never.
    pub last_probe_ms: Gauge,
    pub picks: Counter,
    pub retry_picks: Counter,
    pub panic_picks: Counter,
    /// `evenkeel_backend_transitions_total` by the new state: up, down, unknown, drain, maintenance.
    pub turns: [Counter; 5],
}

impl Cells {
    pub(super) fn turned(&self, to: super::members::State) {
        self.turns[to as usize].inc();
    }
}

impl Backend {
    /// A backend nobody has used yet.
    pub(super) fn new(
        id: BackendId,
        name: Name,
        pool: Name,
        addr: Addr,
        total: Arc<Total>,
        now: Instant,
    ) -> Self {
        let labels = labels(&[("pool", &pool), ("backend", &name)]);
        let hot = Hot {
            active: AtomicU32::new(0),
            usable: AtomicBool::new(true),
            slot: AtomicU32::new(u32::MAX),
            ewma: AtomicU64::new(0),
            ewma_at: AtomicU64::new(0),
            epoch: now,
        };
        let resolved = ArcSwap::default();
        Self {
            id,
            name,
            pool,
            labels,
            cells: Cells::default(),
            over: watch::Sender::new(false),
            written: addr.to_string(),
            addr,
            resolved,
            turn: AtomicU32::new(0),
            total,
            hot,
        }
    }
    /// The address as written, as text.
    pub fn written(&self) -> &str {
        &self.written
    }
    /// The address as written.
    pub fn addr(&self) -> &Addr {
        &self.addr
    }
    /// Where to dial now: for a name, its resolved addresses in turn; `None` when a name has none.
    pub fn dial(&self) -> Option<Target> {
        match &self.addr {
            Addr::Ip(addr) => Some(Target::Ip(*addr)),
            Addr::Unix(path) => Some(Target::Unix(Arc::new(path.clone()))),
            Addr::Host(..) => {
                let all = self.resolved.load();
                let turn = self.turn.fetch_add(1, Relaxed) as usize;
                all.get(turn.checked_rem(all.len())?).copied().map(Target::Ip)
            }
        }
    }
    /// The resolved addresses of a name.
    pub fn resolved(&self) -> Arc<Vec<SocketAddr>> {
        self.resolved.load_full()
    }
    pub(super) fn resolve(&self, addrs: Vec<SocketAddr>) {
        self.resolved.store(Arc::new(addrs));
    }
    /// Connections or requests in work.
    pub fn active(&self) -> u32 {
        self.hot.active.load(Relaxed)
    }
    /// Requests in work over all backends of its pool.
    pub(super) fn total(&self) -> u32 {
        self.total.0.load(Relaxed)
    }
    /// Takes it out for new work at once: one store. The `Change` that says why follows.
    pub fn mark_unusable(&self) {
        self.hot.usable.store(false, Relaxed);
    }
    pub(super) fn set_usable(&self, usable: bool) {
        self.hot.usable.store(usable, Relaxed);
    }
    /// Whether new work may go there: one relaxed load.
    pub fn is_usable(&self) -> bool {
        self.hot.usable.load(Relaxed)
    }
    /// Counts one more in work unless that would exceed the limit.
    pub(super) fn take(&self, limit: u32) -> bool {
        let taken = self
            .hot
            .active
            .fetch_update(Relaxed, Relaxed, |active| (active < limit).then_some(active + 1));
        if taken.is_ok() {
            self.total.0.fetch_add(1, Relaxed);
        }
        taken.is_ok()
    }
    /// It was removed and its time is over: streams that still run on it are cut.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }
    pub(super) async fn over(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }
    pub(super) fn put_back(&self) {
        self.hot.active.fetch_sub(1, Relaxed);
        self.total.0.fetch_sub(1, Relaxed);
    }
    pub(super) fn slot(&self) -> u32 {
        self.hot.slot.load(Relaxed)
    }
    pub(super) fn set_slot(&self, slot: u32) {
        self.hot.slot.store(slot, Relaxed);
    }
    /// Learns how long a first byte took: a slower one at once, a faster one by and by (peak-EWMA).
    pub(super) fn learn(&self, took: f64, now: Instant) {
        let old = self.cost(now);
        let at = now.saturating_duration_since(self.hot.epoch).as_nanos() as u64;
        let since = at.saturating_sub(self.hot.ewma_at.swap(at, Relaxed)) as f64;
        let keep = (-since / DECAY).exp();
        let new = if took > old { took } else { old * keep + took * (1.0 - keep) };
        self.hot.ewma.store(new.max(1.0).to_bits(), Relaxed);
    }
    /// Learns of a failure: never cheaper than a second, and twice what it was.
    pub(super) fn penalise(&self, now: Instant) {
        self.learn((self.cost(now) * 2.0).max(PENALTY), now);
    }
    /// The decayed EWMA in nanoseconds; 0 before the first byte was ever seen.
    pub(super) fn cost(&self, now: Instant) -> f64 {
        let ewma = f64::from_bits(self.hot.ewma.load(Relaxed));
        let at = now.saturating_duration_since(self.hot.epoch).as_nanos() as u64;
        let since = at.saturating_sub(self.hot.ewma_at.load(Relaxed)) as f64;
        ewma * (-since / DECAY).exp()
    }
}

/// A backend in a set that can be chosen from.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Itself.
    pub backend: Arc<Backend>,
    /// Its weight in this set; never 0.
    pub weight: u32,
}

impl Candidate {
    /// For tests, benches and embedders: a candidate outside any pool. `id` must differ between
    /// candidates of one set.
    ///
    /// # Errors
    ///
    /// A name that is none.
    pub fn new(name: &str, id: u32, weight: u32) -> Result<Self, String> {
        let addr = Addr::Unix(name.into());
        let pool = Name::new("none")?;
        let backend = Backend::new(
            BackendId(id),
            Name::new(name)?,
            pool,
            addr,
            Arc::default(),
            Instant::now(),
        );
        Ok(Self { backend: Arc::new(backend), weight: weight.max(1) })
    }
    /// Whether it may be picked for this ask.
    pub fn is_open(&self, ask: &Ask<'_>) -> bool {
        self.backend.is_usable() && !ask.avoid.contains(&self.backend.id)
    }
}

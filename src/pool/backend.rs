//! A backend in its three shapes: said ([`Endpoint`]), known ([`Backend`]), usable ([`Candidate`]).
use crate::config::{Addr, Name, Weight};
use crate::metrics::{Counter, Histogram};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

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
///
/// The hot counters stand on cache lines of their own, apart from the `Arc`'s count.
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
    // addr: Addr as written (a changed address of the same name is a new Backend)
    // usable: AtomicBool, resolved: ArcSwap<Vec<SocketAddr>>, turn for several addresses, ewma …
    pub(super) _active: AtomicU32,
}

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
    pub open: crate::metrics::Gauge,
    pub idle: crate::metrics::Gauge,
    pub checks_pass: Counter,
    pub checks_fail: Counter,
    /// Unix milliseconds of the last probe's end; 0 for never.
    pub last_probe_ms: Counter,
    pub picks: Counter,
    pub retry_picks: Counter,
    pub panic_picks: Counter,
}

impl Backend {
    /// The address as written.
    pub fn addr(&self) -> &Addr {
        todo!()
    }
    /// Where to dial now: for a name, its resolved addresses in turn; `None` when a name has none.
    pub fn dial(&self) -> Option<crate::net::Target> {
        todo!()
    }
    /// The resolved addresses of a name.
    pub fn resolved(&self) -> Arc<Vec<SocketAddr>> {
        todo!()
    }
    /// Connections or requests in work.
    pub fn active(&self) -> u32 {
        todo!()
    }
    /// Takes it out for new work at once: one store. The `Change` that says why follows.
    pub fn mark_unusable(&self) {
        todo!()
    }
    /// Whether new work may go there: one relaxed load.
    pub fn is_usable(&self) -> bool {
        todo!()
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
    /// For tests, benches and embedders: a candidate outside any pool.
    pub fn new(name: &str, weight: u32) -> Self {
        let _ = (name, weight);
        todo!()
    }
}

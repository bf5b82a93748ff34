//! The pools a route forwards to, by weight.
use super::cells::RouteCells;
use crate::config::{Effective, Hash, HostSent};
use crate::pool::{self, Pool};
use std::sync::Arc;

/// A pool as a route reaches it.
#[derive(Debug)]
pub struct Target {
    /// The pool.
    pub pool: Arc<Pool>,
    /// What holds: defaults, listener, pool, route.
    pub effective: Effective,
    /// What Host the backend sees: the route's `rewrite.host`, else the pool's `host`.
    pub host: HostSent,
    /// The parts of a hash key, where the policy wants one.
    pub hash: Option<Hash>,
    /// What is counted.
    pub cells: Arc<RouteCells>,
}

/// Weighted targets; one entry for `pool`.
pub(super) type Split = pool::Split<Target>;

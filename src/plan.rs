//! Document to things: pure. Calls each room in order and collects problems.
use crate::config::{Config, Name, Problem};
use crate::http::Gateway;
use crate::metrics::ListenerCells;
use crate::pool::{Policies, Pool, Prepared};
use crate::tcp::Relay;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pools by name.
pub type Pools = BTreeMap<Name, Arc<Pool>>;

/// A compiled configuration.
#[derive(Debug)]
pub struct Plan {
    /// Counts plans of this process, from 1.
    pub generation: u64,
    /// Its pools.
    pub pools: Pools,
    /// Its listeners.
    pub listeners: BTreeMap<Name, Listener>,
    /// What it was made from.
    pub config: Arc<Config>,
}

/// A compiled listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What the config says of it.
    pub config: crate::config::Listener,
    /// What is counted at it.
    pub cells: Arc<ListenerCells>,
    /// What happens to its connections.
    pub service: Service,
}

/// What happens to a listener's connections.
#[derive(Clone, Debug)]
pub enum Service {
    /// Layer 7.
    Http(Arc<Gateway>),
    /// Layer 4.
    Tcp(Arc<Relay>),
}

/// A plan whose pools have changed nothing yet.
#[derive(Debug)]
pub struct Draft {
    /// Its pools, to be committed.
    pub pools: BTreeMap<Name, Prepared>,
    /// The plan that holds after the commit.
    pub plan: Plan,
}

/// Compiles a configuration over the plan that runs.
///
/// # Errors
///
/// Every problem.
pub fn compile(config: Arc<Config>, current: Option<&Plan>, policies: &Policies) -> Result<Draft, Vec<Problem>> {
    let _ = (config, current, policies);
    todo!()
}

//! The compiled service of a udp listener.
use crate::config::{Config, Effective, KeyPart, Listener, Name, Problem, Retry, Sessions};
use crate::metrics::ListenerCells;
use crate::pool::{Pool, client_hash};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The service of a udp listener.
#[derive(Debug)]
pub struct Relay {
    /// The listener's name.
    pub listener: Name,
    /// Where it goes.
    pub pool: Arc<Pool>,
    /// What bounds its sessions.
    pub sessions: Sessions,
    /// What is counted.
    pub cells: Arc<ListenerCells>,
    /// Tries of a session until it is answered.
    pub(super) retry: Retry,
    /// How long datagrams wait for the first verdict on a backend.
    pub(super) connect: Option<Duration>,
    /// The parts of a hash key that a client has; empty where the policy wants none.
    key: Vec<KeyPart>,
    /// Only the first part that is present counts.
    first: bool,
}

impl Relay {
    /// Compiles a udp listener.
    ///
    /// # Errors
    ///
    /// A missing or unknown pool.
    pub fn compile(
        listener: &Listener,
        config: &Config,
        pools: &BTreeMap<Name, Arc<Pool>>,
        cells: Arc<ListenerCells>,
    ) -> Result<Self, Vec<Problem>> {
        let missing = || {
            let key = format!("listener.{}.pool", listener.name);
            vec![Problem::new(&listener.at, key, "names no pool")]
        };
        let said = listener.pool.as_ref().ok_or_else(missing)?;
        let pool = pools.get(&said.name).ok_or_else(missing)?;
        let section = config.pools.get(&said.name).ok_or_else(missing)?;
        let effective = Effective::layered([&config.defaults, &listener.over, &section.over]);
        let hash = section.balance.hash.as_ref();
        Ok(Self {
            listener: listener.name.clone(),
            pool: pool.clone(),
            sessions: listener.udp,
            cells,
            retry: effective.retry,
            connect: effective.timeout.connect.get(),
            key: hash.map_or_else(Vec::new, |hash| hash.key.clone()),
            first: hash.is_some_and(|hash| hash.first),
        })
    }

    /// How many backends may be tried for a session that was not answered yet.
    pub(super) fn attempts(&self) -> usize {
        if self.retry.on.connect { self.retry.attempts as usize } else { 1 }
    }

    pub(super) fn hash(&self, client: SocketAddr) -> Option<u64> {
        client_hash(&self.key, self.first, client)
    }
}

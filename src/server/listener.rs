//! A listener that runs: its current service, its limits, its connections.
use super::gate::{ClientPass, Clients, Gate};
use crate::config::{self, Name, Protocol};
use crate::drain::Drain;
use crate::entry::Entry;
use crate::http::Gateway;
use crate::metrics::ListenerCells;
use crate::net::Peer;
use crate::plan::{self, Service};
use crate::tcp::Relay;
use crate::udp;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;

/// How long connections that were cut get to write their last line.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where a listener's connections find their current service.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    Http(Arc<ArcSwap<Gateway>>),
    Tcp(Arc<ArcSwap<Relay>>),
    Udp(Arc<ArcSwap<udp::Relay>>),
}

impl Slot {
    fn new(service: &Service) -> Self {
        match service {
            Service::Http(gateway) => Self::Http(Arc::new(ArcSwap::new(gateway.clone()))),
            Service::Tcp(relay) => Self::Tcp(Arc::new(ArcSwap::new(relay.clone()))),
            Service::Udp(relay) => Self::Udp(Arc::new(ArcSwap::new(relay.clone()))),
        }
    }
    /// Stores a new service; `false` when it is of another kind.
    fn store(&self, service: &Service) -> bool {
        match (self, service) {
            (Self::Http(slot), Service::Http(gateway)) => slot.store(gateway.clone()),
            (Self::Tcp(slot), Service::Tcp(relay)) => slot.store(relay.clone()),
            (Self::Udp(slot), Service::Udp(relay)) => slot.store(relay.clone()),
            _ => return false,
        }
        true
    }
    /// `limits.per_client`, of a udp listener `udp.per_client`
    pub(super) fn per_client(&self) -> Option<u32> {
        match self {
            Self::Http(slot) => slot.load().effective.limits.per_client,
            Self::Tcp(slot) => slot.load().effective.limits.per_client,
            Self::Udp(slot) => slot.load().sessions.per_client,
        }
    }
}

/// A client has too many connections.
#[derive(Debug)]
pub(super) struct Surplus;

/// A listener that runs, for as long as its name and protocol stay.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) name: Name,
    pub(super) entry: ArcSwap<Entry>,
    pub(super) slot: Slot,
    pub(super) cells: Arc<ListenerCells>,
    pub(super) gate: Arc<Gate>,
    pub(super) clients: Arc<Clients>,
    /// One group a worker.
    pub(super) drains: Vec<Drain>,
}

/// The limit on connections or sessions of a listener; one that says none has the process's.
fn most(config: &config::Listener) -> usize {
    if config.protocol == Protocol::Udp {
        return config.udp.most;
    }
    config.max_connections.unwrap_or(usize::MAX)
}

impl Live {
    pub(super) fn new(listener: &plan::Listener, workers: usize) -> Self {
        Self {
            name: listener.config.name.clone(),
            entry: ArcSwap::new(listener.entry.clone()),
            slot: Slot::new(&listener.service),
            cells: listener.cells.clone(),
            gate: Gate::new(most(&listener.config)),
            clients: Arc::default(),
            drains: (0..workers).map(|_| Drain::new()).collect(),
        }
    }

    /// Counts a connection as this client's, where that is bounded.
    ///
    /// # Errors
    ///
    /// It has as many as it may; that is counted.
    pub(super) fn client(&self, peer: Peer) -> Result<Option<ClientPass>, Surplus> {
        let Some((most, addr)) = self.slot.per_client().zip(peer.addr()) else { return Ok(None) };
        let client = self.clients.enter(addr.ip().to_canonical(), most);
        client.map(Some).ok_or_else(|| {
            self.cells.limit_hits.inc("per_client");
            Surplus
        })
    }

    /// Takes over what a new plan says; `false` when that is another protocol.
    pub(super) fn follow(&self, listener: &plan::Listener) -> bool {
        let same = self.slot.store(&listener.service);
        if same {
            self.entry.store(listener.entry.clone());
            self.gate.set_most(most(&listener.config));
        }
        same
    }

    /// Ends its connections: gracefully, and after the grace at once.
    pub(super) async fn drain(&self, grace: Duration) {
        self.drains.iter().for_each(|drain| drain.graceful(grace));
        if tokio::time::timeout(grace, self.emptied()).await.is_err() {
            self.drains.iter().for_each(Drain::cut);
            let _ = tokio::time::timeout(LAST_WORDS, self.emptied()).await;
        }
    }

    async fn emptied(&self) {
        for drain in &self.drains {
            drain.emptied().await;
        }
    }
}

//! The desk of one worker on one address of a udp listener, and what counts its sessions.
use super::gate::{ClientPass, Pass};
use super::listener::{Live, Slot};
use super::state::State;
use crate::drain::{Opening, Watch};
use crate::metrics::{Gauge, ListenerCells};
use crate::net;
use crate::telemetry::AccessLog;
use crate::udp::{Desk, Ours, Relay, Threshold};
use arc_swap::ArcSwap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::watch;

/// One desk.
#[derive(Clone)]
pub(super) struct Datagrams {
    pub(super) live: Arc<ArcSwap<Live>>,
    /// The service in force until a door leads elsewhere: its `Live` is always one of datagrams.
    pub(super) relay: Arc<Relay>,
    /// The number of the worker it runs on.
    pub(super) worker: usize,
    pub(super) state: Arc<State>,
    pub(super) door: net::Door,
    /// Sessions at this address.
    pub(super) sessions: Arc<Gauge>,
}

impl Datagrams {
    /// Serves until `closing` has no sender any more. A panic ends the sessions of this socket and
    /// nothing else: the desk is opened again.
    pub(super) async fn run(self, socket: OwnedFd, closing: watch::Receiver<Opening>) {
        let socket = match net::watch(socket) {
            Ok(socket) => Arc::new(socket),
            Err(error) => {
                let listener = &self.live.load().name;
                return tracing::error!(%error, %listener, "cannot receive datagrams");
            }
        };
        loop {
            let desk = Desk::new(socket.clone(), self.door, self.clone());
            let done = tokio::spawn(desk.run(closing.clone())).await;
            if !done.is_err_and(|error| error.is_panic()) {
                return;
            }
            self.state.panics.0.inc();
        }
    }
}

/// What a session holds for its life.
pub(super) struct Place {
    _places: (Pass, Pass),
    _client: Option<ClientPass>,
    cells: Arc<ListenerCells>,
    sessions: Arc<Gauge>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.cells.open.add(-1);
        self.sessions.add(-1);
    }
}

impl Threshold for Datagrams {
    type Place = Place;

    fn relay(&self) -> Arc<Relay> {
        match &self.live.load().slot {
            Slot::Udp(slot) => slot.load_full(),
            Slot::Http(_) | Slot::Tcp(_) => self.relay.clone(),
        }
    }

    fn admit(&self, client: IpAddr) -> Result<(Place, Watch), &'static str> {
        let live = self.live.load();
        let client = match live.slot.per_client() {
            Some(most) => Some(live.clients.enter(client, most).ok_or("per_client")?),
            None => None,
        };
        let own = live.gate.enter().ok_or("sessions")?;
        let all = self.state.gate.enter().ok_or("max_connections")?;
        live.cells.open.add(1);
        self.sessions.add(1);
        let (cells, sessions) = (live.cells.clone(), self.sessions.clone());
        let place = Place { _places: (own, all), _client: client, cells, sessions };
        Ok((place, live.drains[self.worker].enter()))
    }

    fn ours(&self) -> Arc<Ours> {
        self.state.ours.load_full()
    }

    fn access(&self) -> &AccessLog {
        &self.state.telemetry.access
    }
}

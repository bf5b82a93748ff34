//! The task of one client connection, and what it holds for its life.
use super::gate::{ClientPass, Pass};
use super::listener::{Live, Slot, Surplus};
use super::state::State;
use crate::arrival::Arrival;
use crate::drain::Watch;
use crate::entry::Entry;
use crate::http;
use crate::metrics::ListenerCells;
use crate::net::{Peer, Stream};
use crate::tcp::Relay;
use crate::upstream::Dialer;
use std::sync::Arc;

/// What a connection holds for its life. Dropped while its task unwinds, it counts the panic,
/// which ends this connection and nothing else.
pub(super) struct Held {
    _places: (Pass, Pass),
    client: Option<ClientPass>,
    cells: Arc<ListenerCells>,
    state: Arc<State>,
}

impl Held {
    /// Counts the connection as open until it is dropped.
    pub(super) fn new(
        places: (Pass, Pass),
        client: Option<ClientPass>,
        cells: Arc<ListenerCells>,
        state: Arc<State>,
    ) -> Self {
        cells.open.add(1);
        Self { _places: places, client, cells, state }
    }

    /// Counts it as this client's; `false` when it has too many.
    fn count(&mut self, live: &Live, peer: Peer) -> bool {
        match live.client(peer) {
            Ok(client) => self.client = client,
            Err(Surplus) => return false,
        }
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.cells.open.add(-1);
        if std::thread::panicking() {
            self.state.panics.0.inc();
        }
    }
}

/// Gives a connection its task on the runtime this is called on.
pub(super) fn spawn(
    live: &Arc<Live>,
    stream: Stream,
    peer: Peer,
    watch: Watch,
    dialer: Arc<Dialer>,
    held: Held,
) {
    let entry = live.entry.load();
    if entry.is_open(peer) {
        return serve(&live.slot, stream, Arrival::plain(peer), watch, dialer, held);
    }
    drop(tokio::spawn(enter(entry.clone(), live.clone(), stream, peer, watch, dialer, held)));
}

/// A connection that is let in becomes a task of its own, so that nothing of its entry stays.
async fn enter(
    entry: Arc<Entry>,
    live: Arc<Live>,
    stream: Stream,
    peer: Peer,
    mut watch: Watch,
    dialer: Arc<Dialer>,
    mut held: Held,
) {
    let taken = tokio::select! {
        biased;
        taken = entry.take(stream, peer) => taken,
        () = watch.cut() => None,
    };
    if let Some((stream, arrival)) = taken {
        // Who is the client was not known before.
        if entry.is_proxy(peer) && !held.count(&live, arrival.peer) {
            return;
        }
        watch.change_task();
        serve(&live.slot, stream, arrival, watch, dialer, held);
    }
}

fn serve(
    slot: &Slot,
    stream: Stream,
    arrival: Arrival,
    watch: Watch,
    dialer: Arc<Dialer>,
    held: Held,
) {
    match slot {
        Slot::Http(slot) => {
            // Made here and not in the task, whose memory would hold it twice.
            let mut connection =
                http::Connection::new(stream, arrival, slot.clone(), watch, dialer);
            drop(tokio::spawn(async move { connection.serve(&held.state.telemetry).await }))
        }
        Slot::Tcp(slot) => {
            let relay = slot.load_full();
            drop(tokio::spawn(tcp(stream, arrival, relay, watch, dialer, held)))
        }
        // Datagrams make no connections: see `datagrams.rs`.
        Slot::Udp(_) => {}
    }
}

async fn tcp(
    stream: Stream,
    arrival: Arrival,
    relay: Arc<Relay>,
    watch: Watch,
    dialer: Arc<Dialer>,
    held: Held,
) {
    relay.serve(stream, arrival, &watch, &dialer, &held.state.telemetry.access).await;
}

//! Listening sockets, their accept loops, and the end of a listener.
use super::gate::{ClientPass, Clients, Gate, Pass};
use super::worker::Worker;
use crate::config::{self, BindAddr};
use crate::drain::{Drain, Watch};
use crate::http::{self, Gateway};
use crate::metrics::{ListenerCells, Panics};
use crate::net::{self, Bound, Peer, Stream, is_local_fault};
use crate::plan::Service;
use crate::tcp::Relay;
use crate::telemetry::AccessLog;
use crate::upstream::Dialer;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

/// Connections the kernel keeps while we are busy: nginx's and HAProxy's order of magnitude; the
/// kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// After an error that says the machine is short of something, the next try waits so long.
const BREATH: Duration = Duration::from_millis(50);
/// Idle connections asked to leave for each newcomer while it is tight: two, so that room is made
/// faster than it is taken.
const GIVE_WAY: usize = 2;

/// Where a listener's connections find their current service.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    Http(Arc<ArcSwap<Gateway>>),
    Tcp(Arc<ArcSwap<Relay>>),
}

impl Slot {
    pub(super) fn new(service: &Service) -> Self {
        match service {
            Service::Http(gateway) => Self::Http(Arc::new(ArcSwap::new(gateway.clone()))),
            Service::Tcp(relay) => Self::Tcp(Arc::new(ArcSwap::new(relay.clone()))),
        }
    }
    /// Stores a new service; `false` when it is of another kind.
    pub(super) fn store(&self, service: &Service) -> bool {
        match (self, service) {
            (Self::Http(slot), Service::Http(gateway)) => slot.store(gateway.clone()),
            (Self::Tcp(slot), Service::Tcp(relay)) => slot.store(relay.clone()),
            _ => return false,
        }
        true
    }
}

/// A listener that runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) slot: Slot,
    pub(super) cells: Arc<ListenerCells>,
    pub(super) gate: Arc<Gate>,
    pub(super) clients: Arc<Clients>,
    /// One group a worker.
    pub(super) drains: Vec<Drain>,
    bound: Mutex<Vec<(BindAddr, Open)>>,
}

#[derive(Debug)]
struct Open {
    addr: BindAddr,
    stop: watch::Sender<bool>,
}

/// What every connection of the process shares.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) gate: Arc<Gate>,
    pub(super) access: AccessLog,
    pub(super) panics: Arc<Panics>,
}

/// Binds an address for so many workers.
pub(super) fn bind(addr: &BindAddr, workers: usize) -> io::Result<Bound> {
    net::bind(addr, workers, BACKLOG)
}

/// The limit on connections of a listener that says none: the process's holds.
pub(super) fn most(config: &config::Listener) -> usize {
    config.max_connections.unwrap_or(usize::MAX)
}

impl Live {
    pub(super) fn new(
        config: &config::Listener,
        service: &Service,
        cells: Arc<ListenerCells>,
        workers: usize,
    ) -> Self {
        Self {
            slot: Slot::new(service),
            cells,
            gate: Gate::new(most(config)),
            clients: Arc::default(),
            drains: (0..workers).map(|_| Drain::new()).collect(),
            bound: Mutex::new(Vec::new()),
        }
    }

    /// The addresses really bound.
    pub(super) fn addresses(&self) -> Vec<BindAddr> {
        self.bound.lock().iter().map(|(_, open)| open.addr.clone()).collect()
    }

    /// Whether it listens on this address, as the config writes it.
    pub(super) fn is_bound(&self, addr: &BindAddr) -> bool {
        self.bound.lock().iter().any(|(said, _)| said == addr)
    }

    /// Begins to accept on bound sockets, one for each worker.
    pub(super) fn open(
        self: &Arc<Self>,
        said: BindAddr,
        bound: Bound,
        workers: &[Worker],
        common: &Common,
    ) {
        let (stop, _) = watch::channel(false);
        for ((socket, worker), drain) in bound.sockets.into_iter().zip(workers).zip(&self.drains) {
            let loop_ = Accept {
                live: self.clone(),
                drain: drain.clone(),
                dialer: worker.dialer.clone(),
                common: common.clone(),
                stop: stop.subscribe(),
            };
            worker.handle.spawn(loop_.run(socket));
        }
        self.bound.lock().push((said, Open { addr: bound.addr, stop }));
    }

    /// Stops accepting on the addresses that are no longer said.
    pub(super) fn close_but(&self, kept: &[BindAddr]) {
        self.bound.lock().retain(|(said, open)| {
            let stays = kept.contains(said);
            if !stays {
                let _ = open.stop.send(true);
                remove_file(&open.addr);
            }
            stays
        });
    }

    /// Ends its connections: gracefully, and after the grace at once.
    pub(super) async fn drain(self: Arc<Self>, grace: Duration) {
        self.drains.iter().for_each(Drain::graceful);
        let emptied = async {
            for drain in &self.drains {
                drain.emptied().await;
            }
        };
        if tokio::time::timeout(grace, emptied).await.is_err() {
            self.drains.iter().for_each(Drain::cut);
        }
    }
}

fn remove_file(addr: &BindAddr) {
    if let BindAddr::Unix(path) = addr {
        let _ = std::fs::remove_file(path);
    }
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        let is_unix = socket2::SockRef::from(&socket).domain()? == socket2::Domain::UNIX;
        Ok(if is_unix {
            Self::Unix(UnixListener::from_std(socket.into())?)
        } else {
            Self::Tcp(TcpListener::from_std(socket.into())?)
        })
    }
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Fails only for a connection that is gone already; its first read says so.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Peer::Ip(peer)))
            }
            Self::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), Peer::Unix)),
        }
    }
}

/// One accept loop.
struct Accept {
    live: Arc<Live>,
    drain: Drain,
    dialer: Arc<Dialer>,
    common: Common,
    stop: watch::Receiver<bool>,
}

impl Accept {
    /// Accepts until it is told to stop, and then what already waits.
    async fn run(mut self, socket: OwnedFd) {
        let socket = match Socket::new(socket) {
            Ok(socket) => socket,
            Err(error) => {
                return tracing::error!(%error, listener = %self.live.cells.labels, "cannot accept");
            }
        };
        let mut short = false;
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = self.next(&socket) => accepted,
            };
            match accepted {
                Ok((stream, peer, pass)) => {
                    short = false;
                    self.begin(stream, peer, pass);
                }
                Err(error) => self.failed(&error, &mut short).await,
            }
        }
        while let Ok(Ok((stream, peer, pass))) =
            tokio::time::timeout(Duration::ZERO, self.next(&socket)).await
        {
            self.begin(stream, peer, pass);
        }
    }

    /// Waits for a place, then for a connection: above a limit clients wait in the kernel's queue.
    async fn next(&mut self, socket: &Socket) -> io::Result<(Stream, Peer, (Pass, Pass))> {
        let full = || {
            self.live.cells.limit_hits.inc("max_connections");
            self.drain.evict_idle(GIVE_WAY);
        };
        let own = self.live.gate.wait(full).await;
        let all = self.common.gate.wait(full).await;
        let (stream, peer) = socket.accept().await?;
        Ok((stream, peer, (own, all)))
    }

    async fn failed(&self, error: &io::Error, short: &mut bool) {
        let word = match error.kind() {
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => "aborted",
            _ if is_local_fault(error) => "shortage",
            _ => "other",
        };
        self.live.cells.accept_errors.inc(word);
        if word == "aborted" {
            return;
        }
        if !std::mem::replace(short, true) {
            tracing::error!(%error, listener = %self.live.cells.labels, "accept; clients wait meanwhile");
        }
        self.drain.evict_idle(GIVE_WAY);
        tokio::time::sleep(BREATH).await;
    }

    /// Gives a connection its task. Nothing here waits for the client.
    fn begin(&self, stream: Stream, peer: Peer, pass: (Pass, Pass)) {
        let live = &self.live;
        live.cells.accepted.inc();
        if self.common.gate.is_tight() || live.gate.is_tight() {
            self.drain.evict_idle(GIVE_WAY);
        }
        let client = match self.client_pass(peer) {
            Ok(client) => client,
            Err(()) => return live.cells.limit_hits.inc("per_client"),
        };
        let (watch, cells) = (self.drain.enter(), live.cells.clone());
        let held = Held { _pass: pass, _client: client, cells, panics: self.common.panics.clone() };
        held.cells.open.add(1);
        let (dialer, access) = (self.dialer.clone(), self.common.access.clone());
        match &live.slot {
            Slot::Http(slot) => {
                drop(tokio::spawn(http(stream, peer, slot.clone(), watch, dialer, access, held)))
            }
            Slot::Tcp(slot) => {
                drop(tokio::spawn(tcp(stream, peer, slot.load_full(), watch, dialer, access, held)))
            }
        }
    }

    fn client_pass(&self, peer: Peer) -> Result<Option<ClientPass>, ()> {
        let most = match &self.live.slot {
            Slot::Http(slot) => slot.load().effective.limits.per_client,
            Slot::Tcp(slot) => slot.load().effective.limits.per_client,
        };
        match (most, peer) {
            (Some(most), Peer::Ip(addr)) => {
                self.live.clients.enter(addr.ip(), most).map(Some).ok_or(())
            }
            _ => Ok(None),
        }
    }
}

/// What a connection holds for its life. Dropped while its task unwinds, it counts the panic.
struct Held {
    _pass: (Pass, Pass),
    _client: Option<ClientPass>,
    cells: Arc<ListenerCells>,
    panics: Arc<Panics>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.cells.open.add(-1);
        if std::thread::panicking() {
            self.panics.0.inc();
        }
    }
}

async fn http(
    stream: Stream,
    peer: Peer,
    slot: Arc<ArcSwap<Gateway>>,
    watch: Watch,
    dialer: Arc<Dialer>,
    access: AccessLog,
    held: Held,
) {
    http::serve(stream, peer, slot, &watch, &dialer, &access).await;
    drop(held);
}

async fn tcp(
    stream: Stream,
    peer: Peer,
    relay: Arc<Relay>,
    watch: Watch,
    dialer: Arc<Dialer>,
    access: AccessLog,
    held: Held,
) {
    relay.serve(stream, peer, &watch, &dialer, &access).await;
    drop(held);
}

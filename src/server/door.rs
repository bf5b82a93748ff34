//! A bound address. Whose connections come through it may change; its sockets stay.
use super::accept::Accept;
use super::datagrams::Datagrams;
use super::listener::{Live, Slot};
use super::state::State;
use super::worker::Worker;
use crate::config::{BindAddr, Listener, Name, Protocol};
use crate::drain::Opening;
use crate::metrics::Gauge;
use crate::net::{self, Bound, Neighbours};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::watch;

/// Connections the kernel keeps while we are busy: nginx's and HAProxy's order of magnitude; the
/// kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// What an address takes. Ports of datagrams are others than those of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Connections,
    Datagrams,
}

/// A bound address as the config writes it. Two listeners may both ask for any free port; other
/// addresses belong to whoever names them.
pub(super) type Key = (BindAddr, Kind, Option<Name>);

/// What this process has bound, and what it takes.
pub(super) type Held = (BindAddr, Kind);

/// The keys of a listener's addresses.
pub(super) fn keys(listener: &Listener) -> impl Iterator<Item = Key> + '_ {
    let kind = match listener.protocol {
        Protocol::Udp => Kind::Datagrams,
        Protocol::Http | Protocol::Tcp => Kind::Connections,
    };
    listener.bind.iter().map(move |bind| {
        let any_port = match &bind.addr {
            BindAddr::Ip(addr) => addr.port() == 0,
            BindAddr::Host(_, port) => *port == 0,
            BindAddr::Unix(_) => false,
        };
        (bind.addr.clone(), kind, any_port.then(|| listener.name.clone()))
    })
}

/// Sockets that nobody accepts on yet. Dropping it closes them.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    bound: BTreeMap<Key, Bound>,
    /// Those that another process bound: their files are not ours to remove.
    adopted: BTreeMap<Key, Bound>,
}

impl Sockets {
    /// Binds one more address beside those that are held.
    ///
    /// `held` are the addresses that this process has bound, and `going` those of them that nobody names
    /// any more. One that overlaps with a wanted one (`127.0.0.1:80` becomes `0.0.0.0:80`), or goes and
    /// is the same in other words (`localhost:80`), must let it in: it is closed only after the commit.
    pub(super) fn bind(
        &mut self,
        key: Key,
        workers: usize,
        (held, going): (&[Held], &[Held]),
    ) -> io::Result<()> {
        let (addr, kind, _) = &key;
        let mut bound = bind(addr, *kind, workers, Neighbours::Refused);
        let in_use = matches!(&bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse);
        let ours = held.iter().map(|(held, of)| (held, *of));
        let mut ours = ours.chain(self.bound.iter().map(|((_, of, _), bound)| (&bound.addr, *of)));
        let wanted = if in_use { net::resolved(addr).ok() } else { None };
        let is_ours = wanted.is_some_and(|wanted| {
            ours.any(|(held, of)| of == *kind && overlaps(held, wanted))
                || going.iter().any(|(gone, of)| of == kind && *gone == BindAddr::Ip(wanted))
        });
        if is_ours {
            bound = bind(addr, *kind, workers, Neighbours::Welcome);
        }
        drop(ours);
        self.bound.insert(key, bound?);
        Ok(())
    }
    /// One that another process bound.
    pub(super) fn adopt(
        &mut self,
        key: Key,
        (sockets, foreign): (Vec<OwnedFd>, bool),
        workers: usize,
    ) -> io::Result<()> {
        let bound = Bound { foreign, ..net::adopt(sockets, workers, BACKLOG)? };
        self.adopted.insert(key, bound);
        Ok(())
    }
    pub(super) fn take(&mut self, key: &Key) -> Option<Bound> {
        self.bound.remove(key).or_else(|| self.adopted.remove(key))
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.bound.values().for_each(|bound| remove_file(&bound.addr));
    }
}

fn bind(addr: &BindAddr, kind: Kind, workers: usize, others: Neighbours) -> io::Result<Bound> {
    match (kind, others) {
        (Kind::Datagrams, others) => net::bind_datagrams(addr, workers, others),
        (Kind::Connections, Neighbours::Refused) => net::bind(addr, workers, BACKLOG),
        (Kind::Connections, Neighbours::Welcome) => net::bind_beside(addr, workers, BACKLOG),
    }
}

/// Whether two addresses share a port of which one takes every address.
fn overlaps(held: &BindAddr, wanted: SocketAddr) -> bool {
    let BindAddr::Ip(held) = held else { return false };
    let every = held.ip().is_unspecified() || wanted.ip().is_unspecified();
    held.port() == wanted.port() && *held != wanted && every
}

fn remove_file(addr: &BindAddr) {
    if let BindAddr::Unix(path) = addr {
        let _ = std::fs::remove_file(path);
    }
}

/// A bound address with an accept loop, or a desk, on each worker.
#[derive(Debug)]
pub(super) struct Door {
    /// What was really bound: a port of 0 is resolved.
    pub(super) addr: BindAddr,
    pub(super) kind: Kind,
    live: Arc<ArcSwap<Live>>,
    stop: watch::Sender<Opening>,
    /// Its file is another program's to remove.
    pub(super) foreign: bool,
    /// Sessions of datagrams that began here.
    pub(super) sessions: Arc<Gauge>,
    /// The sockets once more, to be handed on.
    sockets: Mutex<Vec<OwnedFd>>,
}

impl Door {
    /// Begins to accept, one socket for each worker.
    pub(super) fn open(
        bound: Bound,
        live: &Arc<Live>,
        workers: &[Worker],
        state: &Arc<State>,
    ) -> Self {
        let slot = Arc::new(ArcSwap::new(live.clone()));
        let (stop, _) = watch::channel(Opening::Open);
        let again = bound.sockets.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>();
        let sockets = Mutex::new(again.unwrap_or_default());
        let (mut kind, sessions) = (Kind::Connections, Arc::<Gauge>::default());
        // Where a process before had more workers, some have several: a group is never shrunk.
        let shared = workers.iter().enumerate().cycle();
        for (socket, (number, worker)) in bound.sockets.into_iter().zip(shared) {
            if let (Slot::Udp(relay), BindAddr::Ip(addr)) = (&live.slot, &bound.addr) {
                kind = Kind::Datagrams;
                let datagrams = Datagrams {
                    live: slot.clone(),
                    relay: relay.load_full(),
                    worker: number,
                    state: state.clone(),
                    door: net::Door::of(*addr),
                    sessions: sessions.clone(),
                };
                worker.handle.spawn(datagrams.run(socket, stop.subscribe()));
                continue;
            }
            let accept = Accept {
                live: slot.clone(),
                worker: number,
                dialer: worker.dialer.clone(),
                state: state.clone(),
                stop: stop.subscribe(),
            };
            worker.handle.spawn(accept.run(socket));
        }
        let (addr, foreign) = (bound.addr, bound.foreign);
        Self { addr, kind, live: slot, stop, foreign, sessions, sockets }
    }

    /// Whose its connections or new sessions are from here on.
    pub(super) fn lead_to(&self, live: &Arc<Live>) {
        self.live.store(live.clone());
        self.stop.send_if_modified(|now| {
            *now != Opening::Open && std::mem::replace(now, Opening::Open) != Opening::Open
        });
    }

    /// Takes nobody for now, or again: whoever comes meanwhile waits in the kernel's queue.
    pub(super) fn pause(&self, paused: bool) {
        self.stop.send_replace(if paused { Opening::Paused } else { Opening::Open });
    }

    /// Its sockets, for another process.
    pub(super) fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.lock().iter().map(OwnedFd::try_clone).collect()
    }

    /// Where there are sessions of datagrams they go on, by this address, until the door is dropped;
    /// none is begun any more unless the door leads somewhere again.
    pub(super) fn shut(&self) {
        let is_ours = |now: &mut Opening| {
            *now == Opening::Open && std::mem::replace(now, Opening::Closing) == Opening::Open
        };
        self.stop.send_if_modified(is_ours);
    }

    /// Stops accepting, but for what already waits in the kernel's queue. One that is paused is
    /// another process's by now.
    pub(super) async fn close(&self) {
        self.sockets.lock().clear();
        if self.kind == Kind::Connections && *self.stop.borrow() != Opening::Paused {
            if !self.foreign {
                remove_file(&self.addr);
            }
            self.shut();
            self.stop.closed().await;
        }
    }
}

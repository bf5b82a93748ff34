//! A bound address. Whose connections come through it may change; its sockets stay.
use super::accept::Accept;
use super::listener::Live;
use super::state::State;
use super::worker::Worker;
use crate::config::{BindAddr, Listener, Name};
use crate::net::{self, Bound};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

/// Connections the kernel keeps while we are busy: nginx's and HAProxy's order of magnitude; the
/// kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A bound address as the config writes it. Two listeners may both ask for any free port; other
/// addresses belong to whoever names them.
pub(super) type Key = (BindAddr, Option<Name>);

/// The keys of a listener's addresses.
pub(super) fn keys(listener: &Listener) -> impl Iterator<Item = Key> + '_ {
    listener.bind.iter().map(|bind| {
        let any_port = match &bind.addr {
            BindAddr::Ip(addr) => addr.port() == 0,
            BindAddr::Host(_, port) => *port == 0,
            BindAddr::Unix(_) => false,
        };
        (bind.addr.clone(), any_port.then(|| listener.name.clone()))
    })
}

/// Sockets that nobody accepts on yet. Dropping it closes them.
#[derive(Debug, Default)]
pub(super) struct Sockets(BTreeMap<Key, Bound>);

impl Sockets {
    /// Binds one more address beside those that are held.
    ///
    /// `held` are the addresses that this process has bound. One that overlaps with a wanted one
    /// (`127.0.0.1:80` becomes `0.0.0.0:80`) must let it in: it is closed only after the commit.
    pub(super) fn bind(&mut self, key: Key, workers: usize, held: &[BindAddr]) -> io::Result<()> {
        let mut bound = net::bind(&key.0, workers, BACKLOG);
        let in_use = matches!(&bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse);
        let ours = held.iter().chain(self.0.values().map(|bound| &bound.addr));
        if in_use && ours.into_iter().any(|held| overlaps(held, &key.0)) {
            bound = net::bind_beside(&key.0, workers, BACKLOG);
        }
        self.0.insert(key, bound?);
        Ok(())
    }
    pub(super) fn take(&mut self, key: &Key) -> Option<Bound> {
        self.0.remove(key)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.0.values().for_each(|bound| remove_file(&bound.addr));
    }
}

/// Whether two addresses share a port of which one takes every address.
fn overlaps(held: &BindAddr, wanted: &BindAddr) -> bool {
    let (BindAddr::Ip(a), BindAddr::Ip(b)) = (held, wanted) else { return false };
    a.port() == b.port() && a != b && (a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn remove_file(addr: &BindAddr) {
    if let BindAddr::Unix(path) = addr {
        let _ = std::fs::remove_file(path);
    }
}

/// A bound address with an accept loop on each worker.
#[derive(Debug)]
pub(super) struct Door {
    /// What was really bound: a port of 0 is resolved.
    pub(super) addr: BindAddr,
    live: Arc<ArcSwap<Live>>,
    stop: watch::Sender<bool>,
}

impl Door {
    /// Begins to accept, one socket for each worker.
    pub(super) fn open(
        bound: Bound,
        live: &Arc<Live>,
        workers: &[Worker],
        state: &Arc<State>,
    ) -> Self {
        let live = Arc::new(ArcSwap::new(live.clone()));
        let (stop, _) = watch::channel(false);
        for (number, (socket, worker)) in bound.sockets.into_iter().zip(workers).enumerate() {
            let accept = Accept {
                live: live.clone(),
                worker: number,
                dialer: worker.dialer.clone(),
                state: state.clone(),
                stop: stop.subscribe(),
            };
            worker.handle.spawn(accept.run(socket));
        }
        Self { addr: bound.addr, live, stop }
    }

    /// Whose its connections are from here on.
    pub(super) fn lead_to(&self, live: &Arc<Live>) {
        self.live.store(live.clone());
    }

    /// Stops accepting, but for what already waits in the kernel's queue.
    pub(super) async fn close(self) {
        remove_file(&self.addr);
        let _ = self.stop.send(true);
        self.stop.closed().await;
    }
}

//! Addresses that are no client's: our own listeners' and our backends'. What claims to come from
//! there is a reflection, and would go round for ever.
use crate::config::BindAddr;
use crate::pool::Pool;
use parking_lot::RwLock;
use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use tokio::sync::watch;

/// The addresses of this process that take datagrams, and those of the backends of udp listeners.
#[derive(Debug, Default)]
pub struct Ours {
    listeners: Vec<SocketAddr>,
    pools: Vec<Arc<Pool>>,
    backends: RwLock<Backends>,
}

#[derive(Debug, Default)]
struct Backends {
    all: HashSet<SocketAddr>,
    /// Of each pool, what was heard of it when `all` was made.
    heard: Vec<watch::Receiver<u64>>,
}

impl Ours {
    /// Of these bound addresses and pools.
    pub fn new(listeners: impl Iterator<Item = BindAddr>, pools: Vec<Arc<Pool>>) -> Self {
        let listeners = listeners.filter_map(|addr| match addr {
            BindAddr::Ip(addr) => Some(addr),
            BindAddr::Host(..) | BindAddr::Unix(_) => None,
        });
        let heard = pools.iter().map(|pool| {
            let mut changes = pool.changes();
            changes.mark_changed();
            changes
        });
        let backends = Backends { all: HashSet::new(), heard: heard.collect() };
        Self { listeners: listeners.collect(), pools, backends: RwLock::new(backends) }
    }

    /// Whether a datagram from there is no client's.
    pub(super) fn is_ours(&self, from: SocketAddr) -> bool {
        self.is_listener(from) || self.is_backend(from)
    }

    /// Whether we listen there.
    pub(super) fn is_listener(&self, addr: SocketAddr) -> bool {
        self.listeners.iter().any(|own| {
            let every = own.ip().is_unspecified() && own.is_ipv4() == addr.is_ipv4();
            own.port() == addr.port() && (own.ip() == addr.ip() || (every && is_local(addr)))
        })
    }

    fn is_backend(&self, addr: SocketAddr) -> bool {
        let backends = self.backends.read();
        // A pool that is gone is heard of no more.
        if backends.heard.iter().any(|pool| pool.has_changed().unwrap_or(false)) {
            drop(backends);
            self.look();
            return self.backends.read().all.contains(&addr);
        }
        backends.all.contains(&addr)
    }

    /// Looks at the pools anew.
    fn look(&self) {
        let mut backends = self.backends.write();
        backends.heard.iter_mut().for_each(watch::Receiver::mark_unchanged);
        backends.all.clear();
        for pool in &self.pools {
            pool.glance(|member| match member.backend.addr() {
                crate::config::Addr::Ip(addr) => drop(backends.all.insert(*addr)),
                _ => backends.all.extend(member.backend.resolved().addrs()),
            });
        }
    }
}

/// Whether an address is one of this machine's: a socket can be bound to it. Asked only of what
/// comes from a port of ours.
fn is_local(addr: SocketAddr) -> bool {
    UdpSocket::bind((addr.ip(), 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_addresses_are_known_whatever_was_bound() {
        let bound = ["0.0.0.0:53", "127.0.0.2:54", "[::]:55"];
        let all = bound.iter().map(|addr| BindAddr::Ip(addr.parse().unwrap()));
        let ours = Ours::new(all, Vec::new());
        for (from, is) in [
            ("127.0.0.1:53", true),
            ("127.0.0.9:53", true),
            ("127.0.0.1:54", false),
            ("127.0.0.2:54", true),
            ("[::1]:55", true),
            ("[::1]:53", false),
            // Documentation addresses are no machine's (RFC 5737).
            ("192.0.2.1:53", false),
        ] {
            assert_eq!(ours.is_ours(from.parse().unwrap()), is, "{from}");
        }
    }
}

//! Where a backend is dialled: at the address as written, or at those that its name has now.
use crate::config::Addr;
use crate::net::{Named, Target};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Where a connection leads to, by what was known when it was dialled.
#[derive(Debug)]
pub struct Place {
    /// The one of a name.
    addr: Option<SocketAddr>,
    /// What was looked at last.
    moves: AtomicU32,
}

impl Clone for Place {
    fn clone(&self) -> Self {
        Self { addr: self.addr, moves: self.moves.load(Relaxed).into() }
    }
}

impl Place {
    /// Of a name it is this address that was reached.
    pub fn found(self, addr: Option<SocketAddr>) -> Self {
        Self { addr, ..self }
    }
}

#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) written: Addr,
    /// The path of a Unix socket, made once because it is dialled often.
    unix: Option<Arc<PathBuf>>,
    resolved: ArcSwap<Named>,
    /// How often an address left the name, or was given up for a while.
    moves: AtomicU32,
}

impl Addresses {
    pub(super) fn new(written: Addr) -> Self {
        let unix = match &written {
            Addr::Unix(path) => Some(Arc::new(path.clone())),
            _ => None,
        };
        let (resolved, moves) = Default::default();
        Self { written, unix, resolved, moves }
    }

    /// Where to dial now; `None` when a name has no address.
    pub(super) fn dial(&self) -> Option<(Target, Place)> {
        // Before the addresses are read: what leaves meanwhile is then seen later.
        let place = Place { addr: None, moves: self.moves.load(Relaxed).into() };
        let target = match (&self.unix, &self.written) {
            (Some(path), _) => Target::Unix(path.clone()),
            (None, Addr::Ip(addr)) => Target::Ip(*addr),
            _ => Target::Name(self.resolved()),
        };
        let none = matches!(&target, Target::Name(named) if named.addrs().is_empty());
        (!none).then_some((target, place))
    }

    /// Whether it is a Unix socket.
    pub(super) fn is_path(&self) -> bool {
        self.unix.is_some()
    }

    pub(super) fn resolved(&self) -> Arc<Named> {
        self.resolved.load_full()
    }

    pub(super) fn resolve(&self, addrs: Vec<SocketAddr>) {
        let now = Arc::new(Named::new(addrs));
        let before = self.resolved.swap(now.clone());
        if before.addrs().iter().any(|addr| !now.addrs().contains(addr)) {
            self.moves.fetch_add(1, Relaxed);
        }
    }

    /// Nothing good came from there: connections to it are given nothing for a while, where the name has
    /// others. What is dialled goes to those first.
    pub(super) fn doubt(&self, place: &Place) {
        if let Some(addr) = place.addr
            && self.resolved.load().doubt(addr)
        {
            self.moves.fetch_add(1, Relaxed);
        }
    }

    /// Whether a connection to there is one to this backend still: two relaxed loads, as long as nothing
    /// has changed.
    #[inline]
    pub(super) fn holds(&self, place: &Place) -> bool {
        let moves = self.moves.load(Relaxed);
        place.moves.load(Relaxed) == moves || self.has(place, moves)
    }

    #[cold]
    fn has(&self, place: &Place, moves: u32) -> bool {
        let named = self.resolved.load();
        let has = |addr| named.addrs().contains(&addr) && !named.shuns(addr);
        let holds = place.addr.is_none_or(has);
        if holds {
            place.moves.store(moves, Relaxed);
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn plain_addresses_are_dialled_as_written_and_stay() {
        let at = ip("127.0.0.1:80");
        let plain = Addresses::new(Addr::Ip(at));
        let (target, place) = plain.dial().unwrap();
        assert!(matches!(target, Target::Ip(addr) if addr == at));
        assert!(plain.holds(&place));
        let unix = Addresses::new(Addr::Unix("/run/app".into()));
        let (target, place) = unix.dial().unwrap();
        assert!(matches!(target, Target::Unix(path) if path.ends_with("run/app")));
        assert!(unix.holds(&place));
        assert!(Addresses::new(Addr::Host("app.internal".into(), 80)).dial().is_none());
    }

    #[test]
    fn a_connection_is_one_to_the_backend_while_its_address_is_one_of_the_name() {
        let named = Addresses::new(Addr::Host("app.internal".into(), 80));
        let [one, two, three] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"].map(ip);
        named.resolve(vec![one]);
        let at_one = named.dial().unwrap().1.found(Some(one));
        named.resolve(vec![one, two]);
        assert!(named.holds(&at_one), "others came");
        let at_two = named.dial().unwrap().1.found(Some(two));
        named.resolve(vec![three, two]);
        assert!(!named.holds(&at_one), "it left");
        assert!(named.holds(&at_two));
        named.resolve(vec![one, two]);
        assert!(named.holds(&at_one), "it is back");
        named.doubt(&at_one);
        assert!(!named.holds(&at_one) && named.holds(&at_two), "the other is asked first");
        named.doubt(&at_two);
        assert!(named.holds(&at_one) && !named.holds(&at_two), "no more than half");
        named.resolve(vec![one]);
        let moves = named.moves.load(Relaxed);
        named.doubt(&at_one);
        assert!(named.holds(&at_one) && named.moves.load(Relaxed) == moves, "it is the only one");
    }
}

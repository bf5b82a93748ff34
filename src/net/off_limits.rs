//! Where no connection of ours may lead: to the admin side of this very process. Whom a connection is for
//! cannot be seen there, so that whoever reaches a pool would be taken for the owner of the proxy.
use super::Target;
use crate::config::{BindAddr, arrives};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// By what a process is governed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Governed {
    /// Where who calls from this machine is taken for its owner, unless a token is asked for.
    addrs: Vec<SocketAddr>,
    /// Sockets that nobody but the owner can open.
    files: Vec<File>,
}

/// By what this process is governed, and the one that took over from it.
#[derive(Debug, Default)]
pub struct OffLimits {
    own: Governed,
    next: OnceLock<Governed>,
    asks_token: AtomicBool,
}

/// Device and inode: a file by whatever name.
type File = (u64, u64);

fn file(path: &Path) -> Option<File> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl OffLimits {
    /// The addresses that were really bound, and files that are there.
    pub fn new(bound: impl IntoIterator<Item = BindAddr>) -> Self {
        let mut own = Governed::default();
        for addr in bound {
            match addr {
                BindAddr::Ip(addr) => own.addrs.push(addr),
                BindAddr::Unix(path) => own.files.extend(file(&path)),
                BindAddr::Host(..) => {}
            }
        }
        Self { own, ..Self::default() }
    }

    /// What this process has bound.
    pub fn own(&self) -> Governed {
        self.own.clone()
    }

    /// What the process that took over has bound: from here on that is off limits, too.
    pub fn also(&self, next: Governed) {
        let _ = self.next.set(next);
    }

    fn all(&self) -> impl Iterator<Item = &Governed> {
        std::iter::once(&self.own).chain(self.next.get())
    }

    /// Whether anything is known of.
    pub fn is_any(&self) -> bool {
        self.all().any(|known| !known.addrs.is_empty() || !known.files.is_empty())
    }

    /// Whether callers by TCP are asked for a token: then they may come from anywhere.
    pub fn asks_token(&self, asks: bool) {
        self.asks_token.store(asks, Relaxed);
    }

    /// Why nobody may go there. A path is looked at, an address only compared.
    pub fn why(&self, target: &Target) -> Option<&'static str> {
        match target {
            Target::Ip(addr) => self.why_at(*addr),
            Target::Name(named) => named.addrs().iter().find_map(|addr| self.why_at(*addr)),
            Target::Unix(_) if self.all().all(|known| known.files.is_empty()) => None,
            Target::Unix(path) => file(path)
                .is_some_and(|file| self.all().any(|known| known.files.contains(&file)))
                .then_some("it leads to a socket by which this proxy itself is governed"),
        }
    }

    /// The same of an address.
    pub fn why_at(&self, to: SocketAddr) -> Option<&'static str> {
        let is_own = || self.all().flat_map(|known| &known.addrs).any(|own| arrives(*own, to));
        (!self.asks_token.load(Relaxed) && is_own()).then_some(
            "it leads to the API of this proxy, which asks this machine for no token \
             (admin.token_file)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Named;
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;

    #[test]
    fn what_is_bound_is_known_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let _socket = UnixListener::bind(at("admin.sock")).unwrap();
        let _other = UnixListener::bind(at("app.sock")).unwrap();
        let ip = |text: &str| Target::Ip(text.parse().unwrap());
        let own = OffLimits::new([
            BindAddr::Ip("127.0.0.1:9900".parse().unwrap()),
            BindAddr::Ip("0.0.0.0:9901".parse().unwrap()),
            BindAddr::Unix(at("admin.sock")),
        ]);
        let barred = |target: &Target| own.why(target).is_some();
        for to in ["127.0.0.1:9900", "0.0.0.0:9900", "[::ffff:127.0.0.1]:9900", "127.0.0.9:9901"] {
            assert!(barred(&ip(to)), "{to}");
        }
        for to in ["127.0.0.1:9902", "127.0.0.2:9900", "10.0.0.1:9900", "[::1]:9901"] {
            assert!(!barred(&ip(to)), "{to}");
        }
        let named = |all: &[&str]| {
            let all = all.iter().map(|addr| addr.parse().unwrap()).collect();
            Target::Name(Arc::new(Named::new(all)))
        };
        assert!(barred(&named(&["10.0.0.1:9900", "127.0.0.1:9900"])));
        assert!(!barred(&named(&["10.0.0.1:9900"])));
        own.asks_token(true);
        assert!(!barred(&ip("127.0.0.1:9900")), "whoever has the token may come from anywhere");
        let unix = |name: &str| Target::Unix(Arc::new(at(name)));
        assert!(!barred(&unix("later.sock")), "nothing is there");
        std::os::unix::fs::symlink(at("admin.sock"), at("later.sock")).unwrap();
        std::fs::hard_link(at("admin.sock"), at("other.sock")).unwrap();
        for name in ["admin.sock", "later.sock", "other.sock"] {
            assert!(barred(&unix(name)), "{name}");
        }
        assert!(!barred(&unix("app.sock")));
        own.asks_token(false);
        assert!(!barred(&ip("127.0.0.1:9700")));
        own.also(OffLimits::new([BindAddr::Ip("127.0.0.1:9700".parse().unwrap())]).own());
        assert!(barred(&ip("127.0.0.1:9700")) && barred(&ip("127.0.0.1:9900")), "both");
    }
}

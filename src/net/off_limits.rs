//! Where no connection of ours may lead: to the admin side of this very process. Whom a connection is for
//! cannot be seen there, so that whoever reaches a pool would be taken for the owner of the proxy.
use super::Target;
use crate::config::{BindAddr, arrives};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// By what a process is governed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Governed {
    /// Where who calls from this machine is taken for its owner, unless a token is asked for.
    addrs: Vec<SocketAddr>,
    /// Sockets that nobody but the owner can open.
    files: Vec<File>,
    /// Whether callers by TCP are asked for a token.
    #[serde(default)]
    asks_token: bool,
}

/// By what this process is governed, and the one that it takes over from, or gives its service to.
#[derive(Debug, Default)]
pub struct OffLimits {
    own: Governed,
    asks_token: AtomicBool,
    other: ArcSwapOption<Governed>,
    /// When callers by TCP ceased to be asked for a token, or to be others than who may call.
    opened: Mutex<Option<Instant>>,
}

/// Device and inode: a file by whatever name.
pub(crate) type File = (u64, u64);

/// Which file a path leads to, where one is there.
pub(crate) fn file(path: &Path) -> Option<File> {
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

    /// By what this process is governed.
    pub fn own(&self) -> Governed {
        Governed { asks_token: self.asks_token.load(Relaxed), ..self.own.clone() }
    }

    /// By what the other process is governed, while both serve.
    pub fn also(&self, other: Option<Governed>) {
        self.other.store(other.map(Arc::new));
    }

    /// The service is this process's, and from here on nothing of the other one leads to where this one is
    /// governed. Before it may have, where that asked for a token, or governed by other addresses.
    pub fn follows(&self, other: Governed) {
        let led = other.asks_token || self.own.addrs.iter().any(|own| !other.addrs.contains(own));
        if led && !self.asks_token.load(Relaxed) {
            *self.opened.lock() = Some(Instant::now());
        }
        self.also(Some(other));
    }

    /// The service is the other process's: from here on nobody hears of what that asks for.
    pub fn given(&self, other: Governed) {
        self.asks_token(false);
        self.also(Some(Governed { asks_token: false, ..other }));
    }

    fn knows(&self, is: impl Fn(&Governed) -> bool) -> bool {
        is(&self.own) || self.other.load().as_deref().is_some_and(is)
    }

    /// Whether anything is known of.
    pub fn is_any(&self) -> bool {
        self.knows(|known| !known.addrs.is_empty() || !known.files.is_empty())
    }

    /// Whether callers by TCP are asked for a token: then they may come from anywhere.
    pub fn asks_token(&self, asks: bool) {
        if self.asks_token.swap(asks, Relaxed) && !asks {
            *self.opened.lock() = Some(Instant::now());
        }
    }

    /// When they ceased to be asked for one, where they were once.
    pub fn opened(&self) -> Option<Instant> {
        *self.opened.lock()
    }

    /// Why nobody may go there. A path is looked at, an address only compared.
    pub fn why(&self, target: &Target) -> Option<&'static str> {
        match target {
            Target::Ip(addr) => self.why_at(*addr),
            Target::Name(named) => named.addrs().iter().find_map(|addr| self.why_at(*addr)),
            Target::Unix(_) if !self.knows(|known| !known.files.is_empty()) => None,
            Target::Unix(path) => file(path)
                .is_some_and(|file| self.knows(|known| known.files.contains(&file)))
                .then_some("it leads to a socket by which this proxy itself is governed"),
        }
    }

    /// The same of an address.
    pub fn why_at(&self, to: SocketAddr) -> Option<&'static str> {
        let leads = |known: &Governed| known.addrs.iter().any(|own| arrives(*own, to));
        let is_own = !self.asks_token.load(Relaxed) && leads(&self.own);
        let other = self.other.load();
        let is_other = || other.as_deref().is_some_and(|other| !other.asks_token && leads(other));
        (is_own || is_other()).then_some(
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
        let other = OffLimits::new([BindAddr::Ip("127.0.0.1:9700".parse().unwrap())]);
        own.also(Some(other.own()));
        assert!(barred(&ip("127.0.0.1:9700")) && !barred(&ip("127.0.0.1:9900")));
        other.asks_token(true);
        own.also(Some(other.own()));
        assert!(!barred(&ip("127.0.0.1:9700")));
        own.given(other.own());
        assert!(
            barred(&ip("127.0.0.1:9700")) && barred(&ip("127.0.0.1:9900")),
            "whatever they ask"
        );
        assert!(own.opened().is_some(), "by the token that it had");
        let new = |token| {
            let new = OffLimits::new([BindAddr::Ip("127.0.0.1:9700".parse().unwrap())]);
            new.asks_token(token);
            new
        };
        let [open, asking] = [false, true].map(|token| new(token).own());
        for (new, old, opened) in [
            (new(false), open.clone(), false),
            (new(false), asking.clone(), true),
            (new(false), Governed::default(), true),
            (new(true), asking, false),
        ] {
            new.also(Some(old.clone()));
            assert!(new.opened().is_none(), "it does not serve yet");
            new.follows(old);
            assert_eq!(new.opened().is_some(), opened);
        }
        own.asks_token(true);
        own.also(None);
        assert!(!barred(&ip("127.0.0.1:9700")) && !barred(&ip("127.0.0.1:9900")));
    }
}

//! Which certificate a client gets: one that it can use, for the name it asks for exactly before one
//! for it and its neighbours, before the first.
use super::identity::Identity;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Certificates by name.
#[derive(Debug)]
pub(super) struct ByName {
    /// In the order they were said; never empty.
    pub(super) all: Vec<Arc<Identity>>,
    /// Indexes of those that are good for a name, or for `*.` and this.
    exact: HashMap<String, Vec<usize>>,
    /// Of the first, and of those that share a name with it.
    default: Vec<usize>,
    wildcard: HashMap<String, Vec<usize>>,
}

impl ByName {
    pub(super) fn new(all: Vec<Arc<Identity>>) -> Self {
        let (mut exact, mut wildcard) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (at, one) in all.iter().enumerate() {
            for name in &one.names {
                match name.strip_prefix("*.") {
                    Some(rest) => wildcard.entry(rest.to_owned()).or_default().push(at),
                    None => exact.entry(name.clone()).or_default().push(at),
                }
            }
        }
        let shares =
            |at: &usize| *at == 0 || all[*at].names.iter().any(|n| all[0].names.contains(n));
        let default = (0..all.len()).filter(shares).collect();
        Self { all, exact, default, wildcard }
    }

    /// Those that may be shown for a name: the most exact first, among equals in the order they were
    /// said. A name is the same with a dot behind it, though none should come so (RFC 6066 3).
    pub(super) fn of(&self, name: Option<&str>) -> impl Iterator<Item = &Arc<Identity>> {
        let name = name.map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase());
        let above = name.as_deref().and_then(|name| Some(name.split_once('.')?.1));
        let exact = name.as_deref().and_then(|name| self.exact.get(name));
        let wildcard = above.and_then(|above| self.wildcard.get(above));
        let all = exact.into_iter().chain(wildcard).chain([&self.default]);
        all.flatten().map(|at| &self.all[*at])
    }

    /// The first of those that the client has a signature scheme for.
    fn choose(&self, hello: &ClientHello<'_>) -> Option<&Arc<Identity>> {
        let schemes = hello.signature_schemes();
        let fits = |one: &&Arc<Identity>| one.key.key.choose_scheme(schemes).is_some();
        // With none that fits, the handshake says what is missing.
        let mut all = self.of(hello.server_name());
        all.find(fits).or_else(|| self.of(hello.server_name()).next())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(&hello).map(|one| one.shown().clone())
    }
}

/// The choice for one connection.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) names: Arc<ByName>,
    /// What was chosen.
    pub(super) shown: OnceLock<Arc<Identity>>,
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let one = self.names.choose(&hello)?;
        Some(self.shown.get_or_init(|| one.clone()).shown().clone())
    }
}

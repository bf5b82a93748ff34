//! Which certificate a client gets: by the name it asks for, exact before wildcard, else the first.
use super::identity::Identity;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// Certificates by name.
#[derive(Debug)]
pub(super) struct ByName {
    /// In the order they were said; never empty.
    pub(super) all: Vec<Arc<Identity>>,
    /// Indexes of those that are good for a name, or for `*.` and this.
    exact: HashMap<String, Vec<usize>>,
    /// Of the first, and of those that have its names by another kind of key.
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
        let same = |at: &usize| all[*at].names == all[0].names;
        let default = (0..all.len()).filter(same).collect();
        Self { all, exact, default, wildcard }
    }

    /// Those for a name, in the order they were said: of one name there may be several, with keys of
    /// different kinds.
    pub(super) fn of(&self, name: Option<&str>) -> impl Iterator<Item = &Arc<Identity>> {
        let name = name.map(str::to_ascii_lowercase);
        let found = name.as_deref().and_then(|name| {
            let above = name.split_once('.').map_or("", |(_, above)| above);
            self.exact.get(name).or_else(|| self.wildcard.get(above))
        });
        found.unwrap_or(&self.default).iter().map(|at| &self.all[*at])
    }

    /// Whether a connection that was made for a name may carry requests to a host.
    pub(super) fn covers(&self, name: Option<&str>, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.of(name).any(|one| one.covers(&host))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let mut of = self.of(hello.server_name());
        let fits = |one: &&Arc<Identity>| one.key.key.choose_scheme(schemes).is_some();
        // With none that fits, the handshake says what is missing.
        of.find(fits).or_else(|| self.of(hello.server_name()).next()).map(|one| one.shown().clone())
    }
}

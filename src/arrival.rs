//! How a connection came: who is at its other end, and what was agreed on before it is served.
use crate::net::Peer;
use crate::tls::{Acceptor, Client};
use std::sync::Arc;

/// How a connection came.
#[derive(Debug)]
pub struct Arrival {
    /// Who is at its other end.
    pub peer: Peer,
    /// Where it speaks TLS.
    pub tls: Option<Box<Secured>>,
}

/// What TLS agreed on.
#[derive(Debug)]
pub struct Secured {
    /// Whose certificate was shown.
    pub acceptor: Arc<Acceptor>,
    /// The name the client asked for.
    pub sni: Option<String>,
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Where backends are told: what the client showed, if it showed something.
    pub client: Option<Option<Client>>,
}

impl Arrival {
    /// In the clear.
    pub fn plain(peer: Peer) -> Self {
        Self { peer, tls: None }
    }
}

impl Secured {
    /// Whether requests to a host (no port) may come this way.
    pub fn covers(&self, host: &str) -> bool {
        self.acceptor.covers(self.sni.as_deref(), host)
    }
}

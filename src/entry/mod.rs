//! What happens to a connection before it is served: its peer says for whom it came where that is
//! asked of it, and it agrees on TLS; in its own task and within `timeout.header`.

mod proxy;
mod tls;

use crate::arrival::{Arrival, Proxied};
use crate::config::{Config, Effective, Listener, Problem};
use crate::metrics::ListenerCells;
use crate::net::proxy_protocol::Ends;
use crate::net::{Peer, Stream};
use crate::tls::Acceptor;
use ipnet::IpNet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How connections enter a listener.
#[derive(Debug)]
pub struct Entry {
    /// `timeout.header`
    limit: Option<Duration>,
    /// Whose connections begin with a PROXY header.
    proxies: Vec<IpNet>,
    tls: Option<Arc<Acceptor>>,
    cells: Arc<ListenerCells>,
}

impl Entry {
    /// Compiles how connections enter a listener. Returns what an operator should know besides.
    ///
    /// # Errors
    ///
    /// Every problem of its certificates.
    pub fn compile(
        listener: &Listener,
        config: &Config,
        cells: Arc<ListenerCells>,
        before: Option<&Self>,
    ) -> Result<(Self, Vec<String>), Vec<Problem>> {
        let effective = Effective::layered([&config.defaults, &listener.over]);
        let before = before.and_then(|before| before.tls.as_ref());
        let tls = listener.tls.as_ref().map(|said| Acceptor::new(said, before)).transpose()?;
        let (tls, notes) = tls.map_or((None, Vec::new()), |(tls, notes)| (Some(tls), notes));
        let (limit, proxies) = (effective.timeout.header.get(), listener.proxy_protocol.clone());
        Ok((Self { limit, proxies, tls, cells }, notes))
    }

    /// Its certificates.
    pub fn acceptor(&self) -> Option<&Arc<Acceptor>> {
        self.tls.as_ref()
    }

    /// Whether connections of this peer are served as they come.
    pub fn is_open(&self, peer: Peer) -> bool {
        self.tls.is_none() && !self.is_proxy(peer)
    }

    /// Whether this peer speaks for others: who is the client is known after its header.
    pub fn is_proxy(&self, peer: Peer) -> bool {
        peer.is_within(&self.proxies)
    }

    /// Takes a connection in; `None` when it does not come about.
    pub async fn take(&self, mut stream: Stream, peer: Peer) -> Option<(Stream, Arrival)> {
        let until = self.limit.map(|limit| Instant::now() + limit);
        let mut arrival = Arrival::plain(peer);
        if self.is_proxy(peer) {
            match self.within(until, proxy::header(&mut stream)).await {
                Ok(header) => {
                    arrival.peer = match header.ends {
                        Ends::Nobody => peer,
                        Ends::Ip { source, .. } => Peer::Ip(source),
                        Ends::Unix => Peer::Unix,
                    };
                    arrival.proxied = Some(Box::new(Proxied::new(peer, header)));
                }
                Err(reason) => {
                    self.cells.proxy_protocol_errors.inc(reason);
                    let peer = peer.addr().map(tracing::field::display);
                    tracing::debug!(peer, reason, listener = %self.name(), "closed: no PROXY header");
                    return None;
                }
            }
        }
        let Some(acceptor) = &self.tls else { return Some((stream, arrival)) };
        match self.within(until, tls::agree(stream, acceptor)).await {
            Ok((stream, secured)) => {
                self.cells.handshakes.count(secured.version, "ok");
                arrival.tls = Some(Box::new(secured));
                Some((stream, arrival))
            }
            Err(failed) => {
                let result = failed.result;
                self.cells.handshakes.count("none", result);
                let why = failed.why.as_ref().map(tracing::field::display);
                let peer = arrival.peer.addr().map(tracing::field::display);
                tracing::debug!(peer, listener = %self.name(), result, why, "closed: no TLS handshake");
                failed.say().await;
                None
            }
        }
    }

    /// The name of its listener.
    fn name(&self) -> &str {
        self.cells.labels.trim_start_matches("listener=").trim_matches('"')
    }

    /// What takes longer than `timeout.header` failed by `timeout`.
    async fn within<T, E: From<&'static str>>(
        &self,
        until: Option<Instant>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(until) = until else { return work.await };
        tokio::time::timeout_at(until, work).await.unwrap_or_else(|_| {
            self.cells.limit_hits.inc("header");
            Err("timeout".into())
        })
    }
}

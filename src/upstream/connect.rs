//! A new connection to a backend: dialled within its limit, counted, and judged when it fails.
use super::conn::Conn;
use super::error::Error;
use super::link::Link;
use crate::net;
use crate::net::proxy_protocol::Written;
use crate::pool::{Backend, Change, Lease};
use crate::reach::http2::HeadMost;
use crate::reach::{self, Offer, Reach, Way};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection that was made.
pub(super) enum Dialled {
    /// It carries bytes, or one request after the other.
    Link(Link),
    /// It speaks HTTP/2.
    Shared(Arc<Conn>),
}

/// What is asked of a new connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) offer: Offer,
    /// What the backend is told of the client.
    pub(super) header: Option<&'a Written>,
    /// What heads may come over it, where it speaks HTTP/2.
    pub(super) most: HeadMost,
    /// `timeout.connect`, or less.
    pub(super) limit: Option<Duration>,
}

/// Dials the backend of a lease and tells it for whom. Counts the result; a backend that was not reached is taken out
/// for new work at once, and the pool is told why.
pub(super) async fn dial(
    lease: &Lease,
    reach: &Reach,
    wanted: Wanted<'_>,
) -> Result<Dialled, Error> {
    let backend = lease.backend();
    let begun = Instant::now();
    let dialled = match wanted.limit {
        Some(limit) => tokio::time::timeout(limit, attempt(backend, reach, wanted))
            .await
            .unwrap_or(Err(Error::ConnectTimeout)),
        None => attempt(backend, reach, wanted).await,
    };
    match dialled {
        Ok(dialled) => {
            backend.cells.connect_ok.inc();
            lease.pool().connect_duration.observe(begun.elapsed());
            Ok(dialled)
        }
        Err(Error::Changed) => Err(Error::Changed),
        Err(error) => {
            not_reached(lease, &error);
            Err(error)
        }
    }
}

async fn attempt(
    backend: &Arc<Backend>,
    reach: &Reach,
    wanted: Wanted<'_>,
) -> Result<Dialled, Error> {
    let target = backend.dial().ok_or(Error::Unresolved)?;
    let way = Way { offer: wanted.offer, header: wanted.header };
    let connected = reach.connect(&target, backend.addr(), way).await;
    let (stream, shared) = connected.map_err(|error| match error {
        reach::Error::Connect(error) if net::is_local_fault(&error) => Error::Local(error),
        reach::Error::Connect(error) => Error::Connect(error),
        reach::Error::Changed => Error::Changed,
        reach::Error::Tls(what) => Error::Tls(what),
    })?;
    let born = Instant::now();
    let link = Link::new(stream, backend, reach.number, wanted.header.cloned(), born);
    if !shared {
        return Ok(Dialled::Link(link));
    }
    let spoken = Box::pin(reach::http2::begin(link, reach.http2(), wanted.most)).await;
    let spoken = spoken.map_err(Error::Connect)?;
    let born = (reach.number, born);
    Ok(Dialled::Shared(Conn::carry(spoken, reach.http2(), wanted.most, backend, born)))
}

/// Counts a connect that failed. A backend that was not reached is taken out for new work at once,
/// and the pool is told why.
pub fn not_reached(lease: &Lease, error: &Error) {
    let backend = lease.backend();
    let cells = &backend.cells;
    match error {
        Error::Local(_) => return cells.connect_error.inc(),
        Error::ConnectTimeout => cells.connect_timeout.inc(),
        Error::Tls(_) => cells.connect_tls.inc(),
        Error::Connect(e) if e.kind() == ErrorKind::ConnectionRefused => {
            cells.connect_refused.inc()
        }
        Error::Connect(e)
            if matches!(e.kind(), ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) =>
        {
            cells.connect_unreachable.inc();
        }
        _ => cells.connect_error.inc(),
    }
    backend.mark_unusable();
    let detail = format!("connect to {} (pool {}): {error}", backend.addr(), backend.pool);
    for turn in lease.pool().apply(Change::Unreached { id: backend.id, detail }, Instant::now()) {
        tracing::warn!(pool = %backend.pool, backend = %turn.backend, from = turn.from.word(), to = turn.to.word(),
            reason = turn.reason.word(), detail = %turn.detail, "backend turned");
    }
}

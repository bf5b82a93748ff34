//! A new connection to a backend: dialled within its limit, counted, and judged when it fails.
use super::error::Error;
use super::link::Link;
use crate::net::proxy_protocol::Written;
use crate::net::{self, Stream};
use crate::pool::{Backend, Change, Lease};
use crate::reach::{self, Reach};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Dials the backend of a lease and tells it for whom. Counts the result; a backend that was not
/// reached is taken out for new work at once, and the pool is told why.
pub(super) async fn dial(
    lease: &Lease,
    limit: Option<Duration>,
    header: Option<&Written>,
) -> Result<Link, Error> {
    let backend = lease.backend();
    let begun = Instant::now();
    let reach = lease.pool().reach();
    match attempt(backend, &reach, limit, header).await {
        Ok(stream) => {
            let born = Instant::now();
            backend.cells.connect_ok.inc();
            lease.pool().connect_duration.observe(born.saturating_duration_since(begun));
            Ok(Link::new(stream, backend, reach.number, header.cloned(), born))
        }
        Err(Error::Changed) => Err(Error::Changed),
        Err(error) => {
            not_reached(lease, &error);
            Err(error)
        }
    }
}

async fn attempt(
    backend: &Backend,
    reach: &Reach,
    limit: Option<Duration>,
    header: Option<&Written>,
) -> Result<Stream, Error> {
    let target = backend.dial().ok_or(Error::Unresolved)?;
    let connecting = reach.connect(&target, backend.addr(), header);
    let connected = match limit {
        Some(limit) => {
            tokio::time::timeout(limit, connecting).await.map_err(|_| Error::ConnectTimeout)?
        }
        None => connecting.await,
    };
    connected.map_err(|error| match error {
        reach::Error::Connect(error) if net::is_local_fault(&error) => Error::Local(error),
        reach::Error::Connect(error) => Error::Connect(error),
        reach::Error::Changed => Error::Changed,
        reach::Error::Tls(what) => Error::Tls(what),
    })
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

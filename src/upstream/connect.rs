//! A new connection to a backend: dialled within its limit, counted, and judged when it fails.
use super::conn::Conn;
use super::error::Error;
use super::link::Link;
use crate::net::proxy_protocol::Written;
use crate::net::{self, Target};
use crate::pool::{Backend, Change, Lease, Pool};
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
    /// `timeout.connect`
    pub(super) limit: Option<Duration>,
    /// When the request that wants it must be over.
    pub(super) until: Option<Instant>,
}

/// Whom to dial, for a lease or beyond it.
#[derive(Clone, Debug)]
pub(super) struct Whom {
    pub(super) pool: Arc<Pool>,
    pub(super) backend: Arc<Backend>,
}

impl Whom {
    pub(super) fn of(lease: &Lease) -> Self {
        Self { pool: lease.pool().clone(), backend: lease.backend().clone() }
    }
}

/// Dials a backend and tells it for whom. Counts the result; a backend that was not reached is taken
/// out for new work at once, and the pool is told why. A request whose own time is over first says
/// nothing of the backend: nothing is counted.
///
/// # Errors
///
/// [`Error`]; [`Error::Request`] when `until` has passed and `limit` has not.
pub(super) async fn dial(whom: &Whom, reach: &Reach, wanted: Wanted<'_>) -> Result<Dialled, Error> {
    let backend = &whom.backend;
    let begun = Instant::now();
    let dialled = match first(wanted.limit, wanted.until, begun) {
        Some((limit, late)) => {
            tokio::time::timeout(limit, attempt(backend, reach, wanted)).await.unwrap_or(Err(late))
        }
        None => attempt(backend, reach, wanted).await,
    };
    match dialled {
        Ok(dialled) => {
            backend.cells.connect_ok.inc();
            whom.pool.connect_duration.observe(begun.elapsed());
            Ok(dialled)
        }
        Err(error @ (Error::Changed | Error::Request)) => Err(error),
        Err(error) => {
            unreached(&whom.pool, backend, &error);
            Err(error)
        }
    }
}

/// How long a connection may be waited for, and what it is called when that has passed.
pub(super) fn first(
    connect: Option<Duration>,
    until: Option<Instant>,
    now: Instant,
) -> Option<(Duration, Error)> {
    let left = until.map(|until| until.saturating_duration_since(now));
    match (connect, left) {
        (Some(connect), Some(left)) if connect <= left => Some((connect, Error::ConnectTimeout)),
        (_, Some(left)) => Some((left, Error::Request)),
        (connect, None) => connect.map(|connect| (connect, Error::ConnectTimeout)),
    }
}

async fn attempt(
    backend: &Arc<Backend>,
    reach: &Reach,
    wanted: Wanted<'_>,
) -> Result<Dialled, Error> {
    let (target, place) = backend.dial().ok_or(Error::Unresolved)?;
    let way = Way { offer: wanted.offer, header: wanted.header };
    let connected = reach.connect(&target, backend.addr(), way).await;
    let (stream, shared) = connected.map_err(|error| match error {
        reach::Error::Connect(error) if net::is_local_fault(&error) => Error::Local(error),
        reach::Error::Connect(error) => Error::Connect(error),
        reach::Error::Changed => Error::Changed,
        reach::Error::OffLimits(why) => Error::OffLimits(why),
        reach::Error::Tls(what) => Error::Tls(what),
    })?;
    let place = match target {
        Target::Name(_) => place.found(stream.peer_addr()),
        _ => place,
    };
    let born = Instant::now();
    let header = wanted.header.cloned();
    let link = Link::new(stream, backend, reach.number, place.clone(), header, born);
    if !shared {
        return Ok(Dialled::Link(link));
    }
    let spoken = Box::pin(reach::http2::begin(link, reach.http2(), wanted.most)).await;
    let spoken = spoken.map_err(Error::Connect)?;
    Ok(Dialled::Shared(Conn::carry(spoken, reach, wanted.most, (backend, place), born)))
}

/// Counts a connect that failed. A backend that was not reached is taken out for new work at once,
/// and the pool is told why.
pub fn not_reached(lease: &Lease, error: &Error) {
    unreached(lease.pool(), lease.backend(), error);
}

fn unreached(pool: &Arc<Pool>, backend: &Arc<Backend>, error: &Error) {
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
    let change = match error {
        Error::OffLimits(_) => Change::OffLimits { id: backend.id, why: Some(detail) },
        _ => Change::Unreached { id: backend.id, detail },
    };
    for turn in pool.apply(change, Instant::now()) {
        tracing::warn!(pool = %backend.pool, backend = %turn.backend, from = turn.from.word(), to = turn.to.word(),
            reason = turn.reason.word(), detail = %turn.detail, "backend turned");
    }
}

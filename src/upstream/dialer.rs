//! One worker's connections to backends: a lease becomes a stream or an exchange.
use super::connect;
use super::error::{Error, Failed, Retry};
use super::exchange::{Exchange, Pace};
use super::idle::{Idle, Kept, Reuse};
use super::link::Link;
use super::pump::Pump;
use crate::config::Effective;
use crate::http1::{self, BodyLength, Client, HeadLimits};
use crate::message::{Chunk, Head, Size};
use crate::net::proxy_protocol::Written;
use crate::pool::Lease;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One worker's connections to backends: dials, keeps idle ones.
#[derive(Debug, Default)]
pub struct Dialer {
    pub(super) idle: Idle,
}

/// A request as it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its head, hop-by-hop fields removed.
    pub head: &'a Head,
    /// The Host to send instead of the head's own.
    pub host: Option<&'a [u8]>,
    /// How its body goes on the wire.
    pub body: BodyLength,
    /// Whether it asks for another protocol (WebSocket).
    pub upgrade: bool,
    /// Whether it can be sent again: idempotent and without a body.
    pub repeatable: bool,
    /// Whether only a new connection will do.
    pub fresh: bool,
    /// What the backend is told of the client before it, where the pool says so: then only a
    /// connection that was made for the same one will do.
    pub header: Option<&'a Written>,
    /// Whether the time to its first byte is wanted; a policy that learns from it gets it anyway.
    pub timed: bool,
    /// What holds.
    pub effective: &'a Effective,
    /// When all tries must be over.
    pub until: Option<Instant>,
}

impl Dialer {
    /// Nothing idle yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Dials the backend of a lease and tells it of the client, where the pool says so
    /// ([`crate::pool::Pool::announces`]). Counts the connection, its result and its duration. Tells
    /// the pool when the backend was not reached.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub async fn stream(
        &self,
        lease: &Lease,
        timeout: Option<Duration>,
        header: Option<&Written>,
    ) -> Result<Link, Error> {
        match connect::dial(lease, timeout, header).await {
            // Kept connections are a convenience, this one is wanted now.
            Err(Error::Local(error)) if is_out_of_descriptors(&error) && self.idle.shed() => {
                connect::dial(lease, timeout, header).await
            }
            dialled => dialled,
        }
    }

    /// Begins a request on a kept connection; gives the lease back if there is none.
    ///
    /// # Errors
    ///
    /// The lease.
    pub fn reuse(
        self: &Arc<Self>,
        lease: Lease,
        request: &Outgoing<'_>,
        now: Instant,
    ) -> Result<Box<Exchange>, Lease> {
        let reuse = if request.repeatable { Reuse::Any } else { Reuse::Sure };
        let kept = match request.header {
            _ if request.fresh => None,
            None => self.idle.take(lease.backend(), reuse, now),
            Some(header) => self.idle.take_for(header, lease.backend(), reuse, now),
        };
        match kept {
            Some(Kept { link, .. }) => Ok(self.exchange(lease, link, request, now, None)),
            None => Err(lease),
        }
    }

    /// Begins a request on a new connection.
    ///
    /// # Errors
    ///
    /// [`Failed`], when none could be had.
    pub async fn connect(
        self: &Arc<Self>,
        lease: Lease,
        request: &Outgoing<'_>,
        now: Instant,
    ) -> Result<Box<Exchange>, Failed> {
        match self.stream(&lease, request.connect_limit(now), request.header).await {
            Ok(link) => {
                let born = link.born();
                let took = born.saturating_duration_since(now);
                Ok(self.exchange(lease, link, request, born, Some(took)))
            }
            Err(error) => {
                let stale = matches!(error, Error::Changed);
                Err(Failed { lease, error, retry: Retry::NothingWritten, stale })
            }
        }
    }

    fn exchange(
        self: &Arc<Self>,
        lease: Lease,
        link: Link,
        request: &Outgoing<'_>,
        begun: Instant,
        connect: Option<Duration>,
    ) -> Box<Exchange> {
        let place = Box::new_uninit();
        let timed = request.timed || lease.pool().wants_cost();
        let limits = &request.effective.limits;
        let head_limits =
            HeadLimits { head: limits.head, fields: limits.fields, target: limits.target };
        let mut client = Client::new(head_limits, limits.trailers);
        client.requested(request.head.method(), request.upgrade);
        let mut out = Chunk::lend(Size::Head);
        let connection = request.upgrade.then_some("Upgrade");
        http1::request_head(request.head, request.host, request.body, connection, &mut out);
        let timeout = &request.effective.timeout;
        // Built where it stays: it is too large to be handed around.
        let exchange = Exchange {
            dialer: self.clone(),
            lease: Some(lease),
            link: Some(link),
            begun,
            pump: Pump::new(out, request.body),
            client,
            pace: Pace {
                first_byte: timeout.first_byte.get(),
                idle: timeout.idle.get(),
                until: request.until,
            },
            late: None,
            timed,
            buf: Chunk::none(),
            data: 0,
            skip: 0,
            eof: false,
            ended: false,
            status: 0,
            connect,
            first_byte: None,
            received: 0,
        };
        Box::write(place, exchange)
    }

    /// Closes idle connections past their age, those the backend closed, and those of backends
    /// that are gone. Called each second by the worker.
    pub fn sweep(&self) {
        self.idle.sweep(Instant::now());
    }
}

fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(error.raw_os_error(), Some(code) if [Errno::MFILE, Errno::NFILE].iter().any(|e| e.raw_os_error() == code))
}

impl Outgoing<'_> {
    /// `timeout.connect`, or what is left of `timeout.request` if that is less.
    fn connect_limit(&self, now: Instant) -> Option<Duration> {
        let left = self.until.map(|until| until.saturating_duration_since(now));
        match (self.effective.timeout.connect.get(), left) {
            (Some(connect), Some(left)) => Some(connect.min(left)),
            (connect, left) => connect.or(left),
        }
    }
}

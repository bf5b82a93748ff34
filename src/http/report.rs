//! What is known of one request at its end: for its metrics and its line in the access log.
use super::address::Origin;
use super::gateway::{Gateway, RouteCells, Target};
use super::reply::limit;
use super::route::Route;
use crate::message::{Head, Known};
use crate::pool::Backend;
use crate::telemetry::{Access, AccessLog};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What is known of one request.
#[derive(Debug)]
pub(super) struct Report<'g> {
    pub(super) begun: Instant,
    /// When it ended, if that is known already.
    pub(super) ended: Option<Instant>,
    pub(super) status: u16,
    /// `-` when all went well.
    pub(super) reason: &'static str,
    /// Whether the answer is our own.
    pub(super) own: bool,
    pub(super) route: Option<&'g Route>,
    pub(super) target: Option<&'g Target>,
    pub(super) cells: Option<&'g RouteCells>,
    pub(super) backend: Option<Arc<Backend>>,
    pub(super) tries: u32,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// How long the last try's connection took to be made; `None` for a kept one.
    pub(super) connect: Option<Duration>,
    pub(super) first_byte: Option<Duration>,
}

impl Report<'_> {
    pub(super) fn new(begun: Instant) -> Self {
        Self {
            begun,
            ended: None,
            status: 0,
            reason: "-",
            own: false,
            route: None,
            target: None,
            cells: None,
            backend: None,
            tries: 0,
            bytes_in: 0,
            bytes_out: 0,
            connect: None,
            first_byte: None,
        }
    }

    /// The connection was cut at the end of a drain: whatever was under way stays as it is.
    pub(super) fn cut(&mut self) {
        if self.status == 0 {
            self.status = 503;
        }
        self.reason = "drain_cut";
    }

    /// Counts the request and writes its line.
    pub(super) fn end(
        &self,
        gateway: &Gateway,
        head: &Head,
        came: Option<&Came>,
        origin: &Origin,
        access: &AccessLog,
    ) {
        let ended = self.ended.unwrap_or_else(Instant::now);
        let took = ended.saturating_duration_since(self.begun);
        self.cells.unwrap_or(&gateway.none).count(head.method(), self.status, took);
        gateway.cells.received.add(self.bytes_in);
        gateway.cells.sent.add(self.bytes_out);
        if self.own {
            gateway.cells.own.inc(self.reason);
            if let Some(limit) = limit(self.reason) {
                gateway.cells.limit_hits.inc(limit);
            }
        }
        let Some(came) = came else { return };
        access.write(&Access {
            time: SystemTime::now() - took,
            client: origin.peer.addr(),
            method: &came.method,
            target: &came.target,
            host: &came.host,
            status: self.status,
            reason: self.reason,
            listener: &gateway.listener,
            route: self.route.map_or("none", |route| &route.name),
            pool: self.target.map_or("none", |target| &target.pool.name),
            backend: self.backend.as_ref().map_or("-", |b| &b.name),
            tries: self.tries,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration: took,
            connect: self.connect,
            first_byte: self.first_byte,
            request_id: head.get(Known::XRequestId).unwrap_or(b""),
            sni: origin.server_name(),
            proxy: origin.proxied.as_ref().map_or("", |proxied| &proxied.words),
        });
    }
}

/// What the access log says of a request as it came, before anything was rewritten. Only made
/// when there is an access log.
#[derive(Debug)]
pub(super) struct Came {
    method: Vec<u8>,
    target: Vec<u8>,
    host: Vec<u8>,
}

impl Came {
    pub(super) fn of(head: &Head) -> Self {
        Self::with_method(head, None)
    }

    /// The same for a request that came with another method than its head has.
    pub(super) fn with_method(head: &Head, method: Option<&str>) -> Self {
        Self {
            method: method.map_or(head.method_token(), str::as_bytes).to_vec(),
            target: head.target().to_vec(),
            host: head.get(Known::Host).unwrap_or(b"").to_vec(),
        }
    }
}

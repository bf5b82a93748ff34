//! What is known of one connection at its end: for its line in the access log.
use super::route::Target;
use crate::arrival::Arrival;
use crate::config::Name;
use crate::telemetry::{Access, AccessLog, since_1970};
use std::time::{Duration, Instant};

/// What is known of one connection.
pub(super) struct Report<'a> {
    pub(super) begun: Instant,
    /// The name its client asks for, where TLS is let pass.
    pub(super) sni: Option<String>,
    /// The route that took it; `-` where there are none.
    pub(super) route: &'a str,
    pub(super) target: Option<&'a Target>,
    pub(super) backend: Option<Name>,
    pub(super) tries: u32,
    pub(super) connect: Option<Duration>,
    pub(super) received: u64,
    pub(super) sent: u64,
    /// `-` when all went well.
    pub(super) reason: &'static str,
}

impl Report<'_> {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            sni: None,
            route: "-",
            target: None,
            backend: None,
            tries: 0,
            connect: None,
            received: 0,
            sent: 0,
            reason: "-",
        }
    }

    /// Writes its line.
    pub(super) fn end(&self, listener: &Name, arrival: &Arrival, access: &AccessLog) {
        if !access.takes(self.reason != "-") {
            return;
        }
        let duration = self.begun.elapsed();
        access.write(&Access {
            time: since_1970(self.begun),
            client: arrival.peer.addr(),
            method: b"-",
            target: b"-",
            host: b"",
            status: 0,
            reason: self.reason,
            listener,
            route: self.route,
            pool: self.target.map_or("none", |target| &target.pool.name),
            backend: self.backend.as_deref().unwrap_or("-"),
            tries: self.tries,
            bytes_in: self.received,
            bytes_out: self.sent,
            duration,
            connect: self.connect,
            first_byte: None,
            request_id: b"",
            tls: arrival.tls.as_ref().map_or("", |tls| tls.version),
            sni: self.sni.as_ref().map_or(arrival.server_name(), |name| name.as_bytes()),
            proxy: arrival.proxied.as_ref().map_or("", |proxied| &proxied.words),
            place: None,
        });
    }
}

//! What is counted at a backend; the numbers live as long as it does.
use super::change::State;
use crate::metrics::{Counter, Gauge, Histogram, Recent};
use std::time::Duration;

/// What is counted at a backend.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is the metric that its name says")]
pub struct Cells {
    /// `evenkeel_upstream_requests_total` by status class 1xx to 5xx; index 0 is no answer.
    pub by_class: [Counter; 6],
    pub request_duration: Histogram,
    /// `evenkeel_upstream_connections_total` by result.
    pub connect_ok: Counter,
    pub connect_refused: Counter,
    pub connect_timeout: Counter,
    /// … in TLS.
    pub connect_tls: Counter,
    pub connect_unreachable: Counter,
    pub connect_error: Counter,
    /// Requests that had a new connection although some were kept, which were not trusted, and those that were too
    /// many for it.
    pub renewed: Counter,
    pub unrenewed: Counter,
    /// Open connections: those idle, and all.
    pub open: Gauge,
    pub idle: Gauge,
    pub checks_pass: Counter,
    pub checks_fail: Counter,
    /// Unix milliseconds of the last probe's end; 0 for never.
    pub last_probe_ms: Gauge,
    /// How long it took, in microseconds.
    pub last_probe_micros: Gauge,
    /// `evenkeel_backend_transitions_total` by the new state, in the order of [`State::ALL`].
    pub turns: [Counter; State::ALL.len()],
    /// Layer-4 connections that ended in order; counted where `outlier` looks at them.
    pub closed: Counter,
    /// Counted only where `metrics.compat` names "haproxy".
    pub told: Told,
}

/// What HAProxy's exporter tells of a server and our own families do not.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is the metric that its name says")]
pub struct Told {
    pub received: Counter,
    pub sent: Counter,
    pub client_aborts: Counter,
    pub server_aborts: Counter,
    pub response_errors: Counter,
    /// Until a connection was made.
    pub connect: Recent,
    /// From a try's begin to its first byte.
    pub response: Recent,
    /// From the begin of a request or connection to its end.
    pub total: Recent,
}

impl Told {
    /// Bytes went to the backend, and came from it.
    pub fn moved(&self, there: u64, back: u64) {
        self.received.add(there);
        self.sent.add(back);
    }

    /// A request or connection ended there, for this reason of the access log.
    pub fn ended(
        &self,
        reason: &str,
        took: Duration,
        connect: Option<Duration>,
        first_byte: Option<Duration>,
    ) {
        self.total.observe(took);
        connect.into_iter().for_each(|took| self.connect.observe(took));
        first_byte.into_iter().for_each(|took| self.response.observe(took));
        match reason {
            "client_gone" | "client_timeout_idle" | "client_reset" => self.client_aborts.inc(),
            "upstream_cut" | "upstream_reset" => self.server_aborts.inc(),
            "reset" | "bad_response" | "too_many_interim" | "not_switched" | "silence"
            | "timeout_first_byte" | "timeout_idle" => self.response_errors.inc(),
            _ => {}
        }
    }
}

impl Cells {
    /// Adds what another one counted; levels and means are each one's own.
    pub(super) fn add(&self, other: &Self) {
        let Self {
            by_class,
            request_duration,
            connect_ok,
            connect_refused,
            connect_timeout,
            connect_tls,
            connect_unreachable,
            connect_error,
            renewed,
            unrenewed,
            open: _,
            idle: _,
            checks_pass,
            checks_fail,
            last_probe_ms: _,
            last_probe_micros: _,
            turns,
            closed,
            told,
        } = other;
        self.by_class.iter().zip(by_class).for_each(|(to, more)| to.add(more.get()));
        self.turns.iter().zip(turns).for_each(|(to, more)| to.add(more.get()));
        self.request_duration.add(request_duration);
        for (to, more) in [
            (&self.connect_ok, connect_ok),
            (&self.connect_refused, connect_refused),
            (&self.connect_timeout, connect_timeout),
            (&self.connect_tls, connect_tls),
            (&self.connect_unreachable, connect_unreachable),
            (&self.connect_error, connect_error),
            (&self.renewed, renewed),
            (&self.unrenewed, unrenewed),
            (&self.checks_pass, checks_pass),
            (&self.checks_fail, checks_fail),
            (&self.closed, closed),
            (&self.told.received, &told.received),
            (&self.told.sent, &told.sent),
            (&self.told.client_aborts, &told.client_aborts),
            (&self.told.server_aborts, &told.server_aborts),
            (&self.told.response_errors, &told.response_errors),
        ] {
            to.add(more.get());
        }
    }
    pub(super) fn turned(&self, to: State) {
        self.turns[to as usize].inc();
    }
}

/// `evenkeel_balancer_picks_total` by reason. Apart from the other cells: what changes with each pick
/// shares cache lines only with its like.
#[derive(Debug, Default)]
pub struct Picks {
    /// The policy chose it.
    pub policy: Counter,
    /// As above, for another try of a request.
    pub retry: Counter,
    /// As above, beside a try that takes long.
    pub hedge: Counter,
    /// Too few were healthy.
    pub panic: Counter,
    /// Its client came back to it.
    pub sticky: Counter,
}

impl Picks {
    /// Adds what another one counted.
    pub(super) fn add(&self, other: &Self) {
        let Self { policy, retry, hedge, panic, sticky } = other;
        self.policy.add(policy.get());
        self.retry.add(retry.get());
        self.hedge.add(hedge.get());
        self.panic.add(panic.get());
        self.sticky.add(sticky.get());
    }
    /// Whatever their reason.
    pub(crate) fn all(&self) -> u64 {
        let picks = self.policy.get() + self.retry.get() + self.hedge.get();
        picks + self.panic.get() + self.sticky.get()
    }
}

/// `evenkeel_sticky_total` by result.
#[derive(Debug, Default)]
pub struct StickyCells {
    /// The backend of the cookie answered.
    pub hit: Counter,
    /// There was no cookie.
    pub miss: Counter,
    /// There was one past its end.
    pub expired: Counter,
    /// There was one that nobody with a secret has made for this pool.
    pub forged: Counter,
    /// Another backend answered than that of the cookie.
    pub gone: Counter,
}

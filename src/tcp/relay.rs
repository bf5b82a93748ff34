//! One TCP connection, from its first byte to its last.
use super::report::Report;
use super::route::{Compiler, Names, Route, Target};
use super::{itself, passthrough};
use crate::arrival::Arrival;
use crate::config::{Compat, Config, Effective, Listener, Name, Problem};
use crate::drain::Watch;
use crate::message::Chunk;
use crate::metrics::ListenerCells;
use crate::net::proxy_protocol::Header;
use crate::net::{Copied, Ended, Stream, Timer, TwoWay, client_hello, last_words, two_way};
use crate::pool::{Ask, BackendId, Lease, NoLease, Outcome, Pool};
use crate::telemetry::AccessLog;
use crate::upstream::{self, Dialer, Link};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The service of a tcp listener.
#[derive(Debug)]
pub struct Relay {
    /// The listener's name.
    pub listener: Name,
    /// What holds before it is known where a connection goes: `defaults` and `listener`.
    pub effective: Effective,
    /// What is counted.
    pub cells: Arc<ListenerCells>,
    compat: Compat,
    /// Whether it was said that a connection came back.
    looped: AtomicBool,
    /// Where TLS is let pass: where each name goes.
    pub(super) names: Option<Names>,
    /// The listener's own pool.
    pub(super) default: Option<Route>,
}

impl Relay {
    /// Compiles a tcp listener.
    ///
    /// # Errors
    ///
    /// Every pool that is not there; a listener that goes nowhere.
    pub fn compile(
        listener: &Listener,
        config: &Config,
        pools: &BTreeMap<Name, Arc<Pool>>,
        cells: Arc<ListenerCells>,
    ) -> Result<Self, Vec<Problem>> {
        let compiler = Compiler { listener, config, pools };
        let names = listener.passthrough.then(|| compiler.names()).transpose()?;
        let default = listener.pool.as_ref().map(|pool| compiler.default(pool)).transpose();
        let default = default.map_err(|problem| vec![problem])?;
        if names.is_none() && default.is_none() {
            let key = format!("listener.{}.pool", listener.name);
            return Err(vec![Problem::new(&listener.at, key, "names no pool")]);
        }
        if let Some(problem) = itself::problem(listener, config) {
            return Err(vec![problem]);
        }
        Ok(Self {
            listener: listener.name.clone(),
            effective: Effective::layered([&config.defaults, &listener.over]),
            cells,
            compat: config.compat,
            looped: AtomicBool::new(false),
            names,
            default,
        })
    }

    /// Carries one connection to its end.
    pub async fn serve(
        &self,
        mut stream: Stream,
        arrival: Arrival,
        watch: &Watch,
        dialer: &Dialer,
        access: &AccessLog,
    ) {
        let mut report = Report::new();
        let route = tokio::select! {
            biased;
            route = self.route(&mut stream, &mut report) => route,
            () = watch.cut() => Err("drain_cut"),
        };
        match route {
            Ok((target, first)) => {
                report.target = Some(target);
                match reach(target, &arrival, (&mut stream, watch), dialer, &mut report).await {
                    Ok((lease, upstream)) => {
                        let ends = (&mut stream, upstream);
                        self.carry(ends, first, lease, watch, &mut report).await;
                    }
                    Err(reason) => report.reason = reason,
                }
            }
            Err(reason) => report.reason = reason,
        }
        if matches!(report.reason, "no_backend" | "max_active" | "queue" | "loop") {
            self.cells.own.inc(report.reason);
        }
        if report.reason == "loop" && !self.looped.swap(true, Relaxed) {
            let backend = report.backend.as_deref();
            tracing::error!(listener = %self.listener, backend, "a backend of this listener is the listener \
                itself: connections are refused, they would come back for ever; name another one");
        }
        if let Some(limit) = limit(report.reason) {
            self.cells.limit_hits.inc(limit);
        }
        report.end(&self.listener, &arrival, access);
    }

    /// Where a connection goes, and what was read to know it. A client whose name nobody has, and
    /// one that says no TLS, is told so.
    async fn route<'a>(
        &'a self,
        stream: &mut Stream,
        report: &mut Report<'a>,
    ) -> Result<(&'a Target, Chunk), &'static str> {
        let Some(names) = &self.names else {
            let default = self.default.as_ref().ok_or("no_route")?;
            return Ok((default.to.choose(fastrand::u64(..)), Chunk::none()));
        };
        report.route = "none";
        let (alert, reason) =
            match passthrough::hello(stream, self.effective.timeout.header.get()).await {
                Ok((hello, first)) => {
                    let found = self.led(names, hello.name.as_deref());
                    report.sni = hello.name;
                    if let Some(route) = found {
                        report.route = &route.name;
                        return Ok((route.to.choose(fastrand::u64(..)), first));
                    }
                    (Some(client_hello::unrecognized_name()), "no_route")
                }
                Err(unheard) => {
                    if let Some(limit) = unheard.limit() {
                        self.cells.limit_hits.inc(limit);
                    }
                    (unheard.alert(), unheard.word())
                }
            };
        self.cells.own.inc(reason);
        if let Some(alert) = alert {
            last_words(stream, &alert).await;
        }
        Err(reason)
    }

    /// The route of a name; the listener's own pool where it has none, or there is none.
    pub(super) fn led<'a>(&'a self, names: &'a Names, name: Option<&str>) -> Option<&'a Route> {
        name.and_then(|name| names.find(name)).or(self.default.as_ref())
    }

    async fn carry(
        &self,
        (client, mut upstream): (&mut Stream, Link),
        first: Chunk,
        lease: Lease,
        watch: &Watch,
        report: &mut Report<'_>,
    ) {
        let timeout = &report.target.map_or(&self.effective, |target| &target.effective).timeout;
        let how = TwoWay { idle: timeout.tunnel.get(), max: timeout.tunnel_max.get() };
        let mut timer = Timer::new();
        let (received, sent) =
            (std::sync::atomic::AtomicU64::new(0), std::sync::atomic::AtomicU64::new(0));
        let told = self.compat.haproxy.then(|| lease.backend().clone());
        let moved = |there: u64, back: u64| {
            self.cells.received.add(there);
            self.cells.sent.add(back);
            received.fetch_add(there, Relaxed);
            sent.fetch_add(back, Relaxed);
            if let Some(backend) = &told {
                backend.cells.told.moved(there, back);
            }
        };
        let copied = tokio::select! {
            biased;
            copied = two_way(client, &mut upstream, first, Chunk::none(), how, &mut timer, &moved) => Some(copied),
            () = watch.cut() => None,
            () = lease.over() => None,
        };
        (report.received, report.sent) = (received.into_inner(), sent.into_inner());
        let (reason, outcome) = verdict(copied.as_ref());
        report.reason = reason;
        if let Some(backend) = &told {
            backend.cells.told.ended(reason, report.begun.elapsed(), report.connect, None);
        }
        if reason != "-" {
            client.reset_on_close();
            upstream.reset_on_close();
        }
        lease.settle(outcome);
    }
}

/// Finds a backend that takes the connection: another one each time, up to `retry.attempts`.
async fn reach(
    target: &Target,
    arrival: &Arrival,
    (stream, watch): (&mut Stream, &Watch),
    dialer: &Dialer,
    report: &mut Report<'_>,
) -> Result<(Lease, Link), &'static str> {
    let (hash, here) = (target.hash(arrival.peer), stream.local_addr());
    let seed = fastrand::u64(..);
    let connect = target.effective.timeout.connect.get();
    let mut tried: Vec<BackendId> = Vec::new();
    let mut reason = "no_backend";
    let retry = &target.effective.retry;
    let attempts = if retry.on.connect { retry.attempts } else { 1 };
    while (tried.len() as u32) < attempts {
        let now = Instant::now();
        let ask = Ask::new(now, seed).hash(hash).avoid(&tried);
        let wait = now + connect.unwrap_or(Duration::from_secs(2));
        let lease = tokio::select! {
            biased;
            lease = target.pool.lease_in_turn(&ask, wait, None) => lease,
            () = watch.cut() => return Err("drain_cut"),
            () = left(stream, &target.pool) => return Err("client_gone"),
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(NoLease::Full) if tried.is_empty() => return Err("max_active"),
            Err(NoLease::Queue) if tried.is_empty() => return Err("queue"),
            Err(_) => return Err(reason),
        };
        if here.is_some_and(|here| itself::comes_back(here, lease.backend())) {
            reason = "loop";
            report.backend = Some(lease.backend().name.clone());
            tried.push(lease.backend().id);
            lease.settle(Outcome::Stale);
            continue;
        }
        if report.tries > 0 {
            target.pool.retries_connect.inc();
        }
        report.tries += 1;
        report.backend = Some(lease.backend().name.clone());
        // For each try: a reload may have changed what is said.
        let header = || header(arrival, stream, report.sni.as_deref());
        let header = target.pool.announces().map(|version| header().write(version));
        match dialer.stream(&lease, connect, header.as_ref()).await {
            Ok(upstream) => {
                report.connect = Some(now.elapsed());
                return Ok((lease, upstream));
            }
            Err(upstream::Error::Changed) => {
                report.tries -= 1;
                lease.settle(Outcome::Stale);
            }
            Err(error) => {
                reason = error.word();
                tried.push(lease.backend().id);
                lease.settle(Outcome::NotReached);
            }
        }
    }
    Err(reason)
}

/// Waits until nobody waits any more. From a FIN it cannot be told whether its client still listens:
/// it counts where the queue's rules say so.
async fn left(stream: &mut Stream, pool: &Pool) {
    if pool.config().queue.is_some_and(|queue| queue.abort_on_close) {
        poll_fn(|cx| stream.poll_closed(cx)).await;
    } else {
        stream.broken().await;
    }
}

/// What a backend is told of a client; of one that asks it for TLS itself, the name too.
fn header(arrival: &Arrival, stream: &Stream, sni: Option<&str>) -> Header {
    let mut header = arrival.header(stream);
    if let Some(name) = sni {
        header.tlvs.authority = Some(name.as_bytes().into());
    }
    header
}

/// The limit that this reason tells of, by the last word of its key.
fn limit(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "max_active" => "max_active",
        "queue" => "queue",
        "timeout_connect" => "connect",
        "timeout_tunnel" => "tunnel",
        "timeout_tunnel_max" => "tunnel_max",
        _ => return None,
    })
}

/// How a connection ended, for the log and for the backend. A reset by the client teaches nothing.
fn verdict(copied: Option<&Copied>) -> (&'static str, Outcome) {
    let is_empty = |c: &Copied| c.right_first && c.right_to_left == 0 && c.left_to_right > 0;
    match copied.map(|c| c.ended) {
        // Who hears of it may say so in any way.
        Some(_) if copied.is_some_and(is_empty) => ("no_answer", Outcome::Empty),
        Some(Ended::Done | Ended::Closed) => ("-", Outcome::Closed),
        Some(Ended::Idle) => ("timeout_tunnel", Outcome::Closed),
        Some(Ended::Max) => ("timeout_tunnel_max", Outcome::Closed),
        Some(Ended::Left(_)) => ("client_reset", Outcome::Abandoned),
        Some(Ended::Right(_)) => ("upstream_reset", Outcome::Failed),
        None => ("drain_cut", Outcome::Abandoned),
    }
}

//! What happens to one TCP connection: lease, dial, copy both ways, settle, one access line.
use crate::config::{Config, Effective, KeyPart, Listener, Name, Problem};
use crate::drain::Watch;
use crate::message::Chunk;
use crate::metrics::ListenerCells;
use crate::net::{Copied, Ended, Peer, Stream, Timer, TwoWay, two_way};
use crate::pool::{Ask, BackendId, Lease, NoLease, Outcome, Pool, client_hash};
use crate::telemetry::{Access, AccessLog};
use crate::upstream::{Dialer, Link};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The service of a tcp listener.
#[derive(Debug)]
pub struct Relay {
    /// The listener's name.
    pub listener: Name,
    /// Where it goes.
    pub pool: Arc<Pool>,
    /// What holds.
    pub effective: Effective,
    /// What is counted.
    pub cells: Arc<ListenerCells>,
    /// The parts of a hash key that a connection has; empty where the policy wants none.
    key: Vec<KeyPart>,
    /// Only the first part that is present counts.
    first: bool,
}

/// What is known of a connection at its end.
struct Report {
    begun: Instant,
    backend: Option<Name>,
    tries: u32,
    connect: Option<Duration>,
    received: u64,
    sent: u64,
    reason: &'static str,
}

impl Relay {
    /// Compiles a tcp listener.
    ///
    /// # Errors
    ///
    /// A missing or unknown pool.
    pub fn compile(
        listener: &Listener,
        config: &Config,
        pools: &BTreeMap<Name, Arc<Pool>>,
        cells: Arc<ListenerCells>,
    ) -> Result<Self, Vec<Problem>> {
        let missing = || {
            vec![Problem::new(
                &listener.at,
                format!("listener.{}.pool", listener.name),
                "names no pool",
            )]
        };
        let said = listener.pool.as_ref().ok_or_else(missing)?;
        let pool = pools.get(&said.name).ok_or_else(missing)?;
        let section = config.pools.get(&said.name).ok_or_else(missing)?;
        Ok(Self {
            listener: listener.name.clone(),
            pool: pool.clone(),
            effective: Effective::layered([&config.defaults, &listener.over, &section.over]),
            cells,
            key: section.balance.hash.as_ref().map_or_else(Vec::new, |hash| hash.key.clone()),
            first: section.balance.hash.as_ref().is_some_and(|hash| hash.first),
        })
    }

    /// Carries one connection to its end.
    pub async fn serve(
        &self,
        mut stream: Stream,
        peer: Peer,
        watch: &Watch,
        dialer: &Dialer,
        access: &AccessLog,
    ) {
        let mut report = Report {
            begun: Instant::now(),
            backend: None,
            tries: 0,
            connect: None,
            received: 0,
            sent: 0,
            reason: "-",
        };
        match self.reach(peer, dialer, &mut report).await {
            Ok((lease, upstream)) => {
                self.carry(&mut stream, upstream, lease, watch, &mut report).await
            }
            Err(reason) => report.reason = reason,
        }
        if report.reason == "no_backend" || report.reason == "max_active" {
            self.cells.own.inc(report.reason);
            if report.reason == "max_active" {
                self.cells.limit_hits.inc("max_active");
            }
        }
        self.log(peer, &report, access);
    }

    /// Finds a backend that takes the connection: another one each time, up to `retry.attempts`.
    async fn reach(
        &self,
        peer: Peer,
        dialer: &Dialer,
        report: &mut Report,
    ) -> Result<(Lease, Link), &'static str> {
        let hash = self.hash(peer);
        let seed = fastrand::u64(..);
        let connect = self.effective.timeout.connect.get();
        let mut tried: Vec<BackendId> = Vec::new();
        let mut reason = "no_backend";
        let retry = &self.effective.retry;
        let attempts = if retry.on.connect { retry.attempts } else { 1 };
        while (tried.len() as u32) < attempts {
            let now = Instant::now();
            let ask = Ask::new(now, seed).hash(hash).avoid(&tried);
            let wait = now + connect.unwrap_or(Duration::from_secs(2));
            let lease = match self.pool.lease_by(&ask, wait).await {
                Ok(lease) => lease,
                Err(NoLease::Full) if tried.is_empty() => return Err("max_active"),
                Err(_) => return Err(reason),
            };
            if report.tries > 0 {
                self.pool.retries_connect.inc();
            }
            report.tries += 1;
            report.backend = Some(lease.backend().name.clone());
            match dialer.stream(&lease, connect).await {
                Ok(upstream) => {
                    report.connect = Some(now.elapsed());
                    return Ok((lease, upstream));
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

    fn hash(&self, peer: Peer) -> Option<u64> {
        let Peer::Ip(addr) = peer else { return None };
        client_hash(&self.key, self.first, addr)
    }

    async fn carry(
        &self,
        client: &mut Stream,
        mut upstream: Link,
        lease: Lease,
        watch: &Watch,
        report: &mut Report,
    ) {
        let timeout = &self.effective.timeout;
        let how = TwoWay { idle: timeout.tunnel.get(), max: timeout.tunnel_max.get() };
        let mut timer = Timer::new();
        let (received, sent) =
            (std::sync::atomic::AtomicU64::new(0), std::sync::atomic::AtomicU64::new(0));
        let moved = |there: u64, back: u64| {
            use std::sync::atomic::Ordering::Relaxed;
            self.cells.received.add(there);
            self.cells.sent.add(back);
            received.fetch_add(there, Relaxed);
            sent.fetch_add(back, Relaxed);
        };
        let copied = tokio::select! {
            biased;
            copied = two_way(client, &mut upstream, Chunk::none(), Chunk::none(), how, &mut timer, &moved) => Some(copied),
            () = watch.cut() => None,
            () = lease.over() => None,
        };
        (report.received, report.sent) = (received.into_inner(), sent.into_inner());
        let (reason, outcome) = verdict(copied.as_ref());
        report.reason = reason;
        if reason != "-" {
            client.reset_on_close();
            upstream.reset_on_close();
        }
        lease.settle(outcome);
    }

    fn log(&self, peer: Peer, report: &Report, access: &AccessLog) {
        if !access.is_on() {
            return;
        }
        let duration = report.begun.elapsed();
        access.write(&Access {
            time: SystemTime::now() - duration,
            client: match peer {
                Peer::Ip(addr) => Some(addr),
                Peer::Unix => None,
            },
            method: b"-",
            target: b"-",
            host: b"",
            status: 0,
            reason: report.reason,
            listener: &self.listener,
            route: "-",
            pool: &self.pool.name,
            backend: report.backend.as_deref().unwrap_or("-"),
            tries: report.tries,
            bytes_in: report.received,
            bytes_out: report.sent,
            duration,
            connect: report.connect,
            first_byte: None,
            request_id: b"",
        });
    }
}

/// How a connection ended, for the log and for the backend. A reset by the client teaches nothing.
fn verdict(copied: Option<&Copied>) -> (&'static str, Outcome) {
    match copied.map(|c| c.ended) {
        Some(Ended::Done) => ("-", Outcome::Closed),
        Some(Ended::Idle) => ("timeout_tunnel", Outcome::Closed),
        Some(Ended::Max) => ("timeout_tunnel_max", Outcome::Closed),
        Some(Ended::Left(_)) => ("client_reset", Outcome::Abandoned),
        Some(Ended::Right(_)) => ("upstream_reset", Outcome::Failed),
        None => ("drain_cut", Outcome::Abandoned),
    }
}

//! One session: what its client sends goes to one backend, and to another one when that is gone.
use super::held::Held;
use super::ours::Ours;
use super::relay::Relay;
use super::ring::Ring;
use super::way::{Heard, Way};
use crate::config::Name;
use crate::drain::{Phase, Watch};
use crate::net::{Batch, Flow};
use crate::pool::{Ask, BackendId, Lease, NoLease, Outcome};
use crate::telemetry::{Access, AccessLog, since_1970};
use crate::upstream::{Error, not_reached};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Datagrams of one session taken in its turn, so that none keeps the others waiting.
const TURN: usize = 8;
/// Waits for a first verdict where `timeout.connect` is off.
const VERDICT: Duration = Duration::from_secs(2);

/// A lease that is waited for.
type Waiting = Pin<Box<dyn Future<Output = Result<Lease, NoLease>> + Send>>;

/// What becomes of a session, or why it ends.
pub(super) type Verdict = Result<(), &'static str>;

/// One client's session. `P` is its place among the others.
pub(super) struct Session<P> {
    pub(super) relay: Arc<Relay>,
    _place: P,
    watch: Watch,
    ring: Arc<Ring>,
    waker: Waker,
    flow: Flow,
    hash: Option<u64>,
    way: Option<Way>,
    waiting: Option<Waiting>,
    held: Held,
    /// Backends that were not reached since one last answered.
    tried: Vec<BackendId>,
    /// A backend has sent something.
    heard: bool,
    /// The client has sent something after that.
    known: bool,
    /// The last datagram was the client's.
    asked: bool,
    report: Report,
}

/// What is known of a session at its end.
struct Report {
    begun: Instant,
    backend: Option<Name>,
    tries: u32,
    first: Option<Duration>,
    received: u64,
    sent: u64,
}

impl<P> Session<P> {
    pub(super) fn new(
        relay: Arc<Relay>,
        (place, watch): (P, Watch),
        ring: Arc<Ring>,
        flow: Flow,
        now: Instant,
    ) -> Self {
        let waker = Waker::from(ring.clone());
        watch.register(&mut Context::from_waker(&waker));
        // What was said to the group before is heard at the first look.
        ring.ring();
        let hash = relay.hash(flow.peer);
        Self {
            relay,
            _place: place,
            watch,
            ring,
            waker,
            flow,
            hash,
            way: None,
            waiting: None,
            held: Held::default(),
            tried: Vec::new(),
            heard: false,
            known: false,
            asked: false,
            report: Report {
                begun: now,
                backend: None,
                tries: 0,
                first: None,
                received: 0,
                sent: 0,
            },
        }
    }

    /// Whether its client spoke again after an answer.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Whether its listener ends and nothing of it is in flight.
    pub(super) fn is_leaving(&self) -> bool {
        !self.asked && self.watch.phase() == Phase::Graceful
    }

    /// One datagram of the client; `relay` is the service in force. `Ok(false)`: it went no further.
    ///
    /// # Errors
    ///
    /// The session ends.
    pub(super) fn forward(
        &mut self,
        bytes: &[u8],
        relay: &Arc<Relay>,
        ours: &Ours,
        now: Instant,
    ) -> Result<bool, &'static str> {
        self.report.received += bytes.len() as u64;
        self.relay.cells.received.add(bytes.len() as u64);
        self.known |= self.heard;
        self.asked = true;
        self.rest(now);
        if self.way.as_ref().is_some_and(Way::is_over) {
            self.way = None;
            self.tried.clear();
            // Another backend is chosen by what holds now, unless its listener is another one.
            if Arc::ptr_eq(&relay.cells, &self.relay.cells) {
                self.relay = relay.clone();
                self.hash = relay.hash(self.flow.peer);
            }
        }
        let answered = self.way.as_ref().is_some_and(|way| way.answered);
        let kept = !answered && self.held.push(bytes, now);
        if let Some(way) = &self.way {
            match way.send(bytes) {
                Ok(sent) => return Ok(sent),
                Err(error) => self.lost(error)?,
            }
        } else if self.waiting.is_some() {
            return Ok(kept);
        }
        let kept = kept || self.held.push(bytes, now);
        self.resend(ours, now)?;
        Ok(kept)
    }

    /// Asks a backend what was asked in vain so far.
    fn resend(&mut self, ours: &Ours, now: Instant) -> Verdict {
        loop {
            if self.way.is_none() {
                self.lease(ours, now)?;
            }
            let Some(way) = &self.way else { return Ok(()) };
            let failed = self.held.all().find_map(|bytes| way.send(bytes).err());
            match failed {
                Some(error) => self.lost(error)?,
                None => return Ok(()),
            }
        }
    }

    /// Finds a backend, or begins to wait for one.
    fn lease(&mut self, ours: &Ours, now: Instant) -> Verdict {
        loop {
            let seed = fastrand::u64(..);
            let ask = Ask::new(now, seed).hash(self.hash).avoid(&self.tried);
            match self.relay.pool.lease(&ask) {
                Ok(lease) => {
                    if self.open(lease, ours, now)? {
                        return Ok(());
                    }
                }
                Err(NoLease::Pending) => return self.wait(seed, now),
                Err(none) => return Err(self.refused(none)),
            }
        }
    }

    fn refused(&self, none: NoLease) -> &'static str {
        match none {
            NoLease::Full if self.tried.is_empty() => "max_active",
            _ if self.tried.is_empty() => "no_backend",
            _ => "connect",
        }
    }

    /// Who is usable is about to be known.
    fn wait(&mut self, seed: u64, now: Instant) -> Verdict {
        let (pool, hash, tried) = (self.relay.pool.clone(), self.hash, self.tried.clone());
        let until = now + self.relay.connect.unwrap_or(VERDICT);
        self.waiting = Some(Box::pin(async move {
            let ask = Ask::new(now, seed).hash(hash).avoid(&tried);
            pool.lease_by(&ask, until).await
        }));
        self.ring.ring();
        Ok(())
    }

    /// Opens the way of a lease; `false` when another one may be tried.
    fn open(&mut self, lease: Lease, ours: &Ours, now: Instant) -> Result<bool, &'static str> {
        if !self.tried.is_empty() {
            self.relay.pool.retries_connect.inc();
        }
        self.report.tries += 1;
        self.report.backend = Some(lease.backend().name.clone());
        let addr = lease.backend().dial().and_then(|(target, _)| target.addr());
        if addr.is_some_and(|addr| ours.is_listener(addr)) {
            return Err("loop");
        }
        match Way::open(lease, addr, now) {
            Ok(way) => {
                self.way = Some(way);
                // From its first look on the socket rings by itself.
                self.ring.ring();
                Ok(true)
            }
            Err(failed) => {
                let (lease, error) = *failed;
                self.missed(lease, &error)?;
                Ok(false)
            }
        }
    }

    /// The backend cannot be reached: another one is tried if nothing was heard of this one yet.
    fn lost(&mut self, error: std::io::Error) -> Verdict {
        let Some(way) = self.way.take() else { return Ok(()) };
        let (answered, addr) = (way.answered, way.addr);
        let Some(lease) = way.end() else { return Ok(()) };
        lease.backend().missed(addr);
        let missed = self.missed(lease, &Error::Connect(error));
        if answered {
            // It went under way: the client's next datagram finds another one.
            self.tried.clear();
            return Ok(());
        }
        missed
    }

    fn missed(&mut self, lease: Lease, error: &Error) -> Verdict {
        not_reached(&lease, error);
        self.tried.push(lease.backend().id);
        let local = matches!(error, Error::Local(_));
        lease.settle(if local { Outcome::Abandoned } else { Outcome::NotReached });
        if local || self.tried.len() >= self.relay.attempts() { Err(error.word()) } else { Ok(()) }
    }

    /// It rang: a lease, answers, the end. Answers are put into the batch from place `at` on; how
    /// many there are.
    ///
    /// # Errors
    ///
    /// The session ends.
    pub(super) fn look(
        &mut self,
        batch: &mut Batch,
        at: usize,
        room: usize,
        ours: &Ours,
        now: Instant,
    ) -> Result<usize, &'static str> {
        self.ring.answer();
        match self.watch.phase() {
            Phase::Cut => return Err("drain_cut"),
            Phase::Run if self.watch.is_told_to_leave() => return Err("gave_way"),
            _ => {}
        }
        self.verdict(ours, now)?;
        let Some(way) = &self.way else { return Ok(0) };
        match way.hear((&self.ring, &self.waker), batch, at, room.min(TURN)) {
            Heard::Some(0) => Ok(0),
            Heard::Some(count) => {
                self.answer(batch, at, count, now);
                Ok(count)
            }
            Heard::Lost(error) => {
                let unanswered = !way.answered;
                self.lost(error)?;
                if unanswered {
                    self.resend(ours, now)?;
                }
                Ok(0)
            }
        }
    }

    /// Whether the lease that is waited for has come.
    fn verdict(&mut self, ours: &Ours, now: Instant) -> Verdict {
        let Some(waiting) = &mut self.waiting else { return Ok(()) };
        let Poll::Ready(taken) = waiting.as_mut().poll(&mut Context::from_waker(&self.waker))
        else {
            return Ok(());
        };
        self.waiting = None;
        match taken {
            Ok(lease) => drop(self.open(lease, ours, now)?),
            Err(none) => return Err(self.refused(none)),
        }
        self.resend(ours, now)
    }

    /// One whose client may be forged gives way to whoever wants its place in the process.
    fn rest(&self, now: Instant) {
        if self.known {
            self.watch.busy();
        } else {
            self.watch.idle(now);
        }
    }

    /// Answers are on their way to the client.
    fn answer(&mut self, batch: &mut Batch, at: usize, count: usize, now: Instant) {
        let bytes: usize = (at..at + count).map(|i| batch.bytes(i).len()).sum();
        (at..at + count).for_each(|i| batch.address(i, self.flow));
        self.report.sent += bytes as u64;
        self.relay.cells.sent.add(bytes as u64);
        (self.heard, self.asked) = (true, false);
        self.rest(now);
        if let Some(way) = self.way.as_mut().filter(|way| !way.answered) {
            way.first(now);
            self.held.clear();
            self.tried.clear();
            let took = now.saturating_duration_since(self.report.begun);
            self.report.first.get_or_insert(took);
        }
    }

    /// Looked at now and then.
    ///
    /// # Errors
    ///
    /// The session ends.
    pub(super) fn age(&mut self, now: Instant) -> Verdict {
        self.held.age(now);
        let lease = self.way.as_ref().and_then(Way::lease);
        if lease.is_some_and(Lease::is_over) { Err("drain_cut") } else { Ok(()) }
    }

    /// Its reason when nothing moved for its time.
    pub(super) fn idle_reason(&self) -> &'static str {
        if self.heard { "-" } else { "no_answer" }
    }

    /// Says in the access log that it is over.
    pub(super) fn log(&self, reason: &'static str, access: &AccessLog) {
        if matches!(reason, "no_backend" | "max_active") {
            self.relay.cells.own.inc(reason);
            if reason == "max_active" {
                self.relay.cells.limit_hits.inc("max_active");
            }
        }
        if !access.takes(reason != "-") {
            return;
        }
        let report = &self.report;
        let duration = report.begun.elapsed();
        access.write(&Access {
            time: since_1970(report.begun),
            client: Some(self.flow.peer),
            method: b"-",
            target: b"-",
            host: b"",
            status: 0,
            reason,
            listener: &self.relay.listener,
            route: "-",
            pool: &self.relay.pool.name,
            backend: report.backend.as_deref().unwrap_or("-"),
            tries: report.tries,
            bytes_in: report.received,
            bytes_out: report.sent,
            duration,
            connect: None,
            first_byte: report.first,
            request_id: b"",
            tls: "",
            sni: b"",
            proxy: "",
            place: None,
        });
    }
}

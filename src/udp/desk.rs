//! The task of one socket of a udp listener: it leads each datagram to its session and sends the
//! sessions' answers.
use super::book::{Book, Class, classes};
use super::ours::Ours;
use super::relay::Relay;
use super::ring::{Hub, Ring};
use super::session::Session;
use super::threshold::Threshold;
use crate::drain::Opening;
use crate::net::{BATCH, Batch, Door, Flow, Timer, with_batch};
use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Turns between two looks at what else the worker has to do.
const TURNS: usize = 8;
/// Every session is looked at so often: whether its backend's time is over, for copies too old.
const ROUND: Duration = Duration::from_secs(1);
/// While its listener ends, a session that was answered is over when nothing moved for so long.
const QUIET: Duration = Duration::from_secs(1);

/// Leads the datagrams of one socket.
pub struct Desk<T: Threshold> {
    socket: Arc<AsyncFd<OwnedFd>>,
    door: Door,
    threshold: T,
    /// What is done with newcomers, and whether clients are heard at all.
    opening: Opening,
    hub: Arc<Hub>,
    ready: Vec<u32>,
    book: Book<Session<T::Place>>,
    timer: Timer,
    /// When every session is looked at next.
    round: Instant,
}

impl<T: Threshold> Desk<T> {
    /// For one socket of a listener.
    pub fn new(socket: Arc<AsyncFd<OwnedFd>>, door: Door, threshold: T) -> Self {
        Self {
            socket,
            door,
            threshold,
            opening: Opening::Open,
            hub: Arc::default(),
            ready: Vec::new(),
            book: Book::default(),
            timer: Timer::new(),
            round: Instant::now(),
        }
    }

    /// Works until `closing` has no sender any more.
    pub async fn run(mut self, mut closing: watch::Receiver<Opening>) {
        loop {
            self.opening = *closing.borrow_and_update();
            tokio::select! {
                biased;
                changed = closing.changed() => if changed.is_err() { break },
                () = poll_fn(|cx| self.poll(cx)) => {}
            }
        }
        for at in self.book.all() {
            self.end(at, "drain_cut");
        }
    }

    /// Never ready: whoever waits for it waits for something else, too.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.hub.register(cx.waker());
        for _ in 0..TURNS {
            let now = Instant::now();
            let answered = with_batch(|batch| self.answers(batch, now));
            let asked = with_batch(|batch| self.take(batch, cx, now));
            if !answered && !asked {
                if self.is_quiet(cx, now) {
                    return Poll::Pending;
                }
                self.tick(Instant::now());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What backends sent, to clients. Whether anybody rang.
    fn answers(&mut self, batch: &mut Batch, now: Instant) -> bool {
        self.hub.take(&mut self.ready);
        if self.ready.is_empty() {
            return false;
        }
        let ours = self.threshold.ours();
        let mut filled = 0;
        let mut ready = std::mem::take(&mut self.ready);
        for at in ready.drain(..) {
            if filled == BATCH {
                self.send(batch, filled);
                filled = 0;
            }
            let Some(session) = self.book.get(at) else { continue };
            match session.look(batch, filled, BATCH - filled, &ours, now) {
                Ok(0) => self.place(at, None),
                Ok(count) => {
                    filled += count;
                    self.place(at, Some(now));
                }
                Err(reason) => self.end(at, reason),
            }
        }
        self.ready = ready;
        self.send(batch, filled);
        true
    }

    fn send(&mut self, batch: &mut Batch, count: usize) {
        if count == 0 {
            return;
        }
        let sent = batch.send(self.socket.get_ref().as_fd(), count);
        if sent.dropped > 0 {
            let relay = self.threshold.relay();
            (0..sent.dropped).for_each(|_| relay.cells.dropped.inc("client_unreachable"));
        }
    }

    /// What clients sent, to backends. Whether there was anything.
    fn take(&mut self, batch: &mut Batch, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.opening == Opening::Paused {
            return false;
        }
        let socket = self.socket.clone();
        let Poll::Ready(Ok(mut guard)) = socket.poll_read_ready(cx) else { return false };
        let count = match batch.receive(socket.get_ref().as_fd(), self.door) {
            Ok(count) => count,
            Err(_) => {
                guard.clear_ready();
                return true;
            }
        };
        if count < BATCH {
            guard.clear_ready();
        }
        let (relay, ours) = (self.threshold.relay(), self.threshold.ours());
        for i in 0..count {
            match batch.flow(i) {
                Some(flow) => self.one(flow, batch.bytes(i), &relay, &ours, now),
                None => relay.cells.dropped.inc("no_address"),
            }
        }
        true
    }

    /// One datagram of a client.
    fn one(&mut self, flow: Flow, bytes: &[u8], relay: &Arc<Relay>, ours: &Ours, now: Instant) {
        let at = match self.book.find(&flow) {
            Some(at) => at,
            None => match self.begin(flow, relay, ours, now) {
                Ok(at) => at,
                Err(why) => return relay.cells.dropped.inc(why),
            },
        };
        let Some(session) = self.book.get(at) else { return };
        match session.forward(bytes, relay, ours, now) {
            Ok(true) => {}
            Ok(false) => relay.cells.dropped.inc("backend_unreachable"),
            Err(reason) => {
                relay.cells.dropped.inc(reason);
                return self.end(at, reason);
            }
        }
        self.place(at, Some(now));
    }

    /// A session for a client that has none, or why there is none.
    fn begin(
        &mut self,
        flow: Flow,
        relay: &Arc<Relay>,
        ours: &Ours,
        now: Instant,
    ) -> Result<u32, &'static str> {
        if self.opening != Opening::Open {
            return Err("closing");
        }
        if ours.is_ours(flow.peer) {
            return Err("loop");
        }
        let client = flow.peer.ip();
        let admitted = match self.threshold.admit(client) {
            Ok(admitted) => admitted,
            Err(limit) => {
                relay.cells.limit_hits.inc(limit);
                let quietest = match limit {
                    "per_client" => self.book.quietest_of(client),
                    _ => self.book.quietest(Class::New).map(|(at, _)| at),
                };
                self.end(quietest.ok_or(limit)?, "gave_way");
                self.threshold.admit(client)?
            }
        };
        let ring = Ring::new(&self.hub, self.book.next());
        relay.cells.accepted.inc();
        let session = Session::new(relay.clone(), admitted, ring, flow, now);
        Ok(self.book.begin(flow, now, session))
    }

    /// Puts a session where it belongs; `moved`: something of it moved at that moment.
    fn place(&mut self, at: u32, moved: Option<Instant>) {
        let Some(session) = self.book.get(at) else { return };
        let class = match (session.is_leaving(), session.is_known()) {
            (true, _) => Class::Leaving,
            (false, true) => Class::Known,
            (false, false) => Class::New,
        };
        match moved {
            Some(now) => self.book.touch(at, class, now),
            None if class == Class::Leaving => self.book.touch(at, class, Instant::now()),
            None => {}
        }
    }

    fn end(&mut self, at: u32, reason: &'static str) {
        if let Some((_, session)) = self.book.end(at) {
            session.log(reason, self.threshold.access());
        }
    }

    /// Whether nothing is due; the task is woken when something is.
    fn is_quiet(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let idle = self.threshold.relay().sessions.idle;
        let due = classes()
            .into_iter()
            .filter_map(|class| Some(self.book.quietest(class)?.1 + limit(class, idle)));
        let round = (self.book.len() > 0).then_some(self.round);
        let next = due.chain(round).min();
        self.timer.set(next);
        next.is_none_or(|next| next > now) && self.timer.poll(cx).is_pending()
    }

    /// Ends who was idle for too long, and now and then looks at everybody.
    fn tick(&mut self, now: Instant) {
        let idle = self.threshold.relay().sessions.idle;
        for class in classes() {
            while let Some((at, since)) = self.book.quietest(class)
                && now.saturating_duration_since(since) >= limit(class, idle)
            {
                let reason = self.book.get(at).map_or("-", |session| session.idle_reason());
                self.end(at, reason);
            }
        }
        if now < self.round {
            return;
        }
        self.round = now + ROUND;
        for at in self.book.all() {
            if let Some(Err(reason)) = self.book.get(at).map(|session| session.age(now)) {
                self.end(at, reason);
            }
        }
    }
}

/// How long a session of a class may be quiet.
fn limit(class: Class, idle: Duration) -> Duration {
    match class {
        Class::New | Class::Known => idle,
        Class::Leaving => QUIET.min(idle),
    }
}

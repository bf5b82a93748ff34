//! One HTTP/2 connection to a backend: who is on it, whether it lives, and its end.
use super::link::Link;
use super::span::Span;
use crate::config::KeepAlive;
use crate::http2::Kind;
use crate::mux::{Mux, Wire};
use crate::pool::{Backend, Place};
use crate::reach::Reach;
use crate::reach::http2::{HeadMost, Spoken};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// Once nobody is on it and it leaves, its last frames may take so long.
const FAREWELL: Duration = Duration::from_secs(5);
/// A silence that goes on is not asked about more often: servers of gRPC take more for an attack
/// and close (`too_many_pings`).
const PING_AGAIN: Duration = Duration::from_secs(300);
/// What the answer to a PING alone amounts to on the wire: 9 bytes of a frame's head, and 8.
const PONG: u64 = 17;

/// One HTTP/2 connection to a backend.
pub(super) struct Conn {
    backend: Arc<Backend>,
    place: Place,
    reach: u64,
    is_tls: bool,
    most: HeadMost,
    born: Instant,
    ping: Option<Duration>,
    mux: Mux,
    ended: Arc<AtomicBool>,
    /// It was ended for small frames that cost us more than they carried.
    flooded: Arc<AtomicBool>,
    task: AbortHandle,
    state: Arc<Mutex<State>>,
    /// How many requests it gets, once it stands among others.
    span: OnceLock<Arc<Span>>,
}

struct State {
    /// It leaves: it ends with the last request on it.
    leaves: bool,
    /// Requests on it.
    active: usize,
    /// Requests that it got.
    all: usize,
    /// As many as are let on.
    limit: usize,
    /// Since when it is idle, or leaves.
    since: Instant,
    /// While it is idle, and neither leaves nor has ended.
    idle: Option<Idle>,
    pulse: Pulse,
}

/// An idle connection, counted for as long as this lives.
struct Idle(Arc<Backend>);

impl Idle {
    fn new(backend: &Arc<Backend>) -> Self {
        backend.cells.idle.add(1);
        Self(backend.clone())
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.0.cells.idle.add(-1);
    }
}

/// Whether the peer is there.
struct Pulse {
    /// Bytes that had come at the last look, and when that was found.
    bytes: u64,
    heard: Instant,
    /// When it was asked last, the bytes that had come then, and whether the answer is awaited.
    asked: Option<(Instant, u64, bool)>,
}

impl Conn {
    /// Carries a connection in a task of its own.
    pub(super) fn carry(
        spoken: Spoken<Link>,
        reach: &Reach,
        most: HeadMost,
        (backend, place): (&Arc<Backend>, Place),
        born: Instant,
    ) -> Arc<Self> {
        let said = reach.http2();
        let ended = Arc::new(AtomicBool::new(false));
        let flooded = Arc::new(AtomicBool::new(false));
        let Spoken { mux, wire } = spoken;
        let pulse = Pulse { bytes: mux.seen(), heard: born, asked: None };
        let state = Arc::new(Mutex::new(State {
            leaves: false,
            active: 0,
            all: 0,
            limit: said.streams,
            since: born,
            idle: Some(Idle::new(backend)),
            pulse,
        }));
        let (end, flood) = (ended.clone(), flooded.clone());
        let over = Over { ended: end, flooded: flood, state: Arc::downgrade(&state) };
        let task = tokio::spawn(drive(wire, mux.clone(), over));
        Arc::new(Self {
            backend: backend.clone(),
            place,
            reach: reach.number,
            is_tls: reach.is_tls(),
            most,
            born,
            ping: said.ping.get(),
            mux,
            ended,
            flooded,
            task: task.abort_handle(),
            state,
            span: OnceLock::new(),
        })
    }

    /// It stands among others, from whose ends it learns.
    pub(super) fn learns(&self, span: &Arc<Span>) {
        self.span.get_or_init(|| span.clone());
    }

    fn span(&self) -> usize {
        self.span.get().map_or(usize::MAX, |span| span.get())
    }

    /// The `nth` request on it is answered.
    #[inline]
    pub(super) fn answered(&self, nth: usize) {
        if let Some(span) = self.span.get().filter(|span| nth >= span.get())
            && self.mux.takes().is_some()
        {
            span.lives(nth);
        }
    }

    /// The number of the way it was connected.
    pub(super) fn reach(&self) -> u64 {
        self.reach
    }

    /// Whether it leads to its backend still: not where the name has left that address.
    pub(super) fn is_there(&self) -> bool {
        self.backend.holds(&self.place)
    }

    /// Whether TLS is spoken on it.
    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether heads of this size may come over it.
    pub(super) fn carries(&self, most: HeadMost) -> bool {
        self.most.bytes >= most.bytes && self.most.fields >= most.fields
    }

    /// Bytes that came so far.
    pub(super) fn seen(&self) -> u64 {
        self.mux.seen()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Relaxed)
    }

    /// Whether it lives and takes no more requests at once.
    pub(super) fn is_full(&self) -> bool {
        let state = self.state.lock();
        let most = self.mux.takes().unwrap_or(0);
        !self.is_ended() && !state.leaves && state.active >= state.limit.min(most)
    }

    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        !state.leaves && state.active == 0
    }

    /// Requests that it takes at once.
    pub(super) fn room(&self) -> usize {
        self.state.lock().limit.min(self.mux.takes().unwrap_or(0)).min(self.span())
    }

    /// Whether it is past its age, or was idle for too long.
    pub(super) fn is_past(&self, keep: &KeepAlive, now: Instant) -> bool {
        let state = self.state.lock();
        let idle = keep.idle.get().is_none_or(|idle| state.since + idle <= now);
        (state.active == 0 && idle) || self.is_too_old(keep, now)
    }

    pub(super) fn is_too_old(&self, keep: &KeepAlive, now: Instant) -> bool {
        keep.max_age.get().is_some_and(|age| self.born + age <= now)
    }

    /// Gives back what is kept for further requests.
    pub(super) fn rest(&self) {
        self.mux.rest();
    }

    /// Takes a place, if there is one, and says the how manieth it is. Whoever has it may begin, also
    /// when nobody is let on any more.
    pub(super) fn enter(&self) -> Option<usize> {
        if self.is_ended() {
            return None;
        }
        let mut state = self.state.lock();
        if state.leaves {
            return None;
        }
        let Some(most) = self.mux.takes() else {
            // It said that it goes away, or broke.
            self.gone(&mut state, Instant::now());
            return None;
        };
        if state.active >= state.limit.min(most) || state.all >= self.span() {
            return None;
        }
        state.idle = None;
        state.active += 1;
        state.all += 1;
        Some(state.all)
    }

    /// What requests are begun on.
    pub(super) fn mux(&self) -> &Mux {
        &self.mux
    }

    /// Gives a place back.
    pub(super) fn exit(&self) {
        let mut state = self.state.lock();
        state.active -= 1;
        if state.active == 0 {
            state.since = Instant::now();
            // It may get no more.
            state.leaves |= state.all >= self.span();
            let lives = !state.leaves && !self.is_ended();
            state.idle = lives.then(|| Idle::new(&self.backend));
            if state.leaves {
                self.mux.leave();
            }
        }
    }

    /// Lets nobody on any more: it ends with the last request on it.
    pub(super) fn leave(&self, now: Instant) {
        self.gone(&mut self.state.lock(), now);
    }

    fn gone(&self, state: &mut State, now: Instant) {
        if let (Some(span), Some(served)) = (self.span.get(), self.mux.served())
            && !state.leaves
        {
            span.ended(served);
        }
        if !std::mem::replace(&mut state.leaves, true) {
            state.idle = None;
            if state.active == 0 {
                state.since = now;
                self.mux.leave();
            }
        }
    }

    /// The backend refused a request: it takes no more than the others.
    pub(super) fn refused(&self, now: Instant) {
        let mut state = self.state.lock();
        state.limit = state.active - 1;
        if state.limit == 0 {
            self.gone(&mut state, now);
        }
    }

    /// Asks whether the peer lives where it is waited for in vain, and ends what is dead or takes too
    /// long to end; says whether it was dead.
    pub(super) fn look(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let leaves = state.leaves && state.active == 0;
        let lost = if leaves {
            state.since + FAREWELL <= now
        } else {
            let (waits, leaves) = (state.active > 0, state.leaves);
            let lost = |ping| state.pulse.is_lost(waits, leaves, &self.mux, ping, now);
            self.ping.is_some_and(lost)
        };
        if lost {
            self.gone(&mut state, now);
            // What is on it hears of a broken connection.
            self.task.abort();
        }
        lost && !leaves
    }
}

impl Pulse {
    fn is_lost(
        &mut self,
        waits: bool,
        leaves: bool,
        mux: &Mux,
        ping: Duration,
        now: Instant,
    ) -> bool {
        let bytes = mux.seen();
        if bytes != self.bytes || !waits {
            (self.bytes, self.heard) = (bytes, now);
        }
        if leaves {
            return false;
        }
        match &mut self.asked {
            Some((at, before, awaited @ true)) => {
                *awaited = bytes == *before;
                *awaited && *at + ping <= now
            }
            asked if waits && self.heard + ping <= now => {
                let again = asked
                    .is_none_or(|(at, before, _)| bytes - before > PONG || at + PING_AGAIN <= now);
                if again {
                    mux.ping();
                    *asked = Some((now, bytes, true));
                }
                false
            }
            _ => false,
        }
    }
}

/// Says that the task has ended, however it did.
struct Over {
    ended: Arc<AtomicBool>,
    flooded: Arc<AtomicBool>,
    state: Weak<Mutex<State>>,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        // Looked at again under the lock: whoever gives the last place back then sees the end.
        if let Some(state) = self.state.upgrade() {
            state.lock().idle = None;
        }
    }
}

/// Moves its frames until it ends.
async fn drive(mut wire: Wire<Link>, mux: Mux, over: Over) {
    let ended = poll_fn(|cx| wire.poll(cx)).await;
    if let Some(fault) = mux.fault() {
        let flooded = fault.flood == Some(Kind::DataFrames);
        over.flooded.store(flooded, Relaxed);
        tracing::debug!(%fault, "an HTTP/2 connection to a backend was ended");
    } else if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP/2 connection to a backend ended");
    }
    drop(over);
}

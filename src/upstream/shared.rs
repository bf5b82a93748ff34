//! HTTP/2 connections of one worker, by backend: shared by its requests, a further one made when
//! all are full. Where backends are told of the client first, by the client too.
//!
//! Nobody dials who may expect a place on a connection that is being dialled. The locks are this
//! worker's own and never held across an await.
use super::conn::Conn;
use super::span::Span;
use crate::mux::Mux;
use crate::net::proxy_protocol::Written;
use crate::pool::{Backend, Lease, Pool};
use crate::reach::http2::HeadMost;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// Connections by whose they are.
#[derive(Default)]
pub(super) struct Shared(Mutex<HashMap<Key, Group, Spread>>);

/// Whose a connection is: the backend's address in memory (the group holds its `Arc`, so the address
/// cannot be another's), and what it was told of the client.
type Key = (usize, Option<Written>);

/// Addresses in memory are ours: a multiplication spreads them. What is said of a client is partly the
/// client's: nobody foresees where that falls.
#[derive(Default)]
struct Spread(RandomState);

struct Spreading(RandomState, u64);

impl BuildHasher for Spread {
    type Hasher = Spreading;
    fn build_hasher(&self) -> Spreading {
        Spreading(self.0.clone(), 0)
    }
}

impl Hasher for Spreading {
    fn finish(&self) -> u64 {
        self.1
    }
    fn write(&mut self, bytes: &[u8]) {
        self.write_usize(self.0.hash_one(bytes) as usize);
    }
    fn write_usize(&mut self, n: usize) {
        let wide = u128::from(self.1 ^ n as u64) * 0x9e37_79b9_7f4a_7c15;
        self.1 = wide as u64 ^ (wide >> 64) as u64;
    }
    fn write_isize(&mut self, n: isize) {
        self.write_usize(n as usize);
    }
}

/// What a request asks of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants<'a> {
    /// What its backend is to be told of the client.
    pub(super) header: Option<&'a Written>,
    /// What heads may come over it.
    pub(super) most: HeadMost,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

struct Group {
    backend: Arc<Backend>,
    pool: Arc<Pool>,
    /// Those that leave too, until they have ended.
    all: Vec<Arc<Conn>>,
    dialing: usize,
    waiting: usize,
    /// Requests that the last connection took at once.
    room: usize,
    span: Arc<Span>,
    dialled: Arc<Notify>,
}

/// What a request gets.
pub(super) enum Claim {
    /// A place on a connection.
    Slot(Slot),
    /// Nothing yet: it is to dial.
    Dial(Ticket),
    /// Nothing yet: others dial.
    Wait(Wait),
}

fn key(backend: &Arc<Backend>, header: Option<&Written>) -> Key {
    (Arc::as_ptr(backend) as usize, header.cloned())
}

impl Shared {
    /// A place on a connection, if there is one with room.
    pub(super) fn slot(&self, lease: &Lease, wants: Wants<'_>, now: Instant) -> Option<Slot> {
        let groups = self.0.lock();
        groups.get(&key(lease.backend(), wants.header))?.slot(lease, wants.most, now)
    }

    /// A place on a connection, or what is to be done to get one.
    pub(super) fn claim(self: &Arc<Self>, lease: &Lease, wants: Wants<'_>, now: Instant) -> Claim {
        let mut groups = self.0.lock();
        let key = key(lease.backend(), wants.header);
        let group = groups.entry(key.clone()).or_insert_with(|| Group {
            backend: lease.backend().clone(),
            pool: lease.pool().clone(),
            all: Vec::new(),
            dialing: 0,
            waiting: 0,
            room: usize::MAX,
            span: Arc::default(),
            dialled: Arc::default(),
        });
        if let Some(slot) = group.slot(lease, wants.most, now) {
            return Claim::Slot(slot);
        }
        // Who dials has a place of his own on what he dials.
        let shared = self.clone();
        let room = group.room.min(group.span.get());
        if group.waiting < group.dialing.saturating_mul(room - 1) {
            group.waiting += 1;
            let dialled = group.dialled.clone();
            return Claim::Wait(Wait { shared, key, dialled });
        }
        if group.all.iter().any(|conn| conn.is_full()) {
            group.pool.limit_hits.inc("streams");
        }
        group.dialing += 1;
        Claim::Dial(Ticket { shared, key })
    }

    fn with(&self, key: &Key, change: impl FnOnce(&mut Group)) {
        if let Some(group) = self.0.lock().get_mut(key) {
            change(group);
        }
    }

    /// Closes idle connections that are too old or too many, and those of backends that are gone or
    /// are spoken to in another way or elsewhere now; asks silent ones whether they live. Called each
    /// second, and when a reload has come about.
    pub(super) fn sweep(&self, now: Instant) {
        // Those of all its clients count for a backend.
        let mut idle: HashMap<usize, usize> = HashMap::new();
        self.0.lock().retain(|(backend, _), group| {
            let config = group.pool.config();
            let gone = group.pool.backend(group.backend.id).is_none();
            let reach = group.pool.reach_number();
            let keep = &config.keep_alive;
            let room = if keep.idle.get().is_some() { keep.max_idle } else { 0 };
            for _ in group.all.iter().filter(|conn| conn.is_ended() && conn.is_flooded()) {
                group.pool.limit_hits.inc("data_frames");
            }
            group.all.retain(|conn| !conn.is_ended());
            let idle = idle.entry(*backend).or_default();
            for conn in group.all.iter().rev() {
                *idle += usize::from(conn.is_idle());
                conn.rest();
                let elsewhere = conn.reach() != reach || !conn.is_there();
                let over = gone || elsewhere || conn.is_past(keep, now);
                if over || (conn.is_idle() && *idle > room) {
                    conn.leave(now);
                }
                if conn.look(now) {
                    group.pool.limit_hits.inc("ping");
                }
            }
            !group.all.is_empty() || group.dialing > 0 || group.waiting > 0
        });
    }

    /// Closes the idle connections; `false` when there was none.
    pub(super) fn shed(&self, now: Instant) -> bool {
        let mut any = false;
        for group in self.0.lock().values() {
            for conn in group.all.iter().filter(|conn| conn.is_idle()) {
                conn.leave(now);
                any = true;
            }
        }
        any
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let now = Instant::now();
        self.all.iter().for_each(|conn| conn.leave(now));
    }
}

impl Group {
    fn slot(&self, lease: &Lease, most: HeadMost, now: Instant) -> Option<Slot> {
        let reach = lease.pool().reach_number();
        let keep = &lease.pool().config().keep_alive;
        let kept = keep.idle.get().is_some() && keep.max_idle > 0;
        let fits = |conn: &&Arc<Conn>| {
            (kept || !conn.is_idle())
                && conn.reach() == reach
                && conn.is_there()
                && conn.carries(most)
                && !conn.is_too_old(keep, now)
        };
        self.all.iter().filter(fits).find_map(|conn| Slot::of(conn, true))
    }
}

/// The right to dial; whoever waits hears of its end.
pub(super) struct Ticket {
    shared: Arc<Shared>,
    key: Key,
}

impl Ticket {
    /// A connection was made: its first place. `None` where it takes nothing already.
    pub(super) fn made(self, conn: Arc<Conn>) -> Option<Slot> {
        let mut slot = None;
        self.shared.with(&self.key, |group| {
            conn.learns(&group.span);
            slot = Slot::of(&conn, false);
            group.room = conn.room().max(1);
            group.all.push(conn);
        });
        slot
    }

    /// The backend agreed to HTTP/1.1: a connection carries one request.
    pub(super) fn only_http1(self) {
        self.shared.with(&self.key, |group| group.room = 1);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.with(&self.key, |group| {
            group.dialing -= 1;
            group.dialled.notify_waiters();
        });
    }
}

/// A place in the queue for what others dial.
pub(super) struct Wait {
    shared: Arc<Shared>,
    key: Key,
    dialled: Arc<Notify>,
}

impl Wait {
    /// Ends when a dial has ended, well or not.
    pub(super) async fn dialled(self) {
        let dialled = self.dialled.notified();
        tokio::pin!(dialled);
        dialled.as_mut().enable();
        let mut dialing = 0;
        self.shared.with(&self.key, |group| dialing = group.dialing);
        if dialing > 0 {
            dialled.await;
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.shared.with(&self.key, |group| group.waiting -= 1);
    }
}

/// A place on a connection, given back when dropped.
pub(super) struct Slot {
    conn: Arc<Conn>,
    /// The how manieth request it is for.
    nth: usize,
    reused: bool,
}

impl Slot {
    fn of(conn: &Arc<Conn>, reused: bool) -> Option<Self> {
        conn.enter().map(|nth| Self { conn: conn.clone(), nth, reused })
    }

    /// What its request is begun on.
    pub(super) fn mux(&self) -> &Mux {
        self.conn.mux()
    }

    /// Whether the connection carried others before.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether its connection is by TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.conn.is_tls()
    }

    /// Bytes that came over the connection so far.
    pub(super) fn seen(&self) -> u64 {
        self.conn.seen()
    }

    /// The backend has answered.
    pub(super) fn answered(&self) {
        self.conn.answered(self.nth);
    }

    /// The backend goes away: nobody else is let on its connection.
    pub(super) fn away(&self) {
        self.conn.leave(Instant::now());
    }

    /// The backend refused the request: it takes no more than the others.
    pub(super) fn refused(&self) {
        self.conn.refused(Instant::now());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.conn.exit();
    }
}

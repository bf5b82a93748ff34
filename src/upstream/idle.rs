//! Idle connections of one worker, by backend.
//!
//! The lock is this worker's own: it is taken to push or pop one connection, never across an await.
use super::link::{Last, Link};
use crate::config::KeepAlive;
use crate::net::proxy_protocol::Written;
use crate::pool::{Allowance, Backend, Lease};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A backend that closed a kept connection under us is not trusted with unrepeatable requests on
/// kept connections for so long.
const RACE_MEMORY: Duration = Duration::from_secs(60);
/// An unrepeatable request takes a kept connection only if it was idle for less than this: servers
/// close idle connections after whole seconds.
const YOUNG: Duration = Duration::from_secs(1);

/// Nor is one that got fewer requests than this: it may close each connection after a few, and what was sent
/// again on the way to so many would have told.
const KNOWN: u64 = 64;

/// A connection that carried HEAD is used again only after so long: a server that sends the body all the
/// same may send it a moment behind the head, and the next client would take it for its answer.
const QUIET: Duration = Duration::from_millis(10);

/// While half of the budget is gone, a backend that closes more of its kept connections under requests than
/// this share of what the pool may send again gets none on them for so long, twice as long each time anew,
/// and no longer than the budget's usual window: what is left is for faults that a new connection does not
/// spare.
const WARY: Duration = Duration::from_secs(1);
/// As above.
const WARIEST: Duration = Duration::from_secs(10);
/// As above: of the half.
const OWN: f64 = 0.5;

/// Connections given back this recently may not have been seen by a sweep yet, which comes each
/// second.
const FRESH: Duration = Duration::from_secs(3);

/// What a request asks of a kept connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    /// Any: the request can be sent again.
    Any,
    /// Only one that is surely open: the request cannot be sent again.
    Sure,
}

/// A connection between two requests.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) link: Link,
    since: Instant,
    /// When it is too old to be used: idle for too long, or past its age.
    until: Option<Instant>,
}

#[derive(Debug)]
struct Shelf {
    backend: Arc<Backend>,
    keep: Arc<crate::config::Pool>,
    pool: Arc<crate::pool::Pool>,
    kept: Vec<Kept>,
    wary: Option<Wary>,
}

/// Nobody gets one.
#[derive(Clone, Copy, Debug)]
struct Wary {
    until: Instant,
    /// For how long, this time.
    length: Duration,
}

impl Wary {
    /// Whether the next time is another one after this.
    fn counts(self, now: Instant) -> bool {
        now < self.until + WARIEST
    }
}

impl Shelf {
    /// Whether nobody gets one by this request, and one that is new may be had instead.
    #[inline(always)]
    fn is_shut(&self, reuse: Reuse, now: Instant) -> bool {
        let is_wary = self.wary.is_some_and(|wary| now < wary.until);
        let shut = is_wary || (reuse == Reuse::Sure && !is_trusted(&self.backend, now));
        let renews = || self.backend.renews(self.keep.keep_alive.renew, now);
        shut && !self.kept.is_empty() && (is_wary || renews())
    }
}

/// Addresses are spread by one multiplication: the keys are ours, not a client's.
#[derive(Default)]
struct Spread(u64);
impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0.rotate_left(8) ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    fn write_usize(&mut self, n: usize) {
        self.0 = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Idle connections by backend. The key is the backend's address in memory: the shelf holds its
/// `Arc`, so the address cannot be another's.
#[derive(Default)]
pub(super) struct Idle(Mutex<HashMap<usize, Shelf, BuildHasherDefault<Spread>>>);

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Idle")
    }
}

fn key(backend: &Arc<Backend>) -> usize {
    Arc::as_ptr(backend) as usize
}

impl Idle {
    /// Takes the youngest connection that still seems open.
    pub(super) fn take(&self, backend: &Arc<Backend>, reuse: Reuse, now: Instant) -> Option<Kept> {
        let mut shelves = self.0.lock();
        let shelf = shelves.get_mut(&key(backend))?;
        if shelf.is_shut(reuse, now) {
            return None;
        }
        let reach = shelf.pool.reach_number();
        while let Some(mut kept) = shelf.kept.pop() {
            // All below it came later.
            if kept.rests(now) {
                shelf.kept.push(kept);
                return None;
            }
            backend.cells.idle.add(-1);
            // One that was made for a client is of a pool that was changed since this was asked.
            if kept.link.header().is_none() && kept.is_good(reach, reuse, now) {
                return Some(kept);
            }
            kept.close(&shelf.keep.keep_alive, now);
        }
        None
    }

    /// As [`Self::take`], of those whose backend was told of the same client.
    pub(super) fn take_for(
        &self,
        header: &Written,
        backend: &Arc<Backend>,
        reuse: Reuse,
        now: Instant,
    ) -> Option<Kept> {
        let mut shelves = self.0.lock();
        let shelf = shelves.get_mut(&key(backend))?;
        if shelf.is_shut(reuse, now) {
            return None;
        }
        let reach = shelf.pool.reach_number();
        let same = |kept: &Kept| kept.link.header() == Some(header) && !kept.rests(now);
        while let Some(at) = shelf.kept.iter().rposition(same) {
            let mut kept = shelf.kept.remove(at);
            backend.cells.idle.add(-1);
            if kept.is_good(reach, reuse, now) {
                return Some(kept);
            }
            kept.close(&shelf.keep.keep_alive, now);
        }
        None
    }

    /// Gives a connection back; closes it when there is no room.
    pub(super) fn give(&self, lease: &Lease, mut link: Link, now: Instant) {
        link.change_task();
        let backend = lease.backend();
        let mut shelves = self.0.lock();
        let shelf = shelves.entry(key(backend)).or_insert_with(|| shelf(lease));
        let keep = &shelf.keep.keep_alive;
        let until = until(keep, link.born(), now);
        let kept = Kept { link, since: now, until };
        let same_way = kept.link.reach() == lease.pool().reach_number() && kept.link.is_there();
        if !same_way || kept.is_expired(now) || kept.link.is_spoilt(now) {
            return kept.close(keep, now);
        }
        // What was kept for one client is of no use to the next: the oldest gives way.
        if kept.link.header().is_some() && shelf.kept.len() >= room(keep).max(1) {
            shelf.kept.remove(0).close(keep, now);
            backend.cells.idle.add(-1);
        }
        if shelf.kept.len() < room(keep) {
            backend.cells.idle.add(1);
            match kept.link.last() {
                // Behind the others, which are used meanwhile.
                Last::Head => shelf.kept.insert(0, kept),
                Last::Framed | Last::Bare => shelf.kept.push(kept),
            }
        } else {
            kept.close(keep, now);
        }
    }

    /// Its backend closed one under a request. Where half of what may be sent again is gone, which is
    /// `half`, and it does that often itself, whoever spent it, each gets one of its own for a while.
    #[cold]
    pub(super) fn raced(&self, lease: &Lease, half: Allowance, now: Instant) {
        let share = lease.backend().race_share();
        if share <= half.share * OWN || lease.pool().allows_try(half, now) {
            return;
        }
        let mut shelves = self.0.lock();
        let shelf = shelves.entry(key(lease.backend())).or_insert_with(|| shelf(lease));
        let length = match shelf.wary {
            // Requests that were on their way.
            Some(wary) if now < wary.until => return,
            Some(wary) if wary.counts(now) => (wary.length * 2).min(WARIEST),
            _ => {
                tracing::warn!(pool = %shelf.backend.pool, backend = %shelf.backend.name, "it closed {:.0} % of its kept \
                    connections under requests of late, and half of the pool's retry.budget is gone: for a second none \
                    of them is used again, for up to ten where that goes on; let it keep them longer than \
                    keep_alive.idle says, or lower that", share * 100.0);
                WARY
            }
        };
        shelf.wary = Some(Wary { until: now + length, length });
    }

    /// Closes the oldest connection of each backend; `false` when there was none.
    pub(super) fn shed(&self, now: Instant) -> bool {
        let mut any = false;
        for shelf in self.0.lock().values_mut().filter(|shelf| !shelf.kept.is_empty()) {
            shelf.kept.remove(0).close(&shelf.keep.keep_alive, now);
            shelf.backend.cells.idle.add(-1);
            any = true;
        }
        any
    }

    /// Closes what is too old or too many, what its backend closed, and what belongs to nobody any
    /// more; takes each pool's settings anew.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.lock().retain(|_, shelf| {
            shelf.keep = shelf.pool.config();
            let gone = shelf.pool.backend(shelf.backend.id).is_none();
            let before = shelf.kept.len();
            let keep = &shelf.keep.keep_alive;
            for kept in &mut shelf.kept {
                if now.duration_since(kept.since) < FRESH {
                    kept.link.release();
                }
            }
            for kept in &mut shelf.kept {
                kept.until = until(keep, kept.link.born(), kept.since);
            }
            let reach = shelf.pool.reach_number();
            let room = room(keep);
            let over = shelf.kept.extract_if(.., |kept| {
                let same_way = kept.link.reach() == reach && kept.link.is_there();
                gone || !same_way || kept.is_expired(now) || kept.has_news(now)
            });
            over.for_each(|kept| kept.close(keep, now));
            let surplus = shelf.kept.len().saturating_sub(room);
            shelf.kept.drain(..surplus).for_each(|kept| kept.close(keep, now));
            let closed = (before - shelf.kept.len()) as i64;
            shelf.backend.cells.idle.add(-closed);
            shelf.wary = shelf.wary.filter(|wary| wary.counts(now) && !gone);
            !shelf.kept.is_empty() || shelf.wary.is_some()
        });
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        for shelf in self.0.lock().values() {
            shelf.backend.cells.idle.add(-(shelf.kept.len() as i64));
        }
    }
}

impl Kept {
    /// Whether it can carry a request, as far as can be seen.
    #[inline(always)]
    fn is_good(&mut self, reach: u64, reuse: Reuse, now: Instant) -> bool {
        let sure =
            reuse == Reuse::Any || (now.duration_since(self.since) < YOUNG && self.link.is_quiet());
        let wanted = self.link.reach() == reach && !self.is_expired(now) && sure;
        wanted && !self.has_news(now)
    }

    /// Whether bytes or an end came.
    #[inline(always)]
    fn has_news(&mut self, now: Instant) -> bool {
        let news = self.link.has_news();
        if news && self.link.last() != Last::Framed && self.link.has_bytes() {
            self.link.spilled(now);
        }
        news
    }

    /// Whether more may come of what it carried.
    #[inline(always)]
    fn rests(&self, now: Instant) -> bool {
        self.link.last() == Last::Head && now.duration_since(self.since) < QUIET
    }

    /// It carries nothing any more. What its backend ended costs nothing.
    #[cold]
    #[inline(never)]
    fn close(mut self, keep: &KeepAlive, now: Instant) {
        if !self.has_news(now) {
            self.link.close(keep.renew, now);
        }
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// With nothing on it.
#[cold]
fn shelf(lease: &Lease) -> Shelf {
    let (backend, pool) = (lease.backend().clone(), lease.pool().clone());
    Shelf { backend, keep: pool.config(), pool, kept: Vec::new(), wary: None }
}

/// Whether its kept connections may get what cannot be sent again.
fn is_trusted(backend: &Backend, now: Instant) -> bool {
    backend.picks().all() >= KNOWN && !backend.has_raced(RACE_MEMORY, now)
}

/// How many may be kept.
fn room(keep: &KeepAlive) -> usize {
    if keep.idle.get().is_some() { keep.max_idle } else { 0 }
}

fn until(keep: &KeepAlive, born: Instant, since: Instant) -> Option<Instant> {
    let idle = keep.idle.get().map(|idle| since + idle);
    let age = keep.max_age.get().map(|age| born + age);
    match (idle, age) {
        (Some(idle), Some(age)) => Some(idle.min(age)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
#[path = "idle_tests.rs"]
mod tests;

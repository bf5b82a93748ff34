//! What tries tell a pool of its backends: failures in a row, first bytes, and waits in vain.
use super::backend::Backend;
use super::change::Change;
use super::core::Pool;
use super::hot::Quiet;
use super::silence::{Heard, others_answer};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Of so many others it is looked at whether they have nothing to do, when one is silent.
const LOOKED_AT: usize = 64;

impl Pool {
    /// How many failures in a row `outlier` wants to hear of; 0 where it looks at no try at all. One
    /// relaxed load.
    pub(super) fn failures_in_a_row(&self) -> u32 {
        self.read.failures.load(Relaxed)
    }

    /// So many tries of a backend failed in a row.
    #[cold]
    pub(super) fn failing(&self, backend: &Backend, row: u32, now: Instant) {
        let detail = format!("{row} tries in a row failed");
        let turns = self.apply(Change::Failing { id: backend.id, detail }, now);
        turns.iter().for_each(|turn| turn.log(&self.name));
    }

    /// Whether it listens for silence. One relaxed load.
    pub(super) fn listens(&self) -> bool {
        self.read.silence.load(Relaxed)
    }

    /// First bytes of all its backends, modulo 2^32.
    pub(super) fn heard_of_all(&self) -> u32 {
        self.heard.0.load(Relaxed)
    }

    /// A backend gave one.
    pub(super) fn hear(&self) {
        self.heard.0.fetch_add(1, Relaxed);
    }

    /// A try has waited too long for its first byte. `since`: what was heard of all some time after
    /// it began.
    pub(super) fn overdue(
        &self,
        backend: &Backend,
        (then, since): (Heard, u32),
        waited: Duration,
        again: bool,
        now: Instant,
    ) {
        let trial = backend.hot.quiet() == Quiet::Trial;
        if !backend.watch.lock().vote(then.own, backend.hot.heard(), again, trial) {
            return;
        }
        let is_idle = |b: &Backend| b.id != backend.id && b.is_usable() && b.active() == 0;
        let idle = {
            let snapshot = self.read.snapshot.load();
            snapshot.candidates.iter().take(LOOKED_AT).any(|c| is_idle(&c.backend))
        };
        if !others_answer(then, since, self.heard_of_all(), idle) {
            return;
        }
        let detail = format!("no first byte for {} ms", waited.as_millis());
        let turns = self.apply(Change::Silent { id: backend.id, detail }, now);
        turns.iter().for_each(|turn| turn.log(&self.name));
    }

    /// A backend that was silent, or on trial, gave a first byte.
    #[cold]
    pub(super) fn heard(&self, backend: &Backend, now: Instant) {
        let turns = self.apply(Change::Heard { id: backend.id }, now);
        turns.iter().for_each(|turn| turn.log(&self.name));
    }
}

//! What tries tell a pool of its backends: failures in a row, first bytes, and waits in vain.
use super::backend::{Backend, BackendId, Candidate};
use super::change::Change;
use super::clients::Who;
use super::core::Pool;
use super::declined::Others;
use super::hot::Quiet;
use super::outlier::Tally;
use super::row::Beside;
use super::silence::{self, Heard, Vote, Watch, far, is_contrast, lasting, others_answer};
use super::snapshot::Snapshot;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64;

/// Of so many others it is looked at whether they have nothing to do, when one is silent.
const LOOKED_AT: usize = 64;

/// A row of failures is compared with the tries of so many others at the most: enough to know what is
/// common, and no more to look at where every other try fails.
const COMPARED: usize = 16;

/// What declines is compared with so many, for it is looked at more seldom.
const COMPARED_MORE: usize = 64;

/// What is heard of a whole pool, modulo 2^32. On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Ear {
    /// First bytes; counted only with `outlier.silence`.
    pub(super) all: AtomicU32,
    /// Tries that waited too long.
    late: AtomicU32,
}

/// A backend that a request was taken from because it waited far too long.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) backend: Arc<Backend>,
    /// First bytes it had given.
    pub(super) own: u32,
    pub(super) waited: Duration,
}

impl Pool {
    /// How many failures in a row `outlier` wants to hear of; 0 where it looks at no try at all. One
    /// relaxed load.
    pub(super) fn failures_in_a_row(&self) -> u32 {
        self.read.failures.load(Relaxed)
    }

    /// A first try of a backend failed after one that did not.
    #[cold]
    pub(super) fn fails(&self, backend: &Backend, who: Who, now: Instant) {
        let beside = self.beside(backend);
        // It is one of the row.
        let unbound = beside.unbound.saturating_sub(u64::from(!who.is_bound()));
        let others = backend.active().saturating_sub(1);
        backend.row.lock().begin(Beside { unbound, ..beside }, others, now);
    }

    /// So many tries of a backend failed in a row: it is held against it, unless the others' fail alike.
    #[cold]
    pub(super) fn failing(&self, backend: &Backend, row: u32, most: u32, now: Instant) {
        let beside = self.beside(backend);
        if self.stands_by_alone(backend) || !backend.row.lock().stands_out(row, most, beside, now) {
            return;
        }
        let detail = format!("{row} tries in a row failed");
        let turns = self.apply(Change::Failing { id: backend.id, detail }, now);
        turns.iter().for_each(|turn| turn.log(&self.name));
    }

    /// A backend declined what somebody asked: whether it does so where others do not.
    #[cold]
    pub(super) fn declines(&self, backend: &Backend, who: Who) -> bool {
        let Some(is_time) = backend.declined.count(who) else { return false };
        if is_time {
            let sum = |all: Others, other: &Backend| all.and(other.declined.lately(other.found()));
            let (_, others) = self.of_others(backend, COMPARED_MORE, Others::default(), sum);
            backend.declined.look(backend.found(), others);
        }
        backend.declined.stands_out() && self.any(|other| other.id != backend.id)
    }

    /// Whether it listens for silence. One relaxed load.
    pub(super) fn listens(&self) -> bool {
        self.read.silence.load(Relaxed)
    }

    /// First bytes of all its backends, modulo 2^32.
    pub(super) fn heard_of_all(&self) -> u32 {
        self.heard.all.load(Relaxed)
    }

    /// What is heard of a backend and of all now.
    pub(super) fn hears(&self, backend: &Backend) -> Heard {
        let late = self.heard.late.load(Relaxed);
        Heard { own: backend.hot.heard(), all: self.heard_of_all(), late }
    }

    /// A backend gave a first byte.
    pub(super) fn hear(&self) {
        self.heard.all.fetch_add(1, Relaxed);
    }

    /// A try has waited too long for its first byte. `since`: what was heard of all some time after
    /// it began.
    pub(super) fn overdue(&self, backend: &Backend, vote: Vote, since: u32, now: Instant) {
        if !backend.is_usable() {
            return;
        }
        let is_idle = |b: &Backend| b.id != backend.id && b.active() == 0;
        let heard = self.hears(backend);
        let others = |watch: &Watch| {
            watch.others_answered(heard.all)
                || others_answer(vote.then, since, heard.all, self.any(is_idle))
        };
        let trial = backend.hot.quiet() == Quiet::Trial;
        self.judge(backend, vote, (Duration::ZERO, trial), now, others);
        let waited = now.saturating_duration_since(vote.begun);
        if vote.then.own != heard.own {
            return;
        }
        let Some(far) = self.patience(backend).map(far).filter(|far| waited >= *far) else {
            return;
        };
        let watch = *backend.watch.lock();
        let several = watch.are_several(heard.own);
        if several && self.next_is_well(backend) {
            self.silent(backend, waited, now);
        }
        // Who finds all of its places waited for may go on to a later tier: where he would be turned away
        // else, at once, and from the queue where the wait lasts, before he has to leave.
        let in_queue = || self.config().queue.as_ref().map(|queue| queue.timeout);
        let all = |all: u32| {
            watch.standing(heard.own) >= all
                && in_queue().is_none_or(|time| waited >= lasting(far, time))
        };
        if several || backend.limit().is_some_and(all) {
            backend.forsake(heard.own);
            self.serve(now);
        }
    }

    /// Whether nobody of its tier can be heard beside a backend, and somebody of a later one stands by, whom
    /// nobody waits for: what only stands by cannot be heard either.
    fn next_is_well(&self, backend: &Backend) -> bool {
        let is_heard = |b: &Backend| b.id != backend.id && !b.is_forlorn();
        !self.any(is_heard) && self.has_later(|c| is_well(&c.backend))
    }

    /// A try was given up because another backend answered its request first.
    pub(super) fn outrun(&self, backend: &Backend, vote: Vote, now: Instant) {
        let usual = backend.usual.get();
        let Some(least) = self.patience(backend) else { return };
        if usual.is_beyond(now.saturating_duration_since(vote.begun)) && backend.is_usable() {
            // One that is slow at first may be outrun on trial, too.
            self.judge(backend, vote, (least, false), now, |_| true);
        }
    }

    /// Counts a vote, and ejects where there are enough, the first of them this old. One is, on trial.
    fn judge(
        &self,
        backend: &Backend,
        vote: Vote,
        (least, trial): (Duration, bool),
        now: Instant,
        others: impl FnOnce(&Watch) -> bool,
    ) {
        let heard = self.hears(backend);
        let watch = {
            let mut watch = backend.watch.lock();
            if !watch.vote(vote, heard) {
                return;
            }
            *watch
        };
        if !vote.again {
            self.heard.late.fetch_add(1, Relaxed);
        }
        let waited = watch.since().map_or(least, |since| now.saturating_duration_since(since));
        if waited >= least && watch.is_enough(self.hears(backend), trial) && others(&watch) {
            self.silent(backend, waited, now);
        }
    }

    /// A wait far too long came to its end in vain, and nothing speaks against somebody else.
    pub(super) fn in_vain(&self, backend: &Backend, then: Heard, waited: Duration, now: Instant) {
        let Some(patience) = self.patience(backend) else { return };
        if waited < far(patience) || then.own != backend.hot.heard() || !backend.is_usable() {
            return;
        }
        let is_other = |b: &Backend| b.id != backend.id && is_well(b);
        if self.any(is_other) || self.has_later(|c| is_other(&c.backend)) {
            self.silent(backend, waited, now);
        }
    }

    /// Another backend, `by`, gave the first byte of the same request after `took`, when this one was left
    /// after `waited`. Who is of a later tier may do less, and be quick by that.
    pub(super) fn compare(&self, left: &Left, by: &Backend, took: Duration, now: Instant) {
        let backend = &left.backend;
        if !is_contrast(left.waited, took) {
            // It was the request: such waits are usual.
            backend.usual.learn(left.waited.max(took));
        } else if left.own == backend.hot.heard() && backend.is_usable() {
            let snapshot = self.read.snapshot.load();
            let is_own = |set: &Snapshot| set.has(backend.id) && set.has(by.id);
            if backend.is_missed() || snapshot.tiers().any(is_own) {
                self.silent(backend, left.waited, now);
            }
        }
    }

    /// Whether what waits at a backend far too long waits by itself, while nobody has heard of it.
    pub(super) fn is_alone(&self, backend: &Backend, then: Heard) -> bool {
        let heard = self.hears(backend);
        then.own == heard.own && backend.watch.lock().is_alone(heard)
    }

    /// How long a first byte of a backend may be waited for; `None` where nothing is known, of it or of
    /// the others of its tier, or nobody asks.
    pub(super) fn patience(&self, backend: &Backend) -> Option<Duration> {
        let (config, usual) = (self.config(), backend.usual.get());
        let rules = config.outlier.as_ref()?.silence.as_ref()?;
        usual.patience(rules).or_else(|| {
            let snapshot = self.read.snapshot.load();
            let own = snapshot.tiers().find(|set| set.has(backend.id)).unwrap_or(&**snapshot);
            let others = drawn(&own.candidates, backend.id, COMPARED).map(|c| &c.backend);
            let others = others.filter(|other| other.id != backend.id);
            let others = others
                .fold(silence::Others::default(), |all, other| all.and(other.usual.get(), rules));
            usual.patience_of_new(others, rules)
        })
    }

    /// What is counted so far that a row is held against: of some of the others where there are many.
    fn beside(&self, backend: &Backend) -> Beside {
        let sum = |[bound, free]: [Tally; 2], other: &Backend| {
            let [more, new] = other.tallies();
            [bound.and(more), free.and(new)]
        };
        let (set, others) = self.of_others(backend, COMPARED, Default::default(), sum);
        Beside { set, others, unbound: backend.clients.so_far().0.bad }
    }

    /// Whether a backend is the only one of a later tier: it gets nothing but what others failed at, and
    /// nobody else does.
    fn stands_by_alone(&self, backend: &Backend) -> bool {
        let snapshot = self.read.snapshot.load();
        snapshot.later.iter().any(|set| set.has(backend.id) && set.candidates.len() == 1)
    }

    /// Whether a backend only stands by: somebody of a tier before it gets work.
    pub(crate) fn stands_by(&self, backend: &Backend) -> bool {
        let snapshot = self.read.snapshot.load();
        snapshot.later.iter().any(|set| set.has(backend.id))
    }

    /// What is summed up of some others of its tier, of the next for the only one of the first, and a
    /// number that says who they are.
    fn of_others<T>(
        &self,
        backend: &Backend,
        most: usize,
        none: T,
        sum: impl Fn(T, &Backend) -> T,
    ) -> (u64, T) {
        let snapshot = self.read.snapshot.load();
        let own = snapshot.later.iter().find(|set| set.has(backend.id));
        let own = own.map_or(&**snapshot, |own| own);
        let is_alone = own.candidates.iter().all(|c| c.backend.id == backend.id);
        let next = own.later.first().filter(|_| is_alone);
        let next = next.iter().flat_map(|next| &next.candidates).take(most);
        let others = drawn(&own.candidates, backend.id, most).chain(next).map(|c| &c.backend);
        let others = others.filter(|other| other.id != backend.id);
        others.fold((1, none), |(set, all), other| {
            // As FNV-1 hashes.
            let set = set.wrapping_mul(0x0100_0000_01b3) ^ u64::from(other.id.0);
            (set, sum(all, other))
        })
    }

    /// Whether one of the first candidates that are usable is such.
    fn any(&self, is: impl Fn(&Backend) -> bool) -> bool {
        let snapshot = self.read.snapshot.load();
        let mut some = snapshot.candidates.iter().take(LOOKED_AT);
        some.any(|c| c.backend.is_usable() && is(&c.backend))
    }

    fn silent(&self, backend: &Backend, waited: Duration, now: Instant) {
        backend.watch.lock().found(self.hears(backend));
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

/// Of so many places at the most others are drawn.
const DRAWN_FROM: usize = 1024;

/// Others for one of many, half of `most` to `most` of them on average, or all: drawn by both their numbers, so
/// that they are others for each, in whatever order they stand, and few of them change where the set does.
fn drawn(all: &[Candidate], own: BackendId, most: usize) -> impl Iterator<Item = &Candidate> {
    let among = all.len().min(DRAWN_FROM);
    // Of 32 bits.
    let drawn =
        move |other: u32| xxh3_64(&(u64::from(own.0) << 32 | u64::from(other)).to_le_bytes()) >> 32;
    let from = match all.len() > among {
        true => (drawn(own.0) * all.len() as u64) >> 32,
        false => 0,
    };
    let (before, behind) = all.split_at(from as usize);
    let share = ((most as u64) << 32) / among.next_power_of_two() as u64;
    let is_drawn = move |other: &&Candidate| drawn(other.id.0) < share;
    behind.iter().chain(before).take(among).filter(is_drawn)
}

/// Whether one gets work, and nobody waits too long for it.
fn is_well(backend: &Backend) -> bool {
    backend.is_usable() && backend.watch.lock().standing(backend.hot.heard()) == 0
}

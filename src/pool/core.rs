//! `Pool` itself: the members behind one lock, the snapshot behind one atomic pointer.
use super::backend::{Backend, BackendId, Candidate};
use super::balance::{Balancer, Policies, Seeds, Sizes};
use super::budget::{Budget, NOW_AND_THEN};
use super::cadence::Cadence;
use super::cells::StickyCells;
use super::change::{Change, Glance, Member, Reason, State, Turn};
use super::doubt::least;
use super::latency::Latency;
use super::members::Members;
use super::passive::Ear;
use super::snapshot::Snapshot;
use super::verdict::Verdict;
use super::waiting::{Desk, Line};
use crate::config::{self, Name};
use crate::metrics::{Counter, Gauge, Histogram, Words, labels};
use crate::net::proxy_protocol::Version;
use crate::reach::Reach;
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, broadcast, watch};
use xxhash_rust::xxh3::xxh3_64;

/// A pool. One `Arc` for as long as its name lives, through every reload.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// Rendered labels: `pool="app"`.
    pub labels: String,
    /// `evenkeel_balancer_no_backend_total`; counted here, once for each lease refused.
    pub no_backend: Counter,
    /// `evenkeel_balancer_passed_over_total`
    pub passed_over: Counter,
    /// `evenkeel_upstream_retries_total` for `connect`.
    pub retries_connect: Counter,
    /// As above, for `reset`.
    pub retries_reset: Counter,
    /// As above, for `timeout`.
    pub retries_timeout: Counter,
    /// As above, by the status that was answered.
    pub retries_status: Words<u16>,
    /// `evenkeel_retry_budget_exhausted_total`
    pub budget_exhausted: Counter,
    /// `evenkeel_hedges_total` by outcome.
    pub hedges_won: Counter,
    /// As above.
    pub hedges_lost: Counter,
    /// As above.
    pub hedges_failed: Counter,
    /// `evenkeel_upstream_limit_hits_total` by limit.
    pub limit_hits: Words,
    /// `evenkeel_sticky_total`
    pub sticky: StickyCells,
    /// `evenkeel_upstream_connect_duration_seconds`
    pub connect_duration: Histogram,
    /// `evenkeel_health_check_duration_seconds`
    pub check_duration: Histogram,
    /// `evenkeel_pool_panic`
    pub panic: Gauge,
    /// `evenkeel_ejections_total` by reason, in the order of [`Reason::EJECTIONS`].
    pub ejections: [Counter; Reason::EJECTIONS.len()],
    /// Picks that were not for the first try of a request.
    pub(super) repeats: Counter,
    /// What the tries of its requests took of their budget.
    pub(super) budget: Mutex<Budget>,
    /// The same of tries beside others.
    pub(super) hedges: Mutex<Budget>,
    /// How long its answers take to begin, where that is wanted.
    pub(super) latency: Latency,
    number: u64,
    clock: Clock,
    seeds: Seeds,
    pub(super) settings: ArcSwap<config::Pool>,
    reach: ArcSwap<Reach>,
    /// The number of `reach`, to see cheaply that it was replaced.
    reach_number: AtomicU64,
    /// What `reach` announces clients in: 0, 1 or 2.
    announces: AtomicU8,
    /// Everyone by the number of its name, where clients come back to their backends.
    named: ArcSwapOption<HashMap<u64, Arc<Backend>>>,
    /// Held for the time of a look or a change, never while something is built.
    pub(super) members: Mutex<Members>,
    /// Held from the look at the members until what was built of it is stored, so that no older
    /// snapshot ever replaces a newer one. Always taken before `members`.
    maker: Mutex<Maker>,
    /// Counts what was changed and what was published, for whoever acts on it.
    version: watch::Sender<u64>,
    /// Tells of each turn.
    told: broadcast::Sender<(SystemTime, Turn)>,
    /// A snapshot was published: whoever waits for a first verdict looks again.
    pub(super) published: Notify,
    /// Who waits for a place.
    pub(super) desk: Desk,
    pub(super) read: Read,
    /// Heard only with `outlier.silence`.
    pub(super) heard: Ear,
}

/// What every lease reads and only a publication writes, apart from the `Arc`'s count, which every
/// lease writes.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Read {
    pub(super) snapshot: ArcSwap<Snapshot>,
    /// The generation of `snapshot`, to see cheaply that it was replaced.
    pub(super) generation: AtomicU32,
    /// Its balancer wants to hear of loads.
    pub(super) wants_load: AtomicBool,
    /// Its balancer reads what first bytes cost.
    wants_cost: AtomicBool,
    /// What its backends bear is learnt from them.
    adapts: AtomicBool,
    /// `Members` would say something else than `snapshot` does: until the next one is stored.
    pub(super) stale: AtomicBool,
    /// A snapshot is being built. Changes under the lock of the members.
    building: AtomicBool,
    /// Nobody gets new work.
    out: AtomicBool,
    /// Who finds everybody full may wait.
    pub(super) has_queue: AtomicBool,
    /// Somebody waits for a place, in each [`Line`](super::waiting::Line). Written under the lock of its
    /// queue.
    pub(super) waits: [AtomicBool; 2],
    /// `outlier`: 0 is off, else so many failures in a row eject; `u32::MAX`: none do.
    pub(super) failures: AtomicU32,
    /// Clients come back to a backend, by a cookie or a hash.
    binds: AtomicBool,
    /// `outlier.silence` is on.
    pub(super) silence: AtomicBool,
    /// Who gave no first byte for so long is in doubt, in milliseconds; 0: nobody is.
    pub(super) doubt: AtomicU32,
}

/// What builds snapshots.
#[derive(Debug)]
struct Maker {
    policies: Policies,
    cadence: Cadence,
    /// What building a snapshot is said to take; what it really took without.
    cost: Option<Duration>,
}

/// Shows the pool's monotonic times as wall-clock ones.
#[derive(Clone, Copy, Debug)]
struct Clock {
    then: Instant,
    wall: SystemTime,
}

impl Clock {
    fn wall(self, at: Instant) -> SystemTime {
        match at.checked_duration_since(self.then) {
            Some(after) => self.wall + after,
            None => self.wall - self.then.duration_since(at),
        }
    }
}

/// Turns that who listens may be behind: those of a hundred backends, and more are told as a gap.
const TURNS: usize = 128;

/// Numbers of pools. The one static of the room: it only keeps them different.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

impl Pool {
    pub(super) fn new(
        name: &Name,
        config: &Arc<config::Pool>,
        reach: &Arc<Reach>,
        policies: &Policies,
        me: Weak<Self>,
    ) -> Self {
        let seeds = Seeds { shared: xxh3_64(name.as_bytes()), own: fastrand::u64(..) };
        Self {
            name: name.clone(),
            labels: labels(&[("pool", name)]),
            no_backend: Counter::new(),
            passed_over: Counter::new(),
            retries_connect: Counter::new(),
            retries_reset: Counter::new(),
            retries_timeout: Counter::new(),
            retries_status: Words::default(),
            budget_exhausted: Counter::new(),
            hedges_won: Counter::new(),
            hedges_lost: Counter::new(),
            hedges_failed: Counter::new(),
            limit_hits: Words::default(),
            sticky: StickyCells::default(),
            connect_duration: Histogram::default(),
            check_duration: Histogram::default(),
            panic: Gauge::new(),
            ejections: Default::default(),
            repeats: Counter::new(),
            budget: Mutex::new(Budget::new(Instant::now())),
            hedges: Mutex::new(Budget::new(Instant::now())),
            latency: Latency::new(Instant::now()),
            number: NUMBERS.fetch_add(1, Relaxed),
            clock: Clock { then: Instant::now(), wall: SystemTime::now() },
            seeds,
            settings: ArcSwap::new(config.clone()),
            reach: ArcSwap::new(reach.clone()),
            reach_number: AtomicU64::new(reach.number),
            announces: AtomicU8::new(announced(reach)),
            named: ArcSwapOption::empty(),
            members: Mutex::new(Members::new(name.clone(), config.clone())),
            maker: Mutex::new(Maker {
                policies: policies.clone(),
                cadence: Cadence::default(),
                cost: None,
            }),
            version: watch::Sender::new(0),
            told: broadcast::Sender::new(TURNS),
            published: Notify::new(),
            heard: Ear::default(),
            desk: Desk::new(me),
            read: Read {
                snapshot: ArcSwap::from_pointee(Snapshot::empty()),
                generation: AtomicU32::new(0),
                wants_load: AtomicBool::new(false),
                wants_cost: AtomicBool::new(false),
                adapts: AtomicBool::new(false),
                stale: AtomicBool::new(false),
                building: AtomicBool::new(false),
                out: AtomicBool::new(true),
                has_queue: AtomicBool::new(config.queue.is_some()),
                waits: Default::default(),
                failures: AtomicU32::new(0),
                binds: AtomicBool::new(false),
                silence: AtomicBool::new(false),
                doubt: AtomicU32::new(0),
            },
        }
    }

    /// Settings and endpoints of a config at this moment, published at once: what an operator or a
    /// probe said since the config was read is kept.
    pub(super) fn settle(
        &self,
        config: Arc<config::Pool>,
        reach: Arc<Reach>,
        policies: Policies,
        now: Instant,
    ) -> Vec<Turn> {
        let mut maker = self.maker.lock();
        maker.policies = policies;
        let endpoints = super::prepare::endpoints(&config);
        let turns = {
            let mut members = self.members.lock();
            self.settings.store(config.clone());
            self.read.has_queue.store(config.queue.is_some(), Relaxed);
            let outlier = config.outlier.as_ref();
            let failures = outlier.map_or(0, |o| o.consecutive_failures.unwrap_or(u32::MAX));
            self.read.failures.store(failures, Relaxed);
            let adapts = matches!(config.max_active, Some(config::MaxActive::Adaptive { .. }));
            self.read.adapts.store(adapts, Relaxed);
            let silence = outlier.and_then(|o| o.silence.as_ref());
            self.read.silence.store(silence.is_some(), Relaxed);
            // By a key everybody goes where it says: that is worth a short wait.
            let keeps = config.balance.hash.is_some();
            self.read.binds.store(keeps || config.sticky.is_some(), Relaxed);
            self.read.doubt.store(silence.filter(|_| !keeps).map_or(0, least), Relaxed);
            self.reach_number.store(reach.number, Relaxed);
            self.announces.store(announced(&reach), Relaxed);
            self.reach.store(reach);
            let mut turns = members.set(config, now);
            turns.extend(members.apply(Change::Endpoints(endpoints), now));
            self.name(&members);
            self.note(&members);
            turns
        };
        if self.read.stale.load(Acquire) {
            self.build(&mut maker, true, now);
        }
        drop(maker);
        self.version.send_modify(|version| *version += 1);
        self.serve(now);
        self.tell(&turns, now);
        turns
    }

    /// Tells of turns to who listens.
    fn tell(&self, turns: &[Turn], now: Instant) {
        for turn in turns {
            // Nobody need listen.
            let _ = self.told.send((self.clock.wall(now), turn.clone()));
        }
    }

    /// Every turn from here on, with its time.
    pub fn turns(&self) -> broadcast::Receiver<(SystemTime, Turn)> {
        self.told.subscribe()
    }

    /// The one door in. Never builds: the usable bits are flipped at once, the next snapshot is
    /// published by [`Pool::publish`]. Takes the time of one member, but for a whole set.
    pub fn apply(&self, change: Change, now: Instant) -> Vec<Turn> {
        let (turns, is_news) = {
            let mut members = self.members.lock();
            let before = members.news();
            let is_set = matches!(change, Change::Endpoints(_) | Change::Words(_) | Change::Gone);
            let turns = members.apply(change, now);
            if is_set {
                self.name(&members);
            }
            self.note(&members);
            (turns, members.news() != before)
        };
        for turn in turns.iter().filter(|turn| turn.to == State::Ejected && turn.from.works()) {
            let counter = Reason::EJECTIONS.iter().position(|reason| *reason == turn.reason);
            counter.into_iter().for_each(|i| self.ejections[i].inc());
        }
        self.tell(&turns, now);
        if is_news {
            self.version.send_modify(|version| *version += 1);
            self.serve(now);
        }
        turns
    }

    /// Notes who is there, for clients that come back: an older set never replaces a newer one, since
    /// the lock of the members is held.
    fn name(&self, members: &Members) {
        let sticky = self.settings.load().sticky.is_some();
        self.named.store(sticky.then(|| Arc::new(members.named())));
    }

    /// Says to readers without the lock what the members say.
    fn note(&self, members: &Members) {
        self.read.out.store(members.is_out(), Relaxed);
        let stale = members.is_stale() || self.read.building.load(Relaxed);
        self.read.stale.store(stale, Release);
    }

    /// Publishes gathered turns if it is time: at once after quiet, else at most every 20 ms or
    /// 16 times the last build's cost. Returns when it wants to be called again, if it does. Called by
    /// the control runtime after each change, and now and then: it also forgets removed backends
    /// that have ended their work.
    pub fn publish(&self, now: Instant) -> Option<Instant> {
        self.members.lock().forget(now);
        self.count(NOW_AND_THEN, now);
        self.latency.fade(now);
        // What time alone makes free.
        self.serve(now);
        if !self.read.stale.load(Acquire) {
            return None;
        }
        let mut maker = self.maker.lock();
        if let Some(at) = maker.cadence.wait(now) {
            return Some(at);
        }
        // A reload may have published meanwhile.
        if self.read.stale.load(Acquire) {
            self.build(&mut maker, false, now);
            drop(maker);
            self.serve(now);
        }
        None
    }

    /// Builds and stores a snapshot. Only the look at the members takes their lock. `anew`: a later
    /// tier gets a new balancer, too, though it is the same as before.
    fn build(&self, maker: &mut Maker, anew: bool, now: Instant) {
        let begun = Instant::now();
        let (usable, config) = {
            let mut members = self.members.lock();
            let usable = members.snapshot();
            self.read.building.store(true, Relaxed);
            self.note(&members);
            (usable, self.settings.load_full())
        };
        let mut generation = self.read.generation.load(Relaxed);
        let mut set = |candidates: Vec<Candidate>, sizes| {
            generation = generation.wrapping_add(1);
            let made = maker.policies.make(&config.balance, &candidates, self.seeds, sizes);
            let balancer = made.expect("`prepare` let only known policies pass");
            let (candidates, wants_load) = (candidates.into(), balancer.wants_load());
            let set = Snapshot {
                generation,
                candidates,
                balancer,
                wants_load,
                sizes,
                ..Snapshot::empty()
            };
            if wants_load {
                let places = set.candidates.iter().enumerate();
                places.for_each(|(i, c)| c.backend.hot.set_place(generation, i));
            }
            set
        };
        let before = self.read.snapshot.load_full();
        let later = usable.later.into_iter().map(|(candidates, sizes)| {
            let is_it = |kept: &&Arc<Snapshot>| !anew && kept.is_of(&candidates, sizes);
            let kept = before.later.iter().find(is_it).cloned();
            kept.unwrap_or_else(|| Arc::new(set(candidates, sizes)))
        });
        let later = later.collect();
        let (panic, pending) = (usable.panic, usable.pending);
        let first = set(usable.candidates, usable.sizes);
        let snapshot = Arc::new(Snapshot { panic, pending, later, ..first });
        let (generation, wants_load) = (snapshot.generation, snapshot.wants_load);
        self.read.wants_cost.store(snapshot.balancer.wants_cost(), Relaxed);
        self.panic.set(i64::from(panic));
        self.read.snapshot.store(snapshot.clone());
        self.read.generation.store(generation, Release);
        self.read.wants_load.store(wants_load, Release);
        // What was taken or settled while it was built did not reach it.
        for set in snapshot.tiers().filter(|set| set.wants_load) {
            let all = 0..set.candidates.len();
            all.for_each(|i| set.balancer.load_changed(&set.candidates, i));
        }
        {
            let members = self.members.lock();
            self.read.building.store(false, Relaxed);
            self.note(&members);
        }
        self.published.notify_waiters();
        let cost = maker.cost.unwrap_or_else(|| begun.elapsed());
        maker.cadence.published(now, cost);
    }

    /// A balancer of its policy for some candidates of one's own.
    pub(super) fn make(&self, candidates: &[Candidate], sizes: Sizes) -> Option<Box<dyn Balancer>> {
        let policies = self.maker.lock().policies.clone();
        policies.make(&self.settings.load().balance, candidates, self.seeds, sizes)
    }

    /// Waits until there is something to publish.
    pub async fn changed(&self) {
        let mut version = self.version.subscribe();
        while !self.read.stale.load(Acquire) {
            // The sender lives in `self`, so the wait cannot fail.
            let _ = version.changed().await;
        }
    }

    /// Hears of every change that may concern probes, discovery or whoever publishes: a commit, a
    /// set, a turn.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Whether one waits where everybody is full.
    pub(super) fn has_queue(&self) -> bool {
        self.read.has_queue.load(Relaxed)
    }

    /// The set in force.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.read.snapshot.load_full()
    }

    /// Time is played from here on: it begins now, and building a snapshot takes none of it.
    #[cfg(test)]
    pub(crate) fn play(&self, now: Instant) {
        self.maker.lock().cost = Some(Duration::ZERO);
        *self.budget.lock() = Budget::new(now);
        *self.hedges.lock() = Budget::new(now);
        self.latency.play(now);
    }

    /// Whether the snapshot says all that is known.
    #[cfg(test)]
    pub(crate) fn is_fresh(&self) -> bool {
        !self.read.stale.load(Acquire)
    }

    /// When time alone changes something, if it will: then [`Change::Tick`] is due.
    pub fn due(&self) -> Option<Instant> {
        self.members.lock().due()
    }

    /// Whether it learns from how long first bytes take.
    pub fn wants_time(&self) -> bool {
        self.wants_cost() || self.adapts()
    }

    /// Whether what its backends bear is learnt.
    pub(super) fn adapts(&self) -> bool {
        self.read.adapts.load(Relaxed)
    }

    /// Whether clients come back to a backend.
    #[inline]
    pub(super) fn binds(&self) -> bool {
        self.read.binds.load(Relaxed)
    }

    /// Whether its policy reads what first bytes cost.
    pub fn wants_cost(&self) -> bool {
        self.read.wants_cost.load(Relaxed)
    }

    /// Whether a client waits for a place: one load.
    #[inline]
    pub(super) fn is_waited_for(&self) -> bool {
        self.read.waits[Line::Front as usize].load(SeqCst)
    }

    /// Whether a client does, or who is served behind them.
    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        self.read.waits.iter().any(|waits| waits.load(SeqCst))
    }

    /// How many wait for a place.
    pub fn queue_depth(&self) -> i64 {
        self.desk.depth()
    }

    /// How long those who waited for a place did so, whatever came of it.
    pub fn queue_duration(&self) -> &Histogram {
        &self.desk.duration
    }

    /// The settings in force.
    pub fn config(&self) -> Arc<config::Pool> {
        self.settings.load_full()
    }

    /// How its backends are spoken to.
    pub fn reach(&self) -> Arc<Reach> {
        self.reach.load_full()
    }

    /// The number of the way its backends are spoken to: a connection that was made another way
    /// is not used any more.
    pub fn reach_number(&self) -> u64 {
        self.reach_number.load(Relaxed)
    }

    /// In which version of the PROXY protocol its backends are told of clients. One relaxed load.
    #[inline]
    pub fn announces(&self) -> Option<Version> {
        match self.announces.load(Relaxed) {
            0 => None,
            1 => Some(Version::V1),
            _ => Some(Version::V2),
        }
    }

    /// A number unique in the process, for keys of maps.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether its policy wants the hash of a key: `config().balance.hash` has the parts.
    pub fn wants_hash(&self) -> bool {
        self.settings.load().balance.hash.is_some()
    }

    /// Everyone, in the order of the config; removed ones that still drain come last.
    pub fn members(&self) -> Vec<Member> {
        self.members.lock().show(|at| self.clock.wall(at))
    }

    /// What is known of its backends, for another process to go on from: see
    /// [`Change::Remembered`].
    pub fn remember(&self, now: Instant) -> Vec<Verdict> {
        self.members.lock().remember(now)
    }

    /// Shows everyone at a glance, in the order of [`Pool::members`]. The lock is held meanwhile:
    /// `look` is short and never calls the pool.
    pub fn glance(&self, look: impl FnMut(Glance<'_>)) {
        self.members.lock().glance().for_each(look);
    }

    /// One member by its number, a removed one that still drains too. The same time however many
    /// there are.
    pub fn member(&self, id: BackendId) -> Option<Member> {
        self.members.lock().show_one(id, |at| self.clock.wall(at))
    }

    /// The backend of a name by its [number](Backend::number), where clients come back to their
    /// backends and it was not removed. No lock.
    pub fn named(&self, number: u64) -> Option<Arc<Backend>> {
        self.named.load().as_ref()?.get(&number).cloned()
    }

    /// One backend by its number, unless it was removed.
    pub fn backend(&self, id: BackendId) -> Option<Arc<Backend>> {
        self.members.lock().backend(id)
    }

    /// Whether nobody gets new work: then all of it are probed every 100 ms and one good probe
    /// suffices. One relaxed load.
    pub fn is_out(&self) -> bool {
        self.read.out.load(Relaxed)
    }
}

fn announced(reach: &Reach) -> u8 {
    match reach.announces {
        None => 0,
        Some(Version::V1) => 1,
        Some(Version::V2) => 2,
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;

//! A backend in its three shapes: said ([`Endpoint`]), known ([`Backend`]), usable ([`Candidate`]).
use super::adaptive::{Adaptive, Bounds, End, Heard};
use super::addresses::{Addresses, Place};
use super::balance::Ask;
use super::cells::{Cells, Picks};
use super::clients::Clients;
use super::declined::{Declined, Found};
use super::doubt::is_long;
use super::ewma::tick;
use super::fairness::{Given, Turns};
use super::hot::{Hot, Quiet};
use super::outlier::Tally;
use super::pauses::Pauses;
use super::races::Races;
use super::recent::ONE;
use super::renewals::Renewals;
use super::row::Row;
use super::silence::{Learnt, Watch};
use crate::config::{Addr, MaxActive, Name, Rate, Silence, Weight};
use crate::metrics::labels;
use crate::net::{Named, Target};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

/// A backend's number in its pool: dense, never reused in the pool's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

/// What becomes of the work of a backend that was drained or removed, and of others: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leave {
    /// When it will be cut: after `pool.drain`.
    pub until: Option<Instant>,
    /// It is to be cut now.
    pub over: bool,
}

/// A backend as config or discovery says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its identity.
    pub name: Name,
    /// Its address as written.
    pub addr: Addr,
    /// Its weight.
    pub weight: Weight,
    /// 1 first.
    pub tier: u8,
}

impl Endpoint {
    /// One that a config says.
    pub fn of(said: &crate::config::Backend) -> Self {
        let crate::config::Backend { name, addr, weight, tier, .. } = said.clone();
        Self { name, addr, weight, tier }
    }
}

/// A backend as the pool knows it: counters that outlive every set it is in. Another address under
/// the same name is another backend; what both counted is told together (`Member::cells`).
#[derive(Debug)]
pub struct Backend {
    /// Its number.
    pub id: BackendId,
    /// Its name.
    pub name: Name,
    /// Its pool's name.
    pub pool: Name,
    /// Rendered labels: `pool="app",backend="b"`.
    pub labels: String,
    /// Counters.
    pub cells: Cells,
    addresses: Addresses,
    written: String,
    /// Its name as a number: the same in every process.
    number: u64,
    born: Instant,
    leave: watch::Sender<Leave>,
    is_over: AtomicBool,
    /// It is down: what need not stay there goes elsewhere. Written by turns.
    is_down: AtomicBool,
    /// What is learnt of how much it bears, where `max_active` has bounds.
    adaptive: Mutex<Option<Box<Adaptive>>>,
    /// The first word on it is still to come. Written by turns.
    is_awaited: AtomicBool,
    /// What its first bytes usually take; written only where the pool has `outlier.silence`.
    pub(super) usual: Learnt,
    /// As that: how long it goes without one while it has work.
    pauses: Pauses,
    /// Votes of tries that wait too long: asked only by those.
    pub(super) watch: Mutex<Watch>,
    /// Its failures in a row beside what others did meanwhile: asked only where a row begins or is long.
    pub(super) row: Mutex<Row>,
    /// Whose failures count: touched where clients come back to it.
    pub(super) clients: Clients,
    /// Its answers that declined: touched by those alone.
    pub(super) declined: Declined,
    /// When it last closed a kept connection under a request, in milliseconds and one; 0 for never.
    raced: AtomicU64,
    /// How often it does: touched by those requests alone.
    races: Mutex<Races>,
    /// Connections it cost for that.
    renewals: Renewals,
    /// When they were too many, as `raced`.
    unrenewed: AtomicU64,
    /// When bytes came behind an answer that has no body; the same.
    spilled: AtomicU64,
    /// First bytes that it had given when somebody waited far too long for one, and one; 0 for never.
    forlorn: AtomicU64,
    /// Tries that failed, for `turns`.
    failed: AtomicU64,
    /// Places it was given while it failed and everybody else was full: asked only then.
    turns: Mutex<Turns>,
    pub(super) hot: Hot,
}

/// What lasts is said so often.
const SAID: Duration = Duration::from_secs(60);

/// How often work had to leave a backend of any pool. One number for the process, as whoever waits
/// looks for all pools at once; it says only that there is something to look at.
static NEWS: AtomicU64 = AtomicU64::new(0);

/// Changes when a backend of any pool went down, fell silent, or is over.
pub fn news() -> u64 {
    NEWS.load(Relaxed)
}

impl Backend {
    /// A backend nobody has used yet.
    pub(super) fn new(
        id: BackendId,
        pool: &Name,
        endpoint: &Endpoint,
        most: Option<MaxActive>,
        now: Instant,
    ) -> Self {
        let new = Self {
            id,
            name: endpoint.name.clone(),
            pool: pool.clone(),
            labels: labels(&[("pool", pool), ("backend", &endpoint.name)]),
            cells: Cells::default(),
            written: endpoint.addr.to_string(),
            number: xxh3_64(endpoint.name.as_bytes()),
            addresses: Addresses::new(endpoint.addr.clone()),
            born: now,
            leave: watch::Sender::new(Leave::default()),
            is_over: AtomicBool::new(false),
            is_down: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            adaptive: Mutex::default(),
            usual: Learnt::default(),
            pauses: Pauses::default(),
            watch: Mutex::default(),
            row: Mutex::default(),
            clients: Clients::default(),
            declined: Declined::default(),
            raced: AtomicU64::new(0),
            races: Mutex::default(),
            renewals: Renewals::default(),
            unrenewed: AtomicU64::new(0),
            spilled: AtomicU64::new(0),
            forlorn: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            turns: Mutex::default(),
            hot: Hot::new(u32::MAX),
        };
        new.bound(most, now);
        new
    }
    /// Sets `max_active`. What was learnt stays, within other bounds.
    pub(super) fn bound(&self, most: Option<MaxActive>, now: Instant) {
        let mut adaptive = self.adaptive.lock();
        let limit = match most {
            None => u32::MAX,
            Some(MaxActive::Fixed(most)) => most,
            Some(MaxActive::Adaptive { min, max }) => {
                let bounds = Bounds { min, max };
                let seed = xxh3_64(self.name.as_bytes());
                let learnt =
                    adaptive.get_or_insert_with(|| Box::new(Adaptive::new(bounds, seed, now)));
                learnt.bound(bounds);
                learnt.limit()
            }
        };
        if !matches!(most, Some(MaxActive::Adaptive { .. })) {
            *adaptive = None;
        }
        self.hot.set_limit(limit);
    }
    /// Learns how much it bears. What comes while another thread does is passed over: nobody waits.
    pub(super) fn adapt(&self, begun: Instant, end: End, now: Instant) {
        self.teach(|learnt| learnt.learn(Heard { begun, end, active: self.active() }, now));
    }
    /// Time passes for what it learns.
    pub(super) fn look(&self, now: Instant) {
        self.teach(|learnt| learnt.look(self.active(), now));
    }
    fn teach(&self, teach: impl FnOnce(&mut Adaptive)) {
        if let Some(mut adaptive) = self.adaptive.try_lock()
            && let Some(learnt) = adaptive.as_mut()
        {
            teach(learnt);
            self.hot.set_limit(learnt.limit());
        }
    }
    /// How many requests or connections it may have at once now, where there is a limit.
    pub fn limit(&self) -> Option<u32> {
        self.hot.limit()
    }
    /// The address as written, as text.
    pub fn written(&self) -> &str {
        &self.written
    }
    /// What `Host` says where it names the backend: the address as written, `localhost` for a path, which
    /// cannot stand there (RFC 9110 7.2).
    pub fn host(&self) -> &str {
        if self.addresses.is_path() { "localhost" } else { &self.written }
    }
    /// The address as written.
    pub fn addr(&self) -> &Addr {
        &self.addresses.written
    }
    /// Where to dial now; `None` when a name has no address.
    pub fn dial(&self) -> Option<(Target, Place)> {
        self.addresses.dial()
    }
    /// Whether a connection to there is one to this backend still: not where its name has left that
    /// address.
    #[inline]
    pub fn holds(&self, place: &Place) -> bool {
        self.addresses.holds(place)
    }
    /// The resolved addresses of a name.
    pub fn resolved(&self) -> Arc<Named> {
        self.addresses.resolved()
    }
    /// Nothing good came from one of its name's addresses: others are preferred for a while.
    pub fn doubt_place(&self, place: &Place) {
        self.addresses.doubt(place);
    }
    /// This address of its name could not be reached: others come before it for a while.
    pub fn missed(&self, addr: SocketAddr) {
        self.addresses.resolved().missed(addr);
    }
    pub(super) fn resolve(&self, addrs: Vec<SocketAddr>) {
        self.addresses.resolve(addrs);
    }
    /// How often it was picked, by reason.
    pub fn picks(&self) -> &Picks {
        &self.hot.picks
    }
    /// Connections or requests in work.
    pub fn active(&self) -> u32 {
        self.hot.active()
    }
    /// Takes it out for new work at once: one store. The `Change` that says why follows.
    pub fn mark_unusable(&self) {
        self.hot.set_usable(false);
    }
    /// Whether new work may go there: one relaxed load.
    pub fn is_usable(&self) -> bool {
        self.hot.is_usable()
    }
    pub(super) fn set_leave(&self, leave: Leave) {
        self.is_over.store(leave.over, Relaxed);
        if leave.over {
            NEWS.fetch_add(1, Relaxed);
        }
        self.leave.send_replace(leave);
    }
    /// When what it still has will be cut, where it was drained or removed.
    pub fn drain_ends(&self) -> Option<Instant> {
        self.leave.borrow().until
    }
    /// What becomes of the work it has.
    pub(super) fn leave(&self) -> watch::Receiver<Leave> {
        self.leave.subscribe()
    }
    /// Whether it is down and gets no new work: one that drains is not down. Two relaxed loads.
    pub fn is_down(&self) -> bool {
        !self.hot.is_usable() && self.is_down.load(Relaxed)
    }
    pub(super) fn set_down(&self, down: bool) {
        self.is_down.store(down, Relaxed);
        if down {
            NEWS.fetch_add(1, Relaxed);
        }
    }
    /// Whether it is ejected for its silence: what can be sent elsewhere need not wait for it.
    pub fn is_silent(&self) -> bool {
        !self.hot.is_usable() && self.hot.quiet() == Quiet::Silent
    }
    /// Whether it was silent, and gets one try at a time until it answers one.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.hot.quiet() == Quiet::Trial
    }
    /// Somebody waited far too long for a first byte, when it had given so many.
    pub(super) fn forsake(&self, heard: u32) {
        self.forlorn.store(u64::from(heard) + 1, Relaxed);
    }
    /// Whether it has given none since.
    pub(super) fn is_forlorn(&self) -> bool {
        self.forlorn.load(Relaxed) == u64::from(self.hot.heard()) + 1
    }
    /// Whether several have waited too long, and it gave nobody a first byte since.
    pub(super) fn is_missed(&self) -> bool {
        self.watch.lock().are_several(self.hot.heard())
    }
    pub(super) fn set_quiet(&self, quiet: Quiet) {
        self.hot.set_quiet(quiet);
        if quiet == Quiet::Silent {
            NEWS.fetch_add(1, Relaxed);
        }
    }
    /// Its name as a number, the same in every process: other than that of every other backend of its
    /// pool, but for one chance in 2^38 among ten thousand.
    pub fn number(&self) -> u64 {
        self.number
    }
    /// Whether it may be picked for this ask: usable, below `max_active`, not to be avoided.
    pub(super) fn is_open(&self, ask: &Ask<'_>) -> bool {
        // Its number lies apart from its cells: it is not fetched where nobody is avoided.
        let hot = &self.hot;
        hot.is_usable() && !hot.is_full() && (ask.avoid.is_empty() || !ask.avoids(self.id))
    }
    /// Whether the first word on it is still to come, so that it is worth waiting for.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Relaxed)
    }
    pub(super) fn set_awaited(&self, awaited: bool) {
        self.is_awaited.store(awaited, Relaxed);
    }
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
    /// Ends when its time is over.
    pub(super) async fn over(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.leave().wait_for(|leave| leave.over).await;
    }
    /// What a first byte costs now, in seconds; `None` when nothing is known.
    pub fn cost(&self, now: Instant) -> Option<f32> {
        self.hot.ewma.cost(tick(self.age(now)))
    }
    pub(super) fn learn(&self, took: Duration, now: Instant) {
        self.hot.ewma.learn(took, tick(self.age(now)));
    }
    /// A try failed: policies that look at what is in work, or at what first bytes cost, send fewer.
    pub(super) fn penalise(&self, now: Instant, costs: bool) {
        let tick = tick(self.age(now));
        self.failed.fetch_add(1, Relaxed);
        self.hot.recent.fail(tick);
        if costs {
            self.hot.ewma.fail(tick);
        }
    }
    /// Whether it failed within the last seconds.
    pub(super) fn failed_lately(&self, now: Instant) -> bool {
        self.hot.recent.is_any() && self.hot.recent.load(tick(self.age(now))) > 0
    }
    /// Whether it failed at all.
    #[cfg(test)]
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Relaxed) > 0
    }
    /// Whether its turn has come for one more place, where those beside it were given so many.
    pub(super) fn has_turn(&self, now: Instant, others: u64, weight: f64) -> bool {
        let (own, failed) = (self.picks().all(), self.failed.load(Relaxed));
        self.turns.lock().allows(now, Given { own, failed, others, weight })
    }
    /// What became of its tries so far.
    pub(super) fn tally(&self) -> Tally {
        let answered: u64 = self.cells.by_class[1..5].iter().map(|class| class.get()).sum();
        let good = (answered + self.cells.closed.get()).saturating_sub(self.hot.failed_calls());
        Tally { good, bad: self.hot.faults() }
    }
    /// Its answers so far, and those of them that declined.
    pub(super) fn found(&self) -> Found {
        let all = self.cells.by_class[1..].iter().map(|class| class.get()).sum();
        self.declined.of(all)
    }
    /// As `tally`: of those who come back to it, or of all where nobody does; and of those who came unbound
    /// where others come back.
    pub(super) fn tallies(&self) -> [Tally; 2] {
        let (free, _) = self.clients.so_far();
        [self.tally().since(free), free]
    }
    /// As `tallies`, but for failures that are counted apart.
    pub(super) fn judged(&self) -> [Tally; 2] {
        let (free, bad) = self.clients.so_far();
        [self.tally().since(free).since(Tally { good: 0, bad }), free]
    }
    /// A try begins, and its first byte is waited for.
    #[inline]
    pub(super) fn wait_from(&self, now: Instant) {
        let hot = &self.hot;
        hot.doubt.begin(hot.heard(), hot.active() <= 1, self.millis(now));
    }
    /// Whether it should get no new work because it gave nobody a first byte for so long, in
    /// milliseconds, and longer than is usual, and this is no moment to ask it again.
    #[inline]
    pub(super) fn is_in_doubt(
        &self,
        least: u32,
        rules: impl FnOnce() -> Option<Silence>,
        now: Instant,
    ) -> bool {
        self.hot.doubt.is_waited_for(self.hot.heard())
            && self.hot.doubt.lasts(self.millis(now)) >= least
            && self.doubts(rules, now)
    }
    #[cold]
    fn doubts(&self, rules: impl FnOnce() -> Option<Silence>, now: Instant) -> bool {
        self.waits_long(rules, now) && !self.hot.doubt.lets(self.millis(now))
    }
    fn waits_long(&self, rules: impl FnOnce() -> Option<Silence>, now: Instant) -> bool {
        let (usual, lasts) = (self.usual.get(), self.hot.doubt.lasts(self.millis(now)));
        let most = || {
            let (rules, pause) = rules().map(|rules| (rules, self.pauses.most(&rules)))?;
            let most = usual.most(&rules)?;
            Some(pause.map_or(most, |pause| pause.min(most)))
        };
        self.active() > 0 && usual.is_known() && is_long(lasts, most())
    }
    /// A first byte comes now that took so long, and stands for others: what is usual is learnt of it.
    pub(super) fn learn_usual(&self, took: Duration, now: Instant) {
        self.usual.learn(took);
        let hot = &self.hot;
        let is_first = hot.doubt.is_waited_for(hot.heard());
        let pause = if is_first { hot.doubt.lasts(self.millis(now)) } else { 0 };
        self.pauses.learn(Duration::from_millis(pause.into()), took);
    }
    /// As `is_in_doubt`, whoever may be let through: for who only wants to know.
    pub(super) fn seems_in_doubt(&self, least: u32, rules: Option<Silence>, now: Instant) -> bool {
        self.hot.doubt.is_waited_for(self.hot.heard())
            && self.hot.doubt.lasts(self.millis(now)) >= least
            && self.waits_long(|| rules, now)
    }
    /// It closed a kept connection under a request, whoever's.
    pub(crate) fn raced(&self, now: Instant) {
        self.raced.store(self.stamp(now), Relaxed);
        let uses = self.picks().all().saturating_sub(self.cells.connect_ok.get());
        self.races.lock().note(uses);
    }
    /// Of the requests that kept connections carried of late, the share under which it closed them.
    pub(crate) fn race_share(&self) -> f64 {
        self.races.lock().share()
    }
    /// Whether it did so within this time.
    pub(crate) fn has_raced(&self, within: Duration, now: Instant) -> bool {
        self.was_stamped(&self.raced, within, now)
    }
    /// Whether a request may have a new connection although one is kept, which is not trusted.
    #[cold]
    pub(crate) fn renews(&self, rate: Option<Rate>, now: Instant) -> bool {
        let may = rate.is_none_or(|rate| self.renewals.take(rate, self.age(now)));
        if may {
            self.cells.renewed.inc();
            return true;
        }
        self.cells.unrenewed.inc();
        if !self.was_stamped(&self.unrenewed, SAID, now) {
            tracing::warn!(pool = %self.pool, backend = %self.name, "it closed kept connections under requests of \
                late, and so many requests come that should have new ones for that, that keep_alive.renew is \
                reached: the others take kept ones; let it keep them longer than keep_alive.idle says");
            self.unrenewed.store(self.stamp(now), Relaxed);
        }
        false
    }
    /// Whether a connection that was kept is closed in order, which keeps its port for a while: where it
    /// need not be, so long as few are.
    pub(crate) fn closes_in_order(&self, rate: Option<Rate>, must: bool, now: Instant) -> bool {
        let Some(rate) = rate else { return true };
        if must {
            self.renewals.charge(rate, self.age(now));
        }
        must || self.renewals.spare(rate, self.age(now))
    }
    /// Bytes came behind an answer that has no body.
    pub(crate) fn spilled(&self, now: Instant) {
        self.spilled.store(self.stamp(now), Relaxed);
    }
    /// Whether they did within this time.
    pub(crate) fn has_spilled(&self, within: Duration, now: Instant) -> bool {
        self.was_stamped(&self.spilled, within, now)
    }
    /// A moment as it is kept: 0 is never.
    fn stamp(&self, now: Instant) -> u64 {
        self.age(now).as_millis() as u64 + 1
    }
    fn was_stamped(&self, stamp: &AtomicU64, within: Duration, now: Instant) -> bool {
        let at = stamp.load(Relaxed).checked_sub(1).map(Duration::from_millis);
        at.is_some_and(|at| self.age(now).saturating_sub(at) < within)
    }
    fn millis(&self, now: Instant) -> u32 {
        self.age(now).as_millis() as u32
    }
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }
}

/// A backend in a set that can be chosen from.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Itself.
    pub backend: Arc<Backend>,
    /// Its weight in this set; never 0.
    pub weight: u32,
    /// Its number: beside the weight, so that it is read without the backend.
    pub(super) id: BackendId,
}

impl Candidate {
    /// For tests, benches and embedders: a candidate outside any pool. `id` must differ between
    /// candidates of one set. A weight of 0 counts as 1, one above 1000 as 1000.
    ///
    /// # Errors
    ///
    /// A name that is none.
    pub fn new(name: &str, id: u32, weight: u32) -> Result<Self, String> {
        let weight = weight.clamp(1, 1000);
        let endpoint = Endpoint {
            name: Name::new(name)?,
            addr: Addr::Unix(name.into()),
            weight: Weight::new(weight as u16).unwrap_or(Weight::DEFAULT),
            tier: 1,
        };
        let pool = Name::new("none")?;
        let backend = Backend::new(BackendId(id), &pool, &endpoint, None, Instant::now());
        Ok(Self { id: backend.id, backend: Arc::new(backend), weight })
    }
    /// For tests, benches and embedders: with so many leases out.
    #[must_use]
    pub fn with_active(self, active: u32) -> Self {
        self.backend.hot.set_active(active);
        self
    }
    /// What it has in work, the one that comes included, and what failed there lately: in parts of
    /// [`ONE`](super::recent::ONE). For policies that send where least is in work. `now` is asked
    /// only where something failed.
    pub(super) fn load(&self, now: impl FnOnce() -> Instant) -> u64 {
        let (backend, hot) = (&self.backend, &self.backend.hot);
        let work = (u64::from(hot.active()) + 1) * u64::from(ONE);
        if !hot.recent.is_any() {
            return work;
        }
        work + u64::from(hot.recent.load(tick(backend.age(now()))))
    }
    /// Whether it may be picked for this ask: usable, below `max_active`, not to be avoided. Every
    /// policy asks this of the one it is about to pick.
    pub fn is_open(&self, ask: &Ask<'_>) -> bool {
        self.backend.is_open(ask)
    }
    /// Whether it may be picked in place of one that is closed: who fails at once is always open, and
    /// would get what is everybody's.
    pub(super) fn stands_in(&self, ask: &Ask<'_>) -> bool {
        self.is_open(ask) && !self.backend.failed_lately(ask.now)
    }
}

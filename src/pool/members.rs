//! The truth about a pool: endpoints x health x the operator's wish. Pure: time is an argument, and
//! nothing here builds, waits or logs.
use super::backend::{Backend, BackendId, Candidate, Endpoint};
use super::balance::Sizes;
use super::change::{Author, Change, Glance, Member, Miss, Reason, State, Turn, Wish};
use super::health::Health;
use super::known::Known;
use super::line::Past;
use super::outlier::Count;
use super::slow_start;
use super::words::{self, Word, Words};
use crate::config::{self, Addr, MaxActive, Name};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Who a pool knows.
#[derive(Debug)]
pub(super) struct Members {
    pool: Name,
    pub(super) config: Arc<config::Pool>,
    /// In the order of the config; removed ones last.
    pub(super) list: Vec<Known>,
    by_id: HashMap<BackendId, usize>,
    /// Places in `list` of those that are not removed, by name: the order of a set, so that it does
    /// not depend on the file's.
    by_name: Vec<usize>,
    /// What config or discovery says, before the API's words.
    said: Vec<Endpoint>,
    /// What the API says.
    words: Words,
    /// What operators want other than `Up`. Names that went stay, for they may come back.
    wishes: HashMap<Name, Wish>,
    next: u32,
    count: Count,
    /// When the next ejection ends, at the earliest.
    pub(super) free: Option<Instant>,
    /// When shares of weights are counted anew.
    pub(super) step: Option<Instant>,
    /// When the current window of success rates ends.
    window: Option<Instant>,
    /// The last set that was asked for was one for a panic.
    panic: bool,
    /// Somebody got work once.
    pub(super) served: bool,
    /// `snapshot` would no longer say what it last said.
    stale: bool,
    /// Somebody drains, is in maintenance, or was until the last `forget`.
    leaving: bool,
    /// How often those were picked that are forgotten.
    gone: u64,
    /// What those counted whose name has another address now.
    past: Past,
    /// Counts what became known: states, reasons, addresses, sets.
    news: u64,
}

/// Who is usable, for a snapshot to be built from.
#[derive(Debug)]
pub(super) struct Usable {
    /// In the order of their names.
    pub(super) candidates: Vec<Candidate>,
    /// Too few are healthy: those that are a last resort are among them.
    pub(super) panic: bool,
    /// Nobody was ever up, and the first word on somebody is still to come.
    pub(super) pending: bool,
    /// Sizes of hash tables, by what is configured and never by health.
    pub(super) sizes: Sizes,
    /// Who is up in each of the tiers after theirs that has somebody.
    pub(super) later: Vec<(Vec<Candidate>, Sizes)>,
}

impl Members {
    pub(super) fn new(pool: Name, config: Arc<config::Pool>) -> Self {
        Self {
            pool,
            config,
            list: Vec::new(),
            by_id: HashMap::new(),
            by_name: Vec::new(),
            said: Vec::new(),
            words: Words::new(),
            wishes: HashMap::new(),
            next: 0,
            count: Count::default(),
            free: None,
            step: None,
            window: None,
            panic: false,
            served: false,
            stale: false,
            leaving: false,
            gone: 0,
            past: Past::default(),
            news: 0,
        }
    }

    /// What a change does. A change about somebody unknown does nothing.
    pub(super) fn apply(&mut self, change: Change, now: Instant) -> Vec<Turn> {
        match change {
            Change::Endpoints(endpoints) => {
                self.said = endpoints;
                self.lay(Author::File, now)
            }
            Change::Words(words) => self.hear(words, now),
            Change::Gone => {
                (self.said, self.words) = Default::default();
                self.lay(Author::File, now)
            }
            Change::Resolved { id, addrs } => {
                self.news += 1;
                let detail = if addrs.is_empty() { "no address" } else { "resolved" };
                self.one(id, detail.into(), now, |known, _| {
                    (known.unresolved, known.answered) = (addrs.is_empty(), true);
                    known.backend.resolve(addrs);
                })
            }
            Change::Probed { id, verdict } => self.probed(id, verdict, now),
            Change::Unreached { id, detail } => self.one(id, detail, now, |known, config| {
                known.refused(config.health.is_some());
                known.backend.mark_unusable();
            }),
            Change::OffLimits { id, why } => {
                let detail = why.clone().unwrap_or_else(|| "it may be dialled again".into());
                self.one(id, detail, now, |known, _| {
                    known.off_limits = why.is_some();
                    known.last_probe = why.map(|why| (now, why)).or(known.last_probe.take());
                })
            }
            Change::Failing { id, detail } => {
                self.eject(id, Reason::ConsecutiveFailures, detail, now)
            }
            Change::Silent { id, detail } => self.eject(id, Reason::Silence, detail, now),
            Change::Heard { id } => {
                self.one(id, "it answers again".into(), now, |known, _| known.heard(now))
            }
            Change::Remembered(verdicts) => {
                self.recall(&verdicts, now);
                Vec::new()
            }
            Change::Tick => self.tick(now),
            Change::Operator { name, wish } => self.wish(&name, wish, now),
        }
    }

    /// The settings of a config. Its endpoints follow as a change.
    pub(super) fn set(&mut self, config: Arc<config::Pool>, now: Instant) -> Vec<Turn> {
        let climbs = self.config.slow_start != config.slow_start;
        self.stale |= self.config.balance != config.balance
            || self.config.panic_threshold != config.panic_threshold;
        if self.config.outlier != config.outlier {
            self.window = None;
        }
        self.config = config;
        for known in &mut self.list {
            known.backend.bound(self.config.max_active, now);
            match self.config.outlier {
                None => known.release(now),
                // Nobody listens any more.
                Some(outlier) if outlier.silence.is_none() => known.heard(now),
                Some(_) => {}
            }
            match self.config.health {
                // Nobody would ever take back what the last probe said.
                None => known.health = Health::UP,
                // Where there are probes it must rise again, also if they begin only here.
                Some(_) if known.unreached && matches!(known.health, Health::Up { .. }) => {
                    known.refused(true);
                }
                Some(_) => {}
            }
            // Who had to wait for a probe may have none to wait for now.
            self.free = self.free.into_iter().chain(known.record.until().map(|_| now)).min();
        }
        let mut turns = self.judge_all("settings", now);
        if climbs {
            turns.extend(self.climb(now));
        }
        turns
    }

    /// What the API says of some: the set is laid anew.
    fn hear(&mut self, said: Vec<(Name, Option<Word>)>, now: Instant) -> Vec<Turn> {
        for (name, word) in said {
            match word.as_ref().and_then(|word| word.wish) {
                None | Some(Wish::Up) => self.wishes.remove(&name),
                Some(wish) => self.wishes.insert(name.clone(), wish),
            };
            match word {
                Some(word) => self.words.insert(name, word),
                None => self.words.remove(&name),
            };
        }
        self.lay(Author::Api, now)
    }

    /// Whoever is no longer named is sent away by `by`.
    fn lay(&mut self, by: Author, now: Instant) -> Vec<Turn> {
        let endpoints = words::lay(&self.said, &self.words);
        self.name(endpoints, by, now)
    }

    /// The whole set. Who is still named stays as it is, with the new weight and tier; who is named
    /// no longer drains; who comes back while it drains goes on where it was.
    fn name(&mut self, endpoints: Vec<Endpoint>, by: Author, now: Instant) -> Vec<Turn> {
        self.news += 1;
        let before = std::mem::take(&mut self.list);
        let mut places: HashMap<(Name, Addr), usize> = HashMap::with_capacity(before.len());
        let mut lines: HashMap<Name, BackendId> = HashMap::with_capacity(before.len());
        let mut before: Vec<Option<Known>> = before.into_iter().map(Some).collect();
        for (place, known) in before.iter().enumerate() {
            let Some(known) = known else { continue };
            places.insert((known.endpoint.name.clone(), known.endpoint.addr.clone()), place);
            lines.insert(known.endpoint.name.clone(), known.line);
        }
        let mut named: HashSet<Name> = HashSet::with_capacity(endpoints.len());
        for endpoint in endpoints {
            if !named.insert(endpoint.name.clone()) {
                continue;
            }
            let key = (endpoint.name.clone(), endpoint.addr.clone());
            let kept = places.remove(&key).and_then(|place| before[place].take());
            let known = match kept {
                Some(known) => self.keep(known, endpoint),
                None => self.begin(endpoint, &lines, now),
            };
            self.list.push(known);
        }
        for mut known in before.into_iter().flatten() {
            self.stale |= known.removed.is_none();
            known.removed.get_or_insert((now, by));
            self.list.push(known);
        }
        self.index();
        let detail = match by {
            Author::File => "no longer named",
            Author::Api => "the API said so",
        };
        self.judge_all(detail, now)
    }

    fn keep(&mut self, mut known: Known, endpoint: Endpoint) -> Known {
        self.stale |= known.endpoint != endpoint || known.removed.is_some();
        known.removed = None;
        known.endpoint = endpoint;
        known.wish = self.wishes.get(&known.endpoint.name).copied().unwrap_or(Wish::Up);
        known.lapsed = self.has_lapsed(&known.endpoint.name);
        known
    }

    fn has_lapsed(&self, name: &Name) -> bool {
        self.words.get(name).is_some_and(|word| word.lapsed)
    }

    fn begin(
        &mut self,
        endpoint: Endpoint,
        lines: &HashMap<Name, BackendId>,
        now: Instant,
    ) -> Known {
        self.stale = true;
        let id = BackendId(self.next);
        self.next += 1;
        let backend = Backend::new(id, &self.pool, &endpoint, self.config.max_active, now);
        let wish = self.wishes.get(&endpoint.name).copied().unwrap_or(Wish::Up);
        self.leaving |= wish != Wish::Up;
        let lapsed = self.has_lapsed(&endpoint.name);
        let line = lines.get(&endpoint.name).copied().unwrap_or(id);
        let mut known = Known::new(endpoint, backend, wish, self.config.health.is_some(), now);
        (known.lapsed, known.line) = (lapsed, line);
        known.founder = !self.served;
        if known.state.works() {
            known.ramp = if known.founder { None } else { self.begins(now) };
            known.state = known.judge().0;
        }
        known.end(self.config.drain.get(), now);
        known
    }

    fn probed(&mut self, id: BackendId, verdict: Result<(), Miss>, now: Instant) -> Vec<Turn> {
        let (good, refused) = (verdict.is_ok(), verdict.as_ref().is_err_and(|miss| miss.refused));
        let detail = verdict.err().map_or_else(|| "ok".into(), |miss| miss.detail);
        // While nobody is left, one good probe suffices.
        let out = self.is_out();
        self.one(id, detail.clone(), now, |known, config| {
            let rules = config.health.as_ref().map(|h| (if out { 1 } else { h.rise }, h.fall));
            known.probed(good, refused, rules);
            if known.may_return(config.health.is_some(), now)
                && known.record.held() == Some(Reason::Silence)
            {
                known.back(now);
            }
            known.last_probe = Some((now, detail));
        })
    }

    fn wish(&mut self, name: &Name, wish: Wish, now: Instant) -> Vec<Turn> {
        let named = |known: &&Known| known.removed.is_none() && known.endpoint.name == *name;
        let Some(id) = self.list.iter().find(named).map(|known| known.backend.id) else {
            return Vec::new();
        };
        match wish {
            Wish::Up => self.wishes.remove(name),
            Wish::Drain | Wish::Maintenance => self.wishes.insert(name.clone(), wish),
        };
        self.one(id, "an operator said so".into(), now, |known, _| known.wish = wish)
    }

    /// Changes one member and judges it again: the same time however many there are.
    fn one(
        &mut self,
        id: BackendId,
        detail: String,
        now: Instant,
        change: impl FnOnce(&mut Known, &config::Pool),
    ) -> Vec<Turn> {
        let Some(place) = self.by_id.get(&id).copied() else { return Vec::new() };
        let known = &mut self.list[place];
        let (before, was_awaited) = (known.count(), known.is_awaited());
        change(known, &self.config);
        // Whoever waits for a first word hears of it, even where it changes no state.
        self.stale |= was_awaited != known.is_awaited();
        let state = known.judge().0;
        let works = known.is_wanted() && state.works();
        let is_out = self.count.up == before.up && !works;
        if !(is_out && (before.up > 0 || state == State::Ejected)) {
            let turn = self.judge(place, &detail, now);
            self.list[place].tell();
            self.count.change(before, self.list[place].count());
            return turn.into_iter().collect();
        }
        self.relent(now);
        self.judge_all(&detail, now)
    }

    /// Judges everybody after the set or the settings changed.
    pub(super) fn judge_all(&mut self, detail: &str, now: Instant) -> Vec<Turn> {
        if !self.list.iter().any(|known| known.is_wanted() && known.judge().0.works()) {
            self.relent(now);
        }
        let turns = (0..self.list.len()).filter_map(|i| self.judge(i, detail, now)).collect();
        self.count = Count::default();
        for known in &self.list {
            self.count.change(Count::default(), known.count());
        }
        self.list.iter().for_each(Known::tell);
        self.served |= self.count.up > 0;
        turns
    }

    /// Flips the usable bit at once where the state or its reason changed; says so where the state
    /// did.
    fn judge(&mut self, place: usize, detail: &str, now: Instant) -> Option<Turn> {
        self.ramp_at(place, now);
        let drain = self.config.drain.get();
        let known = &mut self.list[place];
        let (state, reason) = known.judge();
        if (state, reason) == (known.state, known.reason) {
            return None;
        }
        self.stale = true;
        self.news += 1;
        let from = std::mem::replace(&mut known.state, state);
        known.reason = reason;
        known.ever_up |= state.works();
        self.served |= state.works();
        known.backend.hot.set_usable(state.works());
        known.backend.set_down(state == State::Down);
        if from == state {
            return None;
        }
        known.since = now;
        known.end(drain, now);
        self.leaving |= from.is_leaving() || state.is_leaving();
        known.backend.cells.turned(state);
        let backend = known.endpoint.name.clone();
        Some(Turn { backend, from, to: state, reason, detail: detail.to_string() })
    }

    fn index(&mut self) {
        self.by_id = self.list.iter().enumerate().map(|(i, known)| (known.backend.id, i)).collect();
        let here = |i: &usize| self.list[*i].removed.is_none();
        self.by_name = (0..self.list.len()).filter(here).collect();
        self.by_name.sort_by(|a, b| self.list[*a].endpoint.name.cmp(&self.list[*b].endpoint.name));
    }

    /// Ends the time of what drains for longer than `pool.drain`, and drops removed members whose
    /// last lease has ended or whose time is over. To be called again and again: while nobody
    /// leaves it looks at nobody.
    pub(super) fn forget(&mut self, now: Instant) {
        if matches!(self.config.max_active, Some(MaxActive::Adaptive { .. })) {
            self.list.iter().for_each(|known| known.backend.look(now));
        }
        self.past.settle(&self.list);
        if !std::mem::take(&mut self.leaving) {
            return;
        }
        let drain = self.config.drain.get();
        for known in &mut self.list {
            known.end(drain, now);
            self.leaving |= known.state.is_leaving();
        }
        let before = self.list.len();
        self.list.retain(|known| {
            let stays =
                known.removed.is_none() || (known.backend.active() > 0 && !known.leave.over);
            if !stays {
                self.gone += known.backend.picks().all();
                self.past.forget(known);
            }
            stays
        });
        if self.list.len() < before {
            self.past.settle(&self.list);
            self.index();
        }
    }

    /// How often anybody was picked so far.
    pub(super) fn picks(&self) -> u64 {
        self.gone + self.list.iter().map(|known| known.backend.picks().all()).sum::<u64>()
    }

    /// Whether nobody gets new work.
    pub(super) fn is_out(&self) -> bool {
        self.count.up == 0
    }

    /// How much became known so far.
    pub(super) fn news(&self) -> u64 {
        self.news
    }

    /// Whether `snapshot` would say something else than it last did.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Who is usable now: the lowest tier that has somebody, and below the panic threshold those of
    /// it, too, that are a last resort; and who is up in the tiers after it. Sets the usable bits to this.
    pub(super) fn snapshot(&mut self) -> Usable {
        let wanted: Vec<&Known> =
            self.by_name.iter().map(|i| &self.list[*i]).filter(|k| k.is_wanted()).collect();
        let pending = self.count.up == 0
            && !wanted.iter().any(|known| known.ever_up)
            && wanted.iter().any(|known| known.is_awaited());
        let lowest = |is: fn(&Known) -> bool| {
            wanted.iter().filter(|known| is(known)).map(|known| known.endpoint.tier).min()
        };
        let tier = lowest(Known::is_up)
            .or_else(|| self.config.panic_threshold.and_then(|_| lowest(Known::is_last_resort)));
        let of_tier = || wanted.iter().filter(|known| Some(known.endpoint.tier) == tier);
        let (all, up) = (of_tier().count(), of_tier().filter(|known| known.is_up()).count());
        let below = |share: config::Percent| (up as f64) < share.get() * all as f64;
        let panic = !pending && self.config.panic_threshold.is_some_and(below);
        let is_called = |known: &Known| Some(known.endpoint.tier) == tier && known.is_last_resort();
        let usable = |known: &Known| known.is_up() || (panic && is_called(known));
        if panic || self.panic {
            for known in &wanted {
                known.backend.hot.set_usable(usable(known));
            }
        }
        let weights = self.list.iter().filter(|known| known.removed.is_none());
        let sizes = Sizes::of(weights.map(|known| u32::from(known.endpoint.weight.get())));
        let (candidates, sizes) = set(&wanted, tier, usable, sizes);
        let is_later = |known: &&&Known| known.is_up() && Some(known.endpoint.tier) > tier;
        let later: BTreeSet<u8> = wanted.iter().filter(is_later).map(|k| k.endpoint.tier).collect();
        let later = later.into_iter().map(|tier| set(&wanted, Some(tier), Known::is_up, sizes));
        let later = later.collect();
        (self.panic, self.stale) = (panic, false);
        Usable { candidates, panic, pending, sizes, later }
    }

    /// Everyone, as shown.
    pub(super) fn show(&self, wall: impl Fn(Instant) -> SystemTime) -> Vec<Member> {
        let told = self.past.told(&self.list);
        self.list.iter().zip(told).map(|(known, told)| known.show(told, &wall)).collect()
    }

    /// Everyone at a glance.
    pub(super) fn glance(&self) -> impl Iterator<Item = Glance<'_>> {
        self.list.iter().map(Known::glance)
    }

    /// One, as shown.
    pub(super) fn show_one(
        &self,
        id: BackendId,
        wall: impl Fn(Instant) -> SystemTime,
    ) -> Option<Member> {
        let place = *self.by_id.get(&id)?;
        let told = self.past.told(&self.list).swap_remove(place);
        Some(self.list[place].show(told, wall))
    }

    /// Everyone who is not removed, by the numbers of their names.
    pub(super) fn named(&self) -> HashMap<u64, Arc<Backend>> {
        let here = self.by_name.iter().map(|place| &self.list[*place].backend);
        here.map(|backend| (backend.number(), backend.clone())).collect()
    }

    /// One that is not removed.
    pub(super) fn backend(&self, id: BackendId) -> Option<Arc<Backend>> {
        let known = &self.list[*self.by_id.get(&id)?];
        known.removed.is_none().then(|| known.backend.clone())
    }
}

/// The usable ones of a tier, and what their weights are multiplied by.
fn set(
    wanted: &[&Known],
    tier: Option<u8>,
    usable: impl Fn(&Known) -> bool,
    sizes: Sizes,
) -> (Vec<Candidate>, Sizes) {
    let here = || wanted.iter().filter(|known| Some(known.endpoint.tier) == tier);
    let sum = here().map(|known| u64::from(known.endpoint.weight.get())).sum();
    let ramps = here().any(|known| known.ramp.is_some());
    let scale = if ramps { slow_start::scale(sum) } else { 1 };
    let candidate = |known: &Known| Candidate {
        id: known.backend.id,
        backend: known.backend.clone(),
        weight: known.weight(scale),
    };
    let usable = here().filter(|known| usable(known));
    (usable.map(|known| candidate(known)).collect(), Sizes { scale, ..sizes })
}

#[path = "members_passive.rs"]
mod passive;
#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;

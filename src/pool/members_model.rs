//! What members should say, written a second time and another way: plain rules over plain facts,
//! looked through from the start for each question.
use super::*;
use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Waker};

/// Whether what still runs on a backend is to be cut.
pub(super) fn is_over(backend: &Backend) -> bool {
    let over = pin!(backend.over());
    over.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// What the last probes said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    None,
    Good,
    Bad,
}

/// One member, as it should be.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) backend: Arc<Backend>,
    pub(super) endpoint: Endpoint,
    pub(super) removed: bool,
    addresses: usize,
    answered: bool,
    refused: bool,
    verdict: Verdict,
    /// Probes in a row against the verdict.
    against: u32,
    ever_up: bool,
    /// Until when what it did to its tries keeps it out.
    held: Option<(Reason, Instant)>,
    /// Its last probe since then was good.
    proven: bool,
    /// How often it was, and when it last came back.
    times: u32,
    back: Option<Instant>,
    /// It came back from a silence by time, and has not answered since.
    trial: bool,
    pub(super) state: State,
    since: Instant,
}

/// A pool's members, as they should be.
pub(super) struct Model {
    pub(super) config: config::Pool,
    pub(super) facts: Vec<Fact>,
    pub(super) wishes: BTreeMap<Name, Wish>,
}

impl Model {
    fn wish(&self, fact: &Fact) -> Wish {
        self.wishes.get(&fact.endpoint.name).copied().unwrap_or(Wish::Up)
    }

    /// The state and its reason.
    pub(super) fn state(&self, fact: &Fact) -> (State, Reason) {
        let is_name = matches!(fact.endpoint.addr, Addr::Host(..));
        if fact.removed {
            return (State::Drain, Reason::Removed);
        }
        match self.wish(fact) {
            Wish::Drain => return (State::Drain, Reason::Operator),
            Wish::Maintenance => return (State::Maintenance, Reason::Operator),
            Wish::Up => {}
        }
        if is_name && fact.addresses == 0 {
            return (State::Down, Reason::Unresolved);
        }
        if fact.refused {
            return (State::Down, Reason::Connect);
        }
        match fact.verdict {
            Verdict::None => (State::Unknown, Reason::NotProbed),
            Verdict::Bad => (State::Down, Reason::Probe),
            Verdict::Good => match fact.held {
                Some((reason, _)) => (State::Ejected, reason),
                None => (State::Up, Reason::None),
            },
        }
    }

    fn wanted(&self, fact: &Fact) -> bool {
        !fact.removed && fact.endpoint.weight.get() > 0 && self.wish(fact) == Wish::Up
    }

    /// Whether it gets new work when its tier does.
    pub(super) fn works(&self, fact: &Fact) -> bool {
        self.wanted(fact) && self.state(fact).0 == State::Up
    }

    /// Nobody was refused by it, and nobody took it out.
    fn only_probes_speak_against(&self, fact: &Fact) -> bool {
        let (state, reason) = self.state(fact);
        let probes = reason == Reason::Probe || reason == Reason::NotProbed;
        self.wanted(fact) && (probes || state == State::Ejected)
    }

    /// What passive health never does.
    pub(super) fn holds(&self, said: &str) {
        let is_held = |f: &&Fact| self.wanted(f) && self.state(f).0 == State::Ejected;
        let held = self.facts.iter().filter(is_held).count();
        assert!(held == 0 || !self.is_out(), "ejections alone leave nobody: {said}");
        assert!(held == 0 || self.config.outlier.is_some(), "{said}");
    }

    /// Whether one more may be ejected.
    fn may_eject(&self, fact: &Fact, silent: bool) -> bool {
        let Some(outlier) = &self.config.outlier else { return false };
        let wanted = self.facts.iter().filter(|f| self.wanted(f));
        let held = wanted.clone().filter(|f| f.held.is_some()).count();
        let others = self.facts.iter().filter(|f| self.works(f)).count() > 1;
        let within = (held + 1) as f64 <= outlier.max_ejected.get() * wanted.count() as f64;
        self.works(fact) && others && (silent || within || held == 0)
    }

    /// Nobody would get work: those who are ejected do.
    fn relent(&mut self, now: Instant) {
        if !self.is_out() {
            return;
        }
        for i in 0..self.facts.len() {
            let fact = &self.facts[i];
            if self.wanted(fact) && self.state(fact).0 == State::Ejected {
                self.facts[i].free(now);
            }
        }
    }

    pub(super) fn is_out(&self) -> bool {
        !self.facts.iter().any(|fact| self.works(fact))
    }

    /// Nobody was up yet, and somebody has not been heard of.
    pub(super) fn pending(&self) -> bool {
        let unheard = |fact: &Fact| match self.state(fact) {
            (State::Unknown, _) => true,
            (_, Reason::Unresolved) => !fact.answered,
            _ => false,
        };
        let mut wanted = self.facts.iter().filter(|fact| self.wanted(fact));
        self.is_out() && wanted.clone().all(|fact| !fact.ever_up) && wanted.any(unheard)
    }

    /// Who is to be picked from, by name, and whether that is for a panic.
    pub(super) fn usable(&self) -> (Vec<(Name, BackendId, u16)>, bool) {
        let mut panics = false;
        let mut set = Vec::new();
        for tier in 1..=u8::MAX {
            let here: Vec<&Fact> =
                self.facts.iter().filter(|f| self.wanted(f) && f.endpoint.tier == tier).collect();
            let up = here.iter().filter(|fact| self.works(fact)).count();
            let ill = here.iter().filter(|fact| self.only_probes_speak_against(fact)).count();
            // Only where no tier at all has somebody up do the ill ones of one open it.
            let opens =
                up > 0 || (self.is_out() && ill > 0 && self.config.panic_threshold.is_some());
            if !opens {
                continue;
            }
            let share = up as f64 / here.len() as f64;
            panics = self.config.panic_threshold.is_some_and(|least| share < least.get());
            panics &= !self.pending();
            set = here;
            set.retain(|f| self.works(f) || (panics && self.only_probes_speak_against(f)));
            break;
        }
        let row = |f: &Fact| (f.endpoint.name.clone(), f.backend.id, f.endpoint.weight.get());
        let mut set: Vec<_> = set.into_iter().map(row).collect();
        set.sort();
        (set, panics)
    }

    /// Who works in each tier after that of these.
    pub(super) fn later(&self, set: &[(Name, BackendId, u16)]) -> Vec<Vec<BackendId>> {
        let of = |(_, id, _): &(Name, BackendId, u16)| {
            self.facts.iter().find(|f| f.backend.id == *id).map(|f| f.endpoint.tier)
        };
        let Some(first) = set.first().and_then(of) else { return Vec::new() };
        let works = |tier: u8| {
            let here = self.facts.iter().filter(|f| f.endpoint.tier == tier && self.works(f));
            let mut all: Vec<_> = here.map(|f| (f.endpoint.name.clone(), f.backend.id)).collect();
            all.sort();
            all.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
        };
        (first + 1..=u8::MAX).map(works).filter(|set| !set.is_empty()).collect()
    }

    /// Whether its time to drain has passed.
    pub(super) fn is_over(&self, fact: &Fact, now: Instant) -> bool {
        let leaves = matches!(self.state(fact).0, State::Drain | State::Maintenance);
        leaves && self.config.drain.get().is_some_and(|drain| now >= fact.since + drain)
    }

    /// What a change does to the facts; the states follow in `turn`.
    pub(super) fn change(&mut self, change: &Change, real: &Members, now: Instant) {
        let out = self.is_out();
        let health = self.config.health.clone();
        let of = |facts: &mut Vec<Fact>, id| facts.iter().position(|fact| fact.backend.id == id);
        match change {
            Change::Endpoints(said) => self.name(said, real, now),
            Change::Gone => self.name(&[], real, now),
            Change::Words(_) | Change::Remembered(_) | Change::OffLimits { .. } => {
                unreachable!("the walk says none; these have tests of their own")
            }
            Change::Operator { name, wish } => {
                if self.facts.iter().any(|f| !f.removed && f.endpoint.name == *name) {
                    self.wishes.insert(name.clone(), *wish);
                }
            }
            Change::Resolved { id, addrs } => {
                let Some(i) = of(&mut self.facts, *id) else { return };
                (self.facts[i].addresses, self.facts[i].answered) = (addrs.len(), true);
            }
            Change::Unreached { id, .. } => {
                let Some(i) = of(&mut self.facts, *id) else { return };
                self.facts[i].refused = true;
                if health.is_some() {
                    (self.facts[i].verdict, self.facts[i].against) = (Verdict::Bad, 0);
                }
            }
            Change::Probed { id, verdict } => {
                let Some(i) = of(&mut self.facts, *id) else { return };
                self.facts[i].probe(verdict.is_ok(), health.as_ref(), out);
                let refused = verdict.as_ref().is_err_and(|miss| miss.refused);
                self.facts[i].refused |=
                    refused && health.is_some() && self.facts[i].verdict == Verdict::Bad;
                if matches!(self.facts[i].held, Some((Reason::Silence, until)) if until <= now)
                    && (verdict.is_ok() || health.is_none())
                {
                    self.facts[i].free(now);
                    self.facts[i].trial = true;
                }
            }
            Change::Failing { id, .. } | Change::Silent { id, .. } => {
                let Some(i) = of(&mut self.facts, *id) else { return };
                let listens = self.config.outlier.is_some_and(|o| o.silence.is_some());
                let silent = matches!(change, Change::Silent { .. });
                if self.may_eject(&self.facts[i], silent) && (listens || !silent) {
                    let failing = Reason::ConsecutiveFailures;
                    self.facts[i].eject(if silent { Reason::Silence } else { failing }, now);
                }
            }
            Change::Heard { id } => {
                let Some(i) = of(&mut self.facts, *id) else { return };
                if matches!(self.facts[i].held, Some((Reason::Silence, _))) {
                    self.facts[i].free(now);
                }
                self.facts[i].works_again(now);
            }
            Change::Tick => {
                for fact in &mut self.facts {
                    let waits = |reason| {
                        reason == Reason::Silence && self.config.health.is_some() && !fact.proven
                    };
                    if let Some((reason, until)) = fact.held
                        && until <= now
                        && !waits(reason)
                    {
                        fact.free(now);
                        fact.trial = reason == Reason::Silence;
                    }
                }
            }
        }
        self.relent(now);
    }

    /// Other settings.
    pub(super) fn set(&mut self, config: config::Pool, now: Instant) {
        for fact in &mut self.facts {
            let silent = matches!(fact.held, Some((Reason::Silence, _)));
            match config.outlier {
                None => fact.free(now),
                Some(outlier) if outlier.silence.is_none() => {
                    if silent {
                        fact.free(now);
                    }
                    fact.works_again(now);
                }
                Some(_) => {}
            }
            match config.health {
                None => (fact.verdict, fact.against) = (Verdict::Good, 0),
                Some(_) if fact.refused && fact.verdict == Verdict::Good => {
                    (fact.verdict, fact.against) = (Verdict::Bad, 0);
                }
                Some(_) => {}
            }
        }
        self.config = config;
        self.relent(now);
    }

    fn name(&mut self, said: &[Endpoint], real: &Members, now: Instant) {
        let mut before = std::mem::take(&mut self.facts);
        for (i, endpoint) in said.iter().enumerate() {
            if said[..i].iter().any(|other| other.name == endpoint.name) {
                continue;
            }
            let same = |fact: &Fact| {
                fact.endpoint.name == endpoint.name && fact.endpoint.addr == endpoint.addr
            };
            let fact = match before.iter().position(same) {
                Some(i) => Fact { endpoint: endpoint.clone(), removed: false, ..before.remove(i) },
                None => self.begin(endpoint, real, now),
            };
            self.facts.push(fact);
        }
        self.facts.extend(before.into_iter().map(|fact| Fact { removed: true, ..fact }));
    }

    fn begin(&self, endpoint: &Endpoint, real: &Members, now: Instant) -> Fact {
        let is_it = |known: &&Known| known.removed.is_none() && known.endpoint == *endpoint;
        let known = real.list.iter().find(is_it).expect("who is named is known");
        let verdict = if self.config.health.is_some() { Verdict::None } else { Verdict::Good };
        let mut fact = Fact {
            backend: known.backend.clone(),
            endpoint: endpoint.clone(),
            removed: false,
            addresses: 0,
            answered: false,
            refused: false,
            verdict,
            against: 0,
            ever_up: false,
            held: None,
            proven: false,
            times: 0,
            back: None,
            trial: false,
            state: State::Unknown,
            since: now,
        };
        // Its first state is no turn.
        fact.state = self.state(&fact).0;
        fact.ever_up = fact.state == State::Up;
        fact
    }

    /// The turns that follow from the facts, in the order of the members.
    pub(super) fn turns(&mut self, now: Instant) -> Vec<(Name, State, State, Reason)> {
        let mut turns = Vec::new();
        for i in 0..self.facts.len() {
            let (state, reason) = self.state(&self.facts[i]);
            let fact = &mut self.facts[i];
            fact.ever_up |= state == State::Up;
            let from = std::mem::replace(&mut fact.state, state);
            if from != state {
                fact.since = now;
                turns.push((fact.endpoint.name.clone(), from, state, reason));
            }
        }
        turns
    }

    /// Drops removed ones without work or past their time.
    pub(super) fn forget(&mut self, now: Instant) {
        let gone: Vec<BackendId> = self
            .facts
            .iter()
            .filter(|f| f.removed && (f.backend.active() == 0 || self.is_over(f, now)))
            .map(|f| f.backend.id)
            .collect();
        self.facts.retain(|fact| !gone.contains(&fact.backend.id));
    }
}

impl Fact {
    /// The first time 10 s, then 10 s more each time up to 30, and 10 less for each 10 it was in.
    /// It answered: what it did before it was on trial is forgotten from here on.
    fn works_again(&mut self, now: Instant) {
        if std::mem::take(&mut self.trial) {
            self.back = self.back.map(|_| now);
        }
    }

    fn eject(&mut self, reason: Reason, now: Instant) {
        self.works_again(now);
        let mut calm = self.back.map_or(Duration::ZERO, |back| now - back);
        while calm >= 10 * SECOND && self.times > 0 {
            (calm, self.times) = (calm - 10 * SECOND, self.times - 1);
        }
        self.times = (self.times + 1).min(3);
        self.held = Some((reason, now + 10 * SECOND * self.times));
        self.proven = false;
    }

    fn free(&mut self, now: Instant) {
        (self.held, self.back, self.trial) = (None, Some(now), false);
    }

    fn probe(&mut self, good: bool, health: Option<&config::Health>, out: bool) {
        self.proven = good;
        let Some(health) = health else {
            self.refused &= !good;
            return;
        };
        let said = if good { Verdict::Good } else { Verdict::Bad };
        let needed = if good { health.rise } else { health.fall };
        let needed = if good && out { 1 } else { needed };
        self.against = if said == self.verdict { 0 } else { self.against + 1 };
        if self.verdict == Verdict::None || self.against >= needed {
            (self.verdict, self.against) = (said, 0);
        }
        self.refused &= self.verdict != Verdict::Good;
    }
}

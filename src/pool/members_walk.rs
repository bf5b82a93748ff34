//! A random walk over every kind of change, held against the model after each step.
use super::model::{Fact, Model, is_over};
use super::*;
use std::collections::BTreeMap;

const WALKS: u64 = 60;
const STEPS: usize = 400;

/// A set that was published: who is in it, whether for a panic, whether pending, with what sizes.
type Said = (Vec<(Name, BackendId, u16)>, bool, bool, Sizes);

struct Walk {
    rng: fastrand::Rng,
    now: Instant,
    real: Members,
    model: Model,
    /// Ids so far: none is given twice.
    ids: BTreeMap<BackendId, Arc<Backend>>,
    /// The last one.
    last: Option<Said>,
    /// Later tiers that were published.
    later: usize,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let outlier = if seed.is_multiple_of(2) { outlier(0.5) } else { None };
        let config = config::Pool { outlier, ..pool("app", &[]) };
        let real = Members::new(name("app"), Arc::new(config.clone()));
        let model = Model { config, facts: Vec::new(), wishes: BTreeMap::new() };
        let rng = fastrand::Rng::with_seed(seed);
        Self { rng, now: Instant::now(), real, model, ids: BTreeMap::new(), last: None, later: 0 }
    }

    /// One of eight names, at one of two addresses, sometimes one that is looked up.
    fn endpoint(&mut self) -> Endpoint {
        let text = format!("b{}", self.rng.u8(..8));
        let base = if self.rng.u8(..4) == 0 { by_name(&text) } else { endpoint(&text) };
        let weight = *self.rng.choice(&[0, 1, 1, 2, 1000]).unwrap();
        let weight = Weight::new(weight).unwrap();
        Endpoint { weight, tier: *self.rng.choice(&[1, 1, 1, 2, 3]).unwrap(), ..base }
    }

    /// A set: anything at all, or the one there is with a part of it changed.
    fn endpoints(&mut self) -> Vec<Endpoint> {
        let named = self.model.facts.iter().filter(|fact| !fact.removed);
        let mut set: Vec<Endpoint> = named.map(|fact| fact.endpoint.clone()).collect();
        match self.rng.u8(..6) {
            0 => {
                set = (0..self.rng.usize(..10)).map(|_| self.endpoint()).collect();
            }
            1 => self.rng.shuffle(&mut set),
            2 if !set.is_empty() => drop(set.remove(self.rng.usize(..set.len()))),
            3 => set.push(self.endpoint()),
            // Who drains comes back.
            4 => {
                let gone = self.model.facts.iter().filter(|fact| fact.removed);
                set.extend(gone.map(|fact| fact.endpoint.clone()).next());
            }
            _ => {
                for endpoint in &mut set {
                    let other = self.rng.u8(..2);
                    endpoint.tier = endpoint.tier.saturating_sub(other).max(1);
                    endpoint.weight = Weight::new(1 + u16::from(other)).unwrap();
                }
            }
        }
        set
    }

    /// Somebody who is known, or now and then nobody.
    fn id(&mut self) -> BackendId {
        match self.rng.choice(&self.model.facts) {
            Some(fact) if self.rng.u8(..20) > 0 => fact.backend.id,
            _ => BackendId(self.rng.u32(..)),
        }
    }

    fn change(&mut self) -> Change {
        match self.rng.u8(..32) {
            20..23 => Change::Failing { id: self.id(), detail: "5 in a row".into() },
            23..26 => Change::Silent { id: self.id(), detail: "no byte".into() },
            30..32 => Change::Heard { id: self.id() },
            26..30 => Change::Tick,
            0..3 => Change::Endpoints(self.endpoints()),
            3..11 => {
                let (good, refused) = (self.rng.bool(), self.rng.u8(..4) == 0);
                let miss = Miss { detail: "ill".into(), refused };
                Change::Probed { id: self.id(), verdict: good.then_some(()).ok_or(miss) }
            }
            11..14 => Change::Unreached { id: self.id(), detail: "refused".into() },
            14..17 => {
                let is_name = |f: &&Fact| matches!(f.endpoint.addr, Addr::Host(..));
                let names: Vec<BackendId> =
                    self.model.facts.iter().filter(is_name).map(|f| f.backend.id).collect();
                let id = self.rng.choice(names).unwrap_or(BackendId(u32::MAX));
                Change::Resolved { id, addrs: vec![addr(); self.rng.usize(..3)] }
            }
            _ => {
                let wish = *self.rng.choice(&[Wish::Up, Wish::Drain, Wish::Maintenance]).unwrap();
                Change::Operator { name: name(&format!("b{}", self.rng.u8(..8))), wish }
            }
        }
    }

    fn settings(&mut self) -> config::Pool {
        let mut config = self.model.config.clone();
        let rng = &mut self.rng;
        match rng.u8(..7) {
            5..7 => {
                let share = rng.choice(&[None, Some(0.01), Some(0.3), Some(0.5), Some(1.0)]);
                config.outlier = share.copied().flatten().and_then(outlier);
                if let Some(outlier) = config.outlier.as_mut().filter(|_| rng.u8(..4) == 0) {
                    outlier.silence = None;
                }
            }
            0 => config.health = None,
            1 => config.health = health(rng.u32(1..4), rng.u32(1..4)),
            2 => {
                let share = rng.choice(&[None, Some(0.0), Some(0.3), Some(0.5), Some(1.0)]);
                config.panic_threshold = share.copied().flatten().and_then(Percent::new);
            }
            3 => config.drain = *rng.choice(&[Timeout::OFF, Timeout::secs(60)]).unwrap(),
            _ => {
                config.max_active = *rng.choice(&[None, Some(config::MaxActive::Fixed(3))]).unwrap()
            }
        }
        config
    }

    fn step(&mut self) -> String {
        match self.rng.u8(..16) {
            0 => self.set(),
            1 => self.forget(),
            2 => {
                let Some(fact) = self.rng.choice(&self.model.facts) else { return "rest".into() };
                fact.backend.hot.set_active(self.rng.u32(..2));
                "leases".into()
            }
            3..6 => self.publish(),
            _ => {
                let change = self.change();
                let (real, said) = (&mut self.real, format!("{change:?}"));
                let turns = real.apply(change.clone(), self.now);
                self.model.change(&change, &self.real, self.now);
                self.turned(turns, &said);
                said
            }
        }
    }

    fn set(&mut self) -> String {
        let config = self.settings();
        let said = format!("{:?} {:?}", config.health, config.panic_threshold);
        let turns = self.real.set(Arc::new(config.clone()), self.now);
        self.model.set(config, self.now);
        self.turned(turns, &said);
        said
    }

    /// Exactly the turns that the model says, in its order, and each bit flipped with its turn.
    fn turned(&mut self, turns: Vec<Turn>, said: &str) {
        let want = self.model.turns(self.now);
        let shown: Vec<_> =
            turns.iter().map(|t| (t.backend.clone(), t.from, t.to, t.reason)).collect();
        assert_eq!(shown, want, "{said}");
        for fact in &self.model.facts {
            let known = self.ids.insert(fact.backend.id, fact.backend.clone());
            assert!(known.is_none_or(|known| Arc::ptr_eq(&known, &fact.backend)), "{said}");
        }
    }

    fn forget(&mut self) -> String {
        self.now += self.rng.u32(..40) * SECOND;
        let before = self.model.facts.clone();
        self.real.forget(self.now);
        for fact in before {
            assert_eq!(is_over(&fact.backend), self.model.is_over(&fact, self.now));
        }
        self.model.forget(self.now);
        "forget".into()
    }

    fn publish(&mut self) -> String {
        let was_stale = self.real.is_stale();
        let usable = self.real.snapshot();
        let row = |c: &Candidate| (c.backend.name.clone(), c.backend.id, c.weight as u16);
        let set: Vec<_> = usable.candidates.iter().map(row).collect();
        let (want, panics) = self.model.usable();
        assert_eq!((&set, usable.panic), (&want, panics));
        let ids = |(set, _): &(Vec<Candidate>, Sizes)| -> Vec<BackendId> {
            set.iter().map(|c| c.backend.id).collect()
        };
        let later: Vec<_> = usable.later.iter().map(ids).collect();
        assert_eq!(later, self.model.later(&set));
        self.later += later.len();
        assert_eq!(usable.pending, self.model.pending());
        let named = self.model.facts.iter().filter(|fact| !fact.removed);
        assert_eq!(usable.sizes, Sizes::of(named.map(|f| u32::from(f.endpoint.weight.get()))));
        assert!(usable.candidates.iter().all(|c| c.backend.is_usable()), "all are open");
        if !panics {
            let bit_is_right = |f: &Fact| f.backend.is_usable() == (f.state == State::Up);
            assert!(self.model.facts.iter().all(bit_is_right), "nobody is tried any more");
        }
        let now = (set, usable.panic, usable.pending, usable.sizes);
        if !was_stale {
            assert!(self.last.as_ref().is_none_or(|last| *last == now), "it was said to be fresh");
        }
        self.last = Some(now);
        assert!(!self.real.is_stale());
        "publish".into()
    }

    /// What is shown, whatever was done.
    fn check(&self, said: &str) {
        let shown = self.real.show(|_| SystemTime::UNIX_EPOCH);
        assert_eq!(shown.len(), self.model.facts.len(), "{said}");
        for (member, fact) in shown.iter().zip(&self.model.facts) {
            let name = &fact.endpoint.name;
            assert!(Arc::ptr_eq(&member.backend, &fact.backend), "{name} after {said}");
            assert_eq!((member.state, member.reason), self.model.state(fact), "{name}: {said}");
            assert_eq!(
                (member.weight, member.tier, member.removed.is_some()),
                (fact.endpoint.weight.get(), fact.endpoint.tier, fact.removed)
            );
            let usable = member.backend.is_usable();
            match member.state {
                State::Up => assert!(usable, "{name} after {said}"),
                // Those whom probes or tries speak against may be tried in a panic.
                _ if matches!(member.reason, Reason::Probe | Reason::NotProbed) => {}
                State::Ejected => {}
                _ => assert!(!usable, "{name} is {:?} after {said}", member.state),
            }
            let one = self.real.show_one(member.backend.id, |_| SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!((one.state, one.removed), (member.state, member.removed));
            assert_eq!(self.real.backend(member.backend.id).is_some(), member.removed.is_none());
        }
        assert_eq!(self.real.is_out(), self.model.is_out(), "{said}");
        self.model.holds(said);
        let up = self.model.facts.iter().filter(|fact| self.model.works(fact)).count();
        assert_eq!(self.real.count.up, up, "{said}");
    }
}

#[test]
fn members_follow_the_rules_through_every_change() {
    let (mut turns, mut panics, mut pending, mut ejected, mut later) = (0, 0, 0, 0, 0);
    for seed in 0..WALKS {
        let mut walk = Walk::new(seed);
        for step in 0..STEPS {
            let said = walk.step();
            walk.check(&format!("{said} (walk {seed}, step {step})"));
            walk.now += Duration::from_millis(walk.rng.u64(..500));
            if let Some((_, panic, waits, _)) = &walk.last {
                panics += usize::from(*panic);
                pending += usize::from(*waits);
            }
        }
        let counted = |b: &Arc<Backend>| b.cells.turns.iter().map(|c| c.get()).sum::<u64>();
        let ejections = |b: &Arc<Backend>| b.cells.turns[State::Ejected as usize].get();
        ejected += walk.ids.values().map(ejections).sum::<u64>();
        later += walk.later;
        turns += walk.ids.values().map(counted).sum::<u64>();
    }
    println!(
        "{turns} turns, {ejected} ejections, {panics} steps in a panic, {pending} steps pending, {later} later tiers"
    );
    assert!(
        ejected > 50 && later > 100 && turns > 1000 && panics > 100 && pending > 100,
        "the walk sees too little"
    );
}

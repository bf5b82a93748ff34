//! What the API says of backends, laid over what the file says. Pure; neither ever overwrites the
//! other: a word that is taken back uncovers what the file says by then.
use super::backend::Endpoint;
use super::change::Wish;
use crate::config::{Addr, Name, Weight};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// The words on the backends of a pool.
pub type Words = BTreeMap<Name, Word>;

/// What the API says of one backend; what it does not say is the file's to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Where it is: then it is there whether the file names it or not.
    pub addr: Option<Addr>,
    /// Its weight.
    pub weight: Option<Weight>,
    /// The weight it was added or registered with; `weight` was said of it since and counts before it.
    pub added: Option<Weight>,
    /// Its tier.
    pub tier: Option<u8>,
    /// What an operator wants of it.
    pub wish: Option<Wish>,
    /// It is out, although the file names it.
    pub removed: bool,
    /// It lives while its heartbeat comes at least so often.
    pub ttl: Option<Duration>,
    /// Its heartbeat did not come. Not kept: after a restart everybody has time to beat.
    pub lapsed: bool,
}

impl Word {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The weight that counts.
    pub fn counts(&self) -> Option<Weight> {
        self.weight.or(self.added)
    }

    fn over(&self, said: &Endpoint) -> Endpoint {
        Endpoint {
            name: said.name.clone(),
            addr: self.addr.clone().unwrap_or_else(|| said.addr.clone()),
            weight: self.counts().unwrap_or(said.weight),
            tier: self.tier.unwrap_or(said.tier),
        }
    }

    fn alone(&self, name: &Name) -> Option<Endpoint> {
        let addr = self.addr.clone()?;
        let (weight, tier) = (self.counts().unwrap_or(Weight::DEFAULT), self.tier.unwrap_or(1));
        Some(Endpoint { name: name.clone(), addr, weight, tier })
    }
}

/// The set that follows: what the file says, in its order, then what the API alone names, in the
/// order of the names.
pub fn lay(said: &[Endpoint], words: &Words) -> Vec<Endpoint> {
    if words.is_empty() {
        return said.to_vec();
    }
    let here = |endpoint: &&Endpoint| !words.get(&endpoint.name).is_some_and(|w| w.removed);
    let mut all: Vec<Endpoint> = said
        .iter()
        .filter(here)
        .map(|e| words.get(&e.name).map_or_else(|| e.clone(), |word| word.over(e)))
        .collect();
    let named: HashSet<&Name> = said.iter().map(|endpoint| &endpoint.name).collect();
    let own = words.iter().filter(|(name, word)| !named.contains(name) && !word.removed);
    all.extend(own.filter_map(|(name, word)| word.alone(name)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::change::{Change, State};
    use crate::pool::testing::{name, pool};
    use crate::pool::{Policies, Pool};
    use std::time::Instant;

    fn endpoint(text: &str, weight: u16) -> Endpoint {
        let addr = Addr::Unix(format!("/{text}").into());
        Endpoint { name: name(text), addr, weight: Weight::new(weight).unwrap(), tier: 1 }
    }
    fn shown(all: &[Endpoint]) -> Vec<String> {
        all.iter().map(|e| format!("{}={} {}", e.name, e.weight.get(), e.addr)).collect()
    }

    #[test]
    fn what_the_api_says_lies_over_what_the_file_says() {
        let said = [endpoint("a", 1), endpoint("b", 2), endpoint("c", 3)];
        let word = |change: fn(&mut Word)| {
            let mut word = Word::default();
            change(&mut word);
            word
        };
        let mut words = Words::new();
        words.insert(name("a"), word(|w| w.weight = Weight::new(9)));
        words.insert(name("b"), word(|w| w.removed = true));
        words.insert(name("d"), word(|w| w.addr = Some(Addr::Unix("/new".into()))));
        words.insert(name("gone"), word(|w| w.weight = Weight::new(7)));
        assert_eq!(shown(&lay(&said, &words)), ["a=9 unix:/a", "c=3 unix:/c", "d=1 unix:/new"]);
        // The file names it, too: the API's address holds, the file's weight is not covered.
        let said = [endpoint("d", 5), endpoint("gone", 1)];
        assert_eq!(shown(&lay(&said, &words)), ["d=5 unix:/new", "gone=7 unix:/gone"]);
        assert_eq!(shown(&lay(&said, &Words::new())), ["d=5 unix:/d", "gone=1 unix:/gone"]);
    }

    /// Whatever is said in whatever order, the pool is as one that was told the last words alone.
    #[test]
    fn a_pool_follows_both_and_forgets_neither() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let now = Instant::now();
            let (mut config, mut words) = (pool("app", &["a", "b"]), Words::new());
            let prepare = |config: &crate::config::Pool, before: Option<&std::sync::Arc<Pool>>| {
                Pool::prepare(&config.name, config, &Policies::default(), before).unwrap()
            };
            let (running, _) = prepare(&config, None).commit_at(now);
            for _ in 0..30 {
                let one = name(rng.choice(["a", "b", "c", "d", "e"]).unwrap());
                if rng.u8(..4) == 0 {
                    let all: Vec<&str> =
                        ["a", "b", "c", "d"].into_iter().filter(|_| rng.bool()).collect();
                    config = pool("app", &all);
                    prepare(&config, Some(&running)).commit_at(now);
                    continue;
                }
                let said = Word {
                    addr: rng.bool().then(|| Addr::Unix(format!("/{}", rng.u8(..2)).into())),
                    weight: rng.bool().then_some(()).and(Weight::new(rng.u16(..5))),
                    wish: rng.choice([None, Some(Wish::Drain), Some(Wish::Maintenance)]).unwrap(),
                    removed: rng.u8(..5) == 0,
                    lapsed: rng.u8(..5) == 0,
                    ..Word::default()
                };
                let said = (!said.is_empty()).then_some(said);
                match &said {
                    Some(word) => words.insert(one.clone(), word.clone()),
                    None => words.remove(&one),
                };
                running.apply(Change::Words(vec![(one, said)]), now);
            }
            let (fresh, _) = prepare(&config, None).commit_at(now);
            let all = words.iter().map(|(name, word)| (name.clone(), Some(word.clone())));
            fresh.apply(Change::Words(all.collect()), now);
            let shape = |pool: &Pool| {
                let here = pool.members().into_iter().filter(|m| m.removed.is_none());
                let one = |m: crate::pool::Member| {
                    let is = (m.weight, m.state.word(), m.reason.word() == "heartbeat");
                    (m.backend.name.to_string(), m.backend.addr().to_string(), is)
                };
                here.map(one).collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(shape(&running), shape(&fresh), "seed {seed}");
        }
    }

    #[test]
    fn one_whose_heartbeat_stopped_is_down_until_it_beats() {
        let (running, _) =
            Pool::prepare(&name("app"), &pool("app", &["a"]), &Policies::default(), None)
                .unwrap()
                .commit();
        let now = Instant::now();
        let mut word = Word { addr: Some(Addr::Unix("/x".into())), ..Word::default() };
        let mut say = |lapsed: bool| {
            word.lapsed = lapsed;
            let turns = running.apply(Change::Words(vec![(name("x"), Some(word.clone()))]), now);
            turns.into_iter().map(|turn| (turn.to, turn.reason.word())).collect::<Vec<_>>()
        };
        assert_eq!(say(false), []);
        assert_eq!(say(true), [(State::Down, "heartbeat")]);
        assert_eq!(say(true), []);
        assert_eq!(say(false), [(State::Up, "")]);
    }
}

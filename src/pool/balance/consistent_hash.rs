//! Consistent hashing: a Maglev table or a ring by name, with weights, a policy to fall back to for
//! requests without a key, and, if asked for, bounded load.
//!
//! A key's first choice is its owner; when that is closed or at its bound, the owners that follow
//! along the table, which depend on the key alone.
use super::balancer::{Ask, Balancer};
use super::draw::mix;
use super::loads::Loads;
use super::maglev::Maglev;
use super::ring::Ring;
use super::sizes::Sizes;
use crate::config::{Hash, Table};
use crate::pool::backend::Candidate;
use std::cell::Cell;

/// Slots or points of a key that are looked at before everybody is asked in turn. A closed one of
/// share p is met in all of them with probability p^64.
const LOOKED_AT: usize = 64;

enum Order {
    Maglev(Maglev),
    Ring(Ring),
}

/// How the policy to fall back to is asked.
type Fallback = fn(&dyn Balancer, &[Candidate], &Ask<'_>) -> Option<usize>;

pub(super) struct ConsistentHash {
    order: Order,
    fallback: Box<dyn Balancer>,
    bound: Option<Bound>,
}

/// Bounded load (Mirrokni, Thorup, Zadimoghaddam, 2017): of m in work, the one that comes
/// included, nobody has more than its share of them times a factor, rounded up.
struct Bound {
    factor: f64,
    /// Sum of the weights.
    weights: f64,
    loads: Loads,
}

impl Bound {
    fn new(candidates: &[Candidate], factor: f64) -> Self {
        let weights = candidates.iter().map(|c| f64::from(c.weight)).sum();
        Self { factor, weights, loads: Loads::new(candidates) }
    }
    /// The bound of a weight among `weights`, for a total without the one that comes.
    fn of(&self, weight: u32, weights: f64, total: u64) -> u32 {
        let bound = self.factor * f64::from(weight) * (total + 1) as f64 / weights;
        // A whole number may come out a hair above itself.
        ((bound - 1e-9).ceil() as u32).max(1)
    }
}

impl ConsistentHash {
    pub(super) fn new(
        candidates: &[Candidate],
        hash: &Hash,
        fallback: Box<dyn Balancer>,
        sizes: Sizes,
    ) -> Self {
        let order = match hash.table {
            Table::Maglev(size) => {
                Order::Maglev(Maglev::new(candidates, size.unwrap_or(sizes.slots)))
            }
            Table::Ring => Order::Ring(Ring::new(candidates, sizes)),
        };
        let bound = hash.bounded_load.map(|factor| Bound::new(candidates, factor));
        Self { order, fallback, bound }
    }

    /// The first of a key's choices that fits; in the end everybody is asked, from a place that
    /// depends on the key.
    fn choose(
        &self,
        candidates: &[Candidate],
        hash: u64,
        fits: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let fits = |i: &usize| fits(*i);
        let found = match &self.order {
            Order::Maglev(table) => table.from(hash).take(LOOKED_AT).find(fits),
            Order::Ring(ring) => ring.from(hash).take(LOOKED_AT).find(fits),
        };
        found.or_else(|| {
            let start = mix(hash).checked_rem(candidates.len() as u64)? as usize;
            (start..candidates.len()).chain(0..start).find(fits)
        })
    }

    fn pick_bounded(
        &self,
        bound: &Bound,
        candidates: &[Candidate],
        ask: &Ask<'_>,
        fallback: Fallback,
    ) -> Option<(usize, u32)> {
        let total = bound.loads.total();
        let most = |i: usize| bound.of(candidates[i].weight, bound.weights, total);
        let fits =
            |i: usize| candidates[i].is_open(ask) && candidates[i].backend.active() < most(i);
        let found = match ask.hash {
            Some(hash) => self.choose(candidates, hash, fits),
            None => fallback(&*self.fallback, candidates, ask)
                .filter(|i| fits(*i))
                .or_else(|| self.choose(candidates, mix(ask.seed), fits)),
        };
        found.map(|i| (i, most(i))).or_else(|| self.pick_among_open(bound, candidates, ask))
    }

    /// Somebody is below the bound as long as everybody is open. Where some are closed, be it only
    /// for this ask, the bound is that of a set without them.
    fn pick_among_open(
        &self,
        bound: &Bound,
        candidates: &[Candidate],
        ask: &Ask<'_>,
    ) -> Option<(usize, u32)> {
        let open = || candidates.iter().filter(|c| c.is_open(ask));
        let weights = open().map(|c| f64::from(c.weight)).sum();
        let total = open().map(|c| u64::from(c.backend.active())).sum();
        let most = |i: usize| bound.of(candidates[i].weight, weights, total);
        let fits =
            |i: usize| candidates[i].is_open(ask) && candidates[i].backend.active() < most(i);
        let hash = ask.hash.unwrap_or_else(|| mix(ask.seed));
        self.choose(candidates, hash, fits).map(|i| (i, most(i)))
    }
}

impl Balancer for ConsistentHash {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        self.pick_within(candidates, ask).map(|(index, _)| index)
    }

    fn peek(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        match (&self.bound, ask.hash) {
            (Some(bound), _) => {
                let peek = |by: &dyn Balancer, all: &[Candidate], ask: &Ask<'_>| by.peek(all, ask);
                self.pick_bounded(bound, candidates, ask, peek).map(|(index, _)| index)
            }
            (None, None) => self.fallback.peek(candidates, ask),
            (None, Some(_)) => self.pick(candidates, ask),
        }
    }

    fn pick_within(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<(usize, u32)> {
        match (&self.bound, ask.hash) {
            (Some(bound), _) => {
                let pick = |by: &dyn Balancer, all: &[Candidate], ask: &Ask<'_>| by.pick(all, ask);
                self.pick_bounded(bound, candidates, ask, pick)
            }
            (None, None) => self.fallback.pick_within(candidates, ask),
            (None, Some(hash)) => {
                let open = |i: usize| candidates[i].is_open(ask);
                let first = Cell::new(true);
                let fits = |i: usize| {
                    let own = first.replace(false);
                    open(i) && (own || candidates[i].stands_in(ask))
                };
                let found = self.choose(candidates, hash, fits);
                let found = found.or_else(|| self.choose(candidates, hash, open));
                found.map(|index| (index, u32::MAX))
            }
        }
    }

    fn load_changed(&self, candidates: &[Candidate], index: usize) {
        if let Some(bound) = &self.bound {
            bound.loads.look(candidates, index);
        }
        self.fallback.load_changed(candidates, index);
    }

    fn wants_load(&self) -> bool {
        self.bound.is_some() || self.fallback.wants_load()
    }

    fn wants_cost(&self) -> bool {
        self.fallback.wants_cost()
    }
}

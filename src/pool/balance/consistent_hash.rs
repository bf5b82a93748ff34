//! Consistent hashing: a table or a ring by name, with weights and, if asked for, bounded load
//! (Mirrokni, Thorup, Zadimoghaddam, 2017): nobody has more in work than its share times the bound.
use super::balancer::{Ask, Balancer, any_open, mix};
use super::maglev::{Maglev, auto_size};
use super::ring::Ring;
use crate::config::{Hash, Table};
use crate::pool::backend::Candidate;

/// Next choices of a key that are tried before everybody is asked in turn.
const CHOICES: usize = 64;

enum Order {
    Maglev(Maglev),
    Ring(Ring),
}

pub(super) struct ConsistentHash {
    order: Order,
    fallback: Box<dyn Balancer>,
    bound: Option<f64>,
    weights: f64,
}

impl ConsistentHash {
    pub(super) fn new(
        candidates: &[Candidate],
        hash: &Hash,
        fallback: Box<dyn Balancer>,
        configured: impl Iterator<Item = u64>,
    ) -> Self {
        let order = match hash.table {
            Table::Maglev(size) => Order::Maglev(Maglev::new(
                candidates,
                size.unwrap_or_else(|| auto_size(configured)),
            )),
            Table::Ring => Order::Ring(Ring::new(candidates)),
        };
        let weights = candidates.iter().map(|c| f64::from(c.weight)).sum();
        Self { order, fallback, bound: hash.bounded_load, weights }
    }

    /// Whether a candidate may be picked and is below its bound.
    fn is_free(&self, candidates: &[Candidate], index: usize, ask: &Ask<'_>) -> bool {
        let below = |bound| candidates[index].backend.active() < bound;
        candidates[index].is_open(ask) && self.bound(candidates, index).is_none_or(below)
    }

    /// A key's choices, in an order that depends on the key and the names alone.
    fn choose(&self, candidates: &[Candidate], hash: u64, ask: &Ask<'_>) -> Option<usize> {
        match &self.order {
            Order::Maglev(table) => {
                let mut hash = hash;
                for _ in 0..CHOICES {
                    let index = table.at(hash)?;
                    if self.is_free(candidates, index, ask) {
                        return Some(index);
                    }
                    hash = mix(hash);
                }
                None
            }
            Order::Ring(ring) => {
                let first = ring.find(hash);
                (first..first + ring.len().min(16 * CHOICES))
                    .filter_map(|point| ring.at(point))
                    .find(|index| self.is_free(candidates, *index, ask))
            }
        }
    }
}

impl Balancer for ConsistentHash {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        let Some(hash) = ask.hash else { return self.fallback.pick(candidates, ask) };
        self.choose(candidates, hash, ask).or_else(|| {
            let from = Ask { seed: hash, ..*ask };
            let n = candidates.len();
            let start = hash.checked_rem(n as u64)? as usize;
            let free = (start..n).chain(0..start).find(|i| self.is_free(candidates, *i, ask));
            free.or_else(|| any_open(candidates, &from))
        })
    }

    /// ⌈bound × share × (all in work + 1)⌉, at least 1.
    fn bound(&self, candidates: &[Candidate], index: usize) -> Option<u32> {
        let factor = self.bound?;
        let candidate = &candidates[index];
        let share = f64::from(candidate.weight) / self.weights;
        Some((factor * share * f64::from(candidate.backend.total() + 1)).ceil().max(1.0) as u32)
    }

    fn load_changed(&self, candidates: &[Candidate], index: usize) {
        self.fallback.load_changed(candidates, index);
    }
}

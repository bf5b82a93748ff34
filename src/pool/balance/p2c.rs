//! Power of two choices (Mitzenmacher, 2001): two weighted draws, the less loaded one wins. What failed
//! lately counts as load.
use super::balancer::{Ask, Balancer, next_open};
use super::draw::{Alias, mix};
use super::policies::Seeds;
use super::random::draw_open;
use crate::pool::backend::Candidate;

/// Draws for a second candidate that differs from the first.
const DRAWS: u64 = 4;

pub(super) struct P2c(Alias);

impl P2c {
    pub(super) fn new(candidates: &[Candidate], _: Seeds) -> Self {
        Self(Alias::new(candidates))
    }
}

impl Balancer for P2c {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        let (first, second) = two(&self.0, candidates, ask)?;
        let load = |i: usize| candidates[i].load(|| ask.now);
        let weight = |i: usize| u64::from(candidates[i].weight);
        let is_less = load(second) * weight(first) < load(first) * weight(second);
        Some(if is_less { second } else { first })
    }
    fn wants_load(&self) -> bool {
        false
    }

    fn wants_cost(&self) -> bool {
        false
    }
}

/// Two open candidates that differ; twice the same where only one is open.
pub(super) fn two(
    alias: &Alias,
    candidates: &[Candidate],
    ask: &Ask<'_>,
) -> Option<(usize, usize)> {
    let first = draw_open(alias, candidates, ask, ask.seed)?;
    // Not the first draw's sequence: with its own seed the second is independent of it.
    let mut random = !ask.seed;
    for _ in 0..DRAWS {
        random = mix(random);
        let second = alias.draw(random)?;
        if second != first && candidates[second].is_open(ask) {
            return Some((first, second));
        }
    }
    // One is drawn nearly always, or few are open: the next open one behind the first.
    let second = next_open(candidates, first as u64 + 1, ask)?;
    Some((first, second))
}

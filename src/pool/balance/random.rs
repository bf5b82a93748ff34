//! Weighted random choice.
use super::balancer::{Ask, Balancer, next_open};
use super::draw::{Alias, mix};
use super::policies::Seeds;
use crate::pool::backend::Candidate;

/// Draws before everybody is asked in turn.
const DRAWS: u64 = 8;

pub(super) struct Random(Alias);

impl Random {
    pub(super) fn new(candidates: &[Candidate], _: Seeds) -> Self {
        Self(Alias::new(candidates))
    }
}

impl Balancer for Random {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        draw_open(&self.0, candidates, ask, ask.seed)
    }
    fn wants_load(&self) -> bool {
        false
    }

    fn wants_cost(&self) -> bool {
        false
    }
}

/// Draws until somebody is open.
pub(super) fn draw_open(
    alias: &Alias,
    candidates: &[Candidate],
    ask: &Ask<'_>,
    seed: u64,
) -> Option<usize> {
    let mut random = seed;
    for n in 0..DRAWS {
        random = mix(random);
        let index = alias.draw(random)?;
        let candidate = &candidates[index];
        if candidate.is_open(ask) && (n == 0 || candidate.stands_in(ask)) {
            return Some(index);
        }
    }
    next_open(candidates, random, ask)
}

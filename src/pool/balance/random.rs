//! Weighted random.
use super::alias::Alias;
use super::balancer::{Ask, Balancer, any_open, mix};
use crate::pool::backend::Candidate;

/// Draws before everybody is asked in turn.
const DRAWS: u64 = 4;

pub(super) struct Random(Alias);

impl Random {
    pub(super) fn new(candidates: &[Candidate], _seed: u64) -> Self {
        Self(Alias::new(candidates))
    }
}

impl Balancer for Random {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        (0..DRAWS)
            .filter_map(|draw| self.0.draw(mix(ask.seed.wrapping_add(draw))))
            .find(|i| candidates[*i].is_open(ask))
            .or_else(|| any_open(candidates, ask))
    }
}

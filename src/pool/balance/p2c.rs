//! Power of two choices (Mitzenmacher, 2001): two weighted draws, the less loaded one wins.
use super::alias::Alias;
use super::balancer::{Ask, Balancer, any_open, mix};
use crate::pool::backend::Candidate;

/// Draws for a second candidate that differs from the first.
const DRAWS: u64 = 3;

pub(super) struct P2c(Alias);

impl P2c {
    pub(super) fn new(candidates: &[Candidate], _seed: u64) -> Self {
        Self(Alias::new(candidates))
    }
}

impl Balancer for P2c {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        two(&self.0, candidates, ask, |c| f64::from(c.backend.active() + 1) / f64::from(c.weight))
    }
}

/// Draws two open candidates and takes the cheaper one; one when only one was found.
pub(super) fn two(
    alias: &Alias,
    candidates: &[Candidate],
    ask: &Ask<'_>,
    cost: impl Fn(&Candidate) -> f64,
) -> Option<usize> {
    let open = |i: &usize| candidates[*i].is_open(ask);
    let first = alias.draw(mix(ask.seed)).filter(open).or_else(|| any_open(candidates, ask))?;
    let second = (1..=DRAWS)
        .filter_map(|draw| alias.draw(mix(ask.seed.wrapping_add(draw))))
        .find(|i| *i != first && candidates[*i].is_open(ask));
    Some(match second {
        Some(second) if cost(&candidates[second]) < cost(&candidates[first]) => second,
        _ => first,
    })
}

//! Peak-EWMA over two choices (finagle's `p2cPeakEwma`): a candidate costs what its first bytes
//! took, faded, times what it has in work, over its weight. Failures make dear, so that a backend
//! that fails fast does not look fast.
use super::balancer::{Ask, Balancer};
use super::draw::Alias;
use super::p2c::two;
use super::policies::Seeds;
use crate::pool::backend::Candidate;

pub(super) struct PeakEwma(Alias);

impl PeakEwma {
    pub(super) fn new(candidates: &[Candidate], _: Seeds) -> Self {
        Self(Alias::new(candidates))
    }
}

impl Balancer for PeakEwma {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        let (first, second) = two(&self.0, candidates, ask)?;
        let cost = |i: usize| candidates[i].backend.cost(ask.now);
        // One that was never measured counts as fast as the other of the two: it gets its share by
        // load and weight and is not flooded, however slow the others are.
        let (a, b) = match (cost(first), cost(second)) {
            (Some(a), Some(b)) => (a, b),
            _ => (1.0, 1.0),
        };
        let is_less = per_weight(&candidates[second], b) < per_weight(&candidates[first], a);
        Some(if is_less { second } else { first })
    }
    fn wants_load(&self) -> bool {
        false
    }
}

fn per_weight(candidate: &Candidate, cost: f32) -> f32 {
    cost * (candidate.backend.active() + 1) as f32 / candidate.weight as f32
}

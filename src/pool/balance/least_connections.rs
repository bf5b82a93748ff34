//! Weighted least connections: the least (active + 1) / weight, and of equals the one that rested
//! longest or another one each time. A scan while they are few, beyond that a tournament.
//!
//! The one more is the request that is about to come: an idle small backend does not get it while a
//! big one beside it would carry it with less strain. What failed lately counts as still in work:
//! one that fails at once is no idle one.
use super::balancer::{Ask, Balancer};
use super::draw::{below, mix};
use super::policies::Seeds;
use super::tournament::Tournament;
use crate::pool::backend::Candidate;

/// Up to so many a scan takes fewer instructions than a pick and two walks of the tournament.
const SCANNED: usize = 12;

pub(super) struct LeastConnections(Option<Tournament>);

impl LeastConnections {
    pub(super) fn new(candidates: &[Candidate], seeds: Seeds) -> Self {
        Self((candidates.len() > SCANNED).then(|| Tournament::new(candidates, seeds.own)))
    }
}

impl Balancer for LeastConnections {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        match &self.0 {
            Some(tournament) => tournament.best(candidates, ask),
            None => scan(candidates, ask),
        }
    }

    fn peek(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        match &self.0 {
            Some(tournament) => tournament.peek(candidates, ask),
            None => scan(candidates, ask),
        }
    }

    fn load_changed(&self, candidates: &[Candidate], index: usize) {
        if let Some(tournament) = &self.0 {
            tournament.update(candidates, index);
        }
    }
    fn wants_load(&self) -> bool {
        self.0.is_some()
    }

    fn wants_cost(&self) -> bool {
        false
    }
}

/// Looks at everybody, from another one each time.
pub(super) fn scan(candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
    let n = candidates.len();
    let start = below(mix(ask.seed), n as u64) as usize;
    let mut best: Option<(usize, u64, u64)> = None;
    for i in (start..n).chain(0..start) {
        let candidate = &candidates[i];
        if !candidate.is_open(ask) {
            continue;
        }
        let load = candidate.load(|| ask.now);
        let weight = u64::from(candidate.weight);
        if best.is_none_or(|(_, least, of)| load * of < least * weight) {
            best = Some((i, load, weight));
        }
    }
    best.map(|(i, ..)| i)
}

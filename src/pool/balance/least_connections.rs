//! Weighted least connections: (active + 1) / weight, of equals another one each time. Up to 128
//! candidates by a scan, beyond by a tournament tree.
use super::balancer::{Ask, Balancer};
use super::tree::Tree;
use crate::pool::backend::Candidate;

/// Up to so many a scan of neighbouring counters is as fast as a walk through the tree.
const SCANNED: usize = 128;

pub(super) struct LeastConnections(Option<Tree>);

impl LeastConnections {
    pub(super) fn new(candidates: &[Candidate], _seed: u64) -> Self {
        Self((candidates.len() > SCANNED).then(|| Tree::new(candidates)))
    }
}

impl Balancer for LeastConnections {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        match &self.0 {
            Some(tree) => tree.best(candidates, &|i| candidates[i].is_open(ask)),
            None => scan(candidates, ask),
        }
    }

    fn load_changed(&self, candidates: &[Candidate], index: usize) {
        if let Some(tree) = &self.0 {
            tree.update(candidates, index);
        }
    }
}

fn scan(candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
    let n = candidates.len();
    let start = if n == 0 { 0 } else { ask.seed as usize % n };
    let mut best: Option<(usize, u64, u64)> = None;
    for i in (start..n).chain(0..start) {
        let candidate = &candidates[i];
        if !candidate.is_open(ask) {
            continue;
        }
        let (load, weight) =
            (u64::from(candidate.backend.active() + 1), u64::from(candidate.weight));
        if best.is_none_or(|(_, l, w)| load * w < l * weight) {
            best = Some((i, load, weight));
        }
    }
    best.map(|(i, _, _)| i)
}

//! What a balancing policy is.
use crate::pool::backend::{BackendId, Candidate};
use std::time::Instant;

/// What is known of a request when a backend is chosen for it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Ask<'a> {
    /// Hash of its key parts; `None` when all are absent.
    pub hash: Option<u64>,
    /// Backends it has already tried.
    pub avoid: &'a [BackendId],
    /// Now.
    pub now: Instant,
    /// Randomness, fresh for each ask.
    pub seed: u64,
}

impl<'a> Ask<'a> {
    /// Without a hash and with nothing to avoid.
    pub const fn new(now: Instant, seed: u64) -> Self {
        Self { hash: None, avoid: &[], now, seed }
    }
    /// With a hash.
    #[must_use]
    pub const fn hash(mut self, hash: Option<u64>) -> Self {
        self.hash = hash;
        self
    }
    /// With backends to avoid.
    #[must_use]
    pub const fn avoid(mut self, avoid: &'a [BackendId]) -> Self {
        self.avoid = avoid;
        self
    }
}

/// Chooses among the candidates it was built for. Never changes: a new set gets a new balancer.
pub trait Balancer: Send + Sync {
    /// Index into `candidates`, or `None` when all are avoided or unusable. Candidates show live
    /// counters. `candidates` is the slice it was built for.
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize>;
    /// What a candidate may have in work at the most, besides `max_active`. It is asked again at
    /// the moment of taking, so that it holds under concurrency.
    fn bound(&self, candidates: &[Candidate], index: usize) -> Option<u32> {
        let _ = (candidates, index);
        None
    }
    /// Called at take and settle with the index in the current set, for policies that keep an order.
    fn load_changed(&self, candidates: &[Candidate], index: usize) {
        let _ = (candidates, index);
    }
}

/// Everybody in turn from a place that the seed says: for when a policy's own choice is closed.
pub(super) fn any_open(candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
    let n = candidates.len();
    let start = if n == 0 { 0 } else { ask.seed as usize % n };
    (start..n).chain(0..start).find(|i| candidates[*i].is_open(ask))
}

/// Spreads a number over all bits (splitmix64).
pub(super) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

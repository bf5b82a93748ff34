//! Peak-EWMA over two choices (finagle's `p2cPeakEwma`): the cost of a candidate is the decayed
//! time of its first bytes times what it has in work. A slower first byte counts at once, a faster
//! one by and by, and a failure counts as at least a second, so that one that fails fast does not
//! look fast.
use super::alias::Alias;
use super::balancer::{Ask, Balancer};
use super::p2c::two;
use crate::pool::backend::Candidate;

pub(super) struct PeakEwma(Alias);

impl PeakEwma {
    pub(super) fn new(candidates: &[Candidate], _seed: u64) -> Self {
        Self(Alias::new(candidates))
    }
}

/// What one counts as that was never measured: a millisecond, so that it is tried beside others of
/// its kind, but not flooded: what it has in work multiplies it.
const UNMEASURED: f64 = 1e6;

impl Balancer for PeakEwma {
    fn pick(&self, candidates: &[Candidate], ask: &Ask<'_>) -> Option<usize> {
        two(&self.0, candidates, ask, |c| {
            let cost = c.backend.cost(ask.now);
            let cost = if cost == 0.0 { UNMEASURED } else { cost };
            cost * f64::from(c.backend.active() + 1) / f64::from(c.weight)
        })
    }
}

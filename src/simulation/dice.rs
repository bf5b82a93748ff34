//! Chance, from a seed.
use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Dice(fastrand::Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }
    pub(super) fn number(&mut self) -> u64 {
        self.0.u64(..)
    }
    /// Within a range, both ends included.
    pub(super) fn within(&mut self, low: u32, high: u32) -> u32 {
        self.0.u32(low..=high)
    }
    /// From 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        self.0.f64()
    }
    /// Whether something happens that does so in this share of all cases.
    pub(super) fn happens(&mut self, share: f64) -> bool {
        self.share() < share
    }
    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.usize(..all.len())]
    }
    /// How long until the next of what comes independently, so many a second (exponential).
    pub(super) fn gap(&mut self, rate: f64) -> Duration {
        Duration::from_secs_f64((-(1.0 - self.share()).ln() / rate).min(10.0))
    }
    /// Around a mean: half of it at the least, one and a half times at the most.
    pub(super) fn around(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(0.5 + self.share())
    }
}

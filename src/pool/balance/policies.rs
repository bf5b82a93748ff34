//! The policies a pool may name, and how each is built.
use super::balancer::Balancer;
use super::consistent_hash::ConsistentHash;
use super::least_connections::LeastConnections;
use super::p2c::P2c;
use super::peak_ewma::PeakEwma;
use super::random::Random;
use super::round_robin::RoundRobin;
use super::sizes::Sizes;
use crate::config::Balance;
use crate::pool::backend::Candidate;
use std::collections::BTreeMap;
use std::sync::Arc;

type Build = Arc<dyn Fn(&[Candidate], Seeds) -> Box<dyn Balancer> + Send + Sync>;

/// What a policy may take its own numbers from. Both stay for a pool's life.
#[derive(Clone, Copy, Debug)]
pub(in crate::pool) struct Seeds {
    /// From the pool's name: the same on every proxy.
    pub(in crate::pool) shared: u64,
    /// This process's own.
    pub(in crate::pool) own: u64,
}

/// Policy words and their builders.
#[derive(Clone)]
pub struct Policies(Arc<BTreeMap<String, Build>>);

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.words()).finish()
    }
}

fn row<B: Balancer + 'static>(word: &str, build: fn(&[Candidate], Seeds) -> B) -> (String, Build) {
    (word.to_string(), Arc::new(move |candidates, seeds| Box::new(build(candidates, seeds))))
}

impl Default for Policies {
    fn default() -> Self {
        Self(Arc::new(BTreeMap::from([
            row("round_robin", RoundRobin::new),
            row("least_connections", LeastConnections::new),
            row("random", Random::new),
            row("p2c", P2c::new),
            row("peak_ewma", PeakEwma::new),
        ])))
    }
}

/// The one policy that is built from more than its candidates.
pub(in crate::pool) const HASH: &str = "consistent_hash";

impl Policies {
    /// Adds a policy under a word of one's own, or in place of a built-in one. The builder gets the
    /// candidates, in the order of their names, and the pool's seed, which stays for the pool's life
    /// and is the same for a pool of that name on every proxy.
    #[must_use]
    pub fn with(
        self,
        word: &str,
        build: impl Fn(&[Candidate], u64) -> Box<dyn Balancer> + Send + Sync + 'static,
    ) -> Self {
        let mut rows = (*self.0).clone();
        // As the config reads policy words.
        let word = word.to_lowercase().replace('-', "_");
        rows.insert(word, Arc::new(move |candidates, seeds| build(candidates, seeds.shared)));
        Self(Arc::new(rows))
    }

    /// Every word, in order.
    pub fn words(&self) -> Vec<&str> {
        let mut words: Vec<&str> = self.0.keys().map(String::as_str).collect();
        words.push(HASH);
        words.sort_unstable();
        words.dedup();
        words
    }

    /// Builds a policy for a set of candidates outside any pool: for tests, benches and embedders.
    /// `None` when there is no such policy.
    pub fn build(
        &self,
        balance: &Balance,
        candidates: &[Candidate],
        seed: u64,
    ) -> Option<Box<dyn Balancer>> {
        let sizes = Sizes::of(candidates.iter().map(|c| c.weight));
        self.make(balance, candidates, Seeds { shared: seed, own: seed }, sizes)
    }

    pub(in crate::pool) fn make(
        &self,
        balance: &Balance,
        candidates: &[Candidate],
        seeds: Seeds,
        sizes: Sizes,
    ) -> Option<Box<dyn Balancer>> {
        let by_word = |word: &str| self.0.get(word).map(|build| build(candidates, seeds));
        if let Some(own) = by_word(&balance.policy) {
            return Some(own);
        }
        let hash = balance.hash.as_ref().filter(|_| balance.policy == HASH)?;
        let fallback = by_word(&hash.fallback)?;
        Some(Box::new(ConsistentHash::new(candidates, hash, fallback, sizes)))
    }
}

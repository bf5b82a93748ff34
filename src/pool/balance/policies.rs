//! The policies a pool may name, and how each is built.
use super::balancer::Balancer;
use super::consistent_hash::ConsistentHash;
use super::least_connections::LeastConnections;
use super::p2c::P2c;
use super::peak_ewma::PeakEwma;
use super::random::Random;
use super::round_robin::RoundRobin;
use crate::config::{self, Balance, Name, Problem};
use crate::pool::backend::Candidate;
use std::collections::BTreeMap;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

type Build = Arc<dyn Fn(&[Candidate], u64) -> Box<dyn Balancer> + Send + Sync>;

/// Policy words and their builders.
#[derive(Clone)]
pub struct Policies(Arc<BTreeMap<String, Build>>);

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn row<B: Balancer + 'static>(word: &str, build: fn(&[Candidate], u64) -> B) -> (String, Build) {
    (word.to_string(), Arc::new(move |candidates, seed| Box::new(build(candidates, seed))))
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
const HASH: &str = "consistent_hash";

impl Policies {
    /// Adds a policy under a word of one's own. The builder gets the candidates and the pool's
    /// seed, which is the same for the same pool on every proxy.
    #[must_use]
    pub fn with(
        self,
        word: &str,
        build: impl Fn(&[Candidate], u64) -> Box<dyn Balancer> + Send + Sync + 'static,
    ) -> Self {
        let mut rows = (*self.0).clone();
        rows.insert(word.to_string(), Arc::new(build));
        Self(Arc::new(rows))
    }

    /// Checks a pool's words.
    pub(in crate::pool) fn check(
        &self,
        pool: &Name,
        balance: &Balance,
    ) -> Result<(), Vec<Problem>> {
        let fallback = balance.hash.as_ref().map(|hash| hash.fallback.as_str());
        let unknown = |word: &&str| *word != HASH && !self.0.contains_key(*word);
        let Some(word) = std::iter::once(balance.policy.as_str()).chain(fallback).find(unknown)
        else {
            return Ok(());
        };
        let mut words: Vec<&str> = self.0.keys().map(String::as_str).collect();
        words.push(HASH);
        let what = format!("no policy named {word:?}");
        let problem = Problem::new(&balance.at, format!("pool.{pool}.balance"), what);
        Err(vec![problem.hint(format!("there are {}", words.join(", ")))])
    }

    /// Builds the balancer of a set. A word that `check` let pass always has a row.
    pub(in crate::pool) fn build(
        &self,
        set: &[Candidate],
        config: &config::Pool,
        pool: &Name,
    ) -> Box<dyn Balancer> {
        let seed = xxh3_64(pool.as_bytes());
        let by_word = |word: &str| match self.0.get(word) {
            Some(build) => build(set, seed),
            None => Box::new(Random::new(set, seed)),
        };
        match &config.balance.hash {
            Some(hash) => {
                let weights =
                    config.backends.iter().map(|b| u64::from(b.weight.get())).filter(|w| *w > 0);
                Box::new(ConsistentHash::new(set, hash, by_word(&hash.fallback), weights))
            }
            None => by_word(&config.balance.policy),
        }
    }
}

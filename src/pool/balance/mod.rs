//! Policies by name.

mod balancer;

pub use balancer::{Ask, Balancer};

use super::backend::Candidate;
use crate::config::Balance;
use std::sync::Arc;

/// Builds a balancer for a set of candidates. `seed` is the pool's own and stays for its life.
pub type Builder = Arc<dyn Fn(&[Candidate], &Balance, u64) -> Box<dyn Balancer> + Send + Sync>;

/// Policy words and their builders.
#[derive(Clone)]
pub struct Policies {/* BTreeMap<String, Builder> */}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Policies")
    }
}

impl Default for Policies {
    fn default() -> Self {
        todo!()
    }
}

impl Policies {
    /// Adds a policy under a word of one's own.
    #[must_use]
    pub fn with(
        self,
        word: &str,
        build: impl Fn(&[Candidate], u64) -> Box<dyn Balancer> + Send + Sync + 'static,
    ) -> Self {
        let _ = (word, build);
        todo!()
    }
}

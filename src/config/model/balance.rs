//! `pool.*.balance`
use crate::config::problem::At;

/// `pool.balance`: the word is checked by the pool, so that a user's own policy can be named.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// The policy's word, normalised: lower case, `_` for `-`, aliases resolved.
    pub policy: String,
    /// Members for `consistent_hash`; `None` for a policy that takes none.
    pub hash: Option<Hash>,
    /// Where it is said.
    pub at: At,
}

/// Members of `consistent_hash`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hash {
    /// Parts of the key, in order; at least one.
    pub key: Vec<KeyPart>,
    /// Whether the first part that is present is the key, instead of all that are.
    pub first: bool,
    /// The policy's word for requests where every part is absent; default `random`.
    pub fallback: String,
    /// The table.
    pub table: Table,
    /// No backend gets more than this times its fair share; `None` is off. Above 1.
    pub bounded_load: Option<f64>,
}

/// A part of a hash key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// `header:X-User`, in lower case.
    Header(String),
    /// `cookie:sid`
    Cookie(String),
    /// `query:id`
    Query(String),
    /// `path`
    Path,
    /// `client_ip`
    ClientIp,
    /// `client_addr`
    ClientAddr,
}

/// The table of a consistent hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Maglev (Eisenbud et al., NSDI 2016). `None` is `size = "auto"`: 65,537 slots, or 1,000,003
    /// when the sum of weights is over 655 times the smallest. A prime.
    Maglev(Option<u32>),
    /// Ketama-like ring.
    Ring,
}

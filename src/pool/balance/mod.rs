//! Policies by name.

mod alias;
mod balancer;
mod consistent_hash;
mod key;
mod least_connections;
mod maglev;
mod p2c;
mod peak_ewma;
mod policies;
mod random;
mod ring;
mod round_robin;
mod tree;

pub use balancer::{Ask, Balancer};
pub use key::key_hash;
pub use policies::Policies;

//! Balancing policies: what one is, those that are built in, and their names.

mod balancer;
mod check;
mod consistent_hash;
mod draw;
mod key;
mod least_connections;
mod loads;
mod maglev;
mod p2c;
mod peak_ewma;
mod policies;
mod random;
mod ring;
mod round_robin;
mod schedule;
mod sizes;
mod tournament;

pub use balancer::{Ask, Balancer, Why};
pub(super) use check::check;
pub use key::{client_hash, key_hash};
pub use policies::Policies;
pub(super) use policies::Seeds;
pub(super) use sizes::Sizes;

#[cfg(test)]
mod tests;

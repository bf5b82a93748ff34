//! A pool: backends, their health, and the choice among them. No I/O, no protocol.
//!
//! One door in, [`Pool::apply`]; one door out, [`Pool::lease`].

mod backend;
mod balance;
mod health;
mod lease;
mod members;
mod pool_core;
mod snapshot;

pub use backend::{Backend, BackendId, Candidate, Endpoint};
pub use balance::{Ask, Balancer, Policies};
pub use lease::{Lease, NoLease, Outcome};
pub use members::{Change, Reason, State, Turn, Wish};
pub use pool_core::{Member, Pool, Prepared};

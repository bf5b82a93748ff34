//! A pool: backends, their health, and the choice among them. No I/O, no protocol.
//!
//! One door in, [`Pool::apply`]: what config, discovery, probes, requests and operators say goes
//! through it, one lock, and comes out as [`Turn`]s. One door out, [`Pool::lease`]: an immutable
//! snapshot of who is usable, a policy that picks among them, a count below a limit.
//!
//! ```text
//! Endpoint (said) --apply--> Backend (known) --publish--> Candidate (usable) --lease--> Lease (taken)
//! ```

mod backend;
mod balance;
mod core;
mod health;
mod lease;
mod members;
mod snapshot;

pub use self::core::{Pool, Prepared};
pub use backend::{Backend, BackendId, Candidate, Endpoint};
pub use balance::{Ask, Balancer, Policies, key_hash};
pub use lease::{Lease, NoLease, Outcome};
pub use members::{Change, Member, Reason, State, Turn, Wish};

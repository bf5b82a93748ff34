//! A pool: backends, their health, and the choice among them. No I/O, no protocol.
//!
//! One door in, [`Pool::apply`]: what config, discovery, probes, requests and operators say goes
//! through it, one lock, and comes out as [`Turn`]s. One door out, [`Pool::lease`]: an immutable
//! snapshot of who is usable, a policy that picks among them, a count below a limit.
//!
//! ```text
//! Endpoint (said) --apply--> Backend (known) --publish--> Candidate (usable) --lease--> Lease (taken)
//! ```

mod adaptive;
mod addresses;
mod allow;
mod awaited;
mod backend;
mod balance;
mod budget;
mod cadence;
mod ceiling;
mod cells;
mod change;
mod clients;
mod core;
mod declined;
mod doubt;
mod ewma;
mod explain;
mod fairness;
mod health;
mod hot;
mod known;
mod latency;
mod lease;
mod leasing;
mod line;
mod members;
mod outlier;
mod passive;
mod pauses;
mod prepare;
mod queue;
mod races;
mod recent;
mod refusals;
mod renewals;
mod ring;
mod row;
mod silence;
mod slow_start;
mod snapshot;
mod split;
#[cfg(test)]
mod testing;
mod verdict;
mod waiting;
mod window;
mod words;

pub use self::core::Pool;
pub use addresses::Place;
pub use awaited::Awaited;
pub use backend::{Backend, BackendId, Candidate, Endpoint, Leave, news};
pub use balance::{Ask, Balancer, Policies, Why, client_hash, key_hash};
pub use budget::Allowance;
pub use cells::{Cells, Picks, StickyCells, Told};
pub use change::{Author, Change, Glance, Member, Miss, Reason, State, Turn, Wish};
pub use explain::{Explained, Line, Standing};
pub use lease::{Lease, NoLease, Outcome, Vigil};
pub use prepare::Prepared;
pub use ring::Ring;
pub use split::Split;
pub use verdict::Verdict;
#[cfg(test)]
pub(crate) use waiting::Waiting;
pub use words::{Word, Words, lay};

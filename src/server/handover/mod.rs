//! From one process to the next without a connection lost.
//!
//! ```text
//! new                            old
//! Hello (form, version)  -->
//!                        <--     Offer (what it knows), Sockets ...
//! reads the file, takes the sockets, waits for first verdicts
//! Ready (which it took)  -->
//!                        <--     Final (what it knows by now; from here on it writes nothing)
//! keeps the words, serves
//! Serving                -->     takes nobody any more, and watches for a second that the other lives:
//!                        <--     Alive ...
//! Alive, by each thread  -->     ...
//!                        <--     Done; drains
//! ```
//!
//! Until `Done` the old process goes on as it was whatever happens to the other: its sockets are the
//! same ones, and who waits at them is lost by neither.

mod attempt;
mod channel;
mod giver;
mod inherited;
mod legacy;
mod message;
mod outcome;
mod program;

pub use giver::{Giver, Giving, ROLE, SOCKET, bind};
pub use inherited::Inherited;
pub use legacy::Legacy;
pub(super) use legacy::{Undone, first_verdicts};
pub use outcome::{HandOver, HandOvers, Role};

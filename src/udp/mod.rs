//! Datagrams, layer 4: a session for each client address, each with a socket of its own to the
//! backend that was chosen for it.
//!
//! ```text
//! client ─▶ listener's socket ─▶ Desk ── Book: Flow -> Session ─▶ the session's socket ─▶ backend
//!                 ◀── one sendmmsg ── Batch ◀── Ring: whose socket has something ◀───────
//! ```
//!
//! One task for each socket of a listener does all of it, so that nothing is locked: it takes what
//! came by one system call, and the answers of many sessions leave by one, too.

mod book;
mod desk;
mod held;
mod ours;
mod relay;
mod ring;
mod session;
mod threshold;
mod way;

pub use desk::Desk;
pub use ours::Ours;
pub use relay::Relay;
pub use threshold::Threshold;

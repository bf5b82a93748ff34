//! WebSocket without I/O (RFC 6455): where its frames end in bytes that go by, and how one that
//! others carry on is ended by a Close frame of our own.

mod close;
mod frames;

#[cfg(test)]
mod tests;

pub use close::{Closing, Next, Side, Step, moment};
pub use frames::Frames;

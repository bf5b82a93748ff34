//! One connection of HTTP/2 without I/O: frames in, frames out, and between them streams.
//!
//! A table of what may follow what is RFC 9113 5.1; whoever breaks it ends its stream, or the
//! connection where both sides could no longer mean the same.

mod core;
mod heads;
mod late;
mod receive;
mod send;
mod streams;

#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod waiting_tests;

pub use self::core::{Core, Fault, Limits, Side};
pub use send::Came;
pub use streams::Broken;

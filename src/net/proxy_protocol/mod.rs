//! The PROXY protocol, versions 1 and 2, without I/O (HAProxy's `doc/proxy-protocol.txt`).
//!
//! A reader is strict: what two programs could read differently is refused. It says of bytes that
//! are no whole header yet that all of them belong to one, so that nobody takes more than that.

mod header;
mod v1;
mod v2;
mod wire;

#[cfg(test)]
mod tests;

pub use header::{Ends, Fault, Header, MOST, Read, Ssl, Tlvs, Version};
pub use wire::{Written, read};

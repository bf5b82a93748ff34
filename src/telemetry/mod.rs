//! The process's own log, and the access log with its writer thread.

mod access;
mod log;

pub use access::{Access, AccessLog, rfc3339};
pub use log::{LogHandle, init};

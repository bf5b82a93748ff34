//! The process's own log, and the access log with its writer thread.

mod access;
mod line;
mod log;

pub use access::{Access, AccessLog};
pub use line::rfc3339;
pub use log::{LogHandle, init};

//! Reaching backends: a worker's connections, and one request on one of them.

mod dialer;
mod error;

pub use dialer::Dialer;
pub use error::Error;

//! Reaching backends: a worker's connections, and one request on one of them.

mod connect;
mod dialer;
mod error;
mod exchange;
mod idle;
mod link;
mod pump;

pub use connect::not_reached;
pub use dialer::{Dialer, Outgoing};
pub use error::{Error, Failed, Retry};
pub use exchange::{Exchange, Heard, LOOK, Pace};
pub use link::Link;

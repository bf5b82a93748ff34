//! Reaching backends: a worker's connections, and one request on one of them.

mod conn;
mod connect;
mod dialer;
mod error;
mod exchange;
mod http1;
mod http2;
mod idle;
mod kept;
mod link;
mod patience;
mod pump;
mod shared;
mod span;

pub use connect::not_reached;
pub use dialer::{Dialer, Outgoing};
pub use error::{Error, Failed, Retry};
pub use exchange::{Exchange, Heard, LOOK, Pace};
pub use link::Link;

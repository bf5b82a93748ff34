//! HTTP, layer 7: what happens to one connection and to each request on it.

mod address;
mod answer;
mod cells;
mod choose;
mod client;
mod compile;
mod date;
mod downstream;
mod forward;
mod forwarded;
mod gateway;
mod headers;
mod http2;
mod key;
mod leaving;
mod path;
mod query;
mod rate;
mod relay;
mod reply;
mod report;
mod request;
mod request_id;
mod rewrite;
mod route;
mod serve;
mod split;
mod tries;
mod upgrade;
mod wire;

pub use gateway::{Gateway, RouteCells, Target};
pub use path::{Asked, BadPath, asked};
pub use route::{Action, Route};
pub use serve::Connection;

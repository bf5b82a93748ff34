//! HTTP, layer 7: what happens to one connection and to each request on it.

mod choose;
mod client;
mod forward;
mod gateway;
mod headers;
mod key;
mod path;
mod query;
mod relay;
mod reply;
mod report;
mod request;
mod rewrite;
mod route;
mod serve;
mod tries;
mod upgrade;
mod wire;

pub use gateway::{Gateway, RouteCells};
pub use serve::serve;

//! HTTP, layer 7: what happens to one connection and to each request on it.

mod gateway;
mod route;
mod serve;

pub use gateway::{Gateway, RouteCells};
pub use serve::serve;

//! HTTP, layer 7: what happens to one connection and to each request on it.

mod address;
mod affinity;
mod answer;
mod attempt;
mod broken;
mod cells;
mod choose;
mod client;
mod compile;
mod date;
mod downstream;
mod explain;
mod forward;
mod forwarded;
mod gateway;
mod headers;
mod hedge;
mod held;
mod http2;
mod key;
mod keys;
mod leaving;
mod mirror;
mod path;
mod query;
mod rate;
mod rate_limit;
mod relay;
mod reply;
mod report;
mod request;
mod request_id;
mod retry;
mod rewrite;
mod route;
mod serve;
mod shaping;
mod split;
mod tries;
mod unwanted;
mod upgrade;
mod wire;

pub use explain::{Explanation, Key, Limited, Question, Rule};
pub use gateway::{Gateway, RouteCells, Target};
#[cfg(test)]
pub(crate) use hedge::{delay as hedge_delay, patience as hedge_patience, wins as wins_hedge};
pub use mirror::MirrorCells;
pub use path::{Asked, BadPath, asked};
pub use rate_limit::Limiter;
#[cfg(test)]
pub(crate) use retry::{Asked as Told, Broke, Cause, Course, Wait};
pub use route::{Action, Route};
pub use serve::Connection;
pub use shaping::{Shaped, Shaping};
#[cfg(test)]
pub(crate) use tries::SOME;

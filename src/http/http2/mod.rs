//! HTTP/2 from clients: one connection, a task for each of its streams, and each stream a request
//! that goes the way of all requests.

mod accept;
mod held;
mod relay;
mod request;
mod sender;
mod serve;
mod stream;
mod tunnel;
mod wire;

pub(super) use serve::{Spoken, begins, serve};

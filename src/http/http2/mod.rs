//! HTTP/2 from clients: one connection, a task for each of its streams, and each stream a request
//! that goes the way of all requests.

mod accept;
mod hands;
mod relay;
mod request;
mod serve;
mod stream;
mod tunnel;

pub(super) use serve::{Spoken, begins, serve};

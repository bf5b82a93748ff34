//! HTTP/2 connections under way: the socket of each is read and written by one task, and its streams
//! are in the hands of others.
//!
//! Between them stands the [`crate::http2::conn::Core`] behind a lock that is never held across an
//! await and, as all of them are of one worker, never waited for. A stream's task writes its frames
//! where the connection's task finds them: however many have something to say, it is woken once and
//! sends all of it with one call.

mod shared;
mod stream;
mod wire;

pub use shared::Mux;
pub use stream::{Gone, Stream};
pub use wire::Wire;

//! HTTP/2 without I/O (RFC 9113): what the `h2` crate says and what a [`crate::message::Head`]
//! says, from one to the other, and what a connection's frames cost.
//!
//! What is translated goes through the checks that HTTP/1 heads go through: nothing that could not
//! have come by HTTP/1 reaches a backend.

mod fields;
mod grpc;
mod outbound;
mod pieces;
mod request;
mod response;
mod tally;

#[cfg(test)]
mod tests;

pub use fields::{from_trailers, to_trailers};
pub use grpc::{Status, is_grpc, timeout};
pub use outbound::{Outbound, answer};
pub use pieces::Pieces;
pub use request::{is_websocket, request};
pub use response::{interim, response, short_answer};
pub use tally::{Frame, Kind, Tally, Walker};

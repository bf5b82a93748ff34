//! HTTP/2 without I/O (RFC 9113): frames, compressed fields (RFC 7541), windows and streams, and what
//! becomes of them as a [`crate::message::Head`]. Holds no socket, task or clock.
//!
//! What is translated goes through the checks that HTTP/1 heads go through: nothing that could not
//! have come by HTTP/1 reaches a backend.

pub mod conn;
mod fields;
mod frame;
mod grpc;
pub mod hpack;
mod outbound;
mod request;
mod response;
mod tally;

#[cfg(test)]
mod tests;

pub use fields::{Listen, passing, trailers, trailers_fit};
pub use frame::{Code, Frame, PREFACE};
pub use grpc::{Status, is_call, is_grpc, meant, timeout};
pub use outbound::Outbound;
pub use request::{Asking, Request};
pub use response::{Answering, answer_of, interim, response, short_answer};
pub use tally::{Kind, Tally};

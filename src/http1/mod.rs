//! HTTP/1 without I/O (RFC 9110, 9112): bytes in, events out. Holds no socket, task or clock.
//!
//! Strict on both sides. Used by the data path, the upstream side and the probes.

mod body;
mod conn;
mod encode;
mod framing;
mod hop;
mod parse;
mod refusal;

#[cfg(test)]
mod tests;

pub use body::{Decoded, Decoder, chunk_size_line, last_chunk, may_trail};
pub use conn::{Client, Event, Server, Want};
pub use encode::{request_head, response_head, short_answer};
pub use framing::{BodyLength, RequestVerdict, ResponseVerdict, of_request, of_response};
pub use hop::hop_by_hop;
pub use parse::{HeadLimits, Parsed, is_authority, request, response, trailers};
pub use refusal::{Refusal, Rule};

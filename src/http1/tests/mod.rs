//! The codec held against what arrives on a wire: every split, every refusal, every round trip.
use crate::http1;
use crate::message;

mod corpus;
mod encode;
mod framing;
mod hop;
mod hostile;
mod hostile_answers;
mod hostile_heads;
mod machines;
mod replay;
mod round_trip;
mod small_worlds;
mod split;
mod strict;
mod strict_out;
mod truncated;

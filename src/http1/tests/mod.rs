//! The codec held against what arrives on a wire: every split, every refusal, every round trip.
use crate::{http1, message};

mod corpus;
mod hostile;
mod hostile_answers;
mod replay;
mod round_trip;
mod split;
mod strict;
mod strict_out;

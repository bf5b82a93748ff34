//! Bodies: an incremental decoder, and the few bytes around chunks on the way out.
use super::framing::BodyLength;
use super::parse::HeadLimits;
use super::refusal::Refusal;
use crate::message::Fields;
use std::ops::Range;

/// One step of a decoder over the bytes at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Body bytes at this range of the input; everything before its end is used up.
    Data(Range<usize>),
    /// The body ended; so many bytes of the input are used up. Trailers are in `out`.
    End(usize),
    /// So many bytes are used up, and more are wanted.
    Need(usize),
}

/// Decodes one body.
#[derive(Debug)]
pub struct Decoder {
    // state
}

impl Decoder {
    /// For a body delimited like this; trailers are bounded by `trailer_limits`.
    pub fn new(length: BodyLength, trailer_limits: HeadLimits) -> Self {
        let _ = (length, trailer_limits);
        todo!()
    }
    /// Takes one step. `eof`: no byte will follow `wire`.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for a bad chunk or trailer, or an end that came too early.
    pub fn decode(&mut self, wire: &[u8], eof: bool, out: &mut Fields) -> Result<Decoded, Refusal> {
        let _ = (wire, eof, out);
        todo!()
    }
    /// How many of the next wire bytes are body and nothing else, so that they may be spliced past
    /// the decoder: what is left of Content-Length or of the current chunk, or `u64::MAX`.
    pub fn opaque(&self) -> u64 {
        todo!()
    }
    /// Says that `n <= opaque()` bytes were moved past the decoder.
    pub fn advance(&mut self, n: u64) {
        let _ = n;
        todo!()
    }
    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        todo!()
    }
}

/// `<hex>\r\n` before the data of a chunk; `len` is not 0. The data is followed by `\r\n`.
pub fn chunk_size_line(len: usize, out: &mut Vec<u8>) {
    let _ = (len, out);
    todo!()
}

/// `0\r\n`, the trailers, `\r\n`. Forbidden trailer names (framing, routing, authentication) are left out.
pub fn last_chunk(trailers: Option<&Fields>, out: &mut Vec<u8>) {
    let _ = (trailers, out);
    todo!()
}

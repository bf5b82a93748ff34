//! Bytes to head, strict by RFC 9112. Resumes where it stopped, never rescans.
use super::refusal::Refusal;
use crate::message::{Fields, Head};

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of a head (431).
    pub head: usize,
    /// Fields of a head (431).
    pub fields: usize,
    /// Bytes of a request target (414).
    pub target: usize,
}

/// How far a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Complete: so many bytes of the wire were it.
    Done(usize),
    /// More bytes are wanted; pass this number as `resume` next time.
    Partial(usize),
}

/// Parses a request head from the beginning of `wire`. Empty lines before it are skipped (9112 2.2).
///
/// # Errors
///
/// [`Refusal`] as soon as it is certain.
pub fn request(wire: &[u8], resume: usize, limits: &HeadLimits, out: &mut Head) -> Result<Parsed, Refusal> {
    let _ = (wire, resume, limits, out);
    todo!()
}

/// Parses a response head.
///
/// # Errors
///
/// As [`request`].
pub fn response(wire: &[u8], resume: usize, limits: &HeadLimits, out: &mut Head) -> Result<Parsed, Refusal> {
    let _ = (wire, resume, limits, out);
    todo!()
}

/// Parses a trailer section up to and with its empty line.
///
/// # Errors
///
/// As [`request`].
pub fn trailers(wire: &[u8], resume: usize, limits: &HeadLimits, out: &mut Fields) -> Result<Parsed, Refusal> {
    let _ = (wire, resume, limits, out);
    todo!()
}

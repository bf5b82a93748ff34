//! A body that is read piece by piece, lent and not copied.
use super::fields::Fields;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::task::{Context, Poll};

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// No body at all.
    Empty,
    /// Exactly so many bytes; may be 0.
    Exact(u64),
    /// Known at its end.
    Unknown,
}

/// What [`Source::poll_fill`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// `data()` holds at least one byte.
    Data,
    /// The body is complete; `trailers()` may hold some.
    End,
}

/// Why a body could not be read to its end.
#[derive(Clone, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Broken {
    /// The peer went away.
    #[error("the connection ended in the middle of a body")]
    Closed,
    /// A syntax fault: a short word for log and metrics.
    #[error("invalid body: {0}")]
    Invalid(&'static str),
    /// Longer than its limit allows.
    #[error("longer than limits.body")]
    TooLarge,
    /// Too few bytes for too long.
    #[error("too slow")]
    Slow,
    /// No byte for too long.
    #[error("stood still")]
    Idle,
    #[error("{0:?}")]
    Io(std::io::ErrorKind),
}

/// A body. The reader calls `poll_fill`, uses `data()`, and says with `consume` how much of it.
pub trait Source: Send {
    /// How long the whole body is, as its message said.
    fn length(&self) -> Length;
    /// Makes at least one byte available, or says that the body ended.
    ///
    /// # Errors
    ///
    /// [`Broken`]; after it the source is at its end for good.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, Broken>>;
    /// The bytes at hand.
    fn data(&self) -> &[u8];
    /// Takes `n` of them.
    fn consume(&mut self, n: usize);
    /// Whether nothing follows the bytes at hand, not even trailers. `false` where it is not known.
    fn is_last(&self) -> bool {
        false
    }
    /// The trailer section, once `poll_fill` said `End`.
    fn trailers(&self) -> Option<&Fields> {
        None
    }
    /// Ready when the one who sends the body has gone away, also once the body is complete.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Pending
    }
    /// Puts back what was consumed last: it comes again before the rest.
    fn put_back(&mut self, kept: Kept);
    /// Bytes of the body that were consumed and not put back: with none it can still be sent
    /// elsewhere.
    fn gone(&self) -> u64;
}

/// So many pieces are kept at the most: small ones cost more than they hold.
const KEPT: usize = 128;

/// What was consumed of a body and can be put back.
#[derive(Debug, Default)]
pub struct Kept {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Kept {
    /// Keeps a piece behind the others; `false` when that would be more than `most` bytes, or too many
    /// pieces.
    pub fn keep(&mut self, piece: Bytes, most: usize) -> bool {
        let fits = self.len + piece.len() <= most && self.pieces.len() < KEPT;
        if fits && !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
        fits
    }
    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Whether they are all in one piece.
    pub fn is_one(&self) -> bool {
        self.pieces.len() == 1
    }
    /// The first piece.
    pub fn first(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }
    /// Takes `n` bytes of the first piece.
    pub fn consume(&mut self, n: usize) {
        if let Some(first) = self.pieces.front_mut() {
            first.advance(n);
            self.len -= n;
            if first.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

/// What a source was given back and has to hand out again; nothing, as a rule.
#[derive(Debug, Default)]
pub struct Back(Option<Box<Kept>>);

impl Back {
    /// None.
    pub const NONE: Self = Self(None);
    /// Whether there are bytes.
    #[inline]
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }
    /// The next bytes, if there are any.
    #[inline]
    pub fn data(&self) -> Option<&[u8]> {
        self.0.as_ref().map(|kept| kept.first())
    }
    /// Bytes.
    pub fn left(&self) -> u64 {
        self.0.as_ref().map_or(0, |kept| kept.len() as u64)
    }
    /// Whether nothing follows the next bytes here.
    pub fn is_last(&self) -> bool {
        self.0.as_ref().is_none_or(|kept| kept.is_one())
    }
    /// Takes `n` of the next bytes.
    #[cold]
    pub fn consume(&mut self, n: usize) {
        if let Some(kept) = &mut self.0 {
            kept.consume(n);
            self.0.take_if(|kept| kept.is_empty());
        }
    }
    /// These come first.
    pub fn put(&mut self, mut kept: Kept) {
        if let Some(rest) = self.0.take() {
            kept.len += rest.len;
            kept.pieces.extend(rest.pieces);
        }
        self.0 = (!kept.is_empty()).then(|| Box::new(kept));
    }
}

/// No body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Empty;

impl Source for Empty {
    fn length(&self) -> Length {
        Length::Empty
    }
    fn poll_fill(&mut self, _: &mut Context<'_>) -> Poll<Result<Fill, Broken>> {
        Poll::Ready(Ok(Fill::End))
    }
    fn data(&self) -> &[u8] {
        &[]
    }
    fn consume(&mut self, _: usize) {}
    fn put_back(&mut self, _: Kept) {}
    fn gone(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pieces: &[&'static str]) -> Kept {
        let mut kept = Kept::default();
        assert!(pieces.iter().all(|piece| kept.keep(Bytes::from_static(piece.as_bytes()), 100)));
        kept
    }

    #[test]
    fn what_is_put_back_comes_before_what_was_put_back_earlier() {
        let mut back = Back::default();
        back.put(Kept::default());
        assert!(!back.is_some() && back.is_last());
        back.put(kept(&["abc", "", "de"]));
        back.consume(2);
        assert_eq!((back.data(), back.left(), back.is_last()), (Some(&b"c"[..]), 3, false));
        back.put(kept(&["ab"]));
        let mut all = Vec::new();
        while let Some(&[first, ..]) = back.data() {
            all.push(first);
            back.consume(1);
        }
        assert_eq!((&all[..], back.left(), back.is_some()), (&b"abcde"[..], 0, false));
    }

    #[test]
    fn neither_too_many_bytes_are_kept_nor_too_many_pieces() {
        let mut kept = kept(&["abc"]);
        assert!(kept.keep(Bytes::from_static(b"de"), 5) && !kept.keep(Bytes::from_static(b"f"), 5));
        let many = (0..200).take_while(|_| kept.keep(Bytes::from_static(b"x"), usize::MAX));
        assert_eq!(many.count(), KEPT - 2);
    }
}

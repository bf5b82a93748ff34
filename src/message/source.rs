//! A body that is read piece by piece, lent and not copied.
use super::head::Fields;
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
    /// No byte, or too few, for too long.
    #[error("too slow")]
    Slow,
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
    /// Draws together what came behind the bytes at hand, which stay: called when these wait.
    fn gather(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }
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
    /// Whether not a byte of the body was consumed, so that it can still be sent elsewhere.
    fn untouched(&self) -> bool;
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
    fn untouched(&self) -> bool {
        true
    }
}

//! Moving bytes from socket to socket inside the kernel, through a pipe (splice(2)).
#![allow(unsafe_code, reason = "none is needed while rustix does the calls; kept denied otherwise")]
use super::stream::Stream;
use std::io;
use std::task::{Context, Poll};

/// A pipe borrowed from a small pool of the worker and given back when empty; when it still holds
/// bytes it is closed instead.
#[derive(Debug)]
pub struct Pipe {/* read, write: OwnedFd; held: usize; capacity */}

impl Pipe {
    /// Borrows a pipe; `None` when the system grants none.
    pub fn lend() -> Option<Self> {
        todo!()
    }
    /// Bytes inside, read from the source and not yet written.
    pub fn held(&self) -> usize {
        todo!()
    }
    /// Moves up to `most` bytes from `from` into the pipe. `Ok(0)`: the source ended. Returns
    /// `Ready` at once with what fits; a full pipe is `Pending` only if the caller has not drained
    /// it, so call [`Pipe::poll_drain`] first.
    ///
    /// # Errors
    ///
    /// The kernel's; `ErrorKind::Unsupported` when either end cannot be spliced.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, from: &mut Stream, most: u64) -> Poll<io::Result<usize>> {
        let _ = (cx, from, most);
        todo!()
    }
    /// Moves what the pipe holds to `to`; `Ready(Ok(n))` with n > 0 as long as something moved.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<usize>> {
        let _ = (cx, to);
        todo!()
    }
}

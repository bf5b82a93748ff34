//! Reads into the buffers of libraries, which are not initialized: by way of a block of this thread's
//! that is. To copy what came costs less than to clear the room for what may come.
use super::stream::Stream;
use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// Bytes that are read at once: a full TLS record, or a full frame of HTTP/2.
const BLOCK: usize = 16 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BLOCK].into());
}

/// Reads what is there, at most 16 KiB, and says how much it was; 0 at the end, and where there is no
/// room.
///
/// # Errors
///
/// As [`Stream::poll_read`].
pub fn poll_read_buf(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let most = buf.remaining().min(scratch.len());
        let n = ready!(stream.poll_read(cx, &mut scratch[..most]))?;
        buf.put_slice(&scratch[..n]);
        Poll::Ready(Ok(n))
    })
}

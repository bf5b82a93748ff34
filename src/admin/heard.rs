//! A connection of the admin side, whose bytes its line hears of, and which leaves nothing behind.
use super::line::Line;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Tells a line of each byte of an answer. What its peer has not read of the answers goes with it when it
/// breaks, and where the peer does not end it soon: the kernel would keep it for minutes, for nobody.
pub(super) struct Heard<S: AsFd> {
    inner: S,
    line: Arc<Line>,
    /// How long its peer may take to read the last answer, once we ended it.
    time: Duration,
    /// Until when its peer may end it, once we did.
    ending: Option<Pin<Box<Sleep>>>,
}

impl<S: AsFd> Heard<S> {
    pub(super) fn new(inner: S, line: Arc<Line>, time: Duration) -> Self {
        Self { inner, line, time, ending: None }
    }
}

impl<S: AsFd> Drop for Heard<S> {
    fn drop(&mut self) {
        if self.line.is_broken() {
            // It may be gone already: then there is nobody to tell.
            let _ = socket2::SockRef::from(&self.inner).set_linger(Some(Duration::ZERO));
        }
    }
}

impl<S: AsyncRead + AsFd + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl<S: AsyncRead + AsyncWrite + AsFd + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n @ 1..)) = wrote {
            self.line.send(n);
        }
        wrote
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        if let Poll::Ready(Ok(n @ 1..)) = wrote {
            self.line.send(n);
        }
        wrote
    }
    /// Who says no has all of an answer copied before it is written.
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    /// Ends when the peer does, too (RFC 9112 9.6), and has read all by then.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let heard = &mut *self;
        if heard.ending.is_none() {
            ready!(Pin::new(&mut heard.inner).poll_shutdown(cx))?;
        }
        let ending = heard.ending.get_or_insert_with(|| Box::pin(sleep(heard.time)));
        // Before what is read, of which there may be no end.
        if ending.as_mut().poll(cx).is_ready() {
            heard.line.breaks();
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [0; 512];
        loop {
            let mut into = ReadBuf::new(&mut bytes);
            match Pin::new(&mut heard.inner).poll_read(cx, &mut into) {
                Poll::Ready(Ok(())) if !into.filled().is_empty() => {}
                ended => return ended,
            }
        }
    }
}

//! A connection of the admin side, whose bytes its line hears of, and which leaves nothing behind.
use super::line::Line;
use std::io::{self, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

/// How often it is looked whether a connection is over: soon at first, and then
const SOON: Duration = Duration::from_millis(1);
/// so often.
const LOOK: Duration = Duration::from_millis(50);

/// Tells a line of each byte of an answer. What its peer has not read of the answers goes with it when it
/// breaks: the kernel would keep it for minutes, for nobody.
pub(super) struct Heard<S: AsFd> {
    inner: S,
    line: Arc<Line>,
}

impl<S: AsFd> Heard<S> {
    pub(super) fn new(inner: S, line: Arc<Line>) -> Self {
        Self { inner, line }
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
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Ends a connection and waits until its peer has all of it, and ended it, too (RFC 9112 9.6), whether that
/// said before that it has no more to say or not: what is not read is ours to bear until then. Whether it came
/// to be within this time; else it is to be reset. What a Unix socket's peer has not read is its own to bear.
pub(super) async fn is_over(socket: OwnedFd, time: Duration) -> bool {
    let mut socket = TcpStream::from(socket);
    // One that is gone is over.
    let _ = socket.shutdown(Shutdown::Write);
    let (until, mut wait, mut bytes) = (Instant::now() + time, SOON, [0; 4096]);
    // The kernel knows no peer any more once both ends have everything.
    while socket.peer_addr().is_ok() {
        if Instant::now() >= until {
            return false;
        }
        // What it goes on to say is nothing to us.
        if !matches!(socket.read(&mut bytes), Ok(1..)) {
            sleep(wait).await;
            wait = (wait * 2).min(LOOK);
        }
        tokio::task::yield_now().await;
    }
    true
}

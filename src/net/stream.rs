//! A byte stream of any transport, polled from one task.
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tokio::net::{TcpStream, UnixStream};

/// Who is at the other end of a client connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket has no address.
    Unix,
}

/// A byte stream. Every method is for one task at a time; cancel-safe.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl Stream {
    /// Reads what is there, at most the buffer. `Ok(0)` with a non-empty buffer is the end.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let _ = (cx, buf);
        todo!()
    }
    /// Becomes ready when a read would not wait. Holds no buffer.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        todo!()
    }
    /// Writes some of the bytes.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let _ = (cx, bytes);
        todo!()
    }
    /// Writes some of the bytes, in order.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let _ = (cx, bytes);
        todo!()
    }
    /// Ends our direction (FIN).
    ///
    /// # Errors
    ///
    /// The kernel's; ENOTCONN is success, the peer was faster.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        todo!()
    }
    /// Whether an idle connection can carry a request: nothing to read and not closed, asked of
    /// the kernel itself (one recv with MSG_PEEK), whatever the runtime remembers.
    pub fn is_quiet(&self) -> bool {
        todo!()
    }
    /// Whether the runtime has already heard of bytes or an end: no system call.
    pub fn has_news(&self) -> bool {
        todo!()
    }
    /// Makes the close of this connection an RST, so that the peer cannot take it for a clean end.
    pub fn reset_on_close(&self) {
        todo!()
    }
    /// The TCP stream, for splicing.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(_) => None,
        }
    }
}

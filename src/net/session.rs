//! TLS above a socket: what rustls hears and says, moved between the two. Never waits by itself.
use super::raw::Raw;
use crate::message::memory;
use rustls::Connection;
use std::io::{self, IoSlice, Read, Write};
use std::task::{Context, Poll, ready};

/// Bytes that are taken to be encrypted before the socket has taken those before them.
const AHEAD: usize = 64 << 10;

/// One side of a TLS connection.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    /// Decrypted bytes wait to be read.
    plain: bool,
    /// The peer said that it ends.
    closed: bool,
    /// Bytes that were taken to be written and are not, counted as memory.
    held: usize,
}

impl Drop for Session {
    fn drop(&mut self) {
        memory().give(self.held);
    }
}

impl Session {
    pub(super) fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(AHEAD));
        Self { connection, plain: false, closed: false, held: 0 }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether a read would find bytes or the end without the socket.
    pub(super) fn is_readable(&self) -> bool {
        self.plain || self.closed
    }

    /// Whether everything that was taken is with the kernel.
    pub(super) fn is_flushed(&self) -> bool {
        !self.connection.wants_write()
    }

    /// Ready when both sides have agreed.
    ///
    /// # Errors
    ///
    /// The kernel's; `InvalidData` with a [`rustls::Error`] inside, of which the peer was told.
    #[inline(never)]
    pub(super) fn poll_handshake(
        &mut self,
        raw: &mut Raw,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(raw, cx))?;
            if !self.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_pull(raw, cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// As [`super::Stream::poll_read`]. An end that the peer did not announce is an error: bytes may
    /// have been cut off (RFC 8446 6.1).
    #[inline(never)]
    pub(super) fn poll_read(
        &mut self,
        raw: &mut Raw,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.connection.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.plain = false,
                Ok(n) => {
                    self.plain = n == buf.len();
                    return Poll::Ready(Ok(n));
                }
                read => return Poll::Ready(read),
            }
            ready!(self.poll_pull(raw, cx))?;
        }
    }

    /// Ready when a read would find bytes or the end; looks into what the socket has for that.
    #[inline(never)]
    pub(super) fn poll_read_ready(
        &mut self,
        raw: &mut Raw,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_readable() {
            ready!(self.poll_pull(raw, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads from the socket once; 0 is its end.
    fn poll_pull(&mut self, raw: &mut Raw, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let n = loop {
            match self.connection.read_tls(&mut Now(raw)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(raw.poll_read_ready(cx))?;
                }
                read => break read?,
            }
        };
        match self.connection.process_new_packets() {
            Ok(state) => {
                self.plain = state.plaintext_bytes_to_read() > 0;
                self.closed |= state.peer_has_closed() || n == 0;
            }
            Err(error) => {
                // The alert that says why; who does not take it at once goes without.
                let _ = self.poll_flush(raw, cx);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
        // What a handshake or a key update wants said goes out with what is said next, at the latest.
        if let Poll::Ready(Err(error)) = self.poll_flush(raw, cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(n))
    }

    /// Takes bytes to be written, once the ones before are with the kernel; what of them is not yet
    /// is told by `is_flushed`.
    #[inline(never)]
    pub(super) fn poll_write(
        &mut self,
        raw: &mut Raw,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(raw, cx))?;
        let n = self.connection.writer().write_vectored(bytes)?;
        self.held += n;
        memory().take(n);
        if let Poll::Ready(Err(error)) = self.poll_flush(raw, cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(n))
    }

    /// Ready when everything that was taken is with the kernel.
    #[inline(never)]
    pub(super) fn poll_flush(
        &mut self,
        raw: &mut Raw,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Now(raw)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(raw.poll_write_ready(cx))?;
                }
                written => drop(written?),
            }
        }
        memory().give(std::mem::take(&mut self.held));
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes. Who does not take that at once goes without.
    #[inline(never)]
    pub(super) fn close(&mut self, raw: &mut Raw) {
        self.connection.send_close_notify();
        while self.connection.wants_write() && self.connection.write_tls(&mut Now(raw)).is_ok() {}
    }
}

/// The socket as it is now: what would wait is `WouldBlock`.
struct Now<'a>(&'a mut Raw);

impl Read for Now<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_now(buf).unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }
}

impl Write for Now<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_now(&[IoSlice::new(buf)])
    }
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_now(bufs)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! TLS above a socket: what rustls hears and says, moved between the two. Never waits by itself.
use super::raw::Raw;
use super::records::Records;
use crate::message::memory;
use rustls::Connection;
use std::io::{self, IoSlice, Read, Write};
use std::task::{Context, Poll, ready};

/// Bytes that are taken to be encrypted before the socket has taken those before them.
const AHEAD: usize = 64 << 10;

/// Is told of an alert that comes behind the handshake and before any byte: with TLS 1.3 a server
/// judges the client's certificate only then.
pub trait Early: std::fmt::Debug + Send + Sync {
    /// The peer ended the connection by this one.
    fn ended(&self, alert: &rustls::Error);
}

/// One side of a TLS connection.
#[derive(Debug)]
pub(super) struct Session {
    /// Until a byte comes.
    early: Option<Box<dyn Early>>,
    connection: Connection,
    /// Decrypted bytes that wait to be read.
    plain: usize,
    /// The peer said that it ends.
    closed: bool,
    /// Bytes that were taken to be written and are not, counted as memory.
    held: usize,
    /// How far the records came that the socket gave.
    records: Records,
    /// Bytes that came and wait here, decrypted or as part of a record, counted as memory.
    waiting: usize,
}

impl Drop for Session {
    fn drop(&mut self) {
        memory().give(self.held + self.waiting);
    }
}

impl Session {
    pub(super) fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(AHEAD));
        Self {
            early: None,
            connection,
            plain: 0,
            closed: false,
            held: 0,
            records: Records::default(),
            waiting: 0,
        }
    }

    pub(super) fn tell_early(&mut self, early: Box<dyn Early>) {
        self.early = Some(early);
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether a read would find bytes or the end without the socket.
    pub(super) fn is_readable(&self) -> bool {
        self.plain > 0 || self.closed
    }

    /// Whether bytes are there that the peer said.
    pub(super) fn has_bytes(&self) -> bool {
        self.plain > 0
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
            let pulled = self.poll_pull(raw, cx);
            self.count();
            if ready!(pulled)? == 0 {
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
        let read = self.poll_plain(raw, cx, buf);
        self.count();
        read
    }

    fn poll_plain(
        &mut self,
        raw: &mut Raw,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.connection.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.plain = 0,
                Ok(n) => {
                    self.plain = self.plain.saturating_sub(n);
                    return Poll::Ready(Ok(n));
                }
                read => return Poll::Ready(read),
            }
            ready!(self.poll_pull(raw, cx))?;
        }
    }

    /// Counts as memory what waits here, once it is known what does. A handshake keeps messages that
    /// are not complete, of which the library says nothing: all of it counts until both have agreed.
    fn count(&mut self) {
        let waiting = match self.connection.is_handshaking() {
            true => self.records.all(),
            false => self.plain + self.records.unfinished(),
        };
        let before = std::mem::replace(&mut self.waiting, waiting);
        match waiting.checked_sub(before) {
            Some(0) => {}
            Some(more) => memory().take(more),
            None => memory().give(before - waiting),
        }
    }

    /// Ready when a read would find bytes or the end; looks into what the socket has for that.
    #[inline(never)]
    pub(super) fn poll_read_ready(
        &mut self,
        raw: &mut Raw,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pulled = Poll::Ready(Ok(1));
        while !self.is_readable() && matches!(pulled, Poll::Ready(Ok(_))) {
            pulled = self.poll_pull(raw, cx);
        }
        self.count();
        pulled.map_ok(drop)
    }

    /// Reads from the socket once; 0 is its end.
    fn poll_pull(&mut self, raw: &mut Raw, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let n = loop {
            match self.connection.read_tls(&mut Heard { raw, records: &mut self.records }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(raw.poll_read_ready(cx))?;
                }
                read => break read?,
            }
        };
        self.closed |= n == 0;
        self.digest(raw, cx)?;
        Poll::Ready(Ok(n))
    }

    /// Takes in what came.
    ///
    /// # Errors
    ///
    /// The kernel's; `InvalidData` with a [`rustls::Error`] inside, of which the peer was told.
    pub(super) fn digest(&mut self, raw: &mut Raw, cx: &mut Context<'_>) -> io::Result<()> {
        match self.connection.process_new_packets() {
            Ok(state) => {
                self.plain = state.plaintext_bytes_to_read();
                self.closed |= state.peer_has_closed();
                if self.plain > 0 {
                    self.early = None;
                }
            }
            Err(error) => {
                if let (Some(early), rustls::Error::AlertReceived(_)) = (self.early.take(), &error)
                {
                    early.ended(&error);
                }
                // The alert that says why; who does not take it at once goes without.
                let _ = self.push(raw, cx);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        // What a handshake or a key update wants said goes out with what is said next, at the latest.
        self.push(raw, cx)
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
        let pushed = self.push(raw, cx);
        pushed.map_err(|error| self.word(raw, cx, error))?;
        Poll::Ready(Ok(n))
    }

    /// Ready when everything that was taken is with the kernel.
    ///
    /// # Errors
    ///
    /// The kernel's, or what the peer had said of the end before it came.
    pub(super) fn poll_flush(
        &mut self,
        raw: &mut Raw,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_out(raw, cx).map_err(|error| self.word(raw, cx, error))
    }

    /// A broken connection whose peer said why, where no byte came before: the reset overtakes the
    /// alert.
    #[cold]
    fn word(&mut self, raw: &mut Raw, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        if self.early.is_some() {
            raw.doubt();
            let read = self.connection.read_tls(&mut Heard { raw, records: &mut self.records });
            if let (Ok(1..), Err(said)) = (read, self.digest(raw, cx))
                && said.get_ref().is_some_and(|said| said.is::<rustls::Error>())
            {
                return said;
            }
        }
        error
    }

    #[inline(never)]
    fn poll_out(&mut self, raw: &mut Raw, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Said(raw)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(raw.poll_write_ready(cx))?;
                }
                written => drop(written?),
            }
        }
        memory().give(std::mem::take(&mut self.held));
        Poll::Ready(Ok(()))
    }

    /// Hands the kernel what it takes at once; the rest waits for a flush.
    fn push(&mut self, raw: &mut Raw, cx: &mut Context<'_>) -> io::Result<()> {
        match self.poll_out(raw, cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }

    /// Says that nothing more comes. Who does not take that at once goes without.
    #[inline(never)]
    pub(super) fn close(&mut self, raw: &mut Raw) {
        self.connection.send_close_notify();
        while self.connection.wants_write() && self.connection.write_tls(&mut Said(raw)).is_ok() {}
    }
}

/// The socket as it is now: what would wait is `WouldBlock`.
pub(super) struct Heard<'a> {
    pub(super) raw: &'a mut Raw,
    pub(super) records: &'a mut Records,
}

impl Read for Heard<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read_now(buf);
        let n = read.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))?;
        self.records.pass(&buf[..n]);
        Ok(n)
    }
}

/// As above.
struct Said<'a>(&'a mut Raw);

impl Write for Said<'_> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::tls;
    use std::io::Read;

    #[tokio::test]
    async fn what_waits_counts_as_memory_until_it_is_taken() {
        let (mut session, mut raw, mut client) = tls().await;
        assert_eq!(session.waiting, 0, "both have agreed");
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        client.conn.writer().write_all(&[7; 10_000]).unwrap();
        let mut record = Vec::new();
        while client.conn.wants_write() {
            client.conn.write_tls(&mut record).unwrap();
        }
        let (begun, rest) = record.split_at(9_000);
        client.sock.write_all(begun).unwrap();
        while session.waiting < begun.len() {
            assert!(session.poll_read_ready(&mut raw, &mut nobody).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(session.waiting, begun.len());
        client.sock.write_all(rest).unwrap();
        std::future::poll_fn(|cx| session.poll_read_ready(&mut raw, cx)).await.unwrap();
        assert_eq!(session.waiting, 10_000, "decrypted");
        for left in [6_000, 2_000, 0] {
            let mut buf = [0; 4_000];
            let read = session.poll_read(&mut raw, &mut nobody, &mut buf);
            assert!(matches!(read, Poll::Ready(Ok(1..))));
            assert_eq!(session.waiting, left);
        }
        // An end leaves nothing counted either.
        client.conn.send_close_notify();
        client.conn.write_tls(&mut client.sock).unwrap();
        let mut buf = [0; 1];
        let end = std::future::poll_fn(|cx| session.poll_read(&mut raw, cx, &mut buf)).await;
        assert_eq!((end.unwrap(), session.waiting), (0, 0));
        let _ = client.sock.read(&mut buf);
    }
}

//! The side of an HTTP/2 connection that asks (RFC 9113): its beginning, and the limits of what a
//! backend may make us hold or do.
use crate::config::PoolHttp2;
use crate::net::{Stream, poll_read_buf};
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use std::borrow::BorrowMut;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// After so many reads other connections have their turn, however fast the frames come.
const READS: u32 = 16;
/// What small frames cost us besides their bytes may be so many times what may wait: an event of 50
/// bytes costs five times as much. Beyond it the connection is ended.
const FRAMES: usize = 4;
/// But so much may always wait: what comes in one turn, before a request of it had one.
const TURN: usize = 4 << 20;
/// What a field counts for besides its name and value (RFC 9113 6.5.2).
const FIELD: usize = 32;

/// What a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadMost {
    /// Bytes.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// A connection whose peer has said what it allows.
pub struct Spoken<S> {
    /// Begins requests.
    pub sender: SendRequest<Bytes>,
    /// Carries them: to be polled for as long as it lives, within [`Seen::turn`].
    pub connection: Connection<Wire<S>, Bytes>,
    /// What came over it.
    pub seen: Arc<Seen>,
}

/// What came over a connection, and how much of it may be read in this turn.
#[derive(Debug, Default)]
pub struct Seen {
    bytes: AtomicU64,
    reads: AtomicU32,
}

impl Seen {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
    /// Another turn begins.
    pub fn turn(&self) {
        self.reads.store(READS, Relaxed);
    }
}

/// Begins to speak HTTP/2 and waits until the peer has said what it allows, so that nothing is sent
/// to one that speaks something else, or more than it takes. No limit on time: the caller has one.
///
/// # Errors
///
/// The kernel's; `InvalidData` for what is no HTTP/2.
pub async fn begin<S>(stream: S, said: &PoolHttp2, most: HeadMost) -> io::Result<Spoken<S>>
where
    S: BorrowMut<Stream> + Unpin,
{
    let seen = Arc::new(Seen::default());
    let wire = Wire { stream, seen: seen.clone() };
    let list = most.bytes.saturating_add(most.fields.saturating_mul(FIELD));
    let begun = Builder::new()
        .enable_push(false)
        // Until the peer says how many: that it did is seen by this.
        .initial_max_send_streams(0)
        .initial_window_size(said.window)
        .initial_connection_window_size(said.connection_window)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_send_buffer_size(said.send_buffer)
        .data_frame_budget((said.connection_window as usize).saturating_mul(FRAMES).max(TURN))
        .handshake(wire);
    let (sender, mut connection) = begun.await.map_err(io_error)?;
    poll_fn(|cx| {
        seen.turn();
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            let closed = || io::Error::new(ErrorKind::InvalidData, "it closed instead of HTTP/2");
            return Poll::Ready(Err(ended.err().map_or_else(closed, io_error)));
        }
        if sender.current_max_send_streams() > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    Ok(Spoken { sender, connection, seen })
}

fn io_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| ErrorKind::Other.into());
    }
    io::Error::new(ErrorKind::InvalidData, format!("it speaks no HTTP/2: {error}"))
}

/// A stream that counts what it reads and lets others have their turn.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    seen: Arc<Seen>,
}

impl<S: BorrowMut<Stream>> Wire<S> {
    fn stream(&mut self) -> &mut Stream {
        self.stream.borrow_mut()
    }
}

impl<S: BorrowMut<Stream> + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.seen.reads.load(Relaxed);
        if left == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let n = ready!(poll_read_buf(self.stream(), cx, buf))?;
        self.seen.reads.store(left - 1, Relaxed);
        self.seen.bytes.fetch_add(n as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: BorrowMut<Stream> + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, bytes)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream().poll_flush(cx))?;
        Poll::Ready(self.stream().shutdown_write())
    }
}

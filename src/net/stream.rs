//! A byte stream of any transport, in the clear or by TLS, polled from one task.
use super::hello::{Hello, NoHello};
use super::raw::{Raw, Transport};
use super::scratch::poll_read_buf;
use super::session::{Early, Session};
use crate::message::{Chunk, Part};
use ipnet::IpNet;
use rustix::net::RecvFlags;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Who is at the other end of a client connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket has no address.
    Unix,
}

impl Peer {
    /// Whether its address is in one of the networks; a Unix socket's is in none.
    #[inline(always)]
    pub fn is_within(self, networks: &[IpNet]) -> bool {
        match self {
            Self::Ip(addr) => !networks.is_empty() && is_within(addr.ip(), networks),
            Self::Unix => false,
        }
    }
    /// Its address.
    pub fn addr(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(addr) => Some(addr),
            Self::Unix => None,
        }
    }
}

/// Whether one of the networks holds the address; an IPv4 address in IPv6 clothes is an IPv4 one.
pub fn is_within(ip: IpAddr, networks: &[IpNet]) -> bool {
    let ip = ip.to_canonical();
    networks.iter().any(|net| net.contains(&ip))
}

/// A byte stream. Every method is for one task at a time; cancel-safe.
///
/// What was written may wait for its socket: before anything else is waited for, it is to be
/// flushed.
#[derive(Debug)]
pub struct Stream {
    raw: Raw,
    tls: Option<Box<Session>>,
    /// What was sent is not all there was to send: its end must not look like one.
    cut: bool,
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self { raw: stream.into(), tls: None, cut: false }
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self { raw: stream.into(), tls: None, cut: false }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

impl Stream {
    /// Waits for the first message of a client that speaks TLS. No limit on time: the caller has one.
    ///
    /// # Errors
    ///
    /// [`NoHello`]
    pub async fn hello(&mut self) -> Result<rustls::server::Accepted, NoHello> {
        let mut hello = Hello::default();
        poll_fn(|cx| hello.poll(&mut self.raw, cx)).await
    }
    /// Speaks TLS from here on: ready when both sides have agreed. No limit on time: the caller has
    /// one.
    ///
    /// # Errors
    ///
    /// The kernel's; `InvalidData` with a [`rustls::Error`] inside, of which the peer was told.
    pub async fn secure(mut self, connection: rustls::Connection) -> io::Result<Self> {
        let mut session = Box::new(Session::new(connection));
        // Behind a hello that came something may have come at once.
        poll_fn(|cx| Poll::Ready(session.digest(&mut self.raw, cx))).await?;
        poll_fn(|cx| session.poll_handshake(&mut self.raw, cx)).await?;
        self.tls = Some(session);
        Ok(self)
    }
    /// Tells of an alert that comes before any byte, where TLS is spoken.
    pub fn tell_early(&mut self, early: Box<dyn Early>) {
        if let Some(tls) = &mut self.tls {
            tls.tell_early(early);
        }
    }
    /// What TLS has agreed on, where it is spoken.
    pub fn tls(&self) -> Option<&rustls::Connection> {
        self.tls.as_ref().map(|session| session.connection())
    }
    /// Reads what is there, at most the buffer. `Ok(0)` with a non-empty buffer is the end.
    ///
    /// # Errors
    ///
    /// The kernel's; those of TLS as `InvalidData`, or `UnexpectedEof` for an end that was cut.
    #[inline(always)]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => self.raw.poll_read(cx, buf),
            Some(tls) => tls.poll_read(&mut self.raw, cx, buf),
        }
    }
    /// As `poll_read`, behind what is in the chunk. A chunk that holds no memory borrows some only
    /// if something is there, and waits until there is room for this part of a message.
    ///
    /// # Errors
    ///
    /// As `poll_read`.
    #[inline]
    pub fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Chunk,
        part: Part,
    ) -> Poll<io::Result<usize>> {
        if chunk.is_lent() {
            chunk.reserve(1);
            let n = ready!(self.poll_read(cx, chunk.spare()))?;
            chunk.filled(n);
            return Poll::Ready(Ok(n));
        }
        ready!(self.poll_read_ready(cx))?;
        ready!(chunk.poll_room(cx, part));
        chunk.reserve(1);
        let read = self.poll_read(cx, chunk.spare());
        match read {
            Poll::Ready(Ok(n)) => chunk.filled(n),
            _ => chunk.rest(),
        }
        read
    }
    /// Reads past the stream, from the socket itself: with a call that never waits.
    ///
    /// # Errors
    ///
    /// Those of the call; `Unsupported` where TLS is spoken.
    pub fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if self.tls.is_some() {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        }
        self.raw.poll_take(cx, take)
    }
    /// The first bytes that are there, at most the buffer, left where they are; 0 at the end. Below
    /// TLS.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.raw.poll_take(cx, |socket| {
            Ok(rustix::net::recv(socket, &mut *buf, RecvFlags::PEEK | RecvFlags::DONTWAIT)?.0)
        })
    }
    /// The address at our end that the peer connected to; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.raw.local_addr()
    }
    /// The address at the other end; `None` for a Unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.raw.tcp().and_then(|stream| stream.peer_addr().ok())
    }
    /// Becomes ready when a read would not wait. Holds no buffer.
    ///
    /// # Errors
    ///
    /// As `poll_read`.
    #[inline(always)]
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            None => self.raw.poll_read_ready(cx),
            Some(tls) => tls.poll_read_ready(&mut self.raw, cx),
        }
    }
    /// Becomes ready when the peer closed or reset, be there bytes before that or not: nothing is
    /// read. A FIN that waits behind a full window has not come.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.raw.poll_closed(cx)
    }
    /// Becomes ready when the peer reset, or cannot be reached any more. One that ended its sending
    /// may still listen, and is not told from one that closed.
    pub async fn broken(&self) {
        self.raw.broken().await;
    }
    /// Writes some of the bytes. Spends nothing of the task's budget, as reads do: who moves bytes
    /// in a loop gives way to others himself.
    ///
    /// # Errors
    ///
    /// The kernel's.
    #[inline(always)]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => self.raw.poll_write(cx, bytes),
            Some(tls) => tls.poll_write(&mut self.raw, cx, &[IoSlice::new(bytes)]),
        }
    }
    /// Writes some of the bytes, in order.
    ///
    /// # Errors
    ///
    /// The kernel's.
    #[inline(always)]
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => self.raw.poll_write_vectored(cx, bytes),
            Some(tls) => tls.poll_write(&mut self.raw, cx, bytes),
        }
    }
    /// Ready when all that was written is with the kernel: at once, but for TLS.
    ///
    /// # Errors
    ///
    /// The kernel's.
    #[inline(always)]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => tls.poll_flush(&mut self.raw, cx),
        }
    }
    /// Becomes ready when the peer has nearly all of what is with the kernel. Only an end is to be
    /// written from then on.
    pub fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.raw.poll_taken(cx)
    }
    /// Whether all that was written is with the kernel.
    #[inline(always)]
    pub fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.is_flushed())
    }
    /// Ends our direction (FIN), after TLS's own end where it is spoken.
    ///
    /// # Errors
    ///
    /// The kernel's; ENOTCONN is success, the peer was faster.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.end_tls();
        self.raw.shutdown_write()
    }
    /// Says, where TLS is spoken, that nothing more comes: so that the close of the connection is
    /// no cut (RFC 8446 6.1). Who does not take that at once goes without.
    pub fn end_tls(&mut self) {
        if let Some(tls) = self.tls.as_mut().filter(|_| !self.cut) {
            tls.close(&mut self.raw);
        }
    }
    /// Whether an idle connection can carry a request: nothing to read and not closed, asked of
    /// the kernel itself (one recv with MSG_PEEK), whatever the runtime remembers.
    #[inline(always)]
    pub fn is_quiet(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.is_readable()) && self.raw.is_quiet()
    }
    /// Whether the runtime has heard of bytes or an end: no system call, no waker kept. What it
    /// remembers may have been read already.
    #[inline(always)]
    pub fn is_readable(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_readable()) || self.raw.is_readable()
    }
    /// Whether bytes or an end came. What the runtime only remembers is asked of the kernel; what
    /// TLS has to say to itself (a ticket, new keys) is no news.
    #[inline(always)]
    pub fn has_news(&mut self) -> bool {
        self.is_readable() && self.heard()
    }
    /// Whether bytes are there, not an end. Asked once there is news.
    #[cold]
    pub fn has_bytes(&self) -> bool {
        self.tls.as_ref().map_or_else(|| self.raw.has_bytes(), |tls| tls.has_bytes())
    }
    #[cold]
    fn heard(&mut self) -> bool {
        if self.tls.is_none() {
            return !self.raw.is_quiet();
        }
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        self.change_task();
        let ready = self.poll_read_ready(&mut nobody).is_ready();
        self.change_task();
        ready
    }
    /// Another task will poll it next.
    #[inline(always)]
    pub fn change_task(&mut self) {
        self.raw.change_task();
    }
    /// Lets go of the task that polled it last, which a readiness would wake and whose memory it
    /// keeps. For connections that no task waits for.
    pub fn release(&mut self) {
        self.raw.release();
    }
    /// Makes the close of this connection an RST, so that the peer cannot take it for a clean end.
    pub fn reset_on_close(&mut self) {
        self.cut = true;
        self.raw.reset_on_close();
    }
    /// Whether all that was flushed is with the peer's kernel, as far as ours knows.
    pub fn has_arrived(&self) -> bool {
        self.raw.has_arrived()
    }
    /// The TCP stream, for splicing; `None` where TLS is spoken.
    #[inline(always)]
    pub fn tcp(&self) -> Option<&TcpStream> {
        if self.tls.is_some() { None } else { self.raw.tcp() }
    }
    /// What carries it.
    pub fn into_transport(self) -> Transport {
        self.raw.into_transport()
    }
}

/// For libraries that speak a protocol above a stream of their own.
impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        poll_read_buf(&mut self, cx, buf).map_ok(drop)
    }
}

/// As above.
impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write(&mut self, cx, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write_vectored(&mut self, cx, bytes)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(&mut self, cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Stream::poll_flush(&mut self, cx))?;
        Poll::Ready(self.shutdown_write())
    }
}

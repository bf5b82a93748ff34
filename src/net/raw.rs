//! The socket below a stream, polled from one task.
use super::unsent;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

/// What carries a byte stream.
#[derive(Debug)]
pub enum Transport {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

/// A socket that does not wait. Every method is for one task at a time; cancel-safe.
#[derive(Debug)]
pub(super) struct Raw {
    transport: Transport,
    /// Bytes may be there of which the runtime was made to forget: they are asked for first.
    unread: bool,
    /// The runtime holds the task's waker for reading, and nothing was read since: there is no need
    /// to give it once more.
    watched: bool,
}

impl From<TcpStream> for Raw {
    fn from(stream: TcpStream) -> Self {
        Self { transport: Transport::Tcp(stream), unread: false, watched: false }
    }
}

impl From<UnixStream> for Raw {
    fn from(stream: UnixStream) -> Self {
        Self { transport: Transport::Unix(stream), unread: false, watched: false }
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self {
            Transport::Tcp($stream) => $body,
            Transport::Unix($stream) => $body,
        }
    };
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(&self.transport, s => s.as_fd())
    }
}

impl Raw {
    /// Reads what is there, at most the buffer. `Ok(0)` with a non-empty buffer is the end.
    ///
    /// # Errors
    ///
    /// The kernel's.
    #[inline(always)]
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(read) = self.read_now(buf) {
                return Poll::Ready(read);
            }
            ready!(self.poll_read_ready(cx))?;
        }
    }
    /// As `poll_read`, with another call than `recv`: one that never waits.
    ///
    /// # Errors
    ///
    /// Those of the call.
    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            self.watched = false;
            let taken = if self.unread {
                take(self.as_fd())
            } else {
                each!(&self.transport, s => s.try_io(Interest::READABLE, || take(s.as_fd())))
            };
            match taken {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.unread = false,
                taken => return Poll::Ready(taken),
            }
        }
    }
    /// Reads if the runtime thinks that something is there; `None` when nothing is. A read that
    /// does not fill the buffer emptied the socket: the runtime is told so, which saves the call
    /// that would only find out.
    ///
    /// It spends nothing of the task's budget: see `poll_write`.
    pub(super) fn read_now(&mut self, buf: &mut [u8]) -> Option<io::Result<usize>> {
        if self.unread {
            let read = rustix::net::recv(&*self, &mut *buf, RecvFlags::DONTWAIT);
            self.unread = matches!(read, Ok((n, _)) if n == buf.len());
            if read != Err(rustix::io::Errno::AGAIN) {
                return Some(read.map(|(n, _)| n).map_err(Into::into));
            }
        }
        let mut read = None;
        self.watched = false;
        let tried = each!(&self.transport, s => s.try_io(Interest::READABLE, || {
            let n = rustix::net::recv(s.as_fd(), &mut *buf, RecvFlags::empty())?.0;
            read = Some(n);
            match n {
                0 => Ok(()),
                n if n == buf.len() => Ok(()),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            }
        }));
        match (read, tried) {
            (Some(n), _) => Some(Ok(n)),
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Some(Err(error)),
            _ => None,
        }
    }
    /// Bytes may be there of which the runtime has not heard: the next read asks for them.
    pub(super) fn doubt(&mut self) {
        (self.unread, self.watched) = (true, false);
    }
    /// Becomes ready when a read would not wait. Holds no buffer.
    ///
    /// # Errors
    ///
    /// The kernel's.
    #[inline(always)]
    pub(super) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match () {
            () if self.unread => Poll::Ready(Ok(())),
            // It looks itself.
            () if !self.watched => self.watch(cx),
            () if self.is_readable() => Poll::Ready(Ok(())),
            () => Poll::Pending,
        }
    }
    /// Gives the runtime the task's waker for reading.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A task that has spent its budget is told to wait, and nothing is kept for it.
        let ready = each!(&self.transport, s => s.poll_read_ready(cx));
        self.watched = ready.is_pending() && tokio::task::coop::has_budget_remaining();
        ready
    }
    /// Becomes ready when the peer closed or reset, be there bytes before that or not: nothing is
    /// read. A FIN that waits behind a full window has not come.
    pub(super) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut nobody = Context::from_waker(Waker::noop());
            let ready =
                each!(&self.transport, s => pin!(s.ready(Interest::READABLE)).poll(&mut nobody));
            match ready {
                Poll::Ready(Ok(ready)) if !ready.is_read_closed() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    if each!(&self.transport, s => s.poll_read_ready(cx)).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
            // Only of what the runtime has forgotten it tells the next news.
            (self.unread, self.watched) = (true, false);
            let forget = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = each!(&self.transport, s => s.try_io(Interest::READABLE, forget));
        }
    }
    /// Becomes ready when the connection broke: who ended its sending alone still listens.
    pub(super) async fn broken(&self) {
        let _ = each!(&self.transport, s => s.ready(Interest::ERROR).await);
    }
    /// Becomes ready when a write would not wait.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&self.transport, s => s.poll_write_ready(cx))
    }
    /// Writes some of the bytes, in order; `WouldBlock` when none can be.
    pub(super) fn write_now(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        use rustix::net::{SendAncillaryBuffer, sendmsg};
        each!(&self.transport, s => s.try_io(Interest::WRITABLE, || {
            Ok(sendmsg(s.as_fd(), bytes, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?)
        }))
    }
    /// Writes some of the bytes. Spends nothing of the task's budget, as reads do: who moves bytes
    /// in a loop gives way to others himself.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let written = each!(&self.transport, s => s.try_io(Interest::WRITABLE, || {
                Ok(rustix::net::send(s.as_fd(), bytes, SendFlags::NOSIGNAL)?)
            }));
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_write_ready(cx))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }
    /// Writes some of the bytes, in order.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut self.transport, s => Pin::new(s).poll_write_vectored(cx, bytes))
    }
    /// Ends our direction (FIN).
    ///
    /// # Errors
    ///
    /// The kernel's; ENOTCONN is success, the peer was faster.
    pub(super) fn shutdown_write(&mut self) -> io::Result<()> {
        match rustix::net::shutdown(&*self, rustix::net::Shutdown::Write) {
            Err(e) if e != rustix::io::Errno::NOTCONN => Err(e.into()),
            _ => Ok(()),
        }
    }
    /// Whether an idle connection can carry a request: nothing to read and not closed, asked of
    /// the kernel itself (one recv with MSG_PEEK), whatever the runtime remembers.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0u8; 1];
        let peeked = rustix::net::recv(self, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(e) if e == rustix::io::Errno::AGAIN)
    }
    /// Whether bytes are there, by the kernel's word.
    pub(super) fn has_bytes(&self) -> bool {
        let mut byte = [0u8; 1];
        let peeked = rustix::net::recv(self, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.is_ok_and(|(n, _)| n > 0)
    }
    /// Whether the runtime has heard of bytes or an end: no system call, no waker kept. What it
    /// remembers may have been read already.
    #[inline]
    pub(super) fn is_readable(&self) -> bool {
        self.unread || each!(&self.transport, s => s.try_io(Interest::READABLE, || Ok(()))).is_ok()
    }
    /// Another task will poll it next.
    pub(super) fn change_task(&mut self) {
        self.watched = false;
    }
    /// Lets go of the task that polled it last, which a readiness would wake and whose memory it
    /// keeps. For connections that no task waits for.
    pub(super) fn release(&mut self) {
        self.watched = false;
        let mut nobody = Context::from_waker(Waker::noop());
        let _ = each!(&self.transport, s => s.poll_read_ready(&mut nobody));
    }
    /// Becomes ready when all that was written is on its way, and the peer has acknowledged nearly all of
    /// it: the kernel calls a socket writable whose buffer is not full and of whose bytes none waits to
    /// be sent, where it is given the smallest one and is asked for the latter. Only
    /// an end is to be written from then on. At once for a Unix socket, whose peer has it already.
    pub(super) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Transport::Tcp(stream) = &self.transport else { return Poll::Ready(()) };
        let socket = socket2::SockRef::from(stream);
        let _ = (socket.set_send_buffer_size(1), socket.set_tcp_notsent_lowat(1));
        let is_taken = || {
            // Whether it has broken is for a read to say.
            let mut asked = [PollFd::new(stream, PollFlags::OUT)];
            let found = rustix::event::poll(&mut asked, Some(&Timespec::default()))?;
            if found > 0 { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        };
        while ready!(stream.poll_write_ready(cx)).is_ok() {
            match stream.try_io(Interest::WRITABLE, is_taken) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => break,
            }
        }
        Poll::Ready(())
    }
    /// Makes the close of this connection an RST, so that the peer cannot take it for a clean end.
    pub(super) fn reset_on_close(&self) {
        // It may be gone already: then there is nobody to tell.
        let _ = socket2::SockRef::from(self).set_linger(Some(std::time::Duration::ZERO));
    }
    /// Whether all that was written is with the peer's kernel.
    pub(super) fn has_arrived(&self) -> bool {
        unsent::has_arrived(self)
    }
    /// The TCP stream, for splicing.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match &self.transport {
            Transport::Tcp(stream) => Some(stream),
            Transport::Unix(_) => None,
        }
    }
    /// The address at our end; `None` for a Unix socket.
    pub(super) fn local_addr(&self) -> Option<std::net::SocketAddr> {
        self.tcp().and_then(|stream| stream.local_addr().ok())
    }
    /// What carries it.
    pub(super) fn into_transport(self) -> Transport {
        self.transport
    }
}

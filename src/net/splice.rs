//! Moving bytes from socket to socket inside the kernel, through a pipe (splice(2)).
//!
//! The trap: EAGAIN may mean "the socket has nothing" or "the pipe is full". Told to the runtime as
//! the first, the second clears the socket's readiness although bytes wait there, and nothing wakes
//! the task again. So the pipe is always emptied before it is filled, and then EAGAIN is the socket's.
use super::stream::Stream;
use crate::message::{Broken, Empty, Part, Place, Source, memory};
use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;

/// What a pipe should carry at once. The kernel grants an unprivileged user 64 MiB of pipes in all
/// (`pipe-user-pages-soft`); beyond that it refuses, and the default of 64 KiB stays.
const WANTED: usize = 256 << 10;

/// A pipe of one copy under way.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    room: usize,
    place: Place,
}

impl Pipe {
    /// Makes a pipe; `None` when the system grants none. Two system calls, against the hundreds of
    /// kilobytes that one carries: no pool is kept.
    pub fn lend() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        let room =
            fcntl_setpipe_size(&write, WANTED).or_else(|_| fcntl_getpipe_size(&write)).ok()?;
        Some(Self { read, write, held: 0, room, place: Place::none() })
    }
    /// Bytes inside, read from the source and not yet written.
    pub fn held(&self) -> usize {
        self.held
    }
    /// Whether its owner waits for memory and not for a peer.
    pub fn is_waiting(&self) -> bool {
        self.place.is_waiting()
    }
    /// Moves up to `most` bytes from `from` into the empty pipe. `Ok(0)`: the source ended.
    ///
    /// # Errors
    ///
    /// The kernel's; `ErrorKind::Unsupported` when the source cannot be spliced.
    ///
    /// # Panics
    ///
    /// When the pipe holds bytes: see the trap above.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        assert_eq!(self.held, 0, "a pipe is emptied before it is filled");
        if from.tcp().is_none() {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        }
        ready!(self.place.poll_room(cx, Part::Body));
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.room);
        let n = ready!(from.poll_take(cx, |socket| moved(socket, &self.write, most)))?;
        self.held = n;
        memory().take(n);
        Poll::Ready(Ok(n))
    }
    /// Moves what the pipe holds to `to`; `Ready(Ok(n))` with n > 0 as long as something moved.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<usize>> {
        let Some(tcp) = to.tcp() else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        loop {
            ready!(tcp.poll_write_ready(cx))?;
            match tcp.try_io(Interest::WRITABLE, || moved(&self.read, &*tcp, self.held)) {
                Ok(n) => {
                    self.held -= n;
                    memory().give(n);
                    return Poll::Ready(Ok(n));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.held > 0 {
            memory().give(self.held);
        }
    }
}

/// A body of which the kernel can move a part past its reader. Where it cannot, nothing is opaque.
pub trait Spliced: Source {
    /// How many of the next bytes are body and nothing else, and not read yet: 0 while bytes are at
    /// hand.
    fn opaque(&self) -> u64 {
        0
    }
    /// Moves at least one of the opaque bytes into the empty pipe.
    ///
    /// # Errors
    ///
    /// [`Broken`]; after it the source is at its end for good.
    fn poll_splice(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<(), Broken>> {
        let _ = (cx, pipe);
        Poll::Ready(Err(Broken::Io(io::ErrorKind::Unsupported)))
    }
}

impl Spliced for Empty {}

fn moved(
    from: impl std::os::fd::AsFd,
    to: impl std::os::fd::AsFd,
    most: usize,
) -> io::Result<usize> {
    loop {
        match splice(&from, None, &to, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Err(Errno::INTR) => {}
            done => return done.map_err(Into::into),
        }
    }
}

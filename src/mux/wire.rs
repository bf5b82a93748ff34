//! The socket of a connection, in the hands of its task.
use super::shared::Mux;
use crate::message::{Chunk, Size};
use crate::net::Stream;
use std::borrow::BorrowMut;
use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

/// After so many reads other connections have their turn, however fast the frames come.
const READS: u32 = 16;

/// A connection's bytes.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    /// What came and was not read.
    input: Chunk,
    /// The last read filled all there was: more is coming than fits.
    bulk: bool,
    /// It is in the hands of another task, of which its socket knows nothing yet.
    handed: bool,
    /// Bytes that were sent; what waits besides, the socket does not take.
    sent: u64,
    full: bool,
    /// The peer has closed, or the connection broke.
    closed: bool,
    mux: Mux,
}

impl<S> Drop for Wire<S> {
    /// Whoever has a stream hears that nobody carries it any more.
    fn drop(&mut self) {
        self.mux.end();
    }
}

impl<S: BorrowMut<Stream>> Wire<S> {
    /// `first` came before it was known what it is.
    pub fn new(stream: S, first: Chunk, mux: Mux) -> Self {
        let (sent, full, closed) = (0, false, false);
        Self { stream, input: first, bulk: false, handed: false, sent, full, closed, mux }
    }

    /// Reads what is there and sends what is to be sent; ready when nothing is left to be done.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let moved = self.poll_both(cx);
        if moved.is_ready() {
            self.mux.end();
        }
        moved
    }

    /// While something waits that the peer does not take: the bytes that it took before.
    pub fn waits(&self) -> Option<u64> {
        self.full.then_some(self.sent)
    }

    /// Whether the peer has closed, or the connection broke: nothing can be said any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handed = self.mux.lock().runs(cx);
        // Until it is known to be otherwise.
        self.closed = true;
        let read = self.read(cx)?;
        let written = self.poll_write(cx)?;
        self.closed = read == Read::End;
        if read == Read::Full && self.mux.lock().core.may_read() {
            // What it did not read has gone.
            cx.waker().wake_by_ref();
        }
        // Behind the peer's end nothing is left to be said.
        let over = read == Read::End || written.is_ready();
        if over { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<Read> {
        if !self.input.data().is_empty() {
            self.receive(0);
        }
        for _ in 0..READS {
            if !self.mux.lock().core.may_read() {
                return Ok(Read::Full);
            }
            match self.poll_read(cx)? {
                Poll::Pending => return Ok(Read::Waits),
                Poll::Ready(0) => return Ok(Read::End),
                Poll::Ready(n) => self.receive(n),
            }
        }
        cx.waker().wake_by_ref();
        Ok(Read::Waits)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<usize>> {
        let stream = self.stream.borrow_mut();
        if !self.input.is_lent() {
            // Only a read makes a socket forget the task that waited before.
            if !std::mem::take(&mut self.handed) && stream.poll_read_ready(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
            self.input = Chunk::lend(if self.bulk { Size::Body } else { Size::Head });
        }
        self.input.reserve(1);
        let room = self.input.spare().len();
        match stream.poll_read(cx, self.input.spare()) {
            Poll::Pending => {
                self.input.rest();
                self.bulk = false;
                Ok(Poll::Pending)
            }
            Poll::Ready(n) => {
                let n = n?;
                self.input.filled(n);
                self.bulk = n == room;
                Ok(Poll::Ready(n))
            }
        }
    }

    /// Hands on what came, of which so much is new.
    fn receive(&mut self, n: usize) {
        let mut state = self.mux.lock();
        state.seen += n as u64;
        let read = state.core.receive(self.input.data(), Instant::now);
        state.tell();
        drop(state);
        self.input.consume(read);
        if self.bulk {
            self.input.rest();
        }
    }

    /// Ready when nothing is left to be done.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.stream.borrow_mut();
        let mut state = self.mux.lock();
        loop {
            if state.core.out().data().is_empty() {
                let flushed = stream.poll_flush(cx)?;
                self.full = flushed.is_pending();
                if flushed.is_ready() && state.core.is_over() {
                    return Poll::Ready(Ok(()));
                }
                return Poll::Pending;
            }
            let Poll::Ready(n) = stream.poll_write(cx, state.core.out().data())? else {
                self.full = true;
                return Poll::Pending;
            };
            self.sent += n as u64;
            state.core.out().consume(n);
            state.core.wrote();
            state.tell();
        }
    }
}

/// What became of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// Nothing is there, or it is another's turn.
    Waits,
    /// Nothing more is read for now.
    Full,
    /// The peer has closed.
    End,
}

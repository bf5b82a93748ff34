//! Writes a request to a backend: its head, then its body as the client sends it, buffered with the
//! head, lent, or spliced.
use super::kept::{Copied, has_memory};
use crate::http1::{self, BodyLength};
use crate::message::{Broken, Chunk, Fill};
use crate::net::{Pipe, Spliced, Stream};
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

/// Pieces up to this size are copied behind what waits to be written, so that a head and a small
/// body are one system call; larger ones are written from where they were read.
const COPIED: usize = 4 << 10;
/// So much is gathered before it is written.
const GATHERED: usize = 15 << 10;
/// From so many bytes at once a body is spliced: below it two more system calls cost more than the
/// copy they save.
const SPLICED: u64 = 64 << 10;
/// After so many writes whoever polls may look for the answer, however fast the client sends.
const WRITES: usize = 16;

/// Why writing a request stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The backend's side.
    Upstream(io::Error),
    /// The client's side.
    Body(Broken),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Body,
    Flush,
    Nothing,
    Abandoned,
}

/// A request on its way out.
#[derive(Debug)]
pub(super) struct Pump {
    out: Chunk,
    framing: BodyLength,
    left: Left,
    /// Bytes at hand that are written from where they are, after `out`.
    lent: usize,
    pipe: Option<Pipe>,
    /// Body bytes came, more may follow past the buffer, and the backend's side can be spliced to.
    splice: bool,
    written: u64,
    /// What was taken of the body, while it may have to be sent again: nothing is spliced meanwhile.
    kept: Option<Box<Copied>>,
}

impl Pump {
    /// `out` holds the encoded head; so many bytes of the body are kept.
    pub(super) fn new(out: Chunk, framing: BodyLength, keep: usize) -> Self {
        let left = match framing {
            BodyLength::None | BodyLength::Exact(0) => Left::Flush,
            _ => Left::Body,
        };
        let kept = Copied::new(keep);
        Self { out, framing, left, lent: 0, pipe: None, splice: false, written: 0, kept }
    }

    /// Bytes that are kept of the body.
    pub(super) fn kept(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.len() as u64)
    }

    /// Nothing of it is kept any more.
    #[inline]
    pub(super) fn keep_nothing(&mut self) {
        self.kept = None;
    }

    /// Keeps nothing any more where memory is short.
    #[inline]
    pub(super) fn relieve(&mut self) {
        self.kept.take_if(|kept| kept.len() > 0 && !has_memory());
    }

    /// Gives the client's body back what was taken of it, if all of that is here.
    pub(super) fn give_back(&mut self, body: &mut dyn Spliced) {
        if let Some(kept) = self.kept.take() {
            kept.give_back(body);
        }
    }

    /// Whether the whole request is written.
    pub(super) fn is_done(&self) -> bool {
        self.left == Left::Nothing
    }

    /// Whether all that the client has sent is written, and the client has not sent all.
    pub(super) fn waits_for_body(&self) -> bool {
        self.left == Left::Body && !self.waits_for_backend()
    }

    /// Whether something is at hand that the backend has not taken yet.
    fn waits_for_backend(&self) -> bool {
        self.lent > 0
            || !self.out.data().is_empty()
            || self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// Bytes written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The backend takes no more: what is left is not written.
    pub(super) fn give_up(&mut self) {
        self.left = Left::Abandoned;
        self.lent = 0;
        self.out.give_up();
        self.pipe = None;
    }

    /// Writes until something would wait; ready when the request is written to its end.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        body: &mut dyn Spliced,
    ) -> Poll<Result<(), Stop>> {
        if self.left == Left::Abandoned {
            return Poll::Pending;
        }
        for _ in 0..WRITES {
            if self.pipe.is_some() {
                ready!(self.poll_splice(cx, stream, body))?;
                continue;
            }
            self.gather(cx, body)?;
            if self.waits_for_backend() {
                ready!(self.write(cx, stream, body)).map_err(Stop::Upstream)?;
                continue;
            }
            if !stream.is_flushed() {
                ready!(stream.poll_flush(cx)).map_err(Stop::Upstream)?;
            }
            if self.left == Left::Flush {
                self.left = Left::Nothing;
                self.out.give_up();
            }
            if self.is_done() {
                return Poll::Ready(Ok(()));
            }
            if !self.may_splice(body) {
                return Poll::Pending;
            }
            if stream.tcp().is_none() {
                // What could go past us cannot go there: it is read like the rest.
                self.splice = false;
                continue;
            }
            self.pipe = Pipe::lend();
            self.splice = self.pipe.is_some();
            self.out.give_up();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves what the client has sent behind what waits to be written.
    fn gather(&mut self, cx: &mut Context<'_>, body: &mut dyn Spliced) -> Result<(), Stop> {
        while self.left == Left::Body
            && self.lent == 0
            && self.out.data().len() < GATHERED
            && !self.may_splice(body)
        {
            match body.poll_fill(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(broken)) => return Err(Stop::Body(broken)),
                Poll::Ready(Ok(Fill::End)) => self.end(body),
                Poll::Ready(Ok(Fill::Data)) => self.piece(body),
            }
        }
        Ok(())
    }

    fn piece(&mut self, body: &mut dyn Spliced) {
        let n = body.data().len();
        let chunked = self.framing == BodyLength::Chunked;
        self.splice = !chunked;
        if chunked {
            http1::chunk_size_line(n, &mut self.out);
        }
        if n > COPIED {
            self.lent = n;
            return;
        }
        self.out.extend(body.data());
        self.consume(n, body);
        if chunked {
            self.out.extend(b"\r\n");
        }
    }

    /// Takes bytes of the body.
    fn consume(&mut self, n: usize, body: &mut dyn Spliced) {
        self.kept.take_if(|kept| !kept.keep(&body.data()[..n]));
        body.consume(n);
    }

    fn end(&mut self, body: &mut dyn Spliced) {
        self.left = Left::Flush;
        if self.framing == BodyLength::Chunked {
            http1::last_chunk(body.trailers(), &mut self.out);
        }
    }

    /// Writes once.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        body: &mut dyn Spliced,
    ) -> Poll<io::Result<()>> {
        let waiting = self.out.data().len();
        let lent = &body.data()[..self.lent];
        let n = ready!(match (waiting, lent.len()) {
            (_, 0) => stream.poll_write(cx, self.out.data()),
            (0, _) => stream.poll_write(cx, lent),
            _ => {
                let both = [IoSlice::new(self.out.data()), IoSlice::new(lent)];
                stream.poll_write_vectored(cx, &both)
            }
        })?;
        self.written += n as u64;
        let first = n.min(waiting);
        self.out.consume(first);
        self.out.rest();
        if n > first {
            self.consume(n - first, body);
            self.lent -= n - first;
            if self.lent == 0 && self.framing == BodyLength::Chunked {
                self.out.extend(b"\r\n");
            }
        }
        Poll::Ready(Ok(()))
    }

    fn may_splice(&self, body: &dyn Spliced) -> bool {
        self.splice && self.kept.is_none() && self.left == Left::Body && body.opaque() >= SPLICED
    }

    /// One round through the pipe, which goes when nothing more may be spliced.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        body: &mut dyn Spliced,
    ) -> Poll<Result<(), Stop>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(())) };
        while pipe.held() > 0 {
            let n = ready!(pipe.poll_drain(cx, stream)).map_err(Stop::Upstream)?;
            self.written += n as u64;
        }
        if body.opaque() == 0 {
            self.pipe = None;
            return Poll::Ready(Ok(()));
        }
        body.poll_splice(cx, pipe).map_err(Stop::Body)
    }
}

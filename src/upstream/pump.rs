//! Writes a request to a backend: its head, then its body as the client sends it.
use crate::http1::{self, BodyLength};
use crate::message::{Broken, Chunk, Fill, Source};
use crate::net::Stream;
use std::io;
use std::task::{Context, Poll, ready};

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
    written: u64,
}

impl Pump {
    /// `out` holds the encoded head.
    pub(super) fn new(out: Chunk, framing: BodyLength) -> Self {
        let left = match framing {
            BodyLength::None | BodyLength::Exact(0) => Left::Flush,
            _ => Left::Body,
        };
        Self { out, framing, left, written: 0 }
    }

    /// Whether the whole request is written.
    pub(super) fn is_done(&self) -> bool {
        self.left == Left::Nothing
    }

    /// Whether all that the client has sent is written, and the client has not sent all.
    pub(super) fn waits_for_body(&self) -> bool {
        self.left == Left::Body && self.out.data().is_empty()
    }

    /// Bytes written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The backend takes no more: what is left is not written.
    pub(super) fn give_up(&mut self) {
        self.left = Left::Abandoned;
        self.out = Chunk::none();
    }

    /// Writes until something would wait; ready when the request is written to its end.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        body: &mut dyn Source,
    ) -> Poll<Result<(), Stop>> {
        if self.left == Left::Abandoned {
            return Poll::Pending;
        }
        loop {
            if self.left == Left::Body {
                self.take_body(cx, body)?;
            }
            if self.out.data().is_empty() {
                if self.left == Left::Flush {
                    self.left = Left::Nothing;
                    self.out = Chunk::none();
                }
                return if self.is_done() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let n = ready!(stream.poll_write(cx, self.out.data())).map_err(Stop::Upstream)?;
            self.written += n as u64;
            self.out.consume(n);
        }
    }

    /// Moves what the client has sent behind what is to be written.
    fn take_body(&mut self, cx: &mut Context<'_>, body: &mut dyn Source) -> Result<(), Stop> {
        while self.out.data().len() < PIECE {
            match body.poll_fill(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(broken)) => return Err(Stop::Body(broken)),
                Poll::Ready(Ok(Fill::End)) => {
                    if self.framing == BodyLength::Chunked {
                        http1::last_chunk(body.trailers(), &mut self.out);
                    }
                    self.left = Left::Flush;
                    return Ok(());
                }
                Poll::Ready(Ok(Fill::Data)) => self.append(body),
            }
        }
        Ok(())
    }

    fn append(&mut self, body: &mut dyn Source) {
        let n = body.data().len().min(PIECE - self.out.data().len());
        if self.framing == BodyLength::Chunked {
            http1::chunk_size_line(n, &mut self.out);
        }
        self.out.extend(&body.data()[..n]);
        if self.framing == BodyLength::Chunked {
            self.out.extend(b"\r\n");
        }
        body.consume(n);
    }
}

/// Body bytes are gathered up to this size before they are written: a block of 16 KiB holds them
/// with the few bytes around a chunk, so that gathering does not grow it.
const PIECE: usize = (16 << 10) - 64;

//! Two-way copy between two streams: idle limit, half-close, byte counts, splice for bulk.
use super::splice::Pipe;
use super::stream::Stream;
use super::timer::Timer;
use crate::message::{Chunk, Part};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How a two-way copy is bounded.
#[derive(Clone, Copy, Debug)]
pub struct TwoWay {
    /// No byte either way for so long ends it.
    pub idle: Option<Duration>,
    /// Its whole life.
    pub max: Option<Duration>,
}

/// Why a two-way copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Both sides said their end.
    Done,
    /// `idle` passed.
    Idle,
    /// `max` passed.
    Max,
    /// The left side broke.
    Left(io::ErrorKind),
    /// The right side broke.
    Right(io::ErrorKind),
}

/// What a two-way copy moved.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// Bytes from left to right, those that were already read included.
    pub left_to_right: u64,
    /// Bytes from right to left.
    pub right_to_left: u64,
    /// Why it ended.
    pub ended: Ended,
}

/// A direction is spliced once so many bytes went through it without a pause.
const BULK: u64 = 64 << 10;

/// After so many reads and writes in a row the other direction and other connections have their
/// turn, however fast the bytes come.
const ROUNDS: usize = 32;

/// One direction.
struct Way {
    buf: Chunk,
    pipe: Option<Pipe>,
    /// Bytes since something last stood still.
    burst: u64,
    total: u64,
    read_ended: bool,
    ended: bool,
}

enum Side {
    From(io::Error),
    To(io::Error),
}

impl Way {
    fn new(buf: Chunk) -> Self {
        Self { buf, pipe: None, burst: 0, total: 0, read_ended: false, ended: false }
    }

    /// Moves bytes until something would wait. Ready when the direction has ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<(), Side>> {
        for _ in 0..ROUNDS {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.holds() {
                match self.write(cx, to) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(Side::To(e))),
                    Poll::Ready(Ok(())) => continue,
                }
            }
            if !to.is_flushed() {
                match to.poll_flush(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(flushed) => flushed.map_err(Side::To)?,
                }
            }
            if self.read_ended {
                self.rest();
                self.ended = true;
                // The other side may be gone; its own direction will say so.
                let _ = to.shutdown_write();
                return Poll::Ready(Ok(()));
            }
            match self.read(cx, from, to) {
                Poll::Pending => {
                    self.rest();
                    return Poll::Pending;
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Err(Side::From(e))),
                Poll::Ready(Ok(())) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn holds(&self) -> bool {
        !self.buf.data().is_empty() || self.pipe.as_ref().is_some_and(|p| p.held() > 0)
    }

    /// Gives memory and pipe back while nothing moves.
    fn rest(&mut self) {
        self.buf.give_up();
        self.pipe = None;
        self.burst = 0;
    }

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &Stream,
    ) -> Poll<io::Result<()>> {
        if self.burst >= BULK && self.pipe.is_none() && from.tcp().is_some() && to.tcp().is_some() {
            self.pipe = Pipe::lend();
            self.buf.give_up();
        }
        let n = if let Some(pipe) = &mut self.pipe {
            std::task::ready!(pipe.poll_fill(cx, from, u64::MAX))?
        } else {
            std::task::ready!(from.poll_read_chunk(cx, &mut self.buf, Part::Body))?
        };
        self.read_ended = n == 0;
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        let n = match &mut self.pipe {
            Some(pipe) if pipe.held() > 0 => std::task::ready!(pipe.poll_drain(cx, to))?,
            _ => {
                let n = std::task::ready!(to.poll_write(cx, self.buf.data()))?;
                self.buf.consume(n);
                n
            }
        };
        self.total += n as u64;
        self.burst += n as u64;
        Poll::Ready(Ok(()))
    }
}

/// Copies both ways until both ended. `from_left` and `from_right` are bytes already read from
/// each side. A side's end is passed on as a half-close. Each direction uses splice after 64 KiB
/// where both sides are TCP; buffers and pipes are given back while nothing moves. `moved` is told
/// of bytes as they move (left to right, right to left), for counters that are watched live.
pub async fn two_way(
    left: &mut Stream,
    right: &mut Stream,
    from_left: Chunk,
    from_right: Chunk,
    how: TwoWay,
    timer: &mut Timer,
    moved: &(dyn Fn(u64, u64) + Send + Sync),
) -> Copied {
    let (mut there, mut back) = (Way::new(from_left), Way::new(from_right));
    let until = how.max.map(|max| Instant::now() + max);
    let mut told = None;
    let ended = poll_fn(|cx| {
        let there_ended = there.poll(cx, left, right);
        let back_ended = back.poll(cx, right, left);
        let totals = (there.total, back.total);
        if told != Some(totals) {
            let (a, b) = told.unwrap_or((0, 0));
            moved(totals.0 - a, totals.1 - b);
            told = Some(totals);
            let now = Instant::now();
            let idle = how.idle.map(|idle| now + idle);
            timer.start(now, idle.into_iter().chain(until).min());
        }
        match (there_ended, back_ended) {
            (Poll::Ready(Err(Side::From(e))), _) | (_, Poll::Ready(Err(Side::To(e)))) => {
                Poll::Ready(Ended::Left(e.kind()))
            }
            (Poll::Ready(Err(Side::To(e))), _) | (_, Poll::Ready(Err(Side::From(e)))) => {
                Poll::Ready(Ended::Right(e.kind()))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ended::Done),
            _ => timer.poll(cx).map(|()| match until {
                Some(until) if until <= Instant::now() => Ended::Max,
                _ => Ended::Idle,
            }),
        }
    })
    .await;
    Copied { left_to_right: there.total, right_to_left: back.total, ended }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::tcp;
    use std::io::{Read, Write};

    #[tokio::test]
    async fn a_direction_that_stands_still_holds_neither_memory_nor_pipe() {
        let ((mut from, mut source), (mut to, mut sink)) = (tcp(), tcp());
        let mut way = Way::new(Chunk::none());
        way.burst = BULK;
        source.write_all(b"through a pipe").unwrap();
        let mut spliced = false;
        while way.total < 14 {
            poll_fn(|cx| {
                way.burst = BULK;
                let still = way.poll(cx, &mut from, &mut to).is_pending();
                assert!(still && way.pipe.is_none() && !way.buf.is_lent());
                if way.total < 14 { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            spliced = way.burst == 0;
        }
        assert!(spliced, "a rest begins the count anew");
        let mut came = [0; 14];
        sink.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"through a pipe");
    }
}

//! Two-way copy between two streams: idle limit, half-close, byte counts, splice for bulk. That of
//! a WebSocket can be ended by a word of ours between two of its frames.
use super::splice::Pipe;
use super::stream::Stream;
use super::timer::Timer;
use crate::message::{Chunk, Part};
use crate::websocket::{Closing, Next, Side as Words, Step};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
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
    /// Both sides were told Close, as was asked for.
    Closed,
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
    /// The right side said its end while the left one had not.
    pub right_first: bool,
}

/// A direction is spliced once so many bytes went through it without a pause.
const BULK: u64 = 64 << 10;

/// After so many reads and writes in a row the other direction and other connections have their
/// turn, however fast the bytes come.
const ROUNDS: usize = 32;

/// So long what came before a side broke has time to go on: with less than 140 KB a second of the
/// largest buffer that Linux gives a socket (4 MiB) the rest is cut.
const LAST: Duration = Duration::from_secs(30);

/// One direction.
struct Way {
    buf: Chunk,
    pipe: Option<Pipe>,
    /// Bytes since something last stood still.
    burst: u64,
    total: u64,
    read_ended: bool,
    ended: bool,
    /// Whom it came from broke: whom it goes to hears of that behind all that came before.
    broken: Option<io::ErrorKind>,
    /// Whom it goes to is gone.
    unwanted: bool,
}

enum Side {
    From(io::ErrorKind),
    To(io::ErrorKind),
}

impl Way {
    fn new(buf: Chunk) -> Self {
        Self {
            buf,
            pipe: None,
            burst: 0,
            total: 0,
            read_ended: false,
            ended: false,
            broken: None,
            unwanted: false,
        }
    }

    /// Moves bytes until something would wait. Ready when the direction has ended.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        mut words: Option<&mut Words>,
    ) -> Poll<Result<(), Side>> {
        for _ in 0..ROUNDS {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.unwanted {
                return self.poll_drain(cx, from);
            }
            if let Some(kind) = self.broken {
                // A reset takes back what is with our kernel.
                return to.poll_taken(cx).map(|()| Err(Side::From(kind)));
            }
            let step = words.as_mut().map(|words| words.step(self.buf.data()));
            if step == Some(Step::Drop) {
                self.throw_away(words.as_deref_mut());
            }
            if step == Some(Step::Say) || self.holds() {
                match self.write(cx, to, words.as_deref_mut(), step) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(Side::To(e.kind()))),
                    Poll::Ready(Ok(())) => continue,
                }
            }
            if !to.is_flushed() {
                match to.poll_flush(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(flushed) => flushed.map_err(|e| Side::To(e.kind()))?,
                }
            }
            if self.read_ended {
                self.rest();
                self.ended = true;
                // The other side may be gone; its own direction will say so.
                let _ = to.shutdown_write();
                return Poll::Ready(Ok(()));
            }
            match self.read(cx, from, to, words.as_deref()) {
                Poll::Pending => {
                    self.rest();
                    return Poll::Pending;
                }
                Poll::Ready(Err(e)) => {
                    self.rest();
                    self.broken = Some(e.kind());
                }
                Poll::Ready(Ok(())) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nobody is left to take what it brings.
    fn give_up(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        ended: &mut Poll<Result<(), Side>>,
    ) {
        if matches!(ended, Poll::Ready(Err(Side::To(_)))) {
            self.unwanted = true;
            *ended = self.poll_drain(cx, from);
        }
    }

    /// Reads for nobody: a peer that stands still in its own sending would never take what is still
    /// to go to it.
    fn poll_drain(&mut self, cx: &mut Context<'_>, from: &mut Stream) -> Poll<Result<(), Side>> {
        for _ in 0..ROUNDS {
            self.rest();
            match std::task::ready!(from.poll_read_chunk(cx, &mut self.buf, Part::Body)) {
                Ok(0) => {
                    (self.read_ended, self.ended) = (true, true);
                    return Poll::Ready(Ok(()));
                }
                Ok(_) => {}
                Err(error) => {
                    self.broken = Some(error.kind());
                    return Poll::Pending;
                }
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

    /// What came is nobody's any more.
    fn throw_away(&mut self, words: Option<&mut Words>) {
        let Some(words) = words else { return };
        words.passed(self.buf.data());
        self.buf.clear();
        self.read_ended |= words.is_done();
    }

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &Stream,
        words: Option<&Words>,
    ) -> Poll<io::Result<()>> {
        let opaque = words.map_or(u64::MAX, Words::opaque);
        let bulk = self.burst >= BULK && opaque >= BULK;
        if bulk && self.pipe.is_none() && from.tcp().is_some() && to.tcp().is_some() {
            self.pipe = Pipe::lend();
            self.buf.give_up();
        }
        let n = if let Some(pipe) = self.pipe.as_mut().filter(|_| opaque > 0) {
            std::task::ready!(pipe.poll_fill(cx, from, opaque))?
        } else {
            std::task::ready!(from.poll_read_chunk(cx, &mut self.buf, Part::Body))?
        };
        self.read_ended = n == 0;
        Poll::Ready(Ok(()))
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        words: Option<&mut Words>,
        step: Option<Step>,
    ) -> Poll<io::Result<()>> {
        let n = match (&mut self.pipe, words) {
            (_, Some(words)) if step == Some(Step::Say) => {
                let n = std::task::ready!(to.poll_write(cx, words.words()))?;
                words.said(n);
                n
            }
            (Some(pipe), words) if pipe.held() > 0 => {
                let n = std::task::ready!(pipe.poll_drain(cx, to))?;
                if let Some(words) = words {
                    words.skipped(n as u64);
                }
                n
            }
            (_, words) => {
                let most = if let Some(Step::Pass(n)) = step { n } else { usize::MAX };
                let data = &self.buf.data()[..self.buf.data().len().min(most)];
                let n = std::task::ready!(to.poll_write(cx, data))?;
                if let Some(words) = words {
                    words.passed(&data[..n]);
                }
                self.buf.consume(n);
                n
            }
        };
        self.total += n as u64;
        self.burst += n as u64;
        Poll::Ready(Ok(()))
    }
}

/// How a WebSocket is ended by us, where it is not by its ends.
pub struct Goodbye<'a> {
    /// Where its frames are, and what is said.
    pub closing: &'a mut Closing,
    /// Ready when it is to be ended, with when it will be cut.
    pub due: Pin<&'a mut (dyn Future<Output = Instant> + Send)>,
}

/// Copies both ways until both ended. `from_left` and `from_right` are bytes already read from
/// each side. A side's end is passed on as a half-close; where one broke, or ended in TLS without a
/// word (RFC 8446 6.1), what it had sent goes on first. Each direction uses splice after 64 KiB
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
    let ways = [Way::new(from_left), Way::new(from_right)];
    copied((left, right), ways, how, timer, moved, None).await
}

/// As [`two_way`], of a WebSocket whose client is at the left: frames are spliced one by one, and
/// the small ones copied.
pub async fn websocket(
    ends: (&mut Stream, &mut Stream),
    [from_left, from_right]: [Chunk; 2],
    how: TwoWay,
    timer: &mut Timer,
    moved: &(dyn Fn(u64, u64) + Send + Sync),
    goodbye: Goodbye<'_>,
) -> Copied {
    let ways = [Way::new(from_left), Way::new(from_right)];
    copied(ends, ways, how, timer, moved, Some(goodbye)).await
}

async fn copied(
    (left, right): (&mut Stream, &mut Stream),
    [mut there, mut back]: [Way; 2],
    how: TwoWay,
    timer: &mut Timer,
    moved: &(dyn Fn(u64, u64) + Send + Sync),
    mut goodbye: Option<Goodbye<'_>>,
) -> Copied {
    let until = how.max.map(|max| Instant::now() + max);
    let mut told = None;
    let mut first: Option<bool> = None;
    let mut broken: Option<(Instant, Ended)> = None;
    let ended = poll_fn(|cx| {
        loop {
            let (mut to_right, mut to_left) = (None, None);
            if let Some(Goodbye { closing, due }) = &mut goodbye {
                if !closing.is_begun()
                    && let Poll::Ready(until) = due.as_mut().poll(cx)
                {
                    closing.begin(until);
                }
                (to_right, to_left) = (Some(&mut closing.there), Some(&mut closing.back));
            }
            let mut there_ended = there.poll(cx, left, right, to_right);
            let mut back_ended = back.poll(cx, right, left, to_left);
            match (there.broken, back.broken) {
                (None, None) => {}
                (Some(kind), None) => {
                    broken.get_or_insert_with(|| (Instant::now() + LAST, Ended::Left(kind)));
                    back.give_up(cx, right, &mut back_ended);
                }
                (None, Some(kind)) => {
                    broken.get_or_insert_with(|| (Instant::now() + LAST, Ended::Right(kind)));
                    there.give_up(cx, left, &mut there_ended);
                }
                (Some(kind), Some(_)) => {
                    return Poll::Ready(broken.map_or(Ended::Left(kind), |(_, ended)| ended));
                }
            }
            if first.is_none() && (there.read_ended || back.read_ended) {
                first = Some(!there.read_ended);
            }
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
                    return Poll::Ready(Ended::Left(e));
                }
                (Poll::Ready(Err(Side::To(e))), _) | (_, Poll::Ready(Err(Side::From(e)))) => {
                    return Poll::Ready(Ended::Right(e));
                }
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ended::Done),
                _ => {}
            }
            match goodbye.as_mut().map(|goodbye| goodbye.closing.next(Instant::now())) {
                Some(Next::Again) => continue,
                Some(Next::Over) => return Poll::Ready(Ended::Closed),
                Some(Next::Until(at)) => {
                    timer.set(Some(at));
                    if timer.poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                Some(Next::Open) | None => {
                    if let Some((at, ended)) = broken {
                        timer.set(timer.deadline().into_iter().chain([at]).min());
                        return timer.poll(cx).map(|()| ended);
                    }
                    return timer.poll(cx).map(|()| match until {
                        Some(until) if until <= Instant::now() => Ended::Max,
                        _ => Ended::Idle,
                    });
                }
            }
        }
    })
    .await;
    let right_first = first == Some(true);
    Copied { left_to_right: there.total, right_to_left: back.total, ended, right_first }
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
                let still = way.poll(cx, &mut from, &mut to, None).is_pending();
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

//! A WebSocket of one stream (RFC 8441): what comes as DATA goes on by HTTP/1's tunnel, and back.
use super::stream::Stream;
use crate::http::leaving::leaving;
use crate::http::report::Report;
use crate::http::upgrade::verdict;
use crate::http1::BodyLength;
use crate::http2::{self, Code};
use crate::message::{Chunk, Fill, Head, Part, Source};
use crate::net::{Ended, Timer, TwoWay};
use crate::pool::Outcome;
use crate::upstream::Exchange;
use crate::websocket::{Closing, Next, Step};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// What tells a client that its WebSocket is open (RFC 8441 5).
const OPEN: u16 = 200;

/// After so many rounds other streams have their turn.
const ROUNDS: usize = 32;

fn right(error: io::Error) -> Ended {
    Ended::Right(error.kind())
}

/// The two directions of a tunnel.
struct Tunnel<'a> {
    stream: &'a mut Stream,
    backend: &'a mut crate::net::Stream,
    from_backend: Chunk,
    eof: bool,
    /// Which directions have ended: to the backend, to the client.
    done: (bool, bool),
    closing: &'a mut Closing,
}

/// Says 200 and carries both directions until they end.
pub(super) async fn tunnel(
    stream: &mut Stream,
    timer: &mut Timer,
    report: &mut Report<'_>,
    exchange: Box<Exchange>,
    answer: Head,
    drained: impl Future<Output = Option<Instant>>,
) {
    report.status = OPEN;
    report.tunnelled = true;
    let (mut link, from_backend, lease) = exchange.into_tunnel();
    stream.become_tunnel();
    let how = report.target.map_or(TwoWay { idle: None, max: None }, |target| {
        let timeout = &target.effective.timeout;
        TwoWay { idle: timeout.tunnel.get(), max: timeout.tunnel_max.get() }
    });
    let sender = stream.sender.clone();
    let head = |out: &mut _| http2::response(OPEN, &answer, BodyLength::Chunked, out);
    poll_fn(|cx| sender.poll_turn(cx)).await;
    if sender.respond(false, head).is_err() {
        report.reason = "client_gone";
        return lease.settle(Outcome::Abandoned);
    }
    let mut closing = Closing::behind(0);
    let ended = {
        let (stream, backend) = (&mut *stream, &mut *link);
        let mut tunnel = Tunnel {
            stream,
            backend,
            from_backend,
            eof: false,
            done: (false, false),
            closing: &mut closing,
        };
        let due = pin!(leaving(drained, &lease));
        tokio::select! {
            biased;
            ended = tunnel.carry(how, timer, due) => Some(ended),
            // Its backend was drained or removed, and the time for that is over.
            () = lease.over() => None,
        }
    };
    let (reason, outcome) = verdict(ended, &closing);
    report.reason = reason;
    match reason {
        "-" | "going_away" => {
            // It may have been said before: then this goes nowhere.
            let _ = sender.send(&[], true);
        }
        _ => sender.reset(Code::CANCEL),
    }
    lease.settle(outcome);
}

impl Tunnel<'_> {
    async fn carry(
        &mut self,
        how: TwoWay,
        timer: &mut Timer,
        mut due: Pin<&mut impl Future<Output = Instant>>,
    ) -> Ended {
        let over = how.max.map(|max| Instant::now() + max);
        let mut before = None;
        poll_fn(|cx| {
            loop {
                if !self.closing.is_begun()
                    && let Poll::Ready(until) = due.as_mut().poll(cx)
                {
                    self.closing.begin(until);
                }
                let there = self.poll_there(cx);
                if let Poll::Ready(Err(ended)) = there {
                    return Poll::Ready(ended);
                }
                let back = self.poll_back(cx);
                if let Poll::Ready(Err(ended)) = back {
                    return Poll::Ready(ended);
                }
                if there.is_ready() && back.is_ready() {
                    return Poll::Ready(Ended::Done);
                }
                let moved = Some((self.stream.taken, self.stream.given));
                if before != moved {
                    before = moved;
                    let idle = how.idle.map(|idle| Instant::now() + idle);
                    timer.set(idle.into_iter().chain(over).min());
                }
                match self.closing.next(Instant::now()) {
                    Next::Again => continue,
                    Next::Over => return Poll::Ready(Ended::Closed),
                    Next::Until(at) => timer.set(Some(at)),
                    Next::Open => {
                        ready!(timer.poll(cx));
                        let is_over = over.is_some_and(|over| over <= Instant::now());
                        return Poll::Ready(if is_over { Ended::Max } else { Ended::Idle });
                    }
                }
                ready!(timer.poll(cx));
            }
        })
        .await
    }

    /// From the client to the backend.
    fn poll_there(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if self.done.0 {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS {
            match self.closing.there.step(self.stream.data()) {
                Step::Say => {
                    let words = self.closing.there.words();
                    let n = ready!(self.backend.poll_write(cx, words)).map_err(right)?;
                    self.closing.there.said(n);
                }
                Step::Pass(n) if n > 0 => {
                    let written = self.backend.poll_write(cx, &self.stream.data()[..n]);
                    let n = ready!(written).map_err(right)?;
                    self.closing.there.passed(&self.stream.data()[..n]);
                    self.stream.consume(n);
                }
                Step::Drop if !self.stream.data().is_empty() => {
                    self.closing.there.passed(self.stream.data());
                    self.stream.consume(self.stream.data().len());
                }
                Step::Pass(_) | Step::Drop => {
                    let Poll::Ready(filled) = self.stream.poll_fill(cx) else {
                        let _ = self.backend.poll_flush(cx).map_err(right)?;
                        return Poll::Pending;
                    };
                    let filled = filled.map_err(|_| Ended::Left(ErrorKind::ConnectionReset))?;
                    if filled == Fill::End {
                        ready!(self.backend.poll_flush(cx)).map_err(right)?;
                        self.done.0 = true;
                        return Poll::Ready(self.backend.shutdown_write().map_err(right));
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// From the backend to the client.
    fn poll_back(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let gone = || Ended::Left(ErrorKind::ConnectionReset);
        if self.done.1 {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS {
            let data = self.from_backend.data();
            match self.closing.back.step(data) {
                Step::Say => {
                    let words = self.closing.back.words();
                    let n = ready!(self.room(cx, words.len()))?;
                    send(self.stream, &words[..n])?;
                    self.closing.back.said(n);
                }
                Step::Pass(n) if n > 0 => {
                    let n = ready!(self.room(cx, n))?;
                    self.closing.back.passed(&data[..n]);
                    send(self.stream, &data[..n])?;
                    self.from_backend.consume(n);
                }
                Step::Drop if !data.is_empty() => {
                    self.closing.back.passed(data);
                    self.from_backend.clear();
                    self.eof |= self.closing.back.is_done();
                }
                Step::Pass(_) | Step::Drop if self.eof => {
                    self.done.1 = true;
                    let sent = self.stream.sender.send(&[], true);
                    return Poll::Ready(sent.map_err(|_| gone()));
                }
                Step::Pass(_) | Step::Drop => {
                    let read = self.backend.poll_read_chunk(cx, &mut self.from_backend, Part::Body);
                    if read.is_pending() {
                        // However quiet it is, it holds no block while it says nothing.
                        self.from_backend.rest();
                    }
                    self.eof = ready!(read).map_err(right)? == 0;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// How much of this the client has room for.
    fn room(&self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, Ended>> {
        let room = self.stream.sender.poll_room(cx, wanted);
        room.map_err(|_| Ended::Left(ErrorKind::ConnectionReset))
    }
}

fn send(stream: &mut Stream, data: &[u8]) -> Result<(), Ended> {
    stream.given += data.len() as u64;
    let sent = stream.sender.send(data, false);
    sent.map_err(|_| Ended::Left(ErrorKind::ConnectionReset))
}

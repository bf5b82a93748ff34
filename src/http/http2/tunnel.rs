//! A WebSocket of one stream (RFC 8441): what comes as DATA goes on by HTTP/1's tunnel, and back.
use super::stream::Stream;
use crate::http::report::Report;
use crate::message::{Chunk, Fill, Part, Source};
use crate::net::{Ended, Timer, TwoWay};
use crate::pool::Outcome;
use crate::upstream::Exchange;
use bytes::Bytes;
use h2::Reason;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};
use std::time::Instant;

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
}

/// Says 200 and carries both directions until they end.
pub(super) async fn tunnel(
    stream: &mut Stream,
    timer: &mut Timer,
    report: &mut Report<'_>,
    exchange: Box<Exchange>,
    answer: http::Response<()>,
) {
    report.status = answer.status().as_u16();
    let (mut link, from_backend, lease) = exchange.into_tunnel();
    stream.become_tunnel();
    let how = report.target.map_or(TwoWay { idle: None, max: None }, |target| {
        let timeout = &target.effective.timeout;
        TwoWay { idle: timeout.tunnel.get(), max: timeout.tunnel_max.get() }
    });
    let sender = stream.sender.clone();
    if sender.respond(answer, false).is_err() {
        report.reason = "client_gone";
        return lease.settle(Outcome::Abandoned);
    }
    let mut tunnel =
        Tunnel { stream, backend: &mut link, from_backend, eof: false, done: (false, false) };
    let ended = tokio::select! {
        biased;
        ended = tunnel.carry(how, timer) => Some(ended),
        // Its backend was drained or removed, and the time for that is over.
        () = lease.over() => None,
    };
    let (reason, outcome) = match ended {
        Some(Ended::Done) => ("-", Outcome::Answered(101)),
        Some(Ended::Idle) => ("timeout_tunnel", Outcome::Answered(101)),
        Some(Ended::Max) => ("timeout_tunnel_max", Outcome::Answered(101)),
        Some(Ended::Left(_)) => ("client_reset", Outcome::Abandoned),
        Some(Ended::Right(_)) => ("upstream_reset", Outcome::Failed),
        None => ("drain_cut", Outcome::Answered(101)),
    };
    report.reason = reason;
    if reason != "-" {
        sender.reset(Reason::CANCEL);
    }
    lease.settle(outcome);
}

impl Tunnel<'_> {
    async fn carry(&mut self, how: TwoWay, timer: &mut Timer) -> Ended {
        let over = how.max.map(|max| Instant::now() + max);
        let mut before = None;
        poll_fn(|cx| {
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
            ready!(timer.poll(cx));
            let is_over = over.is_some_and(|over| over <= Instant::now());
            Poll::Ready(if is_over { Ended::Max } else { Ended::Idle })
        })
        .await
    }

    /// From the client to the backend.
    fn poll_there(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if self.done.0 {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..ROUNDS {
            let Poll::Ready(filled) = self.stream.poll_fill(cx) else {
                let _ = self.backend.poll_flush(cx).map_err(right)?;
                return Poll::Pending;
            };
            match filled.map_err(|_| Ended::Left(ErrorKind::ConnectionReset))? {
                Fill::Data => {
                    let written = self.backend.poll_write(cx, self.stream.data());
                    if written.is_pending() {
                        self.stream.gather(cx);
                    }
                    self.stream.consume(ready!(written).map_err(right)?);
                }
                Fill::End => {
                    ready!(self.backend.poll_flush(cx)).map_err(right)?;
                    self.done.0 = true;
                    return Poll::Ready(self.backend.shutdown_write().map_err(right));
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
            let waiting = self.from_backend.data().len();
            if waiting > 0 {
                let n = ready!(self.stream.sender.poll_room(cx, waiting)).map_err(|_| gone())?;
                let data = Bytes::copy_from_slice(&self.from_backend.data()[..n]);
                self.stream.sender.send(data, false).map_err(|_| gone())?;
                self.from_backend.consume(n);
                self.stream.given += n as u64;
            } else if self.eof {
                self.done.1 = true;
                return Poll::Ready(
                    self.stream.sender.send(Bytes::new(), true).map_err(|_| gone()),
                );
            } else {
                let read = self.backend.poll_read_chunk(cx, &mut self.from_backend, Part::Body);
                if read.is_pending() {
                    // However quiet it is, it holds no block while it says nothing.
                    self.from_backend.rest();
                }
                self.eof = ready!(read).map_err(right)? == 0;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

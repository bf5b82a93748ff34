//! Copies an answer from its backend to a stream: read when there is nothing at hand, sent as far as
//! the client's windows go.
use super::stream::Stream;
use crate::http::relay::{Copying, Cut, paced};
use crate::http1::BodyLength;
use crate::http2;
use crate::message::Fill;
use crate::net::Timer;
use crate::upstream::Exchange;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// After so many rounds other streams have their turn, however fast the bytes come.
const ROUNDS: usize = 32;

/// A copy under way.
struct Copy<'a> {
    exchange: &'a mut Exchange,
    stream: &'a mut Stream,
    /// Bytes to come, where the head said how many.
    left: Option<u64>,
    /// The stream has its end already.
    closed: bool,
    waits: bool,
}

/// Copies the body of an answer whose head went. Returns whether all went well.
pub(super) async fn relay(
    exchange: &mut Exchange,
    stream: &mut Stream,
    framing: BodyLength,
    closed: bool,
    timer: &mut Timer,
) -> Result<(), Cut> {
    let left = match framing {
        BodyLength::Exact(n) => Some(n),
        _ => None,
    };
    let mut copy = Copy { exchange, stream, left, closed, waits: false };
    paced(&mut copy, timer).await
}

impl Copying for Copy<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        for _ in 0..ROUNDS {
            self.waits = false;
            let filled = match self.exchange.poll_fill(cx, self.stream) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(filled) => filled.map_err(Cut::Upstream)?,
            };
            if filled == Fill::End {
                return self.end(cx);
            }
            let wanted = self.exchange.data().len();
            let Poll::Ready(room) = self.stream.sender.poll_room(cx, wanted) else {
                self.waits = true;
                self.exchange.wait(cx, self.stream).map_err(Cut::Upstream)?;
                return Poll::Pending;
            };
            self.piece(room.map_err(|_| Cut::Client)?)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn stands(&mut self, now: Instant) {
        self.exchange.stands(now);
    }

    fn exchange(&self) -> &Exchange {
        self.exchange
    }

    fn sent(&self) -> u64 {
        self.stream.given
    }

    fn waits_for_client(&self) -> bool {
        self.waits
    }

    /// Watched by who watches the whole request.
    fn is_client_gone(&mut self, _: &mut Context<'_>) -> bool {
        false
    }
}

impl Copy<'_> {
    /// Sends so many of the bytes at hand; the last ones say that they are.
    fn piece(&mut self, n: usize) -> Result<(), Cut> {
        self.left = self.left.map(|left| left.saturating_sub(n as u64));
        self.closed = self.left == Some(0);
        let data = &self.exchange.data()[..n];
        self.stream.sender.send(data, self.closed).map_err(|_| Cut::Client)?;
        self.exchange.consume(n);
        self.stream.given += n as u64;
        Ok(())
    }

    fn end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        let client = &self.stream.sender;
        let sent = match http2::passing(self.exchange.trailers()) {
            Some(trailers) => {
                self.waits = true;
                ready!(client.poll_turn(cx));
                client.trailers(trailers)
            }
            None => client.send(&[], true),
        };
        self.closed = true;
        Poll::Ready(sent.map_err(|_| Cut::Client))
    }
}

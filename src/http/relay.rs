//! Copies an answer from its backend to the client: buffered with its head, lent, or spliced.
use super::client::Client;
use crate::http1::{self, BodyLength};
use crate::message::{Broken, Fill, Source};
use crate::net::{Pipe, Spliced, Timer};
use crate::upstream::{Error, Exchange, LOOK};
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Pieces up to this size are copied behind what waits to be written, so that a head and a small
/// body are one system call; larger ones are written from where they were read.
const COPIED: usize = 4 << 10;
/// So much is gathered before it is written.
const GATHERED: usize = 15 << 10;
/// From so many bytes at once a body is spliced: below it two more system calls cost more than the
/// copy they save.
const SPLICED: u64 = 64 << 10;

/// After so many rounds other connections have their turn, however fast the bytes come.
const ROUNDS: usize = 32;

/// For so long a head waits for the first bytes of its body.
const HOLD: Duration = Duration::from_millis(20);

/// Why a copy broke.
#[derive(Debug)]
pub(super) enum Cut {
    /// The backend's side.
    Upstream(Error),
    /// The client's side.
    Client,
    /// The client read nothing for too long.
    ClientIdle,
}

/// A copy under way.
struct Copy<'a> {
    exchange: &'a mut Exchange,
    client: &'a mut Client,
    framing: BodyLength,
    /// Bytes at hand that are written from where they are, after `client.out`.
    lent: usize,
    ended: bool,
    pipe: Option<Pipe>,
    splice: bool,
    sent: u64,
}

/// Copies the answer's body behind the head that is in `client.out`. Returns the bytes written.
pub(super) async fn relay(
    exchange: &mut Exchange,
    client: &mut Client,
    framing: BodyLength,
    timer: &mut Timer,
) -> (u64, Result<(), Cut>) {
    let splice = matches!(framing, BodyLength::Exact(_) | BodyLength::UntilClose)
        && exchange.is_tcp()
        && client.stream.tcp().is_some();
    if matches!(framing, BodyLength::Exact(_))
        && exchange.has_nothing()
        && let Err(error) = Box::pin(body_begun(exchange, client, timer)).await
    {
        return (0, Err(Cut::Upstream(error)));
    }
    let mut copy =
        Copy { exchange, client, framing, lent: 0, ended: false, pipe: None, splice, sent: 0 };
    let result = paced(&mut copy, timer).await;
    (copy.sent, result)
}

/// A copy of an answer that is under way, whatever version carries it to the client.
pub(super) trait Copying {
    /// Goes on; ready at the end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>>;
    /// Where it comes from.
    fn exchange(&self) -> &Exchange;
    /// Not all of it came at once.
    fn stands(&mut self, now: Instant);
    /// Bytes that the client took.
    fn sent(&self) -> u64;
    /// Whether something is at hand that the client has not taken yet.
    fn waits_for_client(&self) -> bool;
    /// Whether the client went away while the backend is waited for: nobody wants the rest.
    fn is_client_gone(&mut self, cx: &mut Context<'_>) -> bool;
}

/// Copies within the limits of its exchange.
#[inline(always)]
pub(super) fn paced<'a>(
    copy: &'a mut impl Copying,
    timer: &'a mut Timer,
) -> impl Future<Output = Result<(), Cut>> + 'a {
    let idle = copy.exchange().pace().idle;
    let until = copy.exchange().pace().until;
    let (mut armed, mut due) = (false, None::<Instant>);
    std::future::poll_fn(move |cx| {
        let before = armed.then(|| (copy.sent(), copy.exchange().moved()));
        if let Poll::Ready(done) = copy.poll(cx) {
            return Poll::Ready(done);
        }
        // Asked when something moves or a second passes: waking each request of a backend would cost
        // all of them.
        if copy.exchange().lease().is_over() {
            return Poll::Ready(Err(Cut::Upstream(Error::Over)));
        }
        if copy.is_client_gone(cx) {
            return Poll::Ready(Err(Cut::Client));
        }
        if before != Some((copy.sent(), copy.exchange().moved())) {
            let now = Instant::now();
            if !armed {
                copy.stands(now);
            }
            armed = true;
            let own = idle.map(|idle| now + idle);
            due = own.into_iter().chain(until).min();
            timer.set(Some(look_at(due)));
        }
        std::task::ready!(timer.poll(cx));
        if due.is_none_or(|due| due > Instant::now()) {
            timer.set(Some(look_at(due)));
            std::task::ready!(timer.poll(cx));
        }
        Poll::Ready(Err(if until.is_some_and(|until| until <= Instant::now()) {
            Cut::Upstream(Error::Request)
        } else if copy.waits_for_client() {
            Cut::ClientIdle
        } else {
            Cut::Upstream(Error::Idle)
        }))
    })
}

/// When a copy that stands still looks up: when it must be over, or before that whether its
/// backend's time is.
fn look_at(due: Option<Instant>) -> Instant {
    let look = Instant::now() + LOOK;
    due.map_or(look, |due| due.min(look))
}

/// A head whose body is on the way goes with it, if it comes soon: one packet less for everybody,
/// and a backend that breaks in between can still be answered for. A body whose length nobody said
/// is made by and by, and is not waited for.
pub(super) async fn body_begun(
    exchange: &mut Exchange,
    client: &mut dyn Spliced,
    timer: &mut Timer,
) -> Result<(), Error> {
    let mut armed = false;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(filled) = exchange.poll_fill(cx, client) {
            return Poll::Ready(filled.map(drop));
        }
        if !armed {
            armed = true;
            let now = Instant::now();
            exchange.stands(now);
            timer.set(Some(now + HOLD));
        }
        timer.poll(cx).map(Ok)
    })
    .await
}

impl Copying for Copy<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        for _ in 0..ROUNDS {
            if let Some(done) = self.poll_splice(cx)? {
                if done.is_pending() {
                    return Poll::Pending;
                }
                continue;
            }
            self.gather(cx)?;
            if !self.waits_for_client() {
                if self.ended {
                    return Poll::Ready(Ok(()));
                }
                if self.may_splice() {
                    self.pipe = Pipe::lend();
                    self.splice = self.pipe.is_some();
                    self.client.out.give_up();
                    continue;
                }
                return Poll::Pending;
            }
            if self.write(cx)?.is_pending() {
                self.exchange.wait(cx, self.client).map_err(Cut::Upstream)?;
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn waits_for_client(&self) -> bool {
        self.lent > 0
            || !self.client.out.data().is_empty()
            || !self.client.stream.is_flushed()
            || self.pipe.as_ref().is_some_and(|p| p.held() > 0)
    }

    fn exchange(&self) -> &Exchange {
        self.exchange
    }

    fn stands(&mut self, now: Instant) {
        self.exchange.stands(now);
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    /// One that still sends its body is watched by whoever reads that.
    fn is_client_gone(&mut self, cx: &mut Context<'_>) -> bool {
        !self.waits_for_client()
            && self.client.machine.is_body_done()
            && self.client.poll_gone(cx).is_ready()
    }
}

impl Copy<'_> {
    /// Moves what the backend has sent behind what waits to be written.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<(), Cut> {
        while !self.ended && self.lent == 0 && self.client.out.data().len() < GATHERED {
            // What was at hand is written: the rest goes past us.
            if self.client.out.data().is_empty() && self.may_splice() {
                return Ok(());
            }
            match self.exchange.poll_fill(cx, self.client) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(Cut::Upstream(error)),
                Poll::Ready(Ok(Fill::End)) => self.end(),
                Poll::Ready(Ok(Fill::Data)) => self.piece(),
            }
        }
        Ok(())
    }

    fn piece(&mut self) {
        let n = self.exchange.data().len();
        let chunked = self.framing == BodyLength::Chunked;
        if chunked {
            http1::chunk_size_line(n, &mut self.client.out);
        }
        if n > COPIED {
            self.lent = n;
            return;
        }
        self.client.out.extend(self.exchange.data());
        self.exchange.consume(n);
        if chunked {
            self.client.out.extend(b"\r\n");
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if self.framing == BodyLength::Chunked {
            http1::last_chunk(self.exchange.trailers(), &mut self.client.out);
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Cut> {
        let waiting = self.client.out.data().len();
        let lent = &self.exchange.data()[..self.lent];
        let written = match (waiting, lent.len()) {
            (0, 0) => self.client.stream.poll_flush(cx).map_ok(|()| 0),
            (_, 0) => self.client.stream.poll_write(cx, self.client.out.data()),
            (0, _) => self.client.stream.poll_write(cx, lent),
            _ => {
                let both = [io::IoSlice::new(self.client.out.data()), io::IoSlice::new(lent)];
                self.client.stream.poll_write_vectored(cx, &both)
            }
        };
        let n = match written {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(n) => n.map_err(|_| Cut::Client)?,
        };
        self.sent += n as u64;
        self.client.gave(n);
        let first = n.min(waiting);
        self.client.out.consume(first);
        self.client.out.rest();
        if n > first {
            self.exchange.consume(n - first);
            self.lent -= n - first;
            if self.lent == 0 && self.framing == BodyLength::Chunked {
                self.client.out.extend(b"\r\n");
            }
        }
        Ok(Poll::Ready(()))
    }

    fn may_splice(&self) -> bool {
        self.splice && self.pipe.is_none() && !self.ended && self.exchange.opaque() >= SPLICED
    }

    /// One round through the pipe; `None` when there is no pipe.
    fn poll_splice(&mut self, cx: &mut Context<'_>) -> Result<Option<Poll<()>>, Cut> {
        let Some(pipe) = &mut self.pipe else { return Ok(None) };
        if pipe.held() > 0 {
            match pipe.poll_drain(cx, &mut self.client.stream) {
                Poll::Pending => return Ok(Some(Poll::Pending)),
                Poll::Ready(moved) => {
                    let n = moved.map_err(|_| Cut::Client)?;
                    self.sent += n as u64;
                    self.client.gave(n);
                }
            }
            if pipe.held() > 0 {
                return Ok(Some(Poll::Ready(())));
            }
        }
        if self.exchange.opaque() == 0 {
            self.pipe = None;
            return Ok(None);
        }
        match self.exchange.poll_splice(cx, pipe, self.client) {
            Poll::Pending => Ok(Some(Poll::Pending)),
            Poll::Ready(Err(error)) => Err(Cut::Upstream(error)),
            Poll::Ready(Ok(0)) if self.framing == BodyLength::UntilClose => {
                self.pipe = None;
                Ok(None)
            }
            Poll::Ready(Ok(0)) => Err(Cut::Upstream(Error::Closed)),
            Poll::Ready(Ok(_)) => Ok(Some(Poll::Ready(()))),
        }
    }
}

/// How the answer's body goes to the client, by how it came and what the client understands.
pub(super) fn framing_to_client(came: BodyLength, old_client: bool) -> BodyLength {
    match came {
        BodyLength::Chunked | BodyLength::UntilClose if old_client => BodyLength::UntilClose,
        BodyLength::UntilClose => BodyLength::Chunked,
        other => other,
    }
}

/// Whose fault a broken request body is, and the status it earns if one can still be given.
pub(super) fn body_fault(broken: &Broken) -> (u16, &'static str) {
    match broken {
        Broken::Closed | Broken::Io(_) => (0, "client_gone"),
        Broken::Invalid(word) => (400, word),
        Broken::TooLarge => (413, "body_too_large"),
        Broken::Slow => (408, "timeout_body"),
        Broken::Idle => (408, "timeout_idle"),
    }
}

/// Whether a body's length alone exceeds the limit.
pub(super) fn is_too_long(body: &dyn Source, limit: Option<u64>) -> bool {
    use crate::message::Length;
    matches!((body.length(), limit), (Length::Exact(n), Some(limit)) if n > limit)
}

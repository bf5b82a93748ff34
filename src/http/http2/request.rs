//! Requests of an HTTP/2 connection, each in a task that has no other meanwhile: forwarded, its answer
//! sent, its end counted and logged.
use super::accept::is_proven;
use super::hands::Place;
use super::relay::relay;
use super::stream::Stream;
use super::tunnel::tunnel;
use crate::config::Effective;
use crate::http::address::Origin;
use crate::http::broken;
use crate::http::forward::{Journey, Site, forward};
use crate::http::gateway::Gateway;
use crate::http::relay::{Cut, body_begun, body_fault};
use crate::http::reply::Reply;
use crate::http::report::{Came, Report};
use crate::http1::{BodyLength, Refusal, RequestVerdict, ResponseVerdict};
use crate::http2::conn::Broken as Ended;
use crate::http2::hpack::Encoder;
use crate::http2::{self, Code, Request, Status};
use crate::message::{Broken, Head, Method, Source};
use crate::mux::{self, Gone};
use crate::net::Timer;
use crate::net::proxy_protocol;
use crate::pool::Outcome;
use crate::telemetry::Telemetry;
use crate::upstream::{Dialer, Error, Exchange};
use arc_swap::ArcSwap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What the streams of a connection share.
#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) origin: Arc<Origin>,
    /// What backends may be told of it by the PROXY protocol.
    pub(super) header: Arc<proxy_protocol::Header>,
    /// Read anew by each stream.
    pub(super) slot: Arc<ArcSwap<Gateway>>,
    pub(super) dialer: Arc<Dialer>,
    pub(super) telemetry: Telemetry,
    /// When it will be cut, once its listener is on its way out.
    pub(super) leaving: watch::Sender<Option<Instant>>,
    /// Its connection was cut at the end of a drain.
    pub(super) cut: AtomicBool,
    /// Its client read nothing for too long.
    pub(super) unread: AtomicBool,
}

/// Carries one request after the other.
pub(super) async fn work(carrier: Arc<Carrier>, mut place: Place<(mux::Stream, Request)>) {
    let mut timer = Timer::new();
    while let Some((stream, request)) = place.next().await {
        carry(&carrier, stream, request, &mut timer).await;
        timer.rest();
    }
}

/// Carries one request to the last byte of its answer.
async fn carry(carrier: &Carrier, stream: mux::Stream, request: Request, timer: &mut Timer) {
    let gateway = carrier.slot.load_full();
    let mut report = Report::new(Instant::now());
    let Request { mut head, verdict: read, websocket, is_call, ended } = request;
    // Its head asks as by HTTP/1.1.
    let method = websocket.then_some("CONNECT");
    let came = carrier.telemetry.access.is_on().then(|| Came::of(&head));
    report.method = method;
    report.trace = carrier.telemetry.tracer.begin(&mut head);
    let sender = Arc::new(stream);
    let mut stream = Stream::new(carrier, sender.clone(), ended, is_call);
    let gone = {
        let turn = (&mut *timer, &mut report);
        let mut served = pin!(served(carrier, &mut stream, &mut head, read, &gateway, turn));
        poll_fn(|cx| match served.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(false),
            // Nobody wants it any more: whatever it waits for, it ends.
            Poll::Pending => sender.poll_gone(cx).map(|()| true),
        })
        .await
    };
    // One that has its whole answer has had what it wanted.
    if gone && !report.is_over() {
        let unread = carrier.unread.load(Relaxed);
        report.reason = if unread { "client_timeout_idle" } else { why(&sender) };
    }
    // The last word is a tunnel's.
    if carrier.cut.load(Relaxed) && matches!(report.reason, "client_gone" | "client_reset") {
        report.cut();
    }
    if report.status == 0 {
        report.status = if wrong(&sender).is_some() { 400 } else { 499 };
    }
    (report.bytes_in, report.bytes_out) = (stream.taken, stream.given);
    report.end(&gateway, &head, came.as_ref(), &carrier.origin, &carrier.telemetry);
}

/// What its client did wrong, for which it was ended by us.
fn wrong(stream: &mux::Stream) -> Option<&'static str> {
    match stream.broken()? {
        Ended::Fault(code, _) => Some(code.error().unwrap_or("enhance_your_calm")),
        Ended::Length => Some("bad_content_length"),
        Ended::Refused(refusal) => Some(refusal.rule.word()),
        Ended::Reset(_) | Ended::Away | Ended::Ended => None,
    }
}

/// Why a client does not get its answer.
fn why(stream: &mux::Stream) -> &'static str {
    wrong(stream).unwrap_or("client_gone")
}

/// From the head of a request to the last byte of its answer.
async fn served<'g>(
    carrier: &'g Carrier,
    stream: &mut Stream,
    head: &mut Head,
    read: Result<RequestVerdict, Refusal>,
    gateway: &'g Gateway,
    (timer, report): (&mut Timer, &mut Report<'g>),
) {
    let mut answer = Head::new();
    let verdict = match read {
        Ok(verdict) => verdict,
        Err(refusal) => {
            let reply = Reply::own(refusal.rule.status(), refusal.rule.word());
            let mut turn = Turn { stream, timer, head, gateway, report };
            turn.own(&reply).await;
            return turn.discard().await;
        }
    };
    stream.begin(verdict.body);
    if verdict.body == BodyLength::Exact(0) && !stream.sender.is_last() {
        let mut turn = Turn { stream, timer, head, gateway, report };
        if let Err((status, word)) = Box::pin(turn.nothing_follows()).await {
            return turn.own(&Reply::own(status, word)).await;
        }
    }
    let (scheme, seed) = (carrier.origin.scheme(), fastrand::u64(..));
    let site = Site { gateway, dialer: &carrier.dialer, scheme, seed };
    let journey = forward(&site, head, verdict, &mut answer, stream, timer, report).await;
    let mut turn = Turn { stream, timer, head, gateway, report };
    answered(carrier, &mut turn, journey, answer, verdict).await;
    // A client that was never told to go on may never send its body.
    if !(verdict.expect_continue && turn.stream.gone() == 0) {
        turn.discard().await;
    }
}

/// Gives the client what its request came to.
async fn answered(
    carrier: &Carrier,
    turn: &mut Turn<'_, '_>,
    journey: Journey,
    answer: Head,
    verdict: RequestVerdict,
) {
    match journey {
        // A 200 would tell the client that its WebSocket is open (RFC 8441 5).
        Journey::Tunnel(exchange) if !is_proven(turn.head, &answer) => {
            let failed = exchange.fail(Error::Closed);
            failed.lease.settle(Outcome::Failed);
            turn.own(&Reply::own(502, "bad_response")).await;
        }
        Journey::Answer(exchange, _)
            if verdict.websocket && (200..300).contains(&answer.status()) =>
        {
            let failed = exchange.fail(Error::Closed);
            failed.lease.settle(broken::outcome(&Error::Request, false));
            turn.own(&Reply::own(502, "not_switched")).await;
        }
        Journey::Answer(exchange, came) => turn.answer(exchange, came, &answer).await,
        Journey::Tunnel(exchange) => {
            let mut drained = carrier.leaving.subscribe();
            let drained = async move {
                let until = drained.wait_for(Option::is_some).await;
                until.ok().and_then(|until| *until)
            };
            let (head, Turn { stream, timer, report, .. }) = (opened(answer), turn);
            tunnel(stream, timer, report, exchange, head, drained).await;
        }
        Journey::Own(reply) => turn.own(&reply).await,
        Journey::Gone => turn.report.reason = "client_gone",
    }
}

/// The head that opens a tunnel, which says 200 and what the backend said besides (RFC 8441 5).
fn opened(mut answer: Head) -> Head {
    for name in ["sec-websocket-accept", "upgrade"] {
        answer.remove_named(name.as_bytes());
    }
    answer
}

/// The answering half of a request.
struct Turn<'a, 'g> {
    stream: &'a mut Stream,
    timer: &'a mut Timer,
    head: &'a Head,
    gateway: &'a Gateway,
    report: &'a mut Report<'g>,
}

impl Turn<'_, '_> {
    /// Sends a backend's answer.
    async fn answer(&mut self, mut exchange: Box<Exchange>, came: ResponseVerdict, answer: &Head) {
        let framing = came.body;
        if matches!(framing, BodyLength::Exact(1..))
            && exchange.has_nothing()
            && let Err(error) = Box::pin(body_begun(&mut exchange, self.stream, self.timer)).await
        {
            return self.broken(exchange, error).await;
        }
        let empty = matches!(framing, BodyLength::None | BodyLength::Exact(0));
        self.report.status = answer.status();
        let head = |out: &mut _| http2::response(answer.status(), answer, framing, out);
        let result = match self.say(empty, head, || exchange.stands(Instant::now())).await {
            Ok(()) => relay(&mut exchange, self.stream, framing, empty, self.timer).await,
            Err(cut) => Err(cut),
        };
        self.report.first_byte = exchange.first_byte;
        match result {
            Ok(()) => {
                exchange.finish(self.report.over());
            }
            Err(cut) => self.cut(exchange, cut),
        }
    }

    /// After an answer, the rest of the request's body is read within its limit.
    async fn discard(&mut self) {
        self.report.over();
        let most = self.stream.taken + self.effective().limits.drain;
        let (stream, timer) = (&mut *self.stream, &mut *self.timer);
        let mut armed = false;
        poll_fn(|cx| {
            if stream.poll_discard(cx, most).is_ready() {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut armed, true) {
                timer.set(Some(Instant::now() + WRITE));
            }
            timer.poll(cx)
        })
        .await
    }

    /// The answer broke before its first byte went to the client.
    async fn broken(&mut self, exchange: Box<Exchange>, error: Error) {
        let failed = exchange.fail(error);
        let reply = Reply::own(broken::status(&failed.error), failed.error.word());
        failed.lease.settle(broken::outcome(&failed.error, false));
        self.own(&reply).await;
    }

    /// An answer that could not be finished must not look finished.
    fn cut(&mut self, exchange: Box<Exchange>, cut: Cut) {
        match cut {
            Cut::Upstream(error) => {
                let status;
                (status, self.report.reason) = broken::cut_fault(&error);
                let failed = exchange.fail(error);
                self.abort(status);
                failed.lease.settle(broken::outcome(&failed.error, false));
            }
            Cut::Client | Cut::ClientIdle => self.left(&cut),
        }
    }

    /// The client does not take its answer.
    fn left(&mut self, cut: &Cut) {
        self.report.reason = why(&self.stream.sender);
        if matches!(cut, Cut::ClientIdle) {
            self.report.reason = "client_timeout_idle";
            self.stream.sender.reset(Code::CANCEL);
        }
    }

    /// Ends the stream in the middle: gRPC has a status for that, everything else a reset.
    fn abort(&mut self, status: u16) {
        let status = Status::of(status, self.report.reason);
        if !self.stream.is_call || self.stream.sender.trailers(&status.fields(false)).is_err() {
            self.stream.sender.reset(Code::INTERNAL);
        }
    }

    /// Sends our own answer.
    async fn own(&mut self, reply: &Reply) {
        self.report.reason = reply.reason();
        self.report.own = reply.is_own();
        self.report.status = reply.status();
        if let Err(cut @ Cut::ClientIdle) = self.own_answer(reply).await {
            self.left(&cut);
        }
    }

    async fn own_answer(&mut self, reply: &Reply) -> Result<(), Cut> {
        if self.stream.is_call && reply.is_fault() {
            let status = Status::of(reply.status(), reply.reason());
            self.report.status = 200;
            let fields = status.fields(true);
            return self.say(true, |out| http2::answer_of(200, &fields, out), || {}).await;
        }
        let body = reply.http2_body();
        let mut rest = if self.head.method() == Method::Head { &[] } else { body };
        self.say(rest.is_empty(), |out| reply.write_http2(out), || {}).await?;
        while !rest.is_empty() {
            let n = self.waited(|client, cx| client.poll_room(cx, rest.len())).await?;
            let (now, behind) = rest.split_at(n.map_err(|_| Cut::Client)?);
            let sent = self.stream.sender.send(now, behind.is_empty());
            sent.map_err(|_| Cut::Client)?;
            self.stream.given += now.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Sends a head once there is room for it; `end`: nothing follows; `waits`: there is none yet.
    async fn say(
        &mut self,
        end: bool,
        head: impl FnOnce(&mut Encoder),
        mut waits: impl FnMut(),
    ) -> Result<(), Cut> {
        let turn = |stream: &mux::Stream, cx: &mut Context<'_>| {
            let turn = stream.poll_turn(cx);
            if turn.is_pending() {
                waits();
            }
            turn
        };
        self.waited(turn).await?;
        self.stream.sender.respond(end, head).map_err(|Gone| Cut::Client)
    }

    /// A body that is said to be empty ends, too: before that nobody hears of its request.
    async fn nothing_follows(&mut self) -> Result<(), (u16, &'static str)> {
        let idle = self.effective().timeout.idle.get();
        let (stream, timer) = (&mut *self.stream, &mut *self.timer);
        timer.set(idle.map(|idle| Instant::now() + idle));
        poll_fn(|cx| match stream.poll_fill(cx) {
            Poll::Ready(end) => Poll::Ready(end.map(drop).map_err(|broken| body_fault(&broken))),
            Poll::Pending => timer.poll(cx).map(|()| Err(body_fault(&Broken::Idle))),
        })
        .await
    }

    /// Waits for what the client must read first, for `timeout.idle` at the most.
    async fn waited<T>(
        &mut self,
        mut what: impl FnMut(&mux::Stream, &mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Cut> {
        let idle = self.effective().timeout.idle.get();
        let (client, timer) = (&self.stream.sender, &mut *self.timer);
        let mut armed = false;
        poll_fn(|cx| {
            if let Poll::Ready(done) = what(client, cx) {
                return Poll::Ready(Ok(done));
            }
            if !std::mem::replace(&mut armed, true) {
                timer.set(idle.map(|idle| Instant::now() + idle));
            }
            timer.poll(cx).map(|()| Err(Cut::ClientIdle))
        })
        .await
    }

    /// The settings that its request goes by.
    fn effective(&self) -> &Effective {
        self.report.target.map_or(&self.gateway.effective, |target| &target.effective)
    }
}

/// How long a client may take to finish an upload whose answer it has.
const WRITE: Duration = Duration::from_secs(5);

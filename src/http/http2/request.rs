//! One request of an HTTP/2 connection, in a task of its own: forwarded, its answer sent, its end
//! counted and logged.
use super::accept::is_proven;
use super::relay::relay;
use super::stream::Stream;
use super::tunnel::tunnel;
use crate::http::address::Origin;
use crate::http::forward::{Journey, Site, forward};
use crate::http::gateway::Gateway;
use crate::http::relay::{Cut, body_begun};
use crate::http::reply::Reply;
use crate::http::report::{Came, Report};
use crate::http::tries;
use crate::http1::{BodyLength, Refusal, RequestVerdict, ResponseVerdict};
use crate::http2::{self, Code, Request, Status};
use crate::message::{Head, Method, Source};
use crate::mux::{self, Gone};
use crate::net::Timer;
use crate::net::proxy_protocol;
use crate::pool::Outcome;
use crate::telemetry::AccessLog;
use crate::upstream::{Dialer, Error, Exchange};
use arc_swap::ArcSwap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
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
    pub(super) access: AccessLog,
    /// When it will be cut, once its listener is on its way out.
    pub(super) leaving: watch::Sender<Option<Instant>>,
    /// Its connection was cut at the end of a drain.
    pub(super) cut: AtomicBool,
}

/// Carries one request to the last byte of its answer.
pub(super) async fn carry(carrier: Arc<Carrier>, stream: mux::Stream, request: Request) {
    let gateway = carrier.slot.load_full();
    let mut report = Report::new(Instant::now());
    let Request { mut head, verdict: read, websocket, is_call, ended } = request;
    // Its head asks as by HTTP/1.1.
    let method = websocket.then_some("CONNECT");
    let came = carrier.access.is_on().then(|| Box::new(Came::with_method(&head, method)));
    let sender = Arc::new(stream);
    let mut stream = Stream::new(&carrier, sender.clone(), ended, is_call);
    let gone = {
        let mut served =
            pin!(served(&carrier, &mut stream, &mut head, read, &gateway, &mut report));
        poll_fn(|cx| match served.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(false),
            // Nobody wants it any more: whatever it waits for, it ends.
            Poll::Pending => sender.poll_gone(cx).map(|()| true),
        })
        .await
    };
    // One that has its whole answer has had what it wanted.
    if gone && report.ended.is_none() {
        report.reason = "client_gone";
    }
    // The last word is a tunnel's.
    if carrier.cut.load(Relaxed) && matches!(report.reason, "client_gone" | "client_reset") {
        report.cut();
    }
    if report.status == 0 {
        report.status = 499;
    }
    (report.bytes_in, report.bytes_out) = (stream.taken, stream.given);
    report.end(&gateway, &head, came.as_deref(), &carrier.origin, &carrier.access);
}

/// From the head of a request to the last byte of its answer.
async fn served<'g>(
    carrier: &'g Carrier,
    stream: &mut Stream,
    head: &mut Head,
    read: Result<RequestVerdict, Refusal>,
    gateway: &'g Gateway,
    report: &mut Report<'g>,
) {
    let mut timer = Timer::new();
    let mut answer = Head::new();
    let verdict = match read {
        Ok(verdict) => verdict,
        Err(refusal) => {
            let reply = Reply::own(refusal.rule.status(), refusal.rule.word());
            let mut turn = Turn { stream, timer: &mut timer, head, report };
            turn.own(&reply);
            return turn.discard(gateway).await;
        }
    };
    stream.begin(verdict.body);
    let timed = carrier.access.is_on();
    let (scheme, seed) = (carrier.origin.scheme(), fastrand::u64(..));
    let site = Site { gateway, dialer: &carrier.dialer, scheme, seed, timed };
    let journey = forward(&site, head, verdict, &mut answer, stream, &mut timer, report).await;
    let mut turn = Turn { stream, timer: &mut timer, head, report };
    answered(carrier, &mut turn, journey, answer, verdict).await;
    // A client that was never told to go on may never send its body.
    if !(verdict.expect_continue && turn.stream.gone() == 0) {
        turn.discard(gateway).await;
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
            turn.own(&Reply::own(502, "bad_response"));
        }
        Journey::Answer(exchange, _)
            if verdict.websocket && (200..300).contains(&answer.status()) =>
        {
            let failed = exchange.fail(Error::Closed);
            failed.lease.settle(tries::outcome(&Error::Request, false));
            turn.own(&Reply::own(502, "not_switched"));
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
        Journey::Own(reply) => turn.own(&reply),
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
            return self.broken(exchange, error);
        }
        let empty = matches!(framing, BodyLength::None | BodyLength::Exact(0));
        self.report.status = answer.status();
        let head = |out: &mut _| http2::response(answer.status(), answer, framing, out);
        let result = match self.stream.sender.respond(empty, head) {
            Ok(()) => relay(&mut exchange, self.stream, framing, empty, self.timer).await,
            Err(Gone) => Err(Cut::Client),
        };
        match result {
            Ok(()) => {
                let now = Instant::now();
                self.report.ended = Some(now);
                exchange.finish(now);
            }
            Err(cut) => self.cut(exchange, cut),
        }
    }

    /// After an answer, the rest of the request's body is read within its limit.
    async fn discard(&mut self, gateway: &Gateway) {
        self.report.ended.get_or_insert_with(Instant::now);
        let effective = self.report.target.map_or(&gateway.effective, |target| &target.effective);
        let most = self.stream.taken + effective.limits.drain;
        let (stream, timer) = (&mut *self.stream, &mut *self.timer);
        timer.set(Some(Instant::now() + WRITE));
        poll_fn(|cx| match stream.poll_discard(cx, most) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => timer.poll(cx),
        })
        .await
    }

    /// The answer broke before its first byte went to the client.
    fn broken(&mut self, exchange: Box<Exchange>, error: Error) {
        let failed = exchange.fail(error);
        let reply = Reply::own(tries::status(&failed.error), failed.error.word());
        failed.lease.settle(tries::outcome(&failed.error, false));
        self.own(&reply);
    }

    /// An answer that could not be finished must not look finished.
    fn cut(&mut self, exchange: Box<Exchange>, cut: Cut) {
        match cut {
            Cut::Upstream(error) => {
                let status;
                (status, self.report.reason) = tries::cut_fault(&error);
                let failed = exchange.fail(error);
                self.abort(status);
                failed.lease.settle(tries::outcome(&failed.error, false));
            }
            Cut::Client => self.report.reason = "client_gone",
            Cut::ClientIdle => {
                self.report.reason = "client_timeout_idle";
                self.stream.sender.reset(Code::CANCEL);
            }
        }
    }

    /// Ends the stream in the middle: gRPC has a status for that, everything else a reset.
    fn abort(&mut self, status: u16) {
        let status = Status::of(status, self.report.reason);
        if !self.stream.is_call || self.stream.sender.trailers(&status.fields(false)).is_err() {
            self.stream.sender.reset(Code::INTERNAL);
        }
    }

    /// Sends our own answer: a short one, which is held until the client takes it.
    fn own(&mut self, reply: &Reply) {
        self.report.reason = reply.reason();
        self.report.own = true;
        self.report.status = reply.status();
        let sender = &self.stream.sender;
        if self.stream.is_call && reply.is_fault() {
            let status = Status::of(reply.status(), reply.reason());
            self.report.status = 200;
            let fields = status.fields(true);
            let _ = sender.respond(true, |out| http2::answer_of(200, &fields, out));
            return;
        }
        let body = reply.http2_body();
        let empty = body.is_empty() || self.head.method() == Method::Head;
        self.stream.given = if empty { 0 } else { body.len() as u64 };
        if sender.respond(empty, |out| reply.write_http2(out)).is_ok() && !empty {
            let _ = sender.send(body, true);
        }
    }
}

/// How long a client may take to finish an upload whose answer it has.
const WRITE: Duration = Duration::from_secs(5);

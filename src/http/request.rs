//! One request on an HTTP/1 connection: forwarded, its answer written, its end counted and logged.
use super::client::Client;
use super::forward::{Journey, Site, forward};
use super::gateway::Gateway;
use super::relay::{Cut, framing_to_client, relay};
use super::reply::Reply;
use super::report::Report;
use super::upgrade;
use super::wire::connection_field;
use crate::drain::{Phase, Watch};
use crate::http1::{self, BodyLength, RequestVerdict, ResponseVerdict};
use crate::message::{Head, Length, Method, Source, Version};
use crate::net::Timer;
use crate::telemetry::Telemetry;
use crate::upstream::{Dialer, Error, Exchange};
use arc_swap::ArcSwap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Instant;

/// What a busy spell of a connection works with.
#[derive(Clone, Copy)]
pub(super) struct Spell<'a> {
    pub(super) slot: &'a ArcSwap<Gateway>,
    pub(super) watch: &'a Watch,
    pub(super) dialer: &'a Arc<Dialer>,
    pub(super) telemetry: &'a Telemetry,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request may come; the last ended at this moment.
    KeepAlive(Instant),
    /// Say goodbye, and read on for a moment.
    Linger,
    /// Close.
    Close,
}

/// Serves one request to the last byte of its answer.
pub(super) async fn request(
    client: &mut Client,
    head: &mut Head,
    verdict: RequestVerdict,
    gateway: &Arc<Gateway>,
    timer: &mut Timer,
    spell: &Spell<'_>,
) -> After {
    let mut report = Report::new(Instant::now());
    report.trace = spell.telemetry.tracer.begin(head);
    client.begin(verdict.body);
    client.rest();
    // What the access log says of the request is what came, before anything was rewritten.
    let came = spell.telemetry.access.is_on().then(|| super::report::Came::of(head));
    let after = {
        let mut served = pin!(served(client, head, verdict, gateway, timer, &mut report, spell));
        poll_fn(|cx| match spell.watch.phase() {
            Phase::Cut => Poll::Ready(None),
            _ => served.as_mut().poll(cx).map(Some),
        })
        .await
    };
    if after.is_none() {
        client.stream.reset_on_close();
        report.cut();
    }
    client.out.give_up();
    report.bytes_in = client.taken();
    report.bytes_out = client.given.load(Relaxed);
    report.end(gateway, head, came.as_ref(), &client.origin, spell.telemetry);
    after.unwrap_or(After::Close)
}

/// From the head of a request to the last byte of its answer.
async fn served<'g>(
    client: &mut Client,
    head: &mut Head,
    verdict: RequestVerdict,
    gateway: &'g Gateway,
    timer: &mut Timer,
    report: &mut Report<'g>,
    spell: &Spell<'g>,
) -> After {
    let mut answer = Head::new();
    let (scheme, seed) = (client.origin.scheme(), fastrand::u64(..));
    let site = Site { gateway, dialer: spell.dialer, scheme, seed };
    let journey = forward(&site, head, verdict, &mut answer, client, timer, report).await;
    let stays = verdict.keep_alive && spell.watch.phase() == Phase::Run;
    let effective = report.target.map_or(&gateway.effective, |target| &target.effective);
    let drain = effective.limits.drain;
    let last = !verdict.keep_alive;
    let mut turn = Turn { client, timer, head, report, stays, last, drain };
    match journey {
        Journey::Answer(exchange, came) => turn.answer(exchange, came, &mut answer, verdict).await,
        Journey::Tunnel(exchange) => {
            // Boxed as every rare way is: the room of all ways is paid for by each busy spell.
            let Turn { client, timer, report, .. } = turn;
            Box::pin(upgrade::tunnel(client, timer, report, exchange, &answer, spell.watch)).await
        }
        Journey::Own(reply) => Box::pin(turn.own(reply, verdict)).await,
        Journey::Gone => {
            turn.report.status = 499;
            turn.report.reason = "client_gone";
            After::Close
        }
    }
}

/// Answers a request that was refused before it had a meaning.
pub(super) async fn refuse(
    client: &mut Client,
    head: &Head,
    (status, word): (u16, &'static str),
    gateway: &Arc<Gateway>,
    spell: &Spell<'_>,
    timer: &mut Timer,
) -> After {
    let mut report = Report::new(Instant::now());
    let came = spell.telemetry.access.is_on().then(|| super::report::Came::of(head));
    let mut turn =
        Turn { client, timer, head, report: &mut report, stays: false, last: false, drain: 0 };
    turn.write_own(&Reply::own(status, word), Version::Http11, Method::Get).await;
    report.bytes_out = client.given.load(Relaxed);
    client.out.give_up();
    report.end(gateway, head, came.as_ref(), &client.origin, spell.telemetry);
    After::Linger
}

/// Counts a head that never came to its end: its client went away, or a drain cut it.
pub(super) fn unfinished(client: &mut Client, head: &Head, gateway: &Gateway, spell: &Spell<'_>) {
    // Empty lines between requests are none (RFC 9112 2.2).
    if client.buf.data().iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
        return;
    }
    let mut report = Report::new(Instant::now());
    (report.status, report.reason) = (499, "client_gone");
    if spell.watch.phase() == Phase::Cut {
        client.stream.reset_on_close();
        report.status = 0;
        report.cut();
    }
    let came = spell.telemetry.access.is_on().then(|| super::report::Came::of(head));
    report.end(gateway, head, came.as_ref(), &client.origin, spell.telemetry);
}

/// The answering half of a request.
struct Turn<'a, 'g> {
    client: &'a mut Client,
    timer: &'a mut Timer,
    head: &'a Head,
    report: &'a mut Report<'g>,
    /// Whether the connection may carry another request.
    stays: bool,
    /// Whether the client said that it will not.
    last: bool,
    /// `limits.drain`
    drain: u64,
}

impl Turn<'_, '_> {
    /// Writes a backend's answer.
    async fn answer(
        &mut self,
        mut exchange: Box<Exchange>,
        came: ResponseVerdict,
        answer: &mut Head,
        verdict: RequestVerdict,
    ) -> After {
        let old = self.head.version() == Version::Http10;
        let framing = framing_to_client(came.body, old);
        // A client that was never told to go on may or may not send its body: nobody can know
        // where its next request begins.
        let unasked = verdict.expect_continue && !self.client.machine.is_body_done();
        // As little is known of what follows a handshake that was refused.
        let sure = !unasked && !verdict.websocket;
        let stays = self.stays && framing != BodyLength::UntilClose && sure;
        let connection = connection_field(stays, old);
        let keep_length = came.body == BodyLength::None;
        // What is left of interim answers goes out whatever becomes of this one.
        let interim = self.client.out.data().len();
        http1::response_head(answer, framing, keep_length, connection, &mut self.client.out);
        self.report.status = answer.status();
        let (sent, result) = relay(&mut exchange, self.client, framing, self.timer).await;
        self.report.first_byte = exchange.first_byte;
        match result {
            Ok(()) => {
                exchange.finish(self.report.over());
                self.next(stays, unasked).await
            }
            // Nothing was passed on yet, so it can still be said what happened.
            Err(Cut::Upstream(error)) if sent == 0 => {
                self.client.out.truncate(interim);
                Box::pin(self.broken(exchange, error)).await
            }
            Err(cut) => self.cut(exchange, cut),
        }
    }

    /// The answer broke before its first byte went to the client.
    async fn broken(&mut self, exchange: Box<Exchange>, error: Error) -> After {
        let failed = exchange.fail(error);
        let reply = Reply::own(super::broken::status(&failed.error), failed.error.word());
        failed.lease.settle(super::broken::outcome(&failed.error, false));
        self.stays = false;
        if self.write_own(&reply, self.head.version(), self.head.method()).await {
            After::Linger
        } else {
            After::Close
        }
    }

    /// An answer that could not be finished must not look finished.
    fn cut(&mut self, exchange: Box<Exchange>, cut: Cut) -> After {
        self.client.stream.reset_on_close();
        match cut {
            Cut::Upstream(error) => {
                self.report.reason = super::broken::cut_fault(&error).1;
                let failed = exchange.fail(error);
                let outcome = super::broken::outcome(&failed.error, false);
                failed.lease.settle(outcome);
            }
            Cut::Client => self.report.reason = "client_gone",
            Cut::ClientIdle => self.report.reason = "client_timeout_idle",
        }
        After::Close
    }

    /// Writes our own answer.
    async fn own(&mut self, reply: Box<Reply>, verdict: RequestVerdict) -> After {
        let unasked = verdict.expect_continue && !self.client.machine.is_body_done();
        let stays = self.stays && !unasked && !reply.is_refusal();
        self.stays = stays;
        // Nothing is waited for: a client that asks without end would keep the worker to itself.
        tokio::task::coop::consume_budget().await;
        if !self.write_own(&reply, self.head.version(), self.head.method()).await {
            return After::Close;
        }
        if reply.is_refusal() {
            return After::Linger;
        }
        self.next(stays, unasked).await
    }

    async fn write_own(&mut self, reply: &Reply, version: Version, method: Method) -> bool {
        self.report.status = reply.status();
        self.report.reason = reply.reason();
        self.report.own = reply.is_own();
        reply.write(version, self.stays, method == Method::Head, &mut self.client.out);
        let (client, timer) = (&mut *self.client, &mut *self.timer);
        let mut armed = false;
        poll_fn(|cx| {
            if let Poll::Ready(done) = client.poll_flush(cx) {
                return Poll::Ready(done.is_ok());
            }
            if !armed {
                armed = true;
                timer.set(Some(Instant::now() + WRITE));
            }
            timer.poll(cx).map(|()| false)
        })
        .await
    }

    /// After an answer: the rest of the request's body is read within its limit, or it was the last.
    async fn next(&mut self, stays: bool, unasked: bool) -> After {
        if !self.client.machine.is_body_done() && (unasked || !Box::pin(self.discard()).await) {
            return After::Linger;
        }
        self.client.machine.answered(stays);
        let ended = self.report.over().ended();
        // Who said that nothing more comes, and sent nothing more, loses nothing by a close; but a
        // large answer may still be on its way, and a late byte would destroy what is left of it. Old
        // clients send such a byte behind a body.
        let sent = *self.client.given.get_mut() <= FLIGHT && self.client.length() == Length::Empty;
        let done = self.last && sent && self.client.buf.data().is_empty();
        match stays {
            true => After::KeepAlive(ended),
            false if done && !self.client.stream.is_readable() => After::Close,
            false => After::Linger,
        }
    }

    async fn discard(&mut self) -> bool {
        let most = self.client.body_taken() + self.drain;
        let (client, timer) = (&mut *self.client, &mut *self.timer);
        timer.set(Some(Instant::now() + WRITE));
        poll_fn(|cx| match client.poll_discard(cx, most) {
            Poll::Ready(done) => Poll::Ready(done.is_ok()),
            Poll::Pending => timer.poll(cx).map(|()| false),
        })
        .await
    }
}

/// So much of an answer is with the client at once: less than the first window of TCP, ten segments
/// (RFC 6928).
const FLIGHT: u64 = 8 << 10;

/// How long a client may take to read our own short answer, or to finish an upload whose answer it has.
const WRITE: std::time::Duration = std::time::Duration::from_secs(5);

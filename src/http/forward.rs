//! The journey of one request, top to bottom: judged, routed, made ready, sent to a backend and,
//! where that broke without harm, to another one; what comes back is an answer, or our own.
//!
//! Knows no version of HTTP/1 or 2: whoever carries the client's side copies the answer.
use super::attempt::{attempt, host_sent};
use super::choose::{Chosen, choose};
use super::downstream::Downstream;
use super::gateway::{Gateway, Target};
use super::headers;
use super::hedge::Race;
use super::relay::is_too_long;
use super::reply::Reply;
use super::report::Report;
use super::tries::{Next, Tries, With};
use crate::http1::{BodyLength, RequestVerdict, ResponseVerdict};
use crate::message::{Head, Pressure, memory};
use crate::net::Timer;
use crate::upstream::{Dialer, Exchange, Heard, Outgoing};
use std::sync::Arc;
use std::time::Duration;

/// What a request needs besides itself.
pub(super) struct Site<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) dialer: &'a Arc<Dialer>,
    /// `http` or `https`, as the client sees it.
    pub(super) scheme: &'static str,
    /// Randomness, fresh for each request.
    pub(super) seed: u64,
    /// Whether anybody wants to know how long the first byte takes.
    pub(super) timed: bool,
}

/// How a request's journey ended.
pub(super) enum Journey {
    /// An answer of a backend; its head is ready to be written.
    Answer(Box<Exchange>, ResponseVerdict),
    /// A backend switched protocols; its head is ready to be written.
    Tunnel(Box<Exchange>),
    /// Our own answer.
    Own(Box<Reply>),
    /// The client went away.
    Gone,
}

/// Carries one request from its head to the head of its answer.
pub(super) async fn forward<'g>(
    site: &Site<'g>,
    head: &mut Head,
    verdict: RequestVerdict,
    answer: &mut Head,
    client: &mut dyn Downstream,
    timer: &mut Timer,
    report: &mut Report<'g>,
) -> Journey {
    if memory().pressure() == Pressure::Refuse {
        site.gateway.cells.limit_hits.inc("memory");
        return Journey::Own(Box::new(Reply::own(503, "memory")));
    }
    if !headers::method_allowed(head.method()) {
        return Journey::Own(Box::new(Reply::own(405, "method_not_allowed")));
    }
    if !headers::goes_on(head) {
        return Journey::Own(Box::new(Reply::own(204, "max_forwards")));
    }
    let chosen = match choose(site, head, client.origin(), report) {
        Ok(chosen) => chosen,
        Err(reply) => return Journey::Own(reply),
    };
    let Chosen { route, target, hash, mut shaped } = chosen;
    let limits = &target.effective.limits;
    client.bound_body(limits);
    if is_too_long(client, limits.body) {
        return Journey::Own(Box::new(Reply::own(413, "body_too_large")));
    }
    let upgrade = verdict.websocket && route.websocket;
    let trailers = headers::takes_trailers(head);
    headers::request_ready(&route.rules, head, upgrade);
    let mut teed = None;
    let copy = shaped.as_mut().and_then(|shaped| shaped.copy()).filter(|_| !upgrade);
    let client: &mut dyn Downstream = match copy {
        None => client,
        Some(drawn) => match drawn.copy(head, verdict.body, site.dialer, client) {
            Ok(copying) => &mut **teed.insert(copying),
            Err(client) => client,
        },
    };
    let keep = kept(head, verdict.body, target.effective.retry.body);
    let outgoing = Outgoing {
        head,
        host: None,
        body: verdict.body,
        upgrade,
        trailers,
        repeatable: head.method().is_idempotent() && is_whole(verdict.body, keep),
        keep,
        header: None,
        moves: false,
        fresh: false,
        timed: site.timed,
        effective: &target.effective,
        until: patience(target, client, head).map(|limit| report.begun + limit),
    };
    let hedge = route.hedge.as_ref().filter(|_| outgoing.repeatable && keep == 0 && !upgrade);
    let mut tries = Tries::new(target, hash, site.seed, report.begun);
    if let Some(shaped) = &shaped {
        tries.prefer(shaped.preferred());
    }
    let mut lease = match tries.first(report) {
        Ok(lease) => lease,
        // Boxed: to wait is the rare way, as all are that follow.
        Err(none) => match Box::pin(tries.wait(none, outgoing.until, client, report)).await {
            Ok(lease) => lease,
            Err(Some(reply)) => return Journey::Own(reply),
            Err(None) => return Journey::Gone,
        },
    };
    loop {
        let backend = report.backend.as_deref();
        let host = backend.and_then(|backend| host_sent(&target.host, head, backend));
        // For each try: a reload may have changed what is said.
        let header = target.pool.announces().map(|version| client.header(version));
        let (header, fresh) = (header.as_deref(), tries.fresh());
        let moves = tries.moves(outgoing.repeatable);
        let sent = Outgoing { host, header, fresh, moves, ..outgoing };
        let now = tries.now();
        let heard = match hedge {
            None => attempt::<false>(site.dialer, lease, &sent, now, answer, client, timer).await,
            Some(hedge) => {
                let (dialer, host) = (site.dialer, &target.host);
                let race = Race { hedge, dialer, outgoing: &sent, host };
                let came = Box::pin(race.run(lease, &mut tries, answer, client, timer)).await;
                tries.raced(&came, report);
                came
            }
        };
        let next = match heard {
            Ok((exchange, heard)) if !tries.is_unwanted(heard, head, answer) => {
                Next::Keep(exchange, heard)
            }
            Ok((exchange, heard)) => {
                let with = With { outgoing: &outgoing, client, timer, report };
                Box::pin(tries.instead(exchange, heard, answer, with)).await
            }
            Err(failed) => {
                let with = With { outgoing: &outgoing, client, timer, report };
                Box::pin(tries.after(failed, with)).await
            }
        };
        match next {
            Next::Keep(mut exchange, heard) => {
                exchange.keep_nothing();
                report.connect = exchange.connect;
                report.first_byte = exchange.first_byte;
                if let Some(shaped) = &shaped {
                    shaped.answered(exchange.lease().backend(), answer, site.scheme);
                }
                let via = &site.gateway.via;
                headers::response_ready(&route.rules, answer, heard == Heard::Switched, via);
                return match heard {
                    Heard::Answer(verdict) => Journey::Answer(exchange, verdict),
                    _ => Journey::Tunnel(exchange),
                };
            }
            Next::Again(other) => {
                lease = other;
                answer.clear();
            }
            Next::Answer(reply) => return Journey::Own(reply),
            Next::Gone => return Journey::Gone,
        }
    }
}

/// Bytes of a body that are kept, `most` at the most: of a request that may be repeated once a backend
/// may have begun with it, unless it is known to be too long.
fn kept(head: &Head, body: BodyLength, most: usize) -> usize {
    match body {
        BodyLength::None | BodyLength::Exact(0) => 0,
        BodyLength::Exact(n) if n > most as u64 => 0,
        _ if head.method().is_idempotent() => most,
        _ => 0,
    }
}

/// Whether no byte of a body is lost where so many are kept.
fn is_whole(body: BodyLength, keep: usize) -> bool {
    match body {
        BodyLength::None => true,
        BodyLength::Exact(n) => n <= keep as u64,
        BodyLength::Chunked | BodyLength::UntilClose => false,
    }
}

/// How long all tries together may take: as long as we say, or less where the client waits less.
fn patience(target: &Target, client: &dyn Downstream, head: &Head) -> Option<Duration> {
    let ours = target.effective.timeout.request.get();
    match client.patience(head) {
        None => ours,
        Some(theirs) => Some(ours.map_or(theirs, |ours| ours.min(theirs))),
    }
}

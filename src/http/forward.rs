//! The journey of one request, top to bottom: judged, routed, made ready, sent to a backend and,
//! where that broke without harm, to another one; what comes back is an answer, or our own.
//!
//! Knows no version of HTTP/1 or 2: whoever carries the client's side copies the answer.
use super::attempt::{hear, host_sent};
use super::choose::{Chosen, Shaped, choose};
use super::downstream::Downstream;
use super::gateway::{Gateway, Target};
use super::headers;
use super::hedge::Race;
use super::relay::is_too_long;
use super::reply::Reply;
use super::report::Report;
use super::tries::{Next, Tries, With};
use super::unwanted::is_made_again;
use crate::config::Retry;
use crate::http1::{BodyLength, RequestVerdict, ResponseVerdict};
use crate::http2;
use crate::message::{Head, Method, Pressure, memory};
use crate::net::Timer;
use crate::upstream::{Dialer, Exchange, Heard, Outgoing};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a request needs besides itself.
pub(super) struct Site<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) dialer: &'a Arc<Dialer>,
    /// `http` or `https`, as the client sees it.
    pub(super) scheme: &'static str,
    /// Randomness, fresh for each request.
    pub(super) seed: u64,
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
    if let Some((status, reason)) = refused(site, head) {
        return Journey::Own(Box::new(Reply::own(status, reason)));
    }
    let chosen = match choose(site, head, client.origin(), report) {
        Ok(chosen) => chosen,
        Err(reply) => return Journey::Own(reply),
    };
    let Chosen { route, target, hash, mut shaped } = chosen;
    client.bound_body(&target.effective.limits);
    if let Some(barred) = &route.rules.asked {
        client.bar(barred);
    }
    if is_too_long(client, target.effective.limits.body) {
        return own(shaped.as_deref(), Box::new(Reply::own(413, "body_too_large")));
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
    let until = patience(target, client, head).map(|limit| report.begun + limit);
    let outgoing = outgoing(target, head, verdict.body, (upgrade, trailers), until);
    let hedge = route.hedge.as_ref().filter(|_| may_hedge(&outgoing));
    let mut tries = Tries::new(target, hash, site.seed, report.begun);
    if let Some(shaped) = &shaped {
        tries.prefer(shaped.preferred());
    }
    let mut lease = match tries.first(report) {
        Ok(lease) => lease,
        // Boxed: to wait is the rare way, as all are that follow.
        Err(none) => match Box::pin(tries.wait(none, outgoing.until, client, report)).await {
            Ok(lease) => lease,
            Err(Some(reply)) => return own(shaped.as_deref(), reply),
            Err(None) => return Journey::Gone,
        },
    };
    loop {
        let backend = report.backend.as_deref();
        let host = backend.and_then(|backend| host_sent(&target.host, head, backend));
        // For each try: a reload may have changed what is said.
        let header = target.pool.announces().map(|version| client.header(version));
        let header = header.as_deref();
        let sent = tries.outgoing(Outgoing { host, header, ..outgoing });
        let now = tries.now();
        let traced;
        let sent = match &mut report.trace {
            None => sent,
            Some(trace) => {
                let whom = backend.map_or(("", ""), |backend| (&backend.name, backend.written()));
                traced = trace.attempt(outgoing.head, whom, now);
                Outgoing { head: &traced, ..sent }
            }
        };
        let heard = match hedge {
            None => {
                let begun = match site.dialer.reuse(lease, &sent, now) {
                    Ok(exchange) => Ok(exchange),
                    Err(lease) => Box::pin(site.dialer.connect(lease, &sent, now)).await,
                };
                match begun {
                    Ok(exchange) => hear::<false>(exchange, &sent, answer, client, timer).await,
                    Err(failed) => Err(failed),
                }
            }
            Some(hedge) => {
                let (dialer, host) = (site.dialer, &target.host);
                let unwanted = &target.effective.retry.on.statuses;
                let race = Race { hedge, dialer, outgoing: &sent, host, unwanted };
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
                if let Some(shaped) = &shaped {
                    shaped.answered(exchange.lease().backend(), tries.is_outrun(), answer);
                }
                let via = &site.gateway.via;
                headers::response_ready(&route.rules, answer, heard == Heard::Switched, via);
                if let Some(barred) = &route.rules.answered {
                    exchange.bar(barred);
                }
                return kept(exchange, heard, report);
            }
            Next::Kept(backend, body) => {
                if let Some(shaped) = &shaped {
                    shaped.answered(&backend, false, answer);
                }
                headers::response_ready(&route.rules, answer, false, &site.gateway.via);
                return Journey::Own(Box::new(Reply::of_backend(answer, body)));
            }
            Next::Again(other) => {
                lease = other;
                answer.clear();
            }
            Next::Answer(reply) => return own(shaped.as_deref(), reply),
            Next::Gone => return Journey::Gone,
        }
    }
}

/// An answer of our own to a request whose route is known.
#[cold]
fn own(shaped: Option<&Shaped<'_>>, mut reply: Box<Reply>) -> Journey {
    if let Some(shaped) = shaped {
        shaped.own(&mut reply);
    }
    Journey::Own(reply)
}

/// Why a request is answered before anything is looked up for it, if it is.
#[inline(always)]
fn refused(site: &Site<'_>, head: &mut Head) -> Option<(u16, &'static str)> {
    if memory().pressure() == Pressure::Refuse {
        site.gateway.cells.limit_hits.inc("memory");
        return Some((503, "memory"));
    }
    if !headers::method_allowed(head.method()) {
        return Some((405, "method_not_allowed"));
    }
    if headers::goes_on(head) { None } else { Some((204, "max_forwards")) }
}

/// What all tries of a request have in common.
#[inline(always)]
fn outgoing<'a>(
    target: &'a Target,
    head: &'a Head,
    body: BodyLength,
    (upgrade, trailers): (bool, bool),
    until: Option<Instant>,
) -> Outgoing<'a> {
    let call = head.method() == Method::Post && http2::is_call(head);
    let keep = bytes_kept(head, body, call, &target.effective.retry);
    Outgoing {
        head,
        host: None,
        body,
        upgrade,
        trailers,
        call,
        repeatable: head.method().is_idempotent() && is_whole(body, keep),
        keep,
        header: None,
        moves: false,
        leaves: false,
        asks: (None, 0),
        fresh: false,
        effective: &target.effective,
        until,
    }
}

/// Whether it may be sent to two at once: nothing of a body would have to be split between them.
fn may_hedge(outgoing: &Outgoing<'_>) -> bool {
    outgoing.repeatable && outgoing.keep == 0 && !outgoing.upgrade
}

/// The answer that the client gets.
#[inline(always)]
fn kept(mut exchange: Box<Exchange>, heard: Heard, report: &mut Report<'_>) -> Journey {
    exchange.keep_nothing();
    report.turn = exchange.begun();
    report.connect = exchange.connect;
    report.first_byte = exchange.first_byte;
    match heard {
        Heard::Answer(verdict) => Journey::Answer(exchange, verdict),
        _ => Journey::Tunnel(exchange),
    }
}

/// Bytes of a body that are kept, `retry.body` at the most: of a request that may be repeated once a
/// backend may have begun with it, unless it is known to be too long.
fn bytes_kept(head: &Head, body: BodyLength, call: bool, retry: &Retry) -> usize {
    match body {
        BodyLength::None | BodyLength::Exact(0) => 0,
        BodyLength::Exact(n) if n > retry.body as u64 => 0,
        _ if head.method().is_idempotent() || (call && is_made_again(retry)) => retry.body,
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

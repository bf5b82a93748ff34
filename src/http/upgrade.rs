//! After 101: the connection is a WebSocket, carried until it ends or until it is to be ended.
use super::client::Client;
use super::leaving::leaving;
use super::report::Report;
use super::request::After;
use crate::drain::Watch;
use crate::http1::{self, BodyLength};
use crate::message::{Chunk, Head};
use crate::net::{self, Ended, Goodbye, Timer, TwoWay};
use crate::pool::Outcome;
use crate::upstream::Exchange;
use crate::websocket::Closing;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;

/// Writes the 101 and carries both directions until they end.
pub(super) async fn tunnel(
    client: &mut Client,
    timer: &mut Timer,
    report: &mut Report<'_>,
    exchange: Box<Exchange>,
    answer: &Head,
    watch: &Watch,
) -> After {
    http1::response_head(answer, BodyLength::None, false, Some("Upgrade"), &mut client.out);
    report.status = answer.status();
    report.tunnelled = true;
    let (mut upstream, from_backend, lease) = exchange.into_tunnel();
    client.machine.switched();
    let mut first = std::mem::replace(&mut client.out, Chunk::none());
    let head = first.data().len();
    first.extend(from_backend.data());
    let from_client = std::mem::replace(&mut client.buf, Chunk::none());
    let how = report.target.map_or(TwoWay { idle: None, max: None }, |target| {
        let timeout = &target.effective.timeout;
        TwoWay { idle: timeout.tunnel.get(), max: timeout.tunnel_max.get() }
    });
    let Client { stream, given, tunnelled, .. } = client;
    let moved = |there, back| {
        tunnelled.fetch_add(there, Relaxed);
        given.fetch_add(back, Relaxed);
    };
    let mut closing = Closing::behind(head);
    let ended = {
        let drained = async {
            watch.graceful().await;
            watch.until()
        };
        let goodbye = Goodbye { closing: &mut closing, due: pin!(leaving(drained, &lease)) };
        let ends = (stream, &mut *upstream);
        tokio::select! {
            biased;
            copied = net::websocket(ends, [from_client, first], how, timer, &moved, goodbye) => Some(copied.ended),
            // Its backend was drained or removed, and the time for that is over.
            () = lease.over() => None,
        }
    };
    let (reason, outcome) = verdict(ended, &closing);
    report.reason = reason;
    lease.settle(outcome);
    // What the client still says must not destroy the Close it was sent.
    if reason == "going_away" { After::Linger } else { After::Close }
}

/// How a WebSocket ended, for the log and for the backend. One that was told Close by us ended by
/// that, however its ends took it.
pub(super) fn verdict(ended: Option<Ended>, closing: &Closing) -> (&'static str, Outcome) {
    match ended {
        Some(_) if closing.is_told() => ("going_away", Outcome::Answered(101)),
        Some(Ended::Left(_) | Ended::Right(_)) if closing.is_over() => {
            ("-", Outcome::Answered(101))
        }
        Some(Ended::Done | Ended::Closed) => ("-", Outcome::Answered(101)),
        Some(Ended::Idle) => ("timeout_tunnel", Outcome::Answered(101)),
        Some(Ended::Max) => ("timeout_tunnel_max", Outcome::Answered(101)),
        Some(Ended::Left(_)) => ("client_reset", Outcome::Abandoned),
        Some(Ended::Right(_)) => ("upstream_reset", Outcome::Failed),
        None => ("drain_cut", Outcome::Answered(101)),
    }
}

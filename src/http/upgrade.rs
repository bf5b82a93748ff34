//! After 101: the connection is a tunnel for another protocol (WebSocket).
use super::client::Client;
use super::report::Report;
use super::request::After;
use crate::http1::{self, BodyLength};
use crate::message::{Chunk, Head};
use crate::net::{self, Ended, Timer, TwoWay};
use crate::pool::Outcome;
use crate::upstream::Exchange;
use std::sync::atomic::Ordering::Relaxed;

/// Writes the 101 and carries both directions until they end.
pub(super) async fn tunnel(
    client: &mut Client,
    timer: &mut Timer,
    report: &mut Report<'_>,
    exchange: Box<Exchange>,
    answer: &Head,
) -> After {
    http1::response_head(answer, BodyLength::None, false, Some("Upgrade"), &mut client.out);
    report.status = answer.status();
    let (mut upstream, from_backend, lease) = exchange.into_tunnel();
    client.machine.switched();
    let mut first = std::mem::replace(&mut client.out, Chunk::none());
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
    let ended = tokio::select! {
        biased;
        copied = net::two_way(stream, &mut upstream, from_client, first, how, timer, &moved) => Some(copied.ended),
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
    lease.settle(outcome);
    After::Close
}

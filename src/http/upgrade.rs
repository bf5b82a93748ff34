//! After 101: the connection is a tunnel for another protocol (WebSocket).
use super::client::Client;
use super::report::Report;
use super::request::After;
use crate::http1::{self, BodyLength};
use crate::message::{Chunk, Head};
use crate::net::{self, Ended, Timer, TwoWay};
use crate::pool::Outcome;
use crate::upstream::Exchange;

/// Writes the 101 and carries both directions until they end.
pub(super) async fn tunnel(
    client: &mut Client,
    timer: &mut Timer,
    report: &mut Report,
    exchange: Box<Exchange>,
    answer: &Head,
) -> After {
    http1::response_head(answer, BodyLength::None, false, Some("Upgrade"), &mut client.out);
    report.status = answer.status();
    let (mut upstream, from_backend, lease) = exchange.into_tunnel();
    let timeout = report.timeout.clone().unwrap_or_default();
    client.machine.switched();
    let mut first = std::mem::replace(&mut client.out, Chunk::none());
    first.extend(from_backend.data());
    let from_client = std::mem::replace(&mut client.buf, Chunk::none());
    let how = TwoWay { idle: timeout.tunnel.get(), max: timeout.tunnel_max.get() };
    let copied =
        net::two_way(&mut client.stream, &mut upstream, from_client, first, how, timer, &|_, _| {})
            .await;
    lease.backend().cells.open.add(-1);
    report.bytes_out = copied.right_to_left;
    report.tunnel_in = copied.left_to_right;
    let (reason, outcome) = match copied.ended {
        Ended::Done => ("-", Outcome::Answered(101)),
        Ended::Idle => ("tunnel_idle", Outcome::Answered(101)),
        Ended::Max => ("tunnel_max", Outcome::Answered(101)),
        Ended::Left(_) => ("client_reset", Outcome::Abandoned),
        Ended::Right(_) => ("upstream_cut", Outcome::Failed),
    };
    report.reason = reason;
    lease.settle(outcome);
    After::Close
}

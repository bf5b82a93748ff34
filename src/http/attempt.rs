//! One try of a request: begun on a kept connection or a new one, and heard until its answer's head.
use super::downstream::Downstream;
use super::headers;
use crate::config::HostSent;
use crate::message::{Head, Known, Version};
use crate::net::Timer;
use crate::pool::{Backend, Lease};
use crate::upstream::{Dialer, Error, Exchange, Failed, Heard, Outgoing};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

/// Sends a request to the backend of a lease; ready with the head of its answer.
///
/// `RACED` tells nothing: the journey's usual way has its own copy of this code, which the compiler then
/// draws together with it.
pub(super) async fn attempt<const RACED: bool>(
    dialer: &Arc<Dialer>,
    lease: Lease,
    outgoing: &Outgoing<'_>,
    now: Instant,
    answer: &mut Head,
    client: &mut dyn Downstream,
    timer: &mut Timer,
) -> Result<(Box<Exchange>, Heard), Box<Failed>> {
    let exchange = match dialer.reuse(lease, outgoing, now) {
        Ok(exchange) => exchange,
        Err(lease) => Box::pin(dialer.connect(lease, outgoing, now)).await?,
    };
    hear::<RACED>(exchange, outgoing, answer, client, timer).await
}

/// The Host a backend sees; `None` keeps the request's own. One of HTTP/1.0 may have none: what
/// goes out always has one.
pub(super) fn host_sent<'a>(
    host: &'a HostSent,
    head: &Head,
    backend: &'a Backend,
) -> Option<&'a [u8]> {
    match host {
        HostSent::Preserve if head.has(Known::Host) || head.authority().is_some() => None,
        HostSent::Name(name) => Some(name.as_bytes()),
        HostSent::Preserve | HostSent::Backend => Some(backend.written().as_bytes()),
    }
}

/// Waits for the head of the answer; interim answers are relayed when they come. A broken try gives
/// the client's body back what is here of it.
async fn hear<const RACED: bool>(
    mut exchange: Box<Exchange>,
    outgoing: &Outgoing<'_>,
    answer: &mut Head,
    client: &mut dyn Downstream,
    timer: &mut Timer,
) -> Result<(Box<Exchange>, Heard), Box<Failed>> {
    let mut interim = 0;
    loop {
        let broke = match exchange.head(answer, client, timer).await {
            Ok(Heard::Interim) if interim < outgoing.effective.limits.interim => None,
            Ok(Heard::Interim) => Some(Error::Interim),
            Ok(heard) => return Ok((exchange, heard)),
            Err(error) => Some(error),
        };
        if let Some(error) = broke {
            exchange.give_back(client);
            return Err(exchange.fail(error));
        }
        interim += 1;
        Box::pin(pass_on(answer, outgoing.head.version(), client)).await;
    }
}

/// Passes an interim answer on to the client.
async fn pass_on(answer: &mut Head, version: Version, client: &mut dyn Downstream) {
    headers::interim_ready(answer);
    poll_fn(|cx| {
        client.interim(cx, answer, version);
        Poll::Ready(())
    })
    .await;
    answer.clear();
}

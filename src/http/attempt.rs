//! One try of a request: begun on a kept connection or a new one, and heard until its answer's head.
use super::downstream::Downstream;
use super::headers;
use crate::config::HostSent;
use crate::message::{Head, Known, Version};
use crate::net::Timer;
use crate::pool::{Backend, Lease};
use crate::upstream::{Dialer, Error, Exchange, Failed, Heard, Outgoing};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// What a try came to: an answer, whose head is in its place, or not.
pub(super) type Came = Result<(Box<Exchange>, Heard), Box<Failed>>;

/// Sends a request to the backend of a lease; ready with the head of its answer.
pub(super) async fn attempt(
    dialer: &Arc<Dialer>,
    lease: Lease,
    outgoing: &Outgoing<'_>,
    now: Instant,
    answer: &mut Head,
    client: &mut dyn Downstream,
    timer: &mut Timer,
) -> Came {
    let exchange = match dialer.reuse(lease, outgoing, now) {
        Ok(exchange) => exchange,
        Err(lease) => Box::pin(dialer.connect(lease, outgoing, now)).await?,
    };
    hear::<true>(exchange, outgoing, answer, client, timer).await
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
        HostSent::Preserve | HostSent::Backend => Some(backend.host().as_bytes()),
    }
}

/// Waits for the head of the answer; interim answers are relayed when they come. A broken try gives
/// the client's body back what is here of it.
///
/// `RACED` tells nothing: the journey's usual way has its own copy of this code, which the compiler then
/// draws together with it.
#[inline(always)]
pub(super) fn hear<'a, const RACED: bool>(
    exchange: Box<Exchange>,
    outgoing: &'a Outgoing<'a>,
    answer: &'a mut Head,
    client: &'a mut dyn Downstream,
    timer: &'a mut Timer,
) -> impl Future<Output = Came> + 'a {
    let (mut under_way, mut first, mut interim) = (Some(exchange), true, 0);
    poll_fn(move |cx| {
        loop {
            let exchange = under_way.as_mut().expect("polled until it is ready");
            let heard = ready!(exchange.poll_head(cx, answer, client, timer, &mut first));
            let exchange = match heard {
                Ok(Heard::Interim) if interim < outgoing.effective.limits.interim => {
                    (first, interim) = (true, interim + 1);
                    pass_on(cx, answer, outgoing.head.version(), client);
                    continue;
                }
                _ => under_way.take().expect("polled until it is ready"),
            };
            return Poll::Ready(match heard {
                Ok(Heard::Interim) => Err(broken(exchange, Error::Interim, client)),
                Ok(heard) => Ok((exchange, heard)),
                Err(error) => Err(broken(exchange, error, client)),
            });
        }
    })
}

/// Passes an interim answer on to the client.
#[cold]
fn pass_on(cx: &mut Context<'_>, answer: &mut Head, version: Version, client: &mut dyn Downstream) {
    headers::interim_ready(answer);
    client.interim(cx, answer, version);
    answer.clear();
}

#[cold]
fn broken(mut exchange: Box<Exchange>, error: Error, client: &mut dyn Downstream) -> Box<Failed> {
    exchange.give_back(client);
    exchange.fail(error)
}

//! One client connection: waits while idle, reads requests, has each forwarded, in order.
//!
//! While idle it holds no buffer and no request future, only its socket, its place in the drain's
//! book and a timer; a busy spell is a future of its own that is freed at the next idle moment.
use super::client::{Client, Read};
use super::gateway::Gateway;
use super::request::{After, Spell, refuse, request};
use crate::drain::{Phase, Watch};
use crate::http1::{HeadLimits, Refusal};
use crate::message::{Chunk, Head};
use crate::net::{Peer, Stream, Timer};
use crate::telemetry::AccessLog;
use crate::upstream::Dialer;
use arc_swap::ArcSwap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// After a last answer, what the client still sends is read for so long, so that the kernel does
/// not destroy the answer with a reset.
const LINGER: Duration = Duration::from_secs(2);

/// Carries one client connection to its end. Each request reads the slot anew.
pub async fn serve(
    stream: Stream,
    peer: Peer,
    slot: Arc<ArcSwap<Gateway>>,
    watch: &Watch,
    dialer: &Arc<Dialer>,
    access: &AccessLog,
) {
    let (mut client, mut limit) = {
        let gateway = slot.load();
        let limits = &gateway.effective.limits;
        let head = HeadLimits { head: limits.head, fields: limits.fields, target: limits.target };
        (Client::new(stream, peer, head, limits.trailers), gateway.effective.timeout.header.get())
    };
    let mut timer = Timer::new();
    loop {
        let now = Instant::now();
        timer.start(now, limit.map(|limit| now + limit));
        if !is_wanted(&mut client, watch, &mut timer, now).await {
            return;
        }
        let spell = Spell { slot: &slot, watch, dialer, access };
        // Boxed, so that an idle connection's task does not hold the room of a busy one.
        let busy: Pin<Box<dyn Future<Output = Option<Duration>> + Send + '_>> =
            Box::pin(busy(&mut client, &mut timer, spell));
        match until_cut(watch, busy).await {
            Some(Some(keep_alive)) => {
                limit = Some(keep_alive).filter(|limit| *limit != Duration::MAX)
            }
            _ => return,
        }
    }
}

/// Waits for the next request: `false` when time is up or the connection was asked to leave.
async fn is_wanted(client: &mut Client, watch: &Watch, timer: &mut Timer, now: Instant) -> bool {
    watch.idle(now);
    let ready = poll_fn(|cx| {
        watch.register(cx);
        if watch.is_told_to_leave() {
            return Poll::Ready(false);
        }
        if client.stream.poll_read_ready(cx).is_ready() {
            return Poll::Ready(true);
        }
        timer.poll(cx).map(|()| false)
    })
    .await;
    watch.busy() && ready
}

/// Runs a busy spell unless the group is cut.
async fn until_cut<T>(
    watch: &Watch,
    mut busy: Pin<Box<dyn Future<Output = T> + Send + '_>>,
) -> Option<T> {
    poll_fn(|cx| match watch.phase() {
        Phase::Cut => Poll::Ready(None),
        _ => busy.as_mut().poll(cx).map(Some),
    })
    .await
}

/// Serves requests until none is at hand: how long the next one may take to come, or `None` when
/// the connection is over.
async fn busy(client: &mut Client, timer: &mut Timer, spell: Spell<'_>) -> Option<Duration> {
    let mut head = Head::new();
    loop {
        let gateway = spell.slot.load_full();
        let timeout = &gateway.effective.timeout;
        match next_head(client, &mut head, timer, timeout.header.get()).await {
            Ok(Some(Read::Idle)) => return Some(timeout.keep_alive.get().unwrap_or(Duration::MAX)),
            Ok(Some(Read::Closed)) => return None,
            Ok(Some(Read::Request(verdict))) => {
                match request(client, &mut head, verdict, &gateway, timer, &spell).await {
                    // What the kernel has of the next one is for the idle connection to see.
                    After::KeepAlive if client.buf.data().is_empty() => {
                        client.buf = Chunk::none();
                        return Some(timeout.keep_alive.get().unwrap_or(Duration::MAX));
                    }
                    After::KeepAlive => head.clear(),
                    After::Linger => {
                        return Box::pin(linger(client, timer, gateway.effective.limits.drain))
                            .await;
                    }
                    After::Close => return None,
                }
            }
            Ok(None) => {
                // Not the client's fault if we had no memory to read it.
                let said =
                    if client.is_short() { (503, "memory") } else { (408, "timeout_header") };
                Box::pin(refuse(client, &mut head, said, &gateway, &spell, timer)).await;
                return Box::pin(linger(client, timer, gateway.effective.limits.drain)).await;
            }
            Err(refusal) => {
                let said = (refusal.rule.status(), refusal.rule.word());
                Box::pin(refuse(client, &mut head, said, &gateway, &spell, timer)).await;
                return Box::pin(linger(client, timer, gateway.effective.limits.drain)).await;
            }
        }
    }
}

/// The next request head; `None` when `timeout.header` passed.
async fn next_head(
    client: &mut Client,
    head: &mut Head,
    timer: &mut Timer,
    limit: Option<Duration>,
) -> Result<Option<Read>, Refusal> {
    let mut armed = false;
    poll_fn(|cx| {
        if let Poll::Ready(read) = client.poll_head(cx, head) {
            return Poll::Ready(read.map(Some));
        }
        if !armed {
            armed = true;
            let now = Instant::now();
            timer.start(now, limit.map(|limit| now + limit));
        }
        timer.poll(cx).map(|()| Ok(None))
    })
    .await
}

/// Ends our direction and reads on for a moment.
async fn linger(client: &mut Client, timer: &mut Timer, mut most: u64) -> Option<Duration> {
    timer.set(Some(Instant::now() + LINGER));
    if client.stream.shutdown_write().is_ok() {
        poll_fn(|cx| match client.poll_linger(cx, &mut most) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => timer.poll(cx),
        })
        .await;
    }
    None
}

//! One client connection: waits while idle, reads requests, has each forwarded, in order.
//!
//! While idle it holds no buffer and no request future, only its socket, its place in the drain's
//! book and a timer; a busy spell is a future of its own that is freed when none came for a while.
use super::client::{Client, Read};
use super::gateway::Gateway;
use super::http2::{self, Spoken};
use super::request::{After, Spell, refuse, request, unfinished};
use crate::arrival::Arrival;
use crate::config::{Alpn, Effective};
use crate::drain::{Phase, Watch};
use crate::http1::{Refusal, Rule};
use crate::message::Head;
use crate::net::{Stream, Timer};
use crate::telemetry::Telemetry;
use crate::upstream::Dialer;
use arc_swap::{ArcSwap, Cache};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// After a last answer, what the client still sends is read for so long, so that the kernel does
/// not destroy the answer with a reset.
const LINGER: Duration = Duration::from_secs(2);

/// When its listener drains, an idle connection stays for so long: closed at once, it would fail a
/// request that is on the way.
const FAREWELL: Duration = Duration::from_millis(500);

/// For so long after a request the next one finds all as it was left; only then what a busy
/// connection needs is freed.
const WARM: Duration = Duration::from_millis(500);

/// One client connection, and what it holds while idle.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    timer: Timer,
    slot: Arc<ArcSwap<Gateway>>,
    watch: Watch,
    dialer: Arc<Dialer>,
    /// Since when it is idle, and how long the next request may take to come.
    rest: Rest,
    /// Whether it has carried a request: only then it gives way to others while it is idle.
    kept: bool,
}

impl Connection {
    /// Nothing was read yet. Each request reads the slot anew.
    pub fn new(
        stream: Stream,
        arrival: Arrival,
        slot: Arc<ArcSwap<Gateway>>,
        watch: Watch,
        dialer: Arc<Dialer>,
    ) -> Self {
        let (client, limit) = {
            let Effective { limits, timeout, .. } = &slot.load().effective;
            (Client::new(stream, arrival, limits), timeout.header.get())
        };
        let rest = (Instant::now(), limit);
        Self { client, timer: Timer::new(), slot, watch, dialer, rest, kept: false }
    }

    /// Carries it to its end.
    pub async fn serve(&mut self, telemetry: &Telemetry) {
        let agreed = self.client.stream.tls().and_then(|tls| tls.alpn_protocol());
        if agreed == Some(Alpn::H2.id()) || self.carry(telemetry).await == Over::Http2 {
            let Self { client, slot, watch, dialer, rest: (since, _), .. } = self;
            let spoken = Spoken { slot, watch, dialer, telemetry, since: *since };
            // Boxed, since it is large, and connections of HTTP/1 never need it: not even its code
            // among theirs.
            let served: Pin<Box<dyn Future<Output = ()> + Send + '_>> =
                Box::pin(http2::serve(client, spoken));
            served.await;
        }
        self.client.stream.end_tls();
    }

    async fn carry(&mut self, telemetry: &Telemetry) -> Over {
        let Self { client, timer, slot, watch, dialer, rest, kept } = self;
        loop {
            let (since, limit) = *rest;
            timer.start(Instant::now(), limit.map(|limit| since + limit));
            if *kept {
                watch.idle(since);
            }
            match woken(client, watch, timer).await {
                Woken::Request => {}
                Woken::Late => {
                    late(&slot.load(), *kept);
                    return Over::Done;
                }
                Woken::Leave => return Over::Done,
            }
            let spell = Spell { slot, watch, dialer, telemetry };
            // Boxed, so that an idle connection's task does not hold the room of a busy one; built
            // where it stays, since it is large.
            let busy = Box::write(Box::new_uninit(), busy(client, timer, spell, *kept));
            match Box::into_pin(busy).await {
                Ok(Some(next)) => (*rest, *kept) = (next, true),
                // No request was there: it waits on as before.
                Ok(None) => {}
                Err(over) => return over,
            }
        }
    }
}

/// Counts a client from whom nothing more came in time: the next request, or the first.
#[cold]
fn late(gateway: &Gateway, kept: bool) {
    let limit = if kept { "keep_alive" } else { "header" };
    gateway.cells.limit_hits.inc(limit);
}

/// How a connection of HTTP/1 ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// As connections end.
    Done,
    /// It was none: its client speaks HTTP/2, as it knew that we do.
    Http2,
}

/// What an idle connection hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// The client sent something, or closed.
    Request,
    /// Time is up.
    Late,
    /// Asked to leave.
    Leave,
}

/// Waits for the next request.
#[inline(always)]
fn woken<'a>(
    client: &'a mut Client,
    watch: &'a Watch,
    timer: &'a mut Timer,
) -> impl Future<Output = Woken> + 'a {
    let mut drained = false;
    poll_fn(move |cx| {
        let woken = ready!(poll_woken(cx, client, watch, timer, &mut drained));
        if watch.busy() {
            return Poll::Ready(woken);
        }
        // Asked to make room while its next request came: that one is served.
        let served = watch.phase() == Phase::Run && !client.stream.is_quiet();
        Poll::Ready(if served { Woken::Request } else { Woken::Leave })
    })
}

#[inline(always)]
fn poll_woken(
    cx: &mut Context<'_>,
    client: &mut Client,
    watch: &Watch,
    timer: &mut Timer,
    drained: &mut bool,
) -> Poll<Woken> {
    watch.register(cx);
    if watch.is_told_to_leave() && !*drained {
        if watch.phase() != Phase::Graceful {
            return Poll::Ready(Woken::Leave);
        }
        // A request may be on the way: it is answered, and told that it was the last.
        *drained = true;
        let at = Instant::now() + FAREWELL;
        timer.set(Some(timer.deadline().map_or(at, |deadline| deadline.min(at))));
    }
    if *drained && watch.phase() == Phase::Cut {
        return Poll::Ready(Woken::Leave);
    }
    if client.stream.poll_read_ready(cx).is_ready() {
        return Poll::Ready(Woken::Request);
    }
    timer.poll(cx).map(|()| if *drained { Woken::Leave } else { Woken::Late })
}

/// Since when a connection is idle, and how long the next request may take to come.
type Rest = (Instant, Option<Duration>);

/// Serves requests until none has come for a while, and says how it rests after the last one, if
/// there was any. `kept`: it has carried requests before.
///
/// # Errors
///
/// [`Over`] when the connection is.
async fn busy(
    client: &mut Client,
    timer: &mut Timer,
    spell: Spell<'_>,
    kept: bool,
) -> Result<Option<Rest>, Over> {
    let mut head = Head::new();
    let mut rest = None;
    // Looked up at once while it is the same; one that is no more is kept no longer than the spell.
    let mut slot = Cache::new(spell.slot);
    loop {
        let gateway = slot.load();
        let Effective { timeout, limits, .. } = &gateway.effective;
        client.bound_heads(limits);
        let after =
            match next_head(client, &mut head, timer, timeout.header.get(), spell.watch).await {
                Ok(Some(Read::Idle)) => return Ok(rest),
                Ok(Some(Read::Closed)) => {
                    unfinished(client, &head, gateway, &spell);
                    return Err(Over::Done);
                }
                Ok(Some(Read::Request(verdict))) => {
                    request(client, &mut head, verdict, gateway, timer, &spell).await
                }
                // Not the client's fault if we had no memory to read it.
                Ok(None) if client.is_short() => {
                    Box::pin(refuse(client, &head, (503, "memory"), gateway, &spell, timer)).await
                }
                Ok(None) => {
                    let said = (408, "timeout_header");
                    Box::pin(refuse(client, &head, said, gateway, &spell, timer)).await
                }
                Err(refusal) if refusal.rule == Rule::Truncated => {
                    unfinished(client, &head, gateway, &spell);
                    return Err(Over::Done);
                }
                // In the clear, before any request: its first words are no HTTP/1.
                Err(refusal)
                    if refusal.rule == Rule::Version
                        && http2::begins(client.buf.data())
                        && !kept
                        && rest.is_none()
                        && client.stream.tls().is_none() =>
                {
                    return Err(Over::Http2);
                }
                Err(refusal) => {
                    let said = (refusal.rule.status(), refusal.rule.word());
                    Box::pin(refuse(client, &head, said, gateway, &spell, timer)).await
                }
            };
        let ended = match after {
            After::KeepAlive(ended) => ended,
            After::Linger => {
                Box::pin(linger(client, timer, gateway.effective.limits.drain)).await;
                return Err(Over::Done);
            }
            After::Close => return Err(Over::Done),
        };
        let keep_alive = timeout.keep_alive.get();
        rest = Some((ended, keep_alive));
        if !client.buf.data().is_empty() {
            head.clear();
            continue;
        }
        // While it waits it keeps nothing of the request.
        client.buf.give_up();
        head = Head::new();
        let warm = keep_alive.map_or(WARM, |limit| limit.min(WARM));
        timer.start(ended, Some(ended + warm));
        spell.watch.idle(ended);
        match woken(client, spell.watch, timer).await {
            Woken::Request => {}
            Woken::Late => return Ok(rest),
            Woken::Leave => return Err(Over::Done),
        }
    }
}

/// The next request head; `None` when `timeout.header` passed.
#[inline(always)]
fn next_head<'a>(
    client: &'a mut Client,
    head: &'a mut Head,
    timer: &'a mut Timer,
    limit: Option<Duration>,
    watch: &'a Watch,
) -> impl Future<Output = Result<Option<Read>, Refusal>> + 'a {
    let mut armed = false;
    poll_fn(move |cx| {
        if watch.phase() == Phase::Cut {
            return Poll::Ready(Ok(Some(Read::Closed)));
        }
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
}

/// Ends our direction and reads on for a moment.
pub(super) async fn linger(client: &mut Client, timer: &mut Timer, mut most: u64) {
    timer.set(Some(Instant::now() + LINGER));
    if client.stream.shutdown_write().is_ok() {
        poll_fn(|cx| match client.poll_linger(cx, &mut most) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => timer.poll(cx),
        })
        .await;
    }
}

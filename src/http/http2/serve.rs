//! One HTTP/2 connection: its preface, its streams, its rest between them, its end.
use super::hands::{Hands, REST};
use super::request::{Carrier, work};
use crate::config::{Effective, Http2};
use crate::drain::{Phase, Watch};
use crate::http::address::Origin;
use crate::http::client::Client;
use crate::http::gateway::Gateway;
use crate::http::serve::linger;
use crate::http1::HeadLimits;
use crate::http2::conn::{Limits, Side};
use crate::http2::{Code, PREFACE, Request};
use crate::mux::{self, Mux, Wire};
use crate::net::{Stream, Timer};
use crate::telemetry::Telemetry;
use crate::upstream::Dialer;
use arc_swap::ArcSwap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Whether these bytes can only be the beginning of a connection: HTTP/1 has no such version.
pub(in crate::http) fn begins(bytes: &[u8]) -> bool {
    let least = "PRI * HTTP/2.0\r\n".len();
    let n = bytes.len().min(PREFACE.len());
    n >= least && bytes[..n] == PREFACE[..n]
}

/// What carries a connection besides its client.
pub(in crate::http) struct Spoken<'a> {
    pub(in crate::http) slot: &'a Arc<ArcSwap<Gateway>>,
    pub(in crate::http) watch: &'a Watch,
    pub(in crate::http) dialer: &'a Arc<Dialer>,
    pub(in crate::http) telemetry: &'a Telemetry,
    /// When it came.
    pub(in crate::http) since: Instant,
}

/// Of a client's windows one stream may fill so much: an upload goes at 10 MiB a second over 100 ms.
const STREAM_WINDOW: u32 = 1 << 20;

/// After we said goodbye, whoever has no stream open is waited for so long.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its client has closed, or never said what it wants.
    Gone,
    /// Streams were cut by it.
    Cut,
    /// Its client was sent away.
    Thrown,
    /// By us, when nothing was left to be done but for its client to read.
    Left,
}

fn limits(http2: &Http2, effective: &Effective) -> Limits {
    let limits = &effective.limits;
    Limits {
        streams: http2.streams,
        window: STREAM_WINDOW.min(http2.connection_window),
        connection_window: http2.connection_window,
        send_buffer: http2.send_buffer,
        resets: http2.resets,
        local_resets: http2.local_resets,
        head: HeadLimits { head: limits.head, fields: limits.fields, target: limits.target },
    }
}

/// Carries a connection to its end.
pub(in crate::http) async fn serve(client: &mut Client, spoken: Spoken<'_>) {
    let (slot, watch) = (spoken.slot, spoken.watch);
    let end = carried(client, spoken).await;
    // Unread, what is on the way would destroy with a reset what it was told. Its windows allow for
    // no more than that.
    let most = slot.load().http2.connection_window.into();
    match end {
        End::Gone => {}
        End::Cut => client.stream.reset_on_close(),
        End::Thrown => linger(client, &mut Timer::new(), most).await,
        End::Left => {
            let idle = slot.load().effective.timeout.idle.get();
            part(client, watch, idle.unwrap_or(FAREWELL), most).await;
        }
    }
}

/// Waits until the client has what the kernel holds of its last answers, which may be megabytes, then
/// ends our direction and reads on for a moment: it may close, too. Each sign that it reads gives it
/// `idle` more.
async fn part(client: &mut Client, watch: &Watch, idle: Duration, mut most: u64) {
    let mut timer = Timer::new();
    let begun = Instant::now();
    timer.set(Some(begun + idle));
    watch.idle(begun);
    let mut taken = false;
    poll_fn(|cx| {
        watch.register(cx);
        // Others need its place.
        if watch.phase() == Phase::Cut || !watch.busy() {
            return Poll::Ready(());
        }
        let (before, now) = (most, Instant::now());
        watch.idle(now);
        if client.poll_linger(cx, &mut most).is_ready() {
            return Poll::Ready(());
        }
        if !taken && most != before {
            timer.set(Some(now + idle));
        }
        if !taken && client.stream.poll_taken(cx).is_ready() {
            taken = true;
            timer.set(Some(now + FAREWELL));
            if client.stream.shutdown_write().is_err() {
                return Poll::Ready(());
            }
        }
        timer.poll(cx)
    })
    .await;
}

/// Carries a connection to its end, and says how it was.
async fn carried(client: &mut Client, spoken: Spoken<'_>) -> End {
    let Spoken { slot, watch, dialer, telemetry, since } = spoken;
    let gateway = slot.load_full();
    let limit = gateway.effective.timeout.header.get();
    let mut timer = Timer::new();
    timer.set(limit.map(|limit| since + limit));
    let peer = client.origin.peer;
    let plain = Origin::new(crate::arrival::Arrival::plain(peer));
    let header = client.origin.header(&client.stream);
    let carrier = Arc::new(Carrier {
        header: Arc::new(header),
        origin: Arc::new(std::mem::replace(&mut client.origin, plain)),
        slot: slot.clone(),
        dialer: dialer.clone(),
        telemetry: telemetry.clone(),
        leaving: watch::Sender::new(None),
        cut: false.into(),
        unread: false.into(),
    });
    let first = std::mem::replace(&mut client.buf, crate::message::Chunk::none());
    let came = !first.data().is_empty();
    let mux = Mux::new(Side::Server, limits(&gateway.http2, &gateway.effective));
    let mut wire = Wire::new(&mut client.stream, first, mux.clone());
    drop(gateway);
    let begun = poll_fn(|cx| {
        watch.register(cx);
        if watch.phase() == Phase::Cut {
            return Poll::Ready(false);
        }
        let moved = wire.poll(cx);
        if mux.has_begun() {
            return Poll::Ready(true);
        }
        if moved.is_ready() || mux.fault().is_some() {
            if came || mux.seen() > 0 {
                slot.load().cells.http2_errors.inc("preface");
            }
            return Poll::Ready(false);
        }
        ready!(timer.poll(cx));
        slot.load().cells.limit_hits.inc("header");
        Poll::Ready(false)
    })
    .await;
    if !begun {
        return End::Gone;
    }
    let mut life = Life {
        wire,
        mux,
        hands: Hands::default(),
        carrier,
        watch,
        timer,
        until: None,
        asked: false,
        busy: false,
        leaving: false,
        thrown: false,
        unread: None,
        patience: Timer::new(),
    };
    let end = poll_fn(|cx| life.poll(cx)).await;
    life.end().await;
    end
}

/// A connection that is being carried.
struct Life<'w, 'd> {
    wire: Wire<&'w mut Stream>,
    mux: Mux,
    hands: Hands<(mux::Stream, Request)>,
    carrier: Arc<Carrier>,
    watch: &'d Watch,
    /// While it has no streams: how long the next may take to come, or what is kept for them is kept.
    timer: Timer,
    /// When it is told to leave if none comes.
    until: Option<Instant>,
    /// Whether a stream ever came.
    asked: bool,
    /// Whether it has streams.
    busy: bool,
    /// Whether we said goodbye.
    leaving: bool,
    /// Whether its client was sent away, whatever is under way.
    thrown: bool,
    /// While something waits that its client does not take: the bytes that it took before, and for
    /// how long that may be so.
    unread: Option<u64>,
    patience: Timer,
}

impl Life<'_, '_> {
    /// Ready when the connection is over, or should be.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.watch.register(cx);
        if self.watch.phase() == Phase::Cut {
            return Poll::Ready(if self.hands.is_idle() { End::Gone } else { End::Cut });
        }
        if self.watch.phase() == Phase::Graceful {
            let until = self.watch.until();
            self.carrier.leaving.send_if_modified(|said| std::mem::replace(said, until) != until);
        }
        if self.watch.is_told_to_leave() && !self.leaving {
            self.leave();
        }
        self.hands.listen(cx);
        let over = self.wire.poll(cx).is_ready();
        self.accept();
        self.hear();
        if over {
            return Poll::Ready(self.over());
        }
        self.rest();
        if self.poll_unread(cx).is_ready() {
            self.carrier.slot.load().cells.limit_hits.inc("idle");
            self.carrier.unread.store(true, Relaxed);
            return Poll::Ready(End::Cut);
        }
        match self.timer.poll(cx) {
            Poll::Ready(()) if self.thrown => Poll::Ready(End::Thrown),
            Poll::Ready(()) if self.leaving => {
                // It is there or not: what waits to be sent is all that is left to be done.
                self.timer.set(None);
                self.unread = None;
                self.mux.depart();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(()) if self.hands.dismiss() => {
                self.mux.rest();
                self.timer.set(self.until);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(()) => {
                let limit = if self.asked { "keep_alive" } else { "header" };
                self.carrier.slot.load().cells.limit_hits.inc(limit);
                self.leave();
                self.farewell();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// How it ended, where nothing is left to be done.
    fn over(&self) -> End {
        if self.wire.is_closed() {
            return End::Gone;
        }
        if self.thrown {
            return End::Thrown;
        }
        End::Left
    }

    /// How long a client may read nothing.
    fn idle(&self) -> Option<Duration> {
        self.carrier.slot.load().effective.timeout.idle.get()
    }

    /// Ready when the client has read nothing of what waits for it for too long.
    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waits = self.wire.waits();
        if waits != self.unread {
            self.unread = waits;
            let idle = self.idle().or(self.leaving.then_some(FAREWELL));
            let until = idle.filter(|_| waits.is_some()).map(|idle| Instant::now() + idle);
            self.patience.set(until);
        }
        self.patience.poll(cx)
    }

    /// Gives each new stream its task.
    fn accept(&mut self) {
        let mut any = false;
        while let Some((stream, request)) = self.mux.asked() {
            any = true;
            self.hands.give((stream, request), |place| work(self.carrier.clone(), place));
        }
        self.asked |= any;
        if any && self.hands.trim(Instant::now()) {
            self.mux.rest();
        }
    }

    /// Counts what the client was told, and whether it was sent away.
    fn hear(&mut self) {
        let (mux, slot) = (&self.mux, &self.carrier.slot);
        mux.told(|code| {
            let gateway = slot.load();
            match code.error() {
                _ if code == Code::REFUSED => gateway.cells.limit_hits.inc("streams"),
                Some(word) => gateway.cells.http2_errors.inc(word),
                None => {}
            }
        });
        if let Some(fault) = mux.fault()
            && !self.thrown
        {
            if let Some(flood) = fault.flood {
                slot.load().cells.floods.inc(flood.word());
            }
            self.thrown = true;
            self.farewell();
        }
    }

    /// Keeps the drain's book, and the time of a connection without streams.
    fn rest(&mut self) {
        let busy = !self.hands.is_idle();
        if busy == self.busy || self.thrown {
            return;
        }
        self.busy = busy;
        if busy {
            // Asked to make room while a stream came: that one is served, and told to be the last.
            if !self.watch.busy() && !self.leaving {
                self.leave();
            }
            return self.timer.set(None);
        }
        let now = Instant::now();
        if self.leaving {
            return self.farewell();
        }
        self.watch.idle(now);
        let keep_alive = self.carrier.slot.load().effective.timeout.keep_alive.get();
        self.until = keep_alive.map(|limit| now + limit);
        let rest = now + REST;
        self.timer.set(Some(self.until.map_or(rest, |until| until.min(rest))));
    }

    /// Says goodbye: what is under way, or on the way, is served; nothing else.
    fn leave(&mut self) {
        self.leaving = true;
        self.mux.leave();
        if !self.busy {
            self.farewell();
        }
    }

    fn farewell(&mut self) {
        self.leaving = true;
        self.timer.set(Some(Instant::now() + FAREWELL));
    }

    /// Ends what is left, and waits until it is counted.
    async fn end(self) {
        let Self { mux, hands, carrier, watch, .. } = self;
        let cut = watch.phase() == Phase::Cut;
        carrier.cut.store(cut, Relaxed);
        // Every stream hears that its connection is gone.
        mux.end();
        hands.end().await;
    }
}

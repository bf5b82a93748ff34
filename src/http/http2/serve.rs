//! One HTTP/2 connection: its preface, its streams, its rest between them, its end.
use super::request::{Carrier, carry};
use crate::config::{Effective, Http2};
use crate::drain::{Phase, Watch};
use crate::http::address::Origin;
use crate::http::client::Client;
use crate::http::gateway::Gateway;
use crate::http::serve::linger;
use crate::http1::HeadLimits;
use crate::http2::conn::{Limits, Side};
use crate::http2::{Code, PREFACE};
use crate::mux::{Mux, Wire};
use crate::net::{Stream, Timer};
use crate::telemetry::AccessLog;
use crate::upstream::Dialer;
use arc_swap::ArcSwap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

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
    pub(in crate::http) access: &'a AccessLog,
    /// When it came.
    pub(in crate::http) since: Instant,
}

/// Of a client's windows one stream may fill so much: an upload goes at 10 MiB a second over 100 ms.
const STREAM_WINDOW: u32 = 1 << 20;

/// After we said goodbye, whoever has no stream open is waited for so long.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a client that was sent away may have on the way: so much is read and thrown away.
const LAST: u64 = 1 << 20;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As connections end.
    Quiet,
    /// Streams were cut by it.
    Cut,
    /// Its client was sent away.
    Thrown,
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
    match carried(client, spoken).await {
        End::Quiet => {}
        End::Cut => client.stream.reset_on_close(),
        // Unread, what is on the way would destroy with a reset what it was told.
        End::Thrown => linger(client, &mut Timer::new(), LAST).await,
    }
}

/// Carries a connection to its end, and says how it was.
async fn carried(client: &mut Client, spoken: Spoken<'_>) -> End {
    let Spoken { slot, watch, dialer, access, since } = spoken;
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
        access: access.clone(),
        leaving: watch::Sender::new(None),
        cut: false.into(),
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
        return End::Quiet;
    }
    let streams = JoinSet::new();
    let mut life = Life {
        wire,
        mux,
        streams,
        carrier,
        watch,
        timer,
        asked: false,
        busy: false,
        leaving: false,
        thrown: false,
    };
    poll_fn(|cx| life.poll(cx)).await;
    let cut = life.watch.phase() == Phase::Cut && !life.streams.is_empty();
    let thrown = life.thrown;
    life.end().await;
    match (cut, thrown) {
        (true, _) => End::Cut,
        (false, true) => End::Thrown,
        (false, false) => End::Quiet,
    }
}

/// A connection that is being carried.
struct Life<'w, 'd> {
    wire: Wire<&'w mut Stream>,
    mux: Mux,
    streams: JoinSet<()>,
    carrier: Arc<Carrier>,
    watch: &'d Watch,
    /// While it has no streams: how long the next may take to come.
    timer: Timer,
    /// Whether a stream ever came.
    asked: bool,
    /// Whether it has streams.
    busy: bool,
    /// Whether we said goodbye.
    leaving: bool,
    /// Whether its client was sent away, whatever is under way.
    thrown: bool,
}

impl Life<'_, '_> {
    /// Ready when the connection is over, or should be.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.watch.register(cx);
        if self.watch.phase() == Phase::Cut {
            return Poll::Ready(());
        }
        if self.watch.phase() == Phase::Graceful {
            let until = self.watch.until();
            self.carrier.leaving.send_if_modified(|said| std::mem::replace(said, until) != until);
        }
        if self.watch.is_told_to_leave() && !self.leaving {
            self.leave();
        }
        while let Poll::Ready(Some(ended)) = self.streams.poll_join_next(cx) {
            if let Err(error) = ended
                && error.is_panic()
            {
                // Counted where those of connections are.
                std::panic::resume_unwind(error.into_panic());
            }
        }
        let over = self.wire.poll(cx).is_ready();
        self.accept();
        self.hear();
        if over {
            return Poll::Ready(());
        }
        self.rest();
        match self.timer.poll(cx) {
            Poll::Ready(()) if self.leaving => Poll::Ready(()),
            Poll::Ready(()) => {
                if !self.asked {
                    self.carrier.slot.load().cells.limit_hits.inc("header");
                }
                self.leave();
                self.farewell();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Gives each new stream its task.
    fn accept(&mut self) {
        while let Some((stream, request)) = self.mux.asked() {
            self.asked = true;
            // Boxed: the runtime moves what it is given more than once.
            self.streams.spawn(Box::pin(carry(self.carrier.clone(), stream, request)));
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
        let busy = !self.streams.is_empty();
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
        self.timer.set(keep_alive.map(|limit| now + limit));
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
        let Self { mux, mut streams, carrier, watch, .. } = self;
        let cut = watch.phase() == Phase::Cut;
        carrier.cut.store(cut, std::sync::atomic::Ordering::Relaxed);
        // Every stream hears that its connection is gone.
        mux.end();
        while let Some(ended) = streams.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

//! One HTTP/2 connection: its preface, its streams, its rest between them, its end.
use super::held::Held;
use super::request::{Carrier, carry};
use super::wire::{Alarm, Wire};
use crate::config::{Effective, Http2};
use crate::drain::{Phase, Watch};
use crate::http::address::Origin;
use crate::http::client::Client;
use crate::http::gateway::Gateway;
use crate::http::serve::linger;
use crate::net::Timer;
use crate::telemetry::AccessLog;
use crate::upstream::Dialer;
use arc_swap::ArcSwap;
use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a connection begins with (RFC 9113 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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

/// So many bytes a field costs beyond its own (RFC 9113 6.5.2), and crumbs of cookies, which are
/// one field for us, may be many.
const FIELD: usize = 32;
const CRUMBS: usize = 256;

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

fn builder(http2: &Http2, effective: &Effective) -> Builder {
    let limits = &effective.limits;
    let list = limits.head.saturating_add(FIELD * limits.fields.saturating_add(CRUMBS));
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW.min(http2.connection_window))
        .initial_connection_window_size(http2.connection_window)
        .max_concurrent_streams(http2.streams)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_send_buffer_size(http2.send_buffer)
        .max_pending_accept_reset_streams(http2.resets)
        .max_local_error_reset_streams(Some(http2.local_resets))
        .enable_connect_protocol();
    builder
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
    let held = Arc::new(Held::new(gateway.http2.connection_window));
    let header = client.origin.header(&client.stream);
    let carrier = Arc::new(Carrier {
        header: Arc::new(header),
        origin: Arc::new(std::mem::replace(&mut client.origin, plain)),
        slot: slot.clone(),
        dialer: dialer.clone(),
        access: access.clone(),
        held: held.clone(),
        leaving: watch::Sender::new(None),
        cut: false.into(),
    });
    let alarm = Alarm::default();
    let first = std::mem::replace(&mut client.buf, crate::message::Chunk::none());
    let cells = gateway.cells.clone();
    let wire = Wire::new(&mut client.stream, first, alarm.clone(), held, cells);
    let mut handshake = builder(&gateway.http2, &gateway.effective).handshake(wire);
    drop(gateway);
    let begun = poll_fn(|cx| {
        watch.register(cx);
        if watch.phase() == Phase::Cut {
            return Poll::Ready(None);
        }
        if let Poll::Ready(begun) = std::pin::Pin::new(&mut handshake).poll(cx) {
            if begun.is_err() && alarm.has_begun() {
                slot.load().cells.http2_errors.inc("preface");
            }
            return Poll::Ready(begun.ok());
        }
        ready!(timer.poll(cx));
        slot.load().cells.limit_hits.inc("header");
        Poll::Ready(None)
    })
    .await;
    drop(handshake);
    let Some(connection) = begun else { return End::Quiet };
    let streams = JoinSet::new();
    let mut life = Life {
        connection,
        streams,
        carrier,
        watch,
        timer,
        alarm,
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
    connection: Connection<Wire<'w>, Bytes>,
    streams: JoinSet<()>,
    carrier: Arc<Carrier>,
    watch: &'d Watch,
    /// While it has no streams: how long the next may take to come.
    timer: Timer,
    alarm: Alarm,
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
        if self.poll_streams(cx).is_ready() {
            return Poll::Ready(());
        }
        if let Some(kind) = self.alarm.take() {
            self.flood(kind.word());
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            self.thrown = true;
            self.farewell();
            if self.poll_streams(cx).is_ready() {
                return Poll::Ready(());
            }
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

    /// Drives the connection, and gives each new stream its task.
    fn poll_streams(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match ready!(self.connection.poll_accept(cx)) {
                Some(Ok((mut request, respond))) => {
                    self.asked = true;
                    let body = request.body_mut();
                    if !body.is_end_stream() {
                        let came = body.flow_control().used_capacity();
                        self.carrier.held.begin(body.stream_id().as_u32(), came);
                    }
                    // Boxed: the runtime moves what it is given more than once.
                    self.streams.spawn(Box::pin(carry(self.carrier.clone(), request, respond)));
                }
                Some(Err(error)) => {
                    if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                        self.flood(self.alarm.said());
                    }
                    self.thrown |= error.is_library();
                    return Poll::Ready(());
                }
                None => return Poll::Ready(()),
            }
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
        self.connection.graceful_shutdown();
        if !self.busy {
            self.farewell();
        }
    }

    fn farewell(&mut self) {
        self.leaving = true;
        self.timer.set(Some(Instant::now() + FAREWELL));
    }

    fn flood(&self, kind: &'static str) {
        self.carrier.slot.load().cells.floods.inc(kind);
    }

    /// Ends what is left, and waits until it is counted.
    async fn end(self) {
        let Self { connection, mut streams, carrier, watch, .. } = self;
        let cut = watch.phase() == Phase::Cut;
        carrier.cut.store(cut, std::sync::atomic::Ordering::Relaxed);
        // Every stream hears that its connection is gone.
        drop(connection);
        while let Some(ended) = streams.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}

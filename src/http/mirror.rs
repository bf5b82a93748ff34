//! `route.mirror`: a copy of a request to another pool, whose answer is thrown away.
//!
//! A copy has a task of its own, so that the request waits for nothing of it. It begins when the whole
//! request is there: at once without a body, else when the last byte has gone to the request's own
//! backend, which is copied as it passes. What would be too much is not copied, and counted.
use super::address::Origin;
use super::broken;
use super::downstream::Downstream;
use super::key::hash_key;
use super::path::Asked;
use crate::config::{self, Effective, Hash, HostSent, Limits};
use crate::drain::Drain;
use crate::http1::BodyLength;
use crate::message::{
    Back, Barred, Broken, Fields, Fill, Head, Kept, Known, Length, Source, Version, counted, memory,
};
use crate::metrics::{Counter, Span};
use crate::net::Timer;
use crate::net::proxy_protocol::{self, Written};
use crate::net::{Pipe, Spliced};
use crate::pool::{Ask, Lease, Pool};
use crate::upstream::{Dialer, Exchange, Failed, Heard, Outgoing};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Says to a backend that it gets a copy, and of which route. Nobody else can say so on such a route.
const MARK: &str = "X-Mirrored";

/// A route's mirror.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) said: config::Mirror,
    pub(super) route: String,
    pub(super) pool: Arc<Pool>,
    pub(super) effective: Effective,
    pub(super) host: HostSent,
    pub(super) hash: Option<Hash>,
    pub(super) cells: Arc<MirrorCells>,
    pub(super) drain: Drain,
}

/// What is counted of the mirror of a route; lives as long as the route's name.
#[derive(Debug, Default)]
pub struct MirrorCells {
    /// Copies that were answered, whatever the answer.
    pub success: Counter,
    /// Copies that were not: in time, or by anybody with a place.
    pub failure: Counter,
    /// Requests that were to be copied and were not.
    pub dropped: Counter,
    /// Copies under way.
    in_flight: AtomicU32,
    /// Bytes of bodies that are held for those, and for requests that are still coming.
    held: AtomicU64,
}

/// A request that is to be copied.
#[derive(Debug)]
pub(super) struct Drawn<'g> {
    mirror: &'g Arc<Mirror>,
    hash: Option<u64>,
}

impl Mirror {
    /// Whether this request is to be copied.
    #[cold]
    pub(super) fn draw<'g>(
        self: &'g Arc<Self>,
        asked: &Asked<'_>,
        client: Option<SocketAddr>,
    ) -> Option<Drawn<'g>> {
        if fastrand::f64() >= self.said.share.get() {
            return None;
        }
        let hash = self.hash.as_ref();
        let hash = hash.and_then(|hash| hash_key(&hash.key, hash.first, asked, client));
        Some(Drawn { mirror: self, hash })
    }

    /// Whether a copy may be made of a request with such a body.
    fn takes(&self, body: BodyLength) -> bool {
        let fits = match body {
            BodyLength::Exact(n) => n <= self.said.body.0,
            _ => true,
        };
        fits && memory().may_keep()
    }

    /// A place among those under way.
    fn place(self: &Arc<Self>) -> Option<Place> {
        let most = self.said.in_flight;
        let below = |n: u32| (n < most).then_some(n + 1);
        let taken = self.cells.in_flight.fetch_update(Relaxed, Relaxed, below).is_ok();
        taken.then(|| Place(self.clone()))
    }
}

/// Bytes that are held for a copy with a body: as many as all those under way may have together.
struct Held {
    mirror: Arc<Mirror>,
    bytes: u64,
}

impl Held {
    fn more(&mut self, n: usize) -> bool {
        let said = &self.mirror.said;
        let most = u64::from(said.in_flight).saturating_mul(said.body.0);
        let within = |held: u64| Some(held + n as u64).filter(|held| *held <= most);
        let taken = self.mirror.cells.held.fetch_update(Relaxed, Relaxed, within).is_ok();
        self.bytes += if taken { n as u64 } else { 0 };
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.mirror.cells.held.fetch_sub(self.bytes, Relaxed);
    }
}

/// One of those under way.
struct Place(Arc<Mirror>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.cells.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Takes the mark out of a request that is none of our copies.
pub(super) fn unmark(head: &mut Head) {
    head.remove_named(MARK.as_bytes());
}

/// A copy that is ready but for its body.
struct Copy {
    held: Held,
    dialer: Arc<Dialer>,
    head: Head,
    body: BodyLength,
    header: Option<Box<Written>>,
    hash: Option<u64>,
}

impl Drawn<'_> {
    /// Copies a request whose head is ready for a backend. Without a body the copy is on its way then;
    /// else it is once the body has passed through what is returned.
    pub(super) fn copy<'a>(
        self,
        head: &Head,
        body: BodyLength,
        dialer: &Arc<Dialer>,
        client: &'a mut dyn Downstream,
    ) -> Result<Box<Teed<'a>>, &'a mut dyn Downstream> {
        let bodiless = matches!(body, BodyLength::None | BodyLength::Exact(0));
        if !self.mirror.takes(body) {
            self.mirror.cells.dropped.inc();
            return Err(client);
        }
        let held = Held { mirror: self.mirror.clone(), bytes: 0 };
        let mut head = head.clone();
        head.remove(Known::Expect);
        // A name of the configuration that is no valid value marks all the same.
        if head.set(MARK, self.mirror.route.as_bytes()).is_err() {
            let _ = head.set(MARK, b"1");
        }
        let header = self.mirror.pool.announces().map(|version| client.header(version));
        let copy = Copy { held, dialer: dialer.clone(), head, body, header, hash: self.hash };
        if bodiless {
            copy.send(Kept::default());
            return Err(client);
        }
        let (copied, again) = (Kept::default(), 0);
        Ok(Box::new(Teed { inner: client, copy: Some(copy), copied, again }))
    }
}

impl Copy {
    /// Sends it, if there is a place among those under way: only now, as long as a request may take to
    /// come.
    fn send(self, body: Kept) {
        let Some(place) = self.held.mirror.place() else {
            return self.held.mirror.cells.dropped.inc();
        };
        let watch = place.0.drain.enter();
        tokio::spawn(async move {
            let limit = place.0.said.timeout;
            let carried = tokio::time::timeout(limit, self.carry(body));
            let done = tokio::select! {
                done = carried => done == Ok(true),
                () = watch.cut() => false,
            };
            let cells = &place.0.cells;
            if done { cells.success.inc() } else { cells.failure.inc() }
        });
    }

    /// Whether there was an answer, to its last byte.
    async fn carry(&self, body: Kept) -> bool {
        let Mirror { pool, effective, said, host, .. } = &*self.held.mirror;
        let begun = Instant::now();
        let until = begun + said.timeout;
        let ask = Ask::new(begun, fastrand::u64(..)).hash(self.hash);
        let Ok(lease) = pool.lease_behind(&ask, until).await else { return false };
        let backend = lease.backend().clone();
        let host = match host {
            HostSent::Preserve if self.head.has(Known::Host) || self.head.authority().is_some() => {
                None
            }
            HostSent::Name(name) => Some(name.as_bytes()),
            HostSent::Preserve | HostSent::Backend => Some(backend.host().as_bytes()),
        };
        let outgoing = Outgoing {
            head: &self.head,
            host,
            body: self.body,
            upgrade: false,
            trailers: false,
            call: false,
            repeatable: self.head.method().is_idempotent() && self.body == BodyLength::None,
            keep: 0,
            moves: false,
            leaves: false,
            asks: (None, 0),
            fresh: false,
            header: self.header.as_deref(),
            effective,
            until: Some(until),
        };
        let mut body = Copied::new(body);
        let failed = match self.exchange(lease, &outgoing, &mut body).await {
            Ok(()) => return true,
            Err(failed) => failed,
        };
        // A kept connection that was closed meanwhile is nobody's fault: once more, by a new one.
        if !failed.stale || !body.is_whole() {
            failed.lease.settle(broken::outcome(&failed.error, failed.stale));
            return false;
        }
        let again = Outgoing { fresh: true, ..outgoing };
        match self.exchange(failed.lease, &again, &mut body).await {
            Ok(()) => true,
            Err(failed) => {
                failed.lease.settle(broken::outcome(&failed.error, failed.stale));
                false
            }
        }
    }

    async fn exchange(
        &self,
        lease: Lease,
        outgoing: &Outgoing<'_>,
        body: &mut Copied,
    ) -> Result<(), Box<Failed>> {
        let now = Instant::now();
        let mut exchange = match self.dialer.reuse(lease, outgoing, now) {
            Ok(exchange) => exchange,
            Err(lease) => self.dialer.connect(lease, outgoing, now).await?,
        };
        match heard(&mut exchange, body).await {
            Ok(()) => {
                exchange.finish(Span::new(now, Instant::now()));
                Ok(())
            }
            Err(error) => {
                exchange.give_back(body);
                Err(exchange.fail(error))
            }
        }
    }
}

/// Reads an answer to its end; what it says is thrown away.
async fn heard(exchange: &mut Exchange, body: &mut Copied) -> Result<(), crate::upstream::Error> {
    let (mut timer, mut answer) = (Timer::new(), Head::new());
    while exchange.head(&mut answer, body, &mut timer).await? == Heard::Interim {
        answer.clear();
    }
    poll_fn(|cx| {
        loop {
            match std::task::ready!(exchange.poll_fill(cx, body))? {
                Fill::End => return Poll::Ready(Ok(())),
                Fill::Data => exchange.consume(exchange.data().len()),
            }
        }
    })
    .await
}

/// A body that was copied.
struct Copied {
    whole: u64,
    back: Back,
}

impl Copied {
    fn new(body: Kept) -> Self {
        let whole = body.len() as u64;
        let mut back = Back::NONE;
        back.put(body);
        Self { whole, back }
    }
    fn is_whole(&self) -> bool {
        self.back.left() == self.whole
    }
}

impl Source for Copied {
    fn length(&self) -> Length {
        if self.whole == 0 { Length::Empty } else { Length::Exact(self.whole) }
    }
    fn poll_fill(&mut self, _: &mut Context<'_>) -> Poll<Result<Fill, Broken>> {
        Poll::Ready(Ok(if self.back.is_some() { Fill::Data } else { Fill::End }))
    }
    fn data(&self) -> &[u8] {
        self.back.data().unwrap_or(&[])
    }
    fn consume(&mut self, n: usize) {
        self.back.consume(n);
    }
    fn is_last(&self) -> bool {
        self.back.is_last()
    }
    fn put_back(&mut self, kept: Kept) {
        self.back.put(kept);
    }
    fn gone(&self) -> u64 {
        self.whole - self.back.left()
    }
}

impl Spliced for Copied {}

/// The client's side of a request whose body is copied as it passes.
pub(super) struct Teed<'a> {
    inner: &'a mut dyn Downstream,
    /// What is to be sent with it; `None` once it went, or was too long.
    copy: Option<Copy>,
    copied: Kept,
    /// Bytes that were put back: they come again, and are here already.
    again: usize,
}

impl Teed<'_> {
    fn go(&mut self) {
        if let Some(copy) = self.copy.take() {
            copy.send(std::mem::take(&mut self.copied));
        }
    }

    fn drop_it(&mut self) {
        if let Some(copy) = self.copy.take() {
            copy.held.mirror.cells.dropped.inc();
            self.copied = Kept::default();
        }
    }
}

impl Drop for Teed<'_> {
    /// The answer came before the end of the body, or there was none.
    fn drop(&mut self) {
        self.drop_it();
    }
}

impl Source for Teed<'_> {
    fn length(&self) -> Length {
        self.inner.length()
    }
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, Broken>> {
        let filled = self.inner.poll_fill(cx);
        if matches!(filled, Poll::Ready(Ok(Fill::End))) {
            self.go();
        }
        filled
    }
    fn data(&self) -> &[u8] {
        self.inner.data()
    }
    fn consume(&mut self, n: usize) {
        let known = n.min(self.again);
        self.again -= known;
        let data = &self.inner.data()[known..n];
        let fits = match &mut self.copy {
            Some(copy) if !data.is_empty() => {
                let most = copy.held.mirror.said.body.0 as usize;
                memory().may_keep()
                    && copy.held.more(data.len())
                    && self.copied.keep(counted(data), most)
            }
            _ => true,
        };
        let is_last = n == self.inner.data().len() && self.inner.is_last();
        self.inner.consume(n);
        if !fits {
            self.drop_it();
        }
        let whole = match self.inner.length() {
            Length::Exact(whole) => self.copied.len() as u64 == whole,
            _ => is_last,
        };
        if whole && self.again == 0 {
            self.go();
        }
    }
    fn is_last(&self) -> bool {
        self.inner.is_last()
    }
    fn trailers(&self) -> Option<&Fields> {
        self.inner.trailers()
    }
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_gone(cx)
    }
    fn put_back(&mut self, kept: Kept) {
        self.again += kept.len();
        self.inner.put_back(kept);
    }
    fn gone(&self) -> u64 {
        self.inner.gone()
    }
}

impl Spliced for Teed<'_> {
    /// What is copied must be seen.
    fn opaque(&self) -> u64 {
        if self.copy.is_some() { 0 } else { self.inner.opaque() }
    }
    fn poll_splice(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<(), Broken>> {
        self.inner.poll_splice(cx, pipe)
    }
}

impl Downstream for Teed<'_> {
    fn origin(&self) -> &Origin {
        self.inner.origin()
    }
    fn bound_body(&mut self, limits: &Limits) {
        self.inner.bound_body(limits);
    }
    fn bar(&mut self, barred: &Barred) {
        self.inner.bar(barred);
    }
    fn header(&self, version: proxy_protocol::Version) -> Box<Written> {
        self.inner.header(version)
    }
    fn patience(&self, head: &Head) -> Option<Duration> {
        self.inner.patience(head)
    }
    fn interim(&mut self, cx: &mut Context<'_>, answer: &Head, version: Version) {
        self.inner.interim(cx, answer, version);
    }
}

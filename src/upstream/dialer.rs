//! One worker's connections to backends: a lease becomes a stream or an exchange.
use super::connect::{self, Dialled, Wanted, Whom};
use super::error::{Error, Failed, Retry};
use super::exchange::{Exchange, Pace, Wire};
use super::http1::Http1;
use super::http2::Http2;
use super::idle::{Idle, Kept, Reuse};
use super::link::Link;
use super::patience::patient;
use super::pump::Pump;
use super::shared::{Claim, Shared, Slot, Ticket, Wants};
use crate::config::Effective;
use crate::http1::{self, BodyLength, Client, HeadLimits};
use crate::message::{Chunk, Head, Size};
use crate::net::proxy_protocol::Written;
use crate::net::{BEAT, Looks};
use crate::pool::{Allowance, Lease, news};
use crate::reach::http2::HeadMost;
use crate::reach::{Offer, Reach};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// One worker's connections to backends: dials, keeps idle ones.
#[derive(Debug, Default)]
pub struct Dialer {
    pub(super) idle: Idle,
    shared: Arc<Shared>,
    /// Who waits for an answer.
    pub(super) looks: Looks,
}

/// A request as it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its head, hop-by-hop fields removed.
    pub head: &'a Head,
    /// The Host to send instead of the head's own.
    pub host: Option<&'a [u8]>,
    /// How its body goes on the wire.
    pub body: BodyLength,
    /// Whether it asks for another protocol (WebSocket).
    pub upgrade: bool,
    /// Whether whoever asked takes trailers (`TE: trailers`).
    pub trailers: bool,
    /// Whether it is a call of gRPC, whose answer says at its end what came of it.
    pub call: bool,
    /// Whether it can be sent again: idempotent, and without a body or with one that is kept.
    pub repeatable: bool,
    /// Bytes of its body that are kept on an HTTP/1 connection, so that it can be sent again.
    pub keep: usize,
    /// Whether it is sent elsewhere when its backend goes down or falls silent before it answers.
    pub moves: bool,
    /// Whether a connection that takes too long to be made is given up for somebody else's.
    pub leaves: bool,
    /// The hash and the seed that its backend was asked for with.
    pub asks: (Option<u64>, u64),
    /// Whether only a new connection will do.
    pub fresh: bool,
    /// What the backend is told of the client before it, where the pool says so: then only a
    /// connection that was made for the same one will do.
    pub header: Option<&'a Written>,
    /// What holds.
    pub effective: &'a Effective,
    /// When all tries must be over.
    pub until: Option<Instant>,
}

/// An exchange, built where it stays: it is too large to be handed around.
macro_rules! exchange {
    ($self:ident, $lease:ident, $request:ident, $begun:ident, $connect:ident, $wire:expr) => {{
        let place = Box::new_uninit();
        let timed = $lease.pool().wants_time() || $lease.is_sample();
        let (timeout, retry) = (&$request.effective.timeout, &$request.effective.retry);
        let (share, floor, window) = (retry.budget.get(), retry.floor, retry.window);
        let exchange = Exchange {
            dialer: $self.clone(),
            lease: Some($lease),
            wire: $wire,
            begun: $begun,
            asked: $begun,
            moves: $request.moves,
            asks: $request.asks,
            allowed: (
                Allowance { share, floor, window },
                $request.until.and_then(|until| until.checked_sub(retry.backoff.max)),
            ),
            next: None,
            long: None,
            pace: Pace {
                first_byte: timeout.first_byte.get(),
                idle: timeout.idle.get(),
                until: $request.until,
            },
            late: None,
            in_head: false,
            barred: None,
            timed,
            ended: false,
            status: 0,
            call: $request.call,
            meant: None,
            connect: $connect,
            first_byte: None,
            received: 0,
        };
        Box::write(place, exchange)
    }};
}

impl Dialer {
    /// Nothing idle yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Dials the backend of a lease and tells it of the client, where the pool says so
    /// ([`crate::pool::Pool::announces`]). Counts the connection, its result and its duration. Tells
    /// the pool when the backend was not reached. What it carries is bytes.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub async fn stream(
        &self,
        lease: &Lease,
        limit: Option<Duration>,
        header: Option<&Written>,
    ) -> Result<Link, Error> {
        let reach = lease.pool().reach();
        // Where HTTP is spoken it is not asked for here.
        let offer = if reach.offer() == Offer::Nothing { Offer::Nothing } else { Offer::Http1 };
        let wanted = Wanted { offer, header, most: NO_HEADS, limit, until: None };
        match self.dial(&Whom::of(lease), &reach, wanted).await? {
            Dialled::Link(link) => Ok(link),
            Dialled::Shared(_) => Err(Error::NoUpgrade),
        }
    }

    async fn dial(&self, whom: &Whom, reach: &Reach, wanted: Wanted<'_>) -> Result<Dialled, Error> {
        match connect::dial(whom, reach, wanted).await {
            // Kept connections are a convenience, this one is wanted now.
            Err(Error::Local(error)) if is_out_of_descriptors(&error) && self.shed() => {
                connect::dial(whom, reach, wanted).await
            }
            dialled => dialled,
        }
    }

    fn shed(&self) -> bool {
        let now = Instant::now();
        self.idle.shed(now) | self.shared.shed(now)
    }

    /// Begins a request on a kept connection; gives the lease back if there is none.
    ///
    /// # Errors
    ///
    /// The lease.
    #[inline(always)]
    pub fn reuse(
        self: &Arc<Self>,
        lease: Lease,
        request: &Outgoing<'_>,
        now: Instant,
    ) -> Result<Box<Exchange>, Lease> {
        let reuse = if request.repeatable { Reuse::Any } else { Reuse::Sure };
        let kept = match request.header {
            _ if request.fresh => None,
            None => self.idle.take(lease.backend(), reuse, now),
            Some(header) => self.idle.take_for(header, lease.backend(), reuse, now),
        };
        match kept {
            Some(Kept { link, .. }) => Ok(self.exchange(lease, link, request, now, None)),
            None => self.share(lease, request, now),
        }
    }

    /// Begins a request on a connection that is shared.
    fn share(
        self: &Arc<Self>,
        lease: Lease,
        request: &Outgoing<'_>,
        now: Instant,
    ) -> Result<Box<Exchange>, Lease> {
        let slot =
            if request.upgrade { None } else { self.shared.slot(&lease, request.wants(), now) };
        match slot {
            Some(slot) => Ok(self.on(lease, slot, request, now, None)),
            None => Err(lease),
        }
    }

    /// Begins a request on a new connection, or on one with room that others made meanwhile.
    ///
    /// # Errors
    ///
    /// [`Failed`], when none could be had.
    pub async fn connect(
        self: &Arc<Self>,
        lease: Lease,
        request: &Outgoing<'_>,
        now: Instant,
    ) -> Result<Box<Exchange>, Box<Failed>> {
        if request.until.is_some_and(|until| until <= Instant::now()) {
            return failed(lease, Error::Request);
        }
        let reach = lease.pool().reach();
        let mut offer = reach.offer();
        if request.upgrade {
            if offer == Offer::Http2 {
                return failed(lease, Error::NoUpgrade);
            }
            offer = Offer::Http1;
        }
        if offer != Offer::Http1 {
            return Box::pin(self.join(lease, reach, request, now)).await;
        }
        let wanted = Wanted {
            offer,
            header: request.header,
            most: NO_HEADS,
            limit: request.effective.timeout.connect.get(),
            until: request.until,
        };
        let whom = Whom::of(&lease);
        match patient(&lease, request.leaves, self.dial(&whom, &reach, wanted)).await {
            Ok(Dialled::Link(link)) => {
                let born = link.born();
                let took = born.saturating_duration_since(now);
                Ok(self.exchange(lease, link, request, born, Some(took)))
            }
            Ok(Dialled::Shared(_)) => failed(lease, Error::NoUpgrade),
            Err(error) => failed(lease, error),
        }
    }

    /// Waits for a place on a connection that is shared; dials where it must.
    async fn join(
        self: &Arc<Self>,
        lease: Lease,
        reach: Arc<Reach>,
        request: &Outgoing<'_>,
        begun: Instant,
    ) -> Result<Box<Exchange>, Box<Failed>> {
        let connect = request.effective.timeout.connect.get();
        loop {
            let now = Instant::now();
            let waited = now.saturating_duration_since(begun);
            let ticket = match self.shared.claim(&lease, request.wants(), now) {
                Claim::Slot(slot) => return Ok(self.on(lease, slot, request, now, None)),
                Claim::Wait(wait) => {
                    let left = connect.map(|connect| connect.saturating_sub(waited));
                    let dialled = within(connect::first(left, request.until, now), wait.dialled());
                    match patient(&lease, request.leaves, dialled).await {
                        Ok(()) => continue,
                        Err(late) => return failed(lease, late),
                    }
                }
                Claim::Dial(ticket) => ticket,
            };
            let made = self.make(Whom::of(&lease), reach, request, ticket);
            let dialled = within(connect::first(None, request.until, now), made);
            let dialled = patient(&lease, request.leaves, async { dialled.await.flatten() }).await;
            let (born, took) = (Instant::now(), Some(begun.elapsed()));
            return match dialled {
                Ok(Made::Slot(slot)) => Ok(self.on(lease, slot, request, born, took)),
                Ok(Made::Link(link)) => Ok(self.exchange(lease, link, request, born, took)),
                Err(error) => failed(lease, error),
            };
        }
    }

    /// Dials for all that wait: in a task of its own, so that it goes on within `timeout.connect` for
    /// the others when the one who began it has no more time, or leaves.
    fn make(
        self: &Arc<Self>,
        whom: Whom,
        reach: Arc<Reach>,
        request: &Outgoing<'_>,
        ticket: Ticket,
    ) -> impl Future<Output = Result<Made, Error>> + use<> {
        let (dialer, header, most) = (self.clone(), request.header.cloned(), request.heads());
        let limit = request.effective.timeout.connect.get();
        let task = tokio::spawn(async move {
            let (offer, header) = (reach.offer(), header.as_ref());
            let wanted = Wanted { offer, header, most, limit, until: None };
            Ok(match dialer.dial(&whom, &reach, wanted).await? {
                Dialled::Shared(conn) => match ticket.made(conn) {
                    Some(slot) => Made::Slot(slot),
                    None => return Err(Error::Closed),
                },
                Dialled::Link(link) => {
                    ticket.only_http1();
                    Made::Link(link)
                }
            })
        });
        let mut dial = Dial { bounded: limit.is_some(), task };
        async move {
            let ended = (&mut dial.task).await;
            ended.unwrap_or_else(|_| Err(Error::Local(std::io::ErrorKind::Interrupted.into())))
        }
    }

    /// A request on a place of a connection that is shared.
    fn on(
        self: &Arc<Self>,
        lease: Lease,
        slot: Slot,
        request: &Outgoing<'_>,
        begun: Instant,
        connect: Option<Duration>,
    ) -> Box<Exchange> {
        let backend = lease.backend().clone();
        let wire = Http2::begin(slot, request, backend.host());
        exchange!(self, lease, request, begun, connect, Wire::Http2(Box::new(wire)))
    }

    /// A request on a connection of its own.
    fn exchange(
        self: &Arc<Self>,
        lease: Lease,
        link: Link,
        request: &Outgoing<'_>,
        begun: Instant,
        connect: Option<Duration>,
    ) -> Box<Exchange> {
        let limits = &request.effective.limits;
        let head_limits =
            HeadLimits { head: limits.head, fields: limits.fields, target: limits.target };
        let mut client = Client::new(head_limits, limits.trailers);
        client.requested(request.head.method(), request.upgrade);
        let mut out = Chunk::lend(Size::Head);
        let connection = request.upgrade.then_some("Upgrade");
        http1::request_head(request.head, request.host, request.body, connection, &mut out);
        let pump = Pump::new(out, request.body, request.keep);
        exchange!(
            self,
            lease,
            request,
            begun,
            connect,
            Wire::Http1(Http1 {
                link: Some(link),
                pump,
                client,
                buf: Chunk::none(),
                data: 0,
                skip: 0,
                eof: false,
            })
        )
    }

    /// Wakes those who wait for an answer when there is something to look at. Polled by the worker
    /// for as long as it lives; rests while nobody waits.
    pub async fn look_out(&self) {
        let mut seen = news();
        loop {
            self.looks.begun().await;
            loop {
                tokio::time::sleep(BEAT).await;
                let now = news();
                if !self.looks.beat(std::mem::replace(&mut seen, now) != now) {
                    break;
                }
            }
        }
    }

    /// Closes idle connections past their age, those the backend closed, and those of backends
    /// that are gone. Called by the worker each second, and when a reload has come about.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.idle.sweep(now);
        self.shared.sweep(now);
    }
}

/// What came of dialling for all that wait.
enum Made {
    /// The first place on a connection that is shared.
    Slot(Slot),
    /// The backend agreed to HTTP/1.1.
    Link(Link),
}

/// A dial in a task of its own. One that nothing bounds but its request ends with it.
struct Dial {
    bounded: bool,
    task: JoinHandle<Result<Made, Error>>,
}

impl Drop for Dial {
    fn drop(&mut self) {
        if !self.bounded {
            self.task.abort();
        }
    }
}

/// Waits as long as may be; else says why no longer.
async fn within<T>(
    limit: Option<(Duration, Error)>,
    what: impl Future<Output = T>,
) -> Result<T, Error> {
    match limit {
        Some((limit, late)) => tokio::time::timeout(limit, what).await.map_err(|_| late),
        None => Ok(what.await),
    }
}

/// No connection came about: nothing was written.
fn failed<T>(lease: Lease, error: Error) -> Result<T, Box<Failed>> {
    let retry = match error {
        // Nobody else of the pool can switch either, or has more time.
        Error::NoUpgrade | Error::Request => Retry::No,
        // It may be asked again, and then waited for.
        Error::Silent => Retry::Refused,
        _ => Retry::NothingWritten,
    };
    let stale = matches!(error, Error::Changed);
    Err(Box::new(Failed { lease, error, retry, stale, connect: None, begun: None, next: None }))
}

fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(error.raw_os_error(), Some(code) if [Errno::MFILE, Errno::NFILE].iter().any(|e| e.raw_os_error() == code))
}

/// Where no HTTP/2 is spoken.
const NO_HEADS: HeadMost = HeadMost { bytes: 0, fields: 0 };

impl Outgoing<'_> {
    /// What it asks of a connection that is shared.
    fn wants(&self) -> Wants<'_> {
        Wants { header: self.header, most: self.heads() }
    }
    /// What heads of its answer may be.
    fn heads(&self) -> HeadMost {
        let limits = &self.effective.limits;
        HeadMost { bytes: limits.head, fields: limits.fields }
    }
}

//! What is known of one request at its end: for its metrics and its line in the access log.
use super::address::Origin;
use super::gateway::{Gateway, RouteCells, Target};
use super::reply::limit;
use super::request_id;
use super::route::Route;
use crate::message::{Head, Known};
use crate::metrics::Span;
use crate::pool::Backend;
use crate::telemetry::{Access, Attempt, Ended, Moment, Spent, Telemetry, Trace, since_1970};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is known of one request.
#[derive(Debug)]
pub(super) struct Report<'g> {
    pub(super) begun: Instant,
    /// From `begun` to its end, if that is known already.
    whole: Option<Span>,
    pub(super) status: u16,
    /// `-` when all went well.
    pub(super) reason: &'static str,
    /// Whether the answer is our own.
    pub(super) own: bool,
    pub(super) route: Option<&'g Route>,
    pub(super) target: Option<&'g Target>,
    pub(super) cells: Option<&'g RouteCells>,
    pub(super) backend: Option<Arc<Backend>>,
    pub(super) tries: u32,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// How long the last try's connection took to be made; `None` for a kept one.
    pub(super) connect: Option<Duration>,
    /// How long the first byte of its answer took; zero where nobody measured it and nothing had to be
    /// waited for behind it.
    pub(super) first_byte: Option<Duration>,
    /// When its last try had a connection, or, where it has none, began.
    pub(super) turn: Instant,
    /// Where no answer came: what its time went for.
    lost: Option<Spent>,
    /// The tries that came to nothing.
    pub(super) attempts: Vec<Attempt>,
    /// Its method, where it is not the one of its head.
    pub(super) method: Option<&'static str>,
    /// Its spans, where it is traced.
    pub(super) trace: Option<Box<Trace>>,
    /// It became a tunnel, which may last.
    pub(super) tunnelled: bool,
    /// Its id is one that it may have: one that is answered before it goes on has what its client said.
    pub(super) identified: bool,
}

impl Report<'_> {
    pub(super) fn new(begun: Instant) -> Self {
        Self {
            begun,
            whole: None,
            status: 0,
            reason: "-",
            own: false,
            route: None,
            target: None,
            cells: None,
            backend: None,
            tries: 0,
            bytes_in: 0,
            bytes_out: 0,
            connect: None,
            first_byte: None,
            turn: begun,
            lost: None,
            attempts: Vec::new(),
            method: None,
            trace: None,
            tunnelled: false,
            identified: false,
        }
    }

    /// A try came to nothing: by this status, else by this word.
    #[cold]
    pub(super) fn failed(
        &mut self,
        backend: &Backend,
        begun: Instant,
        result: std::result::Result<u16, &str>,
    ) {
        let at = begun.saturating_duration_since(self.begun);
        if let Some(trace) = &mut self.trace {
            trace.attempted(result.ok(), result.err(), Moment::now());
        }
        let backend = (&*backend.name).into();
        let result = result.map_or_else(Into::into, |status| status.to_string().into());
        self.attempts.push(Attempt { backend, at, took: begun.elapsed(), result });
    }

    /// No answer came of the last try, which `began` and was over when it was `lost`; `there`: how long
    /// its connection took to be made, and when it was there.
    #[cold]
    pub(super) fn lost(
        &mut self,
        began: Instant,
        (connect, there): (Option<Duration>, Option<Instant>),
        lost: Instant,
    ) {
        // Without a connection all of it was spent on one.
        let turn = there.unwrap_or(lost);
        let made = turn.saturating_duration_since(began);
        let connect = if there.is_some() { connect } else { Some(made) };
        let until = turn.saturating_duration_since(self.begun);
        self.lost = Some(Spent {
            waited: until.saturating_sub(connect.unwrap_or_default()) + lost.elapsed(),
            connect,
            backend: there.map(|there| lost.saturating_duration_since(there)),
        });
    }

    /// Where its time went until its answer began.
    fn spent(&self, took: Duration) -> Spent {
        if let Some(lost) = self.lost {
            return lost;
        }
        let until = self.until();
        let backend = match self.first_byte(took) {
            // Who was cut before anybody answered spent what is left with whoever was asked.
            None if self.tries > 0 => Some(took.saturating_sub(until)),
            known => known,
        };
        let waited = until.saturating_sub(self.connect.unwrap_or_default());
        Spent { waited, connect: self.connect, backend }
    }

    /// How long it was until its last try had a connection.
    #[inline]
    fn until(&self) -> Duration {
        if self.turn == self.begun {
            return Duration::ZERO;
        }
        self.turn.saturating_duration_since(self.begun)
    }

    /// How long the first byte of its answer took.
    #[inline]
    fn first_byte(&self, took: Duration) -> Option<Duration> {
        match self.first_byte {
            // All of the answer came at once.
            Some(Duration::ZERO) => Some(took.saturating_sub(self.until())),
            known => known,
        }
    }

    /// It ended, now at the latest.
    #[inline]
    pub(super) fn over(&mut self) -> Span {
        *self.whole.get_or_insert_with(|| Span::new(self.begun, Instant::now()))
    }

    /// Whether it has.
    pub(super) fn is_over(&self) -> bool {
        self.whole.is_some()
    }

    /// The connection was cut at the end of a drain: whatever was under way stays as it is.
    pub(super) fn cut(&mut self) {
        if self.status == 0 {
            self.status = 503;
        }
        self.reason = "drain_cut";
    }

    /// Counts what its reason names: an answer of our own, a limit.
    #[cold]
    fn name(&self, gateway: &Gateway) {
        if self.own {
            gateway.cells.own.inc(self.reason);
        }
        if let Some(limit) = limit(self.reason) {
            gateway.cells.limit_hits.inc(limit);
        }
    }

    /// Counts what `metrics.compat` asks for besides.
    #[cold]
    fn tell(&self, gateway: &Gateway, head: &Head, took: Duration) {
        if gateway.compat.traefik {
            let cells = self.cells.unwrap_or(&gateway.none);
            let detail = cells.detail(head.method(), self.status);
            detail.duration.observe(took);
            detail.received.add(self.bytes_in);
            detail.sent.add(self.bytes_out);
        }
        if let Some(backend) = self.backend.as_ref().filter(|_| gateway.compat.haproxy) {
            let told = &backend.cells.told;
            told.moved(self.bytes_in, self.bytes_out);
            told.ended(self.reason, took, self.connect, self.first_byte(took));
        }
    }

    /// Counts the request and writes its line.
    pub(super) fn end(
        &mut self,
        gateway: &Gateway,
        head: &Head,
        came: Option<&Came>,
        origin: &Origin,
        telemetry: &Telemetry,
    ) {
        let took = self.over().took();
        self.cells.unwrap_or(&gateway.none).count(head.method(), self.status, took);
        if gateway.compat.is_on() {
            self.tell(gateway, head, took);
        }
        gateway.cells.received.add(self.bytes_in);
        gateway.cells.sent.add(self.bytes_out);
        if self.reason != "-" {
            self.name(gateway);
        }
        let ended = Ended { status: self.status, reason: self.reason, own: self.own };
        let patient = if self.tunnelled { Duration::ZERO } else { took };
        let kind = telemetry.errors.kind(ended, patient);
        let written = came.is_some() && telemetry.access.takes(kind.is_some());
        let trace = self.trace.take();
        if !written && kind.is_none() && trace.is_none() {
            return;
        }
        let believed = self.identified || origin.peer.is_within(&gateway.trusted);
        let id = request_id::said(head, believed);
        let new = id.is_none().then(request_id::new);
        let id = id.or(new.as_ref().map(<[u8; 32]>::as_slice)).unwrap_or_default();
        let told = self.told(gateway, (head, id), came, origin, took);
        if let Some(kind) = kind {
            let how = (ended, self.spent(took));
            telemetry.errors.keep(kind, how, &told, self.attempts.clone());
        }
        if written {
            telemetry.access.write(&told);
        }
        if let Some(trace) = trace {
            let spans = trace.end(&told, ended, origin.scheme(), Moment::now());
            telemetry.tracer.end(spans);
        }
    }

    /// All that is told of it.
    fn told<'a>(
        &'a self,
        gateway: &'a Gateway,
        (head, request_id): (&'a Head, &'a [u8]),
        came: Option<&'a Came>,
        origin: &'a Origin,
        took: Duration,
    ) -> Access<'a> {
        let method = self.method.map_or(head.method_token(), str::as_bytes);
        Access {
            time: since_1970(self.begun),
            client: origin.peer.addr(),
            method,
            target: head.target_that_came(),
            host: came
                .map_or_else(|| head.get(Known::Host).unwrap_or_default(), |came| came.host(head)),
            status: self.status,
            reason: self.reason,
            listener: &gateway.listener,
            route: self.route.map_or("none", |route| &route.name),
            pool: self.target.map_or("none", |target| &target.pool.name),
            backend: self.backend.as_ref().map_or("-", |b| &b.name),
            tries: self.tries,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration: took,
            connect: self.connect,
            first_byte: self.first_byte(took),
            request_id,
            tls: origin.tls.as_ref().map_or("", |tls| tls.version),
            sni: origin.server_name(),
            proxy: origin.proxied.as_ref().map_or("", |proxied| &proxied.words),
            place: self.target.map(|target| &target.cells.place),
        }
    }
}

/// Where a request's head has what the access log says of it as it came, before anything was
/// rewritten. Only made when there is an access log.
#[derive(Debug)]
pub(super) struct Came {
    host: Option<Range<usize>>,
}

impl Came {
    pub(super) fn of(head: &Head) -> Self {
        Self { host: head.place(Known::Host) }
    }

    fn host<'h>(&self, head: &'h Head) -> &'h [u8] {
        self.host.clone().and_then(|place| head.bytes().get(place)).unwrap_or_default()
    }
}

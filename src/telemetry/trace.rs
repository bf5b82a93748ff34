//! Traces: W3C `traceparent` continued or begun (Trace Context, level 1), one span for a request and
//! one for each of its tries, through a bounded queue to whoever sends them on.
//!
//! A request that is not drawn costs no more than a fresh `traceparent`, or nothing where it has one.
use super::access::Access;
use super::errors::Ended;
use super::escape::readable;
use crate::config;
use crate::message::{Head, Known, hex};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Spans of one request: itself and its tries.
const SPANS: usize = 32;
/// Bytes that are kept of what a client says.
const LONGEST: usize = 512;

/// Who is called and who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// What was asked of us.
    Server,
    /// What we asked of a backend.
    Client,
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
}

/// A span that is over.
#[derive(Clone, Debug)]
pub struct Span {
    /// Of the whole trace.
    pub trace: [u8; 16],
    /// Its own.
    pub id: [u8; 8],
    /// Of what it is a part; `None` for the first of a trace.
    pub parent: Option<[u8; 8]>,
    /// Whether the parent is another process's.
    pub remote: bool,
    /// `tracestate` as it came.
    pub state: Arc<str>,
    /// What it is called.
    pub name: String,
    /// Which side it is of.
    pub kind: SpanKind,
    /// Nanoseconds since 1970.
    pub begun: u64,
    /// The same of its end.
    pub ended: u64,
    /// By the semantic conventions of OpenTelemetry where they have a name for it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Whether it failed.
    pub failed: bool,
}

/// What is counted of spans.
#[derive(Debug, Default)]
pub struct TraceCells {
    /// Taken by the collector.
    pub sent: AtomicU64,
    /// Lost since the queue was full.
    pub dropped: AtomicU64,
    /// Not taken by the collector.
    pub failed: AtomicU64,
}

/// Draws requests and takes their spans.
#[derive(Debug, Default)]
pub struct Tracer {
    on: AtomicBool,
    /// A trace of ours is drawn when the last 56 bits of its id are below this.
    share: AtomicU64,
    queue: ArcSwapOption<Sender<Vec<Span>>>,
    config: Mutex<Option<config::Trace>>,
    /// What is counted.
    pub cells: Arc<TraceCells>,
}

/// A request that is traced.
#[derive(Debug)]
pub struct Trace {
    id: [u8; 16],
    parent: Option<[u8; 8]>,
    state: Arc<str>,
    server: [u8; 8],
    /// What its sender said, as far as it is known what that means.
    flags: u8,
    /// The try under way.
    current: Option<Try>,
    tries: Vec<Span>,
    count: i64,
}

#[derive(Debug)]
struct Try {
    id: [u8; 8],
    backend: Arc<str>,
    /// Its address as it is written.
    addr: Arc<str>,
    begun: Instant,
}

impl Tracer {
    /// Another configuration: what is returned is to be emptied by whoever sends spans on. The one
    /// before ends with what it has.
    pub fn apply(&self, config: Option<&config::Trace>) -> Option<Receiver<Vec<Span>>> {
        let mut current = self.config.lock();
        if current.as_ref() == config {
            return None;
        }
        *current = config.cloned();
        let Some(config) = config else {
            self.on.store(false, Relaxed);
            self.queue.store(None);
            return None;
        };
        let (sender, receiver) = channel(config.queue);
        self.queue.store(Some(Arc::new(sender)));
        let share = config.sample.get() * (1_u64 << 56) as f64;
        self.share.store(share as u64, Relaxed);
        self.on.store(true, Relaxed);
        Some(receiver)
    }

    /// Begins, or continues, the trace of a request; `None` where it is not drawn. One relaxed load
    /// where there are no traces.
    #[inline(always)]
    pub fn begin(&self, head: &mut Head) -> Option<Box<Trace>> {
        if self.on.load(Relaxed) { self.draw(head) } else { None }
    }

    #[inline(never)]
    fn draw(&self, head: &mut Head) -> Option<Box<Trace>> {
        let came = head.sole(Known::TraceParent).filter(|(_, is_sole)| *is_sole);
        let came = came.and_then(|(said, _)| parse(said));
        let (id, parent, flags) = match came {
            Some(came) => (came.trace, Some(came.span), came.flags),
            None => {
                let id = ids();
                let last =
                    u64::from_be_bytes([0, id[9], id[10], id[11], id[12], id[13], id[14], id[15]]);
                (id, None, u8::from(last < self.share.load(Relaxed)))
            }
        };
        if flags & SAMPLED == 0 {
            if parent.is_none() {
                // What belongs to no trace, or to a broken one, goes no further.
                head.remove(Known::TraceState);
                says(head, &written(&id, span_id(), 0));
            }
            return None;
        }
        let state = match parent {
            None => {
                head.remove(Known::TraceState);
                Arc::default()
            }
            Some(_) => {
                let all: Vec<&[u8]> = head.all(Known::TraceState).collect();
                let all = all.join(&b',');
                let fits = all.len() <= LONGEST;
                if fits { readable(&all).into() } else { Arc::default() }
            }
        };
        let (current, tries) = (None, Vec::new());
        let server = span_id();
        Some(Box::new(Trace { id, parent, state, server, flags, current, tries, count: 0 }))
    }

    /// Takes the spans of a request that is over; never waits.
    pub fn end(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let queue = self.queue.load();
        if queue.as_ref().is_none_or(|queue| queue.try_send(spans).is_err()) {
            self.cells.dropped.fetch_add(count, Relaxed);
        }
    }
}

impl Trace {
    /// A try begins: the head as its backend is to see it.
    #[cold]
    pub fn attempt(
        &mut self,
        head: &Head,
        (backend, addr): (&str, &str),
        begun: Instant,
    ) -> Box<Head> {
        let id = span_id();
        self.current = Some(Try { id, backend: backend.into(), addr: addr.into(), begun });
        let mut head = Box::new(head.clone());
        says(&mut head, &written(&self.id, id, self.flags));
        head
    }

    /// The try under way is over: `error` is the word for what broke it.
    pub fn attempted(&mut self, status: Option<u16>, error: Option<&str>, now: Moment) {
        let Some(Try { id, backend, addr, begun }) = self.current.take() else { return };
        self.count += 1;
        if self.tries.len() + 1 >= SPANS {
            return;
        }
        let mut attributes = vec![("evenkeel.backend", Attribute::Text(backend.to_string()))];
        attributes.extend(server(&addr));
        if let Some(status) = status {
            attributes.push(("http.response.status_code", Attribute::Number(status.into())));
        }
        if self.count > 1 {
            attributes.push(("http.request.resend_count", Attribute::Number(self.count - 1)));
        }
        attributes.extend(fault(error, status.filter(|status| *status >= 400)));
        self.tries.push(Span {
            trace: self.id,
            id,
            parent: Some(self.server),
            remote: false,
            state: self.state.clone(),
            name: String::new(),
            kind: SpanKind::Client,
            begun: now.nanos_of(begun),
            ended: now.nanos,
            attributes,
            failed: error.is_some() || status.is_some_and(|status| status >= 400),
        });
    }

    /// The request is over.
    #[cold]
    pub fn end(mut self, told: &Access<'_>, ended: Ended, scheme: &str, now: Moment) -> Vec<Span> {
        let error = (ended.reason != "-" && ended.is_failure()).then_some(ended.reason);
        let status = (told.status > 0).then_some(told.status);
        self.attempted(status.filter(|_| !ended.own), error, now);
        let text = |bytes: &[u8]| Attribute::Text(readable(bytes.get(..LONGEST).unwrap_or(bytes)));
        let method = match known(told.method) {
            true => text(told.method),
            false => Attribute::Text("_OTHER".into()),
        };
        let Attribute::Text(verb) = &method else { return Vec::new() };
        let verb = if verb == "_OTHER" { "HTTP" } else { verb };
        let name = format!("{verb} {}", told.route);
        self.tries.iter_mut().for_each(|span| span.name = verb.to_string());
        let path = told.target.split(|b| *b == b'?').next().unwrap_or_default();
        let mut attributes = vec![
            ("http.request.method", method.clone()),
            ("url.scheme", Attribute::Text(scheme.into())),
            ("url.path", text(path)),
            ("evenkeel.listener", text(told.listener.as_bytes())),
            ("evenkeel.route", text(told.route.as_bytes())),
            ("evenkeel.pool", text(told.pool.as_bytes())),
            ("evenkeel.request_id", text(told.request_id)),
            ("evenkeel.tries", Attribute::Number(told.tries.into())),
        ];
        let host = readable(told.host.get(..LONGEST).unwrap_or(told.host));
        attributes.extend(server(&host));
        if let Some(client) = told.client {
            let address = client.ip().to_canonical().to_string();
            attributes.push(("client.address", Attribute::Text(address)));
            attributes.push(("client.port", Attribute::Number(client.port().into())));
        }
        if let Some(status) = status {
            attributes.push(("http.response.status_code", Attribute::Number(status.into())));
        }
        attributes.extend(fault(error, status.filter(|status| *status >= 500)));
        for span in &mut self.tries {
            span.attributes.push(("http.request.method", method.clone()));
        }
        let begun = now.nanos.saturating_sub(nanos(told.duration));
        for span in &mut self.tries {
            // It was told a moment later that the request is over, or by a clock that was set.
            span.begun = span.begun.clamp(begun, now.nanos);
            span.ended = span.ended.clamp(span.begun, now.nanos);
        }
        let mut spans = self.tries;
        spans.push(Span {
            trace: self.id,
            id: self.server,
            parent: self.parent,
            remote: true,
            state: self.state,
            name,
            kind: SpanKind::Server,
            begun,
            ended: now.nanos,
            attributes,
            failed: told.status >= 500 || (error.is_some() && !(400..500).contains(&told.status)),
        });
        spans
    }
}

/// Now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    at: Instant,
    nanos: u64,
}

impl Moment {
    /// It.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { at: Instant::now(), nanos: nanos(since) }
    }
    fn nanos_of(self, at: Instant) -> u64 {
        self.nanos.saturating_sub(nanos(self.at.saturating_duration_since(at)))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// `error.type`: what broke it, else the status that says so.
fn fault(error: Option<&str>, status: Option<u16>) -> Option<(&'static str, Attribute)> {
    let status = || status.map(|status| status.to_string());
    Some(("error.type", Attribute::Text(error.map(str::to_string).or_else(status)?)))
}

/// `server.address` and `server.port` of `host`, `host:port`, `[v6]:port` or a path.
fn server(written: &str) -> impl Iterator<Item = (&'static str, Attribute)> {
    let (host, port) = match written.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, port.parse::<u16>().ok())
        }
        _ => (written, None),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = (!bare.is_empty()).then(|| Attribute::Text(bare.into()));
    let port = port.map(|port| Attribute::Number(port.into()));
    let port = port.filter(|_| address.is_some());
    let pairs = [("server.address", address), ("server.port", port)];
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

/// Methods that the semantic conventions name.
fn known(method: &[u8]) -> bool {
    let all = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    all.iter().any(|known| known.as_bytes() == method)
}

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// The trace is drawn.
const SAMPLED: u8 = 1;
/// The last 56 bits of its id are random (Trace Context, level 2).
const RANDOM: u8 = 2;

/// Reads a `traceparent`, strictly: a broken one counts as none.
fn parse(text: &[u8]) -> Option<Parent> {
    let (head, more) = text.split_at_checked(55)?;
    let [a, b, b'-', rest @ ..] = head else { return None };
    let version = bytes(&[*a, *b])?;
    if version == [0xff] || (version == [0] && !more.is_empty()) {
        return None;
    }
    // Later versions may say more behind a dash.
    if !more.is_empty() && !more.starts_with(b"-") {
        return None;
    }
    let (trace, rest) = rest.split_at_checked(32)?;
    let (span, flags) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
    let flags: [u8; 1] = bytes(flags.strip_prefix(b"-")?)?;
    let (trace, span): ([u8; 16], [u8; 8]) = (bytes(trace)?, bytes(span)?);
    let is_some = trace != [0; 16] && span != [0; 8];
    is_some.then_some(Parent { trace, span, flags: flags[0] & (SAMPLED | RANDOM) })
}

/// Bytes of digits in lower case.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    for (byte, two) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(two[0])? << 4 | digit(two[1])?;
    }
    Some(out)
}

/// Makes this the only `traceparent`.
fn says(head: &mut Head, parent: &[u8]) {
    head.remove(Known::TraceParent);
    head.push(Known::TraceParent, &[parent]);
}

fn written(trace: &[u8; 16], span: [u8; 8], flags: u8) -> [u8; 55] {
    let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let parts = trace.as_chunks::<4>().0.iter().chain(span.as_chunks::<4>().0);
    for (at, part) in [3, 11, 19, 27, 36, 44].into_iter().zip(parts) {
        out[at..at + 8].copy_from_slice(&hex(u32::from_be_bytes(*part)));
    }
    out[54] = b'0' + flags;
    out
}

/// A trace's id; never nothing.
fn ids() -> [u8; 16] {
    (fastrand::u128(..) | 1).to_be_bytes()
}

fn span_id() -> [u8; 8] {
    fastrand::u64(1..).to_be_bytes()
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;

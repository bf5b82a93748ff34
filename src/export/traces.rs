//! Sends spans to a collector: many at once, over one kept connection, and gives up in time.
use super::otlp;
use super::partial::Partial;
use crate::config;
use crate::telemetry::{Span, TraceCells};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};

/// So many spans go at once at the most: 300 KiB.
const BATCH: usize = 512;
/// So long the first of them waits for others.
const GATHER: Duration = Duration::from_millis(500);
/// How often it is looked whether there are enough: to be woken for each would cost its request more
/// than its spans.
const LOOK: Duration = Duration::from_millis(25);
/// How long a collector may take for a batch: as long as exporters of OpenTelemetry wait.
const TIME: Duration = Duration::from_secs(10);
/// A batch is sent so often before it is lost; between two of these times it waits twice as long.
const TIMES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// A collector that says when to ask again (`Retry-After`, in seconds) is waited for so long at the
/// most: meanwhile spans are made, and `trace.queue` holds few.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of batches that it took in part it is said so often at the most: it may be of each.
const AGAIN: Duration = Duration::from_secs(60);
/// What a collector answers is short.
const ANSWER: usize = 64 << 10;

/// Where spans go.
#[derive(Clone, Debug)]
pub struct Exporter {
    /// What the configuration says.
    pub config: config::Trace,
    /// What is counted.
    pub cells: Arc<TraceCells>,
}

/// Sends spans on until nobody makes any more and all are gone.
pub async fn traces(exporter: Exporter, mut spans: Receiver<Vec<Span>>) {
    let mut way = Way { exporter, kept: None, lost: false, partial: None };
    while let Some(first) = spans.recv().await {
        let mut batch = first;
        let until = Instant::now() + GATHER;
        loop {
            while batch.len() < BATCH
                && let Ok(more) = spans.try_recv()
            {
                batch.extend(more);
            }
            if batch.len() >= BATCH || spans.is_closed() || Instant::now() >= until {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        way.send(&batch, || spans.is_closed()).await;
    }
}

/// The way to a collector.
struct Way {
    exporter: Exporter,
    kept: Option<SendRequest<Full<Bytes>>>,
    /// The last batch was lost, and it was said.
    lost: bool,
    /// When it was last said that a batch was taken in part.
    partial: Option<Instant>,
}

/// Why a batch was not taken, and whether it may be sent again.
struct Refused {
    why: String,
    again: bool,
    /// Not before so long.
    after: Duration,
}

impl Refused {
    fn again(why: String) -> Self {
        Self { why, again: true, after: Duration::ZERO }
    }
}

impl Way {
    /// Sends a batch; when the process ends once and no more.
    async fn send(&mut self, batch: &[Span], ends: impl Fn() -> bool) {
        let Exporter { config, cells } = &self.exporter;
        let (cells, service) = (cells.clone(), config.service.clone());
        let body = Bytes::from(otlp::request(&service, batch));
        let (mut pause, count) = (PAUSE, batch.len() as u64);
        for time in 1..=TIMES {
            let sent = timeout(TIME, self.post(body.clone())).await;
            let refused = match sent {
                Ok(Ok(partial)) => {
                    let rejected = partial.rejected.min(count);
                    cells.sent.fetch_add(count - rejected, Relaxed);
                    cells.failed.fetch_add(rejected, Relaxed);
                    self.tell(rejected, &partial.why);
                    if std::mem::take(&mut self.lost) {
                        tracing::info!("traces are taken again");
                    }
                    return;
                }
                Ok(Err(refused)) => refused,
                Err(_) => Refused::again(format!("no answer within {TIME:?}")),
            };
            self.kept = None;
            if !refused.again || time == TIMES || ends() {
                cells.failed.fetch_add(count, Relaxed);
                if !std::mem::replace(&mut self.lost, true) {
                    let (to, why) = (&self.exporter.config.otlp.written, refused.why);
                    tracing::warn!(to, why, "traces are not taken; spans are lost and counted");
                }
                return;
            }
            let until = Instant::now() + pause.max(refused.after.min(PATIENCE));
            while Instant::now() < until && !ends() {
                tokio::time::sleep_until(until.min(Instant::now() + PAUSE)).await;
            }
            pause *= 2;
        }
    }

    /// Says now and then that spans of a batch were refused.
    fn tell(&mut self, rejected: u64, why: &str) {
        let now = Instant::now();
        if rejected > 0 && self.partial.is_none_or(|last| now - last >= AGAIN) {
            self.partial = Some(now);
            let to = &self.exporter.config.otlp.written;
            tracing::warn!(to, rejected, why, "spans are refused by the collector, and counted");
        }
    }

    async fn post(&mut self, body: Bytes) -> Result<Partial, Refused> {
        let failed = Refused::again;
        let to = &self.exporter.config.otlp;
        let mut sender = match self.kept.take().filter(|kept| !kept.is_closed()) {
            Some(kept) => kept,
            None => {
                let stream = TcpStream::connect((&*to.host, to.port)).await;
                let stream = stream.map_err(|error| failed(format!("connect: {error}")))?;
                let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
                let (sender, connection) = shaken.map_err(|error| failed(error.to_string()))?;
                // Ends with its sender.
                tokio::spawn(connection);
                sender
            }
        };
        let request = Request::post(format!("{}/v1/traces", to.path))
            .header(header::HOST, &to.authority)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| Refused { again: false, ..failed(error.to_string()) })?;
        sender.ready().await.map_err(|error| failed(error.to_string()))?;
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        let status = answer.status();
        let after =
            answer.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let after = Duration::from_secs(after.unwrap_or(0));
        let read = Limited::new(answer.into_body(), ANSWER).collect().await;
        let read = read.map(|answer| answer.to_bytes()).ok();
        if read.is_some() {
            self.kept = Some(sender);
        }
        // OTLP 1.x, "Retryable Response Codes".
        let again = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        match status.is_success() {
            true => Ok(read.map(|answer| Partial::of(&answer)).unwrap_or_default()),
            false => Err(Refused { why: format!("answered {status}"), again, after }),
        }
    }
}

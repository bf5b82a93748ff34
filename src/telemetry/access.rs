//! The access log: a line a request or TCP connection, written by a thread of its own.
//!
//! Text: `time client "method target" host status reason listener route pool backend tries
//! bytes_in bytes_out duration connect first_byte request_id`, `-` for what is not known.
//! JSON: an object with these names. Times are RFC 3339, durations seconds. Bytes that a client
//! gave are escaped in both.
use crate::config::{self, LogFormat, LogTarget};
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Lines that may wait for the writer: at 300 bytes each about 5 MiB, or a quarter of a second of
/// the busiest worker. Beyond it lines are dropped and counted: a slow disk never slows a request.
const QUEUE: usize = 16_384;

/// One request or one TCP connection, at its end.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields of the access log, as the README lists them")]
pub struct Access<'a> {
    pub time: SystemTime,
    pub client: Option<SocketAddr>,
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub host: &'a [u8],
    pub status: u16,
    /// `-` when all went well, else a word: who is at fault and why.
    pub reason: &'a str,
    pub listener: &'a str,
    pub route: &'a str,
    pub pool: &'a str,
    pub backend: &'a str,
    pub tries: u32,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: Duration,
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub request_id: &'a [u8],
}

enum Order {
    Line(String),
    Target(Box<dyn Write + Send>),
    Flushed(SyncSender<()>),
}

#[derive(Debug, Default)]
struct State {
    on: AtomicBool,
    json: AtomicBool,
    dropped: AtomicU64,
    config: Mutex<Option<config::AccessLog>>,
    sender: Mutex<Option<SyncSender<Order>>>,
    /// Workers clone the sender once for each line; a lock of its own keeps them from `config`.
    queue: arc_swap::ArcSwapOption<SyncSender<Order>>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

/// The access log: a bounded queue to a thread of its own. Cloning shares it, and a reload may
/// switch it on, off or elsewhere.
#[derive(Clone, Debug, Default)]
pub struct AccessLog(Arc<State>);

impl AccessLog {
    /// No access log: `is_on` is false and `write` does nothing.
    pub fn off() -> Self {
        Self::default()
    }
    /// Opens the target and starts the writer.
    ///
    /// # Errors
    ///
    /// When a file cannot be opened.
    pub fn open(config: &config::AccessLog) -> io::Result<Self> {
        let log = Self::off();
        log.apply(Some(config))?;
        Ok(log)
    }
    /// Switches it on, off or elsewhere; nothing changes on an error.
    ///
    /// # Errors
    ///
    /// When a file cannot be opened.
    pub fn apply(&self, config: Option<&config::AccessLog>) -> io::Result<()> {
        let mut current = self.0.config.lock();
        if current.as_ref() == config {
            return Ok(());
        }
        if let Some(config) = config {
            self.send(Order::Target(open(&config.to)?))?;
            self.0.json.store(config.format == LogFormat::Json, Relaxed);
        }
        self.0.on.store(config.is_some(), Relaxed);
        *current = config.cloned();
        Ok(())
    }
    fn send(&self, order: Order) -> io::Result<()> {
        let mut sender = self.0.sender.lock();
        let sender = match &*sender {
            Some(sender) => sender.clone(),
            None => {
                let (send, receive) = sync_channel(QUEUE);
                let state = self.0.clone();
                std::thread::Builder::new()
                    .name("access-log".into())
                    .spawn(move || writer(&receive, &state))?;
                self.0.queue.store(Some(Arc::new(send.clone())));
                sender.insert(send).clone()
            }
        };
        sender.send(order).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
    /// Whether anything is written at all.
    pub fn is_on(&self) -> bool {
        self.0.on.load(Relaxed)
    }
    /// Queues one line; a full queue drops it and counts. Never waits.
    pub fn write(&self, access: &Access<'_>) {
        if !self.is_on() {
            return;
        }
        let line = if self.0.json.load(Relaxed) { json(access) } else { text(access) };
        let queue = self.0.queue.load();
        if queue.as_ref().is_none_or(|queue| queue.try_send(Order::Line(line)).is_err()) {
            self.0.dropped.fetch_add(1, Relaxed);
        }
    }
    /// Opens the file again (SIGUSR1).
    pub fn reopen(&self) {
        let Some(config) = self.0.config.lock().clone() else { return };
        let done = open(&config.to).and_then(|target| self.send(Order::Target(target)));
        if let Err(error) = done {
            tracing::error!(to = ?config.to, %error, "access log not reopened; the old file is kept");
        }
    }
    /// Lines dropped since the start (`evenkeel_log_dropped_total`).
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }
    /// Waits until what is queued is written, a second at most.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        let queue = self.0.queue.load_full();
        if queue.is_some_and(|queue| queue.try_send(Order::Flushed(done)).is_ok()) {
            let _ = wait.recv_timeout(Duration::from_secs(1));
        }
    }
}

fn open(target: &LogTarget) -> io::Result<Box<dyn Write + Send>> {
    Ok(match target {
        LogTarget::Stdout => Box::new(io::stdout()),
        LogTarget::Stderr => Box::new(io::stderr()),
        LogTarget::File(path) => {
            let file: File = OpenOptions::new().append(true).create(true).open(path)?;
            Box::new(file)
        }
    })
}

/// Writes lines until nobody can send any more. What cannot be written is dropped, counted, and
/// said once.
fn writer(receive: &Receiver<Order>, state: &State) {
    let mut out: BufWriter<Box<dyn Write + Send>> = BufWriter::new(Box::new(io::sink()));
    let mut said = false;
    loop {
        let order = match receive.try_recv() {
            Ok(order) => order,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                note(out.flush(), &mut said, state);
                match receive.recv() {
                    Ok(order) => order,
                    Err(_) => break,
                }
            }
        };
        match order {
            Order::Line(line) => note(out.write_all(line.as_bytes()), &mut said, state),
            Order::Target(target) => {
                note(out.flush(), &mut said, state);
                // A writer that cannot write its rest must not try again when it is dropped.
                let _ = std::mem::replace(&mut out, BufWriter::new(target)).into_parts();
                said = false;
            }
            Order::Flushed(done) => {
                note(out.flush(), &mut said, state);
                let _ = done.try_send(());
            }
        }
    }
}

fn note(result: io::Result<()>, said: &mut bool, state: &State) {
    match result {
        Ok(()) => {}
        Err(error) => {
            state.dropped.fetch_add(1, Relaxed);
            if !*said {
                *said = true;
                tracing::error!(%error, "access log cannot be written; lines are lost and counted");
            }
        }
    }
}

fn text(a: &Access<'_>) -> String {
    let mut line = String::with_capacity(256);
    let _ = write!(line, "{} ", rfc3339(a.time));
    match a.client {
        Some(client) => drop(write!(line, "{client}")),
        None => line.push('-'),
    }
    line.push_str(" \"");
    escape(a.method, &mut line);
    line.push(' ');
    escape(a.target, &mut line);
    line.push_str("\" ");
    escape(if a.host.is_empty() { b"-" } else { a.host }, &mut line);
    let _ = write!(
        line,
        " {} {} {} {} {} {} {} {} {} {:.6}",
        a.status,
        a.reason,
        a.listener,
        a.route,
        a.pool,
        a.backend,
        a.tries,
        a.bytes_in,
        a.bytes_out,
        a.duration.as_secs_f64()
    );
    for time in [a.connect, a.first_byte] {
        match time {
            Some(time) => drop(write!(line, " {:.6}", time.as_secs_f64())),
            None => line.push_str(" -"),
        }
    }
    line.push(' ');
    escape(if a.request_id.is_empty() { b"-" } else { a.request_id }, &mut line);
    line.push('\n');
    line
}

fn json(a: &Access<'_>) -> String {
    let mut line = String::with_capacity(384);
    let _ = write!(line, "{{\"time\":\"{}\"", rfc3339(a.time));
    if let Some(client) = a.client {
        let _ = write!(line, ",\"client\":\"{client}\"");
    }
    let texts: [(&str, &[u8]); 8] = [
        ("method", a.method),
        ("target", a.target),
        ("host", a.host),
        ("reason", a.reason.as_bytes()),
        ("listener", a.listener.as_bytes()),
        ("route", a.route.as_bytes()),
        ("pool", a.pool.as_bytes()),
        ("backend", a.backend.as_bytes()),
    ];
    for (name, value) in texts {
        let _ = write!(line, ",\"{name}\":\"");
        escape(value, &mut line);
        line.push('"');
    }
    let _ = write!(
        line,
        ",\"status\":{},\"tries\":{},\"bytes_in\":{},\"bytes_out\":{},\"duration\":{:.6}",
        a.status,
        a.tries,
        a.bytes_in,
        a.bytes_out,
        a.duration.as_secs_f64()
    );
    for (name, time) in [("connect", a.connect), ("first_byte", a.first_byte)] {
        if let Some(time) = time {
            let _ = write!(line, ",\"{name}\":{:.6}", time.as_secs_f64());
        }
    }
    line.push_str(",\"request_id\":\"");
    escape(a.request_id, &mut line);
    line.push_str("\"}\n");
    line
}

/// Writes bytes so that they are harmless on a terminal and valid inside a JSON string: ASCII
/// stays, quotes and backslashes are escaped, every other byte becomes `\u00xx`.
fn escape(bytes: &[u8], out: &mut String) {
    for b in bytes {
        match b {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(*b));
            }
            0x20..=0x7e => out.push(char::from(*b)),
            b => drop(write!(out, "\\u00{b:02x}")),
        }
    }
}

/// `2026-11-21T07:10:59.123Z`; times before 1970 are given as 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = ((since.as_secs() / 86_400) as i64, since.as_secs() % 86_400);
    // Days to a civil date (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", since.subsec_millis())
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;

//! The access log: a line a request or TCP connection, written by a thread of its own. How a line
//! looks is said in `line.rs`.
use super::line::{json, text};
use crate::config::{self, LogFormat, LogTarget, Problem};
use parking_lot::Mutex;
use rustix::fs::Access as Right;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, SystemTime};

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
    /// The name the client asked for by TLS; empty for none.
    pub sni: &'a [u8],
    /// What a PROXY header said; empty where there was none.
    pub proxy: &'a str,
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
    /// Whether the target could be opened, without making a file.
    ///
    /// # Errors
    ///
    /// As [`AccessLog::apply`].
    pub fn check(config: &config::AccessLog) -> Result<(), Problem> {
        match &config.to {
            LogTarget::File(path) => may_open(path).map_err(|error| unopened(config, &error)),
            LogTarget::Stdout | LogTarget::Stderr => Ok(()),
        }
    }
    /// Opens the target and starts the writer.
    ///
    /// # Errors
    ///
    /// As [`AccessLog::apply`].
    pub fn open(config: &config::AccessLog) -> Result<Self, Problem> {
        let log = Self::off();
        log.apply(Some(config))?;
        Ok(log)
    }
    /// Switches it on, off or elsewhere; nothing changes on an error.
    ///
    /// # Errors
    ///
    /// A file that cannot be opened: at its key, with what to do.
    pub fn apply(&self, config: Option<&config::AccessLog>) -> Result<(), Problem> {
        let mut current = self.0.config.lock();
        if current.as_ref() == config {
            return Ok(());
        }
        if let Some(config) = config {
            let opened = open(&config.to).and_then(|target| self.send(Order::Target(target)));
            opened.map_err(|error| unopened(config, &error))?;
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
            tracing::error!(to = %config.to, %error, "access log not reopened; the old file is kept");
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

/// Whether a file could be opened for writing, or made.
fn may_open(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(rustix::fs::access(path, Right::WRITE_OK)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(rustix::fs::access(folder(path), Right::WRITE_OK | Right::EXEC_OK)?)
        }
        Err(error) => Err(error),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unopened(config: &config::AccessLog, error: &io::Error) -> Problem {
    let what = format!("open the access log {}: {error}", config.to);
    let hint = match (error.kind(), &config.to) {
        (io::ErrorKind::NotFound, LogTarget::File(path)) if !folder(path).exists() => {
            format!("make the folder {}, or name another file", folder(path).display())
        }
        (io::ErrorKind::IsADirectory, _) => "name a file in this folder".into(),
        _ => "let the user of this process write there, or name another file".into(),
    };
    Problem::new(&config.at, config.key.clone(), what).hint(hint)
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

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;

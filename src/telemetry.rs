//! The process's own log, and the access log with its writer thread.
use crate::config;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Sets up the process's log. Called once, by the door.
///
/// # Errors
///
/// When the level is no filter.
pub fn init(log: &config::Log) -> Result<LogHandle, String> {
    let _ = log;
    todo!()
}

/// Changes the process's log at a reload.
#[derive(Clone, Debug)]
pub struct LogHandle {/* reload handle */}

impl LogHandle {
    /// Applies another level or format.
    ///
    /// # Errors
    ///
    /// When the level is no filter.
    pub fn apply(&self, log: &config::Log) -> Result<(), String> {
        let _ = log;
        todo!()
    }
}

/// One request or one TCP connection, at its end. Borrowed: it is rendered by the caller's thread
/// into one line and handed to the writer.
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

/// The access log: a bounded queue to a thread of its own. Cloning shares it.
#[derive(Clone, Debug)]
pub struct AccessLog {/* Option<Arc<..>> */}

impl AccessLog {
    /// No access log: `is_on` is false and `write` does nothing.
    pub fn off() -> Self {
        todo!()
    }
    /// Opens the target and starts the writer.
    ///
    /// # Errors
    ///
    /// When a file cannot be opened.
    pub fn open(config: &config::AccessLog) -> std::io::Result<Self> {
        let _ = config;
        todo!()
    }
    /// Whether anything is written at all.
    pub fn is_on(&self) -> bool {
        todo!()
    }
    /// Queues one line; a full queue drops it and counts. Never waits.
    pub fn write(&self, access: &Access<'_>) {
        let _ = access;
        todo!()
    }
    /// Opens the file again (SIGUSR1).
    pub fn reopen(&self) {
        todo!()
    }
    /// Lines dropped since the start (`evenkeel_log_dropped_total`).
    pub fn dropped(&self) -> u64 {
        todo!()
    }
    /// Waits until what is queued is written, a second at most.
    pub fn flush(&self) {
        todo!()
    }
}


//! The access log: a line a request or TCP connection, written by a thread of its own. How a line
//! looks is said in `line.rs`.
use super::line::{json, most, most_of, place, template, text};
use super::outlet::{Outlet, WAIT};
use super::writer::Whose;
use crate::config::{self, LineFormat, LogTarget, LogTemplate, Problem};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rustix::fs::{Access as Right, OFlags};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// One request or one TCP connection, at its end.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields of the access log, as the README lists them")]
pub struct Access<'a> {
    /// When it began, since 1970.
    pub time: Duration,
    pub client: Option<SocketAddr>,
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub host: &'a [u8],
    pub status: u16,
    /// `-` when all went well, else a word: who is at fault and why.
    pub reason: &'static str,
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
    /// The version of TLS; empty for none.
    pub tls: &'static str,
    /// The name the client asked for by TLS; empty for none.
    pub sni: &'a [u8],
    /// What a PROXY header said; empty where there was none.
    pub proxy: &'a str,
    /// `listener`, `route` and `pool` once more, as lines have them.
    pub place: Option<&'a Place>,
}

/// Names that many lines have in common, as each form writes them: made once.
#[derive(Debug, Default)]
pub struct Place {
    pub(super) text: Box<[u8]>,
    pub(super) json: Box<[u8]>,
}

impl Place {
    /// Of requests that a listener, a route and a pool have.
    pub fn new(listener: &str, route: &str, pool: &str) -> Self {
        place([listener, route, pool])
    }
}

/// Forms of a line.
const TEXT: u8 = 0;
const JSON: u8 = 1;
const TEMPLATE: u8 = 2;

#[derive(Debug)]
struct State {
    on: AtomicBool,
    form: AtomicU8,
    template: ArcSwapOption<LogTemplate>,
    /// Only what failed or was slow.
    only_errors: AtomicBool,
    /// The share of the others, of `u32::MAX`.
    sample: AtomicU32,
    out: Outlet,
    config: Mutex<Option<config::AccessLog>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            on: AtomicBool::new(false),
            form: AtomicU8::new(TEXT),
            template: ArcSwapOption::empty(),
            only_errors: AtomicBool::new(false),
            sample: AtomicU32::new(u32::MAX),
            out: Outlet::new(Whose::Access),
            config: Mutex::default(),
        }
    }
}

/// The access log: bounded lanes to a thread of its own. Cloning shares it, and a reload may
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
            let opened = open(&config.to).and_then(|target| self.0.out.aim(target));
            opened.map_err(|error| unopened(config, &error))?;
            let (form, template) = match &config.format {
                LineFormat::Text => (TEXT, None),
                LineFormat::Json => (JSON, None),
                LineFormat::Template(template) => (TEMPLATE, Some(Arc::new(template.clone()))),
            };
            self.0.template.store(template);
            self.0.form.store(form, Relaxed);
            self.0.only_errors.store(config.only_errors, Relaxed);
            let share = config.sample.get() * f64::from(u32::MAX);
            self.0.sample.store(share as u32, Relaxed);
        }
        self.0.on.store(config.is_some(), Relaxed);
        *current = config.cloned();
        Ok(())
    }
    /// Whether anything is written at all.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.on.load(Relaxed)
    }
    /// Whether there is to be a line for what failed or was slow (`worth`), or for something else,
    /// which may be drawn: asked once for each.
    #[inline]
    pub fn takes(&self, worth: bool) -> bool {
        if !self.is_on() || worth {
            return self.is_on();
        }
        let sample = self.0.sample.load(Relaxed);
        !self.0.only_errors.load(Relaxed) && (sample == u32::MAX || fastrand::u32(..) < sample)
    }
    /// Says one line; one that finds its lane full is dropped and counted. Never waits.
    pub fn write(&self, access: &Access<'_>) {
        if !self.is_on() {
            return;
        }
        let lanes = &self.0.out.lanes;
        match self.0.form.load(Relaxed) {
            TEXT => lanes.say(most(access), |line| text(access, line)),
            JSON => lanes.say(most(access), |line| json(access, line)),
            _ => match self.0.template.load().as_deref() {
                Some(said) => lanes.say(most_of(said, access), |line| template(said, access, line)),
                None => return,
            },
        }
        self.0.out.wake();
    }
    /// Opens the file again (SIGUSR1).
    pub fn reopen(&self) {
        let Some(config) = self.0.config.lock().clone() else { return };
        let done = open(&config.to).and_then(|target| self.0.out.aim(target));
        if let Err(error) = done {
            tracing::error!(to = %config.to, %error, "access log not reopened; the old file is kept");
        }
    }
    /// Lines dropped since the start (`evenkeel_log_dropped_total`).
    pub fn dropped(&self) -> u64 {
        self.0.out.dropped()
    }
    /// Waits until what is queued is written, a second at most.
    pub fn flush(&self) {
        self.0.out.flush(WAIT);
    }
}

fn open(target: &LogTarget) -> io::Result<Box<dyn Write + Send>> {
    Ok(match target {
        LogTarget::Stdout => Box::new(io::stdout()),
        LogTarget::Stderr => Box::new(io::stderr()),
        LogTarget::File(path) => {
            // A pipe that nobody reads is an error at once, and never waited for.
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            let mut options = OpenOptions::new();
            let file: File = options.append(true).create(true).custom_flags(flags).open(path)?;
            Box::new(file)
        }
    })
}

/// Whether a file could be opened for writing, or made.
fn may_open(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        // To open a pipe and close it again would end whoever reads it.
        Ok(meta) if meta.file_type().is_socket() => Err(Errno::NXIO.into()),
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
        _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            "a socket is no file, and a pipe needs a reader first: start it, or name a file".into()
        }
        _ => "let the user of this process write there, or name another file".into(),
    };
    Problem::new(&config.at, config.key.clone(), what).hint(hint)
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;

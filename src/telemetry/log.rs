//! The process's own log: for people or as JSON, on standard error, changeable at a reload. A thread of
//! its own writes it: whoever reads it, or does not, nobody who says something waits.
use super::escape::seen;
use super::fields::Fields;
use super::outlet::Outlet;
use super::writer::Whose;
use crate::config::{Log, LogFormat};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::{fmt, reload};

type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Form = Box<dyn Layer<Filtered> + Send + Sync>;

/// Changes the process's log at a reload.
#[derive(Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    form: reload::Handle<Form, Filtered>,
    out: Arc<Outlet>,
}

impl std::fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogHandle")
    }
}

/// Sets up the process's log, for panics too. Called once, by the door.
///
/// # Errors
///
/// When the level is no filter, a log is set up already, or its thread cannot start.
pub fn init(log: &Log) -> Result<LogHandle, String> {
    let out = Arc::new(Outlet::new(Whose::Process));
    // Filter and form are layers of their own: a layer that carries its filter cannot be replaced.
    let (filter, filter_handle) = reload::Layer::new(filter(log)?);
    let (form, form_handle) = reload::Layer::new(form(log, &out));
    let aimed = out.aim(Box::new(io::stderr()));
    aimed.map_err(|error| format!("start of the log's thread: {error}"))?;
    tracing::subscriber::set_global_default(Registry::default().with(filter).with(form))
        .map_err(|e| e.to_string())?;
    std::panic::set_hook(Box::new(panicked));
    Ok(LogHandle { filter: filter_handle, form: form_handle, out })
}

/// One line for a panic, in the log's own form: what reads the log must not meet another.
fn panicked(info: &PanicHookInfo<'_>) {
    let (payload, thread) = (info.payload(), std::thread::current());
    let words = payload.downcast_ref::<&str>().copied();
    let words = words.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let at = info.location().map(ToString::to_string).unwrap_or_default();
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| one_line(&trace.to_string()));
    let words = one_line(words.unwrap_or("without words"));
    tracing::error!(thread = thread.name(), at, trace, "a fault of evenkeel itself: {words}");
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" | ")
}

fn filter(log: &Log) -> Result<EnvFilter, String> {
    EnvFilter::try_new(&log.level).map_err(|e| format!("log.level: {e}"))
}

fn form(log: &Log, out: &Arc<Outlet>) -> Form {
    let ansi = log.format == LogFormat::Text && io::stderr().is_terminal();
    let out = Said(out.clone());
    let writer = move || Seen { to: out.clone(), ansi };
    match log.format {
        LogFormat::Text => {
            let form = fmt::layer().fmt_fields(Fields).with_target(false);
            form.with_writer(writer).with_ansi(ansi).boxed()
        }
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    }
}

/// A line of the log: whoever gave its parts, a client or a backend, it is one line and shows all that
/// it says.
struct Seen<W> {
    to: W,
    /// Colours are ours; those of others are escaped before.
    ansi: bool,
}

impl<W: Write> Write for Seen<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        let seen = seen(text, |c| c == '\u{1b}' && self.ansi);
        self.to.write_all(format!("{seen}{end}").as_bytes())?;
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What is said to the writer.
#[derive(Clone)]
struct Said(Arc<Outlet>);

impl Write for Said {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lanes.say_in_order(line);
        self.0.wake();
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogHandle {
    /// Says this as it is, after all that was said before: the last words of a process.
    pub fn say(&self, words: &str) {
        self.out.lanes.say_in_order(format!("{words}\n").as_bytes());
        self.out.wake();
    }
    /// Waits until what was said is written, so long at the most.
    pub fn flush(&self, most: Duration) {
        self.out.flush(most);
    }
    /// Lines lost since the start (`evenkeel_process_log_dropped_total`).
    pub fn dropped(&self) -> u64 {
        self.out.dropped()
    }
    /// Applies another level or format.
    ///
    /// # Errors
    ///
    /// When the level is no filter.
    pub fn apply(&self, log: &Log) -> Result<(), String> {
        let filter = filter(log)?;
        self.filter.reload(filter).map_err(|e| e.to_string())?;
        self.form.reload(form(log, &self.out)).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::is_unseen;
    use parking_lot::Mutex;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_one_line_of_the_log() {
        let sink = Sink::default();
        let writer = sink.clone();
        let writer = move || Seen { to: writer.clone(), ansi: false };
        let form = fmt::layer().json().flatten_event(true).with_writer(writer);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(panicked));
        tracing::subscriber::with_default(Registry::default().with(form), || {
            let broken = std::panic::catch_unwind(|| panic!("range end {}\n out of range", 3));
            assert!(broken.is_err());
        });
        let said = Sink::default();
        let writer = said.clone();
        let form = fmt::layer()
            .with_ansi(false)
            .with_writer(move || Seen { to: writer.clone(), ansi: false });
        tracing::subscriber::with_default(Registry::default().with(form), || {
            tracing::info!(name = "a\u{202e}b", "two\nlines \u{9b}2J");
        });
        let said = String::from_utf8(said.0.lock().clone()).unwrap();
        assert!(said.ends_with('\n') && !said.trim_end().contains(is_unseen), "{said:?}");
        assert!(said.contains("\\u202e") || said.contains("\\u{202e}"), "{said}");
        std::panic::set_hook(before);
        let said = String::from_utf8(sink.0.lock().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(line["message"], "a fault of evenkeel itself: range end 3 | out of range");
        assert!(line["at"].as_str().unwrap().starts_with("src/telemetry/log.rs:"), "{said}");
        assert_eq!(line["level"], "ERROR");
    }
}

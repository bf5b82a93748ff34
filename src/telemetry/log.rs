//! The process's own log: for people or as JSON, on standard error, changeable at a reload.
use crate::config::{Log, LogFormat};
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
}

impl std::fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogHandle")
    }
}

/// Sets up the process's log. Called once, by the door.
///
/// # Errors
///
/// When the level is no filter, or a log is set up already.
pub fn init(log: &Log) -> Result<LogHandle, String> {
    // Filter and form are layers of their own: a layer that carries its filter cannot be replaced.
    let (filter, filter_handle) = reload::Layer::new(filter(log)?);
    let (form, form_handle) = reload::Layer::new(form(log));
    tracing::subscriber::set_global_default(Registry::default().with(filter).with(form))
        .map_err(|e| e.to_string())?;
    Ok(LogHandle { filter: filter_handle, form: form_handle })
}

fn filter(log: &Log) -> Result<EnvFilter, String> {
    EnvFilter::try_new(&log.level).map_err(|e| format!("log.level: {e}"))
}

fn form(log: &Log) -> Form {
    let writer = std::io::stderr;
    match log.format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            fmt::layer().with_writer(writer).with_ansi(ansi).with_target(false).boxed()
        }
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    }
}

impl LogHandle {
    /// Applies another level or format.
    ///
    /// # Errors
    ///
    /// When the level is no filter.
    pub fn apply(&self, log: &Log) -> Result<(), String> {
        let filter = filter(log)?;
        self.filter.reload(filter).map_err(|e| e.to_string())?;
        self.form.reload(form(log)).map_err(|e| e.to_string())
    }
}

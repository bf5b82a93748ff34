//! The process's own log: for people or as JSON, on standard error, changeable at a reload.
use crate::config::{Log, LogFormat};
use std::sync::Arc;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::{fmt, reload};

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

/// Changes the process's log at a reload.
#[derive(Clone)]
pub struct LogHandle(Arc<reload::Handle<Boxed, Registry>>);

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
    let (layer, handle) = reload::Layer::new(layer(log)?);
    tracing::subscriber::set_global_default(Registry::default().with(layer))
        .map_err(|e| e.to_string())?;
    Ok(LogHandle(Arc::new(handle)))
}

fn layer(log: &Log) -> Result<Boxed, String> {
    let filter = EnvFilter::try_new(&log.level).map_err(|e| format!("log.level: {e}"))?;
    let writer = std::io::stderr;
    Ok(match log.format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            fmt::layer()
                .with_writer(writer)
                .with_ansi(ansi)
                .with_target(false)
                .with_filter(filter)
                .boxed()
        }
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_writer(writer).with_filter(filter).boxed()
        }
    })
}

impl LogHandle {
    /// Applies another level or format.
    ///
    /// # Errors
    ///
    /// When the level is no filter.
    pub fn apply(&self, log: &Log) -> Result<(), String> {
        let layer = layer(log)?;
        self.0.reload(layer).map_err(|e| e.to_string())
    }
}

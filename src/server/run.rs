//! The start of a server and its end.
use super::gate::{Carried, Gate};
use super::reload::{Parts, Reloader, leave, retire};
use super::report::ReloadError;
use super::state::{Stage, State};
use super::worker::{self, Worker};
use crate::config::{BindAddr, Config};
use crate::discover::{Resolver, SystemResolver};
use crate::net;
use crate::pool::Policies;
use crate::telemetry::LogHandle;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

pub use super::worker::Layout;

/// What a server is started with besides its configuration.
#[derive(Clone)]
pub struct Options {
    /// Policies that pools may name.
    pub policies: Policies,
    /// Resolves names of backends.
    pub resolver: Arc<dyn Resolver>,
    /// Threads.
    pub layout: Layout,
    /// The process's log, to be changed by reloads.
    pub log: Option<LogHandle>,
    /// Called by each worker thread each second: for an allocator that wants to be told when to
    /// give memory back.
    pub tidy: Option<fn()>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policies: Policies::default(),
            resolver: Arc::new(SystemResolver),
            layout: Layout::PerCore,
            log: None,
            tidy: None,
        }
    }
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration was refused.
    Config(ReloadError),
    /// A thread or a runtime.
    Threads(io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Threads(error) => write!(f, "start of the worker threads: {error}"),
        }
    }
}
impl std::error::Error for StartError {}

/// A server that runs. Dropping it cuts every connection.
pub struct Running {
    /// Takes further configurations.
    pub reloader: Reloader,
    workers: Arc<Vec<Worker>>,
}

/// Starts a server on the runtime it is called on, which becomes its control runtime; the data
/// plane gets threads of its own.
///
/// # Errors
///
/// [`StartError`]: nothing runs.
pub async fn start(config: Config, options: Options) -> Result<Running, StartError> {
    let descriptors = net::raise_descriptor_limit();
    let carried = Carried::by(descriptors);
    let threads = config
        .server
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let max_connections = carried.most(config.server.max_connections);
    let workers = Arc::new(
        worker::start(options.layout, threads, options.tidy).map_err(StartError::Threads)?,
    );
    let state = Arc::new(State::new(Gate::new(max_connections)));
    let parts = Parts {
        state,
        workers: workers.clone(),
        policies: options.policies,
        resolver: options.resolver,
        control: Handle::current(),
        log: options.log,
        carried,
    };
    let reloader = Reloader::new(parts);
    reloader.apply(config).await.map_err(StartError::Config)?;
    tracing::info!(descriptors, max_connections, workers = threads, "started");
    Ok(Running { reloader, workers })
}

impl Running {
    /// What it is at this moment.
    pub fn state(&self) -> &Arc<State> {
        self.reloader.state()
    }

    /// The addresses a listener really bound; empty for an unknown one.
    pub fn addresses(&self, listener: &str) -> Vec<BindAddr> {
        self.state().addresses().remove(listener).unwrap_or_default()
    }

    /// Ends in order: `/readyz` says no, after `server.shutdown_delay` nothing more is accepted,
    /// what is in flight may end within `server.grace`, the rest is cut.
    pub async fn stop(self) {
        let state = self.state().clone();
        state.reach(Stage::Draining);
        let plan = state.plan.load_full();
        let (delay, grace) = plan.map_or((Duration::ZERO, Duration::ZERO), |p| {
            (p.config.server.shutdown_delay, p.config.server.grace)
        });
        tokio::time::sleep(delay).await;
        let doors: Vec<_> = std::mem::take(&mut *state.doors.lock()).into_iter().collect();
        leave(&state, &doors);
        let over = state.live.lock().values().chain(&*state.retired.lock()).cloned().collect();
        let begun = Instant::now();
        retire(state.clone(), doors, over, grace).await;
        // Nobody waits for copies of requests, but what they are sent is whole.
        let mirrors = state.plan.load_full().map(|plan| plan.shaping.mirrors.clone());
        if let Some(mirrors) = mirrors {
            let left = grace.saturating_sub(begun.elapsed());
            let _ = tokio::time::timeout(left, mirrors.emptied()).await;
        }
        self.reloader.stop().await;
        state.access.flush();
        let workers = self.workers;
        // Joining threads blocks; they end at once, their runtimes dropped with all tasks.
        let _ = tokio::task::spawn_blocking(move || drop(workers)).await;
    }
}

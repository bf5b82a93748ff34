//! The start of a server and its end.
use super::folder;
use super::gate::{Carried, Gate};
use super::handover::{Inherited, Legacy, Undone};
use super::kept::Kept;
use super::notify::{self, Notify};
use super::reload::{Parts, Reloader, leave, retire};
use super::report::ReloadError;
use super::state::{Stage, State};
use super::worker::{self, Worker};
use super::writer::{self, Desk};
use crate::config::{BindAddr, Config};
use crate::discover::{Resolver, SystemResolver};
use crate::net::{self, OffLimits};
use crate::pool::Policies;
use crate::telemetry::LogHandle;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use super::worker::Layout;

/// So long at the end the last spans may take.
const EXPORTS: Duration = Duration::from_secs(2);

/// What a server is started with besides its configuration.
#[derive(Clone)]
pub struct Options {
    /// Policies that pools may name.
    pub policies: Policies,
    /// Resolves names of backends.
    pub resolver: Arc<dyn Resolver>,
    /// Threads.
    pub layout: Layout,
    /// The folder in which what the API says survives a restart; `None`: it does not.
    pub state: Option<PathBuf>,
    /// The process's log, to be changed by reloads.
    pub log: Option<LogHandle>,
    /// Called by each worker thread each second: for an allocator that wants to be told when to
    /// give memory back.
    pub tidy: Option<fn()>,
    /// Where no backend may be: the addresses of the admin side.
    pub off_limits: Arc<OffLimits>,
    /// The service manager.
    pub notify: Notify,
}

/// What a server finds of those before it.
#[derive(Debug, Default)]
pub struct Past {
    /// Sockets that are open already.
    pub inherited: Inherited,
    /// The process that serves until this one does.
    pub legacy: Option<Legacy>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policies: Policies::default(),
            resolver: Arc::new(SystemResolver),
            layout: Layout::PerCore,
            state: None,
            log: None,
            tidy: None,
            off_limits: Arc::default(),
            notify: Notify::default(),
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
    /// What the API said before is there and cannot be read.
    Words(io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Threads(error) => write!(f, "start of the worker threads: {error}"),
            Self::Words(error) => error.fmt(f),
        }
    }
}
impl std::error::Error for StartError {}

/// A server that runs. Dropping it cuts every connection.
pub struct Running {
    /// Takes further configurations.
    pub reloader: Reloader,
    workers: Arc<Vec<Worker>>,
    notify: Notify,
    /// How the process before this one is told that this one ends.
    farewell: Option<Farewell>,
    /// Why the process before this one serves again.
    taken_back: Option<oneshot::Receiver<String>>,
}

type Farewell = (oneshot::Sender<()>, JoinHandle<()>);

/// Starts a server on the runtime it is called on, which becomes its control runtime; the data
/// plane gets threads of its own.
///
/// # Errors
///
/// [`StartError`]: nothing runs.
pub async fn start(config: Config, options: Options) -> Result<Running, StartError> {
    start_from(Past::default(), config, options).await
}

/// As [`start`], from what is open already and what another process knows. That one is told when this
/// one serves, or why it does not.
///
/// # Errors
///
/// [`StartError`]: nothing runs, and the other process goes on.
pub async fn start_from(
    past: Past,
    config: Config,
    options: Options,
) -> Result<Running, StartError> {
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
    let kept = options.state.as_deref().map(Kept::new);
    // What another process may be writing is not read: that one says it.
    let on_disk = kept.as_ref().filter(|_| past.legacy.is_none());
    let (said, notes) =
        on_disk.map(Kept::load).transpose().map_err(StartError::Words)?.unwrap_or_default();
    notes.iter().for_each(|note| tracing::error!("{note}"));
    let (words, orders) = Desk::new(said, options.state.as_deref());
    let state =
        Arc::new(State::new(Gate::new(max_connections), words, options.log, options.off_limits));
    tokio::spawn(writer::run(Arc::downgrade(&state), orders));
    tokio::spawn(writer::listen(Arc::downgrade(&state)));
    tokio::spawn(folder::watch(Arc::downgrade(&state)));
    let parts = Parts {
        state,
        workers: workers.clone(),
        policies: options.policies,
        resolver: options.resolver,
        control: Handle::current(),
        carried,
        notify: options.notify.clone(),
        inherited: past.inherited.into(),
        legacy: past.legacy.into(),
    };
    let reloader = Reloader::new(parts);
    if let Err(error) = reloader.apply(config).await {
        if let Some(legacy) = reloader.legacy() {
            legacy.refuse(&error.to_string()).await;
        }
        return Err(StartError::Config(error));
    }
    tracing::info!(descriptors, max_connections, workers = threads, "started");
    if let Some(every) = options.notify.beat() {
        tokio::spawn(notify::live(options.notify.clone(), Arc::downgrade(&workers), every));
    }
    Ok(Running { reloader, workers, notify: options.notify, farewell: None, taken_back: None })
}

impl Running {
    /// What it is at this moment.
    pub fn state(&self) -> &Arc<State> {
        self.reloader.state()
    }

    /// Everything is served: tells the process before this one, which holds on until this one has
    /// proved that it lives, and then the service manager.
    ///
    /// # Errors
    ///
    /// The process before this one serves again, or still.
    pub async fn serves(&mut self) -> Result<(), String> {
        self.reloader.let_go();
        let Some(mut legacy) = self.reloader.legacy() else {
            self.reloader.ready();
            return Ok(());
        };
        legacy.serving().await?;
        let (end, mut ends) = oneshot::channel::<()>();
        let (take_back, taken_back) = oneshot::channel();
        let (reloader, workers) = (self.reloader.clone(), Arc::downgrade(&self.workers));
        let task = tokio::spawn(async move {
            // One that cannot answer for its threads is not heard.
            let alive = || async {
                if !worker::all_answer(&workers).await {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                done = legacy.done(alive) => match done {
                    Ok(()) => tracing::info!(from = legacy.pid, "took over"),
                    Err(Undone::Lost(why)) => tracing::warn!("{why}"),
                    Err(Undone::TakenBack(why)) => return drop(take_back.send(why)),
                },
                _ = &mut ends => return legacy.bye().await,
            }
            reloader.state().off_limits.also(None);
            reloader.state().words.listen();
            reloader.ready();
        });
        (self.farewell, self.taken_back) = (Some((end, task)), Some(taken_back));
        Ok(())
    }

    /// Waits until the process before this one serves again, for it heard nothing of this one, and says
    /// why. Sockets, files and words are that one's: this process is to end at once.
    pub async fn taken_back(&mut self) -> String {
        match self.taken_back.take() {
            Some(why) => match why.await {
                Ok(why) => why,
                Err(_) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }

    /// Before this process ends in order, or is another one's past: the one before it need not serve
    /// again.
    pub async fn farewell(&mut self) {
        if let Some((end, task)) = self.farewell.take() {
            drop(end);
            let _ = task.await;
        }
    }

    /// The addresses a listener really bound; empty for an unknown one.
    pub fn addresses(&self, listener: &str) -> Vec<BindAddr> {
        self.state().addresses().remove(listener).unwrap_or_default()
    }

    /// Ends in order: `/readyz` says no, after `server.shutdown_delay` nothing more is accepted,
    /// what is in flight may end within `server.grace`, the rest is cut.
    pub async fn stop(mut self) {
        let state = self.state().clone();
        self.notify.stopping();
        state.reach(Stage::Draining);
        self.farewell().await;
        let plan = state.plan.load_full();
        tokio::time::sleep(plan.map_or(Duration::ZERO, |p| p.config.server.shutdown_delay)).await;
        self.drain().await;
    }

    /// Ends in order after the service was handed over: who comes from here on is another process's,
    /// what is in flight may end within `server.grace`, the rest is cut.
    pub async fn leave(mut self) {
        self.state().reach(Stage::Draining);
        self.farewell().await;
        self.drain().await;
    }

    async fn drain(self) {
        let state = self.state().clone();
        let grace = state.plan.load_full().map_or(Duration::ZERO, |p| p.config.server.grace);
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
        state.telemetry.tracer.apply(None);
        let exports = std::mem::take(&mut *state.exports.lock());
        for export in exports {
            // What a collector does not take by then is lost.
            let _ = tokio::time::timeout(EXPORTS, export).await;
        }
        state.telemetry.access.flush();
        let workers = self.workers;
        // Joining threads blocks; they end at once, their runtimes dropped with all tasks.
        let _ = tokio::task::spawn_blocking(move || drop(workers)).await;
    }
}

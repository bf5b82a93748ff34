//! From one plan to the next: prepare may fail, commit may not.
use super::compare;
use super::door::{self, Door, Sockets};
use super::gate::Carried;
use super::handover::{Inherited, Legacy};
use super::notify::Notify;
use super::outcome;
use super::pools::Keepers;
use super::report::{ReloadError, Report, names};
use super::state::{LastReload, State};
use super::worker::Worker;
use crate::config::{self, Config, Problem};
use crate::discover::Resolver;
use crate::plan::{self, Plan};
use crate::pool::{Policies, Prepared};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use prepare::wanted;

mod commit;
mod inherit;
mod prepare;
mod retire;

pub(super) use retire::{leave, retire};

/// Why nothing is taken into force after a hand-over.
const GIVEN: &str =
    "this process handed the service over and drains: the process that serves reads the file";

/// Takes configurations into force, one at a time.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reloader of generation {}", self.generation())
    }
}

struct Inner {
    parts: Parts,
    running: Mutex<Running>,
}

/// While it is there, nothing is taken into force.
pub(super) struct Held<'a> {
    running: tokio::sync::MutexGuard<'a, Running>,
}

impl Held<'_> {
    /// Nothing ever is: the service is another process's.
    pub(super) fn for_good(mut self) {
        self.running.is_given = true;
    }
}

/// What only one reload at a time may touch.
#[derive(Default)]
struct Running {
    keepers: Keepers,
    /// What the process was started with.
    started: Option<Arc<Config>>,
    /// The service is another process's. What is taken into force here would take the other's sockets
    /// back, and remove their files.
    is_given: bool,
}

/// What a reloader works with.
pub(super) struct Parts {
    pub(super) state: Arc<State>,
    pub(super) workers: Arc<Vec<Worker>>,
    pub(super) policies: Policies,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) control: Handle,
    /// Connections that the descriptor limit carries.
    pub(super) carried: Carried,
    pub(super) notify: Notify,
    /// Sockets that were open when the process began, until the first plan has taken its own.
    pub(super) inherited: parking_lot::Mutex<Inherited>,
    /// The process before this one, until this one serves.
    pub(super) legacy: parking_lot::Mutex<Option<Legacy>>,
}

/// A plan that is checked and whose addresses are bound.
struct Ready {
    plan: Plan,
    prepared: Vec<Prepared>,
    /// What the operator should hear.
    notes: Vec<String>,
    sockets: Sockets,
    /// Addresses for datagrams that are on their way out and wanted again.
    kept: BTreeMap<door::Key, Arc<Door>>,
}

impl Reloader {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner { parts, running: Mutex::default() }))
    }

    /// Takes a configuration into force. An equal one changes nothing and keeps the generation.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]: nothing has changed.
    pub async fn apply(&self, config: Config) -> Result<Report, ReloadError> {
        let mut running = self.0.running.lock().await;
        if running.is_given {
            return Err(ReloadError::TakeOver(GIVEN.into()));
        }
        let again = self.generation() > 0;
        if again {
            self.0.parts.notify.reloading();
        }
        let result = self.try_apply(config, &mut running).await;
        if again {
            self.ready();
        }
        let state = &self.0.parts.state;
        let problems = match &result {
            Ok(report) => {
                state.reloads.0.inc();
                *state.last_success.lock() = SystemTime::now();
                state.needs_restart.lock().clone_from(&report.needs_restart);
                Vec::new()
            }
            Err(error) => {
                state.reloads.1.inc();
                error.to_string().lines().map(str::to_string).collect()
            }
        };
        let (at, generation) = (SystemTime::now(), self.generation());
        for (what, all) in
            result.iter().flat_map(|r| [("added", &r.added), ("removed", &r.removed)])
        {
            for name in all.iter().filter_map(|object| object.strip_prefix("listener ")) {
                let data = serde_json::json!({ "listener": name, "what": what });
                state.events.tell("listener", data, at);
            }
        }
        let done = if problems.is_empty() { "success" } else { "failure" };
        let what =
            serde_json::json!({ "result": done, "generation": generation, "problems": problems });
        state.events.tell("reload", what, at);
        *state.last.lock() = Some(LastReload { at, problems });
        result
    }

    /// Tells the service manager that this process serves.
    pub(super) fn ready(&self) {
        let status = format!("serving, generation {} of the configuration", self.generation());
        self.0.parts.notify.ready(&status);
    }

    /// Reads a file and takes it into force; the log says what came of it.
    ///
    /// # Errors
    ///
    /// As [`Reloader::apply`]; problems of the file are noted as a reload that was refused.
    pub async fn read(&self, path: &Path) -> Result<Report, ReloadError> {
        let (path, before) = (path.to_path_buf(), self.generation());
        let loaded = tokio::task::spawn_blocking(move || config::load(&path)).await;
        let result = match loaded {
            Ok(Ok(config)) => self.apply(config).await,
            Ok(Err(problems)) => {
                self.refused(&problems);
                Err(ReloadError::Problems(problems))
            }
            Err(gone) => Err(ReloadError::Broken(gone.to_string())),
        };
        outcome::log(&result, before, true);
        result
    }

    /// What this process was started with; waits for a reload that is under way.
    pub async fn started(&self) -> Option<Arc<Config>> {
        self.0.running.lock().await.started.clone()
    }

    /// What a reload would do, without doing it. Addresses are not tried: [`Report::not_tried`].
    /// Large tables take their time; never to be called where others wait for the thread. `started`:
    /// see [`Reloader::started`].
    ///
    /// # Errors
    ///
    /// Problems of the configuration.
    pub fn plan(
        &self,
        config: Config,
        started: Option<Arc<Config>>,
    ) -> Result<Report, ReloadError> {
        let config = Arc::new(config);
        let started = started.unwrap_or_else(|| config.clone());
        let Parts { state, policies, .. } = &self.0.parts;
        let current = state.plan.load_full();
        let draft = plan::compile(config.clone(), current.as_deref(), policies)
            .map_err(ReloadError::Problems)?;
        let before = current.as_deref().map_or_else(|| config.clone(), |p| p.config.clone());
        let changed = before != config;
        let generation = current.as_deref().map_or(1, |p| p.generation + u64::from(changed));
        let both = (&before, &config);
        let mut report = Report::of(generation, &started, both, &state.words.said());
        compare::count(&mut report, state);
        report.notes = draft.said();
        let doors = state.doors.lock();
        let closed = wanted(&draft.plan).filter(|key| !doors.contains_key(key));
        report.not_tried = closed.map(|(addr, ..)| format!("bind {addr}")).collect();
        drop(doors);
        Ok(report)
    }

    /// A reload that failed before there was a configuration.
    pub fn refused(&self, problems: &[Problem]) {
        let state = &self.0.parts.state;
        state.reloads.1.inc();
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let (at, generation) = (SystemTime::now(), self.generation());
        let what = serde_json::json!({ "result": "failure", "generation": generation, "problems": problems });
        state.events.tell("reload", what, at);
        *state.last.lock() = Some(LastReload { at, problems });
    }

    async fn try_apply(
        &self,
        config: Config,
        running: &mut Running,
    ) -> Result<Report, ReloadError> {
        let config = Arc::new(config);
        let started = running.started.clone().unwrap_or_else(|| config.clone());
        let current = self.0.parts.state.plan.load_full();
        if let Some(current) = current.as_deref().filter(|plan| plan.config == config) {
            let said = self.state().words.said();
            return Ok(Report::of(current.generation, &started, (&config, &config), &said));
        }
        // Large tables and names to resolve take their time: probes must not wait for them.
        let (this, before) = (self.clone(), current.clone());
        let prepared = tokio::task::spawn_blocking(move || this.prepare(config, before.as_deref()));
        let ready =
            prepared.await.unwrap_or_else(|gone| Err(ReloadError::Broken(gone.to_string())))?;
        let mut ready = ready;
        let new = ready.plan.config.clone();
        let old = current.as_deref().map_or_else(|| new.clone(), |plan| plan.config.clone());
        let (generation, said) = (ready.plan.generation, self.state().words.said());
        let mut report = Report::of(generation, &started, (&old, &new), &said);
        compare::count(&mut report, self.state());
        let legacy = self.0.parts.legacy.lock().take();
        if let Some(legacy) = legacy {
            self.take_over(legacy, &mut ready, &mut running.keepers).await?;
        }
        report.notes = std::mem::take(&mut ready.notes);
        report.covered = self.state().words.said().covered(&new);
        self.commit(ready, &mut running.keepers);
        report.notes.iter().for_each(|note| tracing::warn!("{note}"));
        if !report.covered.is_empty() {
            let all: Vec<String> = report.covered.iter().map(ToString::to_string).collect();
            tracing::warn!(all = names(&all), "the API's words hold over the file's");
        }
        let followed: Vec<_> = self.0.parts.workers.iter().map(Worker::follow).collect();
        for worker in followed {
            let _ = worker.await;
        }
        running.started = Some(started);
        Ok(report)
    }

    /// Closes what was open when the process began and nobody wants.
    pub(super) fn let_go(&self) {
        self.0.parts.inherited.lock().forget();
    }

    /// Whether nobody keeps configurations from being taken into force.
    pub(super) fn is_idle(&self) -> bool {
        self.0.running.try_lock().is_ok_and(|running| !running.is_given)
    }

    /// Waits until nobody does; forever where the service is another process's.
    pub(super) async fn idle(&self) {
        if self.0.running.lock().await.is_given {
            std::future::pending::<()>().await;
        }
    }

    /// Keeps configurations from being taken into force meanwhile.
    pub(super) async fn hold(&self) -> Held<'_> {
        Held { running: self.0.running.lock().await }
    }

    /// The state this reloader changes.
    pub fn state(&self) -> &Arc<State> {
        &self.0.parts.state
    }

    /// The generation in force; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.state().plan.load_full().map_or(0, |plan| plan.generation)
    }

    /// Ends the work beside the pools.
    pub(super) async fn stop(&self) {
        self.0.running.lock().await.keepers = Keepers::default();
    }
}

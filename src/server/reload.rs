//! From one plan to the next: prepare may fail, commit may not.
use super::door::{self, Door, Kind, Sockets};
use super::gate::Carried;
use super::listener::Live;
use super::memory;
use super::pools::{Keepers, log_turns};
use super::report::{ReloadError, Report};
use super::state::{LastReload, Stage, State};
use super::worker::Worker;
use crate::config::{Config, Name, Problem};
use crate::discover::Resolver;
use crate::message;
use crate::plan::{self, Draft, Plan};
use crate::pool::Policies;
use crate::telemetry::LogHandle;
use crate::udp::Ours;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// Takes configurations into force, one at a time.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    parts: Parts,
    running: Mutex<Running>,
}

/// What only one reload at a time may touch.
#[derive(Default)]
struct Running {
    keepers: Keepers,
    /// What the process was started with.
    started: Option<Arc<Config>>,
}

/// What a reloader works with.
pub(super) struct Parts {
    pub(super) state: Arc<State>,
    pub(super) workers: Arc<Vec<Worker>>,
    pub(super) policies: Policies,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) control: Handle,
    pub(super) log: Option<LogHandle>,
    /// Connections that the descriptor limit carries.
    pub(super) carried: Carried,
}

/// A plan that is checked and whose addresses are bound.
struct Ready {
    draft: Draft,
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
        let result = self.try_apply(config, &mut running).await;
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
        *state.last.lock() = Some(LastReload { at: SystemTime::now(), problems });
        result
    }

    /// A reload that failed before there was a configuration.
    pub fn refused(&self, problems: &[Problem]) {
        let state = &self.0.parts.state;
        state.reloads.1.inc();
        let problems = problems.iter().map(ToString::to_string).collect();
        *state.last.lock() = Some(LastReload { at: SystemTime::now(), problems });
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
            return Ok(Report::of(current.generation, &started, &config, &config));
        }
        // Large tables and names to resolve take their time: probes must not wait for them.
        let (this, before) = (self.clone(), current.clone());
        let prepared = tokio::task::spawn_blocking(move || this.prepare(config, before.as_deref()));
        let ready =
            prepared.await.unwrap_or_else(|gone| Err(ReloadError::Broken(gone.to_string())))?;
        let new = ready.draft.plan.config.clone();
        let old = current.as_deref().map_or_else(|| new.clone(), |plan| plan.config.clone());
        let mut report = Report::of(ready.draft.plan.generation, &started, &old, &new);
        report.notes = ready.draft.said();
        self.commit(ready, &mut running.keepers);
        report.notes.iter().for_each(|note| tracing::warn!("{note}"));
        let followed: Vec<_> = self.0.parts.workers.iter().map(Worker::follow).collect();
        for worker in followed {
            let _ = worker.await;
        }
        running.started = Some(started);
        Ok(report)
    }

    /// Everything that may fail. What it opened is closed again when it does.
    fn prepare(&self, config: Arc<Config>, current: Option<&Plan>) -> Result<Ready, ReloadError> {
        let parts = &self.0.parts;
        let draft =
            plan::compile(config, current, &parts.policies).map_err(ReloadError::Problems)?;
        let mut kept = self.0.parts.state.leaving.lock().clone();
        let wanted: BTreeSet<door::Key> = wanted(&draft.plan).collect();
        kept.retain(|key, _| wanted.contains(key));
        let sockets = self.bind(&draft.plan, &kept)?;
        let access = draft.plan.config.log.access.as_ref();
        parts.state.access.apply(access).map_err(|problem| ReloadError::Problems(vec![problem]))?;
        Ok(Ready { draft, sockets, kept })
    }

    /// Binds every address that is not held yet, by whichever listener.
    fn bind(
        &self,
        plan: &Plan,
        kept: &BTreeMap<door::Key, Arc<Door>>,
    ) -> Result<Sockets, ReloadError> {
        let parts = &self.0.parts;
        let mut held = parts.state.doors.lock().clone();
        held.extend(kept.clone());
        let leaving = parts.state.leaving.lock().clone();
        let ours: Vec<_> = held
            .values()
            .chain(leaving.values())
            .map(|door| (door.addr.clone(), door.kind))
            .collect();
        let mut sockets = Sockets::default();
        for key in wanted(plan).filter(|key| !held.contains_key(key)) {
            let addr = key.0.clone();
            sockets
                .bind(key, parts.workers.len(), &ours)
                .map_err(|error| ReloadError::Bind(addr, error))?;
        }
        Ok(sockets)
    }

    /// Stores pointers and starts what is new. Cannot fail.
    fn commit(&self, Ready { draft, sockets, kept }: Ready, keepers: &mut Keepers) {
        let parts = &self.0.parts;
        for prepared in draft.prepared {
            let (pool, turns) = prepared.commit();
            log_turns(&pool.name, &turns);
        }
        let plan = Arc::new(draft.plan);
        keepers.follow(&plan.pools, &parts.resolver, &parts.control);
        self.settings(&plan.config);
        let retired = self.listeners(&plan);
        let closed = self.doors(&plan, sockets, kept);
        leave(&parts.state, &closed);
        parts.state.plan.store(Some(plan.clone()));
        parts.state.reach(Stage::Ready);
        parts.control.spawn(retire(parts.state.clone(), closed, retired, plan.config.server.grace));
    }

    fn settings(&self, config: &Config) {
        let parts = &self.0.parts;
        message::memory().limit(memory::bytes(config.server.memory));
        let said = config.server.max_connections;
        let most = parts.carried.most(said);
        if let Some(said) = said.filter(|said| *said > most) {
            tracing::warn!(
                "server.max_connections = {said}: the descriptor limit carries {most}; raise it (ulimit -n) or lower the key"
            );
        }
        parts.state.gate.set_most(most);
        if let Some(Err(error)) = parts.log.as_ref().map(|log| log.apply(&config.log)) {
            tracing::error!(%error, "log not changed");
        }
    }

    /// Stores each listener's service; returns the listeners that are over.
    fn listeners(&self, plan: &Plan) -> Vec<Arc<Live>> {
        let parts = &self.0.parts;
        let mut live = parts.state.live.lock();
        let mut before = std::mem::take(&mut *live);
        let mut over = Vec::new();
        for (name, listener) in &plan.listeners {
            let (kept, other) = match before.remove(name) {
                Some(running) if running.follow(listener) => (Some(running), None),
                other => (None, other),
            };
            over.extend(other);
            let running =
                kept.unwrap_or_else(|| Arc::new(Live::new(listener, parts.workers.len())));
            live.insert(name.clone(), running);
        }
        over.extend(before.into_values());
        over
    }

    /// Opens what is new and leads what is held to its listener; returns what nobody names.
    fn doors(
        &self,
        plan: &Plan,
        mut sockets: Sockets,
        mut kept: BTreeMap<door::Key, Arc<Door>>,
    ) -> Vec<(door::Key, Arc<Door>)> {
        let parts = &self.0.parts;
        let live = parts.state.live.lock();
        let mut doors = parts.state.doors.lock();
        let mut before = std::mem::take(&mut *doors);
        for (name, listener) in &plan.listeners {
            let Some(running) = live.get(name) else { continue };
            for key in door::keys(&listener.config) {
                let held = before.remove(&key).or_else(|| kept.remove(&key));
                let door = match (held, sockets.take(&key)) {
                    (Some(door), _) => {
                        parts.state.leaving.lock().remove(&key);
                        door.lead_to(running);
                        door
                    }
                    (None, Some(bound)) => {
                        Arc::new(Door::open(bound, running, &parts.workers, &parts.state))
                    }
                    // The same address twice in one listener.
                    (None, None) => continue,
                };
                doors.insert(key, door);
            }
        }
        let bound = doors.iter().filter(|((_, kind, _), _)| *kind == Kind::Datagrams);
        let bound = bound.map(|(_, door)| door.addr.clone());
        let of_datagrams =
            |name: &Name| plan.config.pools.get(name).is_some_and(|pool| pool.carries.datagrams());
        let pools = plan.pools.iter().filter(|(name, _)| of_datagrams(name));
        let pools = pools.map(|(_, pool)| pool.clone()).collect();
        parts.state.ours.store(Arc::new(Ours::new(bound, pools)));
        before.into_iter().collect()
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

/// Every address of a plan.
fn wanted(plan: &Plan) -> impl Iterator<Item = door::Key> {
    plan.listeners
        .values()
        .flat_map(|listener| door::keys(&listener.config))
        .collect::<BTreeSet<_>>()
        .into_iter()
}

/// Remembers addresses for datagrams that somebody may want again before their sessions are over.
pub(super) fn leave(state: &State, doors: &[(door::Key, Arc<Door>)]) {
    for (key, door) in doors.iter().filter(|((_, kind, _), _)| *kind == Kind::Datagrams) {
        door.shut();
        state.leaving.lock().insert(key.clone(), door.clone());
    }
}

/// Closes addresses once nothing waits at them, then ends the connections of listeners that are
/// over.
pub(super) async fn retire(
    state: Arc<State>,
    doors: Vec<(door::Key, Arc<Door>)>,
    over: Vec<Arc<Live>>,
    grace: Duration,
) {
    state.retired.lock().extend(over.iter().cloned());
    // Sessions of datagrams are answered by the address they began at.
    let of_datagrams: Vec<_> =
        doors.iter().filter(|((_, kind, _), _)| *kind == Kind::Datagrams).cloned().collect();
    let close = |(_, door): (door::Key, Arc<Door>)| tokio::spawn(async move { door.close().await });
    let closing: Vec<_> = doors.into_iter().map(close).collect();
    for door in closing {
        let _ = door.await;
    }
    let drain = |live: Arc<Live>| tokio::spawn(async move { live.drain(grace).await });
    let draining: Vec<_> = over.iter().cloned().map(drain).collect();
    for live in draining {
        let _ = live.await;
    }
    let mut leaving = state.leaving.lock();
    for (key, door) in of_datagrams {
        // One that was wanted again meanwhile stays.
        if leaving.get(&key).is_some_and(|there| Arc::ptr_eq(there, &door)) {
            leaving.remove(&key);
        }
    }
    drop(leaving);
    state.retired.lock().retain(|live| !over.iter().any(|done| Arc::ptr_eq(done, live)));
}

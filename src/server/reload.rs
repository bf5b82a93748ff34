//! From one plan to the next: prepare may fail, commit may not.
use super::compare;
use super::door::{self, Door, Kind, Sockets};
use super::gate::Carried;
use super::handover::{self, Inherited, Legacy};
use super::listener::Live;
use super::memory;
use super::notify::Notify;
use super::outcome;
use super::pools::{Keepers, keep_off, log_turns};
use super::report::{ReloadError, Report, names};
use super::said::Said;
use super::state::{LastReload, Stage, State};
use super::worker::Worker;
use crate::config::{self, Config, Name, Problem};
use crate::discover::Resolver;
use crate::export::{self, Exporter};
use crate::message;
use crate::plan::{self, Plan, Pools};
use crate::pool::{Change, Policies, Prepared};
use crate::udp::Ours;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// Why nothing is taken into force after a hand-over.
const GIVEN: &str =
    "this process handed the service over and drains: the process that serves reads the file";

/// It is looked so often whether the sessions of an address are over.
const QUIET: Duration = Duration::from_millis(100);

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

    /// Everything that may fail. What it opened is closed again when it does.
    fn prepare(&self, config: Arc<Config>, current: Option<&Plan>) -> Result<Ready, ReloadError> {
        let parts = &self.0.parts;
        let draft =
            plan::compile(config, current, &parts.policies).map_err(ReloadError::Problems)?;
        let mut kept = self.0.parts.state.leaving.lock().clone();
        let wanted: BTreeSet<door::Key> = wanted(&draft.plan).collect();
        kept.retain(|key, _| wanted.contains(key));
        let sockets = self.bind(&draft.plan, &kept)?;
        let applied = parts.state.telemetry.apply(&draft.plan.config.log);
        applied.map_err(|problem| ReloadError::Problems(vec![problem]))?;
        let notes = draft.said();
        Ok(Ready { plan: draft.plan, prepared: draft.prepared, notes, sockets, kept })
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
        let mut inherited = parts.inherited.lock();
        let before = inherited.held();
        let ours: Vec<_> = held
            .values()
            .chain(leaving.values())
            .map(|door| (door.addr.clone(), door.kind))
            .chain(before)
            .collect();
        let named: BTreeSet<_> = wanted(plan).collect();
        let going = held.iter().chain(&leaving).filter(|(key, _)| !named.contains(*key));
        let going: Vec<_> = going.map(|(_, door)| (door.addr.clone(), door.kind)).collect();
        let mut sockets = Sockets::default();
        for key in wanted(plan).filter(|key| !held.contains_key(key)) {
            let (addr, workers) = (key.0.clone(), parts.workers.len());
            let bound = match inherited.of_door(&key) {
                Some(open) => sockets.adopt(key, open, workers),
                None => sockets.bind(key, workers, (&ours, &going)),
            };
            bound.map_err(|error| ReloadError::Bind(addr, error))?;
        }
        for addr in inherited.unused() {
            tracing::warn!(addr, "the service manager listens there, and no listener binds it");
        }
        inherited.forget_unnamed();
        Ok(sockets)
    }

    /// Has spans sent where they are to go now.
    fn export(&self, trace: Option<&config::Trace>) {
        let Parts { state, control, .. } = &self.0.parts;
        let tracer = &state.telemetry.tracer;
        let spans = tracer.apply(trace);
        if let Some((spans, config)) = spans.zip(trace.cloned()) {
            let exporter = Exporter { config, cells: tracer.cells.clone() };
            let task = control.spawn(export::traces(exporter, spans));
            let mut exports = state.exports.lock();
            exports.retain(|task| !task.is_finished());
            exports.push(task);
        }
    }

    /// Stores pointers and starts what is new. Cannot fail.
    fn commit(&self, ready: Ready, keepers: &mut Keepers) {
        let Ready { plan, prepared, sockets, kept, .. } = ready;
        let parts = &self.0.parts;
        self.export(plan.config.trace.as_ref());
        // Nothing more is said between this and the plan.
        let said = parts.state.words.said.lock();
        // Never while callers are asked for none.
        let off_limits = &parts.state.off_limits;
        let asks = plan.config.admin.token.is_some();
        if !asks {
            off_limits.asks_token(false);
        }
        self.pools(prepared, &plan.pools, &said, keepers);
        let plan = Arc::new(plan);
        self.settings(&plan.config);
        let retired = self.listeners(&plan);
        let closed = self.doors(&plan, sockets, kept);
        leave(&parts.state, &closed);
        parts.state.plan.store(Some(plan.clone()));
        off_limits.asks_token(asks);
        keep_off(&plan.pools, off_limits);
        drop(said);
        parts.state.reach(Stage::Ready);
        parts.control.spawn(retire(parts.state.clone(), closed, retired, plan.config.server.grace));
    }

    /// Each pool follows its words, and is probed.
    fn pools(&self, prepared: Vec<Prepared>, pools: &Pools, said: &Said, keepers: &mut Keepers) {
        let parts = &self.0.parts;
        let before = parts.state.plan.load_full();
        for prepared in prepared {
            prepared.keep_off(&parts.state.off_limits);
            let name = &prepared.pool().name;
            if before.as_ref().is_none_or(|plan| !plan.pools.contains_key(name)) {
                let words = said.of(name);
                let words = words.iter().map(|(name, word)| (name.clone(), Some(word.clone())));
                prepared.pool().apply(Change::Words(words.collect()), Instant::now());
            }
            let (pool, turns) = prepared.commit();
            log_turns(&pool.name, &turns);
        }
        keepers.follow(pools, &parts.resolver, &parts.control, &parts.state);
    }

    /// Takes over from the process before this one, up to the moment from which on this one serves:
    /// pools know what it knew, and nobody else writes what is kept.
    async fn take_over(
        &self,
        mut legacy: Legacy,
        ready: &mut Ready,
        keepers: &mut Keepers,
    ) -> Result<(), ReloadError> {
        let state = &self.0.parts.state;
        state.off_limits.asks_token(ready.plan.config.admin.token.is_some());
        // Until that one says that it is done.
        state.off_limits.also(Some(legacy.memory.governed.clone()));
        let pen = state.words.pen.lock().await;
        // Who beats does so there, until that one says that it is done.
        state.words.held.store(true, Relaxed);
        let told = async {
            let recalled = |legacy: &Legacy| {
                let (said, ages) = legacy.memory.said()?;
                let changes = state.words.said().changes(&said);
                state.words.inherit(said, ages);
                Ok::<_, String>(changes)
            };
            recalled(&legacy)?;
            let said = state.words.said();
            self.pools(std::mem::take(&mut ready.prepared), &ready.plan.pools, &said, keepers);
            legacy.recall(&ready.plan.pools);
            handover::first_verdicts(&ready.plan.pools).await;
            legacy.ready(&self.0.parts.inherited, state.off_limits.own()).await?;
            state.off_limits.follows(legacy.memory.governed.clone());
            for (pool, words) in recalled(&legacy)? {
                if let Some(pool) = ready.plan.pools.get(&pool) {
                    pool.apply(Change::Words(words), Instant::now());
                }
            }
            legacy.recall(&ready.plan.pools);
            if let Some(kept) = &pen.kept {
                kept.agree(&state.words.said()).map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        };
        if let Err(why) = told.await {
            legacy.refuse(&why).await;
            return Err(ReloadError::TakeOver(why));
        }
        let (success, failure) = legacy.memory.hand_overs;
        state.hand_overs.success.add(success + 1);
        state.hand_overs.failure.add(failure);
        let from = (legacy.pid, legacy.version.clone(), SystemTime::now());
        *state.hand_overs.from.lock() = Some(from);
        state.events.follow(legacy.memory.events);
        let older = legacy.memory.older.iter().copied().chain([legacy.pid]);
        state.hand_overs.older.follow(older);
        *self.0.parts.legacy.lock() = Some(legacy);
        Ok(())
    }

    /// The process before this one, which is still to be told that this one serves.
    pub(super) fn legacy(&self) -> Option<Legacy> {
        self.0.parts.legacy.lock().take()
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
        if let Some(Err(error)) = parts.state.log.as_ref().map(|log| log.apply(&config.log)) {
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
    let begun = Instant::now();
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
    // Where only the address went, its sessions have the time that those of a listener would have.
    let ended = async {
        while of_datagrams.iter().any(|(_, door)| door.sessions.get() > 0) {
            tokio::time::sleep(QUIET).await;
        }
    };
    let _ = tokio::time::timeout(grace.saturating_sub(begun.elapsed()), ended).await;
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

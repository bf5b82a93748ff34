//! From one plan to the next: prepare may fail, commit may not.
use super::listener::{self, Common, Live};
use super::memory;
use super::pools::{Keepers, log_turns};
use super::state::{LastReload, Stage, State};
use super::worker::Worker;
use crate::config::{BindAddr, Config, Name, Problem};
use crate::discover::Resolver;
use crate::message;
use crate::net::Bound;
use crate::plan::{self, Draft, Plan};
use crate::pool::Policies;
use crate::telemetry::LogHandle;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// What a reload did, by kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The generation in force.
    pub generation: u64,
    /// `listener web`, `pool app` …
    pub added: Vec<String>,
    /// Said otherwise than before.
    pub changed: Vec<String>,
    /// No longer said.
    pub removed: Vec<String>,
    /// Keys that changed and need a restart.
    pub needs_restart: Vec<String>,
}

/// Why a reload was refused; the old plan runs on.
#[derive(Debug)]
pub enum ReloadError {
    /// Problems of the configuration.
    Problems(Vec<Problem>),
    /// An address that cannot be bound.
    Bind(BindAddr, std::io::Error),
    /// The access log cannot be opened.
    Log(String),
}

impl std::fmt::Display for ReloadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Problems(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Bind(addr, error) => {
                write!(f, "listen on {addr}: {error}")?;
                if error.kind() == std::io::ErrorKind::AddrInUse {
                    f.write_str(
                        "; another process listens there: end it or choose another address",
                    )?;
                }
                Ok(())
            }
            Self::Log(what) => f.write_str(what),
        }
    }
}
impl std::error::Error for ReloadError {}

/// Takes configurations into force, one at a time.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    state: Arc<State>,
    workers: Arc<Vec<Worker>>,
    policies: Policies,
    resolver: Arc<dyn Resolver>,
    control: Handle,
    log: Option<LogHandle>,
    descriptors: usize,
    keepers: Mutex<Keepers>,
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
    pub(super) descriptors: usize,
}

type Sockets = BTreeMap<Name, Vec<(BindAddr, Bound)>>;

impl Reloader {
    pub(super) fn new(p: Parts) -> Self {
        Self(Arc::new(Inner {
            state: p.state,
            workers: p.workers,
            policies: p.policies,
            resolver: p.resolver,
            control: p.control,
            log: p.log,
            descriptors: p.descriptors,
            keepers: Mutex::default(),
        }))
    }

    /// Takes a configuration into force. An equal one changes nothing and keeps the generation.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]: nothing has changed.
    pub async fn apply(&self, config: Config) -> Result<Report, ReloadError> {
        let mut keepers = self.0.keepers.lock().await;
        let result = self.try_apply(config, &mut keepers);
        let state = &self.0.state;
        let problems = match &result {
            Ok(_) => {
                state.reloads.0.inc();
                *state.last_success.lock() = SystemTime::now();
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
        self.0.state.reloads.1.inc();
        let problems = problems.iter().map(ToString::to_string).collect();
        *self.0.state.last.lock() = Some(LastReload { at: SystemTime::now(), problems });
    }

    fn try_apply(&self, config: Config, keepers: &mut Keepers) -> Result<Report, ReloadError> {
        let current = self.0.state.plan.load_full();
        if let Some(current) = current.as_deref().filter(|plan| *plan.config == config) {
            return Ok(Report { generation: current.generation, ..Report::default() });
        }
        let draft = plan::compile(Arc::new(config), current.as_deref(), &self.0.policies)
            .map_err(ReloadError::Problems)?;
        let sockets = self.bind(&draft.plan)?;
        let log = &draft.plan.config.log;
        self.0.state.access.apply(log.access.as_ref()).map_err(|e| {
            ReloadError::Log(format!(
                "log.access.to: open {:?}: {e}",
                log.access.as_ref().map(|a| &a.to)
            ))
        })?;
        let report = report(current.as_deref(), &draft.plan);
        self.commit(draft, sockets, keepers);
        self.0.state.needs_restart.lock().clone_from(&report.needs_restart);
        Ok(report)
    }

    /// Binds every address that no listener of its name holds. On an error all of them are closed.
    fn bind(&self, plan: &Plan) -> Result<Sockets, ReloadError> {
        let live = self.0.state.live.lock().clone();
        let mut sockets = Sockets::new();
        for (name, listener) in &plan.listeners {
            let held = live.get(name);
            let fresh: Vec<&BindAddr> = listener
                .config
                .bind
                .iter()
                .map(|bind| &bind.addr)
                .filter(|addr| !held.is_some_and(|live| live.is_bound(addr)))
                .collect();
            for addr in fresh {
                let bound = listener::bind(addr, self.0.workers.len())
                    .map_err(|error| ReloadError::Bind(addr.clone(), error))?;
                sockets.entry(name.clone()).or_default().push((addr.clone(), bound));
            }
        }
        Ok(sockets)
    }

    /// Stores pointers and starts what is new. Cannot fail.
    fn commit(&self, draft: Draft, mut sockets: Sockets, keepers: &mut Keepers) {
        let inner = &*self.0;
        for prepared in draft.prepared {
            let (pool, turns) = prepared.commit();
            log_turns(&pool.name, &turns);
        }
        let plan = draft.plan;
        keepers.follow(&plan.pools, &inner.resolver, &inner.control);
        let config = &plan.config;
        message::memory().limit(memory::bytes(config.server.memory));
        inner
            .state
            .gate
            .set_most(config.server.max_connections.unwrap_or(usize::MAX).min(inner.descriptors));
        if let Some(Err(error)) = inner.log.as_ref().map(|log| log.apply(&config.log)) {
            tracing::error!(%error, "log not changed");
        }
        let common = Common {
            gate: inner.state.gate.clone(),
            access: inner.state.access.clone(),
            panics: inner.state.panics.clone(),
        };
        let mut live = inner.state.live.lock();
        for (name, listener) in &plan.listeners {
            let kept = live.get(name).filter(|live| live.slot.store(&listener.service)).cloned();
            let running = kept.unwrap_or_else(|| {
                let new = Live::new(
                    &listener.config,
                    &listener.service,
                    listener.cells.clone(),
                    inner.workers.len(),
                );
                Arc::new(new)
            });
            running.gate.set_most(listener::most(&listener.config));
            for (said, bound) in sockets.remove(name).unwrap_or_default() {
                running.open(said, bound, &inner.workers, &common);
            }
            let said: Vec<BindAddr> =
                listener.config.bind.iter().map(|bind| bind.addr.clone()).collect();
            running.close_but(&said);
            live.insert(name.clone(), running);
        }
        let gone: Vec<Name> =
            live.keys().filter(|name| !plan.listeners.contains_key(&***name)).cloned().collect();
        for running in gone.iter().filter_map(|name| live.remove(name)) {
            running.close_but(&[]);
            inner.control.spawn(running.drain(config.server.grace));
        }
        drop(live);
        inner.state.plan.store(Some(Arc::new(plan)));
        inner.state.reach(Stage::Ready);
    }

    /// The state this reloader changes.
    pub fn state(&self) -> &Arc<State> {
        &self.0.state
    }

    /// Ends the work beside the pools.
    pub(super) async fn stop(&self) {
        *self.0.keepers.lock().await = Keepers::default();
    }
}

/// Compares two plans, object by object.
fn report(before: Option<&Plan>, after: &Plan) -> Report {
    let mut report = Report { generation: after.generation, ..Report::default() };
    let Some(before) = before else { return report };
    let (old, new) = (&before.config, &after.config);
    compare("listener", &old.listeners, &new.listeners, &mut report);
    compare("pool", &old.pools, &new.pools, &mut report);
    let routes = |config: &Config| {
        config.routes.iter().map(|r| (r.name.clone(), r.clone())).collect::<BTreeMap<_, _>>()
    };
    compare("route", &routes(old), &routes(new), &mut report);
    let kept = [
        ("server.workers", old.server.workers == new.server.workers),
        ("server.state", old.server.state == new.server.state),
        ("admin.bind", old.admin.bind == new.admin.bind),
        ("metrics.bind", old.metrics == new.metrics),
    ];
    report.needs_restart =
        kept.iter().filter(|(_, same)| !same).map(|(key, _)| (*key).to_string()).collect();
    report
}

fn compare<T: PartialEq>(
    kind: &str,
    old: &BTreeMap<Name, T>,
    new: &BTreeMap<Name, T>,
    report: &mut Report,
) {
    for (name, value) in new {
        match old.get(name) {
            None => report.added.push(format!("{kind} {name}")),
            Some(before) if before != value => report.changed.push(format!("{kind} {name}")),
            Some(_) => {}
        }
    }
    report.removed.extend(
        old.keys().filter(|name| !new.contains_key(&***name)).map(|name| format!("{kind} {name}")),
    );
}

//! What the running server is at this moment: shared by reload, signals and the admin side.
use super::door::{self, Door, Kind};
use super::events::Events;
use super::gate::Gate;
use super::handover::HandOvers;
use super::listener::Live;
use super::writer::Desk;
use crate::config::{BindAddr, Name};
use crate::metrics::{Counter, Gauge, Panics, Words};
use crate::net::OffLimits;
use crate::plan::{Listener, Plan};
use crate::telemetry::{LogHandle, Telemetry};
use crate::udp::Ours;
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// How far the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not every listener is bound.
    Starting,
    /// Serving.
    Ready,
    /// Told to stop.
    Draining,
}

impl Stage {
    /// Every stage, in the order of a life.
    pub const ALL: [Self; 3] = [Self::Starting, Self::Ready, Self::Draining];

    /// `starting`, `ready`, `draining`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// How the last reload went.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// When.
    pub at: SystemTime,
    /// Problems; empty when it was taken.
    pub problems: Vec<String>,
}

/// What is counted of callers of the admin side.
#[derive(Debug, Default)]
pub struct AdminCells {
    /// `evenkeel_admin_requests_total` by status.
    pub requests: Words<u16>,
    /// `evenkeel_admin_limit_hits_total`
    pub limit_hits: Words,
    /// Connections that were accepted and are not over.
    pub open: Gauge,
}

/// A moment after which something need not be done again for a while.
#[derive(Debug, Default)]
pub(super) struct Now(Mutex<Option<Instant>>);

impl Now {
    /// Whether it was not done for so long; if so, it is done now.
    pub(super) fn is_due(&self, again: Duration) -> bool {
        let now = Instant::now();
        let Some(mut last) = self.0.try_lock() else { return false };
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= again);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// The running server.
#[derive(Debug)]
pub struct State {
    /// When it started.
    pub started: Instant,
    /// The plan in force.
    pub plan: ArcSwapOption<Plan>,
    /// What is told of requests and connections.
    pub telemetry: Telemetry,
    /// The process's own log, where this server is all of a process.
    pub log: Option<LogHandle>,
    /// Panics caught.
    pub panics: Arc<Panics>,
    /// Reloads taken and refused.
    pub reloads: (Counter, Counter),
    /// How the last one went; the start counts as one.
    pub last: Mutex<Option<LastReload>>,
    /// When one was last taken.
    pub last_success: Mutex<SystemTime>,
    /// What happens, for who listens.
    pub events: Events,
    /// What the API says.
    pub words: Desk,
    /// What callers of the admin side do.
    pub admin: AdminCells,
    /// What became of hand-overs.
    pub hand_overs: HandOvers,
    /// Keys that changed and need a restart.
    pub needs_restart: Mutex<Vec<String>>,
    pub(super) gate: Arc<Gate>,
    /// When room was last made for newcomers.
    pub(super) room: Now,
    /// Listeners of the plan in force.
    pub(super) live: Mutex<BTreeMap<Name, Arc<Live>>>,
    /// Bound addresses.
    pub(super) doors: Mutex<BTreeMap<door::Key, Arc<Door>>>,
    /// Addresses for datagrams that nobody names any more while sessions there still end.
    pub(super) leaving: Mutex<BTreeMap<door::Key, Arc<Door>>>,
    /// Where no backend may be.
    pub off_limits: Arc<OffLimits>,
    /// Addresses that are no client's.
    pub(super) ours: ArcSwap<Ours>,
    /// Listeners that are no longer said and still have connections.
    pub(super) retired: Mutex<Vec<Arc<Live>>>,
    /// Tasks that send spans on.
    pub(super) exports: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    stage: AtomicU8,
}

impl State {
    pub(super) fn new(
        gate: Arc<Gate>,
        words: Desk,
        log: Option<LogHandle>,
        off_limits: Arc<OffLimits>,
    ) -> Self {
        Self {
            started: Instant::now(),
            plan: ArcSwapOption::empty(),
            telemetry: Telemetry::default(),
            log,
            panics: Arc::default(),
            reloads: (Counter::new(), Counter::new()),
            last: Mutex::new(None),
            last_success: Mutex::new(SystemTime::now()),
            events: Events::default(),
            words,
            admin: AdminCells::default(),
            hand_overs: HandOvers::default(),
            needs_restart: Mutex::new(Vec::new()),
            gate,
            room: Now::default(),
            live: Mutex::default(),
            doors: Mutex::default(),
            leaving: Mutex::default(),
            off_limits,
            ours: ArcSwap::from_pointee(Ours::default()),
            retired: Mutex::default(),
            exports: Mutex::default(),
            stage: AtomicU8::new(0),
        }
    }
    /// How far the process is.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Starting,
            1 => Stage::Ready,
            _ => Stage::Draining,
        }
    }
    pub(super) fn reach(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Relaxed);
    }
    /// The addresses really bound by each listener of the plan, in the order of its config.
    pub fn addresses(&self) -> BTreeMap<Name, Vec<BindAddr>> {
        let Some(plan) = self.plan.load_full() else { return BTreeMap::new() };
        let doors = self.doors.lock();
        let of = |listener: &Listener| {
            door::keys(&listener.config)
                .filter_map(|key| Some(doors.get(&key)?.addr.clone()))
                .collect()
        };
        plan.listeners.iter().map(|(name, listener)| (name.clone(), of(listener))).collect()
    }
    /// Sessions that a listener has by one of its addresses as the config writes it.
    pub(super) fn sessions_at(&self, listener: &Name, at: &BindAddr) -> i64 {
        let is = |(addr, _, name): &door::Key| {
            addr == at && name.as_ref().is_none_or(|name| name == listener)
        };
        let doors = self.doors.lock();
        let here = doors.iter().filter(|(key, door)| door.kind == Kind::Datagrams && is(key));
        here.map(|(_, door)| door.sessions.get()).sum()
    }
    /// Client connections there may be over all listeners.
    pub fn most_connections(&self) -> usize {
        self.gate.most()
    }
    /// Client connections open over all listeners.
    pub fn connections(&self) -> i64 {
        self.live.lock().values().map(|live| live.cells.open.get()).sum()
    }
}

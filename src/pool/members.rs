//! The truth about a pool: endpoints x health x the operator's wish. Pure: time is an argument.
use super::backend::{Backend, BackendId, Candidate, Endpoint, Total};
use super::health::Health;
use crate::config::{self, Addr, Name};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// A backend's state, by the words of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "interface.md's words")]
pub enum State {
    Up,
    Down,
    Unknown,
    Drain,
    Maintenance,
}

impl State {
    /// `up`, `down` …
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }
}

/// Why a backend is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "`word` says it")]
pub enum Reason {
    None,
    /// Probes say so.
    Probe,
    /// A try was refused or could not reach it.
    Connect,
    /// Its name has no address.
    Unresolved,
    /// An operator said so.
    Operator,
    /// Not probed yet.
    NotProbed,
    /// The config or discovery no longer names it.
    Removed,
}

impl Reason {
    /// `probe`, `connect` …; empty for none.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Probe => "probe",
            Self::Connect => "connect",
            Self::Unresolved => "unresolved",
            Self::Operator => "operator",
            Self::NotProbed => "not probed",
            Self::Removed => "removed",
        }
    }
}

/// What an operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "interface.md's words")]
pub enum Wish {
    Up,
    Drain,
    Maintenance,
}

/// What changes a pool.
#[derive(Clone, Debug)]
pub enum Change {
    /// The pool's settings, by config. Endpoints follow as a change of their own.
    Settings(Arc<config::Pool>),
    /// The whole set, by config or discovery.
    Endpoints(Vec<Endpoint>),
    /// A name's addresses; empty when it has none.
    Resolved {
        /// Whose.
        id: BackendId,
        /// Its addresses, in the resolver's order.
        addrs: Vec<SocketAddr>,
    },
    /// A probe's verdict, with a word on what was seen.
    Probed {
        /// Whose.
        id: BackendId,
        /// `Ok`, or what went wrong.
        verdict: Result<(), String>,
    },
    /// A try never reached the backend: down with reason `connect` at once.
    Unreached {
        /// Whose.
        id: BackendId,
        /// What went wrong.
        detail: String,
    },
    /// An operator's wish.
    Operator {
        /// Whose.
        name: Name,
        /// What.
        wish: Wish,
    },
}

/// A backend changed its state. Logged once, by the caller of `apply` on the control runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose.
    pub backend: Name,
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub detail: String,
}

/// A member as it is shown: a copy.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "names say it")]
pub struct Member {
    pub backend: Arc<Backend>,
    pub weight: u16,
    pub tier: u8,
    pub state: State,
    pub reason: Reason,
    pub since: SystemTime,
    /// The last probe's word: when, and `ok` or what went wrong.
    pub last_probe: Option<(SystemTime, String)>,
    /// The config no longer names it; it stays until its last request ends.
    pub removed: bool,
}

#[derive(Debug)]
struct Record {
    endpoint: Endpoint,
    backend: Arc<Backend>,
    health: Health,
    wish: Wish,
    /// A name without an address.
    unresolved: bool,
    /// A try did not reach it, and no probe has since.
    unreached: Option<String>,
    removed: Option<Instant>,
    state: State,
    reason: Reason,
    since: SystemTime,
    last_probe: Option<(SystemTime, String)>,
}

impl Record {
    /// The state that follows from all that is known.
    fn judge(&self) -> (State, Reason) {
        match self.wish {
            _ if self.removed.is_some() => (State::Drain, Reason::Removed),
            Wish::Maintenance => (State::Maintenance, Reason::Operator),
            Wish::Drain => (State::Drain, Reason::Operator),
            Wish::Up if self.unresolved => (State::Down, Reason::Unresolved),
            Wish::Up if self.unreached.is_some() => (State::Down, Reason::Connect),
            Wish::Up => match self.health {
                Health::Unknown => (State::Unknown, Reason::NotProbed),
                Health::Down { .. } => (State::Down, Reason::Probe),
                Health::Up { .. } => (State::Up, Reason::None),
            },
        }
    }
    fn is_present(&self) -> bool {
        self.removed.is_none()
    }
}

/// The truth about a pool.
#[derive(Debug)]
pub(super) struct Members {
    pool: Name,
    settings: Arc<config::Pool>,
    records: Vec<Record>,
    next: u32,
    total: Arc<Total>,
    /// Whether anybody was ever probed.
    pub(super) probed: bool,
}

impl Members {
    pub(super) fn new(pool: Name, settings: Arc<config::Pool>) -> Self {
        Self { pool, settings, records: Vec::new(), next: 0, total: Arc::default(), probed: false }
    }

    /// Takes a change and says who turned.
    pub(super) fn apply(&mut self, change: Change, now: Instant) -> Vec<Turn> {
        let mut detail = String::new();
        match change {
            Change::Settings(settings) => self.settle(settings),
            Change::Endpoints(endpoints) => self.endpoints(endpoints, now),
            Change::Resolved { id, addrs } => {
                if let Some(record) = self.find(id) {
                    record.unresolved = addrs.is_empty();
                    record.backend.resolve(addrs);
                }
            }
            Change::Probed { id, verdict } => detail = self.probed(id, verdict),
            Change::Unreached { id, detail: why } => {
                if let Some(record) = self.find(id) {
                    record.unreached = Some(why.clone());
                }
                detail = why;
            }
            Change::Operator { name, wish } => {
                if let Some(record) =
                    self.records.iter_mut().find(|r| r.is_present() && r.endpoint.name == name)
                {
                    record.wish = wish;
                }
            }
        }
        self.turns(&detail)
    }

    fn find(&mut self, id: BackendId) -> Option<&mut Record> {
        self.records.iter_mut().find(|r| r.backend.id == id && r.is_present())
    }

    fn settle(&mut self, settings: Arc<config::Pool>) {
        // Health switched on later leaves who was up as up; switched off, nobody is doubted.
        if settings.health.is_none() {
            self.records.iter_mut().for_each(|r| r.health = Health::Up { bad: 0 });
        }
        self.settings = settings;
    }

    /// Takes the whole set: who is kept keeps everything, who is new begins, who is gone drains.
    fn endpoints(&mut self, endpoints: Vec<Endpoint>, now: Instant) {
        let mut old: std::collections::HashMap<Name, Record> = std::collections::HashMap::new();
        let mut draining = Vec::new();
        for record in std::mem::take(&mut self.records) {
            if record.is_present() {
                old.insert(record.endpoint.name.clone(), record);
            } else {
                draining.push(record);
            }
        }
        for endpoint in endpoints {
            let kept = match old.remove(&endpoint.name) {
                Some(mut record) if record.endpoint.addr == endpoint.addr => {
                    record.endpoint = endpoint;
                    record
                }
                other => {
                    let wish = other.as_ref().map_or(Wish::Up, |r| r.wish);
                    draining.extend(other);
                    Record { wish, ..self.begin(endpoint, now) }
                }
            };
            self.records.push(kept);
        }
        draining.extend(old.into_values());
        for mut record in draining {
            record.removed.get_or_insert(now);
            self.records.push(record);
        }
    }

    fn begin(&mut self, endpoint: Endpoint, now: Instant) -> Record {
        let id = BackendId(self.next);
        self.next += 1;
        let unresolved = matches!(endpoint.addr, Addr::Host(..));
        let backend = Backend::new(
            id,
            endpoint.name.clone(),
            self.pool.clone(),
            endpoint.addr.clone(),
            self.total.clone(),
            now,
        );
        let health =
            if self.settings.health.is_some() { Health::Unknown } else { Health::Up { bad: 0 } };
        let mut record = Record {
            endpoint,
            backend: Arc::new(backend),
            health,
            wish: Wish::Up,
            unresolved,
            unreached: None,
            removed: None,
            state: State::Unknown,
            reason: Reason::NotProbed,
            since: SystemTime::now(),
            last_probe: None,
        };
        // Its first state is no turn.
        (record.state, record.reason) = record.judge();
        record.backend.set_usable(record.state == State::Up);
        record
    }

    fn probed(&mut self, id: BackendId, verdict: Result<(), String>) -> String {
        let out = self.is_out();
        let rules = self.settings.health.as_ref().map(|h| (if out { 1 } else { h.rise }, h.fall));
        self.probed = true;
        let Some(record) = self.find(id) else { return String::new() };
        let detail = verdict.clone().err().unwrap_or_else(|| "ok".into());
        record.last_probe = Some((SystemTime::now(), detail.clone()));
        if let Some((rise, fall)) = rules {
            if verdict.is_ok() && record.unreached.take().is_some() && !out && rise > 1 {
                // It refused real work: it rises like one that failed its probes.
                record.health = Health::Down { good: 0 };
            }
            record.health = record.health.after(verdict.is_ok(), rise, fall);
        } else if verdict.is_ok() {
            record.unreached = None;
        }
        detail
    }

    fn turns(&mut self, detail: &str) -> Vec<Turn> {
        let mut turns = Vec::new();
        for record in &mut self.records {
            let (state, reason) = record.judge();
            // Also when nothing turned: a request may have flipped the bit for something else.
            record.backend.set_usable(state == State::Up);
            if (state, reason) == (record.state, record.reason) {
                continue;
            }
            turns.push(Turn {
                backend: record.endpoint.name.clone(),
                from: record.state,
                to: state,
                reason,
                detail: detail.to_string(),
            });
            record.backend.cells.turned(state);
            (record.state, record.reason, record.since) = (state, reason, SystemTime::now());
        }
        turns
    }

    /// Whether nobody can get work.
    pub(super) fn is_out(&self) -> bool {
        !self.records.iter().any(|r| r.state == State::Up)
    }

    /// Drops removed members whose last request has ended or whose time is over. Says whether any was.
    pub(super) fn forget(&mut self, now: Instant) -> bool {
        let limit = self.settings.drain.get();
        let before = self.records.len();
        self.records.retain(|r| {
            let over = |since: Instant| {
                limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
            };
            let stays = r.removed.is_none_or(|since| r.backend.active() > 0 && !over(since));
            if !stays {
                r.backend.end();
            }
            stays
        });
        before != self.records.len()
    }

    /// Who is usable: the lowest tier that has somebody; below the panic threshold also those that
    /// only probes hold back. And whether that is so.
    pub(super) fn usable(&self) -> (Vec<Candidate>, bool) {
        let present: Vec<&Record> = self
            .records
            .iter()
            .filter(|r| r.is_present() && r.wish == Wish::Up && r.endpoint.weight.get() > 0)
            .collect();
        let up = present.iter().filter(|r| r.state == State::Up).count();
        let panic = self
            .settings
            .panic_threshold
            .is_some_and(|t| (up as f64) < t.get() * present.len() as f64);
        let counts = |r: &&&Record| {
            r.state == State::Up || (panic && matches!(r.reason, Reason::Probe | Reason::NotProbed))
        };
        let tier = present.iter().filter(counts).map(|r| r.endpoint.tier).min();
        let chosen = present.iter().filter(counts).filter(|r| Some(r.endpoint.tier) == tier);
        let candidates: Vec<Candidate> = chosen
            .map(|r| Candidate {
                backend: r.backend.clone(),
                weight: u32::from(r.endpoint.weight.get()),
            })
            .collect();
        for candidate in &candidates {
            candidate.backend.set_usable(true);
        }
        (candidates, panic)
    }

    /// Everyone, as shown.
    pub(super) fn list(&self) -> Vec<Member> {
        let show = |r: &Record| Member {
            backend: r.backend.clone(),
            weight: r.endpoint.weight.get(),
            tier: r.endpoint.tier,
            state: r.state,
            reason: r.reason,
            since: r.since,
            last_probe: r.last_probe.clone(),
            removed: r.removed.is_some(),
        };
        self.records.iter().map(show).collect()
    }

    /// One that is present.
    pub(super) fn backend(&self, id: BackendId) -> Option<Arc<Backend>> {
        self.records
            .iter()
            .find(|r| r.backend.id == id && r.is_present())
            .map(|r| r.backend.clone())
    }
}

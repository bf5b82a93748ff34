//! What takes a plan into force: pointers are stored, and what is new is started.
use super::{Parts, Ready, Reloader, leave, retire};
use crate::config::{self, Config, Name};
use crate::export::{self, Exporter};
use crate::message;
use crate::plan::{Plan, Pools};
use crate::pool::{Change, Prepared};
use crate::server::door::{self, Door, Kind, Sockets};
use crate::server::listener::Live;
use crate::server::memory;
use crate::server::pools::{Keepers, keep_off, log_turns};
use crate::server::said::Said;
use crate::server::state::Stage;
use crate::udp::Ours;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

impl Reloader {
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
    pub(super) fn commit(&self, ready: Ready, keepers: &mut Keepers) {
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
    pub(super) fn pools(
        &self,
        prepared: Vec<Prepared>,
        pools: &Pools,
        said: &Said,
        keepers: &mut Keepers,
    ) {
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
}

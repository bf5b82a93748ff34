//! Everything of a reload that may fail: the plan is compiled, and every address bound.
use super::{Ready, Reloader};
use crate::config::Config;
use crate::plan::{self, Plan};
use crate::server::door::{self, Door, Sockets};
use crate::server::report::ReloadError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Reloader {
    /// Everything that may fail. What it opened is closed again when it does.
    pub(super) fn prepare(
        &self,
        config: Arc<Config>,
        current: Option<&Plan>,
    ) -> Result<Ready, ReloadError> {
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
}

/// Every address of a plan.
pub(super) fn wanted(plan: &Plan) -> impl Iterator<Item = door::Key> {
    plan.listeners
        .values()
        .flat_map(|listener| door::keys(&listener.config))
        .collect::<BTreeSet<_>>()
        .into_iter()
}

//! Document to things: pure. Calls each room in order and collects problems.
//!
//! Starts no task, opens no socket and makes no file, so that `check` does exactly what a reload
//! does first.
use crate::config::{self, Config, Name, Problem, Protocol};
use crate::entry::Entry;
use crate::http::{Gateway, Shaping};
use crate::metrics::ListenerCells;
use crate::pool::{Policies, Pool, Prepared};
use crate::tcp::Relay;
use crate::telemetry::AccessLog;
use crate::udp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pools by name.
pub type Pools = BTreeMap<Name, Arc<Pool>>;

/// A compiled configuration.
#[derive(Debug)]
pub struct Plan {
    /// Counts plans of this process, from 1.
    pub generation: u64,
    /// Its pools.
    pub pools: Pools,
    /// What routes share.
    pub shaping: Shaping,
    /// Its listeners.
    pub listeners: BTreeMap<Name, Listener>,
    /// What it was made from.
    pub config: Arc<Config>,
}

/// A compiled listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What the config says of it.
    pub config: config::Listener,
    /// What is counted at it: kept as long as its name lives.
    pub cells: Arc<ListenerCells>,
    /// What happens to its connections first.
    pub entry: Arc<Entry>,
    /// What happens to its connections.
    pub service: Service,
}

/// What happens to a listener's connections.
#[derive(Clone, Debug)]
pub enum Service {
    /// Layer 7.
    Http(Arc<Gateway>),
    /// Connections, layer 4.
    Tcp(Arc<Relay>),
    /// Datagrams, layer 4.
    Udp(Arc<udp::Relay>),
}

/// A plan whose pools have changed nothing yet.
#[derive(Debug)]
pub struct Draft {
    /// Its pools, to be committed.
    pub prepared: Vec<Prepared>,
    /// The plan that holds after the commit.
    pub plan: Plan,
    /// What the operator should know of its files, each a line.
    pub notes: Vec<String>,
}

impl Draft {
    /// All that the operator should know, of pools and of files.
    pub fn said(&self) -> Vec<String> {
        let of_pools = self.prepared.iter().flat_map(Prepared::notes);
        of_pools.chain(&self.notes).cloned().collect()
    }
}

/// Compiles a configuration over the plan that runs.
///
/// # Errors
///
/// Every problem.
pub fn compile(
    config: Arc<Config>,
    current: Option<&Plan>,
    policies: &Policies,
) -> Result<Draft, Vec<Problem>> {
    let access = config.log.access.as_ref();
    let mut problems: Vec<Problem> =
        access.and_then(|access| AccessLog::check(access).err()).into_iter().collect();
    let mut prepared = Vec::new();
    let mut pools = Pools::new();
    for (name, section) in &config.pools {
        let previous = current.and_then(|plan| plan.pools.get(name));
        match Pool::prepare(name, section, policies, previous) {
            Ok(pool) => {
                pools.insert(name.clone(), pool.pool().clone());
                prepared.push(pool);
            }
            Err(more) => {
                problems.extend(more);
                pools.extend(stand_in(section).map(|pool| (name.clone(), pool)));
            }
        }
    }
    let shaping = Shaping::compile(&config, current.map(|plan| &plan.shaping));
    let mut listeners = BTreeMap::new();
    let caution = config.admin.token.as_ref().and_then(config::Blob::caution);
    let mut notes: Vec<String> = caution.iter().map(ToString::to_string).collect();
    for (name, section) in &config.listeners {
        let previous = current.and_then(|plan| plan.listeners.get(name));
        match listener(section, &config, (&pools, &shaping), previous, &mut notes) {
            Ok(listener) => drop(listeners.insert(name.clone(), listener)),
            Err(more) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return Err(config.put_in.hide_in(problems));
    }
    let generation = current.map_or(1, |plan| plan.generation + 1);
    Ok(Draft { prepared, plan: Plan { generation, pools, shaping, listeners, config }, notes })
}

/// A pool in place of one that has problems, so that those of the listeners and routes that go
/// there are found in the same run.
fn stand_in(section: &config::Pool) -> Option<Arc<Pool>> {
    let mut section = section.clone();
    section.balance.policy = "round_robin".into();
    section.balance.hash = None;
    let pool = Pool::prepare(&section.name, &section, &Policies::default(), None).ok()?;
    Some(pool.pool().clone())
}

fn listener(
    section: &config::Listener,
    config: &Config,
    (pools, shaping): (&Pools, &Shaping),
    previous: Option<&Listener>,
    notes: &mut Vec<String>,
) -> Result<Listener, Vec<Problem>> {
    let cells =
        previous.map_or_else(|| Arc::new(ListenerCells::new(&section.name)), |p| p.cells.clone());
    let before = previous.map(|listener| &*listener.entry);
    let entry = Entry::compile(section, config, cells.clone(), before);
    let service = service(section, config, (pools, shaping), &cells, previous);
    let ((entry, more), service) = match (entry, service) {
        (Ok(entry), Ok(service)) => (entry, service),
        (entry, service) => {
            let problems = [entry.err(), service.err()].into_iter().flatten().flatten();
            return Err(problems.collect());
        }
    };
    notes.extend(more);
    Ok(Listener { config: section.clone(), cells, entry: Arc::new(entry), service })
}

fn service(
    section: &config::Listener,
    config: &Config,
    (pools, shaping): (&Pools, &Shaping),
    cells: &Arc<ListenerCells>,
    previous: Option<&Listener>,
) -> Result<Service, Vec<Problem>> {
    Ok(match section.protocol {
        Protocol::Http => {
            let before = previous.and_then(|p| match &p.service {
                Service::Http(gateway) => Some(&**gateway),
                Service::Tcp(_) | Service::Udp(_) => None,
            });
            Service::Http(Arc::new(Gateway::compile(
                section,
                config,
                pools,
                shaping,
                cells.clone(),
                before,
            )?))
        }
        Protocol::Tcp => {
            Service::Tcp(Arc::new(Relay::compile(section, config, pools, cells.clone())?))
        }
        Protocol::Udp => {
            Service::Udp(Arc::new(udp::Relay::compile(section, config, pools, cells.clone())?))
        }
    })
}

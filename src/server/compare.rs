//! What becomes of backends and listeners by another file, by what file and API say together: who
//! comes, who goes, and whose work is to end.
use super::report::Report;
use super::said::Said;
use super::state::State;
use crate::config::{Backend, BindAddr, Config, Listener, Name, Protocol};
use crate::pool::{Endpoint, lay};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// What is sent away: it begins nothing more, and the work it has may end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// What.
    pub what: Leaving,
    /// Connections, sessions and requests that it has.
    pub in_work: i64,
    /// How long those may last; `None`: as long as they do.
    pub within: Option<Duration>,
}

/// See [`Drained`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// A listener, or what it is in another protocol from here on.
    Listener(Name),
    /// An address at which a listener took datagrams.
    Datagrams(Name, BindAddr),
    /// A backend of a pool at an address.
    Backend(Name, Name, String),
}

impl Leaving {
    /// As a report names it.
    pub fn object(&self) -> String {
        match self {
            Self::Listener(name) | Self::Datagrams(name, _) => format!("listener {name}"),
            Self::Backend(pool, name, _) => format!("backend {pool}/{name}"),
        }
    }
}

/// What is said of a backend: by the file, and by file and API together.
#[derive(Debug, Default, PartialEq)]
struct Known {
    file: Option<Backend>,
    holds: Option<Endpoint>,
}

type All = BTreeMap<(Name, Name), Known>;

fn all(config: &Config, said: &Said) -> All {
    let mut all = All::new();
    for (pool, section) in &config.pools {
        for backend in &section.backends {
            let known = all.entry((pool.clone(), backend.name.clone())).or_default();
            known.file = Some(backend.clone());
        }
        let file: Vec<Endpoint> = section.backends.iter().map(Endpoint::of).collect();
        for endpoint in lay(&file, &said.of(pool)) {
            let known = all.entry((pool.clone(), endpoint.name.clone())).or_default();
            known.holds = Some(endpoint);
        }
    }
    all
}

/// Compares the backends of two files under the same words.
pub(super) fn backends(report: &mut Report, old: &Config, new: &Config, said: &Said) {
    let (before, after) = (all(old, said), all(new, said));
    let none = Known::default();
    for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let (was, now) = (before.get(key).unwrap_or(&none), after.get(key).unwrap_or(&none));
        one(report, (old, new), key.clone(), was, now);
    }
}

fn one(
    report: &mut Report,
    (old, new): (&Config, &Config),
    key: (Name, Name),
    was: &Known,
    now: &Known,
) {
    let (pool, name) = key;
    let object = format!("backend {pool}/{name}");
    if was == now {
        return report.keep.push(object);
    }
    let (list, what) = match (&was.holds, &now.holds) {
        (None, None) => (&mut report.changed, "the API's word keeps it out".into()),
        (None, Some(now)) => (&mut report.added, format!("at {}", now.addr)),
        (Some(_), None) => (&mut report.removed, String::new()),
        (Some(a), Some(b)) if a == b => (&mut report.changed, held(was, now)),
        (Some(a), Some(b)) => (&mut report.changed, differs(a, b)),
    };
    list.push(object.clone());
    if !what.is_empty() {
        report.more.insert(object, what);
    }
    let gone = was.holds.as_ref().filter(|a| now.holds.as_ref().is_none_or(|b| a.addr != b.addr));
    if let Some(gone) = gone {
        let within =
            new.pools.get(&pool).or(old.pools.get(&pool)).and_then(|pool| pool.drain.get());
        let what = Leaving::Backend(pool, name, gone.addr.to_string());
        report.drained.push(Drained { what, in_work: 0, within });
    }
}

/// What the file says otherwise, and nobody sees.
fn held(was: &Known, now: &Known) -> String {
    let what = match (&was.file, &now.file) {
        (Some(a), Some(b)) => differs(&Endpoint::of(a), &Endpoint::of(b)),
        (None, _) => "the file names it".into(),
        (_, None) => "the file names it no longer".into(),
    };
    format!("{what}; the API's word holds, and it stays as it is")
}

fn differs(before: &Endpoint, after: &Endpoint) -> String {
    let mut all = Vec::new();
    if before.addr != after.addr {
        all.push(format!("addr {} to {}", before.addr, after.addr));
    }
    if before.weight != after.weight {
        all.push(format!("weight {} to {}", before.weight.get(), after.weight.get()));
    }
    if before.tier != after.tier {
        all.push(format!("tier {} to {}", before.tier, after.tier));
    }
    all.join(", ")
}

/// Listeners that go, are of another protocol, or give up an address at which there are sessions.
pub(super) fn listeners(report: &mut Report, old: &Config, new: &Config) {
    let within = Some(new.server.grace);
    let mut drained = Vec::new();
    for (name, was) in &old.listeners {
        match new.listeners.get(name).filter(|now| now.protocol == was.protocol) {
            None => drained.push(Leaving::Listener(name.clone())),
            Some(now) if was.protocol == Protocol::Udp => {
                let stay: BTreeSet<&BindAddr> = addresses(now).collect();
                let gone = addresses(was).filter(|addr| !stay.contains(addr));
                drained.extend(gone.map(|addr| Leaving::Datagrams(name.clone(), addr.clone())));
            }
            // Connections do not ask by which address they came.
            Some(_) => {}
        }
    }
    let one = |what| Drained { what, in_work: 0, within };
    report.drained.extend(drained.into_iter().map(one));
}

fn addresses(listener: &Listener) -> impl Iterator<Item = &BindAddr> {
    listener.bind.iter().map(|bind| &bind.addr)
}

/// Counts what each has that is sent away.
pub(super) fn count(report: &mut Report, state: &State) {
    let Some(plan) = state.plan.load_full() else { return };
    let mut active: HashMap<Name, HashMap<(Name, String), i64>> = HashMap::new();
    for one in &mut report.drained {
        one.in_work = match &one.what {
            Leaving::Listener(name) => plan.listeners.get(name).map_or(0, |l| l.cells.open.get()),
            Leaving::Datagrams(name, addr) => state.sessions_at(name, addr),
            Leaving::Backend(pool, name, addr) => {
                let all = active.entry(pool.clone()).or_insert_with(|| {
                    let mut all = HashMap::new();
                    if let Some(pool) = plan.pools.get(pool) {
                        pool.glance(|at| {
                            let key = (at.backend.name.clone(), at.backend.addr().to_string());
                            *all.entry(key).or_insert(0) += i64::from(at.backend.active());
                        });
                    }
                    all
                });
                all.get(&(name.clone(), addr.clone())).copied().unwrap_or(0)
            }
        };
    }
}

//! What only the tables together say: the ways that a request of HTTP can go, and bounds of further
//! tries where there are none.
use super::draft::{Draft, Said};
use super::faults::Faults;
use super::model::{
    Effective, Overrides, Pool, Protocol, Retry, RetryOn, RetryPart, Route, Statuses,
};
use super::problem::{At, Problem};
use super::route::pools;
use super::units::Name;

/// Whose table it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Defaults,
    Listener(Name),
    Pool(Name),
    Route(Name),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Defaults => f.write_str("defaults"),
            Self::Listener(name) => write!(f, "listener.{name}"),
            Self::Pool(name) => write!(f, "pool.{name}"),
            Self::Route(name) => write!(f, "route.{name}"),
        }
    }
}

/// Where the tables of one place say what concerns the others.
#[derive(Clone, Debug, Default)]
pub(super) struct RetrySaid {
    /// `attempts`
    pub(super) attempts: Option<Said>,
    /// `on`
    pub(super) on: Option<Said>,
    /// What bounds further tries.
    pub(super) bounds: Vec<(&'static str, Said)>,
    /// Waits that another limit may end before.
    pub(super) waits: Vec<(Wait, Said)>,
    /// How much of a body is held, of which no request may bring so much.
    pub(super) held: Vec<(Held, Said)>,
}

/// Why a body is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// `retry.body`
    Again,
    /// `mirror.body`
    Copied,
}

/// A wait that another limit may end before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// `timeout.connect`
    Connect,
    /// `timeout.first_byte`
    FirstByte,
    /// `timeout.idle`
    Idle,
    /// `"timeout"` in `retry.on`
    Again,
    /// `queue.timeout`
    Queue,
    /// `hedge.after`
    Hedge,
    /// `hedge.min`
    HedgeMin,
    /// `retry.backoff.base`
    Backoff,
    /// `outlier.silence.wait`
    Silence,
}

/// One way that a request can go.
pub(super) struct Chain<'a> {
    /// Those that hold together, the later over the earlier ones.
    pub(super) layers: Vec<(Owner, &'a Overrides)>,
    pub(super) pool: &'a Pool,
    pub(super) route: Option<&'a Route>,
}

impl Chain<'_> {
    /// What holds on it.
    pub(super) fn effective(&self) -> Effective {
        Effective::layered(self.layers.iter().map(|(_, over)| *over))
    }

    /// Who says this last, and how near to the request.
    pub(super) fn last(&self, says: impl Fn(&Overrides) -> bool) -> Option<(usize, &Owner)> {
        let mut layers = self.layers.iter().enumerate().rev();
        layers.find(|(_, (_, over))| says(over)).map(|(at, (owner, _))| (at, owner))
    }

    /// The same of retries.
    fn says(&self, says: impl Fn(&RetryPart) -> bool) -> Option<(usize, &Owner)> {
        self.last(|over| says(&over.retry))
    }
}

/// A bound that bounds nobody, since nothing is tried again wherever it holds: one that is of use to
/// some of those that it is said for is none.
pub(super) fn bounds_without_tries(draft: &Draft, faults: &mut Faults) {
    let all = chains(draft);
    for (owner, said) in &draft.retries {
        for (key, bound) in &said.bounds {
            let here = all.iter().filter(|chain| holds(chain, owner, key));
            let none: Option<Vec<_>> = here.map(|chain| without_tries(chain)).collect();
            let Some((other, words)) = none.and_then(|none| none.into_iter().next()) else {
                continue;
            };
            // Of one table it was said when that was read.
            let said = draft.retries.get(other).filter(|_| other != owner);
            let said = said.and_then(|said| match words {
                ONE => said.attempts.as_ref(),
                _ => said.on.as_ref(),
            });
            let Some(Said { key, at: At { file, line, column } }) = said else { continue };
            let table = key.rsplit_once('.').map_or("", |(table, _)| table);
            let what = format!(
                "means nothing with {table}.{words} ({file}:{line}:{column}): nothing is tried again"
            );
            let problem = Problem::new(&bound.at, bound.key.clone(), what);
            faults.push(problem.hint("leave it out, or allow a second try"));
        }
    }
}

/// Further tries that are asked for where the budget of farther tables allows none of them.
pub(super) fn tries_without_budget(draft: &Draft, faults: &mut Faults) {
    let all = chains(draft);
    for (owner, said) in &draft.retries {
        let Some(on) = &said.on else { continue };
        let last = |chain: &Chain<'_>| chain.says(|said| said.on.is_some()).map(|(at, _)| at);
        let is_own =
            |chain: &&Chain<'_>| last(chain).is_some_and(|at| chain.layers[at].0 == *owner);
        let unpaid: Option<Vec<_>> = all.iter().filter(is_own).map(without_budget).collect();
        let Some(whose) = unpaid.and_then(|unpaid| unpaid.into_iter().next()) else { continue };
        let budget = draft.retries.get(whose).into_iter().flat_map(|said| &said.bounds);
        let Some((_, Said { key, at: At { file, line, column } })) =
            budget.into_iter().find(|(key, _)| *key == "budget")
        else {
            continue;
        };
        let what = format!(
            "{key} (\"0%\", {file}:{line}:{column}) and floor = \"0/s\" allow no further try but of what \
             never connected"
        );
        let problem = Problem::new(&on.at, on.key.clone(), what);
        faults.push(problem.hint("say a budget or a floor here, or write on = [\"connect\"]"));
    }
}

/// Who says that further tries that cost may be none, where they are asked for nearer to the request.
fn without_budget<'c>(chain: &'c Chain<'_>) -> Option<&'c Owner> {
    let Retry { attempts, on, budget, floor, .. } = chain.effective().retry;
    let costs = on.reset || on.timeout || on.statuses != Statuses::NONE;
    if attempts == 1 || !costs || budget.get() > 0.0 || floor > 0.0 {
        return None;
    }
    let (at, whose) = chain.says(|said| said.budget.is_some())?;
    let floor = chain.says(|said| said.floor.is_some())?.0;
    let on = chain.says(|said| said.on.is_some())?.0;
    // Of one table it was said when that was read.
    (at.max(floor) <= on && at.min(floor) < on).then_some(whose)
}

const ONE: &str = "attempts = 1";
const NOTHING: &str = "on = []";

/// What ends the tries with the first one, and whose word that is.
fn without_tries<'c>(chain: &'c Chain<'_>) -> Option<(&'c Owner, &'static str)> {
    let last = |says: fn(&RetryPart) -> bool| {
        let mut layers = chain.layers.iter().rev().map(|(owner, over)| (owner, &over.retry));
        layers.find(|(_, said)| says(said))
    };
    let attempts = last(|said| said.attempts.is_some()).filter(|(_, s)| s.attempts == Some(1));
    let on = last(|said| said.on.is_some()).filter(|(_, s)| s.on == Some(RetryOn::NOTHING));
    attempts.map(|(owner, _)| (owner, ONE)).or(on.map(|(owner, _)| (owner, NOTHING)))
}

/// Whether the word of this table holds there: it is one of them, and none over it says another.
fn holds(chain: &Chain<'_>, owner: &Owner, key: &str) -> bool {
    let says = |said: &RetryPart| match key {
        "budget" => said.budget.is_some(),
        "floor" => said.floor.is_some(),
        "window" => said.window.is_some(),
        _ => said.backoff.is_some(),
    };
    chain.says(says).is_some_and(|(_, last)| last == owner)
}

/// The tables that hold together, for each way that a request of HTTP can go.
pub(super) fn chains(draft: &Draft) -> Vec<Chain<'_>> {
    let mut all = Vec::new();
    for listener in draft.listeners.values().filter(|it| it.protocol == Protocol::Http) {
        let own = listener.pool.as_ref().map(|pool| (pool.name.clone(), None));
        let is_of = |route: &&Route| {
            let mut of = route.listeners.iter();
            route.listeners.is_empty() || of.any(|to| to.name == listener.name)
        };
        let routed = draft.routes.iter().filter(is_of).flat_map(|route| {
            pools(Some(&route.action)).into_iter().map(move |pool| (pool, Some(route)))
        });
        for (pool, route) in own.into_iter().chain(routed) {
            let Some(section) = draft.pools.get(&pool) else { continue };
            let mut layers = vec![
                (Owner::Defaults, &draft.defaults),
                (Owner::Listener(listener.name.clone()), &listener.over),
                (Owner::Pool(pool), &section.over),
            ];
            layers.extend(route.map(|it| (Owner::Route(it.name.clone()), &it.over)));
            all.push(Chain { layers, pool: section, route });
        }
    }
    all
}

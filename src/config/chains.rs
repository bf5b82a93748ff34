//! What only the tables together say of retries: bounds of further tries where there are none.
use super::draft::{Draft, Said};
use super::faults::Faults;
use super::model::{Protocol, RetryOn, RetryPart, Route};
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

/// Where a table of `retry` says what concerns the others.
#[derive(Clone, Debug, Default)]
pub(super) struct RetrySaid {
    /// `attempts`
    pub(super) attempts: Option<Said>,
    /// `on`
    pub(super) on: Option<Said>,
    /// What bounds further tries.
    pub(super) bounds: Vec<(&'static str, Said)>,
}

/// A table of those that hold together, the later over the earlier ones.
type Layer<'a> = (Owner, &'a RetryPart);

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

const ONE: &str = "attempts = 1";
const NOTHING: &str = "on = []";

/// What ends the tries with the first one, and whose word that is.
fn without_tries<'c>(chain: &'c [Layer<'_>]) -> Option<(&'c Owner, &'static str)> {
    let last = |says: fn(&RetryPart) -> bool| {
        chain.iter().rev().find(|(_, said)| says(said)).map(|(owner, said)| (owner, *said))
    };
    let attempts = last(|said| said.attempts.is_some()).filter(|(_, s)| s.attempts == Some(1));
    let on = last(|said| said.on.is_some()).filter(|(_, s)| s.on == Some(RetryOn::NOTHING));
    attempts.map(|(owner, _)| (owner, ONE)).or(on.map(|(owner, _)| (owner, NOTHING)))
}

/// Whether the word of this table holds there: it is one of them, and none over it says another.
fn holds(chain: &[Layer<'_>], owner: &Owner, key: &str) -> bool {
    let says = |said: &RetryPart| match key {
        "budget" => said.budget.is_some(),
        "floor" => said.floor.is_some(),
        "window" => said.window.is_some(),
        _ => said.backoff.is_some(),
    };
    chain.iter().rev().find(|(_, said)| says(said)).is_some_and(|(last, _)| last == owner)
}

/// The tables that hold together, for each way that a request of HTTP can go.
fn chains(draft: &Draft) -> Vec<Vec<Layer<'_>>> {
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
            let mut chain = vec![
                (Owner::Defaults, &draft.defaults.retry),
                (Owner::Listener(listener.name.clone()), &listener.over.retry),
                (Owner::Pool(pool), &section.over.retry),
            ];
            chain.extend(route.map(|it| (Owner::Route(it.name.clone()), &it.over.retry)));
            all.push(chain);
        }
    }
    all
}

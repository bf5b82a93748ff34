//! Routes that no request can reach, because another one that is looked at before asks for the same.
use super::draft::Draft;
use super::faults::Faults;
use super::model::{HostMatch, Route};
use super::problem::Problem;
use super::units::Name;
use std::collections::HashMap;

/// Of two routes that ask for the same the first counts: one that counts nowhere is a slip.
pub(super) fn unmatched(draft: &Draft, faults: &mut Faults) {
    let mut taken: HashMap<(Option<&Name>, Option<&HostMatch>, String), &Route> = HashMap::new();
    for route in &draft.routes {
        let asked = conditions(route);
        let hosts = any_or(&route.hosts);
        let listeners: Vec<_> = match &route.listeners[..] {
            [] => vec![None],
            of => of.iter().map(|to| Some(&to.name)).collect(),
        };
        let mut before = None;
        let mut is_reached = false;
        for host in &hosts {
            for listener in &listeners {
                let first = |of| taken.get(&(of, *host, asked.clone())).copied();
                match first(None).or_else(|| first(*listener)) {
                    Some(first) => before = Some(first),
                    None => is_reached = true,
                }
                taken.entry((*listener, *host, asked.clone())).or_insert(route);
            }
        }
        if let (Some(first), false) = (before, is_reached) {
            let (name, at) = (key(&first.name), &first.at);
            let what = match first.name == route.name {
                true => "asks for the same twice".to_owned(),
                false => format!(
                    "asks for what {name} ({}:{}:{}) takes, which stands before it",
                    at.file, at.line, at.column
                ),
            };
            let hint = "no request comes here: leave one of them out, or ask for something more";
            faults.push(Problem::new(&route.at, key(&route.name), what).hint(hint));
        }
    }
}

/// All of them, or one that stands for any.
fn any_or<T>(said: &[T]) -> Vec<Option<&T>> {
    if said.is_empty() { vec![None] } else { said.iter().map(Some).collect() }
}

/// What it asks beside host and listener, in words that are equal where that is.
fn conditions(route: &Route) -> String {
    let mut methods: Vec<_> = route.methods.iter().collect();
    let [mut headers, mut query] = [&route.headers, &route.query]
        .map(|all| all.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>());
    methods.sort();
    methods.dedup();
    headers.sort();
    query.sort();
    format!("{:?} {methods:?} {headers:?} {query:?}", route.path)
}

/// Where a route stands in a file.
pub(super) fn key(name: &Name) -> String {
    match name.strip_prefix('#') {
        Some(index) => format!("route[{index}]"),
        None => format!("route.{name}"),
    }
}

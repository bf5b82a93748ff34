//! Listeners that let TLS pass, and the routes by the names that clients ask for.
use super::check::{known, say};
use super::draft::{Draft, Said};
use super::faults::Faults;
use super::hint::quoted;
use super::model::HostMatch;
use super::problem::{Problem, Wrong};
use super::units::Name;
use super::unmatched;
use std::collections::BTreeMap;

/// Routes with `sni` and listeners that let TLS pass belong together.
pub(super) fn passthrough(draft: &Draft, faults: &mut Faults) {
    const HINT: &str = "sni is for tcp listeners with tls = \"passthrough\"";
    for to in &draft.sni_listeners {
        known("listener", to, &draft.listener_names, faults);
        let read = matches!(draft.listener_names.get(&to.name), Some((_, Some(_))));
        if read && !draft.passthrough.contains(&to.name) {
            let what = format!("{} does not let TLS pass", quoted(&to.name));
            let said = Said { key: to.key.clone(), at: to.at.clone() };
            say(faults, &said, Wrong::new(what).hint(HINT));
        }
    }
    if draft.passthrough.is_empty() {
        for said in &draft.sni_anywhere {
            say(faults, said, Wrong::new("no listener lets TLS pass").hint(HINT));
        }
    }
    let routed = |name: &Name| {
        !draft.sni_anywhere.is_empty() || draft.sni_listeners.iter().any(|to| to.name == *name)
    };
    for listener in draft.passthrough.iter().filter_map(|name| draft.listeners.get(name)) {
        if listener.pool.is_none() && !routed(&listener.name) {
            let what = "goes nowhere: it has no pool, and no route with sni";
            let problem = Problem::new(&listener.at, format!("listener.{}", listener.name), what);
            faults.push(problem.hint("write pool = \"name\", or a route with sni"));
        }
    }
    second_layers(draft, faults);
    names_twice(draft, faults);
}

/// TLS that passes is between clients and backends: in another one around it no backend finds it.
fn second_layers(draft: &Draft, faults: &mut Faults) {
    for (name, pool) in &draft.pools {
        let Some(tls) = &pool.tls else { continue };
        let through = |listener: &&Name| pools_of(draft, listener).contains(&name);
        let Some(listener) = draft.passthrough.iter().find(through) else { continue };
        let what = format!(
            "listener.{listener} lets TLS pass to this pool: a second one would be put around it"
        );
        let hint = "leave it out: the clients speak TLS with these backends themselves";
        faults.push(Problem::new(&tls.at, tls.key.clone(), what).hint(hint));
    }
}

/// Where connections of a listener that lets TLS pass may go.
fn pools_of<'a>(draft: &'a Draft, listener: &Name) -> Vec<&'a Name> {
    let own = draft.listeners.get(listener).and_then(|it| it.pool.as_ref());
    let routes = draft.sni_routes.iter().filter(|route| route.belongs_to(listener));
    let routed = routes.flat_map(|route| route.pools.iter().map(|(to, _)| &to.name));
    own.map(|to| &to.name).into_iter().chain(routed).collect()
}

/// Of two routes of one name the first counts: one that counts nowhere is a slip.
fn names_twice(draft: &Draft, faults: &mut Faults) {
    let mut taken: BTreeMap<(&Name, &HostMatch), &Name> = BTreeMap::new();
    for route in &draft.sni_routes {
        let of: Vec<_> = draft.passthrough.iter().filter(|to| route.belongs_to(to)).collect();
        for name in &route.names {
            let mut before = of.iter().map(|listener| taken.get(&(*listener, name)).copied());
            if let Some(Some(first)) = before.next()
                && before.all(|other| other.is_some())
            {
                let what = match *first == route.name {
                    true => format!("{name} stands there twice"),
                    false => format!("{name} goes to route.{first}, which stands before this one"),
                };
                let key = format!("{}.sni", unmatched::key(&route.name));
                faults.push(Problem::new(&route.at, key, what).hint("leave one of them out"));
            }
            for listener in &of {
                taken.entry((*listener, name)).or_insert(&route.name);
            }
        }
    }
}

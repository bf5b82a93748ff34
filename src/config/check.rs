//! What only the whole document can tell: names that are not there, addresses said twice, keys of
//! a pool that mean nothing to those who use it.
use super::draft::{Draft, Ref, Said};
use super::faults::Faults;
use super::hint::{did_you_mean, quoted};
use super::model::{BindAddr, Protocol};
use super::problem::{At, Problem, Wrong};
use super::units::Name;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Checks a whole document; `file` is the place of what is missing altogether.
pub(super) fn check(draft: &Draft, file: &At, faults: &mut Faults) {
    if !faults.is_whole() {
        return; // a name that is not there may be in the text that could not be read
    }
    if !draft.listener_said {
        let none = Problem::new(file, "listener", "there is no listener");
        faults.push(
            none.hint("write [listener.web] with bind = \"0.0.0.0:8080\" and pool = \"app\""),
        );
    }
    for to in draft.http_pools.iter().chain(&draft.tcp_pools) {
        known("pool", to, &draft.pool_names, faults);
    }
    for to in &draft.route_listeners {
        known("listener", to, &draft.listener_names, faults);
        if draft.passthrough.contains(&to.name) {
            let what = format!("{} lets TLS pass: its routes have sni", quoted(&to.name));
            say(faults, &Said { key: to.key.clone(), at: to.at.clone() }, Wrong::new(what));
        } else if let Some((_, Some(Protocol::Tcp))) = draft.listener_names.get(&to.name) {
            let what =
                format!("{} is a tcp listener: routes belong to http listeners", quoted(&to.name));
            say(faults, &Said { key: to.key.clone(), at: to.at.clone() }, Wrong::new(what));
        }
    }
    passthrough(draft, faults);
    binds(draft, faults);
    tcp_pools(draft, faults);
}

/// Routes with `sni` and listeners that let TLS pass belong together.
fn passthrough(draft: &Draft, faults: &mut Faults) {
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
}

fn say(faults: &mut Faults, said: &Said, wrong: Wrong) {
    let Wrong { what, hint } = wrong;
    faults.push(Problem { at: said.at.clone(), key: said.key.clone(), what, hint });
}

fn known<T>(kind: &str, to: &Ref, names: &BTreeMap<Name, T>, faults: &mut Faults) {
    if names.contains_key(&to.name) {
        return;
    }
    let wrong = Wrong::new(format!("no {kind} named {}", quoted(&to.name)));
    let near = did_you_mean(&to.name, names.keys().map(|name| &**name));
    say(faults, &Said { key: to.key.clone(), at: to.at.clone() }, wrong.maybe(near));
}

/// No address is listened on twice, and none takes that of the admin side or the metrics with it:
/// listeners may overlap among themselves, where the more exact address counts. Port 0 is another
/// port each time.
fn binds(draft: &Draft, faults: &mut Faults) {
    let admin = draft.admin.as_ref().and_then(|admin| admin.bind.clone());
    let metrics = draft.metrics.clone();
    let admin = admin.map(|bind| ("admin.bind".to_owned(), bind));
    let metrics = metrics.map(|bind| ("metrics.bind".to_owned(), bind));
    let own: Vec<_> = admin.into_iter().chain(metrics).collect();
    let mut first: HashMap<&BindAddr, &str> = HashMap::new();
    let all: Vec<_> = own.iter().cloned().chain(draft.binds.iter().cloned()).collect();
    for (at, (key, bind)) in all.iter().enumerate() {
        if matches!(&bind.addr, BindAddr::Ip(addr) if addr.port() == 0)
            || matches!(bind.addr, BindAddr::Host(_, 0))
        {
            continue;
        }
        let said = Said { key: key.clone(), at: bind.at.clone() };
        if let Some(other) = first.get(&bind.addr) {
            say(faults, &said, Wrong::new(format!("{other} is the same address")));
            continue;
        }
        first.insert(&bind.addr, key);
        for (other, held) in own.iter().take(at).filter(|(_, held)| overlap(&held.addr, &bind.addr))
        {
            let what = format!("{} overlaps with {other}, {}", bind.addr, held.addr);
            say(faults, &said, Wrong::new(what).hint("give one of them another port"));
        }
    }
}

/// Whether one of two addresses is every address of the other's kind, on its port. IPv6 sockets
/// take IPv6 alone.
fn overlap(one: &BindAddr, other: &BindAddr) -> bool {
    let (BindAddr::Ip(a), BindAddr::Ip(b)) = (one, other) else { return false };
    let every = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && every
}

/// A pool of tcp listeners alone has no use for what concerns HTTP.
fn tcp_pools(draft: &Draft, faults: &mut Faults) {
    let http: BTreeSet<&Name> = draft.http_pools.iter().map(|to| &to.name).collect();
    let tcp: BTreeSet<&Name> = draft.tcp_pools.iter().map(|to| &to.name).collect();
    for name in tcp {
        if let Some(said) = draft.pool_http.get(name) {
            say(faults, said, Wrong::new("means nothing here: a tcp listener uses this pool"));
        }
        let keys = draft.http_only.get(name).filter(|_| !http.contains(name));
        for said in keys.into_iter().flatten() {
            say(faults, said, Wrong::new("means nothing here: only tcp listeners use this pool"));
        }
    }
}

//! `[[route]]` with `sni`: where connections go that ask for a name by TLS.
use super::action;
use super::addr;
use super::draft::{Draft, Said};
use super::hint::quoted;
use super::model::{HostMatch, PoolRef, SniRoute};
use super::over::{self, Only, Place};
use super::problem::Wrong;
use super::route::{listeners, name, named};
use super::table::{Item, Table};
use std::net::IpAddr;

/// What is inside TLS, and so not seen.
const INSIDE: [&str; 15] = [
    "host",
    "path",
    "method",
    "header",
    "query",
    "redirect",
    "respond",
    "request_headers",
    "response_headers",
    "rewrite",
    "upgrade",
    "hedge",
    "mirror",
    "rate_limit",
    "split_by",
];

pub(super) fn route(
    item: &Item<'_>,
    t: &mut Table<'_>,
    index: usize,
    draft: &mut Draft,
) -> Option<SniRoute> {
    let name = name(t, index, draft);
    let of = t.take("listener").map(|item| listeners(&item));
    let sni = t.take("sni")?;
    match &of {
        Some(of) => draft.sni_listeners.extend(of.iter().cloned()),
        None => draft.sni_anywhere.push(Said { key: sni.path.clone(), at: sni.key_at() }),
    }
    let names = sni.list();
    if names.is_empty() {
        sni.wrong(Wrong::new("an empty list names nobody").hint("write \"*.example.com\""));
    }
    let names = names.iter().filter_map(|item| item.checked(sni_match)).collect();
    for key in INSIDE.into_iter().chain(["encoded_slash"]) {
        if let Some(item) = t.take(key) {
            let what = "means nothing to a route with sni: what is inside TLS is not seen";
            item.key_wrong(Wrong::new(what));
        }
    }
    let pools = pools(t, draft);
    let over = over::overrides(t, Place::SniRoute, &mut Only::default());
    let listeners = of.unwrap_or_default().into_iter().map(named).collect();
    Some(SniRoute { name: name?, at: item.at(), listeners, names, pools: pools?, over })
}

/// Exactly one of `pool` and `pools`.
fn pools(t: &mut Table<'_>, draft: &mut Draft) -> Option<Vec<(PoolRef, u32)>> {
    let (pool, pools) = (t.take("pool"), t.take("pools"));
    if let (Some(_), Some(pools)) = (&pool, &pools) {
        pools.key_wrong(Wrong::new("contradicts pool: a route does one thing"));
    }
    let Some(pool) = pool else {
        let Some(pools) = pools else {
            t.missing(Wrong::new("does nothing").hint("say one of pool, pools"));
            return None;
        };
        return action::pools(&pools, &mut draft.tcp_pools);
    };
    let to = pool.refers()?;
    draft.tcp_pools.push(to.clone());
    Some(vec![(PoolRef { name: to.name, at: to.at }, 1)])
}

/// A name, or `*.` and one for one label or more before it.
fn sni_match(text: &str) -> Result<HostMatch, Wrong> {
    let name = text.strip_prefix("*.");
    if name.unwrap_or(text).contains('*') {
        let what = format!("{} has a \"*\" that is not its first label", quoted(text));
        return Err(Wrong::new(what).hint("write \"*.example.com\""));
    }
    if text.parse::<IpAddr>().is_ok() {
        let what = format!("{} is an address: by TLS clients ask for names alone", quoted(text));
        return Err(Wrong::new(what).hint("give the listener a pool for clients that ask for none"));
    }
    Ok(match name {
        Some(above) => HostMatch::Wildcard(addr::host_name(above)?),
        None => HostMatch::Exact(addr::host_name(text)?),
    })
}

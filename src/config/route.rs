//! `[[route]]`: which requests, and what happens to them.
use super::action;
use super::addr;
use super::balance;
use super::chains::{Held, Owner, Wait};
use super::draft::{Draft, Ref};
use super::field;
use super::header;
use super::hedge;
use super::hint::quoted;
use super::mirror;
use super::model::{
    Action, HostMatch, KeyPart, ListenerRef, PathMatch, PathRewrite, Rewrite, Route, ValueMatch,
};
use super::over::{self, Only, Place};
use super::pool;
use super::problem::Wrong;
use super::rate_limit;
use super::route_path;
use super::sni_route;
use super::table::{Item, Table};
use super::units::Name;
use super::value::Kind;

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// All routes of a file.
pub(super) fn routes(item: &Item<'_>, draft: &mut Draft) {
    if item.kind() == Kind::Table {
        item.wrong(item.type_fault("a list of tables").hint("write [[route]]"));
        return;
    }
    for item in item.array() {
        let index = draft.route_count;
        draft.route_count += 1;
        let read = item.table("route", |t| match t.has("sni") {
            true => {
                let route = sni_route::route(&item, t, index, draft);
                draft.sni_routes.extend(route);
                None
            }
            false => route(&item, t, index, draft),
        });
        draft.routes.extend(read.flatten());
    }
}

fn route(item: &Item<'_>, t: &mut Table<'_>, index: usize, draft: &mut Draft) -> Option<Route> {
    let name = name(t, index, draft);
    let listeners = t.take("listener").map(|item| listeners(&item)).unwrap_or_default();
    draft.route_listeners.extend(listeners.iter().cloned());
    let hosts = t.take("host").map(|item| non_empty(&item)).unwrap_or_default();
    let hosts = distinct(&hosts);
    let path = t
        .take("path")
        .map_or(Some(PathMatch::Prefix("/".into())), |item| route_path::path_match(&item));
    let methods = t.take("method").map(|item| non_empty(&item)).unwrap_or_default();
    let methods: Vec<_> = methods.iter().filter_map(|item| item.checked(method)).collect();
    let headers = t.take("header").map(|item| headers(&item)).unwrap_or_default();
    let query = t.take("query").map(|item| query(&item)).unwrap_or_default();
    let action = action::action(t, draft);
    let forwards = !matches!(action, Some(Action::Redirect(_) | Action::Respond(_)));
    let split_by = forwarding(t, "split_by", forwards).map(|item| split_by(&item, action.as_ref()));
    let request_headers = forwarding(t, "request_headers", forwards);
    let request_headers = request_headers.and_then(|item| header::rules(&item)).unwrap_or_default();
    let response_headers =
        t.take("response_headers").and_then(|item| header::rules(&item)).unwrap_or_default();
    let rewrite =
        forwarding(t, "rewrite", forwards).and_then(|item| rewrite(&item)).unwrap_or_default();
    let asked = forwarding(t, "upgrade", forwards);
    let websocket = asked.as_ref().is_none_or(upgrade);
    if let (Some(item), true) = (asked, websocket) {
        draft.upgrades.push((pool::said(&item), pools(action.as_ref())));
    }
    let hedge = forwarding(t, "hedge", forwards).and_then(|item| hedge::hedge(&item, &methods));
    let mirror = forwarding(t, "mirror", forwards)
        .and_then(|item| mirror::mirror(&item, action.as_ref(), draft));
    let refuse = t
        .take("encoded_slash")
        .and_then(|item| item.word("route.encoded_slash", &[("pass", false), ("refuse", true)]));
    let limit = t.take("rate_limit").and_then(|item| rate_limit::rate_limit(&item));
    let place = if forwards { Place::Route } else { Place::Own };
    let mut only = Only::default();
    let over = over::overrides(t, place, &mut only);
    for (key, wait) in [("after", Wait::Hedge), ("min", Wait::HedgeMin)] {
        let item = t.again("hedge").and_then(|item| item.inside(key));
        only.retry.waits.extend(item.map(|item| (wait, pool::said(&item))));
    }
    let held = t.again("mirror").and_then(|item| item.inside("body"));
    only.retry.held.extend(held.map(|item| (Held::Copied, pool::said(&item))));
    if let Some(name) = &name {
        draft.retries.insert(Owner::Route(name.clone()), only.retry);
    }
    prefix_needs_prefix(t, path.as_ref(), action.as_ref(), &rewrite);
    Some(Route {
        name: name?,
        at: item.at(),
        listeners: listeners.into_iter().map(named).collect(),
        hosts,
        path: path?,
        methods,
        headers,
        query,
        action: action?,
        split_by: split_by.unwrap_or_default(),
        request_headers,
        response_headers,
        rewrite,
        websocket,
        refuse_encoded_slash: refuse.unwrap_or(false),
        hedge,
        mirror,
        rate_limit: limit,
        over,
    })
}

/// A key that concerns the way to a backend: an own answer has none.
fn forwarding<'a>(t: &mut Table<'a>, key: &'static str, forwards: bool) -> Option<Item<'a>> {
    let item = t.take(key)?;
    if !forwards {
        item.key_wrong(Wrong::new(format!("{key} means nothing to a route that answers itself")));
    }
    Some(item)
}

pub(super) fn name(t: &mut Table<'_>, index: usize, draft: &mut Draft) -> Option<Name> {
    let Some(item) = t.take("name") else { return Name::new(&format!("#{index}")).ok() };
    let name = item.checked(route_name)?;
    if let Some(first) = draft.route_names.get(&name) {
        let what = format!(
            "a route of this name is already at {}:{}:{}",
            first.file, first.line, first.column
        );
        item.fault(what);
        return None;
    }
    draft.route_names.insert(name.clone(), item.at());
    Some(name)
}

/// Names that log and metrics give to what no route took.
const RESERVED: [(&str, &str); 2] =
    [("default", "what a listener's own pool took"), ("none", "what nothing took")];

fn route_name(text: &str) -> Result<Name, Wrong> {
    if text.starts_with('#') {
        let what = "begins with \"#\", as the names of routes without one do";
        return Err(Wrong::new(format!("{} {what}", quoted(text))));
    }
    if let Some((_, what)) = RESERVED.iter().find(|(name, _)| *name == text) {
        let wrong =
            Wrong::new(format!("{} is the name of {what} in log and metrics", quoted(text)));
        return Err(wrong.hint("any but \"default\" and \"none\" will do"));
    }
    Name::new(text).map_err(Wrong::new)
}

/// The listeners a route is of.
pub(super) fn listeners(item: &Item<'_>) -> Vec<Ref> {
    non_empty(item).iter().filter_map(Item::refers).collect()
}

pub(super) fn named(to: Ref) -> ListenerRef {
    ListenerRef { name: to.name, at: to.at }
}

/// A list of strings, or one: an empty one matches nothing, which nobody means.
fn non_empty<'a>(item: &Item<'a>) -> Vec<Item<'a>> {
    let all = item.list();
    if all.is_empty() {
        item.wrong(
            Wrong::new("an empty list matches nothing")
                .hint("leave the key out to match everything"),
        );
    }
    all
}

fn distinct(items: &[Item<'_>]) -> Vec<HostMatch> {
    let mut all = Vec::new();
    for item in items {
        match item.checked(addr::host_match) {
            Some(host) if all.contains(&host) => item.fault(format!("{host} stands there twice")),
            host => all.extend(host),
        }
    }
    all
}

fn method(text: &str) -> Result<String, Wrong> {
    if !field::is_token(text) {
        return Err(Wrong::new(format!("{} is not a method", quoted(text))));
    }
    let upper = text.to_ascii_uppercase();
    if upper != text && METHODS.contains(&&*upper) {
        let wrong = Wrong::new(format!("{} is not a method: their case counts", quoted(text)));
        return Err(wrong.hint(format!("write {}", quoted(&upper))));
    }
    if ["TRACE", "CONNECT"].contains(&text) {
        let what = format!("{} is answered by 405 before any route is looked for", quoted(text));
        return Err(Wrong::new(what).hint("leave it out"));
    }
    Ok(text.to_owned())
}

fn headers(item: &Item<'_>) -> Vec<(String, ValueMatch)> {
    let mut all: Vec<(String, ValueMatch)> = Vec::new();
    for (name, item) in item.entries() {
        if let Err(wrong) = field::field_name(name) {
            item.key_wrong(wrong);
            continue;
        }
        let name = name.to_ascii_lowercase();
        if all.iter().any(|(other, _)| *other == name) {
            item.key_wrong(Wrong::new(format!(
                "the header {} is matched twice: case does not count",
                quoted(&name)
            )));
            continue;
        }
        all.extend(route_path::value_match(&item, "route.header").map(|value| (name, value)));
    }
    all
}

fn query(item: &Item<'_>) -> Vec<(String, ValueMatch)> {
    let read = |(name, item): (&str, Item<'_>)| {
        Some((name.to_owned(), route_path::value_match(&item, "route.query")?))
    };
    item.entries().into_iter().filter_map(read).collect()
}

fn rewrite(item: &Item<'_>) -> Option<Rewrite> {
    item.table("route.rewrite", |t| {
        let (host, path) = (t.take("host"), t.take("path"));
        if host.is_none() && path.is_none() {
            t.missing(Wrong::new("changes nothing").hint("say host or path, or leave it out"));
        }
        let path_of = |item| route_path::path_rewrite(&item, "route.rewrite.path");
        Rewrite {
            host: host.and_then(|item| item.checked(addr::authority)),
            path: path.and_then(path_of),
        }
    })
}

/// The pools that a route goes to.
pub(super) fn pools(action: Option<&Action>) -> Vec<Name> {
    match action {
        Some(Action::Pool(to)) => vec![to.name.clone()],
        Some(Action::Pools(all)) => all.iter().map(|(to, _)| to.name.clone()).collect(),
        Some(Action::Redirect(_) | Action::Respond(_)) | None => Vec::new(),
    }
}

/// Parts of a key; they choose among several pools.
fn split_by(item: &Item<'_>, action: Option<&Action>) -> Vec<KeyPart> {
    let one = match action {
        Some(Action::Pool(_)) => true,
        Some(Action::Pools(all)) => all.iter().filter(|(_, weight)| *weight > 0).count() < 2,
        _ => false,
    };
    if one {
        let wrong =
            Wrong::new("means nothing to one pool: it keeps clients in their share of several");
        item.key_wrong(wrong.hint("write pools = { app = 95, canary = 5 }"));
    }
    let parts = balance::parts(item, &mut Vec::new());
    balance::in_reach(item, &parts);
    parts
}

fn upgrade(item: &Item<'_>) -> bool {
    item.list().iter().filter_map(|item| item.word("route.upgrade", &[("websocket", ())])).count()
        > 0
}

/// `{ prefix }` stands in place of the route's prefix: other paths have none.
fn prefix_needs_prefix(
    t: &Table<'_>,
    path: Option<&PathMatch>,
    action: Option<&Action>,
    rewrite: &Rewrite,
) {
    if matches!(path, Some(PathMatch::Prefix(_)) | None) {
        return;
    }
    let redirect = match action {
        Some(Action::Redirect(redirect)) => redirect.path.as_ref(),
        _ => None,
    };
    for (key, new) in [("redirect", redirect), ("rewrite", rewrite.path.as_ref())] {
        let prefix = t.again(key).and_then(|item| item.inside("path")?.inside("prefix"));
        let (Some(item), Some(PathRewrite::Prefix(_))) = (prefix, new) else { continue };
        let what = "a new prefix takes the place of the route's prefix, but its path is none";
        item.key_wrong(Wrong::new(what).hint("write path = \"/…\", or give the whole new path"));
    }
}

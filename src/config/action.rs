//! What a route does: exactly one of `pool`, `pools`, `redirect`, `respond`.
use super::addr;
use super::draft::{Draft, Ref};
use super::header;
use super::model::{Action, PoolRef, Redirect, Respond};
use super::problem::Wrong;
use super::route_path;
use super::table::{Item, Table};
use super::value::Kind;

/// Statuses that send a client elsewhere (RFC 9110 15.4).
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// Reads all four and keeps the first.
pub(super) fn action(t: &mut Table<'_>, draft: &mut Draft) -> Option<Action> {
    let all =
        ["pool", "pools", "redirect", "respond"].map(|key| t.take(key).map(|item| (key, item)));
    let mut said = all.into_iter().flatten();
    let Some((key, item)) = said.next() else {
        t.missing(Wrong::new("does nothing").hint("say one of pool, pools, redirect, respond"));
        return None;
    };
    let action = read(key, &item, draft);
    for (other, item) in said {
        item.key_wrong(Wrong::new(format!("contradicts {key}: a route does one thing")));
        read(other, &item, draft);
    }
    action
}

fn read(key: &str, item: &Item<'_>, draft: &mut Draft) -> Option<Action> {
    match key {
        "pool" => {
            let to = item.refers()?;
            draft.http_pools.push(to.clone());
            Some(Action::Pool(PoolRef { name: to.name, at: to.at }))
        }
        "pools" => pools(item, &mut draft.http_pools).map(Action::Pools),
        "redirect" => item.table("route.redirect", redirect).flatten().map(Action::Redirect),
        _ => respond(item).map(Action::Respond),
    }
}

/// Pools by weight; each is noted among the `users` of pools.
pub(super) fn pools(item: &Item<'_>, users: &mut Vec<Ref>) -> Option<Vec<(PoolRef, u32)>> {
    if item.kind() != Kind::Table {
        item.wrong(item.type_fault("a table").hint("write { app = 95, canary = 5 }"));
        return None;
    }
    let mut all = Vec::new();
    for (name, item) in item.entries() {
        let Some(name) = item.name(name) else { continue };
        let at = item.key_at();
        users.push(Ref { key: item.path.clone(), at: at.clone(), name: name.clone() });
        all.extend(item.count::<u32>(0..=1000).map(|weight| (PoolRef { name, at }, weight)));
    }
    if item.entries().is_empty() {
        item.fault("names no pool");
    } else if !all.is_empty()
        && all.len() == item.entries().len()
        && all.iter().all(|(_, weight)| *weight == 0)
    {
        item.fault("every weight is 0: no pool would get anything");
    }
    Some(all)
}

fn redirect(t: &mut Table<'_>) -> Option<Redirect> {
    let status = t.take("status");
    let status = status.map_or(Some(308), |item| {
        let status: u16 = item.count(100..=599)?;
        if !REDIRECTS.contains(&status) {
            item.wrong(
                Wrong::new(format!("{status} is not a redirect"))
                    .hint("known are 301, 302, 303, 307, 308"),
            );
        }
        Some(status)
    });
    let changes = ["scheme", "host", "port", "path"].map(|key| t.has(key));
    let redirect = Redirect {
        status: status.unwrap_or(308),
        scheme: t
            .take("scheme")
            .and_then(|item| {
                item.word("route.redirect.scheme", &[("http", "http"), ("https", "https")])
            })
            .map(Into::into),
        host: t.take("host").and_then(|item| item.checked(addr::redirect_host)),
        port: t.take("port").and_then(|item| item.count(1..=65_535)),
        path: t
            .take("path")
            .and_then(|item| route_path::path_rewrite(&item, "route.redirect.path")),
    };
    if !changes.contains(&true) {
        t.missing(
            Wrong::new("changes nothing: clients would go in circles")
                .hint("say scheme, host, port or path"),
        );
        return None;
    }
    Some(redirect)
}

/// A table, or the status alone.
fn respond(item: &Item<'_>) -> Option<Respond> {
    if item.kind() == Kind::Number {
        return item.count(200..=599).map(|status| Respond {
            status,
            body: String::new(),
            headers: Vec::new(),
        });
    }
    let read = item.table("route.respond", |t| {
        let status = t.take("status");
        if status.is_none() {
            t.missing(Wrong::new("says no status").hint("write for example status = 404"));
        }
        let status: Option<u16> = status.and_then(|item| item.count(200..=599));
        let text = t.take("body");
        let body = text.as_ref().and_then(Item::text).unwrap_or_default();
        let headers = t.take("headers").map(|item| header::fields(&item)).unwrap_or_default();
        if let (Some(status @ (204 | 205 | 304)), Some(item), false) =
            (status, &text, body.is_empty())
        {
            item.fault(format!("an answer of status {status} has no body"));
        }
        Some(Respond { status: status?, body, headers })
    });
    read.flatten()
}

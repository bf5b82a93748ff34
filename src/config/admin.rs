//! `[admin]`: who may ask this process, and how much.
use super::addr;
use super::draft::Draft;
use super::model::{Admin, AdminLimits, Bind, BindAddr};
use super::problem::{At, Wrong};
use super::server;
use super::table::{Item, Table};
use super::tls::{Blob, blob};
use super::units::Rate;
use std::net::{Ipv4Addr, SocketAddr};

/// A token has at least so many bytes: fewer could be guessed.
const LEAST: usize = 16;
/// Counts end here so that a slip of the finger is seen.
const MANY: u64 = 1_000_000;
/// Who reads less than this of a body has no use for it; who reads more takes memory for no use.
const BODIES: std::ops::RangeInclusive<u64> = 1024..=64 << 20;
/// One answer goes in any case, so less is no use.
const ANSWERS: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 30;

/// `[admin]` of a file that says none: this machine alone may ask.
pub(super) fn default(at: At) -> Admin {
    let addr = BindAddr::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 9900)));
    let limits = AdminLimits::default();
    Admin { bind: Some(Bind { addr, at }), hosts: Vec::new(), token: None, limits }
}

/// `[admin]`
pub(super) fn admin(item: &Item<'_>, draft: &mut Draft) -> Option<Admin> {
    let default = default(item.key_at());
    item.table("admin", |t| {
        let bind = match t.take("bind") {
            None => default.bind,
            Some(item) if item.is_off() => None,
            Some(item) => guarded(t, &item),
        };
        let hosts = t.take("hosts").map(|item| item.list()).unwrap_or_default();
        let hosts = hosts.iter().filter_map(|item| item.checked(addr::host)).collect();
        let token = t.take("token_file").and_then(|item| token(&item, draft));
        let limits = t.take("limits").map_or_else(AdminLimits::default, |item| limits(&item));
        Admin { bind, hosts, token, limits }
    })
}

/// An address whose callers are this machine's own: without a token nobody else may ask.
fn guarded(t: &Table<'_>, item: &Item<'_>) -> Option<Bind> {
    let bind = server::bind(item)?;
    let own = match &bind.addr {
        BindAddr::Ip(addr) => addr.ip().is_loopback(),
        BindAddr::Host(host, _) => &**host == "localhost",
        BindAddr::Unix(_) => true,
    };
    if !own && !t.has("token_file") {
        let what =
            "is not a loopback address, and there is no token_file: anybody could call the API";
        item.wrong(
            Wrong::new(what).hint("write \"127.0.0.1:9900\"; [metrics] serves scrapers elsewhere"),
        );
        return None;
    }
    Some(bind)
}

/// What callers must know, without the end of the line.
fn token(item: &Item<'_>, draft: &mut Draft) -> Option<Blob> {
    const HOW: &str = "openssl rand -hex -out admin.token 32";
    let mut token = blob(item, draft)?;
    let bytes = token.bytes.trim_ascii();
    let fault = |what: String| item.wrong(Wrong::new(what).hint(HOW));
    if bytes.len() < LEAST {
        fault(format!("{}: {} bytes can be guessed", token.path.display(), bytes.len()));
        return None;
    }
    // RFC 6750 2.1: what may stand in a field, without spaces.
    if !bytes.iter().all(u8::is_ascii_graphic) {
        fault(format!("{}: holds bytes that no header can carry", token.path.display()));
        return None;
    }
    token.bytes = bytes.into();
    Some(token)
}

fn limits(item: &Item<'_>) -> AdminLimits {
    let mut limits = AdminLimits::default();
    item.table("admin.limits", |t| {
        limits.body =
            t.take("body").and_then(|item| item.size(BODIES)).map_or(limits.body, |n| n as usize);
        limits.answers = t
            .take("answers")
            .and_then(|item| item.size(ANSWERS))
            .map_or(limits.answers, |n| n as usize);
        limits.time = t.take("time").and_then(|item| item.duration()).unwrap_or(limits.time);
        limits.rate = t.take("rate").and_then(|item| rate(&item)).unwrap_or(limits.rate);
        let mut count = |name: &'static str, least: u64, to: &mut usize| {
            *to = t.take(name).and_then(|item| item.count(least..=MANY)).unwrap_or(*to);
        };
        count("connections", 1, &mut limits.connections);
        count("streams", 0, &mut limits.streams);
        count("words", 0, &mut limits.words);
        if limits.streams >= limits.connections {
            let (streams, all) = (limits.streams, limits.connections);
            match t.again("streams") {
                Some(item) => item.wrong(
                    Wrong::new(format!(
                        "{streams} streams of events could take all {all} connections"
                    ))
                    .hint("leave connections for everybody else"),
                ),
                None => limits.streams = all / 2,
            }
        }
    });
    limits
}

fn rate(item: &Item<'_>) -> Option<Option<Rate>> {
    if item.is_off() { Some(None) } else { item.rate().map(Some) }
}

//! `[server] [admin] [metrics]`: what the process as a whole does.
use super::addr;
use super::measure;
use super::model::{Admin, Bind, BindAddr, Memory, Server};
use super::problem::{At, Wrong};
use super::table::{Item, Table};
use super::units::{ByteSize, Percent};
use super::value::Kind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How long work in flight may take after SIGTERM.
///
/// 25 s leaves 5 s to close what is left before Kubernetes' default kill at 30 s.
const GRACE: Duration = Duration::from_secs(25);
/// More threads than this are a slip of the finger.
const THREADS: u64 = 1024;
/// Counts end here so that they fit every type that counts them.
const MANY: u64 = u32::MAX as u64;

/// `[server]` of a file that says none.
pub(super) fn server_default() -> Server {
    Server {
        workers: None,
        grace: GRACE,
        shutdown_delay: Duration::ZERO,
        max_connections: None,
        memory: Memory::Share(Percent::new(0.5).expect("a half is a share")),
    }
}

/// `[server]`
pub(super) fn server(item: &Item<'_>) -> Option<Server> {
    let default = server_default();
    item.table("server", |t| Server {
        workers: t.take("workers").and_then(|item| workers(&item)),
        grace: t.take("grace").and_then(|item| item.duration()).unwrap_or(default.grace),
        shutdown_delay: t.take("shutdown_delay").and_then(|item| item.delay()).unwrap_or_default(),
        max_connections: t.take("max_connections").and_then(|item| item.count(1..=MANY)),
        memory: t.take("memory").and_then(|item| memory(&item)).unwrap_or(default.memory),
    })
}

fn workers(item: &Item<'_>) -> Option<usize> {
    if item.kind() == Kind::Text {
        item.word("server.workers", &[("auto", ())])?;
        return None;
    }
    item.count(1..=THREADS)
}

fn memory(item: &Item<'_>) -> Option<Memory> {
    let parse = |text: &str| match text.ends_with('%') {
        true => measure::percent(text).map(Memory::Share),
        false => measure::size(text).map(Memory::Bytes),
    };
    let memory = match item.kind() {
        Kind::Text => item.checked(parse)?,
        _ => Memory::Bytes(ByteSize(item.size(1..=i64::MAX as u64)?)),
    };
    if matches!(memory, Memory::Bytes(ByteSize(0)))
        || matches!(memory, Memory::Share(share) if share.get() <= 0.0)
    {
        item.fault("no memory at all is too little");
        return None;
    }
    Some(memory)
}

/// `[admin]` of a file that says none: this machine alone may ask.
pub(super) fn admin_default(at: At) -> Admin {
    let addr = BindAddr::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 9900)));
    Admin { bind: Some(Bind { addr, at }), hosts: Vec::new() }
}

/// `[admin]`
pub(super) fn admin(item: &Item<'_>) -> Option<Admin> {
    let default = admin_default(item.key_at());
    item.table("admin", |t| {
        let bind = match t.take("bind") {
            None => default.bind,
            Some(item) if item.is_off() => None,
            Some(item) => guarded(t, &item),
        };
        let hosts = t.take("hosts").map(|item| item.list()).unwrap_or_default();
        Admin { bind, hosts: hosts.iter().filter_map(|item| item.checked(addr::host)).collect() }
    })
}

/// An address whose callers are this machine's own: without a token nobody else may ask.
fn guarded(t: &Table<'_>, item: &Item<'_>) -> Option<Bind> {
    let bind = self::bind(item)?;
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

/// An address to listen on.
pub(super) fn bind(item: &Item<'_>) -> Option<Bind> {
    let addr = item.checked(|text| addr::bind(text, |path| item.page.file.path(path)))?;
    Some(Bind { addr, at: item.at() })
}

/// `[metrics]`
pub(super) fn metrics(item: &Item<'_>) -> Option<(String, Bind)> {
    let read = item.table("metrics", |t| {
        let Some(item) = t.take("bind") else {
            t.missing(Wrong::new("says no bind").hint("write for example bind = \"0.0.0.0:9901\""));
            return None;
        };
        if item.is_off() {
            return None;
        }
        Some((item.path.clone(), bind(&item)?))
    });
    read.flatten()
}

//! `[server] [metrics]`: what the process as a whole does.
use super::addr;
use super::measure;
use super::model::{Bind, Compat, Memory, Server};
use super::problem::Wrong;
use super::table::Item;
use super::units::{ByteSize, Percent};
use super::value::Kind;
use std::path::PathBuf;
use std::time::Duration;

/// How long work in flight may take after SIGTERM.
///
/// 25 s leaves 5 s to close what is left before Kubernetes' default kill at 30 s.
const GRACE: Duration = Duration::from_secs(25);
/// How long a process that takes over may take to be ready.
///
/// A file of ten thousand backends and a thousand certificates is read in a few seconds; a name that
/// does not resolve takes 5 s more.
const HAND_OVER: Duration = Duration::from_secs(60);
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
        hand_over: HAND_OVER,
        max_connections: None,
        memory: Memory::Share(Percent::new(0.5).expect("a half is a share")),
        state: PathBuf::new(),
    }
}

/// `[server]`
pub(super) fn server(item: &Item<'_>) -> Option<Server> {
    let default = server_default();
    item.table("server", |t| Server {
        workers: t.take("workers").and_then(|item| workers(&item)),
        grace: t.take("grace").and_then(|item| item.duration()).unwrap_or(default.grace),
        shutdown_delay: t.take("shutdown_delay").and_then(|item| item.delay()).unwrap_or_default(),
        hand_over: t
            .take("hand_over")
            .and_then(|item| item.duration())
            .unwrap_or(default.hand_over),
        max_connections: t.take("max_connections").and_then(|item| item.count(1..=MANY)),
        memory: t.take("memory").and_then(|item| memory(&item)).unwrap_or(default.memory),
        state: t.take("state").and_then(|item| state(&item)).unwrap_or_default(),
    })
}

/// A folder; empty where none is said, to be filled in beside the first file.
fn state(item: &Item<'_>) -> Option<PathBuf> {
    let name = item.text()?;
    if name.is_empty() || name.contains('\0') {
        item.fault("names no folder");
        return None;
    }
    Some(item.page.file.path(&name))
}

fn workers(item: &Item<'_>) -> Option<usize> {
    if item.kind() == Kind::Text {
        item.word("server.workers", &[("auto", ())])?;
        return None;
    }
    item.count(1..=THREADS)
}

/// The least: the blocks of some dozens of connections.
const MEMORY: u64 = 1 << 20;

fn memory(item: &Item<'_>) -> Option<Memory> {
    let parse = |text: &str| match text.ends_with('%') {
        true => measure::percent(text).map(Memory::Share),
        false => measure::size(text).map(Memory::Bytes),
    };
    let memory = match item.kind() {
        Kind::Text => item.checked(parse)?,
        _ => Memory::Bytes(ByteSize(item.size(1..=i64::MAX as u64)?)),
    };
    let too_little = match memory {
        Memory::Bytes(bytes) => bytes.0 < MEMORY,
        Memory::Share(share) => share.get() <= 0.0,
    };
    if too_little {
        item.wrong(Wrong::new("is too little to carry requests").hint("write 1MiB or more"));
        return None;
    }
    Some(memory)
}

/// An address to listen on.
pub(super) fn bind(item: &Item<'_>) -> Option<Bind> {
    let addr = item.checked(|text| addr::bind(text, |path| item.page.file.path(path)))?;
    Some(Bind { addr, at: item.at() })
}

/// `[metrics]`
pub(super) fn metrics(item: &Item<'_>) -> (Option<Bind>, Compat) {
    let read = item.table("metrics", |t| {
        let compat = t.take("compat").map(|item| compat(&item));
        let Some(item) = t.take("bind") else {
            if compat.is_none() {
                t.missing(
                    Wrong::new("says no bind").hint("write for example bind = \"0.0.0.0:9901\""),
                );
            }
            return (None, compat.unwrap_or_default());
        };
        (if item.is_off() { None } else { bind(&item) }, compat.unwrap_or_default())
    });
    read.unwrap_or_default()
}

fn compat(item: &Item<'_>) -> Compat {
    let mut compat = Compat::default();
    for item in item.list() {
        match item.word("metrics.compat", &[("haproxy", true), ("traefik", false)]) {
            Some(true) => compat.haproxy = true,
            Some(false) => compat.traefik = true,
            None => {}
        }
    }
    compat
}

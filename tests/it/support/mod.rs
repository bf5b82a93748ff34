//! What tests start: a proxy in this process, scripted backends, raw clients.

mod api;
mod backend;
mod certs;
mod client;
mod frames;
mod haproxy;
mod nginx;
mod ports;
mod proxy;
mod server;
mod service;

pub(crate) use api::{Api, TOKEN, call, json};
pub(crate) use backend::{Backend, Peer};
pub(crate) use certs::Certs;
pub(crate) use client::{Client, Response};
pub(crate) mod h2 {
    pub(crate) use super::frames::*;
}
pub(crate) use haproxy::Haproxy;
pub(crate) use nginx::Nginx;
pub(crate) use ports::nobody;
pub(crate) use proxy::{Proxy, config, web};
pub(crate) use server::{Server, python};
pub(crate) use service::Service;

use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine. Generous: only failures wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A folder for an access log, and the words that have one written there.
pub(crate) fn access_log() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let words = format!("[log]\naccess = {{ to = \"{}\", format = \"json\" }}", path.display());
    (folder, words)
}

/// The lines of that log, once there are so many.
#[track_caller]
pub(crate) fn access_lines(folder: &tempfile::TempDir, n: usize) -> Vec<String> {
    let path = folder.path().join("access.log");
    let read = || std::fs::read_to_string(&path).unwrap_or_default();
    until("the access log has its lines", || read().lines().count() >= n);
    read().lines().map(str::to_string).collect()
}

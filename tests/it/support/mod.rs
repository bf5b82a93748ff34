//! What tests start: a proxy in this process, scripted backends, raw clients.

mod backend;
mod client;
mod nginx;
mod proxy;

pub(crate) use backend::Backend;
pub(crate) use client::{Client, Response};
pub(crate) use nginx::Nginx;
pub(crate) use proxy::{Proxy, config, web};

use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine. Generous: only failures wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An address on which nobody listens: bound once and let go.
pub(crate) fn nobody() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

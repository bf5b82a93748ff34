//! What concerns datagrams: the bounds of a udp listener's sessions, and what a pool is used for.
use std::time::Duration;

/// `listener.udp`: what bounds the sessions of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// Sessions of the listener.
    pub most: usize,
    /// Sessions of one client address; `None` is off.
    pub per_client: Option<u32>,
    /// No datagram either way.
    pub idle: Duration,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { most: 20_000, per_client: Some(100), idle: Duration::from_secs(60) }
    }
}

/// What listeners and routes use a pool for. A pool that nobody uses carries streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Connections, with HTTP in them or not.
    Streams,
    /// Datagrams.
    Datagrams,
    /// Both.
    Both,
}

impl Carries {
    /// Whether its backends take connections.
    pub const fn streams(self) -> bool {
        matches!(self, Self::Streams | Self::Both)
    }
    /// Whether its backends take datagrams.
    pub const fn datagrams(self) -> bool {
        matches!(self, Self::Datagrams | Self::Both)
    }
}

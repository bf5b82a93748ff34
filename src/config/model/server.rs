//! `[server]`, `[admin]` and `[metrics]`.
use super::address::Bind;
use crate::config::units::{ByteSize, Percent};
use std::time::Duration;

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Data-plane threads; `None` is `"auto"`.
    pub workers: Option<usize>,
    /// How long work in flight may take after SIGTERM or after its listener is removed.
    pub grace: Duration,
    /// After SIGTERM: how long `/readyz` says 503 while connections are still accepted.
    pub shutdown_delay: Duration,
    /// Client connections over all listeners; `None`: what the descriptor limit carries.
    pub max_connections: Option<usize>,
    /// Bytes buffered for all connections together.
    pub memory: Memory,
}

/// `server.memory`
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Memory {
    /// A share of the machine's or cgroup's memory.
    Share(Percent),
    /// A number of bytes.
    Bytes(ByteSize),
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// `None` is `"off"`.
    pub bind: Option<Bind>,
    /// Further `Host` names it answers to.
    pub hosts: Vec<String>,
}

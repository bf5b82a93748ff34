//! `[pool.*]`
use super::address::Addr;
use super::balance::Balance;
use super::over::Overrides;
use crate::config::datagrams::Carries;
use crate::config::health::Health;
use crate::config::outlier::Outlier;
use crate::config::pool_http::{PoolHttp, PoolHttp2};
use crate::config::problem::At;
use crate::config::slow_start::SlowStart;
use crate::config::sticky::Sticky;
use crate::config::tls::PoolTls;
use crate::config::units::{Name, Percent, Rate, Timeout, Weight};
use std::time::Duration;

/// `[pool.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// Where it is said.
    pub at: At,
    /// What `Host` the backend sees.
    pub host: HostSent,
    /// How a backend is chosen.
    pub balance: Balance,
    /// The version its backends are spoken to in; `None` where only tcp listeners use it.
    pub http: Option<PoolHttp>,
    /// Limits of connections that speak HTTP/2.
    pub http2: PoolHttp2,
    /// The TLS its backends speak.
    pub tls: Option<PoolTls>,
    /// In which version of the PROXY protocol backends are told of clients.
    pub send_proxy_protocol: Option<ProxyProtocol>,
    /// A cookie that brings clients back to their backends.
    pub sticky: Option<Sticky>,
    /// Active probes.
    pub health: Option<Health>,
    /// What tries may say against a backend.
    pub outlier: Option<Outlier>,
    /// How a backend that returns comes to its whole weight.
    pub slow_start: Option<SlowStart>,
    /// Below this share of healthy backends the unhealthy are tried too.
    pub panic_threshold: Option<Percent>,
    /// Connections or requests a backend may have at once.
    pub max_active: Option<MaxActive>,
    /// For when all are at `max_active`.
    pub queue: Option<Queue>,
    /// Idle connections to the backends.
    pub keep_alive: KeepAlive,
    /// How names of backends are resolved.
    pub resolve: Resolve,
    /// How long a drained backend's connections may last.
    pub drain: Timeout,
    /// What its backends are reached by, as its users say.
    pub carries: Carries,
    /// Its backends; names are unique.
    pub backends: Vec<Backend>,
    /// Its word on times, limits and retries.
    pub over: Overrides,
}

/// `pool.send_proxy_protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary, with what is known of the client's TLS.
    V2,
}

/// `pool.host`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostSent {
    /// The client's.
    Preserve,
    /// The backend's address as written.
    Backend,
    /// This name.
    Name(String),
}

/// `pool.max_active`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxActive {
    /// So many.
    Fixed(u32),
    /// What is learnt from the backend's latency, within these.
    Adaptive {
        /// At the least.
        min: u32,
        /// At the most.
        max: u32,
    },
}

/// `pool.queue`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many may wait.
    pub size: usize,
    /// For how long at the most.
    pub timeout: Duration,
    /// A TCP client that ends its sending while it waits counts as gone.
    pub abort_on_close: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: 1000, timeout: Duration::from_secs(5), abort_on_close: false }
    }
}

/// `pool.keep_alive`
#[derive(Clone, Debug, PartialEq)]
pub struct KeepAlive {
    /// How long a connection may be idle; off keeps none.
    pub idle: Timeout,
    /// Idle connections, per worker and backend.
    pub max_idle: usize,
    /// How old a connection may become.
    pub max_age: Timeout,
    /// How often a request has a new one because those that are kept are not trusted; `None`: each.
    pub renew: Option<Rate>,
}

/// `pool.resolve`
#[derive(Clone, Debug, PartialEq)]
pub struct Resolve {
    /// From one look-up to the next.
    pub interval: Duration,
    /// Which addresses count.
    pub family: Family,
}

/// Address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A backend of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Its name, else its address as written: its identity.
    pub name: Name,
    /// Where it is said.
    pub at: At,
    /// Its address.
    pub addr: Addr,
    /// Its weight.
    pub weight: Weight,
    /// 1 is the first; `backup = true` is 2.
    pub tier: u8,
}

//! `[listener.*]`
use super::address::Bind;
use super::over::Overrides;
use crate::config::datagrams::Sessions;
use crate::config::http2::Http2;
use crate::config::problem::At;
use crate::config::tls::ListenerTls;
use crate::config::units::Name;

/// `[listener.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: Name,
    /// Where it is said.
    pub at: At,
    /// Addresses; at least one.
    pub bind: Vec<Bind>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it goes when no route matches; for tcp and udp the pool.
    pub pool: Option<PoolRef>,
    /// The TLS its clients speak.
    pub tls: Option<ListenerTls>,
    /// `tls = "passthrough"`: what TLS its clients speak is between them and the backends.
    pub passthrough: bool,
    /// `proxy_protocol.from`: of whom a PROXY header is required.
    pub proxy_protocol: Vec<ipnet::IpNet>,
    /// What HTTP/2 may cost.
    pub http2: Http2,
    /// Client connections of this listener.
    pub max_connections: Option<usize>,
    /// Sessions of a udp listener.
    pub udp: Sessions,
    /// Whose forwarded fields are believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Its word on times, limits and retries.
    pub over: Overrides,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP, layer 7.
    Http,
    /// Bytes, layer 4.
    Tcp,
    /// Datagrams, layer 4.
    Udp,
}

impl Protocol {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A pool named somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRef {
    /// The pool's name.
    pub name: Name,
    /// Where it is named.
    pub at: At,
}

/// A listener named somewhere.
pub type ListenerRef = PoolRef;

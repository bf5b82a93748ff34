//! `[server]`, `[admin]` and `[metrics]`.
use super::address::{Addr, Bind, BindAddr, arrives};
use crate::config::tls::Blob;
use crate::config::units::{ByteSize, Percent, Rate};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
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
    /// How long another process that takes over may take to be ready.
    pub hand_over: Duration,
    /// Client connections over all listeners; `None`: what the descriptor limit carries.
    pub max_connections: Option<usize>,
    /// Bytes buffered for all connections together.
    pub memory: Memory,
    /// The folder for what the process itself must remember.
    pub state: PathBuf,
}

/// The socket of the API in the folder `server.state`.
pub const ADMIN_SOCKET: &str = "admin.sock";
/// The socket there by which another process takes over.
pub const HAND_OVER_SOCKET: &str = "handover.sock";

/// `server.memory`
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Memory {
    /// A share of the machine's or cgroup's memory.
    Share(Percent),
    /// A number of bytes.
    Bytes(ByteSize),
}

/// `metrics.compat`: for whose names more is counted than our own families need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compat {
    /// Of each backend: bytes, who broke off, means of the last times.
    pub haproxy: bool,
    /// Of each route, method and code: times and bytes.
    pub traefik: bool,
}

impl Compat {
    /// Whether anything is.
    pub fn is_on(self) -> bool {
        self.haproxy || self.traefik
    }
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// `None` is `"off"`.
    pub bind: Option<Bind>,
    /// Further `Host` names it answers to.
    pub hosts: Vec<String>,
    /// What callers of `/v1` by TCP must know.
    pub token: Option<Blob>,
    /// What callers may cost.
    pub limits: AdminLimits,
}

impl Admin {
    /// The sockets in the file system by which the proxy is governed: whoever can open them is its
    /// owner.
    pub fn sockets(&self, server: &Server) -> impl Iterator<Item = PathBuf> + use<> {
        let said = match self.bind.as_ref().map(|bind| &bind.addr) {
            Some(BindAddr::Unix(path)) => Some(path.clone()),
            _ => None,
        };
        let own = [ADMIN_SOCKET, HAND_OVER_SOCKET].map(|name| server.state.join(name));
        own.into_iter().chain(said)
    }

    /// Whether who dials `to` may call the API for that alone: without a token it is open to this
    /// machine, and whom a backend's connection is for is nobody's to see.
    pub fn is_open_at(&self, to: SocketAddr) -> bool {
        let Some(bind) = self.bind.as_ref().filter(|_| self.token.is_none()) else { return false };
        let ip = to.ip().to_canonical();
        match &bind.addr {
            BindAddr::Ip(own) => arrives(*own, to),
            BindAddr::Host(_, port) => {
                *port == to.port() && (ip.is_loopback() || ip.is_unspecified())
            }
            BindAddr::Unix(_) => false,
        }
    }

    /// The same of an address as it is written. What a name leads to is seen when it is resolved.
    pub fn is_open_to(&self, to: &Addr) -> bool {
        match to {
            Addr::Ip(to) => self.is_open_at(*to),
            Addr::Host(name, port) if &**name == "localhost" => {
                let loopback = [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()];
                loopback.into_iter().any(|ip| self.is_open_at(SocketAddr::new(ip, *port)))
            }
            Addr::Host(..) | Addr::Unix(_) => false,
        }
    }
}

/// `admin.limits`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminLimits {
    /// Bytes of a request's body.
    pub body: usize,
    /// How long a caller may take for a request.
    pub time: Duration,
    /// Requests of all callers of an address together; `None` is off.
    pub rate: Option<Rate>,
    /// Connections at the same time, of each address.
    pub connections: usize,
    /// Connections that hear of events at the same time.
    pub streams: usize,
    /// Backends of which the API says something.
    pub words: usize,
    /// Bytes of answers that nobody has read yet, at each address.
    pub answers: usize,
}

impl Default for AdminLimits {
    fn default() -> Self {
        Self {
            // A file of ten thousand backends, to be planned with.
            body: 1 << 20,
            time: Duration::from_secs(10),
            // Five times what one writer a millisecond asks.
            rate: Rate::every(Duration::from_micros(200)),
            // Scrapers, a dashboard, a few people, and their scripts.
            connections: 128,
            // Each holds a place of the above.
            streams: 32,
            words: 10_000,
            // Seven scrapes of a thousand backends; one goes in any case.
            answers: 32 << 20,
        }
    }
}

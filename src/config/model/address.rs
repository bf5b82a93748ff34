//! Addresses: to listen on and to dial.
use crate::config::problem::At;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The address.
    pub addr: BindAddr,
    /// Where it is said.
    pub at: At,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BindAddr {
    /// An IP address and port. IPv6 sockets are v6-only.
    Ip(SocketAddr),
    /// A host name and port, resolved when it is bound.
    Host(Arc<str>, u16),
    /// `unix:/path`
    Unix(PathBuf),
}

impl fmt::Display for BindAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whether who dials `to` on this machine arrives at `own`. The kernel takes "any address" for the
/// loopback one.
pub fn arrives(own: SocketAddr, to: SocketAddr) -> bool {
    let (at, ip) = (own.ip().to_canonical(), to.ip().to_canonical());
    let any = ip.is_unspecified() && at.is_loopback();
    let all = at.is_unspecified()
        && at.is_ipv4() == ip.is_ipv4()
        && (ip.is_loopback() || ip.is_unspecified());
    own.port() == to.port() && (ip == at || any || all)
}

/// An address to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Addr {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A name to resolve, and a port.
    Host(Arc<str>, u16),
    /// `unix:/path`
    Unix(PathBuf),
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

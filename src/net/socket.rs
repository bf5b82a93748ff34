//! Sockets as the proxy opens them: listening ones and dialled ones.
use super::stream::Stream;
use crate::config::BindAddr;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// A listening address with one socket for each worker.
#[derive(Debug)]
pub struct Bound {
    /// The address really bound (a port of 0 is resolved).
    pub addr: BindAddr,
    /// One listening std socket a worker, non-blocking. TCP: a SO_REUSEPORT group whose first
    /// socket was bound without it, so that a second process gets "address in use". Unix: one
    /// socket, duplicated.
    pub sockets: Vec<std::os::fd::OwnedFd>,
}

/// Binds an address for so many workers. A host name is resolved (blocking; control runtime only).
/// A stale Unix socket file is removed when nobody answers on it.
///
/// # Errors
///
/// The kernel's; nothing stays bound.
pub fn bind(addr: &BindAddr, workers: usize, backlog: i32) -> io::Result<Bound> {
    let _ = (addr, workers, backlog);
    todo!()
}

/// Where to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// TCP.
    Ip(SocketAddr),
    /// Unix stream socket.
    Unix(Arc<PathBuf>),
}

/// Dials. TCP_NODELAY is set. No limit on time: the caller has one.
///
/// # Errors
///
/// The kernel's.
pub async fn connect(target: &Target) -> io::Result<Stream> {
    let _ = target;
    todo!()
}

/// Whether an error is a shortage of our own machine (EMFILE, ENFILE, ENOBUFS, ENOMEM,
/// EADDRNOTAVAIL), never to be blamed on a backend.
pub fn is_local_fault(error: &io::Error) -> bool {
    let _ = error;
    todo!()
}

/// Raises the soft descriptor limit to the hard one and returns it.
pub fn raise_descriptor_limit() -> u64 {
    todo!()
}

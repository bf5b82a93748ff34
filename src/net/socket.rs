//! Sockets as the proxy opens them: listening ones and dialled ones.
use super::named::Named;
use super::stream::Stream;
use crate::config::BindAddr;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpStream, UnixStream};

/// A listening address with one socket for each worker.
#[derive(Debug)]
pub struct Bound {
    /// The address really bound (a port of 0 is resolved).
    pub addr: BindAddr,
    /// One listening socket a worker, non-blocking. TCP: a SO_REUSEPORT group whose first socket
    /// was bound without it, so that a second process gets "address in use". Unix: one socket,
    /// duplicated.
    pub sockets: Vec<OwnedFd>,
    /// Another program keeps it, the service manager: the file of a Unix socket is its to remove.
    pub foreign: bool,
}

/// Binds an address for so many workers. A host name is resolved (blocking; control runtime only).
/// A stale Unix socket file is removed when nobody answers on it.
///
/// # Errors
///
/// The kernel's; nothing stays bound.
pub fn bind(addr: &BindAddr, workers: usize, backlog: i32) -> io::Result<Bound> {
    bind_with(addr, workers, backlog, Neighbours::Refused)
}

/// As [`bind`], with the file of a Unix socket its owner's alone from its first moment on, whatever the
/// umask.
///
/// # Errors
///
/// The kernel's; nothing stays bound.
pub fn bind_private(addr: &BindAddr, backlog: i32) -> io::Result<Bound> {
    match addr {
        BindAddr::Unix(path) => bind_unix(path, 1, backlog, Some(0o600)),
        addr => bind(addr, 1, backlog),
    }
}

/// As [`bind`], for an address that overlaps with one this process holds already: `0.0.0.0:80`
/// beside `127.0.0.1:80`. A process that set SO_REUSEPORT is let in too, so this is only for a
/// bind that was refused because of our own socket.
///
/// # Errors
///
/// The kernel's; nothing stays bound.
pub fn bind_beside(addr: &BindAddr, workers: usize, backlog: i32) -> io::Result<Bound> {
    bind_with(addr, workers, backlog, Neighbours::Welcome)
}

/// Whether the first socket of a group may join others on its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// A port that somebody has is in use.
    Refused,
    /// Those who set SO_REUSEPORT may be there: for overlaps with an address of our own.
    Welcome,
}

/// Bytes of datagrams that may wait in a socket many send to: what 10 Gbit/s bring in 3 ms. The
/// kernel cuts it to `net.core.rmem_max`.
const WAITING: usize = 4 << 20;

/// Binds an address for datagrams, one socket a worker: the kernel leads those of one client to the
/// same socket. A host name is resolved (blocking; control runtime only). Sockets of an address
/// that is every address say which one each datagram came to.
///
/// # Errors
///
/// The kernel's; nothing stays bound.
pub fn bind_datagrams(addr: &BindAddr, workers: usize, others: Neighbours) -> io::Result<Bound> {
    let addr = resolved(addr)?;
    let (addr, sockets) = group(addr, workers, others, datagram_socket)?;
    let sockets = sockets.into_iter().map(OwnedFd::from).collect();
    Ok(Bound { addr: BindAddr::Ip(addr), sockets, foreign: false })
}

pub(super) fn datagram_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking().cloexec(), None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    datagram_options(&socket, addr)?;
    Ok(socket)
}

/// What every socket of ours for datagrams says.
pub(super) fn datagram_options(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    socket.set_recv_buffer_size(WAITING)?;
    socket.set_send_buffer_size(WAITING)?;
    if addr.ip().is_unspecified() {
        match addr {
            SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
    }
    Ok(())
}

/// A socket that sends datagrams to one address and hears from there alone, its refusals (ICMP)
/// too.
///
/// # Errors
///
/// The kernel's.
pub fn connect_datagrams(addr: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking().cloexec(), None)?;
    socket.connect(&addr.into())?;
    Ok(socket.into())
}

/// The address that is bound: a host name is resolved (blocking; control runtime only).
///
/// # Errors
///
/// The resolver's; a Unix socket has none.
pub fn resolved(addr: &BindAddr) -> io::Result<SocketAddr> {
    match addr {
        BindAddr::Ip(addr) => Ok(*addr),
        BindAddr::Host(host, port) => first_of(host, *port),
        BindAddr::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn first_of(host: &str, port: u16) -> io::Result<SocketAddr> {
    let mut all = (host, port).to_socket_addrs()?;
    let none = || io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    all.next().ok_or_else(none)
}

fn bind_with(
    addr: &BindAddr,
    workers: usize,
    backlog: i32,
    others: Neighbours,
) -> io::Result<Bound> {
    match addr {
        BindAddr::Ip(addr) => bind_tcp(*addr, workers, backlog, others),
        BindAddr::Host(host, port) => bind_tcp(first_of(host, *port)?, workers, backlog, others),
        BindAddr::Unix(path) => bind_unix(path, workers, backlog, None),
    }
}

/// Sockets of one address, one a worker, and the address with its port.
fn group(
    addr: SocketAddr,
    workers: usize,
    others: Neighbours,
    make: fn(SocketAddr) -> io::Result<Socket>,
) -> io::Result<(SocketAddr, Vec<Socket>)> {
    let first = make(addr)?;
    first.set_reuse_port(others == Neighbours::Welcome)?;
    first.bind(&addr.into())?;
    // Set only after the bind: had the first one it before, a second process could join the group.
    first.set_reuse_port(true)?;
    let addr = first.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        let next = make(addr)?;
        next.set_reuse_port(true)?;
        next.bind(&addr.into())?;
        sockets.push(next);
    }
    Ok((addr, sockets))
}

fn bind_tcp(
    addr: SocketAddr,
    workers: usize,
    backlog: i32,
    others: Neighbours,
) -> io::Result<Bound> {
    let (addr, sockets) = group(addr, workers, others, tcp_socket)?;
    for socket in &sockets {
        socket.listen(backlog)?;
    }
    Ok(Bound {
        addr: BindAddr::Ip(addr),
        sockets: sockets.into_iter().map(OwnedFd::from).collect(),
        foreign: false,
    })
}

pub(super) fn tcp_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket =
        Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // So that a restart need not wait for connections in TIME_WAIT; Linux still refuses a second
    // listener.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn bind_unix(path: &Path, workers: usize, backlog: i32, mode: Option<u32>) -> io::Result<Bound> {
    let at = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    if let Some(mode) = mode {
        // The file is made with what the socket allows (unix(7)).
        rustix::fs::fchmod(&socket, mode.into())?;
    }
    if let Err(error) = socket.bind(&at) {
        if error.kind() != io::ErrorKind::AddrInUse || !is_stale(path, &at) {
            return Err(error);
        }
        std::fs::remove_file(path)?;
        socket.bind(&at)?;
    }
    socket.listen(backlog)?;
    let mut sockets = vec![socket];
    for _ in 1..workers {
        sockets.push(sockets[0].try_clone()?);
    }
    let sockets = sockets.into_iter().map(OwnedFd::from).collect();
    Ok(Bound { addr: BindAddr::Unix(path.to_path_buf()), sockets, foreign: false })
}

/// Whether a socket file has nobody behind it.
fn is_stale(path: &Path, at: &SockAddr) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None);
    let refused =
        |s: Socket| matches!(s.connect(at), Err(e) if e.kind() == io::ErrorKind::ConnectionRefused);
    is_socket && probe.is_ok_and(refused)
}

/// Where to dial.
#[derive(Clone, Debug)]
pub enum Target {
    /// One address.
    Ip(SocketAddr),
    /// Any address of a name.
    Name(Arc<Named>),
    /// Unix stream socket.
    Unix(Arc<PathBuf>),
}

impl Target {
    /// One address of it, of a name the next.
    pub fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(addr) => Some(*addr),
            Self::Name(named) => named.next(),
            Self::Unix(_) => None,
        }
    }
    /// The same with another port, of several addresses in the order of now. A Unix socket has none.
    pub fn with_port(self, port: u16) -> Self {
        let other = |addr: &SocketAddr| SocketAddr::new(addr.ip(), port);
        match self {
            Self::Ip(addr) => Self::Ip(other(&addr)),
            Self::Name(named) => {
                Self::Name(Arc::new(Named::new(named.order().iter().map(other).collect())))
            }
            Self::Unix(path) => Self::Unix(path),
        }
    }
}

/// Dials. TCP_NODELAY is set. No limit on time: the caller has one.
///
/// # Errors
///
/// The kernel's.
pub async fn connect(target: &Target) -> io::Result<Stream> {
    match target {
        Target::Ip(addr) => plain(TcpStream::connect(*addr).await?),
        Target::Name(named) => plain(Box::pin(named.connect()).await?),
        Target::Unix(path) => Ok(UnixStream::connect(path.as_path()).await?.into()),
    }
}

fn plain(stream: TcpStream) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

/// Whether an error is a shortage of our own machine (EMFILE, ENFILE, ENOBUFS, ENOMEM,
/// EADDRNOTAVAIL), never to be blamed on a backend.
pub fn is_local_fault(error: &io::Error) -> bool {
    const OURS: [Errno; 5] =
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| OURS.iter().any(|e| e.raw_os_error() == code))
}

/// Raises the soft descriptor limit to the hard one and returns it.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let in_force =
        if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    in_force.unwrap_or(u64::MAX)
}

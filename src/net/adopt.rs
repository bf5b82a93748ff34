//! Listening sockets that another process bound: the one before this, or the service manager.
use super::socket::{Bound, datagram_options, datagram_socket, tcp_socket};
use crate::config::BindAddr;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt::socket_acceptconn;
use socket2::{SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Where a socket listens, and whether for datagrams.
///
/// # Errors
///
/// The kernel's, or that it is no socket that listens.
pub fn listens_on(socket: &OwnedFd) -> io::Result<(BindAddr, bool)> {
    let about = SockRef::from(socket);
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
    let datagrams = about.r#type()? == Type::DGRAM;
    if !datagrams && !socket_acceptconn(socket)? {
        return Err(wrong("it does not listen"));
    }
    let addr = about.local_addr()?;
    let unix = || addr.as_pathname().map(|path| BindAddr::Unix(path.to_path_buf()));
    let addr = addr.as_socket().map(BindAddr::Ip).or_else(unix);
    Ok((addr.ok_or_else(|| wrong("it has neither an IP address nor a path"))?, datagrams))
}

/// Takes over the sockets of one address, of which [`listens_on`] said so, for so many workers. Where
/// there are fewer sockets than workers further ones join their group; where the kernel lets none in,
/// workers share one. Where there are more, a worker has several: none is closed, since that would
/// drop who waits there.
///
/// # Errors
///
/// The kernel's.
pub fn adopt(mut sockets: Vec<OwnedFd>, workers: usize, backlog: i32) -> io::Result<Bound> {
    let Some(first) = sockets.first() else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
    let (addr, datagrams) = listens_on(first)?;
    for socket in &sockets {
        fcntl_setfd(socket, FdFlags::CLOEXEC)?;
        let about = SockRef::from(socket);
        about.set_nonblocking(true)?;
        if let BindAddr::Ip(addr) = addr {
            about.set_reuse_port(true)?;
            if datagrams {
                datagram_options(&about, addr)?;
            }
        }
    }
    let there = sockets.len();
    for at in there..workers {
        let joined = match addr {
            BindAddr::Ip(addr) => join(addr, datagrams, backlog).ok(),
            _ => None,
        };
        let next = match joined {
            Some(socket) => socket,
            None => sockets[at % there].try_clone()?,
        };
        sockets.push(next);
    }
    Ok(Bound { addr, sockets, foreign: false })
}

fn join(addr: SocketAddr, datagrams: bool, backlog: i32) -> io::Result<OwnedFd> {
    let socket: Socket = if datagrams { datagram_socket(addr)? } else { tcp_socket(addr)? };
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    if !datagrams {
        socket.listen(backlog)?;
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Neighbours, bind, bind_datagrams};
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpStream};
    use std::os::fd::AsRawFd;

    #[test]
    fn more_workers_join_the_group_and_fewer_close_nothing() {
        let any = BindAddr::Ip((Ipv4Addr::LOCALHOST, 0).into());
        let bound = bind(&any, 2, 128).unwrap();
        let addr = bound.addr.clone();
        let more = adopt(bound.sockets, 3, 128).unwrap();
        assert_eq!((&more.addr, more.sockets.len()), (&addr, 3));
        let BindAddr::Ip(ip) = addr else { panic!() };
        // Each of the three is led some of many connections.
        let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(ip).unwrap()).collect();
        let fewer = adopt(more.sockets, 1, 128).unwrap();
        assert_eq!(fewer.sockets.len(), 3);
        let mut waiting = 0;
        for socket in fewer.sockets {
            let listener = std::net::TcpListener::from(socket);
            let before = waiting;
            while listener.accept().is_ok() {
                waiting += 1;
            }
            assert!(waiting > before, "a socket of the group got nobody");
        }
        assert_eq!(waiting, clients.len());
        for mut client in clients {
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn datagrams_and_paths_are_told_apart_and_what_does_not_listen_is_refused() {
        let any = BindAddr::Ip((Ipv4Addr::LOCALHOST, 0).into());
        let bound = bind_datagrams(&any, 1, Neighbours::Refused).unwrap();
        assert_eq!(listens_on(&bound.sockets[0]).unwrap(), (bound.addr.clone(), true));
        assert_eq!(adopt(bound.sockets, 2, 0).unwrap().sockets.len(), 2);
        let folder = tempfile::tempdir().unwrap();
        let path = BindAddr::Unix(folder.path().join("s"));
        let bound = bind(&path, 1, 16).unwrap();
        assert_eq!(listens_on(&bound.sockets[0]).unwrap(), (path.clone(), false));
        let shared = adopt(bound.sockets, 2, 16).unwrap();
        assert_eq!((&shared.addr, shared.sockets.len()), (&path, 2));
        assert_ne!(shared.sockets[0].as_raw_fd(), shared.sockets[1].as_raw_fd());
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        assert!(listens_on(&file).is_err());
    }
}

//! What binds, what is refused, and what is left behind.
use super::socket::{Bound, Target, bind, bind_beside, connect, is_local_fault};
use crate::config::BindAddr;
use rustix::io::Errno;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn local(bound: &Bound) -> SocketAddr {
    match bound.addr {
        BindAddr::Ip(addr) => addr,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_port_of_0_is_resolved_and_every_worker_listens_on_it() {
    let bound = bind(&BindAddr::Ip(ANY), 3, 16).unwrap();
    let addr = local(&bound);
    assert!(addr.port() != 0 && bound.sockets.len() == 3);
    for socket in bound.sockets {
        let listener = TcpListener::from(socket);
        assert_eq!(listener.local_addr().unwrap(), addr);
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn an_address_in_use_is_refused_and_is_free_again_afterwards() {
    let first = bind(&BindAddr::Ip(ANY), 2, 16).unwrap();
    let addr = BindAddr::Ip(local(&first));
    for workers in [1, 2] {
        assert_eq!(bind(&addr, workers, 16).unwrap_err().kind(), ErrorKind::AddrInUse);
    }
    // Who shares it must say so.
    let beside = bind_beside(&addr, 1, 16).unwrap();
    drop(first);
    assert_eq!(bind(&addr, 1, 16).unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(beside);
    assert_eq!(local(&bind(&addr, 2, 16).unwrap()), local(&bind_beside(&addr, 1, 16).unwrap()));
}

#[test]
fn a_stranger_that_shares_its_port_does_not_let_us_in_unasked() {
    let stranger =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    stranger.set_reuse_port(true).unwrap();
    stranger.bind(&ANY.into()).unwrap();
    stranger.listen(1).unwrap();
    let addr = BindAddr::Ip(stranger.local_addr().unwrap().as_socket().unwrap());
    assert_eq!(bind(&addr, 2, 16).unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[test]
fn a_host_name_is_resolved() {
    let bound = bind(&BindAddr::Host("localhost".into(), 0), 1, 16).unwrap();
    assert!(local(&bound).ip().is_loopback());
}

#[test]
fn an_address_that_is_not_ours_is_refused() {
    let documentation = BindAddr::Ip("192.0.2.1:0".parse().unwrap());
    let error = bind(&documentation, 1, 16).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    assert!(is_local_fault(&error));
}

#[test]
fn a_unix_socket_replaces_a_stale_file_but_neither_a_live_one_nor_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let addr = BindAddr::Unix(path.clone());
    let live = bind(&addr, 2, 16).unwrap();
    assert_eq!((live.sockets.len(), &live.addr), (2, &addr));
    assert_eq!(bind(&addr, 1, 16).unwrap_err().kind(), ErrorKind::AddrInUse);
    // The one that was refused has not taken the file away.
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    drop(live);
    assert!(path.exists(), "a socket file stays behind its process");
    let again = bind(&addr, 1, 16).unwrap();
    std::os::unix::net::UnixStream::connect(&path).unwrap();
    drop(again);

    let plain = folder.path().join("plain");
    std::fs::write(&plain, "precious").unwrap();
    let error = bind(&BindAddr::Unix(plain.clone()), 1, 16).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert_eq!(std::fs::read_to_string(plain).unwrap(), "precious");
    let nowhere = BindAddr::Unix(folder.path().join("no/such/folder"));
    assert_eq!(bind(&nowhere, 1, 16).unwrap_err().kind(), ErrorKind::NotFound);
    let too_long = BindAddr::Unix(folder.path().join("x".repeat(200)));
    assert_eq!(bind(&too_long, 1, 16).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn both_kinds_of_target_are_dialled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let unix = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind(ANY).unwrap();
    let stream = connect(&Target::Ip(tcp.local_addr().unwrap())).await.unwrap();
    assert!(stream.tcp().unwrap().nodelay().unwrap(), "small writes must not wait");
    let (mut peer, _) = tcp.accept().unwrap();
    drop(stream);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);

    let target = Target::Unix(Arc::new(path));
    let stream = connect(&target).await.unwrap();
    assert!(stream.tcp().is_none());
    unix.accept().unwrap().0.write_all(b"x").unwrap();
    drop((unix, tcp));
    assert_eq!(connect(&target).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn only_a_shortage_of_our_own_is_our_fault() {
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL] {
        assert!(is_local_fault(&errno.into()), "{errno:?}");
    }
    for errno in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::TIMEDOUT, Errno::HOSTUNREACH] {
        assert!(!is_local_fault(&errno.into()), "{errno:?}");
    }
    assert!(!is_local_fault(&io::Error::from(ErrorKind::AddrNotAvailable)));
}

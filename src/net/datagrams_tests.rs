//! Batches of datagrams between real sockets.
use super::datagrams::{BATCH, Door, Flow, with_batch};
use super::socket::{Neighbours, bind_datagrams, connect_datagrams};
use crate::config::BindAddr;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

fn bound(addr: &str) -> (OwnedFd, SocketAddr) {
    let addr: SocketAddr = addr.parse().unwrap();
    let mut bound = bind_datagrams(&BindAddr::Ip(addr), 1, Neighbours::Refused).unwrap();
    let BindAddr::Ip(addr) = bound.addr else { panic!("{bound:?}") };
    (bound.sockets.remove(0), addr)
}

fn client(addr: &str) -> UdpSocket {
    let client = UdpSocket::bind(addr).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client
}

#[test]
fn many_come_by_one_call_and_go_back_by_one() {
    let (socket, addr) = bound("127.0.0.1:0");
    let clients: Vec<UdpSocket> = (0..3).map(|_| client("127.0.0.1:0")).collect();
    for (n, client) in clients.iter().enumerate() {
        client.send_to(&vec![n as u8; n * 1000], addr).unwrap();
    }
    with_batch(|batch| {
        assert_eq!(batch.receive(socket.as_fd(), Door::V4).unwrap(), 3);
        for (n, client) in clients.iter().enumerate() {
            assert_eq!(batch.bytes(n), vec![n as u8; n * 1000]);
            let flow = batch.flow(n).unwrap();
            assert_eq!(flow, Flow { peer: client.local_addr().unwrap(), local: None });
            batch.address(n, flow);
        }
        let sent = batch.send(socket.as_fd(), 3);
        assert_eq!((sent.bytes, sent.dropped), (3000, 0));
        let none = batch.receive(socket.as_fd(), Door::V4).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::WouldBlock);
    });
    for (n, client) in clients.iter().enumerate() {
        let mut buf = [0; 4096];
        assert_eq!(client.recv(&mut buf).unwrap(), n * 1000, "an empty one is one, too");
    }
}

#[test]
fn who_is_bound_to_every_address_answers_from_the_one_that_was_asked() {
    for (every, ours) in [("0.0.0.0:0", ["127.0.0.1", "127.0.0.2"]), ("[::]:0", ["::1", "::1"])] {
        let (socket, addr) = bound(every);
        // Twice as many as a batch, so that its headers are used again.
        for turn in 0..2 * BATCH {
            let ip = ours[turn % 2].parse().unwrap();
            let client = client(every);
            client.connect(SocketAddr::new(ip, addr.port())).unwrap();
            client.send(b"who").unwrap();
            with_batch(|batch| {
                assert_eq!(batch.receive(socket.as_fd(), Door::of(addr)).unwrap(), 1);
                let flow = batch.flow(0).unwrap();
                assert_eq!(flow.local, Some(ip));
                batch.address(0, flow);
                assert_eq!(batch.send(socket.as_fd(), 1).dropped, 0);
            });
            // A connected socket hears the address it asked alone.
            assert_eq!(client.recv(&mut [0; 8]).unwrap(), 3);
        }
    }
}

#[test]
fn one_that_cannot_be_sent_does_not_keep_the_others() {
    let (socket, _) = bound("127.0.0.1:0");
    let good = client("127.0.0.1:0");
    let to = |addr: SocketAddr| Flow { peer: addr, local: None };
    // Port 0 is nobody.
    let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
    with_batch(|batch| {
        let sender = client("127.0.0.1:0");
        let at = client("127.0.0.1:0");
        for _ in 0..3 {
            sender.send_to(b"abc", at.local_addr().unwrap()).unwrap();
        }
        assert_eq!(batch.receive(at.as_fd(), Door::V4).unwrap(), 3);
        for (n, flow) in [good.local_addr().unwrap(), nobody, good.local_addr().unwrap()]
            .into_iter()
            .map(to)
            .enumerate()
        {
            batch.address(n, flow);
        }
        let sent = batch.send(socket.as_fd(), 3);
        assert_eq!((sent.bytes, sent.dropped), (6, 1));
    });
    for _ in 0..2 {
        assert_eq!(good.recv(&mut [0; 8]).unwrap(), 3);
    }
}

#[test]
fn the_longest_datagram_is_whole_and_a_connected_socket_hears_that_nobody_is_there() {
    let backend = client("127.0.0.1:0");
    let fd = connect_datagrams(backend.local_addr().unwrap()).unwrap();
    let ours = UdpSocket::from(fd.try_clone().unwrap());
    let long = vec![7; 65_507];
    backend.send_to(&long, ours.local_addr().unwrap()).unwrap();
    with_batch(|batch| {
        assert_eq!(batch.receive_at(fd.as_fd(), BATCH - 1, 1).unwrap(), 1);
        assert!(batch.bytes(BATCH - 1) == long);
    });
    drop(backend);
    ours.send(b"x").unwrap();
    with_batch(|batch| {
        let refused = batch.receive_at(fd.as_fd(), 0, 8).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_second_process_gets_address_in_use_and_every_worker_a_socket() {
    let addr = BindAddr::Ip("127.0.0.1:0".parse().unwrap());
    let first = bind_datagrams(&addr, 4, Neighbours::Refused).unwrap();
    assert_eq!(first.sockets.len(), 4);
    let second = bind_datagrams(&first.addr, 4, Neighbours::Refused).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::AddrInUse);
    let BindAddr::Ip(at) = first.addr else { panic!() };
    // What one client sends always reaches the same socket.
    let client = client("127.0.0.1:0");
    for _ in 0..8 {
        client.send_to(b"x", at).unwrap();
    }
    let counts: Vec<usize> = first
        .sockets
        .iter()
        .map(|socket| with_batch(|batch| batch.receive(socket.as_fd(), Door::V4).unwrap_or(0)))
        .collect();
    assert_eq!((counts.iter().sum::<usize>(), counts.iter().max()), (8, Some(&8)), "{counts:?}");
}

//! Ports that belong to one test.
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Below what Linux gives to connections and to port 0 (`net.ipv4.ip_local_port_range`, from 32768):
/// no other test's traffic can come upon them.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// An address on which nobody listens, and which no other test is given, in this process or in
/// another, as long as this one runs: an abstract socket of its name is the token.
pub(crate) fn nobody() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes begin far from each other; the token keeps them apart where that does not.
    let begin = std::process::id().wrapping_mul(127);
    for _ in PORTS {
        let step = begin.wrapping_add(NEXT.fetch_add(1, Relaxed).into());
        let port = PORTS.start + (step % u32::from(PORTS.end - PORTS.start)) as u16;
        let name = UnixAddr::from_abstract_name(format!("evenkeel-test-port-{port}")).unwrap();
        let Ok(token) = UnixDatagram::bind_addr(&name) else { continue };
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // Bound, never listening: a child that is being forked at this moment holds the socket until
        // it executes, and one that listens would keep the port from its owner so long.
        let probe = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        probe.set_reuse_address(true).unwrap();
        let datagrams = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        if probe.bind(&addr.into()).is_ok() && datagrams.bind(&addr.into()).is_ok() {
            std::mem::forget(token);
            return addr;
        }
    }
    panic!("no port from {} to {} is free", PORTS.start, PORTS.end)
}

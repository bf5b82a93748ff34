//! The UDP check: a datagram, and one that answers it. Without `health`, a knock: an empty datagram,
//! and whether anybody says that nobody is there.
use super::check::Verdict;
use super::tcp::{show, words};
use crate::net;
use std::io;
use std::net::{SocketAddr, UdpSocket as Plain};
use tokio::net::UdpSocket;

/// Sends a datagram and waits for one that holds what is expected; others are passed over.
pub(super) async fn check(
    addr: SocketAddr,
    send: &[u8],
    expect: Option<&[u8]>,
) -> Result<(), Verdict> {
    let socket = open(addr)?;
    socket.send(send).await.map_err(|error| failed("send", error))?;
    let mut buf = vec![0; 64 << 10];
    let expect = expect.unwrap_or_default();
    loop {
        let n = socket.recv(&mut buf).await.map_err(|error| failed("receive", error))?;
        if memchr::memmem::find(&buf[..n], expect).is_some() {
            return Ok(());
        }
        tracing::debug!(answer = show(&buf[..n]), expect = show(expect), "udp probe");
    }
}

/// Good unless a refusal comes: there is no other sign of a socket that need not answer.
pub(super) async fn knock(addr: SocketAddr) -> Result<(), Verdict> {
    net::knock(addr).await.map_err(|error| failed("knock", error))
}

fn open(addr: SocketAddr) -> Result<UdpSocket, Verdict> {
    let socket = net::connect_datagrams(addr).map(Plain::from).and_then(UdpSocket::from_std);
    socket.map_err(|error| failed("connect", error))
}

fn failed(what: &str, error: io::Error) -> Verdict {
    if net::is_local_fault(&error) {
        return Verdict::Ours(error);
    }
    Verdict::Bad(format!("{what}: {}", words(&error)))
}

//! Pairs of connected streams for the tests of this room, and blocking peers to talk to them.
use super::stream::Stream;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::{JoinHandle, spawn};

/// Our end of a TCP connection and the peer's, which blocks.
pub(super) fn tcp() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (tokio::net::TcpStream::from_std(ours).unwrap().into(), peer)
}

/// The same over a Unix socket.
pub(super) fn unix() -> (Stream, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (tokio::net::UnixStream::from_std(ours).unwrap().into(), peer)
}

/// Bytes that do not repeat in a way that a copy at the wrong place would go unseen.
pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Reads a peer to its end on a thread of its own.
pub(super) fn read_all(mut peer: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        all
    })
}

/// Writes to a peer on a thread of its own and ends that direction.
pub(super) fn write_all(mut peer: TcpStream, bytes: Vec<u8>) -> JoinHandle<()> {
    spawn(move || {
        peer.write_all(&bytes).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
    })
}

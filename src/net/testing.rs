//! Pairs of connected streams for the tests of this room, and blocking peers to talk to them.
use super::raw::Raw;
use super::session::Session;
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

/// A session that both sides have agreed on, and the peer, which blocks.
pub(super) async fn tls() -> (Session, Raw, rustls::StreamOwned<rustls::ClientConnection, TcpStream>)
{
    use std::sync::Arc;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["a.test".into()]).unwrap();
    let cert = params.self_signed(&key).unwrap().der().clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.clone()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key.serialize_der().try_into().unwrap())
        .unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (ours, peer) = tcp();
    let super::Transport::Tcp(ours) = ours.into_transport() else { panic!("it is TCP") };
    let mut raw = Raw::from(ours);
    let connection = rustls::ServerConnection::new(Arc::new(server)).unwrap();
    let mut session = Session::new(connection.into());
    let agreed = spawn(move || {
        let client = rustls::ClientConnection::new(Arc::new(client), "a.test".try_into().unwrap());
        let mut stream = rustls::StreamOwned::new(client.unwrap(), peer);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream
    });
    std::future::poll_fn(|cx| session.poll_handshake(&mut raw, cx)).await.unwrap();
    (session, raw, agreed.join().unwrap())
}

//! A backend that does what a script says, byte by byte.
use super::nobody;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// A scripted backend: a thread for each connection.
pub(crate) struct Backend {
    pub(crate) addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

/// One connection from the proxy.
pub(crate) struct Peer {
    reader: BufReader<TcpStream>,
    /// Which connection of the backend, from 0.
    pub(crate) number: usize,
}

impl Backend {
    /// Runs the script for each connection.
    pub(crate) fn run(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        Self::run_at(nobody(), script)
    }

    /// As [`Backend::run`], at an address of [`nobody`].
    pub(crate) fn run_at(
        addr: SocketAddr,
        script: impl Fn(&mut Peer) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let (connections, ended) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop, script) = (connections.clone(), ended.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { break };
                let number = count.fetch_add(1, SeqCst);
                let script = script.clone();
                stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
                let _ = stream.set_nodelay(true);
                std::thread::spawn(move || {
                    script(&mut Peer { reader: BufReader::new(stream), number })
                });
            }
        });
        Self { addr, connections, ended }
    }

    /// Answers every request with its name, keeping connections.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::run(move |peer| {
            while peer.request().is_some() {
                peer.answer(name);
            }
        })
    }

    /// As [`Backend::named`], at an address of [`nobody`].
    pub(crate) fn at(addr: SocketAddr, name: &'static str) -> Self {
        Self::run_at(addr, move |peer| {
            while peer.request().is_some() {
                peer.answer(name);
            }
        })
    }

    /// Answers every request with the head it received.
    pub(crate) fn echo() -> Self {
        Self::run(|peer| {
            while let Some(head) = peer.request() {
                peer.answer(&head);
            }
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Stops listening; what is connected goes on.
    pub(crate) fn end(&self) {
        self.ended.store(true, SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.end();
    }
}

impl Peer {
    /// The next request head, without its last empty line; `None` at the end.
    pub(crate) fn request(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                return Some(head);
            }
            head.push_str(&line);
        }
    }
    /// Exactly so many bytes.
    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }
    /// One byte; `None` at the end.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte).ok().map(|()| byte[0])
    }
    /// Everything until the proxy closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.reader.read_to_end(&mut bytes);
        bytes
    }
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.reader.get_mut().write_all(bytes.as_ref());
    }
    /// A 200 with this body.
    pub(crate) fn answer(&mut self, body: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    }
    /// Closes with a reset.
    pub(crate) fn reset(&mut self) {
        let _ = socket2::SockRef::from(self.reader.get_ref()).set_linger(Some(Duration::ZERO));
    }
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.reader.get_mut()
    }
}

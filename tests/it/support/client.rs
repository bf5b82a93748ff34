//! A raw HTTP/1 client: sends what it is told, reads answers strictly.
use super::PATIENCE;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

pub(crate) struct Client {
    stream: TcpStream,
    /// Above the stream, where TLS is spoken.
    tls: Option<Box<rustls::ClientConnection>>,
    seen: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The head as it came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Trailer lines.
    pub(crate) trailers: Vec<String>,
    /// Whether the body came to the end its head announced.
    pub(crate) complete: bool,
}

impl Response {
    /// The value of a field, names compared case-insensitively.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (n, v) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then_some(v.trim())
        })
    }
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).unwrap())
    }
    /// From an address of this machine's own.
    pub(crate) fn connect_from(from: std::net::IpAddr, addr: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&addr.into()).unwrap();
        Self::over(socket.into())
    }
    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, tls: None, seen: Vec::new() }
    }
    /// Speaks TLS with a proxy, and verifies that it is this host.
    pub(crate) fn secure(proxy: &super::Proxy, certs: &super::Certs, host: &'static str) -> Self {
        Self::secure_at(proxy.addr(), certs, host)
    }
    /// As `secure`, with whoever is at an address.
    pub(crate) fn secure_at(addr: SocketAddr, certs: &super::Certs, host: &'static str) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certs.ca()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = host.try_into().unwrap();
        let connection = rustls::ClientConnection::new(config.into(), name).unwrap();
        Self { tls: Some(Box::new(connection)), ..Self::connect(addr) }
    }
    /// Sends; a proxy that refused early may have closed already.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = match &mut self.tls {
            None => self.stream.write_all(bytes.as_ref()),
            Some(tls) => {
                rustls::Stream::new(&mut **tls, &mut self.stream).write_all(bytes.as_ref())
            }
        };
    }
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
    /// Says TLS's own end (`close_notify`).
    pub(crate) fn say_end(&mut self) {
        let tls = self.tls.as_mut().expect("it speaks TLS");
        tls.send_close_notify();
        while tls.wants_write() && tls.write_tls(&mut self.stream).is_ok() {}
    }
    pub(crate) fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
    /// Reads more; `false` at the end, and on a reset.
    fn more(&mut self) -> bool {
        let mut buf = [0; 65536];
        let read = match &mut self.tls {
            None => self.stream.read(&mut buf),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).read(&mut buf),
        };
        match read {
            Ok(n) => {
                self.seen.extend_from_slice(&buf[..n]);
                n > 0
            }
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                panic!("no answer in time; so far: {:?}", String::from_utf8_lossy(&self.seen))
            }
            Err(_) => false,
        }
    }
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.seen.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.seen.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.more() {
                return None;
            }
        }
    }
    /// So many bytes, or fewer at the end.
    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        while self.seen.len() < n && self.more() {}
        let n = n.min(self.seen.len());
        self.seen.drain(..n).collect()
    }
    /// Everything until the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.seen)
    }
    /// Everything up to and with this text; what came if the connection ends before it. A stream that says
    /// other things without end fails in time.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> Vec<u8> {
        let found = |seen: &[u8]| seen.windows(text.len()).position(|w| w == text.as_bytes());
        let deadline = Instant::now() + PATIENCE;
        while found(&self.seen).is_none() && self.more() {
            let said = String::from_utf8_lossy(&self.seen);
            assert!(Instant::now() < deadline, "{text:?} never came; so far: {said:?}");
        }
        let n = found(&self.seen).map_or(self.seen.len(), |at| at + text.len());
        self.seen.drain(..n).collect()
    }
    /// Whether the proxy has closed, with nothing more to read.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.seen.is_empty() && !self.more()
    }
    /// One request without a body, with these further field lines, and its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, path: &str, fields: &str) -> Response {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
        self.response_to(method)
    }
    /// The next answer, to a request that was not HEAD.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }
    #[track_caller]
    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        let start = self.line().expect("an answer, but the connection ended");
        assert!(start.starts_with("HTTP/1.1 "), "{start:?}");
        let status: u16 = start[9..12].parse().unwrap();
        let mut head = format!("{start}\n");
        loop {
            let line = self.line().expect("a whole head");
            if line.is_empty() {
                break;
            }
            head.push_str(&line);
            head.push('\n');
        }
        let mut response =
            Response { status, head, body: Vec::new(), trailers: Vec::new(), complete: true };
        if method != "HEAD" && !matches!(status, 100..=199 | 204 | 304) {
            self.body(&mut response);
        }
        response
    }
    fn body(&mut self, response: &mut Response) {
        if response.field("Transfer-Encoding").is_some() {
            return self.chunks(response);
        }
        match response.field("Content-Length").map(|n| n.parse::<usize>().unwrap()) {
            Some(n) => {
                response.body = self.bytes(n);
                response.complete = response.body.len() == n;
            }
            None => response.body = self.rest(),
        }
    }
    fn chunks(&mut self, response: &mut Response) {
        loop {
            let Some(size) = self.line() else {
                response.complete = false;
                return;
            };
            let size = usize::from_str_radix(&size, 16).unwrap();
            if size == 0 {
                break;
            }
            let data = self.bytes(size);
            response.complete = data.len() == size;
            response.body.extend(data);
            if !response.complete || self.bytes(2) != b"\r\n" {
                response.complete = false;
                return;
            }
        }
        while let Some(line) = self.line() {
            if line.is_empty() {
                return;
            }
            response.trailers.push(line);
        }
        response.complete = false;
    }
}

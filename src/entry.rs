//! What happens to a connection before it is served: it agrees on TLS, in its own task and within
//! `timeout.header`.
use crate::arrival::{Arrival, Secured};
use crate::config::{Config, Effective, Listener, Problem};
use crate::http1;
use crate::message::{Chunk, Fields, Known, Size};
use crate::metrics::ListenerCells;
use crate::net::{Peer, Stream};
use crate::tls::Acceptor;
use rustls::Connection;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

/// How connections enter a listener.
#[derive(Debug)]
pub struct Entry {
    /// `timeout.header`
    limit: Option<Duration>,
    tls: Option<Arc<Acceptor>>,
    cells: Arc<ListenerCells>,
}

/// The first byte of a TLS record that begins a handshake (RFC 8446 5.1).
const HANDSHAKE: u8 = 22;
/// To a client that speaks HTTP to a port of HTTPS.
const PLAIN: &[u8] = b"This port speaks HTTPS: ask with https:// instead of http://\n";

/// What such a client still sends is read so long, and so often.
const LAST: Duration = Duration::from_secs(1);
const LAST_READS: usize = 16;

impl Entry {
    /// Compiles how connections enter a listener. Returns what an operator should know besides.
    ///
    /// # Errors
    ///
    /// Every problem of its certificates.
    pub fn compile(
        listener: &Listener,
        config: &Config,
        cells: Arc<ListenerCells>,
        before: Option<&Self>,
    ) -> Result<(Self, Vec<String>), Vec<Problem>> {
        let effective = Effective::layered([&config.defaults, &listener.over]);
        let before = before.and_then(|before| before.tls.as_ref());
        let tls = listener.tls.as_ref().map(|said| Acceptor::new(said, before)).transpose()?;
        let (tls, notes) = tls.map_or((None, Vec::new()), |(tls, notes)| (Some(tls), notes));
        Ok((Self { limit: effective.timeout.header.get(), tls, cells }, notes))
    }

    /// Its certificates.
    pub fn acceptor(&self) -> Option<&Arc<Acceptor>> {
        self.tls.as_ref()
    }

    /// Whether connections are served as they come.
    pub fn is_open(&self) -> bool {
        self.tls.is_none()
    }

    /// Takes a connection in; `None` when it does not come about.
    pub async fn take(&self, stream: Stream, peer: Peer) -> Option<(Stream, Arrival)> {
        let mut arrival = Arrival::plain(peer);
        let Some(acceptor) = &self.tls else { return Some((stream, arrival)) };
        let agreed = match self.limit {
            Some(limit) => match tokio::time::timeout(limit, agree(stream, acceptor)).await {
                Ok(agreed) => agreed,
                Err(_) => {
                    self.cells.limit_hits.inc("header");
                    Err("timeout")
                }
            },
            None => agree(stream, acceptor).await,
        };
        match agreed {
            Ok((stream, secured)) => {
                self.cells.handshakes.count(secured.version, "ok");
                arrival.tls = Some(Box::new(secured));
                Some((stream, arrival))
            }
            Err(result) => {
                self.cells.handshakes.count("none", result);
                None
            }
        }
    }
}

/// A handshake, or what it failed by.
async fn agree(
    mut stream: Stream,
    acceptor: &Arc<Acceptor>,
) -> Result<(Stream, Secured), &'static str> {
    let first = poll_fn(|cx| stream.poll_peek(cx)).await.map_err(|_| "error")?;
    match first {
        Some(HANDSHAKE) => {}
        Some(b'A'..=b'Z') => {
            answer_plain(&mut stream).await;
            return Err("plain_http");
        }
        _ => return Err("error"),
    }
    let connection = acceptor.begin().map_err(|_| "error")?;
    let stream = stream.secure(connection.into()).await.map_err(|error| failed(&error))?;
    let Some(Connection::Server(server)) = stream.tls() else { return Err("error") };
    let version = match server.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let sni = server.server_name().map(str::to_owned);
    let client = acceptor.client(stream.tls().expect("it was agreed on"));
    Ok((stream, Secured { acceptor: acceptor.clone(), sni, version, client }))
}

/// What a broken handshake is called: `alert` where one side said what it did not like.
fn failed(error: &io::Error) -> &'static str {
    if error.kind() == ErrorKind::InvalidData { "alert" } else { "error" }
}

/// Says in plain words what is spoken here. Who does not take it at once goes without.
async fn answer_plain(stream: &mut Stream) {
    let mut out = Chunk::lend(Size::Head);
    let mut fields = Fields::new();
    fields.push(Known::ContentType, &[b"text/plain; charset=utf-8"]);
    http1::short_answer(400, &fields, PLAIN, false, Some("close"), &mut out);
    let _ = poll_fn(|cx| stream.poll_write(cx, out.data())).await;
    let _ = stream.shutdown_write();
    // What it sent is read for a moment: unread it would destroy the answer with a reset.
    let mut rest = [0; 4096];
    let read = async {
        for _ in 0..LAST_READS {
            if !matches!(poll_fn(|cx| stream.poll_read(cx, &mut rest)).await, Ok(1..)) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LAST, read).await;
}

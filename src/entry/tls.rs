//! A client agrees on TLS.
use crate::arrival::Secured;
use crate::http1;
use crate::message::{Chunk, Fields, Known, Size};
use crate::net::{NoHello, Stream, last_words};
use crate::tls::Acceptor;
use rustls::{Connection, HandshakeKind};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// The first byte of a TLS record that begins a handshake (RFC 8446 5.1).
const HANDSHAKE: u8 = 22;
/// To a client that speaks HTTP to a port of HTTPS.
const PLAIN: &[u8] = b"This port speaks HTTPS: ask with https:// instead of http://\n";

/// How a handshake failed: the word of `evenkeel_tls_handshakes_total{result}`, and what the client
/// is still to be told.
pub(super) struct Failed {
    pub(super) result: &'static str,
    last: Option<(Stream, Vec<u8>)>,
}

impl From<&'static str> for Failed {
    fn from(result: &'static str) -> Self {
        Self { result, last: None }
    }
}

impl Failed {
    fn saying(result: &'static str, stream: Stream, words: Vec<u8>) -> Self {
        Self { result, last: Some((stream, words)) }
    }

    /// Tells the client. Takes a time of its own.
    pub(super) async fn say(self) {
        if let Some((mut stream, words)) = self.last {
            last_words(&mut stream, &words).await;
        }
    }
}

/// A handshake, or what it failed by.
pub(super) async fn agree(
    mut stream: Stream,
    acceptor: &Arc<Acceptor>,
) -> Result<(Stream, Secured), Failed> {
    let mut first = [0];
    let n = poll_fn(|cx| stream.poll_peek(cx, &mut first)).await.map_err(|_| "error")?;
    match first[..n] {
        [HANDSHAKE] => {}
        [b'A'..=b'Z'] => {
            return Err(Failed::saying("plain_http", stream, plain()));
        }
        _ => return Err("error".into()),
    }
    let hello = match stream.hello().await {
        Ok(hello) => acceptor.begin(hello).map_err(NoHello::refused),
        Err(fault) => Err(fault),
    };
    let connection = match hello {
        Ok(connection) => connection,
        Err(NoHello::Broken(_)) => return Err("error".into()),
        Err(NoHello::Refused(alert)) => return Err(Failed::saying("alert", stream, alert)),
    };
    let stream = stream.secure(connection.into()).await.map_err(|error| failed(&error))?;
    let Some(Connection::Server(server)) = stream.tls() else { return Err("error".into()) };
    let version = match server.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let connection = stream.tls().expect("it was agreed on");
    let secured = Secured {
        acceptor: acceptor.clone(),
        sni: server.server_name().map(str::to_owned),
        version,
        client: acceptor.client(connection),
        alpn: server.alpn_protocol().map(Into::into),
        common_name: acceptor.common_name(connection),
        resumed: server.handshake_kind() == Some(HandshakeKind::Resumed),
    };
    Ok((stream, secured))
}

/// What a broken handshake is called: `alert` where one side said what it did not like.
fn failed(error: &io::Error) -> &'static str {
    if error.kind() == ErrorKind::InvalidData { "alert" } else { "error" }
}

/// Says in plain words what is spoken here.
fn plain() -> Vec<u8> {
    let mut out = Chunk::lend(Size::Head);
    let mut fields = Fields::new();
    fields.push(Known::ContentType, &[b"text/plain; charset=utf-8"]);
    http1::short_answer(400, &fields, PLAIN, false, Some("close"), &mut out);
    out.data().to_vec()
}

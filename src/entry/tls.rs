//! A client agrees on TLS.
use crate::arrival::Secured;
use crate::http1;
use crate::message::{Chunk, Fields, Known, Size};
use crate::net::client_hello::Fault;
use crate::net::{NoHello, Stream, last_words};
use crate::tls::{Acceptor, Begun};
use rustls::{Connection, HandshakeKind};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// The first byte of a TLS record that begins a handshake (RFC 8446 5.1).
const HANDSHAKE: u8 = 22;
/// What TLS says of something else.
const NOT_TLS: Fault = Fault::NotTls;
/// To a client that speaks HTTP to a port of HTTPS.
const PLAIN: &[u8] = b"This port speaks HTTPS: ask with https:// instead of http://\n";

/// How a handshake failed: the word of `evenkeel_tls_handshakes_total{result}`, why, and what the
/// client is still to be told.
pub(super) struct Failed {
    pub(super) result: &'static str,
    /// In words, where the result does not say it all.
    pub(super) why: Option<Why>,
    last: Option<(Stream, Vec<u8>)>,
}

/// What a library or the kernel said.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) enum Why {
    Io(io::Error),
    Tls(rustls::Error),
}

impl From<rustls::Error> for Failed {
    fn from(error: rustls::Error) -> Self {
        Self { result: refused(&error), why: Some(Why::Tls(error)), last: None }
    }
}

impl From<&'static str> for Failed {
    fn from(result: &'static str) -> Self {
        Self { result, why: None, last: None }
    }
}

impl Failed {
    fn of(error: io::Error) -> Self {
        Self { result: broken(&error), why: Some(Why::Io(error)), last: None }
    }

    fn saying(self, stream: Stream, words: Vec<u8>) -> Self {
        Self { last: Some((stream, words)), ..self }
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
    let n = poll_fn(|cx| stream.poll_peek(cx, &mut first)).await.map_err(Failed::of)?;
    match first[..n] {
        [HANDSHAKE] => {}
        // A method, or the empty line that may stand before it (RFC 9112 2.2).
        [b'A'..=b'Z' | b'a'..=b'z' | b'\r' | b'\n'] => {
            return Err(Failed::from("plain_http").saying(stream, plain()));
        }
        [] => return Err("empty".into()),
        _ => return Err(Failed::from("not_tls").saying(stream, NOT_TLS.alert().to_vec())),
    }
    let hello = match stream.hello().await {
        Ok(hello) => acceptor.begin(hello).map_err(NoHello::refused),
        Err(fault) => Err(fault),
    };
    let Begun { connection, only } = match hello {
        Ok(begun) => begun,
        Err(NoHello::Broken(error)) => return Err(Failed::of(error)),
        Err(NoHello::Refused(error, alert)) => {
            return Err(Failed::from(error).saying(stream, alert));
        }
    };
    let stream = stream.secure(connection.into()).await.map_err(Failed::of)?;
    let Some(Connection::Server(server)) = stream.tls() else { return Err("error".into()) };
    let version = match server.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let connection = stream.tls().expect("it was agreed on");
    if !acceptor.is_good(connection) {
        return Err("client_certificate".into());
    }
    let secured = Secured {
        only,
        sni: server.server_name().map(str::to_owned),
        version,
        client: acceptor.client(connection),
        alpn: server.alpn_protocol().map(Into::into),
        common_name: acceptor.common_name(connection),
        resumed: server.handshake_kind() == Some(HandshakeKind::Resumed),
    };
    Ok((stream, secured))
}

/// What a handshake is called that the kernel or the library ended.
fn broken(error: &io::Error) -> &'static str {
    let said = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match error.kind() {
        _ if said.is_some() => said.map_or("error", refused),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "cut",
        _ => "error",
    }
}

/// What a handshake is called in which one side said what it did not like.
fn refused(error: &rustls::Error) -> &'static str {
    use rustls::{AlertDescription, Error};
    match error {
        Error::PeerIncompatible(_)
        | Error::NoApplicationProtocol
        | Error::AlertReceived(AlertDescription::ProtocolVersion) => "nothing_in_common",
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => "client_certificate",
        _ => "alert",
    }
}

/// Says in plain words what is spoken here.
fn plain() -> Vec<u8> {
    let mut out = Chunk::lend(Size::Head);
    let mut fields = Fields::new();
    fields.push(Known::ContentType, &[b"text/plain; charset=utf-8"]);
    http1::short_answer(400, &fields, PLAIN, false, Some("close"), &mut out);
    out.data().to_vec()
}

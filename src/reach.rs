//! How the backends of a pool are spoken to below HTTP: whether they are told of the client by the
//! PROXY protocol, in the clear, or by TLS.
use crate::config::{self, Addr, PoolTls, Problem};
use crate::net::proxy_protocol::{Version, Written};
use crate::net::{self, Stream, Target};
use crate::tls::Connector;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How the backends of a pool are spoken to. Another one for each other way: what was connected
/// by one is never used by the next.
#[derive(Debug)]
pub struct Reach {
    /// Unique in the process.
    pub number: u64,
    /// `send_proxy_protocol`
    pub announces: Option<Version>,
    said: Option<PoolTls>,
    tls: Option<Connector>,
}

/// Why a backend was not reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's word.
    #[error("{0}")]
    Connect(#[source] io::Error),
    /// Another word was to be said first than backends are told now: the pool changed meanwhile.
    #[error("the pool's send_proxy_protocol changed meanwhile")]
    Changed,
    /// They did not agree, or it is not who it should be.
    #[error("TLS: {0}")]
    Tls(String),
}

/// Numbers of ways. The one static of the room: it only keeps them different.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl Reach {
    /// The way a pool's section says; the one before where it says the same.
    ///
    /// # Errors
    ///
    /// Every problem of its files.
    pub fn new(said: &config::Pool, before: Option<&Arc<Self>>) -> Result<Arc<Self>, Vec<Problem>> {
        if let Some(same) = before.filter(|before| before.is(said)) {
            return Ok(same.clone());
        }
        let tls = said.tls.as_ref().map(Connector::new).transpose()?;
        let number = NUMBERS.fetch_add(1, Relaxed);
        let announces = said.send_proxy_protocol.map(version);
        Ok(Arc::new(Self { number, announces, said: said.tls.clone(), tls }))
    }

    fn is(&self, said: &config::Pool) -> bool {
        self.said == said.tls && self.announces == said.send_proxy_protocol.map(version)
    }

    /// Connects to a backend, named `addr`, at one of its addresses, and tells it for whom. No limit
    /// on time: the caller has one.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub async fn connect(
        &self,
        target: &Target,
        addr: &Addr,
        header: Option<&Written>,
    ) -> Result<Stream, Error> {
        if header.map(Written::version) != self.announces {
            return Err(Error::Changed);
        }
        self.connect_as(target, addr, header).await
    }

    /// As [`Self::connect`], with a header or without one whatever the pool says: probes are no
    /// client's.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub async fn connect_as(
        &self,
        target: &Target,
        addr: &Addr,
        header: Option<&Written>,
    ) -> Result<Stream, Error> {
        let mut stream = net::connect(target).await.map_err(Error::Connect)?;
        if let Some(header) = header {
            say(&mut stream, header.bytes()).await.map_err(Error::Connect)?;
        }
        let Some(tls) = &self.tls else { return Ok(stream) };
        let connection = tls.begin(addr).map_err(|error| Error::Tls(error.to_string()))?;
        // Boxed: with its connection it would be the largest part of each request's future.
        let secured = Box::pin(stream.secure(connection.into())).await;
        secured.map_err(|error| Error::Tls(words(&error)))
    }
}

fn version(said: config::ProxyProtocol) -> Version {
    match said {
        config::ProxyProtocol::V1 => Version::V1,
        config::ProxyProtocol::V2 => Version::V2,
    }
}

/// Writes what comes first. A new socket takes it at once.
async fn say(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| stream.poll_write(cx, bytes)).await?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// What went wrong in a handshake, in words.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "the connection was closed in the middle of the handshake".into()
        }
        _ => error.to_string(),
    }
}

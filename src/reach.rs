//! How the backends of a pool are spoken to below HTTP: in the clear, or by TLS.
use crate::config::{self, Addr, PoolTls, Problem};
use crate::net::{self, Stream, Target};
use crate::tls::Connector;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How the backends of a pool are spoken to. Another one for each other way: what was connected
/// by one is never used by the next.
#[derive(Debug)]
pub struct Reach {
    /// Unique in the process.
    pub number: u64,
    said: Option<PoolTls>,
    tls: Option<Connector>,
}

/// Why a backend was not reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's word.
    #[error("{0}")]
    Connect(#[source] io::Error),
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
        if let Some(same) = before.filter(|before| before.said == said.tls) {
            return Ok(same.clone());
        }
        let tls = said.tls.as_ref().map(Connector::new).transpose()?;
        let number = NUMBERS.fetch_add(1, Relaxed);
        Ok(Arc::new(Self { number, said: said.tls.clone(), tls }))
    }

    /// Connects to a backend, named `addr`, at one of its addresses. No limit on time: the caller
    /// has one.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub async fn connect(&self, target: &Target, addr: &Addr) -> Result<Stream, Error> {
        let stream = net::connect(target).await.map_err(Error::Connect)?;
        let Some(tls) = &self.tls else { return Ok(stream) };
        let connection = tls.begin(addr).map_err(|error| Error::Tls(error.to_string()))?;
        // Boxed: with its connection it would be the largest part of each request's future.
        let secured = Box::pin(stream.secure(connection.into())).await;
        secured.map_err(|error| Error::Tls(words(&error)))
    }
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

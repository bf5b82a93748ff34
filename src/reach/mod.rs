//! How the backends of a pool are spoken to below a request: in the clear or by TLS, and in which
//! version of HTTP.
pub mod http2;

use crate::config::{self, Addr, PoolHttp, PoolTls, Problem};
use crate::net::{self, Stream, Target};
use crate::tls::Connector;
pub use crate::tls::Offer;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How the backends of a pool are spoken to. Another one for each other way: what was connected
/// by one is never used by the next.
#[derive(Debug)]
pub struct Reach {
    /// Unique in the process.
    pub number: u64,
    said: (Option<PoolHttp>, config::PoolHttp2, Option<PoolTls>),
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
    pub fn new(pool: &config::Pool, before: Option<&Arc<Self>>) -> Result<Arc<Self>, Vec<Problem>> {
        let said = (pool.http, pool.http2.clone(), pool.tls.clone());
        if let Some(same) = before.filter(|before| before.said == said) {
            return Ok(same.clone());
        }
        let tls = said.2.as_ref().map(Connector::new).transpose()?;
        let number = NUMBERS.fetch_add(1, Relaxed);
        Ok(Arc::new(Self { number, said, tls }))
    }

    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// `pool.http2`
    pub fn http2(&self) -> &config::PoolHttp2 {
        &self.said.1
    }

    /// The versions of HTTP its backends may be spoken to in.
    pub fn offer(&self) -> Offer {
        match (self.said.0, self.is_tls()) {
            (None, _) => Offer::Nothing,
            (Some(PoolHttp::Two), _) => Offer::Http2,
            (Some(PoolHttp::Auto), true) => Offer::Either,
            (Some(PoolHttp::One | PoolHttp::Auto), _) => Offer::Http1,
        }
    }

    /// Connects to a backend, named `addr`, at one of its addresses. Also returns whether HTTP/2 is
    /// to be spoken: known before without TLS, agreed on with it. No limit on time: the caller has
    /// one.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub async fn connect(
        &self,
        target: &Target,
        addr: &Addr,
        offer: Offer,
    ) -> Result<(Stream, bool), Error> {
        let stream = net::connect(target).await.map_err(Error::Connect)?;
        let Some(tls) = &self.tls else { return Ok((stream, offer == Offer::Http2)) };
        let connection = tls.begin(addr, offer).map_err(|error| Error::Tls(error.to_string()))?;
        // Boxed: with its connection it would be the largest part of each request's future.
        let secured = Box::pin(stream.secure(connection.into())).await;
        let stream = secured.map_err(|error| Error::Tls(words(&error)))?;
        let agreed = stream.tls().and_then(|tls| tls.alpn_protocol()) == Some(b"h2");
        if offer == Offer::Http2 && !agreed {
            return Err(Error::Tls("it does not agree to HTTP/2 (ALPN h2)".into()));
        }
        Ok((stream, agreed))
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

//! How the backends of a pool are spoken to below a request: whether they are told of the client by
//! the PROXY protocol, in the clear or by TLS, and in which version of HTTP.
mod alerts;
pub mod http2;

pub use alerts::{alert, refused_us};

use crate::config::{self, Addr, PoolHttp, PoolTls, Problem};
use crate::net::proxy_protocol::{Version, Written};
use crate::net::{self, OffLimits, Stream, Target};
use crate::tls::Connector;
pub use crate::tls::Offer;
use alerts::Alerts;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// How the backends of a pool are spoken to. Another one for each other way: what was connected
/// by one is never used by the next.
#[derive(Debug)]
pub struct Reach {
    /// Unique in the process.
    pub number: u64,
    /// `send_proxy_protocol`
    pub announces: Option<Version>,
    said: Said,
    tls: Option<Connector>,
    alerts: Arc<Alerts>,
    off_limits: OnceLock<Arc<OffLimits>>,
}

/// What a pool's section says of it.
#[derive(Debug, PartialEq)]
struct Said {
    http: Option<PoolHttp>,
    http2: config::PoolHttp2,
    tls: Option<PoolTls>,
}

/// What is said on a new connection before anything else.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The versions of HTTP to agree on.
    pub offer: Offer,
    /// What the backend is told of the client.
    pub header: Option<&'a Written>,
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
    /// Nobody may go there: why.
    #[error("{0}")]
    OffLimits(&'static str),
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
        let (http, http2) = (pool.http, pool.http2.clone());
        let said = Said { http, http2, tls: pool.tls.clone() };
        let announces = pool.send_proxy_protocol.map(version);
        let is_same = |before: &&Arc<Self>| before.said == said && before.announces == announces;
        if let Some(same) = before.filter(is_same) {
            return Ok(same.clone());
        }
        let tls = said.tls.as_ref().map(Connector::new).transpose()?;
        let number = NUMBERS.fetch_add(1, Relaxed);
        let alerts = Arc::new(Alerts::new(&pool.name));
        let off_limits = OnceLock::new();
        Ok(Arc::new(Self { number, announces, said, tls, alerts, off_limits }))
    }

    /// Leads nowhere there from here on.
    pub fn keep_off(&self, off_limits: &Arc<OffLimits>) {
        let _ = self.off_limits.set(off_limits.clone());
    }

    /// What an operator should know of its files, though they are in force.
    pub fn notes(&self) -> Vec<String> {
        self.tls.as_ref().map(Connector::notes).unwrap_or_default()
    }

    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// `pool.http2`
    pub fn http2(&self) -> &config::PoolHttp2 {
        &self.said.http2
    }

    /// The versions of HTTP its backends may be spoken to in.
    pub fn offer(&self) -> Offer {
        match (self.said.http, self.is_tls()) {
            (None, _) => Offer::Nothing,
            (Some(PoolHttp::Two), _) => Offer::Http2,
            (Some(PoolHttp::Auto), true) => Offer::Either,
            (Some(PoolHttp::One | PoolHttp::Auto), _) => Offer::Http1,
        }
    }

    /// Connects to a backend, named `addr`, at one of its addresses, and tells it for whom. Also
    /// returns whether HTTP/2 is to be spoken: known before without TLS, agreed on with it. No limit on
    /// time: the caller has one.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub async fn connect(
        &self,
        target: &Target,
        addr: &Addr,
        way: Way<'_>,
    ) -> Result<(Stream, bool), Error> {
        if way.header.map(Written::version) != self.announces {
            return Err(Error::Changed);
        }
        let (mut stream, is_http2) = self.connect_as(target, addr, way).await?;
        if self.is_tls() {
            stream.tell_early(Alerts::of(&self.alerts, addr));
        }
        Ok((stream, is_http2))
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
        way: Way<'_>,
    ) -> Result<(Stream, bool), Error> {
        if let Some(why) = self.off_limits.get().and_then(|off_limits| off_limits.why(target)) {
            return Err(Error::OffLimits(why));
        }
        let stream = announced(target, way).await?;
        let Some(tls) = &self.tls else { return Ok((stream, way.offer == Offer::Http2)) };
        let mut stream = secure(tls, stream, addr, way.offer).await?;
        if stream.tls().is_some_and(|agreed| tls.is_stale(agreed, addr)) {
            // Boxed, as it hardly ever happens.
            let again = async { secure(tls, announced(target, way).await?, addr, way.offer).await };
            stream = Box::pin(again).await?;
        }
        let agreed = stream.tls().and_then(|tls| tls.alpn_protocol()) == Some(b"h2");
        if way.offer == Offer::Http2 && !agreed {
            return Err(Error::Tls("it does not agree to HTTP/2 (ALPN h2)".into()));
        }
        Ok((stream, agreed))
    }
}

fn version(said: config::ProxyProtocol) -> Version {
    match said {
        config::ProxyProtocol::V1 => Version::V1,
        config::ProxyProtocol::V2 => Version::V2,
    }
}

/// Connects, and says what comes before anything else.
async fn announced(target: &Target, way: Way<'_>) -> Result<Stream, Error> {
    let mut stream = net::connect(target).await.map_err(Error::Connect)?;
    if let Some(header) = way.header {
        say(&mut stream, header.bytes()).await.map_err(Error::Connect)?;
    }
    Ok(stream)
}

async fn secure(
    tls: &Connector,
    stream: Stream,
    addr: &Addr,
    offer: Offer,
) -> Result<Stream, Error> {
    let connection = tls.begin(addr, offer).map_err(Error::Tls)?;
    // Boxed: with its connection it would be the largest part of each request's future.
    let secured = Box::pin(stream.secure(connection.into())).await;
    secured.map_err(|error| Error::Tls(words(&error)))
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
        _ => alert(error).or_else(|| another(error)).unwrap_or_else(|| error.to_string()),
    }
}

/// A certificate of other names: the library names them as it has them in memory.
fn another(error: &io::Error) -> Option<String> {
    use rustls::{CertificateError, Error};
    let said = error.get_ref()?.downcast_ref::<Error>()?;
    let Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) =
        said
    else {
        return None;
    };
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_string()
    };
    let all: Vec<String> = presented.iter().map(plain).collect();
    let all = if all.is_empty() { "none".into() } else { all.join(", ") };
    let name = expected.to_str();
    Some(format!("certificate not valid for name {name:?}, only for {all}"))
}

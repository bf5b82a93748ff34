//! The admin server: hyper on the control runtime, bounded in connections and time.
use super::answer::{answer, problem};
use crate::config::{Bind, BindAddr};
use crate::net::{self, Stream, Transport};
use crate::server::{State, bind_hint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections at the same time: scrapers, a dashboard and a few people.
const CONNECTIONS: usize = 64;
/// How long a caller may take for a request head.
const HEAD: Duration = Duration::from_secs(10);
/// How long one connection may live: a caller that does not read must not hold a place for ever.
const LIFE: Duration = Duration::from_secs(120);

/// Who may ask what at an address.
#[derive(Clone, Debug)]
pub struct Access {
    /// Whether `/v1` is served.
    pub api: bool,
    /// Whether only the address itself, localhost and the names of `admin.hosts` are answered.
    pub known_hosts: bool,
}

/// A bound admin address.
#[derive(Debug)]
pub struct Socket {
    /// What was really bound.
    pub addr: BindAddr,
    socket: OwnedFd,
    _file: Option<SocketFile>,
}

/// The file of a Unix socket, removed when nobody serves it any more.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds an admin address.
///
/// # Errors
///
/// What was tried, on what, and the kernel's word.
pub fn bind(bind: &Bind) -> io::Result<Socket> {
    let failed = |error: io::Error| {
        let hint = bind_hint(&bind.addr, &error).map(|hint| format!("; {hint}"));
        let what = format!("listen on {} (admin): {error}", bind.addr);
        io::Error::new(error.kind(), what + &hint.unwrap_or_default())
    };
    let mut bound = net::bind(&bind.addr, 1, 128).map_err(failed)?;
    let socket =
        bound.sockets.pop().ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
    let _file = match &bound.addr {
        BindAddr::Unix(path) => Some(SocketFile(path.clone())),
        _ => None,
    };
    Ok(Socket { addr: bound.addr, socket, _file })
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(listener) => listener.accept().await?.0.into(),
            Self::Unix(listener) => listener.accept().await?.0.into(),
        })
    }
}

/// Serves an address until it is dropped, and with it the file of a Unix socket.
///
/// # Errors
///
/// When the socket cannot be used on this runtime.
pub async fn serve(socket: Socket, state: Arc<State>, access: Access) -> io::Result<()> {
    // A Unix socket cannot be reached by a lured browser.
    let own = match socket.addr {
        BindAddr::Ip(addr) => Some(addr).filter(|_| access.known_hosts),
        _ => None,
    };
    let listener = match socket.addr {
        BindAddr::Unix(_) => Listener::Unix(UnixListener::from_std(socket.socket.into())?),
        _ => Listener::Tcp(TcpListener::from_std(socket.socket.into())?),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin: accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (state, access) = (state.clone(), access.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let plan = state.plan.load();
                let hosts = plan.as_deref().map_or(&[][..], |plan| &plan.config.admin.hosts);
                let refused = own.and_then(|own| refused(&request, own, hosts));
                let done = refused.map_or_else(
                    || answer(&state, &request, access.api),
                    |why| problem(StatusCode::FORBIDDEN, why),
                );
                async move { Ok::<_, Infallible>(done) }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_headers(64)
                .max_buf_size(16 << 10);
            // A caller that broke off is no fault of ours.
            let _ = match stream.into_transport() {
                Transport::Tcp(s) => {
                    timeout(LIFE, server.serve_connection(TokioIo::new(s), service)).await
                }
                Transport::Unix(s) => {
                    timeout(LIFE, server.serve_connection(TokioIo::new(s), service)).await
                }
            };
            drop(place);
        });
    }
}

/// A browser that was lured here by a foreign name or page is refused (DNS rebinding, cross-site).
fn refused(request: &Request<Incoming>, own: SocketAddr, hosts: &[String]) -> Option<&'static str> {
    let field =
        |name: header::HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok());
    let named = field(header::HOST).unwrap_or("");
    let host = named
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(named, |(h, _)| h);
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let known = ip.is_ok_and(|ip| own.ip().is_unspecified() || ip == own.ip())
        || host.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
    if !known {
        return Some("this Host is not served here; name it in admin.hosts");
    }
    let foreign = field(header::ORIGIN)
        .is_some_and(|origin| origin.split_once("://").is_none_or(|(_, at)| at != named));
    foreign.then_some("requests of other origins are refused")
}

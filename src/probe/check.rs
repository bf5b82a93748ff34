//! One probe within its time: which check, where, and what a failure is called.
use super::{grpc, http, http2, tcp, udp};
use crate::config::{Addr, Check, Pool};
use crate::net::proxy_protocol::Header;
use crate::net::{self, Stream, Target};
use crate::pool::{Backend, Place};
use crate::reach::{self, Offer, Reach, Way};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// How long the connect probe of a pool without `health` may take.
const REACH: Duration = Duration::from_secs(1);

/// What a probe saw.
#[derive(Debug)]
pub(super) enum Verdict {
    /// All is well.
    Good,
    /// What was wrong.
    Bad(String),
    /// The address that work goes to could not be reached: why.
    Refused(String),
    /// Nobody may go there: why.
    OffLimits(&'static str),
    /// A shortage of our own machine: nothing was learnt of the backend.
    Ours(io::Error),
}

/// Sends one probe as the pool says: `health`, else whether it can be reached, by what its users
/// speak to it.
pub(super) async fn run(config: &Pool, reach: &Reach, backend: &Backend) -> Verdict {
    let limit = config.health.as_ref().map_or(REACH, |health| health.timeout);
    match tokio::time::timeout(limit, ask(config, reach, backend)).await {
        Ok(Ok(())) => Verdict::Good,
        Ok(Err(verdict)) => verdict,
        Err(_) => Verdict::Bad(format!("no answer within {limit:?}")),
    }
}

async fn ask(config: &Pool, reach: &Reach, backend: &Backend) -> Result<(), Verdict> {
    let (mut target, place) =
        backend.dial().ok_or_else(|| Verdict::Bad("its name has no address".into()))?;
    // A backend that waits for a header would refuse whoever sends none; a probe that says what to
    // ask says whether to send one.
    let says = config.health.as_ref().is_none_or(|health| health.proxy_protocol);
    let header = reach.announces.filter(|_| says).map(|version| Header::default().write(version));
    let way = |offer| Way { offer, header: header.as_ref() };
    let dial = async |target: &Target, offer| dial(reach, target, backend.addr(), way(offer)).await;
    let Some(health) = &config.health else {
        if config.carries.datagrams() {
            knock(backend, &target).await?;
        }
        if !config.carries.streams() {
            return Ok(());
        }
        let (stream, is_http2) = dial(&target, reach.offer()).await?;
        return if is_http2 { http2::greet(stream).await.map_err(Verdict::Bad) } else { Ok(()) };
    };
    if let Some(port) = health.port {
        target = target.with_port(port);
    }
    let offer = match &health.check {
        Check::Udp { send, expect } => {
            let addr = address(&target)?;
            let suspect = Suspect::new(backend, place, Some(addr));
            return suspect.judged(udp::check(addr, send, expect.as_deref()).await);
        }
        Check::Grpc { .. } => Offer::Http2,
        Check::Http { .. } | Check::Tcp { .. } => reach.offer(),
    };
    let (stream, is_http2) = dial(&target, offer).await.map_err(|verdict| match verdict {
        Verdict::Refused(what) if health.port.is_some() => Verdict::Bad(what),
        Verdict::OffLimits(why) if health.port.is_some() => Verdict::Bad(why.into()),
        verdict => verdict,
    })?;
    let suspect = Suspect::new(backend, place, stream.peer_addr());
    let own = own_host(backend.addr());
    let checked = match &health.check {
        Check::Udp { .. } => Ok(()),
        Check::Tcp { send, expect } => tcp::check(stream, send.as_deref(), expect.as_deref()).await,
        Check::Http { path, host, status, body } => {
            let host = host.as_deref().unwrap_or(&own);
            let asks = http::Asks { path, host, status, body: body.as_deref() };
            if is_http2 {
                http2::check(stream, &asks, reach.is_tls()).await
            } else {
                http::check(stream, &asks).await
            }
        }
        Check::Grpc { service, host } => {
            let host = host.as_deref().unwrap_or(&own);
            grpc::check(stream, service, host, reach.is_tls()).await
        }
    };
    suspect.judged(checked.map_err(Verdict::Bad))
}

/// Who is being asked at one of its name's addresses: unless it is cleared, others are asked first from
/// then on, by probes and by work.
struct Suspect<'a> {
    backend: &'a Backend,
    place: Place,
    is_cleared: bool,
}

impl<'a> Suspect<'a> {
    fn new(backend: &'a Backend, place: Place, peer: Option<SocketAddr>) -> Self {
        // The probe may have been sent to another port.
        let at = |peer: SocketAddr| match backend.addr() {
            Addr::Host(_, port) => Some(SocketAddr::new(peer.ip(), *port)),
            _ => None,
        };
        let place = place.found(peer.and_then(at));
        Self { backend, place, is_cleared: false }
    }

    /// It said something within its time, or our own machine fell short.
    fn judged(mut self, checked: Result<(), Verdict>) -> Result<(), Verdict> {
        self.is_cleared = !matches!(checked, Err(Verdict::Bad(_)));
        checked
    }
}

impl Drop for Suspect<'_> {
    fn drop(&mut self) {
        if !self.is_cleared {
            self.backend.doubt_place(&self.place);
        }
    }
}

/// What `Host` names when nothing is said: the address as written. A path is none (RFC 9110 7.2).
fn own_host(addr: &Addr) -> String {
    match addr {
        Addr::Unix(_) => "localhost".into(),
        addr => addr.to_string(),
    }
}

/// Whether somebody says that nobody is there: others come before that address then.
async fn knock(backend: &Backend, target: &Target) -> Result<(), Verdict> {
    let addr = address(target)?;
    let knocked = udp::knock(addr).await;
    if let Err(Verdict::Bad(_)) = &knocked {
        backend.missed(addr);
    }
    knocked
}

/// Where datagrams go: of several addresses to one that is good.
fn address(target: &Target) -> Result<SocketAddr, Verdict> {
    target.addr().ok_or_else(|| Verdict::Bad("datagrams need an address".into()))
}

async fn dial(
    reach: &Reach,
    target: &Target,
    addr: &Addr,
    way: Way<'_>,
) -> Result<(Stream, bool), Verdict> {
    reach.connect_as(target, addr, way).await.map_err(|error| match error {
        reach::Error::Connect(error) if net::is_local_fault(&error) => Verdict::Ours(error),
        reach::Error::Connect(error) => {
            Verdict::Refused(format!("connect: {}", tcp::words(&error)))
        }
        reach::Error::OffLimits(why) => Verdict::OffLimits(why),
        error @ reach::Error::Changed => Verdict::Bad(error.to_string()),
        reach::Error::Tls(what) => Verdict::Bad(format!("TLS: {what}")),
    })
}

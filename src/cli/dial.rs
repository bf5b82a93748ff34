//! `evenkeel check --connect`: whether each backend is there, and speaks what its pool says.
use crate::config::{Addr, Config, Pool, Problem};
use crate::net::proxy_protocol::Header;
use crate::net::{Named, Stream, Target, knock};
use crate::reach::http2::{HeadMost, begin};
use crate::reach::{self, Reach, Way};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long each backend is waited for.
const DIAL: Duration = Duration::from_secs(2);
/// Backends that are dialled at the same time.
const AT_ONCE: usize = 256;
/// How long a backend may take to refuse our certificate: with TLS 1.3 it does so behind the handshake
/// (RFC 8446 4.4.2.4), and says nothing when it likes it.
const REFUSAL: Duration = Duration::from_secs(1);
/// No head comes: nothing is asked.
const NO_HEAD: HeadMost = HeadMost { bytes: 32 << 10, fields: 100 };

/// Dials every backend, many at the same time: with thousands of dead ones a time-out each would
/// take an hour.
pub(super) async fn dial_all(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut ways = BTreeMap::new();
    for (name, pool) in &config.pools {
        match Reach::new(pool, None) {
            Ok(reach) => drop(ways.insert(name, (Arc::new(pool.clone()), reach))),
            Err(all) => problems.extend(all),
        }
    }
    let every: Vec<_> = ways
        .values()
        .flat_map(|way| way.0.backends.iter().map(move |backend| (way, backend)))
        .collect();
    for some in every.chunks(AT_ONCE) {
        let dials = some.iter().map(|((pool, reach), backend)| {
            let (pool, reach, addr) = (pool.clone(), reach.clone(), backend.addr.clone());
            tokio::spawn(async move { dial(&pool, &reach, &addr).await })
        });
        for (dialled, ((pool, _), backend)) in dials.collect::<Vec<_>>().into_iter().zip(some) {
            if let Err(why) = dialled.await.unwrap_or_else(|error| Err(error.to_string())) {
                let key = format!("pool.{}.backends.{}", pool.name, backend.name);
                let what = format!("connect to {}: {why}", backend.addr);
                problems.push(Problem::new(&backend.at, key, what));
            }
        }
    }
    problems
}

async fn dial(pool: &Pool, reach: &Reach, addr: &Addr) -> Result<(), String> {
    let target = match addr {
        Addr::Ip(addr) => Target::Ip(*addr),
        Addr::Unix(path) => Target::Unix(Arc::new(path.clone())),
        Addr::Host(host, port) => {
            let all = tokio::net::lookup_host((&**host, *port)).await;
            Target::Name(Arc::new(Named::new(all.map_err(|error| error.to_string())?.collect())))
        }
    };
    let all = async {
        if pool.carries.datagrams() {
            let addr = target.addr().ok_or("it has no address")?;
            knock(addr).await.map_err(|error| error.to_string())?;
        }
        if pool.carries.streams() { greet(reach, &target, addr).await } else { Ok(()) }
    };
    let timed = tokio::time::timeout(DIAL, all).await;
    timed.unwrap_or_else(|_| Err(format!("no answer within {DIAL:?}")))
}

/// Says what the pool says on each connection, for no client, up to the first request.
async fn greet(reach: &Reach, target: &Target, addr: &Addr) -> Result<(), String> {
    let header = reach.announces.map(|version| Header::default().write(version));
    let way = Way { offer: reach.offer(), header: header.as_ref() };
    let connected = reach.connect_as(target, addr, way).await;
    let (mut stream, is_http2) = connected.map_err(|error| error.to_string())?;
    let words = |error: io::Error| match reach::alert(&error) {
        Some(alert) => format!("TLS: {alert}"),
        None => error.to_string(),
    };
    match is_http2 {
        true => begin(stream, reach.http2(), NO_HEAD).await.map(drop).map_err(words),
        false if reach.is_tls() => refusal(&mut stream).await.map_err(words),
        false => Ok(()),
    }
}

/// Waits for a word against us behind the handshake.
async fn refusal(stream: &mut Stream) -> io::Result<()> {
    use rustls::ProtocolVersion::TLSv1_3;
    if stream.tls().is_none_or(|tls| tls.protocol_version() != Some(TLSv1_3)) {
        return Ok(());
    }
    let said = poll_fn(|cx| stream.poll_read_ready(cx));
    tokio::time::timeout(REFUSAL, said).await.unwrap_or(Ok(()))
}

//! Writes: backends of the API's own, weights and wishes, heartbeats. What is answered is kept.
use super::answer::{Answer, Problem, json, json_with, nothing, set};
use super::body::{Members, expected, whole};
use super::view;
use crate::config::{Addr, BindAddr, Config, Name, Weight};
use crate::net::{OffLimits, Target};
use crate::pool::{Pool, Wish, Word};
use crate::server::{Refused, State, What, Write};
use hyper::{StatusCode, header};
use serde_json::Value;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A heartbeat more often than this is load, more seldom than this no sign of life.
const TTL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);
/// The highest weight.
const HEAVIEST: u64 = 1000;

fn refused(refused: Refused) -> Problem {
    let status = match refused {
        Refused::NoPool(_) | Refused::NoBackend(..) => StatusCode::NOT_FOUND,
        Refused::Taken(_) => StatusCode::CONFLICT,
        Refused::Changed(_) => StatusCode::PRECONDITION_FAILED,
        Refused::Full(_) | Refused::NotKept(_) | Refused::HandedOver(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    Problem::new(status, refused.to_string())
}

/// A name out of a path; one that cannot be a name is nobody's.
fn named(text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(|why| Problem::new(StatusCode::NOT_FOUND, why))
}

fn running(state: &State, pool: &Name) -> Result<Arc<Pool>, Problem> {
    let plan = state.plan.load_full();
    let found = plan.and_then(|plan| plan.pools.get(pool).cloned());
    found.ok_or_else(|| refused(Refused::NoPool(pool.clone())))
}

/// `POST /v1/pools/{pool}/backends`
pub(super) async fn add(
    state: &State,
    pool: &str,
    if_match: Option<String>,
    mut members: Members,
    trusted: bool,
) -> Result<Answer, Problem> {
    let pool = named(pool)?;
    let carries = running(state, &pool)?.config().carries;
    let said = members.text("addr", |text| Addr::new(text).map(|addr| (text.to_string(), addr)))?;
    let name = members.text("name", Name::new)?;
    let weight = members.count("weight", HEAVIEST)?.and_then(|n| Weight::new(n as u16));
    let backup = members.flag("backup")?;
    let tier = members.count("tier", 255)?.map(|tier| tier as u8);
    let ttl = members.text("ttl", check_ttl)?;
    members.end()?;
    let (text, addr) =
        said.ok_or_else(|| Problem::field("addr", "says no address: \"host:port\""))?;
    if matches!(addr, Addr::Unix(_)) && carries.datagrams() {
        return Err(Problem::field("addr", "a Unix socket takes no datagrams"));
    }
    is_for_all(state, &addr, trusted)?;
    let tier = match (backup, tier) {
        (Some(_), Some(_)) => return Err(Problem::field("tier", "contradicts backup: say one")),
        (_, Some(0)) => return Err(Problem::field("tier", "a tier is 1 or more")),
        (Some(true), None) => Some(2),
        (_, tier) => tier,
    };
    let backend = match name {
        Some(name) => name,
        None => Name::new(&text).map_err(|why| Problem::field("addr", why))?,
    };
    let word = Word { addr: Some(addr), added: weight, tier, ttl, ..Word::default() };
    let what = What::Add(word);
    let write = Write { pool: pool.clone(), backend: backend.clone(), what, if_match };
    state.words.write(write).await.map_err(refused)?;
    let mut answer = match view::found(state, (&pool, &backend)) {
        Some(member) => json_with(StatusCode::CREATED, &member),
        None => nothing(StatusCode::CREATED),
    };
    let place = format!("/v1/pools/{}/backends/{}", encoded(&pool), encoded(&backend));
    set(&mut answer, header::LOCATION, &place);
    Ok(answer)
}

/// Whoever reaches a pool reaches its backends as this process: what only its owner may open is for
/// no caller to add whom nothing tells from any other user of this machine.
fn is_for_all(state: &State, addr: &Addr, trusted: bool) -> Result<(), Problem> {
    let plan = state.plan.load_full();
    let Some(config) = plan.as_ref().map(|plan| &plan.config) else { return Ok(()) };
    let wrong = |what: &str| Err(Problem::field("addr", what));
    // What is served may wait for a restart to be what the file says.
    let bound = || spelled(addr).iter().find_map(|to| state.off_limits.why(to));
    match addr {
        Addr::Unix(_) if !trusted => wrong(
            "by TCP without a token no Unix socket is taken: it would be opened as the proxy's user; \
             call by admin.sock, name it in the file, or set admin.token_file",
        ),
        Addr::Unix(path) if is_own(path, config) || bound().is_some() => {
            wrong("this is a socket by which this proxy itself is governed")
        }
        addr if config.admin.is_open_to(addr) || bound().is_some() => wrong(
            "this is admin.bind: whoever reaches the pool could change the proxy; set admin.token_file \
             first",
        ),
        _ => Ok(()),
    }
}

/// Where an address leads, as far as its spelling says.
fn spelled(addr: &Addr) -> Vec<Target> {
    match addr {
        Addr::Ip(to) => vec![Target::Ip(*to)],
        Addr::Unix(path) => vec![Target::Unix(path.clone().into())],
        Addr::Host(name, port) if &**name == "localhost" => {
            let all = [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()];
            all.map(|ip| Target::Ip(SocketAddr::new(ip, *port))).into()
        }
        Addr::Host(..) => Vec::new(),
    }
}

/// Whether a path leads to a socket that the file names for the admin side, whatever it is called.
fn is_own(path: &Path, config: &Config) -> bool {
    let own = config.admin.sockets(&config.server).map(BindAddr::Unix);
    OffLimits::new(own).why(&Target::Unix(path.to_path_buf().into())).is_some()
}

/// `PATCH /v1/pools/{pool}/backends/{name}`
pub(super) async fn change(
    state: &State,
    (pool, backend): (&str, &str),
    if_match: Option<String>,
    mut members: Members,
) -> Result<Answer, Problem> {
    let (pool, backend) = (named(pool)?, named(backend)?);
    let weight = members.take("weight").map(|value| match &value {
        Value::Null => Ok(None),
        Value::Number(_) => {
            let weight = whole(&value).and_then(|n| u16::try_from(n).ok()).and_then(Weight::new);
            weight.map(Some).ok_or_else(|| {
                Problem::field("weight", "a weight is a whole number from 0 to 1000")
            })
        }
        other => Err(expected("weight", "a whole number from 0 to 1000, or null", other)),
    });
    let wish = members.take("state").map(|value| match value.as_str() {
        _ if value.is_null() => Ok(None),
        Some("up") => Ok(Some(Wish::Up)),
        Some("drain") => Ok(Some(Wish::Drain)),
        Some("maintenance") => Ok(Some(Wish::Maintenance)),
        _ => Err(expected("state", "\"up\", \"drain\", \"maintenance\" or null", &value)),
    });
    let (weight, wish) = (weight.transpose()?, wish.transpose()?);
    members.end()?;
    if weight.is_none() && wish.is_none() {
        return Err(Problem::field("", "says neither weight nor state"));
    }
    let what = What::Change { weight, wish };
    let write = Write { pool: pool.clone(), backend: backend.clone(), what, if_match };
    state.words.write(write).await.map_err(refused)?;
    // By the plan that holds now: a reload may have come between.
    match view::found(state, (&pool, &backend)) {
        Some(member) => Ok(json(&member)),
        // A word on who is not there.
        None => Ok(nothing(StatusCode::NO_CONTENT)),
    }
}

/// `DELETE /v1/pools/{pool}/backends/{name}`
pub(super) async fn remove(
    state: &State,
    (pool, backend): (&str, &str),
    if_match: Option<String>,
) -> Result<Answer, Problem> {
    let (pool, backend) = (named(pool)?, named(backend)?);
    let write = Write { pool, backend, what: What::Remove, if_match };
    state.words.write(write).await.map_err(refused)?;
    Ok(nothing(StatusCode::ACCEPTED))
}

/// `PUT /v1/pools/{pool}/backends/{name}/heartbeat`
pub(super) async fn beat(state: &State, (pool, backend): (&str, &str)) -> Result<Answer, Problem> {
    let (pool, backend) = (named(pool)?, named(backend)?);
    running(state, &pool)?;
    state.words.ours().await.map_err(refused)?;
    if state.beat(&pool, &backend) {
        return Ok(nothing(StatusCode::NO_CONTENT));
    }
    let what =
        format!("nobody is registered as {backend:?} in pool {pool:?}: register again, with a ttl");
    Err(Problem::new(StatusCode::NOT_FOUND, what))
}

/// How long a registered backend may be silent, as `POST` and the command line take it.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn check_ttl(text: &str) -> Result<Duration, String> {
    let ttl = crate::config::duration(text)?;
    if TTL.contains(&ttl) {
        return Ok(ttl);
    }
    Err(format!("a ttl is between 1s and 1d, not {text:?}"))
}

/// A name as a part of a path (RFC 3986 2.3).
fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

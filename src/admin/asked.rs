//! What somebody asks to have explained: read in one place, by the API and by who asks it.
use super::answer::Problem;
use crate::message::{Head, Version};
use crate::net::client_hello;
use hyper::StatusCode;
use std::net::{IpAddr, SocketAddr};

/// Header fields that are taken: as many as a head may have.
const FIELDS: usize = 100;

/// What is asked about.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) client: Option<SocketAddr>,
    pub(super) listener: Option<String>,
    pub(super) id: Option<String>,
    /// The name that is asked for by TLS; empty: none.
    pub(super) sni: Option<String>,
}

impl Asked {
    pub(super) fn read(all: &[(String, String)]) -> Result<Self, Problem> {
        let mut asked = Self { method: "GET".into(), ..Self::default() };
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in all {
            if name != "header" && seen.contains(&name.as_str()) {
                return Err(wrong(name, "is said twice"));
            }
            seen.push(name);
            match name.as_str() {
                "method" => asked.method.clone_from(value),
                "url" => asked.url.clone_from(value),
                "header" => asked.headers.push(header(value)?),
                "client" => asked.client = Some(client(value)?),
                "listener" => asked.listener = Some(value.clone()),
                "id" => asked.id = Some(value.clone()),
                "sni" => asked.sni = Some(value.clone()),
                _ => return Err(wrong(name, "unknown parameter")),
            }
        }
        if asked.id.is_some() && seen.len() > 1 {
            return Err(wrong("id", "a request that happened is asked for by its id alone"));
        }
        let of_requests = |name: &&&str| matches!(**name, "method" | "url" | "header");
        if let Some(name) = seen.iter().find(of_requests).filter(|_| asked.sni.is_some()) {
            return Err(wrong(
                name,
                "what TLS that is let pass carries is not known: say sni alone",
            ));
        }
        if asked.id.is_none() && asked.sni.is_none() && asked.url.is_empty() {
            let what = "says no request: ?url=https://a.example.com/x, ?sni=NAME, or ?id=";
            return Err(wrong("url", what));
        }
        if asked.headers.len() > FIELDS {
            return Err(wrong("header", format!("more than {FIELDS}")));
        }
        Ok(asked)
    }
}

/// A parameter that can be read and makes no sense.
pub(super) fn wrong(name: &str, what: impl Into<String>) -> Problem {
    let mut problem = Problem::field(name, what);
    problem.status = StatusCode::UNPROCESSABLE_ENTITY;
    problem
}

fn header(text: &str) -> Result<(String, String), Problem> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| wrong("header", format!("{text:?}: write name: value")))?;
    Ok((name.trim().into(), value.trim().into()))
}

/// An address, with or without a port.
fn client(text: &str) -> Result<SocketAddr, Problem> {
    let ip = || text.trim_matches(['[', ']']).parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 0));
    let addr = text.parse().ok().or_else(ip);
    addr.ok_or_else(|| wrong("client", format!("{text:?} is no address")))
}

/// A URL in its parts: whether it is by TLS, host and port, and what follows.
pub(super) fn parts(url: &str) -> Result<(Option<bool>, &str, &str), Problem> {
    if url.starts_with('/') {
        return Ok((None, "", url));
    }
    let broken = || wrong("url", format!("{url:?}: write http://host/path, or /path"));
    let (scheme, rest) = url.split_once("://").ok_or_else(broken)?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(broken()),
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() || authority.contains('@') {
        return Err(broken());
    }
    Ok((Some(tls), authority, target))
}

pub(super) fn head(
    method: &str,
    authority: &str,
    target: &str,
    fields: &[(String, String)],
) -> Result<Head, Problem> {
    let mut head = Head::new();
    let slash = if target.starts_with('/') || target == "*" { "" } else { "/" };
    let target = format!("{slash}{target}");
    let started = head.start_request(method.as_bytes(), target.as_bytes(), Version::Http11);
    started.map_err(|invalid| match invalid {
        crate::message::Invalid::Name => wrong("method", format!("{method:?} is no method")),
        _ => wrong("url", invalid.to_string()),
    })?;
    let host = [("Host".to_string(), authority.to_string())];
    let host = host.iter().filter(|_| {
        !authority.is_empty() && !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"))
    });
    for (name, value) in host.chain(fields) {
        let added = head.append(name, value.as_bytes());
        added.map_err(|invalid| wrong("header", format!("{name}: {invalid}")))?;
    }
    Ok(head)
}

/// A name as TLS asks for it.
pub(super) fn named(text: &str) -> Result<Option<String>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let name = client_hello::host(text.as_bytes());
    name.map(Some).ok_or_else(|| wrong("sni", format!("{text:?} is no name of a host")))
}

/// What is wrong with a question, where that can be told without asking.
///
/// # Errors
///
/// What, in words.
pub fn check_question(all: &[(String, String)]) -> Result<(), String> {
    let said = |problem: Problem| problem.words();
    let asked = Asked::read(all).map_err(said)?;
    if let Some(name) = &asked.sni {
        return named(name).map(|_| ()).map_err(said);
    }
    if asked.id.is_none() {
        let (_, authority, target) = parts(&asked.url).map_err(said)?;
        head(&asked.method, authority, target, &asked.headers).map_err(said)?;
    }
    Ok(())
}

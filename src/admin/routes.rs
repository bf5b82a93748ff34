//! What each path is, and what may be done with it: guards first, then the one place that answers.
use super::answer::{Answer, Problem, json, nothing, set, text};
use super::compat::Compat;
use super::dashboard::File;
use super::guard::Caller;
use super::keeper::{self, FILE, KEEPER};
use super::line::Line;
use super::serve::Desk;
use super::turn::limits;
use super::{body, collect, config_view, control, errors, events, explain, view, write};
use crate::config::Author;
use crate::server::{Stage, State};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, StatusCode, header};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the API is, for programs (OpenAPI 3.1).
const OPEN_API: &str = include_str!("openapi.json");

/// A path that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Dashboard(File),
    Metrics,
    Alive,
    Ready,
    Status,
    Pools,
    Pool(String),
    Ring(String),
    Backends(String),
    Backend(String, String),
    Heartbeat(String, String),
    Config,
    Reload,
    Plan,
    Events,
    Errors,
    Explain,
    OpenApi,
}

impl Place {
    /// The place of a path; `api`: whether `/v1` is served.
    fn of(path: &str, api: bool) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/').map(decoded);
        let parts: Vec<String> = parts.by_ref().collect::<Option<_>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        if let Some(("v1", rest)) = parts.split_first().map(|(first, rest)| (*first, rest)) {
            return if api { Self::of_api(rest) } else { None };
        }
        match parts[..] {
            [""] if api => Some(Self::Dashboard(File::Page)),
            ["dashboard.css"] if api => Some(Self::Dashboard(File::Style)),
            ["dashboard.js"] if api => Some(Self::Dashboard(File::Script)),
            ["metrics"] => Some(Self::Metrics),
            ["healthz"] => Some(Self::Alive),
            ["readyz"] => Some(Self::Ready),
            _ => None,
        }
    }

    /// Below `/v1`: a further endpoint has its row here, its methods and its answer below.
    fn of_api(parts: &[&str]) -> Option<Self> {
        Some(match *parts {
            ["status"] => Self::Status,
            ["pools"] => Self::Pools,
            ["pools", pool] => Self::Pool(pool.into()),
            ["pools", pool, "ring"] => Self::Ring(pool.into()),
            ["pools", pool, "backends"] => Self::Backends(pool.into()),
            ["pools", pool, "backends", name] => Self::Backend(pool.into(), name.into()),
            ["pools", pool, "backends", name, "heartbeat"] => {
                Self::Heartbeat(pool.into(), name.into())
            }
            ["config"] => Self::Config,
            ["reload"] => Self::Reload,
            ["plan"] => Self::Plan,
            ["events"] => Self::Events,
            ["errors"] => Self::Errors,
            ["explain"] => Self::Explain,
            ["openapi.json"] => Self::OpenApi,
            _ => return None,
        })
    }

    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Reload | Self::Plan | Self::Backends(_) => &[Method::POST],
            Self::Backend(..) => &[Method::GET, Method::HEAD, Method::PATCH, Method::DELETE],
            Self::Heartbeat(..) => &[Method::PUT],
            _ => &[Method::GET, Method::HEAD],
        }
    }

    /// Whether it is of the API, which asks for the token and keeps a pace.
    fn is_guarded(&self) -> bool {
        !matches!(self, Self::Dashboard(_) | Self::Metrics | Self::Alive | Self::Ready)
    }
}

/// A part of a path without its percent-encoding (RFC 3986 2.1); `None` where that is broken.
fn decoded(part: &str) -> Option<String> {
    let mut out = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        out.push(match byte {
            b'%' => (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8,
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

/// Answers a request: whatever is wrong is said as a problem.
pub(super) async fn answer(
    desk: &Arc<Desk>,
    line: &Arc<Line>,
    caller: Caller,
    request: Request<Incoming>,
) -> Answer {
    let place = Place::of(request.uri().path(), desk.access.api);
    let refused = refused(desk, caller, place.as_ref(), &request);
    let answered = match refused {
        Some(answer) => answer,
        None => match place {
            Some(place) => {
                act(desk, line, caller, place, request).await.unwrap_or_else(Problem::answer)
            }
            None => Problem::new(StatusCode::NOT_FOUND, "nothing is served at this path").answer(),
        },
    };
    desk.reloader.state().admin.requests.inc(answered.status().as_u16());
    answered
}

/// What is said instead of an answer, if something is.
fn refused(
    desk: &Desk,
    caller: Caller,
    place: Option<&Place>,
    request: &Request<Incoming>,
) -> Option<Answer> {
    let state = desk.reloader.state();
    let plan = state.plan.load_full()?;
    let (admin, fields, now) = (&plan.config.admin, request.headers(), Instant::now());
    if desk.access.known_hosts {
        let lured = caller.is_lured(request.uri(), fields, &admin.hosts);
        if let Err(problem) = lured {
            return Some(problem.answer());
        }
    }
    let place = place?;
    if place.is_guarded() {
        if let Err(problem) = caller.may_call(fields, admin) {
            let (method, path) = (request.method(), request.uri().path());
            if let Err(wait) = desk.strangers.take(caller, now) {
                let why = problem.detail();
                let what = format!("more than ten refused calls a second of this address: {why}");
                return Some(too_often(desk, caller, wait, what));
            }
            let peer = caller.tcp.map(|(peer, _)| peer.to_string()).unwrap_or_default();
            tracing::warn!(peer, %method, path, status = problem.status.as_u16(), "admin: refused");
            let status = problem.status;
            let mut answer = problem.answer();
            if caller.is_outdated(admin) {
                set(&mut answer, header::CONNECTION, "close");
            }
            if status == StatusCode::UNAUTHORIZED {
                set(&mut answer, header::WWW_AUTHENTICATE, "Bearer realm=\"evenkeel\"");
            }
            return Some(answer);
        }
        if let Some(Err(wait)) = admin.limits.rate.map(|rate| desk.pace.take(rate, now)) {
            let what = "more requests than admin.limits.rate";
            return Some(too_often(desk, caller, wait, what.into()));
        }
    }
    if place.methods().contains(request.method()) {
        return None;
    }
    let all: Vec<&str> = place.methods().iter().map(Method::as_str).collect();
    let what = format!("served here: {}", all.join(", "));
    let mut answer = Problem::new(StatusCode::METHOD_NOT_ALLOWED, what).answer();
    set(&mut answer, header::ALLOW, &all.join(", "));
    Some(answer)
}

fn too_often(desk: &Desk, caller: Caller, wait: Duration, what: String) -> Answer {
    desk.reloader.state().admin.limit_hits.inc("rate");
    desk.crowd.refused(caller);
    let mut answer = Problem::new(StatusCode::TOO_MANY_REQUESTS, what).answer();
    set(&mut answer, header::RETRY_AFTER, &(wait.as_secs() + 1).to_string());
    answer
}

async fn act(
    desk: &Arc<Desk>,
    line: &Arc<Line>,
    caller: Caller,
    place: Place,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let state = desk.reloader.state();
    let plain = "text/plain; charset=utf-8";
    let room = &desk.room;
    Ok(match place {
        Place::Dashboard(file) => file.answer(),
        Place::Metrics => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            let compat = compat(&request)?;
            let all = desk.clone();
            let body = move || {
                let (state, told) = (all.reloader.state(), &all.told);
                compat.map_or_else(|| collect::metrics(state), |compat| compat.metrics(state, told))
            };
            let made =
                async { Ok(text(StatusCode::OK, kind, desk.scrapes.take(state, body).await?)) };
            let of = compat.map_or(0, |compat| 1 + compat as usize);
            room.make(state, line, Some(of), made).await?
        }
        Place::Alive => text(StatusCode::OK, plain, "ok\n".into()),
        Place::Ready => {
            let stage = state.stage();
            let is_ready = stage == Stage::Ready;
            let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let mut answer = text(status, plain, format!("{}\n", stage.word()));
            let plan = state.plan.load();
            let config = plan.as_ref().map(|plan| &plan.config);
            let folder = config.and_then(|config| keeper::keeper(&config.server.state));
            let file = config.and_then(|config| keeper::file(config.sources.root()?));
            for (field, said) in [(KEEPER, folder), (FILE, file)] {
                if let Some(said) = said {
                    set(&mut answer, header::HeaderName::from_static(field), &said);
                }
            }
            answer
        }
        Place::Status => {
            room.make(state, line, None, async { Ok(json(&view::status(state))) }).await?
        }
        Place::Pools => view(desk, line, |state| Ok(json(&view::pools(state)))).await?,
        Place::Pool(name) => {
            view(desk, line, move |state| {
                let (pool, tag) = view::pool(state, &name).ok_or_else(|| no_pool(&name))?;
                let mut answer = json(&pool);
                set(&mut answer, header::ETAG, &tag);
                Ok(answer)
            })
            .await?
        }
        Place::Ring(pool) => {
            room.place(state, line, control::ring(desk, &pool, query(&request, "remove")).await?)
                .await?
        }
        Place::Backends(pool) => {
            let tag = if_match(&request)?;
            let trusted = !matches!(author(state, caller, &request), Author::Anybody(_));
            let members = members(desk, line, request).await?;
            write::add(state, &pool, tag, members, trusted).await?
        }
        Place::Backend(pool, name) => {
            let (tag, at) = (if_match(&request)?, (&*pool, &*name));
            match *request.method() {
                Method::PATCH => {
                    write::change(state, at, tag, members(desk, line, request).await?).await?
                }
                Method::DELETE => {
                    members(desk, line, request).await?.end()?;
                    write::remove(state, at, tag).await?
                }
                _ => json(&view::found(state, at).ok_or_else(|| no_backend(at))?),
            }
        }
        Place::Heartbeat(pool, name) => {
            members(desk, line, request).await?.end()?;
            write::beat(state, (&pool, &name)).await?
        }
        Place::Config => view(desk, line, |state| Ok(json(&config_view::config(state)))).await?,
        Place::Reload => {
            members(desk, line, request).await?.end()?;
            control::reload(desk, line).await?
        }
        Place::Plan => {
            let author = author(state, caller, &request);
            room.place(
                state,
                line,
                control::plan(desk, author, members(desk, line, request).await?).await?,
            )
            .await?
        }
        Place::Errors => room.make(state, line, None, async { Ok(errors::errors(state)) }).await?,
        Place::Explain => {
            room.place(state, line, explain::explain(desk, &queries(&request)?).await?).await?
        }
        Place::Events => return events_of(desk, line, caller, &request),
        Place::OpenApi => text(StatusCode::OK, "application/json", OPEN_API.into()),
    })
}

/// An answer that is as long as there are backends.
async fn view(
    desk: &Arc<Desk>,
    line: &Arc<Line>,
    make: impl FnOnce(&State) -> Result<Answer, Problem> + Send + 'static,
) -> Result<Answer, Problem> {
    let (state, all) = (desk.reloader.state(), desk.clone());
    let made = desk.views.take(state, move || make(all.reloader.state()));
    desk.room.make(state, line, None, async { made.await? }).await
}

/// Whose text a caller sends to be planned.
fn author(state: &State, caller: Caller, request: &Request<Incoming>) -> Author {
    let plan = state.plan.load_full();
    let known = plan
        .as_deref()
        .is_some_and(|plan| caller.may_name_files(request.headers(), &plan.config.admin));
    match plan {
        _ if caller.is_owner() => Author::Owner,
        _ if known => Author::Trusted,
        plan => Author::Anybody(plan.map(|plan| plan.config.sources.clone()).unwrap_or_default()),
    }
}

/// The body of a request.
async fn members(
    desk: &Desk,
    line: &Arc<Line>,
    request: Request<Incoming>,
) -> Result<body::Members, Problem> {
    let _waiting = line.waiting();
    let state = desk.reloader.state();
    body::read(request, &limits(state), &state.admin.limit_hits).await
}

pub(super) fn no_pool(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("no pool named {name:?}"))
}

fn no_backend((pool, name): (&str, &str)) -> Problem {
    let what = format!("pool {pool:?} has no backend named {name:?}");
    Problem::new(StatusCode::NOT_FOUND, what)
}

/// The tag that must still hold (RFC 9110 13.1.1).
fn if_match(request: &Request<Incoming>) -> Result<Option<String>, Problem> {
    let lines = request.headers().get_all(header::IF_MATCH).iter().map(|line| line.to_str());
    let lines: Result<Vec<&str>, _> = lines.collect();
    let lines = lines.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "If-Match is no tag"))?;
    // Several lines are one list (RFC 9110 5.3).
    Ok((!lines.is_empty()).then(|| lines.join(", ")))
}

/// The value of a query parameter, without its percent-encoding.
fn query(request: &Request<Incoming>, name: &str) -> Option<String> {
    let pairs = request.uri().query().unwrap_or("").split('&');
    let mut found = pairs.filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
    found.next().and_then(|(_, value)| decoded(value))
}

/// In whose names metrics are asked for; `None`: in ours.
fn compat(request: &Request<Incoming>) -> Result<Option<Compat>, Problem> {
    let pairs = request.uri().query().unwrap_or("").split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let asked = pairs.find(|(key, _)| *key == "compat");
    let named = |value| Compat::named(&decoded(value).unwrap_or_else(|| String::from(value)));
    asked.map(|(_, value)| named(value)).transpose()
}

/// Every query parameter, as forms write them: a space is `+`, a plus `%2B`.
fn queries(request: &Request<Incoming>) -> Result<Vec<(String, String)>, Problem> {
    let pairs = request.uri().query().unwrap_or("").split('&').filter(|pair| !pair.is_empty());
    let one = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |text: &str| decoded(&text.replace('+', " "));
        let both = plain(name).zip(plain(value));
        both.ok_or_else(|| Problem::field(name, "a broken escape"))
    };
    pairs.map(one).collect()
}

/// Tells of events from the one on that the caller heard last (`Last-Event-ID`, or `?last=N`);
/// from here on where it says none.
fn events_of(
    desk: &Desk,
    line: &Arc<Line>,
    caller: Caller,
    request: &Request<Incoming>,
) -> Result<Answer, Problem> {
    let state = desk.reloader.state();
    if request.method() == Method::HEAD {
        return Ok(nothing(StatusCode::OK));
    }
    let said =
        request.headers().get("last-event-id").and_then(|id| id.to_str().ok().map(str::to_string));
    let asked = query(request, "last");
    let last = said.or(asked).map(|last| last.parse());
    let last = match last {
        None => state.events.last(),
        Some(Ok(last)) => last,
        Some(Err(_)) => return Err(Problem::field("last", "is not the number of an event")),
    };
    let Ok(place) = desk.streams.clone().try_acquire_owned() else {
        state.admin.limit_hits.inc("streams");
        let what = "as many listen to events as admin.limits.streams allows";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, what));
    };
    // The token that it came with may be another one by then.
    let token = request.headers().get(header::AUTHORIZATION).cloned();
    let fields: HeaderMap = token.map(|token| (header::AUTHORIZATION, token)).into_iter().collect();
    let may_hear = move |state: &State| {
        let plan = state.plan.load();
        plan.as_ref().is_some_and(|plan| caller.may_call(&fields, &plan.config.admin).is_ok())
    };
    let stream = events::stream(state, last, line, place, may_hear);
    let mut answer = hyper::Response::new(http_body_util::Either::Right(stream));
    set(&mut answer, header::CONTENT_TYPE, "text/event-stream");
    set(&mut answer, header::CACHE_CONTROL, "no-store");
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_place_or_none() {
        let of = |path: &str| Place::of(path, true);
        assert_eq!(of("/v1/pools/a%2Fb"), Some(Place::Pool("a/b".into())));
        assert_eq!(of("/v1/pools/%C3%BC"), Some(Place::Pool("ü".into())));
        for none in [
            "",
            "/v1",
            "/v1/",
            "/v1/pools/a%",
            "/v1/pools/a%zz",
            "/v1/pools/%ff",
            "/v1/pools/a/b",
            "//v1/status",
            "/metrics/",
            "/v1/status/",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(Place::of("/v1/status", false), None);
        assert_eq!(Place::of("/metrics", false), Some(Place::Metrics));
    }
}

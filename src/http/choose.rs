//! Which route, pool and hash key a request gets, and who its client is.
use super::address::Origin;
use super::affinity::{self, Bond};
use super::forward::Site;
use super::gateway::{Gateway, Target};
use super::headers;
use super::key::hash_key;
use super::mirror::{self, Drawn};
use super::path::{self, Asked};
use super::rate_limit::Standing;
use super::reply::Reply;
use super::report::Report;
use super::rewrite;
use super::route::{Action, Route};
use super::split::Split;
use crate::message::{Head, Known};
use crate::pool::Backend;
use std::net::SocketAddr;
use std::sync::Arc;

/// What was chosen for a request.
pub(super) struct Chosen<'g> {
    pub(super) route: &'g Arc<Route>,
    pub(super) target: &'g Target,
    /// Hash of its key parts, where the policy wants one.
    pub(super) hash: Option<u64>,
    /// What else is said of it: nothing, as a rule.
    pub(super) shaped: Option<Box<Shaped<'g>>>,
}

/// What few requests have.
pub(super) struct Shaped<'g> {
    /// What its cookie says, where the pool has one.
    bond: Option<Bond<'g>>,
    /// Its copy, where there is to be one.
    drawn: Option<Drawn<'g>>,
    /// Where its client stands, where it is limited.
    standing: Option<Standing>,
}

impl<'g> Shaped<'g> {
    /// Who gets it if it may, and a number of the client.
    pub(super) fn preferred(&self) -> (Option<&Arc<Backend>>, u64) {
        self.bond.as_ref().map_or((None, 0), |bond| (bond.backend(), bond.client()))
    }

    /// Its copy, to be made once.
    pub(super) fn copy(&mut self) -> Option<Drawn<'g>> {
        self.drawn.take()
    }

    /// Says in an answer of our own what its client is to know.
    pub(super) fn own(&self, reply: &mut Reply) {
        if let Some(standing) = &self.standing {
            standing.say(reply.fields());
        }
    }

    /// Says in the answer of a backend what its client is to know. `outrun`: the backend was only faster
    /// than the first choice.
    pub(super) fn answered(&self, backend: &Backend, outrun: bool, answer: &mut Head) {
        if let Some(standing) = &self.standing {
            standing.say(answer);
        }
        if let Some(bond) = &self.bond {
            bond.answered(backend, outrun, answer);
        }
    }
}

/// Chooses; sets the fields that say who the client is; rewrites host and path.
pub(super) fn choose<'g>(
    site: &Site<'g>,
    head: &mut Head,
    origin: &Origin,
    report: &mut Report<'g>,
) -> Result<Chosen<'g>, Box<Reply>> {
    let gateway = site.gateway;
    let asked = path::asked(head, head.get(Known::Host)).map_err(|_| own(400, "bad_target"))?;
    if origin.tls.is_some() && !of_certificate(origin, asked.host()) {
        return Err(own(421, "misdirected"));
    }
    let route = routed(gateway, &asked).map_err(|(status, reason)| own(status, reason))?;
    report.route = Some(route);
    if let Err((status, reason)) = taken(route, &asked) {
        report.cells = Some(route.action.cells(site.seed));
        return Err(own(status, reason));
    }
    let standing = match &route.limiter {
        None => None,
        Some(_) => limited(site, route, head, origin, report)?,
    };
    let split = match &route.action {
        Action::Forward(split) => split,
        Action::Redirect(said, cells) => {
            report.cells = Some(cells);
            return Err(answered(route, standing, said.answer(&asked, site.scheme)));
        }
        Action::Respond(said, cells) => {
            report.cells = Some(cells);
            return Err(answered(route, standing, said.answer()));
        }
    };
    let client = || headers::client_address(head, origin.peer, &gateway.trusted);
    let Aim { target, mut bond, hash } = aim(split, &asked, client, site.seed);
    report.target = Some(target);
    report.cells = Some(&target.cells);
    let drawn = match &route.mirror {
        None => None,
        Some(mirror) => mirror.draw(&asked, client()),
    };
    let change = rewrite::plan(route, &asked);
    if route.mirror.is_some() {
        mirror::unmark(head);
    }
    if !gateway.cookies.is_empty() && head.has(Known::Cookie) {
        affinity::hide(&gateway.cookies, head);
    }
    headers::forwarded(head, origin, &gateway.trusted, site.scheme, &gateway.via)
        .map_err(|_| own(508, "loop"))?;
    report.identified = true;
    if let Some(bond) = bond.as_mut().filter(|_| headers::came_by_tls(head)) {
        bond.came_by_tls();
    }
    rewrite::apply(change, head).map_err(|_| own(400, "bad_rewrite"))?;
    let is_shaped = bond.is_some() || drawn.is_some() || standing.is_some();
    let shaped = is_shaped.then(|| Box::new(Shaped { bond, drawn, standing }));
    Ok(Chosen { route, target, hash, shaped })
}

/// The route of a request, or what it is answered.
#[inline(always)]
pub(super) fn routed<'g>(gateway: &'g Gateway, asked: &Asked<'_>) -> Result<&'g Arc<Route>, Own> {
    gateway.find(asked).ok_or((404, "no_route"))
}

/// Whether its route takes it.
#[inline(always)]
pub(super) fn taken(route: &Route, asked: &Asked<'_>) -> Result<(), Own> {
    match route.refuse_encoded_slash && asked.has_encoded_slash() {
        true => Err((400, "encoded_slash")),
        false => Ok(()),
    }
}

/// An answer of our own: status and reason.
pub(super) type Own = (u16, &'static str);

/// Where a request goes.
pub(super) struct Aim<'g> {
    pub(super) target: &'g Target,
    /// What its cookie says there.
    pub(super) bond: Option<Bond<'g>>,
    /// Hash of its key parts, where the policy wants one.
    pub(super) hash: Option<u64>,
}

/// Which of a route's pools it gets, and what the pool's policy looks at.
#[inline(always)]
pub(super) fn aim<'g>(
    split: &'g Split,
    asked: &Asked<'_>,
    client: impl Fn() -> Option<SocketAddr>,
    seed: u64,
) -> Aim<'g> {
    let (target, bond) = split.take(asked, &client, seed);
    let hash = target.hash.as_ref();
    let hash = hash.and_then(|hash| hash_key(&hash.key, hash.first, asked, client()));
    Aim { target, bond, hash }
}

/// Takes a token of the route's rate limit: where the client then stands.
#[cold]
fn limited<'g>(
    site: &Site<'g>,
    route: &'g Route,
    head: &Head,
    origin: &Origin,
    report: &mut Report<'g>,
) -> Result<Option<Standing>, Box<Reply>> {
    let Some(limiter) = &route.limiter else { return Ok(None) };
    match limiter.take(head, origin, &site.gateway.trusted, report.begun) {
        Ok(standing) => Ok(Some(standing)),
        Err((standing, wait)) => {
            report.cells = Some(route.action.cells(site.seed));
            let mut reply = own(429, "rate_limited");
            let _ = reply.fields().append("Retry-After", wait.to_string().as_bytes());
            standing.say(reply.fields());
            Err(reply)
        }
    }
}

/// What a route answers itself.
fn answered(route: &Route, standing: Option<Standing>, mut reply: Reply) -> Box<Reply> {
    if let Some(standing) = standing {
        standing.say(reply.fields());
    }
    Box::new(headers::answer_ready(&route.rules, reply))
}

/// Whether the host is one of the certificate that the connection was made with, where that matters
/// (RFC 9110 15.5.20).
#[cold]
fn of_certificate(origin: &Origin, host: Option<&[u8]>) -> bool {
    host.and_then(|host| std::str::from_utf8(host).ok()).is_none_or(|host| origin.covers(host))
}

/// Boxed: it is the rare way out.
fn own(status: u16, reason: &'static str) -> Box<Reply> {
    Box::new(Reply::own(status, reason))
}

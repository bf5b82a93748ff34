//! `timeout`, `limits` and `retry`, which may stand in `defaults`, `listener`, `pool` and `route`.
use super::chains::{Held, RetrySaid, Wait};
use super::draft::Said;
use super::model::{LimitsPart, Overrides, TimeoutsPart};
use super::pool::said;
use super::problem::Wrong;
use super::table::{Item, Table};
use super::units::Timeout;

/// Where a table of them stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "names say it")]
pub(super) enum Place {
    Defaults,
    Http,
    Tcp,
    /// A tcp listener whose connections begin with TLS or a PROXY header.
    TcpEntered,
    Udp,
    Pool,
    Route,
    /// A route with `sni`.
    SniRoute,
    /// A route that answers itself.
    Own,
}

/// Whom a member concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every place, every protocol.
    All,
    /// Every place, HTTP and TCP.
    Streams,
    /// Every place, HTTP only.
    Http,
    /// `defaults` and `pool`, HTTP only.
    PoolHttp,
    /// `defaults` and `listener`, HTTP and TCP.
    Front,
    /// `defaults` and `listener`, HTTP only.
    FrontHttp,
    /// `defaults` and `listener`, where something is said before anything is served.
    Entry,
}
use Reach::{All, Entry, Front, FrontHttp, Http, PoolHttp, Streams};

/// The largest head, target and trailer section that can be asked for: all of it stays in memory.
const HEAD: u64 = 16 << 20;

/// Keys that only the whole document can judge: those of a pool that concern some protocols alone,
/// and those of `retry`.
#[derive(Debug, Default)]
pub(super) struct Only {
    /// HTTP.
    pub(super) http: Vec<Said>,
    /// HTTP and TCP.
    pub(super) streams: Vec<Said>,
    /// TCP.
    pub(super) tcp: Vec<Said>,
    /// What else is said of retries.
    pub(super) retry: RetrySaid,
}

/// Reads the three tables. Keys of a pool that do not concern every protocol are added to `only`.
pub(super) fn overrides(t: &mut Table<'_>, place: Place, only: &mut Only) -> Overrides {
    if place == Place::Own {
        ["timeout", "limits", "retry"].into_iter().filter_map(|key| t.take(key)).for_each(nothing);
        return Overrides::default();
    }
    let mut part = Part { place, only };
    let over = Overrides { timeout: part.timeout(t), limits: part.limits(t), retry: part.retry(t) };
    if let Some(item) = t.again("timeout") {
        for (key, wait) in
            [("connect", Wait::Connect), ("first_byte", Wait::FirstByte), ("idle", Wait::Idle)]
        {
            only.retry.waits.extend(item.inside(key).map(|item| (wait, said(&item))));
        }
    }
    if let Some(item) = t.again("retry").and_then(|item| item.inside("backoff")?.inside("base")) {
        only.retry.waits.push((Wait::Backoff, said(&item)));
    }
    if let Some(item) = t.again("retry").and_then(|item| item.inside("body")) {
        only.retry.held.push((Held::Again, said(&item)));
    }
    if let (Some(item), true) = (t.again("retry"), over.retry.on.is_some_and(|on| on.timeout)) {
        only.retry.waits.extend(item.inside("on").map(|item| (Wait::Again, said(&item))));
    }
    let waits = over.timeout.first_byte == Some(Timeout::OFF);
    if let (true, true, Some(item)) = (
        waits,
        over.retry.on.is_some_and(|on| on.timeout),
        t.again("retry").and_then(|item| item.inside("on")),
    ) {
        let wrong = Wrong::new("\"timeout\" never comes: timeout.first_byte is off");
        item.wrong(wrong.hint("leave it out, or say how long a try may wait"));
    }
    over
}

/// These three concern the way to a backend; what a client may do before its route is known is
/// the listener's.
fn nothing(item: Item<'_>) {
    let wrong = Wrong::new("means nothing to a route that answers itself");
    item.key_wrong(wrong.hint("what bounds its clients is said in defaults or the listener"));
}

/// The reader of one place's tables.
pub(super) struct Part<'p> {
    pub(super) place: Place,
    pub(super) only: &'p mut Only,
}

impl Part<'_> {
    fn timeout(&mut self, t: &mut Table<'_>) -> TimeoutsPart {
        let Some(item) = t.take("timeout") else { return TimeoutsPart::default() };
        let read = item.table("timeout", |t| {
            let mut of = |key, reach| self.take(t, key, reach).and_then(|item| item.timeout());
            let all = TimeoutsPart {
                connect: of("connect", All),
                first_byte: of("first_byte", Http),
                idle: of("idle", Http),
                request: of("request", Http),
                header: of("header", Entry),
                keep_alive: of("keep_alive", FrontHttp),
                tunnel: of("tunnel", Streams),
                tunnel_max: of("tunnel_max", Streams),
            };
            for (key, limit) in
                [("connect", all.connect), ("first_byte", all.first_byte), ("idle", all.idle)]
            {
                in_reach(t, (key, limit), ("request", all.request));
            }
            in_reach(t, ("tunnel", all.tunnel), ("tunnel_max", all.tunnel_max));
            all
        });
        read.unwrap_or_default()
    }

    fn limits(&mut self, t: &mut Table<'_>) -> LimitsPart {
        let Some(item) = t.take("limits") else { return LimitsPart::default() };
        let read = item.table("limits", |t| {
            let all = LimitsPart {
                head: self.take(t, "head", FrontHttp).and_then(|item| size(&item, 1)),
                fields: self.take(t, "fields", FrontHttp).and_then(|item| item.count(1..=65_535)),
                target: self.take(t, "target", FrontHttp).and_then(|item| size(&item, 1)),
                body: self.take(t, "body", Http).and_then(|item| item.size_or_off()),
                body_rate: self.take(t, "body_rate", Http).and_then(|item| item.byte_rate_or_off()),
                per_client: self
                    .take(t, "per_client", Front)
                    .and_then(|item| item.count_or_off(1..=u64::from(u32::MAX))),
                interim: self
                    .take(t, "interim", Http)
                    .and_then(|item| item.count(0..=u64::from(u32::MAX))),
                trailers: self.take(t, "trailers", Http).and_then(|item| size(&item, 0)),
                drain: self.take(t, "drain", Http).and_then(|item| item.size(0..=i64::MAX as u64)),
            };
            if let (Some(head), Some(target)) = (all.head, all.target)
                && target > head
                && let Some(item) = t.again("target")
            {
                item.key_wrong(Wrong::new("is more than head, which holds the target, too"));
            }
            all
        });
        read.unwrap_or_default()
    }

    /// A member, if it means something at this place.
    pub(super) fn take<'a>(
        &mut self,
        t: &mut Table<'a>,
        key: &'static str,
        reach: Reach,
    ) -> Option<Item<'a>> {
        let item = t.take(key)?;
        let http = matches!(reach, Http | FrontHttp | PoolHttp);
        let tcp = matches!(self.place, Place::Tcp | Place::TcpEntered);
        let listener = tcp || matches!(self.place, Place::Http | Place::Udp);
        let front = listener || self.place == Place::Defaults;
        if matches!(reach, Front | FrontHttp | Entry) && !front {
            let wrong = Wrong::new(format!("{key} belongs to defaults and listener only"));
            item.key_wrong(wrong);
            return None;
        }
        if reach == PoolHttp && !matches!(self.place, Place::Defaults | Place::Pool) {
            let wrong = Wrong::new(format!("{key} belongs to defaults and pools only"));
            item.key_wrong(wrong.hint("what a pool's tries took is counted in one place"));
            return None;
        }
        if http && tcp {
            item.key_wrong(Wrong::new(format!("{key} means nothing to a tcp listener")));
            return None;
        }
        if reach == Entry && self.place == Place::Tcp {
            let what = "header means nothing to a tcp listener without tls or proxy_protocol";
            item.key_wrong(Wrong::new(what));
            return None;
        }
        if http && self.place == Place::SniRoute {
            item.key_wrong(Wrong::new(format!("{key} means nothing to a route with sni")));
            return None;
        }
        if reach != All && self.place == Place::Udp {
            let wrong = Wrong::new(format!("{key} means nothing to a udp listener"));
            item.key_wrong(wrong.maybe(of_sessions(key).map(str::to_owned)));
            return None;
        }
        if self.place == Place::Pool && reach != All {
            let only = if http { &mut self.only.http } else { &mut self.only.streams };
            only.push(Said { key: item.path.clone(), at: item.key_at() });
        }
        Some(item)
    }
}

/// A limit that another one of the same table always reaches first limits nothing.
pub(super) fn in_reach(
    t: &Table<'_>,
    (key, limit): (&str, Option<Timeout>),
    (other, first): (&str, Option<Timeout>),
) {
    let (limit, first) = (limit.and_then(Timeout::get), first.and_then(Timeout::get));
    let (Some(limit), Some(first)) = (limit, first) else { return };
    if let (true, Some(item)) = (limit > first, t.again(key)) {
        let wrong = Wrong::new(format!("{limit:?} is never reached: {other} is {first:?}"));
        item.wrong(wrong.hint(format!("leave it out, or write less than {other}")));
    }
}

/// What a udp listener has in place of a member.
fn of_sessions(key: &str) -> Option<&'static str> {
    match key {
        "tunnel" | "idle" => Some("write udp = { idle = \"60s\" }"),
        "per_client" => Some("write udp = { per_client = 100 }"),
        _ => None,
    }
}

fn size(item: &Item<'_>, least: u64) -> Option<usize> {
    item.size(least..=HEAD).and_then(|bytes| usize::try_from(bytes).ok())
}

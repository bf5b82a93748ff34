//! Who may ask: a caller that is this machine's own or knows the token, by a name that is served
//! here, from no foreign page. Pure but for the clock of its rate.
use super::answer::Problem;
use crate::config::{Admin, Rate};
use hyper::{HeaderMap, StatusCode, Uri, header};
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A caller and the way it came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Caller {
    /// Its address and the one that is bound; `None` by a Unix socket, where the file's mode decides.
    pub(super) tcp: Option<(SocketAddr, SocketAddr)>,
    /// It is this very process, or one that it took over from: somebody calls by way of a backend.
    pub(super) is_itself: bool,
    /// When it connected, a token was asked for.
    pub(super) was_asked: bool,
}

impl Caller {
    /// Whether it is who runs this process, or root: nobody else can open its Unix socket.
    pub(super) fn is_owner(&self) -> bool {
        self.tcp.is_none()
    }

    /// Whether it may have the files that it names read: anybody on this machine may not.
    pub(super) fn may_name_files(&self, fields: &HeaderMap, admin: &Admin) -> bool {
        self.is_owner() || admin.token.is_some() && self.may_call(fields, admin).is_ok()
    }

    /// A browser that was lured here by a foreign name or page is refused (DNS rebinding,
    /// cross-site). A Unix socket cannot be reached by one.
    pub(super) fn is_lured(
        &self,
        target: &Uri,
        fields: &HeaderMap,
        hosts: &[String],
    ) -> Result<(), Problem> {
        let Some((_, own)) = self.tcp else { return Ok(()) };
        let field = |name| fields.get(name).and_then(|v| v.to_str().ok());
        let named = field(header::HOST).unwrap_or("");
        let host = |named: &str| {
            let split = named.rsplit_once(':');
            let split = split.filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
            split.map_or(named, |(host, _)| host).to_string()
        };
        let is_said =
            |named: &str| hosts.iter().any(|known| known.eq_ignore_ascii_case(&host(named)));
        let is_known = |named: &str| {
            let host = host(named);
            let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
            ip.is_ok_and(|ip| own.ip().is_unspecified() || ip == own.ip())
                || host.eq_ignore_ascii_case("localhost")
                || is_said(named)
        };
        let refuse = |why: &str| Err(Problem::new(StatusCode::FORBIDDEN, why));
        // A target that names a host speaks before the field (RFC 9112 3.2.2).
        let known = is_known(named) && target.authority().is_none_or(|at| is_known(at.as_str()));
        if !known || fields.get_all(header::HOST).iter().count() > 1 {
            return refuse("this Host is not served here; name it in admin.hosts");
        }
        // What a page has loaded without asking, an image or a form, has no Origin (Fetch Metadata).
        let sites = fields.get_all("sec-fetch-site");
        if !sites.iter().all(|site| matches!(site.as_bytes(), b"same-origin" | b"none")) {
            return refuse("requests of other sites are refused");
        }
        // It speaks without TLS; by a name that is said to be its own somebody before it may speak so.
        let own_page = |origin: &str| match origin.split_once("://") {
            Some(("http", at)) => at == named,
            Some(("https", at)) => at == named && is_said(named),
            _ => false,
        };
        let origins = fields.get_all(header::ORIGIN);
        if !origins.iter().all(|origin| origin.to_str().is_ok_and(own_page)) {
            return refuse("requests of other origins are refused");
        }
        Ok(())
    }

    /// Whether its connection began while others were let in: whoever was stopped by the token then
    /// must not be taken for this machine now.
    pub(super) fn is_outdated(&self, admin: &Admin) -> bool {
        self.was_asked && admin.token.is_none()
    }

    /// Whether it may call `/v1`.
    pub(super) fn may_call(&self, fields: &HeaderMap, admin: &Admin) -> Result<(), Problem> {
        let refuse = |why: &str| Err(Problem::new(StatusCode::FORBIDDEN, why));
        let passed_on = ["via", "forwarded", "x-forwarded-for"];
        let is_passed_on = || passed_on.iter().any(|name| fields.contains_key(*name));
        let Some((peer, _)) = self.tcp else {
            return match () {
                () if self.is_itself => {
                    refuse("it came from this very proxy, by way of a backend of its own")
                }
                () if is_passed_on() => refuse(
                    "it came through a proxy: by the Unix socket only its owner may call, and whom it \
                     is for cannot be seen",
                ),
                () => Ok(()),
            };
        };
        let Some(token) = &admin.token else {
            return match () {
                () if is_passed_on() => refuse(
                    "it came through a proxy: without admin.token_file only this machine may call, \
                     and whom it is for cannot be seen",
                ),
                () if !peer.ip().to_canonical().is_loopback() => {
                    refuse("without admin.token_file only this machine may call")
                }
                () if self.is_outdated(admin) => refuse(
                    "this connection began before the change of admin.token_file or admin.bind, or right after: \
                     begin another one in a few seconds",
                ),
                () => Ok(()),
            };
        };
        let said = fields.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let bearer = said.and_then(|said| {
            let (scheme, rest) = said.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
        });
        if bearer.is_some_and(|bearer| same(bearer, &token.bytes)) {
            return Ok(());
        }
        let why = match bearer {
            Some(_) => "this token is not that of admin.token_file",
            None => "send the token of admin.token_file as Authorization: Bearer",
        };
        Err(Problem::new(StatusCode::UNAUTHORIZED, why))
    }
}

/// Compares in a time that says nothing of where they differ; it may say how long a guess is.
fn same(guess: &[u8], secret: &[u8]) -> bool {
    let mut differ = u8::from(guess.len() != secret.len());
    for (at, byte) in guess.iter().enumerate() {
        differ |= byte ^ secret[at % secret.len().max(1)];
        differ = std::hint::black_box(differ);
    }
    differ == 0
}

/// How often callers of one address may ask: bursts of a second's worth (GCRA: the time at which
/// the bucket is empty).
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Takes one, or says how long to wait.
    pub(super) fn take(&self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let mut empty = self.0.lock();
        let from = empty.map_or(now, |at| at.max(now));
        let burst = Duration::from_secs(1).max(rate.interval());
        let next = from + rate.interval();
        match next.checked_duration_since(now + burst) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *empty = Some(next);
                Ok(())
            }
        }
    }

    /// Whether it is as if nobody had asked.
    pub(super) fn is_rested(&self, now: Instant) -> bool {
        self.0.lock().is_none_or(|empty| empty <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn admin(more: &str) -> (tempfile::TempDir, Admin) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t"), "0123456789abcdef\n").unwrap();
        let text =
            format!("[admin]\n{more}\n[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n");
        let config = crate::config::parse(&text, &folder.path().join("proxy.toml")).unwrap();
        (folder, config.admin)
    }
    fn caller(peer: &str) -> Caller {
        let tcp = Some((peer.parse().unwrap(), "127.0.0.1:9900".parse().unwrap()));
        Caller { tcp, ..Caller::default() }
    }
    fn fields(all: &[(header::HeaderName, &str)]) -> HeaderMap {
        let one = |(name, value): &(header::HeaderName, &str)| {
            (name.clone(), HeaderValue::from_str(value).unwrap())
        };
        let mut fields = HeaderMap::new();
        for (name, value) in all.iter().map(one) {
            fields.append(name, value);
        }
        fields
    }

    #[test]
    fn lured_browsers_are_refused() {
        let (host, origin) = (header::HOST, header::ORIGIN);
        let hosts = ["mon.internal".to_string()];
        let asks = |all: &[(header::HeaderName, &str)]| {
            caller("127.0.0.1:5").is_lured(&Uri::from_static("/"), &fields(all), &hosts).is_ok()
        };
        for named in ["127.0.0.1:9900", "127.0.0.1", "localhost:1", "LocalHost", "mon.internal:9"] {
            assert!(asks(&[(host.clone(), named)]), "{named}");
            let own = format!("http://{named}");
            assert!(asks(&[(host.clone(), named), (origin.clone(), &own)]), "{own}");
            for foreign in ["http://evil.test", "null", "", "http://evil.test/127.0.0.1:9900"] {
                assert!(!asks(&[(host.clone(), named), (origin.clone(), foreign)]), "{foreign}");
            }
        }
        for (named, by_tls) in
            [("127.0.0.1:9900", false), ("localhost", false), ("Mon.Internal", true)]
        {
            let origins = [("https", by_tls), ("http", true), ("ftp", false)];
            for (scheme, may) in origins {
                let own = format!("{scheme}://{named}");
                assert_eq!(asks(&[(host.clone(), named), (origin.clone(), &own)]), may, "{own}");
            }
        }
        for foreign in ["evil.test", "127.0.0.2:9900", "localhost.evil.test", "", "[::1]:9900"] {
            assert!(!asks(&[(host.clone(), foreign)]), "{foreign}");
        }
        assert!(!asks(&[]));
        assert!(!asks(&[(host.clone(), "localhost"), (host.clone(), "evil.test")]));
        let unix = Caller::default();
        let target = Uri::from_static("http://evil.test/v1/status");
        assert!(unix.is_lured(&target, &fields(&[(host.clone(), "evil.test")]), &[]).is_ok());
        let local = fields(&[(host.clone(), "127.0.0.1:9900")]);
        assert!(caller("127.0.0.1:5").is_lured(&target, &local, &hosts).is_err());
        let target = Uri::from_static("http://mon.internal:9900/v1/status");
        assert!(caller("127.0.0.1:5").is_lured(&target, &local, &hosts).is_ok());
        let site = header::HeaderName::from_static("sec-fetch-site");
        for (said, is_own) in
            [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)]
        {
            assert_eq!(
                asks(&[(host.clone(), "localhost"), (site.clone(), said)]),
                is_own,
                "{said}"
            );
        }
    }

    #[test]
    fn the_token_is_asked_of_everybody_by_tcp_and_without_one_strangers_are_refused() {
        let (_folder, with) = admin("token_file = \"t\"");
        let (_folder, without) = admin("");
        let may = |caller: Caller, said: &str, admin: &Admin| {
            let fields = match said {
                "" => HeaderMap::new(),
                said => fields(&[(header::AUTHORIZATION, said)]),
            };
            caller.may_call(&fields, admin).err().map(|problem| problem.status.as_u16())
        };
        let (here, there) = (caller("127.0.0.1:5"), caller("10.0.0.9:5"));
        for from in [here, there] {
            assert_eq!(may(from, "Bearer 0123456789abcdef", &with), None);
            assert_eq!(may(from, "bearer  0123456789abcdef ", &with), None);
            for wrong in [
                "",
                "Bearer ",
                "Bearer 0123456789abcdeX",
                "Bearer 0123456789abcde",
                "Bearer 0123456789abcdef0123456789abcdef",
                "Basic 0123456789abcdef",
                "0123456789abcdef",
                "é",
            ] {
                assert_eq!(may(from, wrong, &with), Some(401), "{wrong}");
            }
        }
        assert_eq!(may(here, "", &without), None);
        assert_eq!(may(caller("[::ffff:127.0.0.1]:5"), "", &without), None);
        assert_eq!(may(there, "", &without), Some(403));
        for name in ["Via", "Forwarded", "X-Forwarded-For"] {
            let fields = fields(&[(name.parse().unwrap(), "x")]);
            assert!(here.may_call(&fields, &without).is_err(), "{name}");
            for admin in [&with, &without] {
                assert!(Caller::default().may_call(&fields, admin).is_err(), "{name}");
            }
        }
        assert_eq!(may(Caller::default(), "", &with), None);
        let itself = Caller { is_itself: true, ..Caller::default() };
        assert_eq!(may(itself, "", &with), Some(403));
        // A connection that began under a token does not outlive it.
        let kept = Caller { was_asked: true, ..here };
        assert_eq!(may(kept, "", &without), Some(403));
        assert_eq!(may(kept, "Bearer 0123456789abcdef", &with), None);
    }

    #[test]
    fn a_second_s_worth_may_come_at_once_and_then_at_its_pace() {
        let (pace, begun) = (Pace::default(), Instant::now());
        let rate = Rate::every(Duration::from_millis(10)).unwrap();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        assert_eq!((0..1000).filter(|_| pace.take(rate, begun).is_ok()).count(), 100);
        assert_eq!(pace.take(rate, begun), Err(Duration::from_millis(10)));
        assert!(pace.take(rate, at(10)).is_ok() && pace.take(rate, at(10)).is_err());
        assert_eq!((0..1000).filter(|_| pace.take(rate, at(9000)).is_ok()).count(), 100);
        let slow = Rate::every(Duration::from_secs(3)).unwrap();
        let pace = Pace::default();
        assert!(pace.take(slow, begun).is_ok() && pace.take(slow, begun).is_err());
    }
}

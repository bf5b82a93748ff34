//! What a reload did, object by object, or why it was refused.
use super::compare::{self, Drained};
use super::said::{Covered, Said};
use crate::config::{BindAddr, Carries, Config, Name, Pool, Problem};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

/// What a reload did, or would do. An object is `listener web`, `route api`, `pool app` but for its
/// backends, `backend app/b1`, or the name of a table such as `defaults`. Backends are those that file
/// and API name together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The generation in force.
    pub generation: u64,
    /// Not there before.
    pub added: Vec<String>,
    /// Said otherwise than before.
    pub changed: Vec<String>,
    /// Not there any more.
    pub removed: Vec<String>,
    /// How many objects are as they were.
    pub kept: usize,
    /// Those that are as they were.
    pub keep: Vec<String>,
    /// What is said of some of these objects besides.
    pub more: BTreeMap<String, String>,
    /// Whose work is to end: of what is removed, and of what is somewhere else from here on.
    pub drained: Vec<Drained>,
    /// What only a reload itself finds out, where this is none.
    pub not_tried: Vec<String>,
    /// What ran, and what runs.
    pub compared: Option<(Arc<Config>, Arc<Config>)>,
    /// Keys that differ from what the process was started with: they need a restart.
    pub needs_restart: Vec<String>,
    /// Values of the file that the API's words cover.
    pub covered: Vec<Covered>,
    /// What else the operator should hear, a line each: that most keys of a consistent hash move,
    /// because its table has to change its size.
    pub notes: Vec<String>,
}

/// Why a reload was refused; the old plan runs on.
#[derive(Debug)]
pub enum ReloadError {
    /// Problems of the configuration.
    Problems(Vec<Problem>),
    /// An address that cannot be bound.
    Bind(BindAddr, io::Error),
    /// The process before this one, or what it left.
    TakeOver(String),
    /// A fault of the program itself.
    Broken(String),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Bind(addr, error) => {
                write!(f, "listen on {addr}: {error}")?;
                bind_hint(addr, error).map_or(Ok(()), |hint| write!(f, "; {hint}"))
            }
            Self::TakeOver(what) => f.write_str(what),
            Self::Broken(what) => write!(f, "a fault of evenkeel itself: {what}"),
        }
    }
}
impl std::error::Error for ReloadError {}

/// What to do about an address that cannot be listened on.
pub fn bind_hint(addr: &BindAddr, error: &io::Error) -> Option<&'static str> {
    let is_socket = |path: &Path| {
        std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
    };
    Some(match (error.kind(), addr) {
        (io::ErrorKind::AddrInUse, BindAddr::Unix(path)) if !is_socket(path) => {
            "a file that is no socket is there: remove it or choose another path"
        }
        (io::ErrorKind::AddrInUse, _) => {
            "another process listens there: end it or choose another address"
        }
        (io::ErrorKind::AddrNotAvailable, _) => {
            "this machine has no such address: name one of its own, or 0.0.0.0 or [::] for all of them"
        }
        (io::ErrorKind::PermissionDenied, BindAddr::Ip(_)) => {
            "low ports want the capability CAP_NET_BIND_SERVICE (AmbientCapabilities= of systemd, or \
             setcap cap_net_bind_service=ep on the program): give it, or choose a port from 1024 on"
        }
        (io::ErrorKind::PermissionDenied, BindAddr::Unix(_)) => {
            "this user may not make files there: choose another folder, or let the user write to it"
        }
        _ => return None,
    })
}

impl Report {
    /// Whether no object is other than before.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// Compares what ran with what runs. `started` is what the process was started with.
    pub(super) fn of(
        generation: u64,
        started: &Config,
        (old, new): (&Arc<Config>, &Arc<Config>),
        said: &Said,
    ) -> Self {
        let compared = Some((old.clone(), new.clone()));
        let mut report = Self { generation, compared, ..Self::default() };
        report.tables(old, new);
        report.objects("listener", &named(&old.listeners), &named(&new.listeners));
        report.objects("route", &routes(old), &routes(new));
        report.objects("route", &sni_routes(old), &sni_routes(new));
        report.objects("pool", &pools(old), &pools(new));
        compare::backends(&mut report, old, new, said);
        compare::listeners(&mut report, old, new);
        report.order(old, new);
        report.covered = said.covered(new);
        report.needs_restart = needs_restart(started, new);
        report.kept = report.keep.len();
        report
    }

    fn tables(&mut self, old: &Config, new: &Config) {
        let same = [
            ("server", old.server == new.server),
            ("log", old.log == new.log),
            ("trace", old.trace == new.trace),
            ("admin", old.admin == new.admin),
            ("metrics", (&old.metrics, old.compat) == (&new.metrics, new.compat)),
            ("defaults", old.defaults == new.defaults),
        ];
        for (table, _) in same.into_iter().filter(|(_, same)| !same) {
            self.changed.push(table.to_string());
        }
    }

    fn objects<T: PartialEq>(&mut self, kind: &str, old: &Objects<T>, new: &Objects<T>) {
        for (name, value) in new {
            match old.get(name) {
                None => self.added.push(format!("{kind} {name}")),
                Some(before) if before == value => self.keep.push(format!("{kind} {name}")),
                Some(_) => self.changed.push(format!("{kind} {name}")),
            }
        }
        let gone = old.keys().filter(|name| !new.contains_key(*name));
        self.removed.extend(gone.map(|name| format!("{kind} {name}")));
    }
}

impl Report {
    /// Where nothing is other but the order: of two routes that match as exactly the first is taken,
    /// and a policy may go by it.
    fn order(&mut self, old: &Config, new: &Config) {
        const THEIRS: &str = "the order";
        let routes = |config: &Config| {
            let sni = config.sni_routes.iter().map(|route| route.name.clone());
            config.routes.iter().map(|route| route.name.clone()).chain(sni).collect::<Vec<_>>()
        };
        if is_other_order(&routes(old), &routes(new)) {
            self.changed.push("route".into());
            self.more.insert("route".into(), THEIRS.into());
        }
        let names = |pool: &Pool| pool.backends.iter().map(|b| b.name.clone()).collect::<Vec<_>>();
        for (name, pool) in &new.pools {
            let Some(before) = old.pools.get(name) else { continue };
            if is_other_order(&names(before), &names(pool)) {
                let object = format!("pool {name}");
                if let Some(at) = self.keep.iter().position(|kept| *kept == object) {
                    self.keep.remove(at);
                    self.changed.push(object.clone());
                    self.more.insert(object, format!("{THEIRS} of its backends"));
                }
            }
        }
    }
}

/// Whether those that are in both stand otherwise.
fn is_other_order(old: &[Name], new: &[Name]) -> bool {
    let of = |all: &[Name], others: &[Name]| {
        let others: BTreeSet<&Name> = others.iter().collect();
        all.iter().filter(|name| others.contains(name)).cloned().collect::<Vec<_>>()
    };
    of(old, new) != of(new, old)
}

type Objects<T> = BTreeMap<String, T>;

fn named<T: Clone>(all: &BTreeMap<Name, T>) -> Objects<T> {
    all.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
}

fn routes(config: &Config) -> Objects<crate::config::Route> {
    config.routes.iter().map(|route| (route.name.to_string(), route.clone())).collect()
}

fn sni_routes(config: &Config) -> Objects<crate::config::SniRoute> {
    config.sni_routes.iter().map(|route| (route.name.to_string(), route.clone())).collect()
}

/// But for their backends, and for who uses them.
fn pools(config: &Config) -> Objects<Pool> {
    let own =
        |pool: &Pool| Pool { backends: Vec::new(), carries: Carries::Streams, ..pool.clone() };
    config.pools.iter().map(|(name, pool)| (name.to_string(), own(pool))).collect()
}

fn needs_restart(started: &Config, new: &Config) -> Vec<String> {
    let limits = |config: &Config| (config.admin.limits.connections, config.admin.limits.streams);
    let same = [
        ("server.workers", started.server.workers == new.server.workers),
        ("server.state", started.server.state == new.server.state),
        ("admin.bind", started.admin.bind == new.admin.bind),
        ("admin.limits.connections and streams", limits(started) == limits(new)),
        ("metrics.bind", started.metrics == new.metrics),
    ];
    same.iter().filter(|(_, same)| !same).map(|(key, _)| (*key).to_string()).collect()
}

/// The first of them: ten thousand backends are no line of a log.
pub(super) fn names(all: &[String]) -> String {
    const MOST: usize = 20;
    let first = all.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(MOST) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Addr;
    use crate::pool::Word;
    use crate::server::compare::Leaving;
    use std::path::Path;

    const BEFORE: &str = r#"
        [listener.web]
        bind = "127.0.0.1:0"
        pool = "app"
        protocol = "http"
        [[route]]
        name = "api"
        path = "/api"
        pool = "app"
        [pool.app]
        backends = [{ name = "a", addr = "127.0.0.1:1" }, { name = "b", addr = "127.0.0.1:2" }]
    "#;

    fn config(text: &str) -> Arc<Config> {
        Arc::new(crate::config::parse(text, Path::new("proxy.toml")).unwrap())
    }
    fn under(said: &Said, edit: impl Fn(String) -> String) -> Report {
        let (old, new) = (config(BEFORE), config(&edit(BEFORE.to_string())));
        Report::of(2, &old, (&old, &new), said)
    }
    fn report(edit: impl Fn(String) -> String) -> Report {
        under(&Said::default(), edit)
    }
    fn drained(report: &Report) -> Vec<String> {
        let at = |one: &Drained| match &one.what {
            Leaving::Backend(_, _, addr) => format!("{} {addr}", one.what.object()),
            what => what.object(),
        };
        report.drained.iter().map(at).collect()
    }

    #[test]
    fn nothing_changed_is_empty() {
        let report = report(|text| format!("# a comment\n\n{text}"));
        assert!(report.is_empty() && report.needs_restart.is_empty());
        assert_eq!(report.kept, 5);
    }

    #[test]
    fn each_object_is_named_once() {
        let report = report(|text| {
            text.replace("\"127.0.0.1:2\"", "\"127.0.0.1:2\", weight = 7")
                .replace("name = \"a\"", "name = \"c\"")
                .replace("/api", "/v1")
        });
        assert_eq!(report.added, ["backend app/c"]);
        assert_eq!(report.changed, ["route api", "backend app/b"]);
        assert_eq!(report.removed, ["backend app/a"]);
    }

    #[test]
    fn who_has_another_address_or_protocol_is_sent_away() {
        let moved = report(|text| text.replace("127.0.0.1:2", "127.0.0.1:3"));
        assert_eq!(moved.changed, ["backend app/b"]);
        assert_eq!(moved.more["backend app/b"], "addr 127.0.0.1:2 to 127.0.0.1:3");
        assert_eq!(drained(&moved), ["backend app/b 127.0.0.1:2"]);
        let other = report(|text| {
            let text = text.replace("protocol = \"http\"", "protocol = \"tcp\"");
            text[..text.find("[[route").unwrap()].to_string() + &text[text.find("[pool").unwrap()..]
        });
        assert_eq!(drained(&other), ["listener web"]);
        let bound = report(|text| text.replace("127.0.0.1:0", "127.0.0.1:7"));
        assert_eq!((bound.changed, bound.drained), (vec!["listener web".to_string()], Vec::new()));
    }

    #[test]
    fn whom_the_api_names_too_stays_and_whom_it_keeps_out_does_not_come() {
        let name = |text| Name::new(text).unwrap();
        let mut said = Said::default();
        let own = Word { addr: Addr::new("127.0.0.1:2").ok(), ..Word::default() };
        said.set(&name("app"), &name("b"), Some(own.clone()));
        said.set(&name("app"), &name("own"), Some(own));
        said.set(&name("app"), &name("a"), Some(Word { removed: true, ..Word::default() }));
        let without = under(&said, |text| {
            let from = text.find("backends").unwrap();
            format!("{}backends = []", &text[..from])
        });
        assert_eq!(without.changed, ["backend app/a", "backend app/b"]);
        assert!(without.removed.is_empty() && without.drained.is_empty(), "{without:?}");
        assert!(without.keep.contains(&"backend app/own".to_string()));
        assert_eq!(without.more["backend app/a"], "the API's word keeps it out");
        assert!(without.more["backend app/b"].starts_with("the file names it no longer; the API"));
        let gone = under(&said, |text| text.replace("pool.app", "pool.x").replace("\"app", "\"x"));
        assert_eq!(gone.added, ["pool x", "backend x/a", "backend x/b"]);
        assert_eq!(gone.removed, ["pool app", "backend app/b", "backend app/own"]);
    }

    #[test]
    fn another_order_is_a_change() {
        let turned = report(|text| {
            text.replace("name = \"a\"", "name = \"x\"")
                .replace("name = \"b\"", "name = \"a\"")
                .replace("name = \"x\"", "name = \"b\"")
                .replace(":1\"", ":9\"")
                .replace(":2\"", ":1\"")
                .replace(":9\"", ":2\"")
        });
        assert_eq!((turned.changed, turned.more.len()), (vec!["pool app".to_string()], 1));
        assert!(turned.drained.is_empty());
    }

    #[test]
    fn a_table_is_an_object_too() {
        let report = report(|text| format!("[defaults]\ntimeout = {{ idle = \"9s\" }}\n{text}"));
        assert_eq!(report.changed, ["defaults"]);
    }

    #[test]
    fn a_restart_is_needed_until_the_file_says_what_was_started() {
        let started = config(BEFORE);
        let restart = |generation, started: &Config, old, new| {
            Report::of(generation, started, (old, new), &Said::default())
        };
        let other = config(&format!("[server]\nworkers = 7\n{BEFORE}"));
        assert_eq!(restart(2, &started, &started, &other).needs_restart, ["server.workers"]);
        assert_eq!(restart(3, &started, &other, &other).needs_restart, ["server.workers"]);
        assert!(restart(4, &started, &other, &started).needs_restart.is_empty());
    }

    #[test]
    fn what_to_do_about_an_address_is_said_where_it_is_known() {
        let hint = |addr: &str, kind: io::ErrorKind| {
            let addr = addr.strip_prefix("unix:").map_or_else(
                || BindAddr::Ip(addr.parse().unwrap()),
                |path| BindAddr::Unix(path.into()),
            );
            bind_hint(&addr, &kind.into()).unwrap_or_default()
        };
        assert!(hint("0.0.0.0:80", io::ErrorKind::PermissionDenied).contains("CAP_NET_BIND"));
        assert!(hint("unix:/a", io::ErrorKind::PermissionDenied).contains("folder"));
        assert!(hint("192.0.2.1:80", io::ErrorKind::AddrNotAvailable).contains("0.0.0.0"));
        assert!(hint("0.0.0.0:80", io::ErrorKind::AddrInUse).contains("another process"));
        assert!(hint("unix:/dev/null", io::ErrorKind::AddrInUse).contains("no socket"));
        assert_eq!(hint("0.0.0.0:80", io::ErrorKind::Interrupted), "");
    }
}

//! What a reload did, object by object, or why it was refused.
use super::said::Covered;
use crate::config::{Backend, BindAddr, Config, Name, Problem};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// What a reload did. An object is `listener web`, `route api`, `pool app` with all it holds,
/// `backend app/b1`, or the name of a table such as `defaults`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The generation in force.
    pub generation: u64,
    /// Not said before.
    pub added: Vec<String>,
    /// Said otherwise than before.
    pub changed: Vec<String>,
    /// No longer said.
    pub removed: Vec<String>,
    /// How many objects are as they were.
    pub kept: usize,
    /// Those that are as they were.
    pub keep: Vec<String>,
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
    if error.kind() != io::ErrorKind::AddrInUse {
        return None;
    }
    let is_socket = |path: &Path| {
        std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
    };
    Some(match addr {
        BindAddr::Unix(path) if !is_socket(path) => {
            "a file that is no socket is there: remove it or choose another path"
        }
        _ => "another process listens there: end it or choose another address",
    })
}

impl Report {
    /// Whether no object is other than before.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// Compares what ran with what runs. `started` is what the process was started with.
    pub(super) fn of(generation: u64, started: &Config, old: &Config, new: &Config) -> Self {
        let mut report = Self { generation, ..Self::default() };
        report.tables(old, new);
        report.objects("listener", &named(&old.listeners), &named(&new.listeners));
        report.objects("route", &routes(old), &routes(new));
        report.objects("route", &sni_routes(old), &sni_routes(new));
        report.objects("pool", &named(&old.pools), &named(&new.pools));
        report.objects("backend", &backends(old), &backends(new));
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

fn backends(config: &Config) -> Objects<Backend> {
    let of = |(pool, section): (&Name, &crate::config::Pool)| {
        let one = |b: &Backend| (format!("{pool}/{}", b.name), b.clone());
        section.backends.iter().map(one).collect::<Vec<_>>()
    };
    config.pools.iter().flat_map(of).collect()
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

    fn config(text: &str) -> Config {
        crate::config::parse(text, Path::new("proxy.toml")).unwrap()
    }
    fn report(edit: impl Fn(String) -> String) -> Report {
        let (old, new) = (config(BEFORE), config(&edit(BEFORE.to_string())));
        Report::of(2, &old, &old, &new)
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
        assert_eq!(report.changed, ["route api", "pool app", "backend app/b"]);
        assert_eq!(report.removed, ["backend app/a"]);
    }

    #[test]
    fn a_table_is_an_object_too() {
        let report = report(|text| format!("[defaults]\ntimeout = {{ idle = \"9s\" }}\n{text}"));
        assert_eq!(report.changed, ["defaults"]);
    }

    #[test]
    fn a_restart_is_needed_until_the_file_says_what_was_started() {
        let started = config(BEFORE);
        let other = config(&format!("[server]\nworkers = 7\n{BEFORE}"));
        assert_eq!(Report::of(2, &started, &started, &other).needs_restart, ["server.workers"]);
        assert_eq!(Report::of(3, &started, &other, &other).needs_restart, ["server.workers"]);
        assert!(Report::of(4, &started, &other, &started).needs_restart.is_empty());
    }
}

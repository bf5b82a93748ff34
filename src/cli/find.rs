//! Where the proxy of a file is: by its words, however much else of the file is wrong.
use super::args;
use super::ask::Error;
use crate::config;
use std::path::{Path, PathBuf};

/// What a file says of where its proxy is, however wrong the rest of it is: a command must work
/// while a file is being mended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// `None` where it cannot be told: in the usual folder another proxy may be.
    pub(super) state: Option<PathBuf>,
    pub(super) bind: Option<String>,
    /// There may be one that cannot be read: another proxy may be where it is by default.
    pub(super) is_unclear: bool,
    /// Where it may be then.
    pub(super) maybe: Option<String>,
    pub(super) token: Option<PathBuf>,
    /// Whether a proxy may run by it: one that is not there, or has no listener, only says where some proxy is.
    pub(super) is_whole: bool,
}

impl Found {
    /// # Errors
    ///
    /// The file cannot be read. Where nobody named one, none need be there: so it is with `demo`.
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        if let Ok(config) = config::load(path) {
            let is_whole = !config.listeners.is_empty();
            return Ok(Self {
                state: Some(config.server.state),
                bind: config.admin.bind.map(|bind| bind.addr.to_string()),
                is_unclear: false,
                maybe: None,
                token: config.admin.token.map(|token| token.path),
                is_whole,
            });
        }
        let text = match config::read_text(path) {
            Ok(text) => text,
            Err(_) if path == Path::new(args::CONFIG) && !path.exists() => String::new(),
            Err(why) => {
                let what = format!("{}: {why}; --admin says where the proxy is", path.display());
                return Err(Error::Usage(what));
            }
        };
        let said = config::whereabouts(path, &text);
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut found = Self {
            state: said.state,
            bind: None,
            is_unclear: said.is_torn || said.admin.is_none(),
            maybe: None,
            token: None,
            is_whole: text.contains("listener") || text.contains("include"),
        };
        if let Some(admin) = said.admin.filter(|_| !said.is_torn) {
            found.bind = admin.bind.map(|bind| bind.addr.to_string());
            found.token = admin.token.map(|token| token.path);
        }
        if said.is_torn {
            found.salvage(&text, folder);
        }
        Ok(found)
    }

    /// What can be told of a text that is no TOML.
    fn salvage(&mut self, text: &str, folder: &Path) {
        let (table, is_whole) = table(text);
        let found = |section: &str, key: &str| table.get(section)?.get(key).cloned();
        let said = |section, key| found(section, key)?.as_str().map(str::to_string);
        if let Some(state) =
            said("server", "state").filter(|state| is_whole && !state.contains("${"))
        {
            self.state = Some(folder.join(state));
        }
        self.maybe = said("admin", "bind");
        let bind = self.maybe.clone().filter(|bind| is_whole && !bind.contains("${"));
        self.is_unclear = bind.is_none();
        self.bind = bind.filter(|bind| bind != "off");
        self.token = said("admin", "token_file").map(|name| folder.join(name));
    }
}

/// What a text says; of one that is no TOML what its sections that tell where a proxy is say, each up to its own
/// fault, and whether that is one thing each.
fn table(text: &str) -> (toml::Table, bool) {
    if let Ok(table) = toml::from_str(text) {
        return (table, true);
    }
    let (mut all, mut is_one) = (toml::Table::new(), true);
    for section in sections(text) {
        for (key, value) in readable(&section) {
            match (all.get_mut(&key), value) {
                (Some(toml::Value::Table(had)), toml::Value::Table(more)) => {
                    is_one &=
                        more.iter().all(|(key, value)| had.get(key).is_none_or(|it| it == value));
                    had.extend(more);
                }
                (_, value) => drop(all.insert(key, value)),
            }
        }
    }
    (all, is_one)
}

/// What stands before all sections, and those of `[server]` and `[admin]`.
fn sections(text: &str) -> Vec<Vec<&str>> {
    let mut all = vec![Vec::new()];
    let mut is_one = true;
    for line in text.lines() {
        let begins = line.trim_start();
        if begins.starts_with('[') {
            let name = begins.trim_matches(['[', ']', ' ', '"', '\'']);
            is_one = ["server", "admin"].iter().any(|section| name.starts_with(section));
            if is_one {
                all.push(Vec::new());
            }
        }
        if let Some(section) = all.last_mut().filter(|_| is_one) {
            section.push(line);
        }
    }
    all
}

/// What the lines of a section say, without those from its fault on, nor what these say once more: which of the
/// two is meant nobody knows. Looks at some hundred.
fn readable(lines: &[&str]) -> toml::Table {
    let most = lines.len().min(256);
    let read = |n| Some((n, toml::from_str::<toml::Table>(&lines[..n].join("\n")).ok()?));
    let (read, mut table) = (0..=most).rev().find_map(read).unwrap_or_default();
    for key in lines[read..].iter().filter_map(|line| line.split_once('=')).map(|(key, _)| key) {
        let last = key.rsplit('.').next().unwrap_or(key).trim_matches([' ', '\t', '"', '\'']);
        table.remove(last);
        let tables = table.iter_mut().filter_map(|(_, value)| value.as_table_mut());
        tables.for_each(|one| drop(one.remove(last)));
    }
    table
}

/// The folder `server.state` of a file that may have problems, where it cannot be told the usual one; `None`
/// where the file cannot be read.
pub(super) fn state_of(path: &Path) -> Option<PathBuf> {
    let usual = || path.parent().unwrap_or(Path::new("")).join("state");
    Found::of(path).ok().map(|found| found.state.unwrap_or_else(usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_problems_still_says_where_its_proxy_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        assert!(matches!(Found::of(&path), Err(Error::Usage(_))), "it was named, and is not there");
        std::fs::write(&path, "").unwrap();
        let none = Found::of(&path).unwrap();
        assert_eq!(none.bind.as_deref(), Some("127.0.0.1:9900"));
        assert_eq!(none.state, Some(folder.path().join("state")));
        std::fs::write(&path, "[admin]\nbind = \"127.0.0.1:7\"\n[server]\nstate = \"s\"\nx = 1\n")
            .unwrap();
        let found = Found::of(&path).unwrap();
        assert_eq!(
            (found.state, found.bind),
            (Some(folder.path().join("s")), Some("127.0.0.1:7".into()))
        );
        std::fs::write(
            &path,
            "[admin]\nbind = \"off\"\n[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n",
        )
        .unwrap();
        assert_eq!(Found::of(&path).unwrap().bind, None);
        for fault in ["[admin\nbind = 1\n", "x = \n", "a = \"b\nc = 1\n", "[pool.\u{fc}\n", "x"] {
            std::fs::write(&path, format!("[server]\nstate = \"s\"\n{fault}[server.x]\n")).unwrap();
            assert_eq!(Found::of(&path).unwrap().state, Some(folder.path().join("s")), "{fault}");
        }
        // Wherever the fault is, and however long what it is in.
        for fault in
            ["[\n { a = 1 }\n { b = 2 },\n]", "[\n [1, 2],\n", "\"\"\"\n a\n", "{ a = 1,,\n }"]
        {
            let (server, admin) =
                ("[server]\nstate = \"s\"\n", "[admin]\nbind = \"127.0.0.1:7\"\n");
            let pool = format!("[pool.app]\nbackends = {fault}\n");
            for text in [format!("{server}{admin}{pool}"), format!("{server}{pool}{admin}")] {
                std::fs::write(&path, &text).unwrap();
                let found = Found::of(&path).unwrap();
                assert_eq!(found.state, Some(folder.path().join("s")), "{text}");
                assert_eq!(found.bind.as_deref(), Some("127.0.0.1:7"), "{text}");
            }
        }
    }

    #[test]
    fn where_the_admin_section_itself_is_wrong_nobody_else_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(folder.path().join("more.toml"), "[admin]\nbind = \"127.0.0.1:8\"\n")
            .unwrap();
        for (text, bind, is_unclear) in [
            ("[admin]\nbind = 127.0.0.1:7\n", None, true),
            ("[admin]\nbind = 7\n", None, true),
            ("[admin]\ntoken_file = \nbind = \"127.0.0.1:7\"\n", None, true),
            ("admin = { bind = 127.0.0.1:7 }\n", None, true),
            ("admin.bind = 127.0.0.1:7\n", None, true),
            ("[admin]\nbind = \"127.0.0.1:7\"\ntoken_file = \n", Some("127.0.0.1:7"), false),
            ("[server]\nstate = \n[pool.app\n", None, true),
            ("[pool.a]\nx = 1\n", Some("127.0.0.1:9900"), false),
            ("x = 1\n", None, true),
            ("includes = [\"more.toml\"]\n", None, true),
            ("[adminn]\nbind = \"127.0.0.1:7\"\n", None, true),
            ("[admin]\nbnd = \"127.0.0.1:7\"\n", None, true),
            ("[log]\nbind = \"127.0.0.1:7\"\n", None, true),
            ("[server]\nstate = \"s\"\ninclude = [\"more.toml\"]\n", None, true),
            ("[listener.web]\ninclude = [\"more.toml\"]\n", None, true),
            ("[listener.web.admin]\nbind = \"127.0.0.1:7\"\n", None, true),
            ("[metrics.x]\ninclude = [\"more.toml\"]\n", None, true),
            ("[listener.web]\nincludes = [\"more.toml\"]\n", None, true),
            ("[listener.web]\nbnd = \"127.0.0.1:7\"\n", Some("127.0.0.1:9900"), false),
            ("[pool.admin]\nx = 1\n", Some("127.0.0.1:9900"), false),
            ("x = 1\n[admin]\nbind = \"off\"\n", None, false),
            ("include = [\"more.toml\"]\nx = 1\n", Some("127.0.0.1:8"), false),
            ("include = [\"more.toml\"]\nx = \n", None, true),
            ("include = [\"lacks.toml\"]\n", None, true),
            ("include = [\"${EVENKEEL_NOWHERE}/*.toml\"]\n", None, true),
            ("include = 7\n", None, true),
            ("include = [\"more.toml\"]\n[admin]\n", None, true),
            ("[pool.a\n[ \"admin\" ]\nbind = \"127.0.0.1:7\"\n", Some("127.0.0.1:7"), false),
            ("[admin]\nbind = \"127.0.0.1:7\"\n[admin]\nbind = \"127.0.0.1:9\"\n", None, true),
            ("[admin]\nbind = \"127.0.0.1:7\"\n 'bind' = \"127.0.0.1:9\"\n", None, true),
            ("admin.bind = \"127.0.0.1:7\"\nadmin . bind = \"127.0.0.1:9\"\n", None, true),
            ("admin = { bind = \"127.0.0.1:7\" }\nadmin = { }\n", None, true),
            ("[admin]\nbind = \"${EVENKEEL_NOWHERE}\"\n", None, true),
            (
                "[admin]\nbind = \"${EVENKEEL_NOWHERE:-127.0.0.1:7}\"\nx = 1\n",
                Some("127.0.0.1:7"),
                false,
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let found = Found::of(&path).unwrap();
            assert_eq!((found.bind.as_deref(), found.is_unclear), (bind, is_unclear), "{text}");
        }
        for (text, state) in [
            ("[server]\nworkers = \nstate = \"s\"\n", Some("s")),
            ("[server]\nstate = \nworkers = 1\n", None),
            ("[server]\nworkers = \n", None),
            ("[pool.app\n", None),
            ("[pool.a]\nx = 1\n", Some("state")),
            ("x = 1\n", None),
            ("[server]\nstat = \"s\"\n", None),
            ("[admin]\nstate = \"s\"\n", None),
            ("[log]\nstate = \"s\"\n", None),
            ("[listener.web]\ninclude = [\"lacks.toml\"]\n", None),
            ("[listener.web.server]\nstate = \"s\"\n", None),
            ("[listener.web]\n\"server.state\" = \"s\"\n", None),
            ("[listener.web.timeouts]\nstate = \"s\"\n", None),
            ("[server]\nstate = \"s\"\n[server]\nstate = \"t\"\n", None),
            ("[server]\nstate = \"s\"\nstate = \"t\"\n", None),
            ("[server]\nstate = \"s\"\nworkers = 1\nworkers = 2\n", Some("s")),
            ("include = [\"lacks.toml\"]\n", None),
            ("include = [\"${EVENKEEL_NOWHERE}/*.toml\"]\n", None),
            ("include = [\"\"]\n", None),
            ("include = 7\n", None),
            ("[server]\nstate = 7\n", None),
            ("[server]\nstate = \"${EVENKEEL_NOWHERE}\"\n", None),
            ("server = 7\n", None),
        ] {
            std::fs::write(&path, text).unwrap();
            let state = state.map(|state| folder.path().join(state));
            assert_eq!(Found::of(&path).unwrap().state, state, "{text}");
        }
    }
}

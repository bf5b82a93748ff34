//! Reads a file, then the files it includes, into one draft; the way from a text to a `Config`.
use super::chains::Owner;
use super::check;
use super::draft::Draft;
use super::env::{self, Lookup, PutIn};
use super::faults::Faults;
use super::file;
use super::glob;
use super::hint::quoted;
use super::model::Config;
use super::open::{self, Unopened};
use super::over::{self, Only, Place};
use super::problem::{At, Problem, Wrong};
use super::sources::Sources;
use super::table::{Desk, Item, Page, Table};
use super::{Admin, Author, admin, listener, log, pool, route, server, syntax, tls, trace};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

/// How deep includes may go.
const DEPTH: usize = 8;
/// Bytes of all files together.
pub(super) const TOTAL: usize = 64 << 20;

/// Where a proxy is, by files that may have problems.
#[derive(Debug)]
pub struct Whereabouts {
    /// `server.state`, as said or by default; `None` where it cannot be told.
    pub state: Option<PathBuf>,
    /// `[admin]`, as said or by default; `None` where it cannot be told.
    pub admin: Option<super::Admin>,
    /// A file has a fault of syntax, so that what is absent may only have been lost.
    pub is_torn: bool,
}

/// Loads a configuration: `text`, or what `path` holds when there is none.
///
/// # Errors
///
/// Every problem of all files, in the order of the files and their lines.
pub(super) fn load(
    path: &Path,
    text: Option<&str>,
    author: &Author,
) -> Result<Config, Vec<Problem>> {
    let withheld = |_: &str| Err(env::Lack::Withheld);
    let (env, files): (Lookup<'_>, _) = match author {
        Author::Owner => (&super::var, None),
        Author::Trusted => (&withheld, None),
        Author::Anybody(files) => (&withheld, Some(files)),
    };
    load_from(path, text, env, files).0
}

/// The same, and what was read to say it: to be watched, whether it was right or not. `files`: the
/// only ones that may be read; `None`: all.
pub(super) fn load_from(
    path: &Path,
    text: Option<&str>,
    env: Lookup<'_>,
    files: Option<&Sources>,
) -> (Result<Config, Vec<Problem>>, Sources) {
    let seen = RefCell::default();
    let env = &env::remembering(env, &seen);
    let desk = Desk { env, files, faults: RefCell::new(Faults::default()) };
    let mut walk =
        Walk { draft: Draft::default(), left: TOTAL, open: Vec::new(), seen: HashMap::new() };
    let at = At { file: file::name(path), line: 0, column: 0 };
    desk.faults.borrow_mut().file(&at.file);
    walk.draft.sources.begin(path.to_path_buf());
    let text = match text {
        Some(text) if text.len() > TOTAL => Err((at.clone(), "is larger than 64MiB".to_owned())),
        Some(text) => Ok(text.to_owned()),
        // What the process is started with may be a pipe.
        None => walk.read(path, std::fs::File::open(path).map_err(Unopened::from)),
    };
    match text {
        Ok(text) => walk.text(path, &text, &desk),
        Err((at, what)) => desk.faults.borrow_mut().syntax(Problem::new(&at, "", what)),
    }
    let sources = walk.draft.sources.clone();
    let config = finish(walk.draft, path, &at, desk.faults.into_inner());
    let put_in = seen.borrow().clone();
    let hidden = config.map_err(|problems| put_in.hide_in(problems));
    (hidden.map(|config| Config { put_in, ..config }), sources)
}

/// Sections that say nothing of where a proxy is, whatever is wrong there.
const ELSEWHERE: [&str; 7] = ["log", "trace", "metrics", "defaults", "listener", "route", "pool"];

/// What files with problems say of where their proxy is.
pub(super) fn whereabouts(path: &Path, text: &str) -> Whereabouts {
    let desk = Desk { env: &super::var, files: None, faults: RefCell::new(Faults::default()) };
    let mut walk =
        Walk { draft: Draft::default(), left: TOTAL, open: Vec::new(), seen: HashMap::new() };
    walk.text(path, text, &desk);
    let (draft, faults) = (walk.draft, desk.faults.into_inner());
    let (is_torn, is_astray) = (faults.is_torn(), faults.is_astray());
    let is_whole = faults.is_whole() && !is_astray;
    let problems = faults.finish();
    let is_at_fault = |of: &str, key: &str| {
        problems.iter().any(|problem| problem.key == of || problem.key.starts_with(key))
    };
    // A key that nobody knows may be the one that is absent.
    let may_hide = |section: &str, of: &str| {
        section == of || !ELSEWHERE.contains(&section) && !["server", "admin"].contains(&section)
    };
    let is_clear =
        |of: &str| is_whole && !problems.iter().any(|problem| may_hide(section(&problem.key), of));
    let usual = admin::default(At::default());
    let addr = |admin: &Admin| admin.bind.as_ref().map(|bind| bind.addr.clone());
    let admin = match draft.once.contains_key("admin") {
        false => Some(usual).filter(|_| is_clear("admin")),
        true => draft.admin.filter(|said| {
            let is_said = addr(said) != addr(&usual) || is_clear("admin");
            is_said && !is_at_fault("admin", "admin.bind")
        }),
    };
    let said = draft.server.map(|server| server.state);
    let state = match said.filter(|state| !state.as_os_str().is_empty()) {
        Some(said) => Some(said).filter(|_| !is_at_fault("server", "server.state")),
        None => Some(state(path)).filter(|_| is_clear("server")),
    };
    Whereabouts { state, admin, is_torn }
}

/// The section that a key is in.
fn section(key: &str) -> &str {
    key.split(['.', '[']).next().unwrap_or("")
}

/// `server.state` of a file that says none.
fn state(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join("state")
}

fn finish(
    mut draft: Draft,
    path: &Path,
    at: &At,
    mut faults: Faults,
) -> Result<Config, Vec<Problem>> {
    if !draft.once.contains_key("admin") {
        draft.admin = Some(admin::default(at.clone()));
    }
    let mut server = draft.server.take().unwrap_or_else(server::server_default);
    if server.state.as_os_str().is_empty() {
        server.state = state(path);
    }
    check::check(&draft, &server, at, &mut faults);
    let problems = faults.finish();
    if !problems.is_empty() {
        return Err(problems);
    }
    check::carry(&mut draft);
    Ok(Config {
        server,
        log: draft.log.unwrap_or_else(log::default),
        trace: draft.trace,
        admin: draft.admin.unwrap_or_else(|| admin::default(at.clone())),
        metrics: draft.metrics,
        compat: draft.compat,
        defaults: draft.defaults,
        listeners: draft.listeners,
        routes: draft.routes,
        sni_routes: draft.sni_routes,
        pools: draft.pools,
        sources: draft.sources,
        put_in: PutIn::default(),
    })
}

/// The way through the files.
struct Walk {
    draft: Draft,
    /// Bytes that may still be read.
    left: usize,
    /// The files on the way to this one, symlinks resolved.
    open: Vec<PathBuf>,
    /// Every file so far, symlinks resolved, and where it was included.
    seen: HashMap<PathBuf, At>,
}

impl Walk {
    /// Reads one text. Its own sections come before those of the files it includes.
    fn text(&mut self, path: &Path, text: &str, desk: &Desk<'_>) {
        let file = file::File::new(path, text);
        self.left = self.left.saturating_sub(file.text.len());
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        self.open.push(real.clone());
        self.seen.insert(real, At { file: file.name.clone(), line: 1, column: 1 });
        let page = Page { file: &file, desk };
        let map = syntax::parse(page);
        if let Some(map) = &map {
            let includes = Table::root(page, map.get_ref(), |t| sections(t, &mut self.draft));
            for item in includes {
                self.include(&item);
            }
        }
        self.open.pop();
    }

    /// Reads one file and notes what it said.
    fn read(&mut self, path: &Path, open: Result<File, Unopened>) -> Result<String, (At, String)> {
        let read = match open {
            Ok(open) => file::read(open, path, self.left),
            Err(why) => Err(file::unread(path, why.to_string())),
        };
        let said = match &read {
            Ok(text) => Some(text.as_bytes()),
            Err(unread) => unread.bytes.as_deref(),
        };
        self.draft.sources.said(path, said);
        read.map_err(|unread| (unread.at, unread.what))
    }

    fn include(&mut self, item: &Item<'_>) {
        let files = self.named(item);
        if files.is_none() {
            item.page.desk.faults.borrow_mut().lacks_a_file();
        }
        for path in files.into_iter().flatten() {
            if let Err(what) = self.file(&path, item) {
                self.draft.sources.said(&path, None);
                item.fault(what);
                item.page.desk.faults.borrow_mut().lacks_a_file();
            }
        }
    }

    /// The files that are to be included; `None` where that cannot be told.
    fn named(&mut self, item: &Item<'_>) -> Option<BTreeSet<PathBuf>> {
        let text = item.text()?;
        if text.is_empty() || text.contains('\0') {
            item.fault("names no file");
            return None;
        }
        let place = item.page.file.path(&text);
        let is_pattern = glob::is_pattern(&text);
        if item.page.desk.files.is_some_and(|known| !known.includes(&place, is_pattern)) {
            item.wrong(tls::withheld());
            return None;
        }
        if !is_pattern {
            self.draft.sources.text(place.clone());
            return Some([place].into());
        }
        self.draft.sources.pattern(place.clone());
        match glob::find(&place) {
            Ok(found) => Some(found.files),
            Err(what) => {
                self.draft.sources.said(&place, None);
                item.fault(format!("{} {what}", quoted(&text)));
                None
            }
        }
    }

    /// Reads one included file.
    fn file(&mut self, path: &Path, item: &Item<'_>) -> Result<(), String> {
        let name = path.display();
        let real =
            path.canonicalize().map_err(|error| format!("{name} cannot be read: {error}"))?;
        if self.open.contains(&real) {
            return Err(format!("{name} includes itself"));
        }
        if let Some(first) = self.seen.get(&real) {
            return Err(format!("{name} is already included at {}:{}", first.file, first.line));
        }
        if self.open.len() > DEPTH {
            return Err(format!("{name} is more than {DEPTH} includes deep"));
        }
        let open = open::open(&real).map(|(file, _)| file);
        if let Err(why @ Unopened::NoFile) = open {
            return Err(format!("{name} {why}"));
        }
        item.page.desk.faults.borrow_mut().file(&file::name(path));
        match self.read(path, open) {
            Ok(text) => self.text(path, &text, item.page.desk),
            Err((at, what)) => {
                item.page.desk.faults.borrow_mut().syntax(Problem::new(&at, "", what))
            }
        }
        self.seen.insert(real, item.at());
        Ok(())
    }
}

/// Every section in the order of proxy.toml; returns what is to be included.
fn sections<'a>(t: &mut Table<'a>, draft: &mut Draft) -> Vec<Item<'a>> {
    let includes = t.take("include").map(|item| item.list()).unwrap_or_default();
    if let Some(item) = once(t, "server", draft) {
        draft.server = server::server(&item);
    }
    if let Some(item) = once(t, "log", draft) {
        draft.log = log::log(&item);
    }
    if let Some(item) = once(t, "trace", draft) {
        draft.trace = trace::trace(&item);
    }
    if let Some(item) = once(t, "admin", draft) {
        draft.admin = admin::admin(&item, draft);
    }
    if let Some(item) = once(t, "metrics", draft) {
        (draft.metrics, draft.compat) = server::metrics(&item);
    }
    if let Some(item) = once(t, "defaults", draft) {
        let mut only = Only::default();
        let read = item.table("defaults", |t| over::overrides(t, Place::Defaults, &mut only));
        draft.defaults = read.unwrap_or_default();
        draft.retries.insert(Owner::Defaults, only.retry);
    }
    if let Some(item) = t.take("listener") {
        listener::listeners(&item, draft);
    }
    if let Some(item) = t.take("route") {
        route::routes(&item, draft);
    }
    if let Some(item) = t.take("pool") {
        pool::pools(&item, draft);
    }
    includes
}

/// A section that may stand in one file only.
fn once<'a>(t: &mut Table<'a>, key: &'static str, draft: &mut Draft) -> Option<Item<'a>> {
    let item = t.take(key)?;
    if let Some(first) = draft.once.get(key) {
        let what = format!("is already at {}:{}:{}", first.file, first.line, first.column);
        item.key_wrong(Wrong::new(what));
        return None;
    }
    draft.once.insert(key, item.key_at());
    Some(item)
}

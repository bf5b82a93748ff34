//! The way from a command to the proxy: its Unix socket, its admin address, or what is said.
use super::args;
use super::known::{self, Answer};
use crate::config;
use crate::telemetry::{is_unseen, seen};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

/// How long an answer may take: a reload with many names to look up takes its time.
const TIME: Duration = Duration::from_secs(60);
/// The largest answer: ten thousand backends are a few megabytes.
const MOST: usize = 256 << 20;

/// Why there is no answer, and what the exit code is.
#[derive(Debug)]
pub(super) enum Error {
    /// The proxy could not be reached: 3.
    Unreached(String),
    /// It says no: 1. The status, and the problem as it came.
    No(u16, Told),
    /// What was asked makes no sense: 2.
    Usage(String),
}

impl Error {
    /// A no that is said as the proxy would.
    pub(super) fn no(status: u16, detail: &str) -> Self {
        let body = json!({ "status": status, "detail": detail });
        Self::No(status, Told { text: format!("{body}\n"), body })
    }

    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Unreached(_) => 3,
            Self::No(..) => 1,
            Self::Usage(_) => 2,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreached(what) | Self::Usage(what) => f.write_str(what),
            Self::No(status, Told { body: problem, .. }) => {
                let text = |value: &Value| value.as_str().unwrap_or("").to_string();
                match problem["problems"].as_array() {
                    Some(all) => {
                        let count = all.len();
                        write!(f, "{count} problem{}", if count == 1 { "" } else { "s" })?;
                        all.iter().try_for_each(|one| write!(f, "\n{}", line(one)))
                    }
                    None => write!(f, "{} ({status})", printable(&text(&problem["detail"]))),
                }
            }
        }
    }
}

/// A problem of a configuration, as `check` says it.
fn line(problem: &Value) -> String {
    let text = |key: &str| printable(problem[key].as_str().unwrap_or(""));
    let mut out = text("file");
    for key in ["line", "column"] {
        match problem[key].as_u64() {
            Some(number) if number > 0 => out += &format!(":{number}"),
            _ => {}
        }
    }
    for part in [text("key"), text("what")] {
        if !part.is_empty() {
            out += &format!("{}{part}", if out.is_empty() { "" } else { ": " });
        }
    }
    match text("hint") {
        hint if hint.is_empty() => out,
        hint => format!("{out}; {hint}"),
    }
}

/// Without what a terminal would take for a command.
pub(super) fn printable(text: &str) -> String {
    let seen = |c: char| if is_unseen(c) { '\u{fffd}' } else { c };
    text.chars().map(seen).collect()
}

/// Where the proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Unix(PathBuf),
    Tcp(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(at) => write!(f, "http://{at}"),
        }
    }
}

/// Asks the proxy.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    place: Place,
    token: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) body: Value,
    pub(super) text: String,
}

impl Told {
    /// As it came, for programs; `null` where there was nothing to say.
    pub(super) fn print(&self) {
        match self.text.is_empty() {
            true => say!("null"),
            false => put!("{}", seen(&self.text, |c| c == '\n')),
        }
    }
}

impl Asker {
    /// Finds the proxy: what is said, its socket, its address.
    ///
    /// # Errors
    ///
    /// What is wrong with what was said.
    pub(super) async fn find(client: &args::Client) -> Result<Self, Error> {
        let read = |path: &Path| {
            let failed = |error| Error::Usage(format!("read {}: {error}", path.display()));
            std::fs::read_to_string(path).map(|text| text.trim().to_string()).map_err(failed)
        };
        let token = client.token_file.as_deref().map(read).transpose()?;
        if let Some(said) = &client.admin {
            return Ok(Self { place: place(said)?, token });
        }
        let found = Found::of(&client.config)?;
        let socket = found.state.map(|state| state.join(crate::admin::SOCKET));
        if let Some(socket) = &socket
            && UnixStream::connect(socket).await.is_ok()
        {
            return Ok(Self { place: Place::Unix(socket.clone()), token: None });
        }
        let Some(at) = found.bind else {
            let file = client.config.display();
            let tried = match socket {
                Some(socket) => format!("nothing listens at {}", socket.display()),
                None => format!("{file} cannot be read as far as server.state"),
            };
            let why = if found.is_unclear { "cannot be read as far as" } else { "has no" };
            let what =
                format!("{tried}, and {file} {why} admin.bind; --admin says where the proxy is");
            return Err(Error::Unreached(what));
        };
        let token = token.or_else(|| found.token.as_deref().and_then(|path| read(path).ok()));
        Ok(Self { place: place(&at)?, token })
    }

    /// Whether it is on this machine for sure.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.place, Place::Unix(_))
    }

    pub(super) async fn get(&self, path: &str) -> Result<Told, Error> {
        self.ask("GET", path, None).await
    }

    /// One request and its answer.
    ///
    /// # Errors
    ///
    /// It could not be reached, or says no.
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Told, Error> {
        let told = self.one(method, path, body).await?;
        // That anybody may say: who it was is another question.
        if told.text.is_empty()
            && let Err(error @ Error::Unreached(_)) = self.one("GET", "/v1/status", None).await
        {
            return Err(error);
        }
        Ok(told)
    }

    async fn one(&self, method: &str, path: &str, body: Option<Value>) -> Result<Told, Error> {
        let asked = tokio::time::timeout(TIME, self.send(method, path, body)).await;
        asked.unwrap_or_else(|_| Err(self.unreached(format!("no answer within {TIME:?}"))))
    }

    fn unreached(&self, why: impl fmt::Display) -> Error {
        Error::Unreached(format!("ask the proxy at {}: {why}; does it run?", self.place))
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Result<Told, Error> {
        let mut line = self.connect().await?;
        if self.token.is_some() {
            // Whoever has the port need not be the proxy: it hears the token once it has said what an
            // Evenkeel says, ready or not.
            let first = Ask { method: "GET", path: known::READY, body: None, token: None };
            match self.exchange(&mut line, first).await {
                Err(error @ (Error::Unreached(_) | Error::Usage(_))) => return Err(error),
                // It answers nobody who asks so.
                Err(error @ Error::No(403, _)) => return Err(error),
                Ok(_) | Err(Error::No(..)) => {}
            }
        }
        let ask = Ask { method, path, body, token: self.token.as_deref() };
        self.exchange(&mut line, ask).await
    }

    async fn connect(&self) -> Result<Line, Error> {
        let failed = |error: &dyn fmt::Display| self.unreached(error);
        match &self.place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|e| failed(&e))?;
                Line::over(stream).await.map_err(|e| failed(&e))
            }
            Place::Tcp(at) => {
                let stream = TcpStream::connect(at).await.map_err(|e| failed(&e))?;
                Line::over(stream).await.map_err(|e| failed(&e))
            }
        }
    }

    async fn exchange(&self, line: &mut Line, ask: Ask<'_>) -> Result<Told, Error> {
        let Ask { method, path, body, token } = ask;
        let host = match &self.place {
            Place::Unix(_) => "localhost",
            Place::Tcp(at) => at,
        };
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let text = body.map(|body| body.to_string());
        if text.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(text.unwrap_or_default()));
        let request = request.body(body).map_err(|error| Error::Usage(error.to_string()))?;
        let failed = |error: &dyn fmt::Display| self.unreached(error);
        line.sender.ready().await.map_err(|e| failed(&e))?;
        let answer = line.sender.send_request(request).await.map_err(|e| failed(&e))?;
        let status = answer.status();
        let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
        let read = Limited::new(answer.into_body(), MOST).collect().await;
        let bytes = read.map_err(|e| failed(&e))?.to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let kind = kind.as_ref().and_then(|kind| kind.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let said = Answer { status: status.as_u16(), kind: &kind, text: &text, body: &body };
        known::judge(method, path, &said).map_err(|odd| {
            let at = &self.place;
            Error::Unreached(format!(
                "what answers at {at} is no Evenkeel ({odd}); --admin says where the proxy is"
            ))
        })?;
        match status.is_success() {
            true => Ok(Told { body, text }),
            false => Err(Error::No(status.as_u16(), Told { body, text })),
        }
    }
}

/// What is asked, and the token to be shown.
struct Ask<'a> {
    method: &'a str,
    path: &'a str,
    body: Option<Value>,
    token: Option<&'a str>,
}

/// A connection to whoever is there.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    working: JoinHandle<()>,
}

impl Line {
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> hyper::Result<Self> {
        let (sender, work) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, working: tokio::spawn(async move { drop(work.await) }) })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.working.abort();
    }
}

fn place(said: &str) -> Result<Place, Error> {
    if let Some(path) = said.strip_prefix("unix:") {
        return Ok(Place::Unix(path.into()));
    }
    let wrong = |why: &str| Error::Usage(format!("--admin {said}: {why}"));
    if said.starts_with("https://") {
        return Err(wrong("the admin side speaks no TLS; write http://"));
    }
    let at = said.strip_prefix("http://").unwrap_or(said).trim_end_matches('/');
    match at.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(Place::Tcp(at.into()))
        }
        _ => Err(wrong("write http://host:port or unix:/path")),
    }
}

/// What a file says of where its proxy is, however wrong the rest of it is: a command must work
/// while a file is being mended.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// `None` where it cannot be told: in the usual folder another proxy may be.
    state: Option<PathBuf>,
    bind: Option<String>,
    /// There may be one that cannot be read: another proxy may be where it is by default.
    is_unclear: bool,
    token: Option<PathBuf>,
}

impl Found {
    /// # Errors
    ///
    /// The file cannot be read. Where nobody named one, none need be there: so it is with `demo`.
    fn of(path: &Path) -> Result<Self, Error> {
        if let Ok(config) = config::load(path) {
            return Ok(Self {
                state: Some(config.server.state),
                bind: config.admin.bind.map(|bind| bind.addr.to_string()),
                is_unclear: false,
                token: config.admin.token.map(|token| token.path),
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
            token: None,
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
        let bind = said("admin", "bind").filter(|bind| is_whole && !bind.contains("${"));
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

/// What the lines of a section say, without those from its fault on. Looks at some hundred.
fn readable(lines: &[&str]) -> toml::Table {
    let most = lines.len().min(256);
    let read = |n| toml::from_str(&lines[..n].join("\n")).ok();
    (0..=most).rev().find_map(read).unwrap_or_default()
}

/// The folder `server.state` of a file that may have problems, where it cannot be told the usual one; `None`
/// where the file cannot be read.
pub(super) fn state_of(path: &Path) -> Option<PathBuf> {
    let usual = || path.parent().unwrap_or(Path::new("")).join("state");
    Found::of(path).ok().map(|found| found.state.unwrap_or_else(usual))
}

/// A name as a part of a path (RFC 3986 2.3).
pub(super) fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    name.bytes().map(one).collect()
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
            ("x = 1\n[admin]\nbind = \"off\"\n", None, false),
            ("include = [\"more.toml\"]\nx = 1\n", Some("127.0.0.1:8"), false),
            ("include = [\"more.toml\"]\nx = \n", None, true),
            ("include = [\"lacks.toml\"]\n", None, true),
            ("include = [\"${EVENKEEL_NOWHERE}/*.toml\"]\n", None, true),
            ("include = 7\n", None, true),
            ("include = [\"more.toml\"]\n[admin]\n", None, true),
            ("[pool.a\n[ \"admin\" ]\nbind = \"127.0.0.1:7\"\n", Some("127.0.0.1:7"), false),
            ("[admin]\nbind = \"127.0.0.1:7\"\n[admin]\nbind = \"127.0.0.1:9\"\n", None, true),
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
            ("[server]\nstate = \"s\"\n[server]\nstate = \"t\"\n", None),
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

    #[test]
    fn places_and_names() {
        assert_eq!(place("http://127.0.0.1:9900/").unwrap(), Place::Tcp("127.0.0.1:9900".into()));
        assert_eq!(place("[::1]:9900").unwrap(), Place::Tcp("[::1]:9900".into()));
        assert_eq!(place("unix:/x").unwrap(), Place::Unix("/x".into()));
        for wrong in ["https://a:1", "a", "http://", ":1", "a:b"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
        assert_eq!(encoded("b 2/ü"), "b%202%2F%C3%BC");
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}

//! The way from a command to the proxy: its Unix socket, its admin address, or what is said.
use super::known::{self, Answer};
use super::whose::Whose;
use crate::telemetry::{is_markless, seen};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;
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

/// Without what a terminal would take for a command, or what is not there to be seen.
pub(super) fn printable(text: &str) -> String {
    let seen = |c: char| if is_markless(c) { '\u{fffd}' } else { c };
    text.chars().map(seen).collect()
}

/// Where the proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
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
    pub(super) place: Place,
    pub(super) token: Option<String>,
    /// Whose proxy it should be, where its address alone says who it is.
    pub(super) whose: Option<Whose>,
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
        if self.token.is_some() || self.whose.is_some() {
            // Whoever has the port need not be the proxy: it hears the token once it has said what an
            // Evenkeel says, ready or not, and is asked once it has said that it is this one.
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
        let whose = self.whose.as_ref().filter(|_| path == known::READY);
        let other = whose.filter(|whose| whose.is_other(answer.headers()));
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
        if let Some(whose) = other {
            let at = &self.place;
            return Err(Error::Unreached(format!(
                "the Evenkeel at {at} {}: it is another one; --admin {at} asks it all the same",
                whose.unlike()
            )));
        }
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

pub(super) fn place(said: &str) -> Result<Place, Error> {
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

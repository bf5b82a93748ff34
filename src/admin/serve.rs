//! The admin server: hyper on the control runtime, bounded in connections and time.
use super::compat;
use super::crowd::Crowd;
use super::guard::{Caller, Pace};
use super::heard::{Heard, is_over};
use super::line::Line;
use super::places::Places;
use super::room::Room;
use super::routes::answer;
use super::strangers::{Strangers, network};
use super::turn::{Turn, limits};
use crate::config::{Bind, BindAddr};
use crate::drain::Opening;
use crate::net::{self, Stream, Transport};
use crate::server::{Reloader, Role, State, bind_hint};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::unconstrained;

/// A connection that is to end waits so long for a question that may be on its way.
const FAREWELL: Duration = Duration::from_millis(500);
/// So many times `admin.limits.time` a connection may live: a caller that does not read must not hold a place
/// for ever.
const LIVES: u32 = 12;
/// Who calls so soon after the token was taken away may have been dialled while it was asked for: longer than a
/// connection takes where the kernel drops its first word.
const OPENED: Duration = Duration::from_secs(3);
/// So much the kernel keeps of an answer that is not read.
const SEND_BUFFER: usize = 256 << 10;
/// Callers the kernel keeps waiting: as at a listener, so that one that calls all the time fills it less soon.
const BACKLOG: i32 = 4096;
/// At its end a process that was handed over waits so long for those who called it to read their answers,
const ANSWERS: Duration = Duration::from_secs(2);
/// and looks so often.
const LOOK: Duration = Duration::from_millis(5);
/// Callers that were accepted and wait for a place.
const COMING: usize = 128;

/// Who may ask what at an address.
#[derive(Clone, Debug)]
pub struct Access {
    /// Whether `/v1` is served.
    pub api: bool,
    /// Whether only the address itself, localhost and the names of `admin.hosts` are answered.
    pub known_hosts: bool,
}

/// A bound admin address.
#[derive(Debug)]
pub struct Socket {
    /// What was really bound.
    pub addr: BindAddr,
    socket: OwnedFd,
    file: Option<SocketFile>,
    /// Another process bound it.
    adopted: bool,
    role: Option<Arc<Role>>,
}

impl Socket {
    /// May be handed over to another process from here on: `at` is the address as the configuration
    /// writes it. One that another process bound takes nobody before its role says so.
    ///
    /// # Errors
    ///
    /// When the socket cannot be had twice.
    pub fn share(&mut self, role: &str, at: &BindAddr) -> io::Result<Arc<Role>> {
        let role = Arc::new(Role::new(role, at.to_string(), &self.socket, !self.adopted)?);
        if let Some(file) = &mut self.file {
            file.role = Some(role.clone());
        }
        self.role = Some(role.clone());
        Ok(role)
    }
}

/// The file of a Unix socket, removed when nobody serves it any more.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Whoever came later may have bound another one there.
    file: Option<net::File>,
    role: Option<Arc<Role>>,
}

impl SocketFile {
    fn new(path: PathBuf) -> Self {
        Self { file: net::file(&path), path, role: None }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_given = self.role.as_ref().is_some_and(|role| role.is_given());
        if !is_given && net::file(&self.path) == self.file {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds an admin address.
///
/// # Errors
///
/// What was tried, on what, and the kernel's word.
pub fn bind(bind: &Bind) -> io::Result<Socket> {
    bind_to(&bind.addr, None, true)
}

/// As [`bind`], with the socket that another process bound, where there is one. A Unix socket is its
/// owner's alone where the API is served.
///
/// # Errors
///
/// As [`bind`].
pub fn bind_or(bind: &Bind, access: &Access, open: Option<OwnedFd>) -> io::Result<Socket> {
    bind_to(&bind.addr, open, access.api)
}

/// The name of the Unix socket in the folder `server.state`.
pub const SOCKET: &str = crate::config::ADMIN_SOCKET;

/// Binds the Unix socket of a state folder, which is made where it is missing: what is in it is its
/// owner's alone.
///
/// # Errors
///
/// As [`bind`].
pub fn bind_private(folder: &Path) -> io::Result<Socket> {
    bind_private_or(folder, None)
}

/// As [`bind_private`], with the socket that another process bound, where there is one.
///
/// # Errors
///
/// As [`bind`].
pub fn bind_private_or(folder: &Path, open: Option<OwnedFd>) -> io::Result<Socket> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |error: io::Error| {
        let what = format!("make the folder {} (server.state): {error}", folder.display());
        io::Error::new(error.kind(), what)
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    bind_to(&BindAddr::Unix(folder.join(SOCKET)), open, true)
}

fn bind_to(addr: &BindAddr, open: Option<OwnedFd>, private: bool) -> io::Result<Socket> {
    let failed = |error: io::Error| {
        let hint = bind_hint(addr, &error).map(|hint| format!("; {hint}"));
        let what = format!("listen on {addr} (admin): {error}");
        io::Error::new(error.kind(), what + &hint.unwrap_or_default())
    };
    let adopted = open.is_some();
    let bound = match open {
        Some(socket) => net::adopt(vec![socket], 1, BACKLOG),
        None if private => net::bind_private(addr, BACKLOG),
        None => net::bind(addr, 1, BACKLOG),
    };
    let mut bound = bound.map_err(failed)?;
    let socket =
        bound.sockets.pop().ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
    let file = match &bound.addr {
        BindAddr::Unix(path) => {
            if adopted && private {
                // By whom it was bound, and how, is not known.
                let own = std::fs::Permissions::from_mode(0o600);
                let done = std::fs::set_permissions(path, own);
                done.or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(failed(error)),
                })?;
            }
            Some(SocketFile::new(path.clone()))
        }
        _ => None,
    };
    Ok(Socket { addr: bound.addr, socket, file, adopted, role: None })
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// A caller, its address, and by a Unix socket its process.
    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>, Option<u32>)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (stream.into(), Some(peer), None)
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let pid = stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
                (stream.into(), None, pid)
            }
        })
    }
}

/// What is served, and how.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) reloader: Reloader,
    /// The file of the configuration.
    pub(super) path: PathBuf,
    pub(super) access: Access,
    /// How often its callers ask.
    pub(super) pace: Pace,
    /// And those who may not.
    pub(super) strangers: Strangers,
    /// What was told of sums to those who read them by other names.
    pub(super) told: compat::Told,
    /// Places for those who listen to events.
    pub(super) streams: Arc<Semaphore>,
    /// Of plans: who calls by TCP never waits in the way of who calls by the socket.
    pub(super) plans: Turn,
    pub(super) rings: Turn,
    pub(super) explained: Turn,
    pub(super) scrapes: Turn,
    pub(super) views: Turn,
    /// For answers that nobody has read yet.
    pub(super) room: Room,
    /// Those who were told that they ask too often, for the log.
    pub(super) crowd: Arc<Crowd>,
}

/// Serves an address until it is dropped, and with it the file of a Unix socket. `path` is the file
/// that is read again when a caller says so.
///
/// # Errors
///
/// When the socket cannot be used on this runtime.
pub async fn serve(
    socket: Socket,
    reloader: Reloader,
    path: PathBuf,
    access: Access,
) -> io::Result<()> {
    let Socket { addr, socket, role, adopted: _, file: _file } = socket;
    let own = match addr {
        BindAddr::Ip(addr) => Some(addr),
        _ => None,
    };
    // What the kernel holds of answers that nobody reads has a bound, too.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
    let listener = match addr {
        BindAddr::Unix(_) => Listener::Unix(UnixListener::from_std(socket.into())?),
        _ => Listener::Tcp(TcpListener::from_std(socket.into())?),
    };
    // Nobody hands over what is not shared.
    let mut opening = role.map_or_else(|| watch::channel(Opening::Open).1, |role| role.opening());
    // A place more or less needs a restart: whoever has one keeps it.
    let most = limits(reloader.state());
    let places = Arc::new(Places::new(most.connections));
    let streams = Arc::new(Semaphore::new(most.streams));
    let (pace, strangers, told) = Default::default();
    let [plans, rings, explained, scrapes, views] =
        ["plan", "ring", "explain", "scrape", "view"].map(Turn::new);
    let crowd = Arc::default();
    let desk = Desk {
        reloader,
        path,
        access,
        pace,
        strangers,
        told,
        streams,
        plans,
        rings,
        explained,
        scrapes,
        views,
        room: Room::default(),
        crowd,
    };
    let desk = Arc::new(desk);
    let coming = Arc::new(Semaphore::new(COMING));
    // When it was last seen that nobody waits to be accepted: a socket may have been another process's.
    let mut empty = None::<Instant>;
    for number in 0.. {
        let came = coming.clone().acquire_owned().await;
        let next = tokio::select! {
            biased;
            () = paused(&mut opening) => {
                // Who has it says so again; where that never comes this ends with the process.
                let _ = opening.wait_for(|opening| *opening == Opening::Open).await;
                continue;
            }
            accepted = unconstrained(listener.accept()) => Some(accepted),
            () = std::future::ready(()) => None,
        };
        let accepted = match next {
            Some(accepted) => accepted,
            None => {
                // Nobody waits: whoever is accepted from here on came since.
                let accepted = tokio::select! {
                    () = paused(&mut opening) => continue,
                    accepted = listener.accept() => accepted,
                };
                empty = Some(Instant::now());
                accepted
            }
        };
        let (stream, peer, pid) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin: accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if peer.is_some() && is_gone(&stream) {
            tokio::task::yield_now().await;
            continue;
        }
        // A program that serves from within may call itself.
        let state = desk.reloader.state();
        let is_ours =
            |pid| pid == std::process::id() || state.hand_overs.older.left().contains(&pid);
        let is_itself = pid.is_some_and(is_ours) && state.off_limits.is_any();
        let plan = state.plan.load();
        // Who was dialled before, by a backend's address, may come a little later.
        let opened = state.off_limits.opened();
        let was_asked = plan.as_ref().is_some_and(|plan| plan.config.admin.token.is_some())
            || opened.is_some_and(|opened| empty.is_none_or(|empty| empty < opened + OPENED));
        drop(plan);
        let caller = Caller { tcp: peer.zip(own), is_itself, was_asked };
        let (desk, opening, places) = (desk.clone(), opening.clone(), places.clone());
        let open = Open::of(desk.reloader.state());
        tokio::spawn(async move {
            let _open = open;
            let hits = || desk.reloader.state().admin.limit_hits.inc("connections");
            let from = peer.map(|peer| network(peer.ip()));
            let time = limits(desk.reloader.state()).time;
            let Some(place) = places.take(number, from, time, hits).await else { return };
            drop(came);
            match stream.into_transport() {
                Transport::Tcp(s) => connection(s, &desk, caller, &place.line, opening).await,
                Transport::Unix(s) => connection(s, &desk, caller, &place.line, opening).await,
            }
            drop(place);
        });
    }
    Ok(())
}

/// A caller that was accepted, counted for as long as it is there.
struct Open(Arc<State>);

impl Open {
    fn of(state: &Arc<State>) -> Self {
        state.admin.open.add(1);
        Self(state.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.admin.open.add(-1);
    }
}

/// Waits until those who called were answered, as long as a process that is another one's past should wait.
pub async fn answered(state: &State) {
    let none = async {
        while state.admin.open.get() > 0 {
            tokio::time::sleep(LOOK).await;
        }
    };
    let _ = tokio::time::timeout(ANSWERS, none).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
    desk: &Arc<Desk>,
    caller: Caller,
    line: &Arc<Line>,
    mut opening: watch::Receiver<Opening>,
) {
    let (state, time) = (desk.reloader.state(), limits(desk.reloader.state()).time);
    let own = stream.as_fd().try_clone_to_owned();
    let stream = Heard::new(stream, line.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let (desk, line) = (desk.clone(), line.clone());
        async move {
            let _working = line.working();
            let mut answer = answer(&desk, &line, caller, request).await;
            if line.is_leaving() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(time)
        .max_headers(64)
        .max_buf_size(16 << 10);
    let served = server.serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    tokio::select! {
        // A caller that broke off is no fault of ours.
        _ = &mut served => {}
        () = line.over() => return,
        () = told_to_end(line, time * LIVES, &mut opening) => {
            served.as_mut().graceful_shutdown();
            // A stream of events does not end by itself, and who listens comes back.
            let left = if line.is_stream() { Duration::ZERO } else { time };
            tokio::select! {
                biased;
                _ = &mut served => {}
                () = line.over() => return,
                () = tokio::time::sleep(left) => if !line.is_stream() {
                    line.breaks();
                },
            }
        }
    }
    // However it came to its end. One that is not over in its time is not waited for.
    if let Some(own) = own.ok().filter(|_| !line.is_broken()) {
        tokio::select! {
            is_over = is_over(own, time) => if !is_over {
                line.breaks();
            },
            () = line.over() => return,
        }
    }
    if line.is_broken() {
        state.admin.limit_hits.inc("time");
    }
}

/// Whether a caller by TCP reset its connection already: it is owed nothing, not even a place in the line.
fn is_gone(stream: &Stream) -> bool {
    let mut look = [PollFd::new(stream, PollFlags::empty())];
    let gone = PollFlags::ERR | PollFlags::HUP;
    poll(&mut look, Some(&Timespec::default())).is_ok() && look[0].revents().intersects(gone)
}

/// Waits until a connection is to end, and a little longer: the answer to a question that may be on its way
/// says that it was the last one.
async fn told_to_end(line: &Line, life: Duration, opening: &mut watch::Receiver<Opening>) {
    tokio::select! {
        () = line.left() => {}
        () = line.lived(life) => {}
        () = paused(opening) => {}
    }
    line.leave();
    tokio::time::sleep(FAREWELL).await;
}

/// Waits until another process listens.
async fn paused(opening: &mut watch::Receiver<Opening>) {
    if opening.wait_for(|opening| *opening == Opening::Paused).await.is_err() {
        std::future::pending().await
    }
}

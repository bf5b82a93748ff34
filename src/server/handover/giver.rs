//! The side of the process that serves: it hands its sockets and what it knows to another process,
//! and goes on itself wherever that one has problems.
use super::channel::{Channel, FDS};
use super::message::{Memory, Message, Named, PROTOCOL};
use super::outcome::{HandOver, Role};
use super::program::Program;
use crate::server::door::Door;
use crate::server::notify::Notify;
use crate::server::reload::Reloader;
use crate::server::state::{Stage, State};
use rustix::process::{Pid, Signal, kill_process_group};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// The name of the socket in the folder `server.state` by which another process takes over.
pub const SOCKET: &str = "handover.sock";
/// The role of that socket.
pub const ROLE: &str = "handover";
/// How long the other process may take to begin to serve once it said that it could.
const BEGIN: Duration = Duration::from_secs(10);
/// The other process must live for so long, serving, before this one lets go: until then this one
/// would only have to listen again.
const PROOF: Duration = Duration::from_secs(1);
/// The longest word of a caller: the addresses that it takes, or all that is wrong with its file. So
/// much anybody who may call can have this process hold.
const WORD: usize = 1 << 20;
/// Why it failed, where nothing came.
const LATE: &str = "the new process was not ready within server.hand_over";
/// What a caller is told meanwhile.
const UNDER_WAY: &str = "a hand-over to another process is under way";
/// How long a child that is of no use may take to end by itself, so that its exit can be told.
const END: Duration = Duration::from_millis(500);

/// Hands over when it is asked to.
#[derive(Debug)]
pub struct Giver {
    socket: UnixListener,
    path: PathBuf,
    program: Program,
    roles: Vec<Arc<Role>>,
    reloader: Reloader,
    notify: Notify,
}

/// A giver at work.
#[derive(Debug)]
pub struct Giving {
    asks: mpsc::Sender<()>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Option<u32>>,
}

impl Giving {
    /// Asks for a hand-over to the program on disk.
    pub(in crate::server) fn ask(&self) {
        let _ = self.asks.try_send(());
    }

    /// Waits until the service is another process's; `None` when it never will be.
    pub(in crate::server) async fn given(&mut self) -> Option<u32> {
        (&mut self.task).await.unwrap_or_default()
    }

    /// Hands over no more; the process that serves already, if one does.
    pub(in crate::server) async fn stop(&mut self) -> Option<u32> {
        self.stop.send_replace(true);
        self.given().await
    }
}

/// The socket by which another process takes over, bound where none is inherited.
///
/// # Errors
///
/// What was tried, and the kernel's word.
pub fn bind(
    folder: &Path,
    inherited: Option<OwnedFd>,
) -> io::Result<std::os::unix::net::UnixListener> {
    let path = folder.join(SOCKET);
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("listen on {} (hand-over): {error}", path.display()))
    };
    if let Some(socket) = inherited {
        return Ok(socket.into());
    }
    let bound = crate::net::bind(&crate::config::BindAddr::Unix(path.clone()), 1, 8);
    let socket = bound.and_then(|mut bound| {
        bound.sockets.pop().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    });
    let socket = socket.map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(socket.into())
}

impl Giver {
    /// With the socket of [`bind`] in this folder, and the sockets of what is served besides
    /// listeners.
    ///
    /// # Errors
    ///
    /// When the socket cannot be used on this runtime.
    pub fn new(
        socket: std::os::unix::net::UnixListener,
        folder: &Path,
        roles: Vec<Arc<Role>>,
        reloader: Reloader,
        notify: Notify,
    ) -> io::Result<Self> {
        let socket = UnixListener::from_std(socket)?;
        let (path, program) = (folder.join(SOCKET), Program::this());
        Ok(Self { socket, path, program, roles, reloader, notify })
    }

    /// Begins to listen for who asks.
    pub fn start(self) -> Giving {
        let (asks, asked) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(self.run(asked, stopped));
        Giving { asks, stop, task }
    }

    fn state(&self) -> &Arc<State> {
        self.reloader.state()
    }

    /// The socket by which it is asked, as the other process knows it.
    fn named(&self) -> Named {
        let at = crate::config::BindAddr::Unix(self.path.clone());
        Named::role(ROLE, at.to_string())
    }

    fn limit(&self) -> Duration {
        let plan = self.state().plan.load_full();
        plan.map_or(BEGIN, |plan| plan.config.server.hand_over)
    }

    /// Until the service is another process's, or this one is to end.
    async fn run(
        self,
        mut asks: mpsc::Receiver<()>,
        mut stop: watch::Receiver<bool>,
    ) -> Option<u32> {
        loop {
            let caller = tokio::select! {
                biased;
                () = told(&mut stop) => break,
                asked = asks.recv() => match asked {
                    Some(()) => None,
                    None => break,
                },
                caller = self.socket.accept() => match caller {
                    Ok((stream, _)) => Some(stream),
                    Err(error) => {
                        tracing::warn!(%error, "hand-over: accept");
                        tokio::time::sleep(END).await;
                        continue;
                    }
                },
            };
            let stop = stop.clone();
            let mut attempt = Attempt { giver: &self, stop, to: None, keeps_socket: true };
            let done = attempt.run(caller, &mut asks).await;
            let (to, keeps_socket) = (attempt.to.take(), attempt.keeps_socket);
            self.tell(to.clone(), done.as_ref().err().cloned());
            if done.is_ok() {
                if !keeps_socket {
                    let _ = std::fs::remove_file(&self.path);
                }
                return to.map(|(pid, _)| pid);
            }
        }
        let _ = std::fs::remove_file(&self.path);
        None
    }

    /// Whoever calls, as long as that is for this process to answer.
    async fn caller(&self, passed: &AtomicBool) -> Option<UnixStream> {
        poll_fn(|cx| match passed.load(Relaxed) {
            true => Poll::Pending,
            false => self.socket.poll_accept(cx).map(|caller| Some(caller.ok()?.0)),
        })
        .await
    }

    /// What came of it, for the log and for whoever asks.
    fn tell(&self, to: Option<(u32, String)>, why: Option<String>) {
        let counts = &self.state().hand_overs;
        let (pid, version) = to.map_or((None, None), |(pid, version)| (Some(pid), Some(version)));
        match &why {
            None => {
                counts.success.inc();
                tracing::info!(to = pid, version, "hand-over: the other process serves; draining");
            }
            Some(why) => {
                counts.failure.inc();
                tracing::error!(to = pid, "hand-over failed, this process goes on: {why}");
            }
        }
        *counts.last.lock() = Some(HandOver { at: SystemTime::now(), pid, version, why });
    }
}

/// One hand-over.
struct Attempt<'a> {
    giver: &'a Giver,
    stop: watch::Receiver<bool>,
    /// The other process and its version, once they are known.
    to: Option<(u32, String)>,
    /// The other process listens by the same socket to be asked.
    keeps_socket: bool,
}

impl Attempt<'_> {
    /// Hands over to a caller, or to the program on disk where there is none.
    async fn run(
        &mut self,
        caller: Option<UnixStream>,
        asks: &mut mpsc::Receiver<()>,
    ) -> Result<(), String> {
        let deadline = Instant::now() + self.giver.limit();
        let (channel, mut child) = match caller {
            Some(stream) => (Channel::new(stream, WORD), None),
            None => {
                let (stream, child) = self.begin(deadline, asks).await?;
                (Channel::new(stream, WORD), Some(child))
            }
        };
        let (giver, passed, mut channel) = (self.giver, AtomicBool::new(false), channel);
        let done = {
            let giving = self.give(&mut channel, deadline, &passed);
            tokio::pin!(giving);
            loop {
                tokio::select! {
                    biased;
                    done = &mut giving => break done,
                    Some(()) = asks.recv() => busy(),
                    Some(other) = giver.caller(&passed) => refuse(other, UNDER_WAY).await,
                }
            }
        };
        let Err(why) = done else { return Ok(()) };
        let message = Message::Refused { why: why.clone() };
        let _ = tokio::time::timeout(END, channel.send(&message, &[])).await;
        drop(channel);
        match child.as_mut() {
            Some(child) => Err(why + &ended(child).await),
            None => Err(why),
        }
    }

    /// Starts the program and waits for it to call.
    async fn begin(
        &mut self,
        deadline: Instant,
        asks: &mut mpsc::Receiver<()>,
    ) -> Result<(UnixStream, Child), String> {
        if std::process::id() == 1 {
            return Err(
                "this is process 1, and all others end with it: start another container instead"
                    .into(),
            );
        }
        let giver = self.giver;
        let mut child = giver.program.start(&giver.path)?;
        let pid = child.id();
        tracing::info!(pid, program = %giver.program.path().display(), "hand-over: started");
        self.to = pid.map(|pid| (pid, String::new()));
        loop {
            tokio::select! {
                biased;
                () = told(&mut self.stop) => {
                    end(&mut child, pid).await;
                    return Err("this process was told to end".into());
                }
                Some(()) = asks.recv() => busy(),
                caller = giver.socket.accept() => match caller {
                    Ok((stream, _)) if is_of(&stream, pid) => return Ok((stream, child)),
                    Ok((other, _)) => refuse(other, UNDER_WAY).await,
                    Err(error) => return Err(format!("accept: {error}{}", ended(&mut child).await)),
                },
                status = child.wait() => {
                    let status = status.map_or_else(|error| error.to_string(), |s| s.to_string());
                    end_group(pid);
                    return Err(format!(
                        "the new process ended before it called ({status}); what it said is above"
                    ));
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    let how = ended(&mut child).await;
                    return Err(format!(
                        "the new process did not call within server.hand_over{how}"
                    ));
                }
            }
        }
    }

    /// The whole conversation. This process goes on wherever it fails.
    async fn give(
        &mut self,
        channel: &mut Channel,
        deadline: Instant,
        passed: &AtomicBool,
    ) -> Result<(), String> {
        let state = self.giver.state().clone();
        self.greet(channel, deadline).await?;
        // No reload comes between: it waits for the outcome, and where that is good none ever comes.
        let held = self.giver.reloader.hold().await;
        // One that does not read must not hold anything up either.
        let offered = tokio::time::timeout_at(deadline.into(), self.offer(channel, &state)).await;
        let doors = offered.unwrap_or_else(|_| Err(LATE.into()))?;
        let taken = match self.hear(channel, deadline).await? {
            Message::Ready { taken } => taken,
            other => return Err(unexpected(other)),
        };
        // Whoever wants to write or to beat waits for the outcome.
        state.words.held.store(true, Relaxed);
        let mut pen = state.words.pen.lock().await;
        let is_taken = |named: &Named| taken.iter().any(|one| one.is(named));
        let doors: Vec<_> =
            doors.into_iter().filter(|(named, _)| is_taken(named)).map(|(_, door)| door).collect();
        self.keeps_socket = is_taken(&self.giver.named());
        let all = self.giver.roles.iter();
        let roles: Vec<_> = all.filter(|role| is_taken(&role.named())).cloned().collect();
        // Who asks from here on waits for whoever it will be, so that what one of the two answered is
        // never answered otherwise by the other.
        roles.iter().for_each(|role| role.pause(true));
        let outcome = match self.last_words(channel, &state, passed).await {
            Ok(()) => self.prove(channel, &doors).await,
            Err(why) => Err(why),
        };
        if outcome.is_err() {
            passed.store(false, Relaxed);
            roles.iter().for_each(|role| role.pause(false));
            // The other one may have written before it ended.
            if self.to.is_some()
                && let Some(kept) = pen.kept.clone()
            {
                state.reread(&kept);
            }
            state.words.held.store(false, Relaxed);
            return outcome;
        }
        let pid = self.to.as_ref().map_or(0, |(pid, _)| *pid);
        pen.given_to = Some(pid);
        held.for_good();
        state.reach(Stage::Draining);
        self.giver.notify.main_pid(pid);
        let _ = tokio::time::timeout(END, channel.send(&Message::Done, &[])).await;
        Ok(())
    }

    /// Who calls, and whether it may.
    async fn greet(&mut self, channel: &mut Channel, deadline: Instant) -> Result<(), String> {
        let (uid, pid) = channel.peer().map_err(lost)?;
        let own = rustix::process::geteuid().as_raw();
        if uid != own && uid != 0 {
            return Err(format!("user {uid} may not take over from a process of user {own}"));
        }
        // Who calls knows what it has to say.
        let deadline = deadline.min(Instant::now() + BEGIN);
        let (protocol, version, said) = match self.hear(channel, deadline).await? {
            Message::Hello { protocol, version, pid } => (protocol, version, pid),
            other => return Err(unexpected(other)),
        };
        self.to = Some((pid.unwrap_or(said), version.clone()));
        if protocol != PROTOCOL {
            return Err(format!(
                "evenkeel {version} speaks form {protocol} of the hand-over, evenkeel {} form {PROTOCOL}: end this process and start the other instead",
                env!("CARGO_PKG_VERSION"),
            ));
        }
        Ok(())
    }

    /// What is known and every socket. Returns the doors by their names.
    async fn offer(
        &self,
        channel: &mut Channel,
        state: &State,
    ) -> Result<Vec<(Named, Arc<Door>)>, String> {
        let doors: Vec<_> =
            state.doors.lock().iter().map(|(key, door)| (Named::door(key), door.clone())).collect();
        let mut all: Vec<(Named, Vec<OwnedFd>)> = Vec::new();
        for (named, door) in &doors {
            let named = Named { foreign: door.foreign, ..named.clone() };
            all.push((named, door.sockets().map_err(lost)?));
        }
        for role in &self.giver.roles {
            all.push((role.named(), vec![role.socket().map_err(lost)?]));
        }
        let own = self.giver.socket.as_fd().try_clone_to_owned().map_err(lost)?;
        all.push((self.giver.named(), vec![own]));
        let (version, pid) = (env!("CARGO_PKG_VERSION").to_string(), std::process::id());
        let offer = Message::Offer { version, pid, memory: Memory::of(state) };
        channel.send(&offer, &[]).await.map_err(lost)?;
        for (named, sockets) in &all {
            for some in sockets.chunks(FDS) {
                let fds: Vec<_> = some.iter().map(AsFd::as_fd).collect();
                let named = Named { count: fds.len(), ..named.clone() };
                let message = Message::Sockets { sockets: vec![named], more: true };
                channel.send(&message, &fds).await.map_err(lost)?;
            }
        }
        let end = Message::Sockets { sockets: Vec::new(), more: false };
        channel.send(&end, &[]).await.map_err(lost)?;
        Ok(doors)
    }

    /// What is known in the end, and that the other process serves by it.
    async fn last_words(
        &self,
        channel: &mut Channel,
        state: &State,
        passed: &AtomicBool,
    ) -> Result<(), String> {
        let message = Message::Final { memory: Memory::of(state) };
        let said = tokio::time::timeout(BEGIN, channel.send(&message, &[])).await;
        said.unwrap_or_else(|late| Err(late.into())).map_err(lost)?;
        passed.store(true, Relaxed);
        match channel.receive(BEGIN).await.map_err(lost)? {
            Message::Serving => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Listens no more, but could again, until the other process has proved that it lives.
    async fn prove(&mut self, channel: &mut Channel, doors: &[Arc<Door>]) -> Result<(), String> {
        doors.iter().for_each(|door| door.pause(true));
        let heard = tokio::select! {
            heard = tokio::time::timeout(PROOF, channel.next()) => heard,
            () = told(&mut self.stop) => {
                // Whoever stops a service may know this process alone.
                let _ = tokio::time::timeout(END, channel.send(&Message::End, &[])).await;
                return Ok(());
            }
        };
        let why = match heard {
            // It lives, or ends in order.
            Err(_) | Ok(Ok(Message::Bye)) => return Ok(()),
            Ok(Ok(other)) => unexpected(other),
            Ok(Err(error)) => format!("it served and died within {PROOF:?}: {error}"),
        };
        doors.iter().for_each(|door| door.pause(false));
        Err(why)
    }

    /// The other's next word, within the time it has to be ready.
    async fn hear(&mut self, channel: &mut Channel, deadline: Instant) -> Result<Message, String> {
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::select! {
            biased;
            () = told(&mut self.stop) => Err("this process was told to end".into()),
            heard = channel.receive(left) => heard.map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => LATE.into(),
                _ => lost(error),
            }),
        }
    }
}

/// Waits until this process is told to end.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn busy() {
    tracing::warn!("SIGUSR2: a hand-over is under way already");
}

/// Whether a caller is this process.
fn is_of(caller: &UnixStream, pid: Option<u32>) -> bool {
    let peer = caller.peer_cred().ok().and_then(|peer| peer.pid());
    pid.is_some() && peer.and_then(|peer| u32::try_from(peer).ok()) == pid
}

/// Tells a caller why nothing comes of it.
async fn refuse(caller: UnixStream, why: &str) {
    let message = Message::Refused { why: why.into() };
    let _ = tokio::time::timeout(END, Channel::new(caller, WORD).send(&message, &[])).await;
}

/// Ends a child that is of no use, and says how it ended where it did by itself.
async fn ended(child: &mut Child) -> String {
    let pid = child.id();
    match tokio::time::timeout(END, child.wait()).await {
        Ok(Ok(status)) => {
            end_group(pid);
            format!(" ({status})")
        }
        _ => {
            end(child, pid).await;
            " (it was ended)".into()
        }
    }
}

/// Ends a child, and what it started in its turn.
async fn end(child: &mut Child, pid: Option<u32>) {
    end_group(pid);
    let _ = child.start_kill();
    let _ = child.wait().await;
}

/// Ends what is left of the group of processes that [`Program::start`] began.
fn end_group(pid: Option<u32>) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

fn lost(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => "the new process ended before it served".into(),
        _ => error.to_string(),
    }
}

fn unexpected(message: Message) -> String {
    match message {
        Message::Refused { why } => format!("the new process says: {why}"),
        other => format!("the new process said {other:?} out of turn"),
    }
}

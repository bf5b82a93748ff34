//! The side of the process that serves: it hands its sockets and what it knows to another process,
//! and goes on itself wherever that one has problems.
use super::attempt::Attempt;
use super::message::Named;
use super::outcome::{HandOver, Role};
use super::program::Program;
use crate::server::notify::Notify;
use crate::server::reload::Reloader;
use crate::server::state::State;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, SystemTime};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// The name of the socket in the folder `server.state` by which another process takes over.
pub const SOCKET: &str = crate::config::HAND_OVER_SOCKET;
/// The role of that socket.
pub const ROLE: &str = "handover";
/// How long the other process may take to begin to serve once it said that it could.
pub(super) const BEGIN: Duration = Duration::from_secs(10);
/// How long a child that is of no use may take to end by itself, so that its exit can be told.
pub(super) const END: Duration = Duration::from_millis(500);

/// Hands over when it is asked to.
#[derive(Debug)]
pub struct Giver {
    pub(super) socket: UnixListener,
    pub(super) path: PathBuf,
    pub(super) program: Program,
    pub(super) roles: Vec<Arc<Role>>,
    pub(super) reloader: Reloader,
    pub(super) notify: Notify,
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
    let bound = crate::net::bind_private(&crate::config::BindAddr::Unix(path.clone()), 8);
    let socket = bound.and_then(|mut bound| {
        bound.sockets.pop().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    });
    Ok(socket.map_err(failed)?.into())
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

    pub(super) fn state(&self) -> &Arc<State> {
        self.reloader.state()
    }

    /// The socket by which it is asked, as the other process knows it.
    pub(super) fn named(&self) -> Named {
        let at = crate::config::BindAddr::Unix(self.path.clone());
        Named::role(ROLE, at.to_string())
    }

    pub(super) fn limit(&self) -> Duration {
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
            let mut attempt = Attempt::new(&self, stop);
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
    pub(super) async fn caller(&self, passed: &AtomicBool) -> Option<UnixStream> {
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

/// Waits until this process is told to end.
pub(super) async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

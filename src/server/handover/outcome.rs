//! What became of hand-overs, and the sockets that are handed on besides those of listeners.
use super::message::Named;
use crate::drain::Opening;
use crate::metrics::Counter;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;
use tokio::sync::watch;

/// A hand-over that was tried.
#[derive(Clone, Debug)]
pub struct HandOver {
    /// When it was over.
    pub at: SystemTime,
    /// The other process, where it is known.
    pub pid: Option<u32>,
    /// Its version.
    pub version: Option<String>,
    /// Why it failed; `None`: it did not.
    pub why: Option<String>,
}

/// What became of hand-overs, those of the processes before this one too.
#[derive(Debug, Default)]
pub struct HandOvers {
    /// The service went over.
    pub success: Counter,
    /// The process that had it went on.
    pub failure: Counter,
    /// The last one that this process tried.
    pub last: Mutex<Option<HandOver>>,
    /// The process that this one took over from, its version, and when.
    pub from: Mutex<Option<(u32, String, SystemTime)>>,
    /// Those that served before.
    pub older: Older,
}

/// Processes that served before this one and may still drain: what they have in work, they alone know.
#[derive(Debug, Default)]
pub struct Older(Mutex<Vec<(u32, OwnedFd)>>);

impl Older {
    /// Follows them until they end; one that has ended is none.
    pub(in crate::server) fn follow(&self, pids: impl IntoIterator<Item = u32>) {
        for pid in pids {
            let Some(known) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
            match pidfd_open(known, PidfdFlags::empty()) {
                Ok(process) => self.0.lock().push((pid, process)),
                Err(Errno::SRCH) => {}
                Err(error) => {
                    tracing::warn!(pid, %error, "when the process that served before ends is not known");
                }
            }
        }
    }

    /// The process ids of those that have not ended.
    pub fn left(&self) -> Vec<u32> {
        let mut all = self.0.lock();
        all.retain(|(_, process)| {
            // It can be read once the process has ended (pidfd_open(2)).
            let mut look = [PollFd::new(process, PollFlags::IN)];
            !matches!(poll(&mut look, Some(&Timespec::default())), Ok(ended) if ended > 0)
        });
        all.iter().map(|(pid, _)| *pid).collect()
    }
}

/// A socket that is served besides the listeners: `admin`, `metrics`.
#[derive(Debug)]
pub struct Role {
    named: Named,
    socket: OwnedFd,
    opening: watch::Sender<Opening>,
    closed: AtomicBool,
}

impl Role {
    /// `at`: the address as the configuration writes it; `mine`: whether this process takes newcomers
    /// from the beginning, as it does where it bound the socket itself.
    ///
    /// # Errors
    ///
    /// When the socket cannot be had twice.
    pub fn new(role: &str, at: String, socket: &OwnedFd, mine: bool) -> io::Result<Self> {
        let (named, socket) = (Named::role(role, at), socket.try_clone()?);
        let opening = if mine { Opening::Open } else { Opening::Paused };
        let (opening, closed) = (watch::Sender::new(opening), AtomicBool::new(false));
        Ok(Self { named, socket, opening, closed })
    }

    /// Takes newcomers, or leaves them to another process.
    pub fn pause(&self, paused: bool) {
        self.opening.send_replace(if paused { Opening::Paused } else { Opening::Open });
    }

    /// Takes nobody any more, nor does another process: whoever calls is refused.
    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
        self.pause(true);
        // A listening socket ends so, whoever has it open. One that is gone takes nobody either.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Whether it takes newcomers, to be followed by whoever serves it.
    pub fn opening(&self) -> watch::Receiver<Opening> {
        self.opening.subscribe()
    }

    /// Whether it is another process's, still or by now.
    pub fn is_given(&self) -> bool {
        *self.opening.borrow() == Opening::Paused && !self.closed.load(Relaxed)
    }

    pub(super) fn named(&self) -> Named {
        self.named.clone()
    }
    pub(super) fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }
}

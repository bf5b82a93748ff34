//! The side of the new process: it takes over from the one before it.
use super::channel::{Channel, MEMORY};
use super::inherited::Inherited;
use super::message::{Memory, Message, PROTOCOL};
use crate::net::Governed;
use crate::plan::Pools;
use crate::pool::{Change, Pool, State};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, getpgid, getpid, getppid, kill_process, setpgid};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

/// How long the other process may take for a word that it need not think about.
const SOON: Duration = Duration::from_secs(10);

/// How long the first verdicts on backends that the process before did not know may take. Requests
/// wait for them anyway.
const FIRST: Duration = Duration::from_secs(5);
/// How often it is looked for them.
const LOOK: Duration = Duration::from_millis(10);

/// The process before this one, and what it left.
#[derive(Debug)]
pub struct Legacy {
    channel: Channel,
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    pub(in crate::server) memory: Memory,
}

/// Why the other process did not let go.
#[derive(Debug)]
pub(in crate::server) enum Undone {
    /// It serves again.
    TakenBack(String),
    /// It is not heard of any more, or ends: this process is the one that serves.
    Lost(String),
}

impl Legacy {
    /// Finds the process that serves by its socket, and is given its sockets. It goes on serving.
    ///
    /// # Errors
    ///
    /// What went wrong, or why it refuses.
    pub async fn connect(socket: &Path) -> Result<(Self, Inherited), String> {
        let shown = socket.display();
        let stream = UnixStream::connect(socket).await.map_err(|error| {
            format!(
                "take over: connect to {shown}: {error}; where nobody serves yet, start without --take-over"
            )
        })?;
        let failed = |error: std::io::Error| format!("take over by {shown}: {error}");
        let mut channel = Channel::new(stream, MEMORY);
        let (version, pid) = (env!("CARGO_PKG_VERSION").to_string(), std::process::id());
        let hello = Message::Hello { protocol: PROTOCOL, version, pid };
        // One that refuses at once says so before it hears anything.
        let said = channel.send(&hello, &[]).await;
        let (version, pid, memory) = match channel
            .receive(SOON)
            .await
            .map_err(|lost| said.err().unwrap_or(lost))
            .map_err(failed)?
        {
            Message::Offer { version, pid, memory } => (version, pid, memory),
            other => return Err(unexpected(other)),
        };
        let mut inherited = Inherited::default();
        loop {
            let Message::Sockets { sockets, more } = channel.receive(SOON).await.map_err(failed)?
            else {
                return Err("take over: it sent no sockets".into());
            };
            for named in sockets {
                let sockets = channel.descriptors(named.count).map_err(failed)?;
                inherited.add(Some(named), sockets).map_err(failed)?;
            }
            if !more {
                break;
            }
        }
        tracing::info!(from = pid, %version, "taking over");
        Ok((Self { channel, pid, version, memory }, inherited))
    }

    /// Says why nothing comes of it, so that the other process can.
    pub async fn refuse(mut self, why: &str) {
        let message = Message::Refused { why: why.into() };
        let _ = tokio::time::timeout(SOON, self.channel.send(&message, &[])).await;
    }

    /// This process could serve: from here on the other one says nothing that is not in
    /// [`Self::memory`].
    pub(in crate::server) async fn ready(
        &mut self,
        inherited: &Mutex<Inherited>,
        governed: Governed,
    ) -> Result<(), String> {
        let taken = inherited.lock().taken();
        self.say(&Message::Ready { taken, governed }).await?;
        match self.hear().await? {
            Message::Final { memory } => self.memory = memory,
            other => return Err(unexpected(other)),
        }
        Ok(())
    }

    /// Tells pools what it knew of their backends.
    pub(in crate::server) fn recall(&self, pools: &Pools) {
        for (name, pool) in pools {
            if let Some(verdicts) = self.memory.verdicts(name) {
                pool.apply(Change::Remembered(verdicts.clone()), Instant::now());
                pool.publish(Instant::now());
            }
        }
    }

    /// This process serves.
    pub(in crate::server) async fn serving(&mut self) -> Result<(), String> {
        self.say(&Message::Serving).await
    }

    /// Waits until the other process holds on to nothing any more, and tells it meanwhile that this one
    /// lives, once `alive` says so. Where that one is told to end before, this one is told, too: by
    /// SIGTERM, as if it had come from outside.
    pub(in crate::server) async fn done<F: Future<Output = ()>>(
        &mut self,
        alive: impl Fn() -> F,
    ) -> Result<(), Undone> {
        loop {
            match self.hear().await.map_err(Undone::Lost)? {
                Message::Alive => {
                    alive().await;
                    // Where nobody hears it any more, its last word says why.
                    let _ = self.say(&Message::Alive).await;
                }
                Message::Done => {
                    self.join_group();
                    return Ok(());
                }
                Message::End => {
                    let told = kill_process(getpid(), Signal::TERM);
                    told.map_err(|error| Undone::Lost(format!("end: {error}")))?;
                    let pid = self.pid;
                    let why = format!("process {pid}, which served before, was told to end");
                    return Err(Undone::Lost(why));
                }
                Message::Refused { why } => {
                    let pid = self.pid;
                    return Err(Undone::TakenBack(format!(
                        "take over: process {pid} serves again: {why}"
                    )));
                }
                other => return Err(Undone::Lost(unexpected(other))),
            }
        }
    }

    /// This process ends, in order.
    pub(in crate::server) async fn bye(&mut self) {
        let _ = self.say(&Message::Bye).await;
    }

    /// Where the other process started this one in a group of its own, it comes back to that one's:
    /// what a terminal or a supervisor says to the group is meant for who serves.
    fn join_group(&self) {
        let other = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(other) = other.filter(|other| getppid() == Some(*other)) {
            let joined = getpgid(Some(other)).and_then(|group| setpgid(None, Some(group)));
            if let Err(error) = joined {
                tracing::warn!(%error, "take over: it stays in a group of processes of its own");
            }
        }
    }

    async fn say(&mut self, message: &Message) -> Result<(), String> {
        let said = self.channel.send(message, &[]).await;
        said.map_err(|error| self.lost(&error))
    }

    async fn hear(&mut self) -> Result<Message, String> {
        let heard = self.channel.receive(SOON).await;
        heard.map_err(|error| self.lost(&error))
    }

    fn lost(&self, error: &std::io::Error) -> String {
        format!("take over: process {}, which serves, was not heard of any more: {error}", self.pid)
    }
}

fn unexpected(message: Message) -> String {
    match message {
        Message::Refused { why } => format!("take over: the process that serves says no: {why}"),
        other => {
            format!("take over: the process that serves said {} out of turn", other.word())
        }
    }
}

/// Waits until each pool has somebody who works, or the first word on everybody: for a pool that the
/// process before did not have.
pub(in crate::server) async fn first_verdicts(pools: &Pools) {
    let begun = Instant::now();
    while begun.elapsed() < FIRST && !pools.values().all(|pool| !pool.is_out() || is_heard(pool)) {
        tokio::time::sleep(LOOK).await;
    }
}

fn is_heard(pool: &Pool) -> bool {
    let mut heard = true;
    pool.glance(|at| heard &= at.removed.is_some() || at.state != State::Unknown);
    heard
}

//! One hand-over: what is said to the other process, in which order, and what is done where it fails.
use super::channel::{Channel, FDS};
use super::giver::{BEGIN, END, Giver, told};
use super::message::{Memory, Message, Named, PROTOCOL};
use super::program::{end, end_group, ended};
use crate::server::door::Door;
use crate::server::state::{Stage, State};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};

/// The other process must live for so long, serving, before this one lets go: until then this one
/// would only have to listen again.
const PROOF: Duration = Duration::from_secs(1);
/// It is asked so often whether it does, and answers within so long: meanwhile nobody takes who comes.
const ASK: Duration = Duration::from_millis(200);
const ANSWER: Duration = Duration::from_secs(2);
/// The longest word of a caller: the addresses that it takes, or all that is wrong with its file. So
/// much anybody who may call can have this process hold.
const WORD: usize = 1 << 20;
/// Why it failed, where nothing came.
const LATE: &str = "the new process was not ready within server.hand_over";
/// A file that shares no address with this one's, nor `server.state`, takes over from nobody.
const NOTHING: &str = "the new process takes none of the sockets of this one, not even that of the \
    hand-over: is server.state another folder? End this process and start the other instead";
/// What a caller is told meanwhile.
const UNDER_WAY: &str = "a hand-over to another process is under way";

/// One hand-over.
pub(super) struct Attempt<'a> {
    giver: &'a Giver,
    stop: watch::Receiver<bool>,
    /// The other process and its version, once they are known.
    pub(super) to: Option<(u32, String)>,
    /// The other process listens by the same socket to be asked.
    pub(super) keeps_socket: bool,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(giver: &'a Giver, stop: watch::Receiver<bool>) -> Self {
        Self { giver, stop, to: None, keeps_socket: true }
    }

    /// Hands over to a caller, or to the program on disk where there is none.
    pub(super) async fn run(
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
        giver.state().follow_folder().await;
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
        let (taken, governed) = match self.hear(channel, deadline).await? {
            // Then it could serve nobody who comes to where this one listens.
            Message::Ready { taken, .. } if taken.is_empty() => return Err(NOTHING.into()),
            Message::Ready { taken, governed } => (taken, governed),
            other => return Err(unexpected(other)),
        };
        // Whoever wants to write or to beat waits for the outcome.
        state.words.held.store(true, Relaxed);
        let mut pen = state.words.pen.lock().await;
        let is_taken = |named: &Named| taken.iter().any(|one| one.is(named));
        let doors: Vec<_> =
            doors.into_iter().filter(|(named, _)| is_taken(named)).map(|(_, door)| door).collect();
        self.keeps_socket = is_taken(&self.giver.named());
        let (roles, others): (Vec<_>, Vec<_>) =
            self.giver.roles.iter().partition(|role| is_taken(&role.named()));
        // What is still served here leads to nobody who governs the next one, from before that serves.
        state.off_limits.also(Some(governed.clone()));
        // Who asks from here on waits for whoever it will be, so that what one of the two answered is
        // never answered otherwise by the other.
        roles.iter().for_each(|role| role.pause(true));
        state.events.give(true);
        let outcome = match self.last_words(channel, &state, passed).await {
            Ok(()) => self.prove(channel, &doors).await,
            Err(why) => Err(why),
        };
        if outcome.is_err() {
            passed.store(false, Relaxed);
            state.off_limits.also(None);
            roles.iter().for_each(|role| role.pause(false));
            state.events.give(false);
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
        state.off_limits.given(governed);
        held.for_good();
        // What nobody took would lead to the API of a process that nobody asks for.
        others.iter().for_each(|role| role.close());
        state.reach(Stage::Draining);
        self.giver.notify.main_pid(pid);
        let _ = tokio::time::timeout(END, channel.send(&Message::Done, &[])).await;
        Ok(())
    }

    /// Who calls, and whether it may.
    async fn greet(&mut self, channel: &mut Channel, deadline: Instant) -> Result<(), String> {
        let (uid, pid) = channel.peer().map_err(lost)?;
        let older = self.giver.state().hand_overs.older.left();
        let own = (rustix::process::geteuid().as_raw(), std::process::id());
        may_take_over((uid, pid), own, &older)?;
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
        let lives = tokio::select! {
            lives = lives(channel) => lives,
            () = told(&mut self.stop) => {
                // Whoever stops a service may know this process alone.
                let _ = tokio::time::timeout(END, channel.send(&Message::End, &[])).await;
                return Ok(());
            }
        };
        if lives.is_err() {
            doors.iter().for_each(|door| door.pause(false));
        }
        lives
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

/// Asks the other process whether it lives, until it has for long enough, or ends in order.
async fn lives(channel: &mut Channel) -> Result<(), String> {
    let died = |error| format!("it served and died within {PROOF:?}: {error}");
    let begun = Instant::now();
    loop {
        let asked = tokio::time::timeout(ANSWER, async {
            channel.send(&Message::Alive, &[]).await?;
            channel.next().await
        });
        match asked.await {
            Ok(Ok(Message::Alive)) if begun.elapsed() >= PROOF => return Ok(()),
            Ok(Ok(Message::Alive)) => {}
            Ok(Ok(Message::Bye)) => return Ok(()),
            Ok(Ok(other)) => return Err(unexpected(other)),
            Ok(Err(error)) => return Err(died(error)),
            Err(_) => {
                return Err(format!(
                    "it served, and did not say within {ANSWER:?} that all its threads live"
                ));
            }
        }
        match tokio::time::timeout(ASK, channel.next()).await {
            Err(_) => {}
            Ok(Ok(Message::Bye)) => return Ok(()),
            Ok(Ok(other)) => return Err(unexpected(other)),
            Ok(Err(error)) => return Err(died(error)),
        }
    }
}

/// Whether a user's process may take over from this one.
fn may_take_over(
    (uid, pid): (u32, Option<u32>),
    (own, this): (u32, u32),
    older: &[u32],
) -> Result<(), String> {
    if pid.is_some_and(|pid| pid == this || older.contains(&pid)) {
        return Err(
            "it came from this very process, or one before it, by way of a backend of its own"
                .into(),
        );
    }
    if uid != own && uid != 0 {
        return Err(format!("user {uid} may not take over from a process of user {own}"));
    }
    Ok(())
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
        other => format!("the new process said {} out of turn", other.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_s_processes_and_root_s_may_take_over_but_not_this_one() {
        let own = (1000, 7);
        for (uid, pid, may) in [
            (1000, Some(8), true),
            (0, Some(8), true),
            (1000, None, true),
            (1001, Some(8), false),
            (1000, Some(7), false),
            (0, Some(7), false),
            (1000, Some(6), false),
        ] {
            assert_eq!(may_take_over((uid, pid), own, &[6]).is_ok(), may, "{uid} {pid:?}");
        }
    }
}

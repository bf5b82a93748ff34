//! Signals: each served or logged from the first moment, none kills by default.
use super::handover::Giving;
use super::outcome;
use super::reload::Reloader;
use super::report::ReloadError;
use super::watch::{Edits, LOOK};
use crate::config::{self, Sources};
use std::io;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals, caught from when this is made.
pub struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Catches them. Call it first thing, on the control runtime.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for SIGTERM or SIGINT, while the process ends. After a hand-over `again` of them, so
    /// that what ends the whole service lets this process drain, too.
    pub async fn told_to_end(&mut self, reloader: &Reloader, again: bool) {
        let mut again = again;
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hang_up.recv() => {
                    tracing::warn!("SIGHUP: not reloading while draining");
                    continue;
                }
                _ = self.user1.recv() => {
                    reopen(reloader);
                    continue;
                }
                _ = self.user2.recv() => {
                    tracing::warn!("SIGUSR2: this process drains, it has nothing to hand over");
                    continue;
                }
            };
            if !std::mem::take(&mut again) {
                return tracing::warn!("{name} again: ending at once");
            }
            tracing::info!("{name}: draining already");
        }
    }
}

/// Why signals are served no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The process was told to end.
    Told,
    /// The service is another process's.
    HandedOver,
}

/// Serves signals and edits of the file until the process is told to end.
pub async fn until_stopped(signals: &mut Signals, reloader: &Reloader, path: &Path) {
    until_over(signals, reloader, path, None).await;
}

/// As [`until_stopped`], or until the service is another process's. `giving`: how it hands over, where
/// it can.
pub async fn until_over(
    signals: &mut Signals,
    reloader: &Reloader,
    path: &Path,
    mut giving: Option<Giving>,
) -> Ending {
    let plan = reloader.state().plan.load_full();
    let sources = plan.map_or_else(Sources::default, |plan| plan.config.sources.clone());
    let mut edits = Edits::of(path, &sources, LOOK);
    loop {
        match next_cause(signals, reloader, &mut edits, &mut giving).await {
            Next::Reload(cause) => {
                if cause == Cause::Signal {
                    tracing::info!("SIGHUP: reloading");
                }
                reload(reloader, path, cause, &mut edits).await;
            }
            Next::End(name) => {
                let given = match &mut giving {
                    Some(giving) => giving.stop().await,
                    None => None,
                };
                match given {
                    Some(pid) => {
                        tracing::info!(
                            "{name}: process {pid}, which serves already, ends too; draining"
                        );
                        return Ending::HandedOver;
                    }
                    None => tracing::info!("{name}: draining"),
                }
                return Ending::Told;
            }
            Next::Given => return Ending::HandedOver,
        }
    }
}

/// What is to be done next.
enum Next {
    Reload(Cause),
    /// By which signal.
    End(&'static str),
    Given,
}

/// Waits for a reason to read the file again or to end, serving what else is signalled.
async fn next_cause(
    signals: &mut Signals,
    reloader: &Reloader,
    edits: &mut Edits,
    giving: &mut Option<Giving>,
) -> Next {
    // One wait for edits, however often something else is signalled meanwhile.
    let mut changed = std::pin::pin!(edits.changed());
    let mut waits = None;
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Next::End("SIGTERM"),
            _ = signals.interrupt.recv() => return Next::End("SIGINT"),
            _ = signals.hang_up.recv() => waits = Some(Cause::Signal),
            _ = signals.user1.recv() => reopen(reloader),
            _ = signals.user2.recv() => match giving {
                Some(giving) => giving.ask(),
                None => tracing::warn!("SIGUSR2: this process has no socket to be asked by: it cannot hand over"),
            },
            () = &mut changed, if waits.is_none() => waits = Some(Cause::Edit),
            given = given(giving) => match given {
                Some(_) => return Next::Given,
                None => *giving = None,
            },
            () = reloader.idle(), if waits.is_some() => {}
        }
        // While it is open which process serves, nothing changes in this one.
        if let Some(cause) = waits.filter(|_| reloader.is_idle()) {
            return Next::Reload(cause);
        }
    }
}

/// Waits until the service is another process's.
async fn given(giving: &mut Option<Giving>) -> Option<u32> {
    match giving {
        Some(giving) => giving.given().await,
        None => std::future::pending().await,
    }
}

fn reopen(reloader: &Reloader) {
    tracing::info!("SIGUSR1: reopening the access log");
    reloader.state().telemetry.access.reopen();
}

/// Why the file is read again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Somebody asked, and waits for an answer.
    Signal,
    /// It seems to have been edited.
    Edit,
}

/// Reads the file and takes it into force, or says why not: one line for the event.
async fn reload(reloader: &Reloader, path: &Path, cause: Cause, edits: &mut Edits) {
    let path: PathBuf = path.to_path_buf();
    let loaded = tokio::task::spawn_blocking(move || config::load_with_sources(&path)).await;
    let (before, asked) = (reloader.generation(), cause == Cause::Signal || was_refused(reloader));
    let (result, sources) = match loaded {
        Ok((Ok(config), sources)) => (reloader.apply(config).await, sources),
        Ok((Err(problems), sources)) => {
            reloader.refused(&problems);
            (Err(ReloadError::Problems(problems)), sources)
        }
        Err(error) => return tracing::error!(%error, "reload: reading the file panicked"),
    };
    match &result {
        Ok(_) => edits.follow(&sources),
        Err(_) => edits.follow_too(&sources),
    }
    outcome::log(&result, before, asked);
}

/// Whether the last reload was refused: its line must not stay the last word.
fn was_refused(reloader: &Reloader) -> bool {
    reloader.state().last.lock().as_ref().is_some_and(|last| !last.problems.is_empty())
}

//! Signals: each served or logged from the first moment, none kills by default.
use super::reload::Reloader;
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

    /// Waits for SIGTERM or SIGINT, while the process ends.
    pub async fn told_to_end(&mut self, reloader: &Reloader) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return tracing::warn!("SIGTERM again: ending at once"),
                _ = self.interrupt.recv() => return tracing::warn!("SIGINT again: ending at once"),
                _ = self.hang_up.recv() => tracing::warn!("SIGHUP: not reloading while draining"),
                _ = self.user1.recv() => reopen(reloader),
                _ = self.user2.recv() => hand_over(),
            }
        }
    }
}

/// Serves signals and edits of the file until the process is told to end.
pub async fn until_stopped(signals: &mut Signals, reloader: &Reloader, path: &Path) {
    let plan = reloader.state().plan.load_full();
    let sources = plan.map_or_else(Sources::default, |plan| plan.config.sources.clone());
    let mut edits = Edits::of(path, &sources, LOOK);
    while let Some(cause) = next_cause(signals, reloader, &mut edits).await {
        if cause == Cause::Signal {
            tracing::info!("SIGHUP: reloading");
        }
        reload(reloader, path, cause, &mut edits).await;
    }
}

/// Waits for a reason to read the file again, serving what else is signalled; `None`: to end.
async fn next_cause(
    signals: &mut Signals,
    reloader: &Reloader,
    edits: &mut Edits,
) -> Option<Cause> {
    // One wait for edits, however often something else is signalled meanwhile.
    let mut changed = std::pin::pin!(edits.changed());
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => {
                tracing::info!("SIGTERM: draining");
                return None;
            }
            _ = signals.interrupt.recv() => {
                tracing::info!("SIGINT: draining");
                return None;
            }
            _ = signals.hang_up.recv() => return Some(Cause::Signal),
            _ = signals.user1.recv() => reopen(reloader),
            _ = signals.user2.recv() => hand_over(),
            () = &mut changed => return Some(Cause::Edit),
        }
    }
}

fn reopen(reloader: &Reloader) {
    tracing::info!("SIGUSR1: reopening the access log");
    reloader.state().access.reopen();
}

fn hand_over() {
    tracing::warn!("SIGUSR2: hand-over to a new binary is not built yet");
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
    let (config, sources) = match loaded {
        Ok((Ok(config), sources)) => (config, sources),
        Ok((Err(problems), sources)) => {
            reloader.refused(&problems);
            edits.follow_too(&sources);
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return tracing::error!("reload refused, the old plan runs on: {}", lines.join(" | "));
        }
        Err(error) => return tracing::error!(%error, "reload: reading the file panicked"),
    };
    let (before, asked) = (reloader.generation(), cause == Cause::Signal || was_refused(reloader));
    match reloader.apply(config).await {
        Ok(report) if report.generation == before => {
            edits.follow(&sources);
            if asked {
                tracing::info!(
                    generation = before,
                    "nothing changed: the running plan is the file's"
                );
            }
        }
        Ok(report) => {
            edits.follow(&sources);
            tracing::info!(
                generation = report.generation,
                added = names(&report.added),
                changed = names(&report.changed),
                removed = names(&report.removed),
                kept = report.kept,
                needs_restart = names(&report.needs_restart),
                "reloaded"
            );
        }
        Err(error) => {
            edits.follow_too(&sources);
            let said = error.to_string().replace('\n', " | ");
            tracing::error!("reload refused, the old plan runs on: {said}");
        }
    }
}

/// Whether the last reload was refused: its line must not stay the last word.
fn was_refused(reloader: &Reloader) -> bool {
    reloader.state().last.lock().as_ref().is_some_and(|last| !last.problems.is_empty())
}

/// The first of them: ten thousand backends are no line of a log.
fn names(all: &[String]) -> String {
    const MOST: usize = 20;
    let first = all.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(MOST) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

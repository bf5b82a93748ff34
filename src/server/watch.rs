//! Hears of edits: a watch on the folders of every file that was read, and a look every 5 s, since
//! network and overlay file systems lose events.
use super::state::State;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A file counts as written when two reads so far apart are equal: an editor or a copy may be in
/// the middle of it.
const SETTLED: Duration = Duration::from_millis(200);
/// Reads of a file that never settles.
const READS: usize = 50;
const LOOK: Duration = Duration::from_secs(5);

/// The files a plan came from.
pub(super) struct Edits {
    main: PathBuf,
    files: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
    /// What the files said when they were last read; `None` when that is not known.
    seen: Option<u64>,
    watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<()>,
}

impl Edits {
    /// Watches what the plan in force was read from.
    pub(super) fn of(main: &Path, state: &Arc<State>) -> Self {
        let (tell, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own look at a file is an access too: taken for an edit it would feed itself.
            if event.is_ok_and(|event| event.kind.is_access()) {
                return;
            }
            // One waiting event says as much as a hundred.
            let _ = tell.try_send(());
        });
        let watcher = watcher
            .inspect_err(
                |error| tracing::warn!(%error, "no file watch; files are looked at every 5 s"),
            )
            .ok();
        let mut edits = Self {
            main: main.to_path_buf(),
            files: Vec::new(),
            folders: BTreeSet::new(),
            seen: None,
            watcher,
            events,
        };
        edits.follow(state);
        edits
    }

    /// Watches what the plan in force was read from, from here on.
    pub(super) fn follow(&mut self, state: &Arc<State>) {
        let watched =
            state.plan.load_full().map_or_else(Vec::new, |plan| plan.config.watched.clone());
        let mut files = watched;
        files.push(self.main.clone());
        files.sort();
        files.dedup();
        if files == self.files {
            return;
        }
        // Others than before: what they said when they were read is not known, so they are read
        // once more; an equal configuration changes nothing.
        self.seen = None;
        self.files = files;
        let folders: BTreeSet<PathBuf> = self.files.iter().map(|file| folder(file)).collect();
        if let Some(watcher) = &mut self.watcher {
            for folder in folders.difference(&self.folders) {
                if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    tracing::warn!(%error, folder = %folder.display(), "no watch; it is looked at every 5 s");
                }
            }
            for folder in self.folders.difference(&folders) {
                let _ = watcher.unwatch(folder);
            }
        }
        self.folders = folders;
    }

    /// Waits until a file changed and stands still.
    pub(super) async fn changed(&mut self) {
        loop {
            let _ = tokio::time::timeout(LOOK, self.events.recv()).await;
            let mut last = fingerprint(&self.files);
            if self.seen == Some(last) {
                continue;
            }
            // Built-in words have no file; one may be written later.
            if self.seen.is_none() && !self.main.exists() {
                self.seen = Some(last);
                continue;
            }
            for _ in 0..READS {
                tokio::time::sleep(SETTLED).await;
                let next = fingerprint(&self.files);
                if next == last {
                    break;
                }
                last = next;
            }
            self.seen = Some(last);
            return;
        }
    }
}

fn folder(file: &Path) -> PathBuf {
    if file.is_dir() {
        return file.to_path_buf();
    }
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// What the files say and which there are: contents, not times, so that a touched file is no edit.
fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        if file.is_dir() {
            let entries =
                std::fs::read_dir(file).into_iter().flatten().flatten().map(|entry| entry.path());
            let mut entries: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
            entries.sort();
            for entry in entries {
                entry.hash(&mut hasher);
                std::fs::read(&entry).ok().hash(&mut hasher);
            }
        } else {
            std::fs::read(file).ok().hash(&mut hasher);
        }
    }
    hasher.finish()
}

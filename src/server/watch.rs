//! Hears of edits: a watch on the folders in which an edit of the configuration shows, and a look
//! every 5 s, since network and overlay file systems lose events. Reads the files of the
//! configuration and no others.
use crate::config::{Contents, Folders, Names, Sources};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A file counts as written when two reads so far apart are equal: an editor or a copy may be in
/// the middle of it.
const SETTLED: Duration = Duration::from_millis(200);
/// Reads of a file that never settles.
const READS: usize = 50;
/// How often files are looked at that nobody tells of.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// The files a plan came from.
pub(super) struct Edits {
    main: PathBuf,
    sources: Arc<Sources>,
    folders: Folders,
    /// What the files said when they were last read.
    seen: Contents,
    watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<()>,
    /// What events must name to be heard.
    names: Arc<Mutex<Names>>,
    look: Duration,
}

impl Edits {
    /// Watches what a configuration was read from; looks each so often whether it was edited.
    pub(super) fn of(main: &Path, sources: &Sources, look: Duration) -> Self {
        let (tell, events) = mpsc::channel(1);
        let names = Arc::new(Mutex::new(Names::default()));
        let heard = names.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| concerns(&event, &heard.lock())) {
                // One waiting event says as much as a hundred.
                let _ = tell.try_send(());
            }
        });
        let watcher = watcher
            .inspect_err(
                |error| tracing::warn!(%error, "no file watch; files are looked at every 5 s"),
            )
            .ok();
        let mut edits = Self {
            main: main.to_path_buf(),
            sources: Arc::default(),
            folders: Folders::new(),
            seen: Contents::new(),
            watcher,
            events,
            names,
            look,
        };
        edits.follow(sources);
        edits
    }

    /// Watches what a configuration was read from, from here on.
    pub(super) fn follow(&mut self, sources: &Sources) {
        self.seen.clear();
        sources.note(&mut self.seen);
        self.places(sources);
    }

    /// As [`follow`](Self::follow), and all that was watched before: the old plan runs on.
    pub(super) fn follow_too(&mut self, sources: &Sources) {
        sources.note(&mut self.seen);
        self.places(&sources.clone().and(&self.sources));
    }

    fn places(&mut self, sources: &Sources) {
        // Built-in words have no file; one may be written later.
        let sources = Sources::of(&self.main).and(sources);
        if *self.sources != sources {
            self.sources = Arc::new(sources);
            self.watch();
        }
    }

    /// Watches each folder as what it is at this moment: one that was replaced, or that a link
    /// led elsewhere, is another under the same name.
    fn watch(&mut self) {
        let folders = self.sources.folders();
        *self.names.lock() = self.sources.names();
        let before = std::mem::replace(&mut self.folders, folders);
        let Some(watcher) = &mut self.watcher else { return };
        let other = |(folder, id): &(&PathBuf, &_), than: &Folders| than.get(*folder) != Some(*id);
        for (folder, _) in before.iter().filter(|one| other(one, &self.folders)) {
            let _ = watcher.unwatch(folder);
        }
        for (folder, _) in self.folders.iter().filter(|one| other(one, &before)) {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::warn!(%error, folder = %folder.display(), "no watch; it is looked at every 5 s");
            }
        }
    }

    /// What the files say, read where waiting for a disk holds nobody up.
    async fn contents(&self) -> Contents {
        let sources = self.sources.clone();
        tokio::task::spawn_blocking(move || sources.contents()).await.unwrap_or_default()
    }

    /// Waits until a file changed and stands still.
    pub(super) async fn changed(&mut self) {
        loop {
            let _ = tokio::time::timeout(self.look, self.events.recv()).await;
            // Folders first: what changes in them after the look below is heard of.
            self.watch();
            let mut last = self.contents().await;
            if self.seen == last {
                // Whatever goes on in the folders, the files are not read more often than this.
                tokio::time::sleep(SETTLED).await;
                continue;
            }
            for _ in 0..READS {
                tokio::time::sleep(SETTLED).await;
                let next = self.contents().await;
                if next == last {
                    break;
                }
                last = next;
            }
            self.seen = last;
            return;
        }
    }
}

/// Whether an event may be an edit of the configuration.
fn concerns(event: &Event, names: &Names) -> bool {
    // Our own look at a file is an access too: taken for an edit it would feed itself.
    if event.kind.is_access() {
        return false;
    }
    // What happened to a watched folder itself is told by its whole path; an event without one
    // says that others were lost.
    let known = |path: &PathBuf| path.file_name().is_none_or(|name| names.has(name));
    event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// So long that only what is heard of counts.
    const NEVER: Duration = Duration::from_secs(3600);
    const WEB: &str = "[listener.web]\nbind = \"127.0.0.1:0\"\n";

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn edits(main: &Path) -> Edits {
        let (config, sources) = crate::config::load_with_sources(main);
        config.unwrap();
        Edits::of(main, &sources, NEVER)
    }

    #[track_caller]
    fn heard(what: &str, edits: &mut Edits) -> impl Future<Output = ()> {
        let what = what.to_string();
        async move {
            let heard = tokio::time::timeout(Duration::from_secs(60), edits.changed()).await;
            assert!(heard.is_ok(), "{what} is not heard of");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_release_that_is_switched_is_heard_of() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("releases/1/etc/proxy.toml"), WEB);
        write(&at("releases/2/etc/proxy.toml"), &format!("# another\n{WEB}"));
        write(&at("releases/3/etc/proxy.toml"), &format!("# a third\n{WEB}"));
        symlink("releases/1", at("current")).unwrap();
        let mut edits = edits(&at("current/etc/proxy.toml"));
        for release in ["2", "3"] {
            symlink(at("releases").join(release), at("next")).unwrap();
            std::fs::rename(at("next"), at("current")).unwrap();
            heard(release, &mut edits).await;
        }
        // The folder that is reached by now is watched, too.
        write(&at("releases/3/etc/proxy.toml"), &format!("# edited\n{WEB}"));
        heard("an edit of the third", &mut edits).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_include_folder_that_is_replaced_is_heard_of() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("proxy.toml"), &format!("include = [\"conf.d/*.toml\"]\n{WEB}"));
        write(&at("conf.d/a.toml"), "");
        let mut edits = edits(&at("proxy.toml"));
        write(&at("new/a.toml"), "# new");
        std::fs::rename(at("conf.d"), at("old")).unwrap();
        std::fs::rename(at("new"), at("conf.d")).unwrap();
        heard("the new folder", &mut edits).await;
        write(&at("conf.d/a.toml"), "# edited");
        heard("an edit in it", &mut edits).await;
        std::fs::remove_dir_all(at("conf.d")).unwrap();
        heard("its end", &mut edits).await;
        write(&at("conf.d/b.toml"), "");
        heard("another of its name", &mut edits).await;
        write(&at("conf.d/b.toml"), "# edited");
        heard("an edit in that", &mut edits).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_edit_is_heard_beside_files_that_never_stand_still() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("proxy.toml"), &format!("include = [\"*.inc.toml\"]\n{WEB}"));
        let mut edits = edits(&at("proxy.toml"));
        let (log, stop) = (at("access.log"), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let until = stop.clone();
        let writer = std::thread::spawn(move || {
            let mut n = 0;
            while !until.load(std::sync::atomic::Ordering::Relaxed) {
                n += 1;
                std::fs::write(&log, n.to_string()).unwrap();
            }
        });
        write(&at("a.inc.toml"), "[pool.a]\nbackends = []\n");
        let begun = std::time::Instant::now();
        heard("the included file", &mut edits).await;
        // It settles at once, long before all reads of one that never does.
        assert!(begun.elapsed() < SETTLED * READS as u32, "{:?}", begun.elapsed());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_read_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("proxy.toml"), &format!("\u{feff}include = [\"*.inc.toml\"]\n{WEB}"));
        write(&at("a.inc.toml"), "[pool.a]\nbackends = []\n");
        let mut edits = edits(&at("proxy.toml"));
        assert_eq!(edits.seen, edits.contents().await);
        // Refused: what it said is known all the same, also of a file that can be read no more.
        write(&at("proxy.toml"), "nonsense");
        std::fs::remove_file(at("a.inc.toml")).unwrap();
        heard("the edit", &mut edits).await;
        let (refused, sources) = crate::config::load_with_sources(&at("proxy.toml"));
        assert!(refused.is_err());
        edits.follow_too(&sources);
        assert_eq!(edits.seen, edits.contents().await);
        // So it is of what is no text, of what is gone, and of what comes back.
        std::fs::write(at("proxy.toml"), [0xff, 0xfe]).unwrap();
        let reload = |edits: &mut Edits| {
            let (refused, sources) = crate::config::load_with_sources(&at("proxy.toml"));
            assert!(refused.is_err());
            edits.follow_too(&sources);
        };
        reload(&mut edits);
        assert_eq!(edits.seen, edits.contents().await);
        std::fs::remove_file(at("proxy.toml")).unwrap();
        reload(&mut edits);
        assert_eq!(edits.seen, edits.contents().await);
        write(&at("proxy.toml"), "nonsense");
        heard("what was there before is back", &mut edits).await;
        // An edit that came after it was read is one.
        write(&at("proxy.toml"), WEB);
        edits.follow_too(&sources);
        assert_ne!(edits.seen, edits.contents().await);
        heard("the mended one", &mut edits).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_match_that_cannot_be_read_is_heard_of_when_it_comes_and_when_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("proxy.toml"), &format!("include = [\"conf.d/*.toml\"]\n{WEB}"));
        write(&at("conf.d/a.toml"), "[pool.a]\nbackends = []\n");
        let mut edits = edits(&at("proxy.toml"));
        let reload = |edits: &mut Edits| {
            let (config, sources) = crate::config::load_with_sources(&at("proxy.toml"));
            match &config {
                Ok(_) => edits.follow(&sources),
                Err(_) => edits.follow_too(&sources),
            }
            config.is_ok()
        };
        symlink("nowhere", at("conf.d/z.toml")).unwrap();
        heard("a link to nowhere", &mut edits).await;
        assert!(!reload(&mut edits));
        assert_eq!(edits.seen, edits.contents().await, "once is enough");
        // Another comes, a good one goes: what is gone is known by the reading that was refused.
        symlink("nowhere", at("conf.d/y.toml")).unwrap();
        std::fs::remove_file(at("conf.d/a.toml")).unwrap();
        assert!(!reload(&mut edits));
        assert_eq!(edits.seen, edits.contents().await);
        for name in ["conf.d/y.toml", "conf.d/z.toml"] {
            std::fs::remove_file(at(name)).unwrap();
        }
        heard("they are gone", &mut edits).await;
        assert!(reload(&mut edits));
        assert_eq!(edits.seen, edits.contents().await);
    }

    #[test]
    fn events_of_other_names_are_not_heard() {
        let names = Sources::of(Path::new("conf/proxy.toml")).names();
        let event = |path: &str| Event::new(notify::EventKind::Any).add_path(path.into());
        assert!(concerns(&event("conf/proxy.toml"), &names));
        assert!(concerns(&event("./conf"), &names));
        assert!(!concerns(&event("conf/access.log"), &names));
        assert!(concerns(&Event::new(notify::EventKind::Other), &names));
    }
}

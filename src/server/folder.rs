//! The folder `server.state` where a symbolic link on the way to it, such as a release-style `current`, leads
//! elsewhere than when the process began: what the API said is kept there at once, since the next process reads it
//! there, and the sockets that lie in it are found there, too.
use super::handover::SOCKET;
use super::kept::Kept;
use super::state::State;
use crate::config::ADMIN_SOCKET;
use crate::net;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

/// How often it is looked whether it is another one.
const LOOK: Duration = Duration::from_secs(1);

/// The folder, and where it was when it was last looked at.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
    at: Option<PathBuf>,
    /// Where it could not be followed to, and why.
    failed: Option<(PathBuf, String)>,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), at: place(path), failed: None }
    }

    /// Where it is by now, where that is another place. Blocks.
    fn moved(&self) -> Option<(&Path, PathBuf)> {
        let (before, now) = (self.at.as_deref()?, place(&self.path)?);
        (before != now).then_some((before, now))
    }
}

/// Without symbolic links; the folder itself need not be there.
fn place(folder: &Path) -> Option<PathBuf> {
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    let below =
        || Some(above.unwrap_or(Path::new(".")).canonicalize().ok()?.join(folder.file_name()?));
    folder.canonicalize().ok().or_else(below)
}

/// Makes the sockets of one folder be found in the other, too. Nobody may be there.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    let both = [ADMIN_SOCKET, SOCKET].map(|name| (from.join(name), to.join(name)));
    let same = |(from, to): &&(PathBuf, PathBuf)| {
        net::file(from).is_some_and(|of| net::file(to) == Some(of))
    };
    let others = || both.iter().filter(|both| !same(both));
    for (_, there) in others() {
        if UnixStream::connect(there).is_ok() {
            let what = format!("another process listens at {}", there.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
        }
    }
    DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for (own, there) in others().filter(|(own, _)| own.exists()) {
        // One of whom nobody answers; what is no socket is not ours to take away.
        if there.symlink_metadata().is_ok_and(|it| it.file_type().is_socket()) {
            fs::remove_file(there)?;
        }
        fs::hard_link(own, there)?;
    }
    Ok(())
}

impl State {
    /// Follows the folder of the words where its path leads elsewhere by now.
    pub(super) async fn follow_folder(&self) {
        let mut held = self.words.folder.lock().await;
        let Some(folder) = held.clone() else { return };
        // A disk that does not answer holds up no other work.
        let looked = tokio::task::spawn_blocking(move || {
            folder.moved().map(|(from, to)| (from.to_path_buf(), to))
        });
        let (Ok(Some((from, to))), Some(folder)) = (looked.await, held.as_mut()) else { return };
        let pen = self.words.pen.lock().await;
        let Some(kept) = pen.kept.clone().filter(|_| pen.given_to.is_none()) else { return };
        let (said, places) = (self.words.said(), (from.clone(), to.clone()));
        let followed = tokio::task::spawn_blocking(move || follow(&kept, &said, places));
        let done = followed.await.unwrap_or_else(|gone| Err(gone.to_string()));
        drop(pen);
        let (from, at) = (from.display(), to.display());
        match done {
            Ok(()) => {
                tracing::info!(%from, to = %at, "server.state leads elsewhere: what the API said and the sockets are there, too");
                (folder.at, folder.failed) = (Some(to), None);
            }
            Err(why) => {
                let failed = Some((to.clone(), why.clone()));
                if folder.failed != failed {
                    tracing::error!(
                        "server.state leads from {from} to {at} by now, and what this process knows and listens at \
                         cannot be found there: {why}; the next start may not know what the API said: let server.state \
                         be a folder that stays"
                    );
                    folder.failed = failed;
                }
            }
        }
    }
}

/// Blocks.
fn follow(kept: &Kept, said: &super::Said, (from, to): (PathBuf, PathBuf)) -> Result<(), String> {
    // First of all whether it is somebody else's.
    let linked = link(&from, &to);
    if let Err(error) = &linked
        && error.kind() == io::ErrorKind::AddrInUse
    {
        return Err(error.to_string());
    }
    kept.agree(said).map_err(|error| error.to_string())?;
    linked.map_err(|error| format!("link the sockets of {} there: {error}", from.display()))
}

/// Looks each second for as long as the server runs.
pub(super) async fn watch(state: Weak<State>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(state) = state.upgrade() else { return };
        state.follow_folder().await;
    }
}

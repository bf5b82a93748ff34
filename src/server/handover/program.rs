//! The program on disk, started once more with the same arguments.
use super::giver::END;
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// What was started, as it was when it began: by then no other program had its place.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
}

/// The argument that tells the next process whom to ask.
const TAKE_OVER: &str = "--take-over";

impl Program {
    /// This one. Its name is looked up as a shell does, so that a link that leads to another version
    /// by then is followed.
    pub(super) fn this() -> Self {
        let folder = std::env::current_dir().unwrap_or_default();
        let mut all = std::env::args_os();
        let name = all.next().unwrap_or_default();
        let own = || std::env::current_exe().unwrap_or_default();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = find(&name, &folder, &path).unwrap_or_else(own);
        Self { path, arguments: all.filter(|word| !is_ours(word)).collect(), folder }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder as it is said, where it is known.
    fn named(&self) -> String {
        match self.folder.as_os_str().is_empty() {
            true => String::new(),
            false => format!(", {},", self.folder.display()),
        }
    }

    /// Starts it again, to take over by a socket. What the service manager said to this process
    /// alone it does not hear.
    ///
    /// # Errors
    ///
    /// What was tried, and the kernel's word.
    pub(super) fn start(&self, socket: &Path) -> Result<Child, String> {
        let mut take_over = OsString::from(TAKE_OVER);
        take_over.push("=");
        take_over.push(socket);
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).arg(take_over);
        // Where everything is said from the root, a folder that is gone is missed by nobody.
        let is_there = self.folder.is_dir();
        if is_there {
            command.current_dir(&self.folder);
        }
        for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        // A group of its own, so that it can be ended with all that it starts; it comes back to this
        // process's when it has taken over.
        let started = command.stdin(Stdio::null()).process_group(0).spawn();
        let folder = match is_there {
            true => String::new(),
            false => format!(
                "; the folder that this process was started in{} is gone, and what is written from there is not found",
                self.named()
            ),
        };
        started.map_err(|error| format!("start {}: {error}{folder}", self.path.display()))
    }
}

fn is_ours(word: &OsStr) -> bool {
    let text = word.to_string_lossy();
    text == TAKE_OVER || text.strip_prefix(TAKE_OVER).is_some_and(|rest| rest.starts_with('='))
}

/// The file of a command: with a slash it is a path, else it is in one of the folders of `PATH`.
fn find(name: &OsStr, folder: &Path, path: &OsStr) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(folder.join(name));
    }
    let all = std::env::split_paths(path).map(|dir| folder.join(dir).join(name));
    all.into_iter().find(|file| file.is_file())
}

/// Ends a child that is of no use, and says how it ended where it did by itself.
pub(super) async fn ended(child: &mut Child) -> String {
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
pub(super) async fn end(child: &mut Child, pid: Option<u32>) {
    end_group(pid);
    let _ = child.start_kill();
    let _ = child.wait().await;
}

/// Ends what is left of the group of processes that [`Program::start`] began.
pub(super) fn end_group(pid: Option<u32>) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_is_gone_is_missed_only_by_what_is_written_from_it() {
        let gone = tempfile::tempdir().unwrap().path().to_path_buf();
        let program = |path: &str, folder: &Path| Program {
            path: path.into(),
            arguments: Vec::new(),
            folder: folder.into(),
        };
        for folder in [&*gone, Path::new("")] {
            let mut child = program("/bin/true", folder).start("/x".as_ref()).unwrap();
            assert!(child.wait().await.unwrap().success());
        }
        let why = program("./true", &gone).start("/x".as_ref()).unwrap_err();
        assert!(why.starts_with("start ./true: No such file or directory"), "{why}");
        assert!(why.contains(&format!("started in, {}, is gone", gone.display())), "{why}");
        let why = program("/bin/none", "/".as_ref()).start("/x".as_ref()).unwrap_err();
        assert_eq!(why, "start /bin/none: No such file or directory (os error 2)");
    }

    #[test]
    fn a_name_is_looked_up_as_a_shell_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prog");
        std::fs::write(&file, "").unwrap();
        let path = std::env::join_paths([Path::new("/nowhere"), folder.path()]).unwrap();
        let find = |name: &str| find(name.as_ref(), "/here".as_ref(), &path);
        assert_eq!(find("prog"), Some(file));
        assert_eq!(find("other"), None);
        assert_eq!(find("./prog"), Some("/here/./prog".into()));
        assert_eq!(find("/a/prog"), Some("/a/prog".into()));
        assert_eq!(find(""), None);
    }

    #[test]
    fn an_earlier_take_over_is_not_said_again() {
        assert!(is_ours("--take-over".as_ref()) && is_ours("--take-over=/x".as_ref()));
        assert!(!is_ours("--take-overs".as_ref()) && !is_ours("run".as_ref()));
    }
}

//! Opens the files that a configuration names, never to wait for one: a caller of the API may name
//! what it can swing round between a look and the opening.
use rustix::fs::OFlags;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// File systems of the kernel's own words (statfs(2)): proc, sys, debug and trace. Their files call
/// themselves regular, and some wait for ever to be read (`/proc/kmsg`).
const KERNEL: [u64; 4] = [0x9fa0, 0x6265_6572, 0x6462_6720, 0x7472_6163];

/// Why a file is not open.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// It is a pipe, a device, a folder, or the kernel's.
    NoFile,
    /// What the kernel said.
    Failed(io::Error),
}

impl std::fmt::Display for Unopened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoFile => f.write_str("is not a file"),
            Self::Failed(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Opens a regular file of a disk; says what it is, of what was opened.
///
/// # Errors
///
/// [`Unopened`]
pub(crate) fn open(path: &Path) -> Result<(File, Metadata), Unopened> {
    // Some devices do things when they are opened: they are not, as far as a look can tell.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Unopened::NoFile);
    }
    // A pipe that took its place since is opened without waiting for a writer.
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let meta = file.metadata()?;
    let system = rustix::fs::fstatfs(&file).map_err(io::Error::from)?.f_type;
    let is_kernels = u64::try_from(system).is_ok_and(|system| KERNEL.contains(&system));
    if !meta.is_file() || is_kernels { Err(Unopened::NoFile) } else { Ok((file, meta)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_wait_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, file) = (dir.path().join("pipe"), dir.path().join("file"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        std::fs::write(&file, "a").unwrap();
        assert!(open(&file).is_ok());
        for none in [&*pipe, dir.path(), "/dev/null".as_ref(), "/proc/self/environ".as_ref()] {
            assert!(matches!(open(none), Err(Unopened::NoFile)), "{}", none.display());
        }
        assert!(matches!(open(&dir.path().join("gone")), Err(Unopened::Failed(_))));
    }

    #[test]
    fn a_pipe_swung_into_the_place_of_a_file_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), fifo, mode, 0).unwrap();
        std::fs::write(at("file"), "a").unwrap();
        std::thread::scope(|scope| {
            let looks = scope.spawn(|| (0..20_000).filter(|_| open(&at("link")).is_ok()).count());
            let mut names = ["pipe", "file"].iter().cycle();
            while !looks.is_finished() {
                std::os::unix::fs::symlink(names.next().unwrap(), at("next")).unwrap();
                std::fs::rename(at("next"), at("link")).unwrap();
            }
        });
    }
}

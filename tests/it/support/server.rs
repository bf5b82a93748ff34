//! Servers of others, as processes.
use super::{nobody, until};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python that `tests/run` prepares, with a script of `tests/it`.
pub(crate) fn python(script: &str) -> Command {
    let own: PathBuf = root().join("target/python/bin/python3");
    assert!(own.is_file(), "no {}: tests/run makes it", own.display());
    let mut command = Command::new(own);
    command.arg(root().join("tests/it").join(script));
    command
}

/// A process that listens; ended when dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    child: Child,
}

impl Server {
    pub(crate) fn start(mut command: Command, addr: SocketAddr) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        until(&format!("{command:?} listens"), || {
            assert!(child.try_wait().unwrap().is_none(), "{command:?} ended");
            TcpStream::connect(addr).is_ok()
        });
        Self { addr, child }
    }
    /// `tests/it/http2/backend.py`
    pub(crate) fn h2(options: &[&str]) -> Self {
        Self::h2_at(nobody(), options)
    }
    /// The same at this address.
    pub(crate) fn h2_at(addr: SocketAddr, options: &[&str]) -> Self {
        let mut command = python("http2/backend.py");
        let host = format!("host={}", addr.ip());
        command.arg(addr.port().to_string()).arg(host).args(options);
        Self::start(command, addr)
    }
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) {
        self.child.wait().unwrap();
    }
    pub(crate) fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

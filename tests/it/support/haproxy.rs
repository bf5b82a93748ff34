//! A real HAProxy.
use super::until;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running HAProxy; killed when dropped.
pub(crate) struct Haproxy {
    child: Child,
    _folder: tempfile::TempDir,
}

/// From PATH, or where Debian puts it for root alone.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = places.map(|folder| folder.join("haproxy")).find(|file| file.is_file());
    found.expect("haproxy: install Debian's package haproxy")
}

impl Haproxy {
    /// Starts one with these sections; it listens on `addr`.
    pub(crate) fn start(addr: SocketAddr, sections: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let config = format!(
            "global\n  maxconn 100\n  nbthread 1\n\
             defaults\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n{sections}\n"
        );
        std::fs::write(&file, config).unwrap();
        let words = folder.path().join("words");
        let out = std::fs::File::create(&words).unwrap();
        let mut command = Command::new(program());
        command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(out).spawn().unwrap();
        let mut ended = false;
        until("haproxy listens", || {
            ended = child.try_wait().unwrap().is_some();
            ended || TcpStream::connect(addr).is_ok()
        });
        let said = std::fs::read_to_string(&words).unwrap_or_default();
        assert!(!ended, "haproxy does not start: {said}");
        Self { child, _folder: folder }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A real nginx with a folder of its own, as one process so that one signal meets all of it.
use super::{nobody, until};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running nginx; killed when dropped.
pub(crate) struct Nginx {
    pub(crate) addr: SocketAddr,
    name: String,
    child: Child,
    folder: tempfile::TempDir,
}

/// From PATH, or where Debian puts it for root alone.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = places.map(|folder| folder.join("nginx")).find(|file| file.is_file());
    found.expect("nginx: install Debian's package nginx-light")
}

impl Nginx {
    /// Starts one that answers `/name` with its name, serves its folder's files below `/files/`
    /// and takes PUT there; `more` are further lines of its server block, in which
    /// `{folder}` is that folder.
    pub(crate) fn start(name: &str, more: &str) -> Self {
        Self::listen(name, "", more)
    }

    /// As `start`, by TLS: `more` names its certificate.
    pub(crate) fn secure(name: &str, more: &str) -> Self {
        Self::listen(name, " ssl", more)
    }

    fn listen(name: &str, how: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("files")).unwrap();
        let addr = nobody();
        let config = config(folder.path(), &format!("{addr}{how}"), name, more);
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut child = run(folder.path());
        assert!(listens(&mut child, addr), "nginx does not start: {}", said(folder.path()));
        Self { addr, name: name.into(), child, folder }
    }

    /// The folder that is served below `/files/`.
    pub(crate) fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again at the same address.
    pub(crate) fn restart(&mut self) {
        self.child = run(self.folder.path());
        let up = listens(&mut self.child, self.addr);
        assert!(up, "{} does not start again: {}", self.name, said(self.folder.path()));
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(folder: &Path) -> Child {
    let words = std::fs::File::create(folder.join("words")).unwrap();
    let mut command = Command::new(program());
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(words).spawn().unwrap()
}

fn listens(child: &mut Child, addr: SocketAddr) -> bool {
    let mut ended = false;
    until("nginx listens", || {
        ended = child.try_wait().unwrap().is_some();
        ended || TcpStream::connect(addr).is_ok()
    });
    !ended
}

fn said(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("words")).unwrap_or_default()
}

fn config(folder: &Path, addr: &str, name: &str, more: &str) -> String {
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};"))
        .join("\n  ");
    format!(
        "daemon off; master_process off;
error_log stderr; pid nginx.pid;
events {{ worker_connections 1000; }}
http {{
  {temp}
  access_log off; sendfile on; etag on; default_type text/plain;
  gzip_proxied any; gzip_min_length 100;
  server {{
    listen {addr};
    root {folder};
    location = /name {{ return 200 '{name}'; }}
    location /files/ {{ dav_methods PUT; create_full_put_path on; client_max_body_size 64m; }}
    {more}
  }}
}}
",
        folder = folder.display(),
        more = more.replace("{folder}", &folder.display().to_string()),
    )
}

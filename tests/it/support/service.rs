//! The binary as a service: whichever process serves at the moment, in a folder of its own.
use super::{Client, Response, call, json, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A service; every process of its folder ends with it.
pub(crate) struct Service {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) admin: SocketAddr,
    first: Child,
}

impl Service {
    /// Serves this file: `[admin]` is written here.
    pub(crate) fn start(toml: &str) -> Self {
        Self::start_with(toml, |_, _| {})
    }

    /// The same with what is done to its folder and its command before.
    pub(crate) fn start_with(toml: &str, more: impl FnOnce(&Path, &mut Command)) -> Self {
        let (folder, admin) = (tempfile::tempdir().unwrap(), super::nobody());
        // Links that an operator leads elsewhere: to another version.
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_evenkeel"), folder.path().join("evenkeel"))
            .unwrap();
        write(folder.path(), admin, toml);
        let log = std::fs::File::create(folder.path().join("log.txt")).unwrap();
        let mut command = Command::new(folder.path().join("evenkeel"));
        command.current_dir(folder.path()).arg("run").stdin(Stdio::null()).stderr(log);
        more(folder.path(), &mut command);
        let first = command.spawn().unwrap();
        let mut service = Self { folder, admin, first };
        until("it is ready", || {
            let ended = service.first.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", service.said());
            service.try_get("/readyz").is_some_and(|answer| answer.status == 200)
        });
        service
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    /// What all processes wrote to stderr so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.path("log.txt")).unwrap()
    }
    /// Another file from here on.
    pub(crate) fn write(&self, toml: &str) {
        write(self.folder.path(), self.admin, toml);
    }
    /// Puts a script in the place of the program.
    pub(crate) fn script(&self, text: &str) {
        let (new, place) = (self.path("evenkeel.new"), self.path("evenkeel"));
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(new, place).unwrap();
    }
    /// Puts the program back.
    pub(crate) fn restore(&self) {
        let place = self.path("evenkeel");
        let _ = std::fs::remove_file(&place);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_evenkeel"), place).unwrap();
    }
    fn try_get(&self, path: &str) -> Option<Response> {
        TcpStream::connect(self.admin).ok()?;
        Some(call(&mut Client::connect(self.admin), "GET", path, "", ""))
    }
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        json(&call(&mut Client::connect(self.admin), "GET", path, "", ""))
    }
    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Response {
        call(&mut Client::connect(self.admin), method, path, "", body)
    }
    /// A member of pool `app`.
    pub(crate) fn member(&self, name: &str) -> Value {
        let pool = self.get("/v1/pools/app");
        let found = pool["members"].as_array().unwrap().iter().find(|m| m["name"] == name).cloned();
        found.unwrap_or_default()
    }
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.try_get("/metrics")?.text();
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }
    /// The process that answers the API.
    pub(crate) fn pid(&self) -> i32 {
        self.get("/v1/status")["pid"].as_i64().unwrap() as i32
    }
    pub(crate) fn signal(&self, pid: i32, signal: Signal) {
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
    /// Asks for a hand-over, and waits until another process answers.
    #[track_caller]
    pub(crate) fn hand_over(&self) -> i32 {
        let (before, mut now) = (self.pid(), 0);
        self.signal(before, Signal::USR2);
        until("another process serves", || {
            now = self.pid();
            now != before
        });
        now
    }
    /// Asks for one, and waits until the new process serves and has yet to prove that it lives. The
    /// old one.
    #[track_caller]
    pub(crate) fn hand_over_begins(&self) -> i32 {
        let before = self.pid();
        self.signal(before, Signal::USR2);
        until("another process serves", || {
            self.get("/v1/status")["hand_over"]["from"]["pid"] == before
        });
        before
    }
    /// Asks for one that fails; why it did.
    #[track_caller]
    pub(crate) fn fails(&self) -> String {
        let before = self.get("/v1/status")["hand_over"]["last"]["at"].clone();
        let pid = self.pid();
        self.signal(pid, Signal::USR2);
        self.failed_since(&before)
    }
    #[track_caller]
    pub(crate) fn failed_since(&self, before: &Value) -> String {
        let last = || self.get("/v1/status")["hand_over"]["last"].clone();
        until("it is told why not", || last()["at"] != *before);
        assert_eq!(last()["result"], "failure");
        last()["why"].as_str().unwrap().to_string()
    }
    /// Every process of the folder that has not ended.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let own = std::fs::canonicalize(self.folder.path()).unwrap();
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter(|one| std::fs::read_link(one.path().join("cwd")).is_ok_and(|cwd| cwd == own))
            .filter_map(|one| one.file_name().to_str()?.parse().ok())
            .collect()
    }
    /// Waits until a process has ended; reaps the first one.
    #[track_caller]
    pub(crate) fn until_ended(&mut self, pid: i32) {
        until(&format!("process {pid} ends"), || {
            let _ = self.first.try_wait();
            !self.processes().contains(&pid)
        });
    }
    /// The exit code of the first process.
    pub(crate) fn first_ended(&mut self) -> Option<i32> {
        self.first.wait().unwrap().code()
    }
    pub(crate) fn first_pid(&self) -> i32 {
        self.first.id() as i32
    }
}

fn write(folder: &Path, admin: SocketAddr, toml: &str) {
    let new = folder.join("proxy.toml.new");
    std::fs::write(&new, format!("{toml}\n[admin]\nbind = \"{admin}\"\n")).unwrap();
    std::fs::rename(new, folder.join("proxy.toml")).unwrap();
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what it said:\n{}", self.said());
        }
        for pid in self.processes() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        let _ = self.first.wait();
    }
}

//! The binary: exit codes, signals, edits of the file, what it shows.
use crate::support::{Backend, Client, nobody, until};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel");

pub(crate) fn check(toml: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    std::fs::write(&file, toml).unwrap();
    Command::new(BINARY)
        .current_dir(folder.path())
        .args(["check", "-c", "proxy.toml"])
        .args(more)
        .output()
        .unwrap()
}

fn words(port: u16, admin: u16, backend: &str) -> String {
    format!(
        "[admin]\nbind = \"127.0.0.1:{admin}\"\n[log]\naccess = {{ to = \"access.log\", format = \"json\" }}\n\
         [listener.web]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\npool = \"app\"\n[pool.app]\nbackends = [{backend}]\n"
    )
}

#[test]
fn check_says_every_problem_or_a_summary() {
    let good = check(&words(1, 2, "\"127.0.0.1:9\""), &[]);
    assert_eq!(good.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&good.stdout),
        "proxy.toml: ok: 1 listeners, 0 routes, 1 pools, 1 backends\n"
    );
    let by_name = "[listener.tls]\nbind = \"127.0.0.1:3\"\nprotocol = \"tcp\"\ntls = \"passthrough\"\n\
                   [[route]]\nsni = \"a.test\"\npool = \"app\"\n";
    let good = check(&(words(1, 2, "\"127.0.0.1:9\"") + by_name), &[]);
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(said.contains("ok: 2 listeners, 1 routes, 1 pools"), "{said}");
    let bad = words(1, 2, "\"127.0.0.1:9\"")
        .replace("pool = \"app\"", "pol = \"app\"\npool = \"ap\"")
        + "balance = \"fast\"\n";
    let bad = check(&bad, &[]);
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert_eq!((bad.status.code(), bad.stdout.len()), (Some(1), 0));
    assert!(said.contains("listener.web.pol") && said.contains("did you mean"), "{said}");
    assert_eq!(Command::new(BINARY).arg("nonsense").output().unwrap().status.code(), Some(2));
}

#[test]
fn check_speaks_json_and_dials() {
    let bad = check("[listener.web]\nbind = 5\n", &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&bad.stdout).unwrap();
    let first = &json["problems"][0];
    assert!(first["file"] == "proxy.toml" && first["line"].as_u64().unwrap() >= 1, "{json}");
    let dead = check(&words(1, 2, &format!("\"{}\"", nobody())), &["--connect"]);
    assert_eq!(dead.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&dead.stderr).contains("connect to"), "{dead:?}");
    let backend = Backend::named("one");
    assert_eq!(
        check(&words(1, 2, &format!("\"{}\"", backend.addr)), &["--connect"]).status.code(),
        Some(0)
    );
}

#[test]
fn check_says_that_the_access_log_could_not_be_opened() {
    let words = words(1, 2, "\"127.0.0.1:9\"").replace("access.log", "gone/access.log");
    let bad = check(&words, &[]);
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert_eq!(bad.status.code(), Some(1), "{said}");
    let begin = "proxy.toml:4:17: log.access.to: open the access log gone/access.log: ";
    assert!(said.starts_with(begin) && said.contains("; make the folder gone"), "{said}");
}

fn run(folder: &Path) -> Child {
    let mut command = Command::new(BINARY);
    command.current_dir(folder).arg("run").stderr(Stdio::piped()).spawn().unwrap()
}

/// The binary, serving a file in a folder of its own.
pub(crate) struct Process {
    child: Child,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) admin: u16,
}

impl Process {
    fn start(backend: &str) -> Self {
        Self::serving(|port, admin| words(port, admin, backend))
    }
    /// Serves the file that is made for a port and an admin port.
    pub(crate) fn serving(file: impl Fn(u16, u16) -> String) -> Self {
        let (folder, port, admin) =
            (tempfile::tempdir().unwrap(), nobody().port(), nobody().port());
        std::fs::write(folder.path().join("proxy.toml"), file(port, admin)).unwrap();
        let child = run(folder.path());
        let mut process = Self { child, folder, port, admin };
        process.until_ready();
        process
    }
    fn until_ready(&mut self) {
        until("it is ready", || {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {}", self.said());
            self.admin_get("/readyz").is_some_and(|(status, _)| status == 200)
        });
    }
    /// Kills it and starts it again in its folder.
    pub(crate) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = run(self.folder.path());
        self.until_ready();
    }
    /// Another file from here on, taken into force.
    #[track_caller]
    pub(crate) fn reload(&self, text: &str) {
        let reloads = || self.metric("evenkeel_config_reloads_total{result=\"success\"}");
        let before = reloads();
        let new = self.folder.path().join("proxy.toml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.folder.path().join("proxy.toml")).unwrap();
        until("the file is taken", || reloads() > before);
    }
    /// Ends it at once; what it wrote to stderr.
    pub(crate) fn end(mut self) -> String {
        // In order, for what it says goes through a thread of its own; the second signal ends it at once.
        let pid = rustix::process::Pid::from_child(&self.child);
        until("it ends", || {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            std::thread::sleep(std::time::Duration::from_millis(50));
            self.child.try_wait().unwrap().is_some()
        });
        self.said()
    }
    /// What it wrote to stderr, once it has ended.
    fn said(&mut self) -> String {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
    fn admin_get(&self, path: &str) -> Option<(u16, String)> {
        std::net::TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        let mut client = Client::connect(([127, 0, 0, 1], self.admin).into());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        let response = client.response();
        Some((response.status, response.text()))
    }
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let text = self.admin_get("/metrics")?.1;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(done.success());
    }
    /// Waits until it has ended by itself; its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
    fn get(&self) -> String {
        let mut client = Client::connect(([127, 0, 0, 1], self.port).into());
        client.send("GET /x?y HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        client.response().text()
    }
    fn write(&self, backend: &str) {
        // As an editor does: a new file, renamed over the old one.
        let new = self.folder.path().join("proxy.toml.new");
        std::fs::write(&new, words(self.port, self.admin, backend)).unwrap();
        std::fs::rename(new, self.folder.path().join("proxy.toml")).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_edit_is_taken_and_a_broken_one_is_not() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let process = Process::start(&format!("\"{}\"", one.addr));
    assert_eq!(process.get(), "one");
    process.write(&format!("\"{}\"", two.addr));
    until("the edit is taken", || process.get() == "two");
    process.write("\"nonsense\"");
    until("the broken one is refused", || {
        process.metric("evenkeel_config_last_reload_successful") == Some(0.0)
    });
    assert_eq!(process.get(), "two");
    process.write(&format!("\"{}\"", one.addr));
    process.signal("HUP");
    until("it is taken again", || process.get() == "one");
    // The plan is in force a moment before that is said.
    until("and said to be", || {
        process.metric("evenkeel_config_last_reload_successful") == Some(1.0)
    });
}

#[test]
fn a_reload_that_changes_nothing_says_so_to_whoever_waits_for_it() {
    let one = Backend::named("one");
    let same = format!("\"{}\"", one.addr);
    let mut process = Process::start(&same);
    process.write("\"nonsense\"");
    let success = |process: &Process| process.metric("evenkeel_config_last_reload_successful");
    until("the broken one is refused", || success(&process) == Some(0.0));
    process.write(&same);
    until("the old words are taken", || success(&process) == Some(1.0));
    let reloads = "evenkeel_config_reloads_total{result=\"success\"}";
    let before = process.metric(reloads).unwrap();
    process.signal("HUP");
    until("it is read again", || process.metric(reloads) > Some(before));
    process.signal("TERM");
    process.child.wait().unwrap();
    let said = process.said();
    assert_eq!(said.matches("nothing changed").count(), 2, "{said}");
}

#[test]
fn signals_do_what_they_say() {
    let one = Backend::named("one");
    let mut process = Process::start(&format!("\"{}\"", one.addr));
    assert_eq!(process.get(), "one");
    let log = process.folder.path().join("access.log");
    until("the request is logged", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("/x?y"))
    });
    let line: serde_json::Value =
        serde_json::from_str(std::fs::read_to_string(&log).unwrap().lines().next().unwrap())
            .unwrap();
    for (field, value) in [
        ("status", "200"),
        ("target", "\"/x?y\""),
        ("pool", "\"app\""),
        ("route", "\"default\""),
        ("reason", "\"-\""),
    ] {
        assert_eq!(line[field].to_string(), value, "{line}");
    }
    // Rotated: the next line goes to a new file.
    std::fs::rename(&log, process.folder.path().join("old.log")).unwrap();
    process.signal("USR1");
    until("the log is opened again", || Path::new(&log).exists());
    process.get();
    until("the new file is written", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("/x?y"))
    });
    process.signal("TERM");
    let status = process.child.wait().unwrap();
    let said = process.said();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[test]
fn a_second_process_on_the_same_port_says_so_and_ends() {
    let one = Backend::named("one");
    let process = Process::start(&format!("\"{}\"", one.addr));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("proxy.toml"),
        words(process.port, nobody().port(), &format!("\"{}\"", one.addr)),
    )
    .unwrap();
    let second = Command::new(BINARY).current_dir(folder.path()).arg("run").output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("listen on 127.0.0.1:{}", process.port)), "{said}");
    assert_eq!(process.get(), "one");
}

#[test]
fn metrics_and_status_show_what_happened() {
    let one = Backend::named("one");
    let process = Process::start(&format!("{{ name = \"b1\", addr = \"{}\" }}", one.addr));
    for _ in 0..3 {
        process.get();
    }
    let requests = "evenkeel_requests_total{listener=\"web\",route=\"default\",pool=\"app\",method=\"GET\",code=\"200\"}";
    until("requests are counted", || process.metric(requests) == Some(3.0));
    assert_eq!(process.metric("evenkeel_backend_up{pool=\"app\",backend=\"b1\"}"), Some(1.0));
    assert_eq!(
        process
            .metric("evenkeel_upstream_requests_total{pool=\"app\",backend=\"b1\",code=\"2xx\"}"),
        Some(3.0)
    );
    assert!(process.metric("process_open_fds").unwrap() > 5.0);
    let (status, text) = process.admin_get("/v1/status").unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status, &json["generation"], &json["last_reload"]["result"]),
        (200, &1.into(), &"success".into())
    );
    assert_eq!(process.admin_get("/nothing").unwrap().0, 404);
    // A browser that was lured here by another name is refused.
    let mut client = Client::connect(([127, 0, 0, 1], process.admin).into());
    client.send("GET /metrics HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response().status, 403);
}

#[test]
fn the_admin_side_is_served_on_a_unix_socket_and_its_hosts_follow_the_file() {
    use std::io::Write;
    let one = Backend::named("one");
    let process = Process::start(&format!("\"{}\"", one.addr));
    let asked = |host: &str| {
        let mut client = Client::connect(([127, 0, 0, 1], process.admin).into());
        client
            .send(format!("GET /v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        client.response().status
    };
    assert_eq!(asked("ops.test"), 403);
    let file = process.folder.path().join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let with = text.replacen("[admin]\n", "[admin]\nhosts = [\"ops.test\"]\n", 1);
    std::fs::write(&file, with).unwrap();
    until("the new host is served", || asked("ops.test") == 200);

    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let text = text
        .replace(&format!("127.0.0.1:{}", process.admin), &format!("unix:{}", socket.display()));
    let text = text.replace(&format!("127.0.0.1:{}", process.port), "127.0.0.1:0");
    std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
    let mut child = Command::new(BINARY).current_dir(folder.path()).arg("run").spawn().unwrap();
    let said = || {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).ok()?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    };
    until("it answers", || said().is_some_and(|text| text.starts_with("HTTP/1.1 200")));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success() && !socket.exists(), "its file goes with it");
}

#[test]
fn a_plain_file_where_a_socket_should_be_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plain"), "").unwrap();
    for admin in ["unix:plain", "off"] {
        let bind = if admin == "off" { "unix:plain" } else { "127.0.0.1:0" };
        let words = format!(
            "[admin]\nbind = \"{admin}\"\n[listener.web]\nbind = \"{bind}\"\npool = \"app\"\n\
             [pool.app]\nbackends = []\n"
        );
        std::fs::write(folder.path().join("proxy.toml"), words).unwrap();
        let run = Command::new(BINARY).current_dir(folder.path()).arg("run").output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        let hint = "a file that is no socket is there: remove it or choose another path";
        assert!(run.status.code() == Some(1) && said.contains(hint), "{said}");
    }
}

#[test]
fn every_command_says_the_version_alike() {
    let version = |args: &[&str]| Command::new(BINARY).args(args).output().unwrap().stdout;
    let whole = version(&["--version"]);
    assert!(whole.starts_with(b"evenkeel "));
    for command in ["run", "check", "demo", "echo", "backend"] {
        assert_eq!(version(&[command, "--version"]), whole, "{command}");
    }
    for below in ["list", "add", "remove"] {
        assert_eq!(version(&["backend", below, "--version"]), whole, "backend {below}");
    }
}

/// As a user who may have no more than one thread.
fn alone(folder: &Path) -> Command {
    let limited = ["prlimit", "--nproc=1"];
    if !rustix::process::geteuid().is_root() {
        let mut command = Command::new(limited[0]);
        command.args(&limited[1..]).arg(BINARY);
        return command;
    }
    // Nobody limits root, and another user may not see where the binary is.
    let program = folder.join("evenkeel");
    std::fs::copy(BINARY, &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65509", "--regid=65509", "--clear-groups"]).args(limited).arg(program);
    command
}

#[test]
fn too_few_threads_are_said_and_no_panic() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let out = alone(folder.path()).args(["run", "-c", "none.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("threads: ") && said.contains("TasksMax="), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

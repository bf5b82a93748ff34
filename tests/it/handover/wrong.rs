//! Whatever is wrong with the new process, the old one goes on and says why.
use super::{ask, by_file, tunnel, web};
use crate::support::{Backend, Service, nobody, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

fn service(more: &str) -> (Service, Backend, SocketAddr, String) {
    let (one, addr) = (Backend::named("one"), nobody());
    let pool = format!("backends = [{{ name = \"a\", addr = \"{}\" }}]", one.addr);
    let toml = web(addr, &pool).replace("[server]\n", &format!("[server]\n{more}\n"));
    (Service::start(&toml), one, addr, toml)
}

#[test]
fn a_new_process_with_problems_changes_nothing() {
    let (service, _one, addr, toml) = service("hand_over = \"5s\"");
    let old = service.pid();
    // A file that the old process did not take either.
    service.write("[listener.web]\nbind = 5\n");
    let why = service.fails();
    assert!(
        why.starts_with("the new process says: ") && why.contains("listener.web.bind"),
        "{why}"
    );
    // Nor is what is started from outside heard of by its own words alone.
    let wrong = toml.replace("pool = \"app\"", "pool = \"ap\"");
    for broken in [&*wrong, "[listener.web\n"] {
        service.write(broken);
        let before = service.get("/v1/status")["hand_over"]["last"]["at"].clone();
        let mut other = Command::new(service.path("evenkeel"));
        other.current_dir(service.folder.path()).args(["run", "--take-over"]);
        let other = other.output().unwrap();
        let said = String::from_utf8_lossy(&other.stderr).into_owned();
        assert!(other.status.code() == Some(1) && said.contains("in the configuration"), "{said}");
        let why = service.failed_since(&before);
        let line = said.lines().last().unwrap();
        assert!(why.starts_with("the new process says: ") && why.contains(line), "{why}: {said}");
    }
    service.write(&toml.replace(
        "[pool.app]",
        "[listener.other]\nbind = \"192.0.2.1:1\"\nprotocol = \"http\"\npool = \"app\"\n[pool.app]",
    ));
    let why = service.fails();
    assert!(why.contains("listen on 192.0.2.1:1: "), "{why}");
    service.write(&toml);
    std::fs::remove_file(service.path("evenkeel")).unwrap();
    let why = service.fails();
    assert!(why.contains("start ") && why.contains("No such file"), "{why}");
    service.script("#!/bin/sh\nexit 3\n");
    let why = service.fails();
    assert!(why.contains("ended before it called (exit status: 3)"), "{why}");
    service.script("#!/bin/sh\nkill -9 $$\n");
    let why = service.fails();
    assert!(why.contains("signal: 9"), "{why}");
    assert_eq!((service.pid(), ask(addr).as_str()), (old, "one"));
    assert_eq!(service.metric("evenkeel_handovers_total{result=\"failure\"}"), Some(7.0));
    let told = service.call("PATCH", "/v1/pools/app/backends/a", "{\"weight\": 5}");
    assert_eq!(told.status, 200, "words are taken as before");
    // And then it goes well, as if nothing had been.
    service.restore();
    service.hand_over();
    assert_eq!(ask(addr), "one");
    assert_eq!(service.member("a")["weight"], 5);
    assert_eq!(service.metric("evenkeel_handovers_total{result=\"failure\"}"), Some(7.0));
}

#[test]
fn a_file_that_is_no_toml_says_before_its_fault_whom_to_tell() {
    let (service, _one, addr, toml) = service("state = \"own\"");
    service.write(&toml.replace("[listener.web]", "[listener.web"));
    let before = service.get("/v1/status")["hand_over"]["last"]["at"].clone();
    let mut other = Command::new(service.path("evenkeel"));
    other.current_dir(service.folder.path()).args(["run", "--take-over"]);
    let other = other.output().unwrap();
    assert_eq!(other.status.code(), Some(1));
    let why = service.failed_since(&before);
    assert!(why.contains("proxy.toml:4"), "{why}");
    assert_eq!(ask(addr), "one");
}

#[test]
fn one_that_is_never_ready_is_ended_and_signals_are_served_meanwhile() {
    let (mut service, _one, addr, _) = service("hand_over = \"3s\"");
    let old = service.pid();
    service.script("#!/bin/sh\nexec sleep 1000\n");
    let before = service.get("/v1/status")["hand_over"]["last"]["at"].clone();
    service.signal(old, Signal::USR2);
    until("it is started", || service.processes().len() == 2);
    service.signal(old, Signal::USR2);
    until("a second is told", || service.said().contains("is under way already"));
    assert_eq!(ask(addr), "one");
    // Somebody from outside is told, too.
    let mut other = Other::connect(&service);
    assert!(other.hear()["refused"]["why"].as_str().unwrap().contains("under way"));
    let why = service.failed_since(&before);
    assert!(why.contains("did not call within server.hand_over"), "{why}");
    until("it is ended", || service.processes() == [old]);
    // Told to end while it waits for the new one: both end.
    service.signal(old, Signal::USR2);
    until("it is started", || service.processes().len() == 2);
    service.signal(old, Signal::TERM);
    assert_eq!(service.first_ended(), Some(0));
    until("both are gone", || service.processes().is_empty());
}

/// Another program that calls itself the next process.
struct Other(UnixStream);

impl Other {
    fn connect(service: &Service) -> Self {
        let stream = UnixStream::connect(service.path("state/handover.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self(stream)
    }
    fn say(&mut self, message: &Value) {
        let text = message.to_string();
        self.0.write_all(&(text.len() as u32).to_be_bytes()).unwrap();
        self.0.write_all(text.as_bytes()).unwrap();
    }
    fn hello(&mut self, protocol: u32) {
        self.say(&json!({ "hello": { "protocol": protocol, "version": "7.0.0", "pid": 1 } }));
    }
    /// The next message; descriptors beside it are let go by the kernel.
    fn hear(&mut self) -> Value {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut text = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
    /// Takes everything over, up to the last word of the old process.
    fn take(&mut self) {
        self.take_some(|taken| taken);
        assert!(self.hear()["final"]["memory"]["words"].is_string());
    }
    /// The same up to the word that it could serve, with some of the sockets.
    fn take_some(&mut self, some: impl FnOnce(Vec<Value>) -> Vec<Value>) {
        self.hello(1);
        assert!(self.hear()["offer"]["memory"]["words"].is_string());
        let mut taken = Vec::new();
        loop {
            let said = self.hear();
            taken.extend(said["sockets"]["sockets"].as_array().unwrap().clone());
            if said["sockets"]["more"] == false {
                break;
            }
        }
        let roles: Vec<&str> = taken.iter().filter_map(|one| one["role"].as_str()).collect();
        assert_eq!(roles, ["listener", "admin", "api", "handover"]);
        self.say(&json!({ "ready": { "taken": some(taken) } }));
    }
}

#[test]
fn one_of_another_form_or_that_dies_at_any_word_is_let_go() {
    let (service, _one, addr, _) = service("");
    let old = service.pid();
    let last = |service: &Service| service.get("/v1/status")["hand_over"]["last"]["at"].clone();
    let mut other = Other::connect(&service);
    other.hello(99);
    let why = other.hear()["refused"]["why"].as_str().unwrap().to_string();
    assert!(why.contains("speaks form 99") && why.contains("form 1"), "{why}");
    assert_eq!(service.failed_since(&Value::Null), why);
    for step in 0..9 {
        let before = last(&service);
        let mut other = Other::connect(&service);
        let word = match step {
            0 => "ended before it served",
            1 => {
                other.say(&json!("serving"));
                "out of turn"
            }
            2 => {
                other.0.write_all(b"\xff\xff\xff\xff").unwrap();
                "too long"
            }
            3 => {
                other.hello(1);
                "ended before it served"
            }
            4 => {
                other.take_some(|_| Vec::new());
                "takes none of the sockets"
            }
            5 => {
                other.take();
                "ended before it served"
            }
            6 => {
                other.take();
                other.say(&json!("serving"));
                "it served and died within 1s"
            }
            7 => {
                other.take();
                other.say(&json!("serving"));
                assert_eq!(other.hear(), json!("alive"));
                other.say(&json!("alive"));
                "it served and died within 1s"
            }
            _ => {
                other.take();
                other.say(&json!("serving"));
                assert_eq!(other.hear(), json!("alive"), "it is asked");
                let why = other.hear()["refused"]["why"].as_str().unwrap().to_string();
                assert!(why.contains("did not say within 2s that all its threads live"), "{why}");
                "did not say within 2s that all its threads live"
            }
        };
        drop(other);
        let why = service.failed_since(&before);
        assert!(why.contains(word), "{step}: {why}");
        assert_eq!((service.pid(), ask(addr).as_str()), (old, "one"), "{step}");
        let weight = format!("{{\"weight\": {}}}", step + 2);
        let told = service.call("PATCH", "/v1/pools/app/backends/a", &weight);
        assert_eq!(told.status, 200, "{step}: it writes again");
    }
    service.hand_over();
    assert_eq!(service.member("a")["weight"], 10);
}

#[test]
fn one_that_stands_still_once_it_serves_gives_the_service_back() {
    let (service, _one, addr, toml) = service("");
    let more = "[listener.file]\nbind = \"unix:web.sock\"\nprotocol = \"http\"\npool = \"app\"\n";
    service.write(&format!("{toml}{more}"));
    until("the file is taken", || service.path("web.sock").exists());
    let times = |words: &str| service.said().matches(words).count();
    // The second of proof may be over before it is stopped, on a machine that is busy.
    let given_back = (0..5).any(|_| {
        let (old, given) = (service.pid(), times("the other process serves; draining"));
        let mut new = Command::new(service.path("evenkeel"));
        new.current_dir(service.folder.path()).args(["run", "--take-over"]);
        let new = new.stderr(Stdio::piped()).spawn().unwrap();
        let pid = new.id() as i32;
        let ended = std::thread::spawn(move || new.wait_with_output().unwrap());
        until("it serves", || service.pid() == pid);
        service.signal(pid, Signal::STOP);
        let given_back = "this process goes on: it served, and did not say within 2s";
        until("it is told", || {
            times(given_back) == 1 || times("the other process serves; draining") > given
        });
        let is_back = times(given_back) == 1;
        if is_back {
            assert_eq!((service.pid(), ask(addr).as_str()), (old, "one"), "the old one goes on");
        }
        service.signal(pid, Signal::CONT);
        if is_back {
            let ended = ended.join().unwrap();
            assert_eq!(ended.status.code(), Some(1), "and the other ends");
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(said.contains(&format!("process {old} serves again")), "{said}");
        }
        is_back
    });
    assert!(given_back, "{}", service.said());
    for name in ["state/admin.sock", "state/handover.sock", "web.sock"] {
        assert!(service.path(name).exists(), "{name} is the old one's");
    }
    assert_eq!((by_file(&service).as_str(), ask(addr).as_str()), ("one", "one"));
    let told = service.call("PATCH", "/v1/pools/app/backends/a", "{\"weight\": 5}");
    assert_eq!(told.status, 200, "words are taken as before");
    service.hand_over();
    assert_eq!(by_file(&service), "one");
}

#[test]
fn one_that_never_says_it_is_ready_is_let_go_and_one_told_to_end_has_handed_over() {
    let (mut service, _one, addr, _) = service("hand_over = \"1s\"");
    // It reads nothing of what it is offered, and says nothing.
    let mut other = Other::connect(&service);
    other.hello(1);
    let why = service.failed_since(&Value::Null);
    assert!(why.contains("was not ready within server.hand_over"), "{why}");
    assert_eq!(ask(addr), "one");
    // Told to end while the other proves that it lives: it is the other's by then, sockets and files.
    let mut other = Other::connect(&service);
    other.take();
    other.say(&json!("serving"));
    let old = service.first_pid();
    service.signal(old, Signal::TERM);
    assert_eq!(service.first_ended(), Some(0));
    for name in ["state/admin.sock", "state/handover.sock"] {
        assert!(service.path(name).exists(), "{name}");
    }
    let heard = std::iter::repeat_with(|| other.hear()).find(|heard| *heard != json!("alive"));
    assert_eq!(heard, Some(json!("end")), "and the other is told");
    assert_eq!(other.hear(), json!("done"));
}

#[test]
fn who_ends_the_one_that_it_knows_ends_the_service() {
    let (mut service, _one, _, _) = service("");
    // The second of proof may be over before it is heard, on a machine that is busy.
    let told = (0..5).any(|_| {
        let old = service.hand_over_begins();
        service.signal(old, Signal::TERM);
        service.until_ended(old);
        service.said().contains("which serves already, ends too; draining")
    });
    assert!(told, "{}", service.said());
    until("both are gone", || service.processes().is_empty());
    for name in ["state/admin.sock", "state/handover.sock"] {
        assert!(!service.path(name).exists(), "{name}");
    }
}

#[test]
fn a_failed_attempt_ends_all_that_it_started() {
    let (service, _one, addr, _) = service("hand_over = \"4s\"");
    let old = service.pid();
    for script in ["sleep 1000\n", "sleep 1000 &\nexit 3\n"] {
        service.script(&format!("#!/bin/sh\n{script}"));
        service.fails();
        until("nobody is left of it", || service.processes() == [old]);
    }
    assert_eq!(ask(addr), "one");
    service.restore();
    let group = |pid| rustix::process::getpgid(rustix::process::Pid::from_raw(pid)).unwrap();
    let before = group(old);
    let new = service.hand_over();
    until("what is said to the group is heard by who serves", || group(new) == before);
}

#[test]
fn the_folder_that_is_left_has_no_sockets_any_more() {
    let (mut service, _one, addr, toml) = service("");
    let old = service.pid();
    service.write(&toml.replace("[server]\n", "[server]\nstate = \"other\"\n"));
    service.hand_over();
    service.until_ended(old);
    for name in ["admin.sock", "handover.sock"] {
        assert!(!service.path("state").join(name).exists(), "state/{name} is nobody's");
        assert!(service.path("other").join(name).exists(), "other/{name}");
    }
    assert_eq!(ask(addr), "one");
    service.hand_over();
}

#[test]
fn one_hands_over_while_the_one_before_drains() {
    let (one, addr) = (Backend::named("one"), nobody());
    let slow = Backend::run(|peer| {
        while let Some(byte) = peer.byte() {
            peer.send([byte]);
        }
    });
    let raw = nobody();
    let toml = web(addr, &format!("backends = [\"{}\"]", one.addr))
        + &format!(
            "[listener.raw]\nbind = \"{raw}\"\nprotocol = \"tcp\"\npool = \"slow\"\n[pool.slow]\nbackends = [\"{}\"]\n",
            slow.addr
        );
    let mut service = Service::start(&toml);
    let mut tunnels: Vec<std::net::TcpStream> = Vec::new();
    let mut pids = vec![service.pid()];
    for _ in 0..2 {
        tunnels.push(tunnel(raw));
        pids.push(service.hand_over());
    }
    // Two drain, each with its tunnel; signals to them change nothing but the first of each kind.
    until("they drain", || {
        service.said().matches("the other process serves; draining").count() == 2
    });
    let times = |words: &str| service.said().matches(words).count();
    for pid in &pids[..2] {
        // The line of the hand-over comes a moment before its process serves signals as one that drains:
        // it is asked until it does.
        let before = times("nothing to hand over");
        until("it says so", || {
            service.signal(*pid, Signal::USR2);
            times("nothing to hand over") > before
        });
        service.signal(*pid, Signal::HUP);
        service.signal(*pid, Signal::TERM);
    }
    until("they say so", || {
        times("not reloading while draining") == 2 && times("draining already") == 2
    });
    for tunnel in &mut tunnels {
        tunnel.write_all(b"y").unwrap();
        tunnel.read_exact(&mut [0]).unwrap();
    }
    assert_eq!((service.pid(), ask(addr).as_str()), (pids[2], "one"));
    for (tunnel, pid) in tunnels.into_iter().zip(&pids) {
        drop(tunnel);
        service.until_ended(*pid);
    }
    assert_eq!(ask(addr), "one");
}

//! Real DNS servers behind a udp listener, asked by dig.
use crate::support::{Proxy, nobody, until};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A real DNS server that says who it is: the TXT record of `who.test`. Killed when dropped.
struct Dns {
    addr: SocketAddr,
    name: &'static str,
    kind: Kind,
    child: Child,
    folder: tempfile::TempDir,
}

#[derive(Clone, Copy)]
enum Kind {
    Dnsmasq,
    Unbound,
}

/// From PATH, or where Debian puts what root alone starts.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = places.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name}: install what tests/run installs"))
}

/// Of 3,000 bytes in strings of 200.
fn long() -> Vec<String> {
    (0..15).map(|n| format!("{n:02}").repeat(100)).collect()
}

impl Dns {
    fn start(kind: Kind, name: &'static str) -> Self {
        let (addr, folder) = (nobody(), tempfile::tempdir().unwrap());
        let child = spawn(kind, name, addr, &folder);
        let dns = Self { addr, name, kind, child, folder };
        dns.until_serves();
        dns
    }

    fn until_serves(&self) {
        until(self.name, || who(self.addr, &[]).is_some_and(|who| who == self.name));
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = spawn(self.kind, self.name, self.addr, &self.folder);
        self.until_serves();
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(kind: Kind, name: &str, addr: SocketAddr, folder: &tempfile::TempDir) -> Child {
    let port = addr.port();
    let mut command = match kind {
        Kind::Dnsmasq => {
            let mut command = Command::new(program("dnsmasq"));
            command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="]);
            command.args(["--no-resolv", "--no-hosts", "--bind-interfaces", "--user="]);
            command.args(["--listen-address=127.0.0.1", "--edns-packet-max=4096"]);
            command.arg(format!("--port={port}"));
            command.arg(format!("--txt-record=who.test,{name}"));
            command.arg(format!("--txt-record=long.test,{}", long().join(",")));
            command
        }
        Kind::Unbound => {
            let strings: Vec<String> = long().iter().map(|s| format!("\"{s}\"")).collect();
            let config = format!(
                "server:\n  interface: 127.0.0.1\n  port: {port}\n  do-daemonize: no\n  chroot: \"\"\n  \
                 username: \"\"\n  directory: \"{0}\"\n  pidfile: \"{0}/pid\"\n  use-syslog: no\n  \
                 edns-buffer-size: 4096\n  max-udp-size: 4096\n  local-zone: \".\" static\n  \
                 local-data: 'who.test. TXT \"{name}\"'\n  local-data: 'long.test. TXT {1}'\n\
                 remote-control:\n  control-enable: no\n",
                folder.path().display(),
                strings.join(" ")
            );
            let path = folder.path().join("unbound.conf");
            std::fs::write(&path, config).unwrap();
            let mut command = Command::new(program("unbound"));
            command.arg("-d").arg("-c").arg(path);
            command
        }
    };
    let words = std::fs::File::create(folder.path().join("words")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(words).spawn().unwrap()
}

/// What dig says; `None` when it heard nothing.
fn dig(addr: SocketAddr, words: &[&str]) -> Option<String> {
    let done = Command::new("dig")
        .arg(format!("@{}", addr.ip()))
        .args(["-p", &addr.port().to_string(), "+short", "+tries=1", "+time=10", "+nocookie"])
        .args(words)
        .output()
        .expect("dig: install what tests/run installs");
    done.status.success().then(|| String::from_utf8(done.stdout).unwrap())
}

fn who(addr: SocketAddr, words: &[&str]) -> Option<String> {
    let said = dig(addr, &[&["who.test", "TXT"], words].concat())?;
    Some(said.trim().trim_matches('"').to_string())
}

fn servers() -> [Dns; 3] {
    [
        Dns::start(Kind::Dnsmasq, "one"),
        Dns::start(Kind::Unbound, "two"),
        Dns::start(Kind::Dnsmasq, "three"),
    ]
}

/// The proxy by UDP and TCP on one port.
fn proxy(servers: &[Dns], bind: SocketAddr, more: &str) -> Proxy {
    Proxy::start(&toml(servers, bind, more))
}

fn toml(servers: &[Dns], bind: SocketAddr, more: &str) -> String {
    let list: Vec<String> = servers
        .iter()
        .map(|dns| format!("{{ name = \"{}\", addr = \"{}\" }}", dns.name, dns.addr))
        .collect();
    format!(
        "[listener.web]\nbind = \"{bind}\"\nprotocol = \"udp\"\npool = \"app\"\nudp = {{ idle = \"5s\" }}\n\
         [listener.tcp]\nbind = \"{bind}\"\nprotocol = \"tcp\"\npool = \"app\"\n\
         [pool.app]\nbackends = [{}]\n{more}\n",
        list.join(", ")
    )
}

/// The question of `examples/udp.toml`.
fn health() -> String {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/udp.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with("health = { udp")).unwrap();
    line.replace("interval = \"5s\"", "interval = \"50ms\", timeout = \"10s\"")
}

#[test]
fn every_policy_leads_questions_to_real_servers() {
    let servers = servers();
    for policy in [
        "\"round_robin\"",
        "\"least_connections\"",
        "\"random\"",
        "\"p2c\"",
        "\"peak_ewma\"",
        "{ policy = \"consistent_hash\", key = \"client_ip\" }",
        "{ policy = \"consistent_hash\", key = \"client_addr\", table = \"ring\" }",
    ] {
        let proxy = proxy(&servers, nobody(), &format!("balance = {policy}\n{}", health()));
        let said: Vec<String> = (0..9).map(|_| who(proxy.addr(), &[]).unwrap()).collect();
        let names: BTreeSet<&str> = said.iter().map(|s| s.as_str()).collect();
        assert!(names.is_subset(&["one", "two", "three"].into()), "{policy}: {said:?}");
        match policy {
            "\"round_robin\"" | "\"least_connections\"" => assert_eq!(names.len(), 3, "{said:?}"),
            p if p.contains("client_ip") => assert_eq!(names.len(), 1, "{said:?}"),
            _ => {}
        }
    }
}

#[test]
fn long_answers_pass_whole_by_udp_and_by_tcp_on_the_same_port() {
    let servers = servers();
    let proxy = proxy(&servers, nobody(), "");
    let wanted: Vec<String> = long().iter().map(|s| format!("\"{s}\"")).collect();
    for _ in 0..3 {
        for words in [["+bufsize=4096", "+ignore"], ["+tcp", "+noedns"], ["+bufsize=512", "+edns"]]
        {
            let said = dig(proxy.addr(), &[&["long.test", "TXT"], &words[..]].concat()).unwrap();
            assert_eq!(said.trim(), wanted.join(" "), "{words:?}");
        }
    }
}

#[test]
fn no_question_is_lost_when_a_server_dies_and_it_is_asked_again_when_it_is_back() {
    let mut servers = servers();
    let proxy = proxy(&servers, nobody(), "");
    servers[0].kill();
    servers[1].kill();
    // attempts = 2 would not do for two dead ones at the first question.
    let config = toml(&servers, proxy.addr(), "retry = { attempts = 3 }");
    proxy.reload(&config).unwrap();
    for _ in 0..12 {
        assert_eq!(who(proxy.addr(), &[]).as_deref(), Some("three"));
    }
    proxy.until_state("one", "down");
    servers[0].restart();
    proxy.until_state("one", "up");
    until("it is asked again", || who(proxy.addr(), &[]).as_deref() == Some("one"));
    assert_eq!(proxy.state("two"), "down");
}

#[test]
fn a_server_that_stands_still_is_found_by_probes_and_passed_over() {
    use rustix::process::{Pid, Signal, kill_process};
    let servers = servers();
    let more = health().replace("timeout = \"10s\"", "timeout = \"300ms\", fall = 2");
    let proxy = proxy(&servers, nobody(), &more);
    (0..3).for_each(|n| proxy.until_state(servers[n].name, "up"));
    kill_process(Pid::from_child(&servers[2].child), Signal::STOP).unwrap();
    proxy.until_state("three", "down");
    for _ in 0..6 {
        let said = who(proxy.addr(), &[]).expect("an answer");
        assert!(said == "one" || said == "two", "{said}");
    }
    kill_process(Pid::from_child(&servers[2].child), Signal::CONT).unwrap();
    proxy.until_state("three", "up");
}

#[test]
fn questions_go_on_while_the_file_is_edited() {
    let servers = servers();
    let bind = nobody();
    let proxy = proxy(&servers, bind, "");
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| (0..40).all(|_| who(bind, &[]).is_some_and(|w| w.len() >= 3)));
        let mut turn = 0;
        while !asking.is_finished() {
            turn += 1;
            let some = &servers[turn % 3..];
            proxy.reload(&toml(some, bind, &format!("max_active = {}", 1000 + turn))).unwrap();
        }
        assert!(asking.join().unwrap() && turn > 2);
    });
}

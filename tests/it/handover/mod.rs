//! From one process to the next: ten times under load, with what each knew; and whatever goes wrong
//! with the new one, the old one goes on.
mod load;
mod switched;
mod wrong;

use crate::support::{Backend, Client, PATIENCE, Service, call, nobody, until};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

/// One http listener in front of pool `app`.
fn web(addr: SocketAddr, pool: &str) -> String {
    format!(
        "[server]\ngrace = \"30s\"\n[listener.web]\nbind = \"{addr}\"\nprotocol = \"http\"\npool = \"app\"\n[pool.app]\n{pool}\n"
    )
}

/// Who answers by the socket of a file.
fn by_file(service: &Service) -> String {
    use std::io::{Read, Write};
    let mut stream = UnixStream::connect(service.path("web.sock")).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.rsplit("\r\n").next().unwrap().to_string()
}

fn ask(addr: SocketAddr) -> String {
    let mut client = Client::connect(addr);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    client.response().text()
}

/// One that is open, to a backend that says back what it hears.
fn tunnel(addr: SocketAddr) -> std::net::TcpStream {
    let mut tunnel = std::net::TcpStream::connect(addr).unwrap();
    tunnel.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    tunnel.write_all(b"x").unwrap();
    tunnel.read_exact(&mut [0]).unwrap();
    tunnel
}

#[test]
fn what_probes_found_and_the_api_said_is_known_at_once() {
    let (one, two, three) = (Backend::named("one"), Backend::named("two"), Backend::named("three"));
    let sick = nobody();
    let web_addr = nobody();
    // Two good probes are far apart: who forgets that `b` is down would call it up at the first.
    let pool = format!(
        "health = {{ http = \"/\", interval = \"1h\", rise = 2, fall = 1 }}\nbackends = [\
         {{ name = \"a\", addr = \"{}\" }}, {{ name = \"b\", addr = \"{sick}\" }}, {{ name = \"c\", addr = \"{}\" }}]",
        one.addr, two.addr
    );
    let service = Service::start(&web(web_addr, &pool));
    until("a is up", || service.member("a")["state"] == "up");
    until("b is down", || service.member("b")["state"] == "down");
    let since = service.member("a")["since"].clone();
    let said =
        service.call("PATCH", "/v1/pools/app/backends/c", "{\"state\": \"drain\", \"weight\": 7}");
    assert_eq!(said.status, 200);
    let body = format!("{{\"addr\": \"{}\", \"name\": \"own\", \"ttl\": \"30s\"}}", three.addr);
    assert_eq!(service.call("POST", "/v1/pools/app/backends", &body).status, 201);
    until("own is up", || service.member("own")["state"] == "up");
    // It is back before the new process looks for the first time.
    let _back = Backend::at(sick, "back");
    service.hand_over();
    let loaded = service.get("/v1/status")["last_reload"]["at"].clone();
    let after = service.member("a")["since"].clone();
    assert!(after.as_str() < loaded.as_str(), "{since}: {after} is before {loaded}");
    assert_eq!(service.member("b")["state"], "down");
    assert_eq!(
        (&service.member("c")["state"], &service.member("c")["weight"]),
        (&"drain".into(), &7.into())
    );
    assert_eq!(service.member("own")["state"], "up");
    assert_eq!(service.call("PUT", "/v1/pools/app/backends/own/heartbeat", "").status, 204);
    assert_eq!(service.get("/v1/status")["hand_over"]["from"]["pid"], service.first_pid());
    let names = ["one", "three"];
    assert!((0..10).all(|_| names.contains(&ask(web_addr).as_str())));
}

/// Beats go to the new process: the old one hears none, and breaks nothing off for that.
#[test]
fn what_is_in_work_at_a_registered_backend_is_finished_by_the_old_process() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    let (may_end, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (may_end.clone(), asked.clone());
    let own = Backend::run(move |peer| {
        while peer.request().is_some() {
            count.fetch_add(1, SeqCst);
            until("it may end", || wait.load(SeqCst));
            peer.answer("own");
        }
    });
    let web_addr = nobody();
    let service = Service::start(&web(web_addr, "backends = []"));
    let body = format!("{{\"addr\": \"{}\", \"name\": \"own\", \"ttl\": \"1s\"}}", own.addr);
    assert_eq!(service.call("POST", "/v1/pools/app/backends", &body).status, 201);
    until("own is up", || service.member("own")["state"] == "up");
    let beat = || service.call("PUT", "/v1/pools/app/backends/own/heartbeat", "").status;
    let mut client = Client::connect(web_addr);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    until("it is asked", || asked.load(SeqCst) == 1);
    assert_eq!(beat(), 204);
    service.hand_over();
    // Longer than it takes to be down, and out.
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(beat(), 204);
    }
    may_end.store(true, SeqCst);
    assert_eq!(client.response().text(), "own");
    assert_eq!(asked.load(SeqCst), 1, "it was asked once");
}

#[test]
fn datagrams_and_unix_sockets_go_over_and_their_files_end_with_the_last() {
    let (echo, web_addr, dns) = (UdpSocket::bind("127.0.0.1:0").unwrap(), nobody(), nobody());
    let to = echo.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok((n, from)) = echo.recv_from(&mut bytes) {
            let _ = echo.send_to(&bytes[..n], from);
        }
    });
    let one = Backend::named("one");
    let toml = web(web_addr, &format!("backends = [\"{}\"]", one.addr))
        + &format!(
            "[listener.file]\nbind = \"unix:web.sock\"\nprotocol = \"http\"\npool = \"app\"\n\
             [listener.dns]\nbind = \"{dns}\"\nprotocol = \"udp\"\npool = \"names\"\n[pool.names]\nbackends = [\"{to}\"]\n"
        );
    let mut service = Service::start(&toml);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(dns).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let echoed = |text: &str| {
        client.send(text.as_bytes()).unwrap();
        let mut bytes = [0; 64];
        let n = client.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..n], text.as_bytes());
    };
    for round in 0..3 {
        echoed(&format!("before {round}"));
        assert_eq!(by_file(&service), "one");
        service.hand_over();
        echoed(&format!("after {round}"));
        assert_eq!(by_file(&service), "one");
    }
    let first = service.first_pid();
    service.until_ended(first);
    let last = service.pid();
    for name in ["web.sock", "state/admin.sock", "state/handover.sock"] {
        assert!(service.path(name).exists(), "{name} is the last one's");
    }
    service.signal(last, Signal::TERM);
    service.until_ended(last);
    for name in ["web.sock", "state/admin.sock", "state/handover.sock"] {
        assert!(!service.path(name).exists(), "{name} is nobody's");
    }
}

#[test]
fn an_edit_just_before_is_read_by_the_new_process_alone() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let web_addr = nobody();
    let of = |backend: &Backend| {
        web(web_addr, &format!("backends = [\"{}\"]", backend.addr))
            + "[listener.file]\nbind = \"unix:web.sock\"\nprotocol = \"http\"\npool = \"app\"\n"
    };
    let mut service = Service::start(&of(&one));
    for (backend, name) in [(&two, "two"), (&one, "one"), (&two, "two"), (&one, "one")] {
        let before = service.pid();
        // As in one script: the old process sees the edit while it hands over.
        service.write(&of(backend));
        service.signal(before, Signal::USR2);
        service.until_ended(before);
        assert_eq!(by_file(&service), name);
        assert_eq!(ask(web_addr), name);
    }
    let said = service.said();
    let drains = said.split("the other process serves").skip(1);
    for drained in drains.filter_map(|after| after.split("ended").next()) {
        assert!(!drained.contains("reloaded"), "who gave the service away reads nothing: {said}");
    }
}

#[test]
fn another_file_and_other_workers_are_what_the_new_process_serves() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let (kept, gone, new) = (nobody(), nobody(), nobody());
    let of = |workers: usize, second: SocketAddr, backend: &Backend| {
        format!(
            "[server]\nworkers = {workers}\n[listener.kept]\nbind = \"{kept}\"\nprotocol = \"http\"\npool = \"app\"\n\
             [listener.second]\nbind = \"{second}\"\nprotocol = \"http\"\npool = \"app\"\n[pool.app]\nbackends = [\"{}\"]\n",
            backend.addr
        )
    };
    let mut service = Service::start(&of(3, gone, &one));
    for (workers, second, backend, name) in [(1, new, &two, "two"), (4, gone, &one, "one")] {
        let before = service.pid();
        service.write(&of(workers, second, backend));
        service.hand_over();
        // For a moment both take who comes. Every socket of the group has somebody who accepts.
        until("the new one serves all", || (0..40).all(|_| ask(kept) == name));
        assert_eq!(ask(second), name);
        service.until_ended(before);
        assert!((0..40).all(|_| ask(kept) == name));
    }
    assert!(std::net::TcpStream::connect(new).is_err(), "nobody is said to listen there");
}

#[test]
fn the_service_manager_follows_and_the_first_listens_where_it_says() {
    let one = Backend::named("one");
    let web_addr = nobody();
    let manager = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(manager.path().join("notify")).unwrap();
    let open: OwnedFd = std::net::TcpListener::bind(web_addr).unwrap().into();
    let toml = web(web_addr, &format!("backends = [\"{}\"]", one.addr));
    let mut service = Service::start_with(&toml, |folder, command| {
        // As systemd does: the sockets from descriptor 3 on, and whose they are.
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec ./evenkeel run"]);
        shell.current_dir(folder).stdin(open);
        shell.env("LISTEN_FDS", "1").env("NOTIFY_SOCKET", manager.path().join("notify"));
        shell.env("WATCHDOG_USEC", "40000");
        shell.stderr(std::fs::File::create(folder.join("log.txt")).unwrap());
        *command = shell;
    });
    // Beats of the watchdog come in between all the time.
    let mut beats = 0;
    // Read all the time: the queue of the kernel is short.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(n) = socket.recv(&mut bytes) {
            let _ = tell.send(String::from_utf8_lossy(&bytes[..n]).into_owned());
        }
    });
    let mut heard = |what: &str| loop {
        let text = told.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{what}: {e}"));
        match text.as_str() {
            "WATCHDOG=1" => beats += 1,
            _ => {
                assert!(text.starts_with(what), "{what}: {text}");
                return text;
            }
        }
    };
    heard("READY=1");
    assert_eq!(ask(web_addr), "one");
    assert_eq!(service.call("POST", "/v1/reload", "{}").status, 200);
    heard("RELOADING=1\nMONOTONIC_USEC=");
    heard("READY=1");
    let next = service.hand_over();
    assert_eq!(heard("MAINPID="), format!("MAINPID={next}"));
    heard("READY=1");
    assert_eq!(ask(web_addr), "one");
    assert_eq!(service.first_ended(), Some(0));
    service.signal(next, Signal::TERM);
    heard("STOPPING=1");
    service.until_ended(next);
    assert!(beats > 2, "{beats}");
}

#[test]
fn who_is_started_to_take_over_does_and_says_where_there_is_nobody() {
    let one = Backend::named("one");
    let web_addr = nobody();
    let mut service = Service::start(&web(web_addr, &format!("backends = [\"{}\"]", one.addr)));
    let before = service.pid();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(service.path("evenkeel"));
        command.current_dir(service.folder.path()).arg("run").args(arguments);
        command.stdin(Stdio::null());
        command
    };
    let plain = run(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(plain.status.code() == Some(1) && said.contains("another process listens"), "{said}");
    let nobody = run(&["--take-over=/nowhere/handover.sock"]).output().unwrap();
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(
        nobody.status.code() == Some(1) && said.contains("start without --take-over"),
        "{said}"
    );
    let mut next = run(&["--take-over"]).stderr(Stdio::null()).spawn().unwrap();
    until("it serves", || service.pid() == next.id() as i32);
    assert_eq!(ask(web_addr), "one");
    assert_eq!(service.metric("evenkeel_handovers_total{result=\"success\"}"), Some(1.0));
    service.until_ended(before);
    assert_eq!(ask(web_addr), "one");
    // And hands over itself, though it was told to take over.
    let last = service.hand_over();
    assert_eq!(next.wait().unwrap().code(), Some(0));
    assert_eq!(service.metric("evenkeel_handovers_total{result=\"success\"}"), Some(2.0));
    service.signal(last, Signal::TERM);
    service.until_ended(last);
}

#[test]
fn a_drain_waits_for_the_process_before_and_status_names_it() {
    let echo = Backend::run(|peer| {
        while let Some(byte) = peer.byte() {
            peer.send([byte]);
        }
    });
    let raw = nobody();
    let mut service = Service::start(&format!(
        "[listener.raw]\nbind = \"{raw}\"\nprotocol = \"tcp\"\npool = \"app\"\n\
         [pool.app]\nbackends = [{{ name = \"b1\", addr = \"{}\" }}]\n",
        echo.addr
    ));
    let older = |service: &Service| service.get("/v1/status")["hand_over"]["draining"].clone();
    assert_eq!(older(&service), serde_json::json!([]));
    let mut tunnels: Vec<std::net::TcpStream> = Vec::new();
    let mut pids = Vec::new();
    for _ in 0..2 {
        tunnels.push(tunnel(raw));
        pids.push(service.pid());
        service.hand_over();
        until("the one before drains", || {
            service.said().matches("the other process serves; draining").count() == pids.len()
        });
    }
    assert_eq!(older(&service), serde_json::json!(pids));
    assert_eq!(service.member("b1")["active"], 0);
    for args in [&["status"][..], &["backend", "list"], &["backend", "list", "app"]] {
        let mut command = std::process::Command::new(service.path("evenkeel"));
        let said = command.current_dir(service.folder.path()).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        for pid in &pids {
            let older = format!("process {pid}, which served before, still drains");
            assert!(said.contains(&older), "{args:?}: {said}");
        }
    }
    let seen = service.path("browser");
    std::fs::create_dir(&seen).unwrap();
    let mut page = crate::support::python("dashboard/look.py");
    let page = page.arg(format!("http://{}/", service.admin)).arg(seen).output().unwrap();
    let seen = String::from_utf8_lossy(&page.stdout);
    assert!(seen.contains(&format!("Process {}, which served before", pids[1])), "{seen}");
    let log = std::fs::File::create(service.path("drain.txt")).unwrap();
    let mut waiting = std::process::Command::new(service.path("evenkeel"))
        .current_dir(service.folder.path())
        .args(["drain", "app/b1", "--wait"])
        .stdout(std::process::Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    until("it waits", || {
        std::fs::read_to_string(service.path("drain.txt")).unwrap().contains("still drains")
    });
    for (tunnel, pid) in tunnels.into_iter().zip(&pids) {
        assert!(waiting.try_wait().unwrap().is_none(), "process {pid} still drains");
        drop(tunnel);
        service.until_ended(*pid);
    }
    assert!(waiting.wait().unwrap().success());
    assert_eq!(older(&service), serde_json::json!([]));
}

#[test]
fn what_drains_leads_to_the_admin_side_of_neither_process() {
    let (echo, raw, next) = (Backend::named("echo"), nobody(), nobody());
    let metrics = nobody();
    // Asks for the whole PROXY header before it dials.
    let toml = |more: &str| {
        format!(
            "{more}[server]\ngrace = \"30s\"\n[listener.raw]\nbind = \"{raw}\"\nprotocol = \"tcp\"\npool = \"app\"\n\
             proxy_protocol = {{ from = [\"127.0.0.1\"] }}\n[pool.app]\nbackends = [\"{next}\"]\n\
             [listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"web\"\n[pool.web]\nbackends = [\"{}\"]\n",
            echo.addr
        )
    };
    let first = format!("[metrics]\nbind = \"{metrics}\"\n");
    let mut service = Service::start(&toml(&first));
    let old = service.pid();
    let mut held = std::net::TcpStream::connect(raw).unwrap();
    held.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(std::net::TcpStream::connect(metrics).is_ok());
    // What was a backend is where the next one is governed.
    let left = std::mem::replace(&mut service.admin, next);
    service.write(&toml("").replace(&format!("backends = [\"{next}\"]"), "backends = []"));
    service.signal(old, Signal::USR2);
    until("the old one drains", || service.said().contains("the other process serves; draining"));
    for closed in [metrics, left] {
        until("it is closed", || std::net::TcpStream::connect(closed).is_err());
    }
    // Whom the old one dialled there before is no owner: for a while nobody is taken for one.
    until("who calls now was not dialled before", || {
        call(&mut Client::connect(next), "GET", "/v1/status", "", "").status == 200
    });
    assert_eq!(service.get("/v1/status")["hand_over"]["draining"], serde_json::json!([old]));
    held.write_all(b"PROXY UNKNOWN\r\nGET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = held.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    service.until_ended(old);
}

#[test]
fn a_token_that_the_next_one_does_not_ask_for_opens_nothing_while_both_serve() {
    let (echo, raw) = (Backend::named("echo"), nobody());
    let toml = |backend: &str| {
        format!(
            "[server]\ngrace = \"30s\"\n[listener.raw]\nbind = \"{raw}\"\nprotocol = \"tcp\"\npool = \"app\"\n\
             proxy_protocol = {{ from = [\"127.0.0.1\"] }}\ntimeout = {{ header = \"60s\" }}\n[pool.app]\nbackends = [\"{backend}\"]\n"
        )
    };
    let mut service = Service::start_with(&toml("ADMIN"), |folder, _| {
        std::fs::write(folder.join("token"), "a-token-that-is-long-enough").unwrap();
        let path = folder.join("proxy.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, rest) = text.rsplit_once("bind = \"").unwrap();
        let admin = rest.split_once('"').unwrap().0.to_owned();
        let text = text.replace("ADMIN", &admin);
        std::fs::write(&path, text.replace("[admin]\n", "[admin]\ntoken_file = \"token\"\n"))
            .unwrap();
    });
    let old = service.first_pid();
    let held = || {
        let held = std::net::TcpStream::connect(raw).unwrap();
        held.set_read_timeout(Some(PATIENCE)).unwrap();
        held
    };
    let ask = |held: &mut std::net::TcpStream| {
        let asked = "PROXY UNKNOWN\r\nGET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let _ = held.write_all(asked.as_bytes());
        let mut answer = Vec::new();
        let _ = held.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(ask(&mut held()).starts_with("HTTP/1.1 401"), "the API asks for a token");
    let mut all: Vec<_> = (0..300).map(|_| held()).collect();
    service.write(&toml(&echo.addr.to_string()));
    service.signal(old, Signal::USR2);
    until("the old one drains, and nothing was told", || {
        let answer = all.pop().map(|mut held| ask(&mut held)).unwrap_or_default();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 401"), "{answer}");
        service.said().contains("the other process serves; draining")
    });
    assert!(!all.is_empty());
    all.truncate(20);
    all.iter_mut().for_each(|held| assert_eq!(ask(held), ""));
    drop(all);
    service.until_ended(old);
}

#[test]
fn events_are_counted_on() {
    let backend = Backend::named("one");
    let pool = format!("backends = [{{ name = \"b1\", addr = \"{}\" }}]", backend.addr);
    let service = Service::start(&web(nobody(), &pool));
    let add = |name: &str| {
        let body = format!("{{\"addr\": \"127.0.0.1:9\", \"name\": \"{name}\"}}");
        assert_eq!(service.call("POST", "/v1/pools/app/backends", &body).status, 201);
    };
    // The kinds and numbers of what is heard after a number, until this one was added.
    let heard = |after: u64, name: &str| -> Vec<(String, u64)> {
        let mut client = Client::connect(service.admin);
        let fields = format!("Host: localhost\r\nLast-Event-ID: {after}\r\n");
        client.send(format!("GET /v1/events HTTP/1.1\r\n{fields}\r\n"));
        let told =
            client.until(&format!("\"backend\":\"{name}\",\"pool\":\"app\",\"what\":\"added\""));
        let told = String::from_utf8_lossy(&told).into_owned();
        let mut number = 0;
        let mut all = Vec::new();
        for line in told.lines() {
            if let Some(id) = line.strip_prefix("id: ") {
                number = id.parse().unwrap();
            }
            if let Some(kind) = line.strip_prefix("event: ") {
                all.push((kind.to_string(), std::mem::take(&mut number)));
            }
        }
        all
    };
    add("n2");
    let last = heard(0, "n2").last().unwrap().1;
    add("n3");
    service.hand_over();
    add("n4");
    let told = heard(last + 1, "n4");
    assert_eq!(told[0].1, last + 2, "{told:?}");
    assert!(told.iter().all(|(kind, _)| kind != "gap"), "{told:?}");
    assert_eq!(heard(last, "n4")[0].0, "gap", "what the one before told is not kept");
    // One that was started anew is another one.
    assert_eq!(heard(8, "n4")[0].0, "gap");
}

/// Not after `admin.limits.time`, nor when the process before is gone.
#[test]
fn who_listens_to_events_is_let_go_to_the_new_process() {
    let echo = Backend::run(|peer| {
        while let Some(byte) = peer.byte() {
            peer.send([byte]);
        }
    });
    let raw = nobody();
    let mut service = Service::start(&format!(
        "[admin.limits]\ntime = \"1h\"\n[listener.raw]\nbind = \"{raw}\"\nprotocol = \"tcp\"\npool = \"app\"\n\
         [pool.app]\nbackends = [\"{}\"]\n",
        echo.addr
    ));
    let first = service.pid();
    let held = tunnel(raw);
    let mut listener = Client::connect(service.admin);
    listener.send("GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    listener.until("retry: 1000");
    service.hand_over();
    listener.until("never said");
    assert!(service.processes().contains(&first), "it drains");
    drop(held);
    service.until_ended(first);
}

#[test]
fn what_nobody_took_is_closed_while_the_process_before_drains() {
    let echo = Backend::run(|peer| {
        while let Some(byte) = peer.byte() {
            peer.send([byte]);
        }
    });
    let (raw, before, after) = (nobody(), nobody(), nobody());
    let of = |metrics: SocketAddr| {
        format!(
            "[metrics]\nbind = \"{metrics}\"\n[listener.raw]\nbind = \"{raw}\"\nprotocol = \"tcp\"\npool = \"app\"\n\
             [pool.app]\nbackends = [\"{}\"]\n",
            echo.addr
        )
    };
    let mut service = Service::start(&of(before));
    let first = service.pid();
    let held = tunnel(raw);
    assert!(std::net::TcpStream::connect(before).is_ok());
    service.write(&of(after));
    service.hand_over();
    until("it is closed", || std::net::TcpStream::connect(before).is_err());
    assert!(std::net::TcpStream::connect(after).is_ok());
    assert!(service.processes().contains(&first), "it drains");
    drop(held);
    service.until_ended(first);
}

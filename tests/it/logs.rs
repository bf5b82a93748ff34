//! The access log: forms, shares, a file that is moved, and a disk that is full. The process's own log:
//! nobody who reads it holds the process up.
use crate::support::{Backend, Proxy, Service, access_lines, nobody, until, web};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

/// A line to this file in this way.
fn log(path: &Path, more: &str) -> String {
    format!("[log]\naccess = {{ to = \"{}\"{more} }}", path.display())
}

#[test]
fn a_full_disk_loses_lines_and_never_a_request() {
    let backend = Backend::named("one");
    let proxy = Proxy::http(&[backend.addr], &log(Path::new("/dev/full"), ""));
    let access = &proxy.running().state().telemetry.access;
    let mut client = proxy.client();
    for _ in 0..500 {
        assert_eq!(client.ask("GET", "/", "").text(), "one");
    }
    until("each line is counted", || access.dropped() == 500);
    // Somewhere else from here on, and nothing more is lost.
    let (folder, words) = crate::support::access_log();
    proxy.reload(&web(&[backend.addr], &words)).unwrap();
    assert_eq!(client.ask("GET", "/", "").text(), "one");
    assert_eq!((access_lines(&folder, 1).len(), access.dropped()), (1, 500));
}

#[test]
fn a_template_a_share_and_only_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let backend = Backend::named("one");
    let bad = format!(
        "[pool.bad]\nbackends = [\"{}\"]\n[[route]]\npath = \"/bad\"\npool = \"bad\"\n",
        nobody()
    );
    let format = ", format = \"{status}|{target}|{sni}|{pool} {backend} {{x}}\"";
    let words = |more: &str| {
        web(&[backend.addr], &(bad.clone() + &log(&path, &(format.to_string() + more))))
    };
    let proxy = Proxy::start(&words(""));
    let mut client = proxy.client();
    assert_eq!(client.ask("GET", "/a?b=%22c", "").status, 200);
    until("it is written", || std::fs::read_to_string(&path).is_ok_and(|said| !said.is_empty()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "200|/a?b=%22c|-|app b1 {x}\n");
    // What a client says is one field, whatever the template has between two.
    std::fs::write(&path, "").unwrap();
    assert_eq!(client.ask("GET", "/a|200|-/{b}", "").status, 200);
    let mut said = String::new();
    until("it is written", || {
        said = std::fs::read_to_string(&path).unwrap();
        !said.is_empty()
    });
    assert_eq!(said, "200|/a\\u007c200\\u007c-/\\u007bb\\u007d|-|app b1 {x}\n");
    for (more, well) in [(", sample = \"0%\"", 0), (", only = \"errors\"", 0), ("", 3)] {
        std::fs::write(&path, "").unwrap();
        proxy.reload(&words(more)).unwrap();
        for _ in 0..3 {
            assert_eq!(client.ask("GET", "/well", "").status, 200);
        }
        assert!(matches!(client.ask("GET", "/bad", "").status, 502 | 503));
        let mut said = String::new();
        until("what failed is written", || {
            said = std::fs::read_to_string(&path).unwrap();
            said.contains("/bad")
        });
        assert!(said.contains("|/bad|-|bad "), "{said}");
        assert_eq!(said.matches("/well").count(), well, "{more}: {said}");
    }
}

#[test]
fn a_file_that_was_moved_is_opened_again_and_no_line_is_torn_or_lost() {
    let (folder, words) = crate::support::access_log();
    let backend = Backend::named("one");
    let proxy = Proxy::http(&[backend.addr], &words);
    let path = folder.path().join("access.log");
    let mut client = proxy.client();
    for n in 0..20 {
        for _ in 0..10 {
            assert_eq!(client.ask("GET", "/", "").status, 200);
        }
        std::fs::rename(&path, folder.path().join(format!("old.{n}"))).unwrap();
        proxy.running().state().telemetry.access.reopen();
        until("it is there again", || path.exists());
    }
    // A client has its answer before the line of it is said.
    let lines = || {
        proxy.running().state().telemetry.access.flush();
        let mut lines = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            for line in std::fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(line["status"], 200);
                lines += 1;
            }
        }
        lines
    };
    until("each line is there", || lines() >= 200);
    assert_eq!(lines(), 200);
}

#[test]
fn a_pipe_that_nobody_reads_is_a_problem_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let (file, pipe) = (folder.path().join("access.log"), folder.path().join("pipe"));
    mkfifoat(CWD, &pipe, Mode::from(0o600)).unwrap();
    let backend = Backend::named("one");
    let words = |path: &Path| web(&[backend.addr], &log(path, ""));
    // At the start: it ends, and says which file.
    let config = folder.path().join("proxy.toml");
    std::fs::write(&config, words(&pipe)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    let done = command.args(["run", "-c"]).arg(&config).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains("/pipe"), "{said}");
    assert!(said.contains("a pipe needs a reader first"), "{said}");
    // By a reload: it is refused, and the next one is served, as requests are.
    let proxy = Proxy::start(&words(&file));
    let refused = proxy.reload(&words(&pipe)).unwrap_err().to_string();
    assert!(refused.contains("/pipe"), "{refused}");
    let mut client = proxy.client();
    assert_eq!(client.ask("GET", "/", "").text(), "one");
    // With a reader it is as good as a file.
    let mut reader = std::fs::OpenOptions::new();
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let reader = reader.read(true).custom_flags(flags).open(&pipe).unwrap();
    proxy.reload(&words(&pipe)).unwrap();
    assert_eq!(client.ask("GET", "/piped", "").text(), "one");
    let (mut reader, mut line) = (BufReader::new(reader), String::new());
    until("its line came", || reader.read_line(&mut line).is_ok() && line.ends_with('\n'));
    assert!(line.contains("/piped"), "{line}");
    proxy.stop();
}

#[test]
fn a_body_that_comes_late_makes_no_late_first_byte() {
    let (folder, words) = crate::support::access_log();
    let (go, gone) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let backend = Backend::run(move |peer| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            let _ = gone.lock().unwrap().recv();
            peer.send("ok");
        }
    });
    let proxy = Proxy::http(&[backend.addr], &words);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.until("\r\n\r\n");
    go.send(()).unwrap();
    assert_eq!(client.bytes(2), b"ok");
    let line: serde_json::Value = serde_json::from_str(&access_lines(&folder, 1)[0]).unwrap();
    let [first_byte, duration] = ["first_byte", "duration"].map(|name| line[name].as_f64());
    assert!(first_byte < duration, "{line}");
}

/// Of which a refusal makes a long line.
fn wrong() -> String {
    (0..400).map(|n| format!("{}{n} = 1\n", "x".repeat(1000))).collect()
}

#[test]
fn a_standard_error_that_nobody_reads_holds_nothing_up_and_loses_lines_that_are_counted() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let start = |_: &Path, command: &mut Command| {
        command.stderr(writer);
    };
    let mut service = Service::start_with(&web(&[one.addr], ""), start);
    let (pid, lost) = (service.first_pid(), "evenkeel_process_log_dropped_total");
    service.write(&format!("{}{}", wrong(), web(&[one.addr], "")));
    until("lines are lost", || {
        service.signal(pid, Signal::HUP);
        service.metric(lost).unwrap() > 0.0
    });
    // It reads its file, answers, and ends in order, once it is read what it lost, too.
    service.write(&web(&[two.addr], ""));
    service.signal(pid, Signal::HUP);
    until("it is reloaded", || service.get("/v1/status")["generation"] == 2);
    let mut reader = BufReader::new(reader).lines();
    until("it is told what was lost", || {
        let line = reader.next().unwrap().unwrap();
        line.contains("lines of this log are lost: nobody read it lines=")
    });
    let rest = std::thread::spawn(move || reader.map_while(Result::ok).last());
    service.signal(pid, Signal::TERM);
    assert_eq!(service.first_ended(), Some(0));
    assert!(rest.join().unwrap().is_some_and(|last| last.ends_with(" ended")));
}

#[test]
fn two_signals_end_a_process_whose_standard_error_nobody_reads() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let backend = Backend::run(|peer| drop(peer.request().map(|_| peer.rest())));
    let start = |_: &Path, command: &mut Command| {
        command.stderr(writer);
    };
    let config = web(&[backend.addr], "[server]\ngrace = \"1h\"\n");
    let mut service = Service::start_with(&config, start);
    let pid = service.first_pid();
    let bound = service.get("/v1/status")["listeners"][0]["bound"][0].clone();
    let bound = bound.as_str().unwrap().parse().unwrap();
    let mut client = crate::support::Client::connect(bound);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let active = "evenkeel_backend_active{pool=\"app\",backend=\"b1\"}";
    until("it is served", || service.metric(active) == Some(1.0));
    // The pipe is full before it is told to end.
    service.write(&format!("{}{config}", wrong()));
    service.signal(pid, Signal::HUP);
    let refused = "evenkeel_config_reloads_total{result=\"failure\"}";
    until("it is refused", || service.metric(refused) == Some(1.0));
    service.signal(pid, Signal::TERM);
    until("it drains", || service.metric("evenkeel_stage{stage=\"draining\"}") == Some(1.0));
    service.signal(pid, Signal::TERM);
    assert_eq!(service.first_ended(), Some(0));
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(said.contains("reload refused"), "{}", said.len());
}

#[test]
fn a_value_that_reads_like_fields_is_quoted_however_it_is_recorded() {
    let service = Service::start(&web(&[nobody()], ""));
    let name = "k from=\"down\" to=\"up\" reason=\"x";
    let body = serde_json::json!({ "addr": "127.0.0.1:9", "name": name }).to_string();
    let added = service.call("POST", "/v1/pools/app/backends", &body);
    assert_eq!(added.status, 201, "{}", added.text());
    let place = added.field("location").unwrap();
    assert_eq!(service.call("PATCH", place, "{\"state\": \"maintenance\"}").status, 200);
    let quoted = format!("backend turned pool=app backend={name:?} from=\"up\" to=\"maintenance\"");
    until("it is told", || service.said().contains(&quoted));
    assert!(service.said().contains(" listening listener=web addr=127.0.0.1:"), "plain as it was");
}

#[test]
fn what_came_of_a_reload_is_told_whoever_asked_for_it() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let service = Service::start(&web(&[one.addr], ""));
    assert_eq!(service.call("POST", "/v1/reload", "").status, 200);
    let nothing = "nothing changed: the running plan is the file's generation=1";
    until("it says that nothing changed", || service.said().contains(nothing));
    service.write(&web(&[two.addr], ""));
    assert_eq!(service.call("POST", "/v1/reload", "").status, 200);
    until("it says what did", || service.said().contains(" reloaded generation=2 "));
    service.write("rubbish");
    assert_eq!(service.call("POST", "/v1/reload", "").status, 422);
    until("it says why not", || service.said().contains("reload refused, the old plan runs on: "));
}

#[test]
fn a_reload_whose_caller_leaves_is_made_all_the_same() {
    // Many: it takes a while.
    let pools = (0..3000).map(|n| format!("[pool.p{n}]\nbackends = [\"127.0.0.1:1\"]\n"));
    let service = Service::start(&web(&[nobody()], &pools.collect::<String>()));
    let times = |words: &str| service.said().matches(words).count();
    for n in 1..=5 {
        let mut client = crate::support::Client::connect(service.admin);
        client.send("POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        until("it is begun", || times("reloading: a caller of the API said so") == n);
        drop(client);
        until("it is made", || times("nothing changed: the running plan is the file's") == n);
    }
}

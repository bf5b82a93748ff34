//! Lines say what happened, hold nothing that a client can break out of, and never make it wait.
use super::super::line::tests::access;
use super::*;
use crate::config;
use std::sync::mpsc::{Receiver, Sender, channel};

/// A target that says what it is given, and takes nothing until it is let.
struct Gate {
    opened: Receiver<()>,
    open: bool,
    said: Sender<Vec<u8>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open = self.open || self.opened.recv().is_ok();
        self.said.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gated() -> (AccessLog, Sender<()>, Receiver<Vec<u8>>) {
    let log = AccessLog::off();
    let ((open, opened), (said, hear)) = (channel(), channel());
    log.send(Order::Target(Box::new(Gate { opened, open: false, said }))).unwrap();
    log.0.on.store(true, Relaxed);
    (log, open, hear)
}

#[test]
fn a_target_that_stands_still_costs_lines_and_no_time() {
    let (log, open, hear) = gated();
    let lines = 2 * QUEUE;
    // Were a write to wait for the target, this would never end: the gate opens only afterwards.
    for n in 0..lines {
        log.write(&Access { status: 200, bytes_in: n as u64, ..access() });
    }
    let dropped = log.dropped() as usize;
    assert!(dropped > 0 && dropped <= lines - QUEUE, "{dropped} of {lines} dropped");
    open.send(()).unwrap();
    let mut text = Vec::new();
    while text.iter().filter(|b| **b == b'\n').count() < lines - dropped {
        text.extend(
            hear.recv_timeout(Duration::from_secs(60)).expect("what was queued is written"),
        );
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count() + dropped, lines);
    assert!(text.lines().all(|line| line.ends_with(" 192.0.2.8:1;tls=TLSv1.3")), "a torn line");
    assert_eq!(log.dropped() as usize, dropped);
}

#[test]
fn a_log_that_is_off_says_nothing_and_counts_nothing() {
    let log = AccessLog::off();
    assert!(!log.is_on());
    log.write(&access());
    log.flush();
    log.reopen();
    assert_eq!(log.dropped(), 0);
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_target_that_breaks_is_counted_and_can_be_replaced() {
    let log = AccessLog::off();
    log.send(Order::Target(Box::new(Broken))).unwrap();
    log.0.on.store(true, Relaxed);
    log.write(&access());
    log.flush();
    assert!(log.dropped() >= 1, "a lost line is counted");
    let (said, hear) = channel();
    let (open, opened) = channel();
    open.send(()).unwrap();
    log.send(Order::Target(Box::new(Gate { opened, open: false, said }))).unwrap();
    log.write(&Access { status: 599, ..access() });
    let line = hear.recv_timeout(Duration::from_secs(60)).expect("the new target is written");
    assert!(String::from_utf8(line).unwrap().contains(" 599 "));
}

#[test]
fn a_file_is_appended_to_reopened_and_switched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::fs::write(&path, "older\n").unwrap();
    let to = |path: &std::path::Path, format| config::AccessLog {
        to: LogTarget::File(path.to_path_buf()),
        at: config::At::default(),
        key: "log.access.to".into(),
        format,
    };
    let log = AccessLog::open(&to(&path, LogFormat::Text)).unwrap();
    log.write(&access());
    log.flush();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("older\n2024-") && text.lines().count() == 2, "{text}");

    let moved = folder.path().join("access.log.1");
    std::fs::rename(&path, &moved).unwrap();
    log.reopen();
    log.write(&access());
    log.flush();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), text);

    let nowhere = to(&folder.path().join("no/such"), LogFormat::Json);
    assert!(log.apply(Some(&nowhere)).is_err() && AccessLog::open(&nowhere).is_err());
    log.write(&access());
    log.flush();
    let both = std::fs::read_to_string(&path).unwrap();
    assert!(both.lines().count() == 2 && !both.contains('{'), "an error changes nothing: {both}");

    log.apply(Some(&to(&path, LogFormat::Json))).unwrap();
    log.write(&access());
    log.flush();
    assert!(std::fs::read_to_string(&path).unwrap().lines().nth(2).unwrap().starts_with('{'));
    log.apply(None).unwrap();
    assert!(!log.is_on());
    log.write(&access());
    log.flush();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_target_that_cannot_be_opened_is_a_problem_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let to = |name: &str| {
        let text = format!("[log]\naccess.to = \"{name}\"\n[listener.a]\nbind = \"127.0.0.1:0\"\n");
        let config = config::parse(&text, &dir.path().join("proxy.toml")).unwrap();
        config.log.access.unwrap()
    };
    let shown =
        |problem: Problem| problem.to_string().replace(&format!("{}/", dir.path().display()), "");
    std::fs::write(dir.path().join("plain"), "").unwrap();
    for (name, hint) in [
        ("gone/x.log", "make the folder gone, or name another file"),
        (".", "name a file in this folder"),
        ("plain/x.log", "write there, or name another file"),
    ] {
        let checked = AccessLog::check(&to(name)).map_err(shown).unwrap_err();
        let begin = format!("proxy.toml:2:13: log.access.to: open the access log {name}");
        let begin = if name == "." { "proxy.toml:2:13: log.access.to: " } else { &begin };
        assert!(checked.starts_with(begin) && checked.ends_with(hint), "{checked}");
        let opened = AccessLog::open(&to(name)).map(drop).map_err(shown).unwrap_err();
        assert!(opened.starts_with(begin) && opened.ends_with(hint), "{opened}");
    }
    assert!(AccessLog::check(&to("x.log")).is_ok() && AccessLog::check(&to("plain")).is_ok());
    assert!(!dir.path().join("x.log").exists(), "a check makes no file");
}

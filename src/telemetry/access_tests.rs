//! Lines say what happened, hold nothing that a client can break out of, and never make it wait.
use super::super::lanes::ROOM;
use super::super::line::tests::{access, text};
use super::*;
use crate::config;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

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
    log.0.out.aim(Box::new(Gate { opened, open: false, said })).unwrap();
    log.0.on.store(true, Relaxed);
    (log, open, hear)
}

#[test]
fn a_target_that_stands_still_costs_lines_and_no_time() {
    let (log, open, hear) = gated();
    let line = text(&access()).len();
    let lines = 2 * ROOM / line;
    // Were a write to wait for the target, this would never end: the gate opens only afterwards.
    for n in 0..lines {
        log.write(&Access { status: 200, bytes_in: n as u64, ..access() });
    }
    let dropped = log.dropped() as usize;
    assert!(dropped > 0 && dropped <= lines - ROOM / (line + 8), "{dropped} of {lines} dropped");
    open.send(()).unwrap();
    let mut text = Vec::new();
    while text.iter().filter(|b| **b == b'\n').count() < lines - dropped {
        text.extend(
            hear.recv_timeout(Duration::from_secs(60)).expect("what was queued is written"),
        );
    }
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.lines().count() + dropped, lines);
    assert!(text.lines().all(|line| line.ends_with(" 192.0.2.8:1;tls=TLSv1.3 1.3")), "a torn line");
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
    log.0.out.aim(Box::new(Broken)).unwrap();
    log.0.on.store(true, Relaxed);
    log.write(&access());
    log.flush();
    assert!(log.dropped() >= 1, "a lost line is counted");
    let (said, hear) = channel();
    let (open, opened) = channel();
    open.send(()).unwrap();
    log.0.out.aim(Box::new(Gate { opened, open: false, said })).unwrap();
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
        sample: config::Percent::new(1.0).unwrap(),
        only_errors: false,
    };
    let log = AccessLog::open(&to(&path, LineFormat::Text)).unwrap();
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

    let nowhere = to(&folder.path().join("no/such"), LineFormat::Json);
    assert!(log.apply(Some(&nowhere)).is_err() && AccessLog::open(&nowhere).is_err());
    log.write(&access());
    log.flush();
    let both = std::fs::read_to_string(&path).unwrap();
    assert!(both.lines().count() == 2 && !both.contains('{'), "an error changes nothing: {both}");

    log.apply(Some(&to(&path, LineFormat::Json))).unwrap();
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

/// Takes so many bytes, then says that it is full, until it is let.
struct Disk {
    room: Arc<std::sync::atomic::AtomicUsize>,
    said: Sender<Vec<u8>>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room.load(Relaxed).min(bytes.len());
        self.room.fetch_sub(room, Relaxed);
        self.said.send(bytes[..room].to_vec()).map_err(io::Error::other)?;
        if room == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(room) }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_loses_whole_lines_each_counted_and_the_next_begins_anew() {
    let log = AccessLog::off();
    let (said, hear) = channel();
    let line = text(&access()).len();
    let room = Arc::new(std::sync::atomic::AtomicUsize::new(2 * line + 10));
    log.0.out.aim(Box::new(Disk { room: room.clone(), said })).unwrap();
    log.0.on.store(true, Relaxed);
    (0..5).for_each(|_| log.write(&access()));
    log.flush();
    assert_eq!(log.dropped(), 3, "two lines are there, and the beginning of a third");
    (0..4).for_each(|_| log.write(&access()));
    log.flush();
    assert_eq!(log.dropped(), 7);
    room.store(1 << 20, Relaxed);
    log.write(&access());
    log.flush();
    assert_eq!(log.dropped(), 7);
    let text = String::from_utf8(hear.try_iter().flatten().collect()).unwrap();
    let lines: Vec<usize> = text.split_inclusive('\n').map(str::len).collect();
    assert_eq!(lines, [line, line, 11, line], "{text}");
}

#[test]
fn a_share_is_drawn_and_what_failed_is_always_there() {
    let log = AccessLog::off();
    let config = |words: &str| {
        let text = format!(
            "[log]\naccess = {{ to = \"/dev/null\"{words} }}\n[listener.a]\nbind = \"127.0.0.1:0\"\n"
        );
        config::parse(&text, Path::new("proxy.toml")).unwrap().log.access
    };
    let count = |worth| (0..20_000).filter(|_| log.takes(worth)).count();
    assert_eq!((count(true), count(false)), (0, 0), "there is no log");
    for (words, least, most) in [
        ("", 20_000, 20_000),
        (", sample = \"100%\"", 20_000, 20_000),
        (", sample = \"10%\"", 1_700, 2_300),
        (", sample = \"0%\"", 0, 0),
        (", only = \"errors\"", 0, 0),
    ] {
        log.apply(config(words).as_ref()).unwrap();
        let drawn = count(false);
        assert!((least..=most).contains(&drawn), "{words}: {drawn}");
        assert_eq!(count(true), 20_000, "{words}");
    }
}

#[test]
fn who_sleeps_is_woken_and_who_is_gone_takes_its_thread_along() {
    let (log, open, hear) = gated();
    open.send(()).unwrap();
    let lanes = log.0.out.lanes.clone();
    let patience = Instant::now() + Duration::from_secs(60);
    while !lanes.asleep.load(Relaxed) {
        assert!(Instant::now() < patience, "it never sleeps");
        std::thread::yield_now();
    }
    log.write(&access());
    assert!(hear.recv_timeout(Duration::from_secs(60)).is_ok());
    drop(log);
    // Its target is dropped with it, which the other end of the channel notices.
    while hear.recv_timeout(Duration::from_secs(60)).is_ok() {}
    assert!(hear.try_recv().is_err());
}

//! Lines say what happened, hold nothing that a client can break out of, and never make it wait.
use super::*;
use crate::config;
use std::sync::mpsc::{Receiver, Sender, channel};

fn access() -> Access<'static> {
    Access {
        time: UNIX_EPOCH + Duration::from_millis(1_709_210_096_007),
        client: Some("192.0.2.7:4711".parse().unwrap()),
        method: b"GET",
        target: b"/p?q=1",
        host: b"a.test:80",
        status: 200,
        reason: "-",
        listener: "web",
        route: "api",
        pool: "app",
        backend: "b1",
        tries: 1,
        bytes_in: 12,
        bytes_out: 345,
        duration: Duration::from_micros(1_500_042),
        connect: Some(Duration::from_micros(250)),
        first_byte: None,
        request_id: b"id-1",
    }
}

#[test]
fn a_text_line_says_every_field_in_its_order() {
    assert_eq!(
        text(&access()),
        "2024-02-29T12:34:56.007Z 192.0.2.7:4711 \"GET /p?q=1\" a.test:80 200 - web api app b1 1 12 \
         345 1.500042 0.000250 - id-1\n"
    );
    let unknown = Access {
        client: None,
        host: b"",
        request_id: b"",
        connect: None,
        first_byte: Some(Duration::from_secs(2)),
        ..access()
    };
    let line = text(&unknown);
    assert!(
        line.contains(" - \"GET /p?q=1\" - 200 ") && line.ends_with(" - 2.000000 -\n"),
        "{line}"
    );
}

#[test]
fn a_json_line_is_an_object_with_every_name() {
    let line = json(&access());
    assert!(line.ends_with("}\n"));
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let expected = serde_json::json!({
        "time": "2024-02-29T12:34:56.007Z", "client": "192.0.2.7:4711", "method": "GET",
        "target": "/p?q=1", "host": "a.test:80", "reason": "-", "listener": "web",
        "route": "api", "pool": "app", "backend": "b1", "status": 200, "tries": 1,
        "bytes_in": 12, "bytes_out": 345, "duration": 1.500042, "connect": 0.00025,
        "request_id": "id-1",
    });
    assert_eq!(value, expected);
}

#[test]
fn no_byte_of_a_client_breaks_out_of_its_field() {
    for byte in 0..=255u8 {
        let bytes = [b'a', byte, b'"', b'\\', b'z'];
        let hostile =
            Access { method: &bytes, target: &bytes, host: &bytes, request_id: &bytes, ..access() };
        let (text, json) = (text(&hostile), json(&hostile));
        for line in [&text, &json] {
            let inside = line.strip_suffix('\n').unwrap();
            assert!(inside.bytes().all(|b| (0x20..0x7f).contains(&b)), "{byte:#x}: {line:?}");
        }
        // Quotes in a text line are the two around the request, all others are escaped.
        let bare = text.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(bare.matches('"').count(), 2, "{text}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let said: String = bytes.iter().map(|b| char::from(*b)).collect();
        for name in ["method", "target", "host", "request_id"] {
            assert_eq!(value[name], serde_json::Value::from(&*said), "{byte:#x}");
        }
    }
}

#[test]
fn times_are_civil_dates() {
    for (seconds, said) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (951_868_799, "2000-02-29T23:59:59.000Z"),
        (951_868_800, "2000-03-01T00:00:00.000Z"),
        (1_767_225_599, "2025-12-31T23:59:59.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), said);
    }
    assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
}

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
    assert!(text.lines().all(|line| line.ends_with(" id-1")), "a torn line");
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

//! Lines say what happened, and hold nothing that a client or a name can break out of.
use super::super::number::rfc3339;
use super::*;
use std::time::UNIX_EPOCH;

/// In no more room than `most`: what does not fit would be missing.
fn said(most: usize, line: impl FnOnce(&mut Line<'_>)) -> String {
    let mut lines = Lines::default();
    lines.add(most, line);
    String::from_utf8(lines.bytes().to_vec()).unwrap()
}

pub(in crate::telemetry) fn text(access: &Access<'_>) -> String {
    said(most(access), |line| super::text(access, line))
}

fn json(access: &Access<'_>) -> String {
    said(most(access), |line| super::json(access, line))
}

fn template(template: &LogTemplate, access: &Access<'_>) -> String {
    said(most_of(template, access), |line| super::template(template, access, line))
}

pub(in crate::telemetry) fn access() -> Access<'static> {
    Access {
        time: Duration::from_millis(1_709_210_096_007),
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
        tls: "1.3",
        sni: b"a.test",
        proxy: "192.0.2.8:1;tls=TLSv1.3",
        place: None,
    }
}

#[test]
fn a_text_line_says_every_field_in_its_order() {
    assert_eq!(
        text(&access()),
        "2024-02-29T12:34:56.007Z 192.0.2.7:4711 \"GET /p?q=1\" a.test:80 200 - web api app b1 1 12 \
         345 1.500042 0.000250 - id-1 a.test 192.0.2.8:1;tls=TLSv1.3 1.3\n"
    );
    let unknown = Access {
        client: None,
        host: b"",
        request_id: b"",
        sni: b"",
        tls: "",
        proxy: "",
        place: None,
        connect: None,
        first_byte: Some(Duration::from_secs(2)),
        ..access()
    };
    let line = text(&unknown);
    assert!(
        line.contains(" - \"GET /p?q=1\" - 200 ") && line.ends_with(" - 2.000000 - - - -\n"),
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
        "request_id": "id-1", "sni": "a.test", "proxy": "192.0.2.8:1;tls=TLSv1.3",
        "tls": "1.3",
    });
    assert_eq!(value, expected);
}

#[test]
fn no_byte_of_a_client_breaks_out_of_its_field() {
    for byte in 0..=255u8 {
        let bytes = [b'a', byte, b'"', b'\\', b'z'];
        let hostile = Access {
            method: &bytes,
            target: &bytes,
            host: &bytes,
            request_id: &bytes,
            sni: &bytes,
            ..access()
        };
        let (text, json) = (text(&hostile), json(&hostile));
        for line in [&text, &json] {
            let inside = line.strip_suffix('\n').unwrap();
            assert!(inside.bytes().all(|b| (0x20..0x7f).contains(&b)), "{byte:#x}: {line:?}");
        }
        assert_eq!(text.split(' ').count(), 21, "a space in a field is escaped: {text}");
        // Quotes in a text line are the two around the request, all others are escaped.
        let bare = text.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(bare.matches('"').count(), 2, "{text}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let said: String = bytes.iter().map(|b| char::from(*b)).collect();
        for name in ["method", "target", "host", "request_id", "sni"] {
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
        (253_402_300_799, "9999-12-31T23:59:59.000Z"),
        (253_402_300_800, "9999-12-31T23:59:59.000Z"),
    ] {
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), said);
    }
    assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
}

#[test]
fn a_template_says_what_it_is_told_and_no_more() {
    let config = |format: &str| {
        let text = format!(
            "[log]\naccess = {{ to = 'stdout', format = '{format}' }}\n[listener.a]\nbind = '127.0.0.1:0'\n"
        );
        let config = crate::config::parse(&text, std::path::Path::new("proxy.toml")).unwrap();
        match config.log.access.unwrap().format {
            crate::config::LineFormat::Template(template) => template,
            other => panic!("{other:?}"),
        }
    };
    let all: Vec<String> = LogField::ALL.iter().map(|(name, _)| format!("{{{name}}}")).collect();
    let each = template(&config(&all.join(" ")), &access());
    // In the order of the text, but that this has quotes.
    let said = text(&access()).replace("\"GET /p?q=1\"", "GET /p?q=1");
    assert_eq!(each, said);
    let odd = config("{{{status}}}\t\"{method} {target}\" {sni}|{first_byte}");
    let hostile = Access { target: b"/\"\x1b[2J \xff", sni: b"", ..access() };
    assert_eq!(template(&odd, &hostile), "{200}\t\"GET /\\u0022\\u001b[2J\\u0020\\u00ff\" -|-\n");
    let quotes = template(&config("{target}\"{status}"), &hostile);
    assert_eq!(
        quotes.trim().split('"').collect::<Vec<_>>(),
        ["/\\u0022\\u001b[2J\\u0020\\u00ff", "200"]
    );
    let none = template(&config("{target} {status}"), &hostile);
    assert_eq!(none, "/\\\"\\u001b[2J\\u0020\\u00ff 200\n");
}

#[test]
fn numbers_are_what_the_standard_library_writes() {
    let mut random = fastrand::Rng::with_seed(3);
    assert_eq!(
        rfc3339(UNIX_EPOCH + Duration::from_nanos(7_008_999_999)),
        "1970-01-01T00:00:07.008Z"
    );
    for _ in 0..2000 {
        let number = random.u64(..) >> random.u32(..64);
        let said = |put: &dyn Fn(&mut Line<'_>)| said(64, |line| put(line));
        assert_eq!(said(&|out| digits(number, out)), number.to_string());
        let micros = Duration::from_micros(number >> 20);
        assert_eq!(
            said(&|out| seconds(micros, out)),
            format!("{}.{:06}", micros.as_secs(), micros.subsec_micros())
        );
        let v4 = SocketAddr::from((random.u32(..).to_be_bytes(), random.u16(..)));
        let v6 = SocketAddr::from((random.u128(..).to_be_bytes(), random.u16(..)));
        for addr in [v4, v6] {
            assert_eq!(said(&|out| address(addr, out)), addr.to_string());
        }
    }
}

#[test]
fn names_and_empty_fields_keep_their_places() {
    let odd =
        Access { listener: "my web", backend: "a\"b\\ü", method: b"", target: b"", ..access() };
    let line = text(&odd);
    assert_eq!(line.split(' ').count(), text(&access()).split(' ').count(), "{line}");
    assert!(
        line.contains(" \"- -\" a.test:80 200 - my\\u0020web api app a\\\"b\\\\ü 1 "),
        "{line}"
    );
}

#[test]
fn names_that_were_written_before_are_written_alike() {
    for [listener, route, pool] in
        [["web", "api", "app"], ["my web", "a\"b\\ü", "\u{202e}"], [""; 3]]
    {
        let plain = Access { listener, route, pool, ..access() };
        let place = Place::new(listener, route, pool);
        let known = Access { place: Some(&place), ..plain };
        let plain = Access { listener, route, pool, ..access() };
        assert_eq!(text(&known), text(&plain));
        assert_eq!(json(&known), json(&plain));
    }
}

#[test]
fn numbers_and_addresses_are_what_the_standard_library_writes() {
    let said = |write: &dyn Fn(&mut Line<'_>)| said(64, |line| write(line));
    for n in (0..1100).chain([
        9_999,
        10_000,
        123_456,
        99_999_999,
        100_000_000,
        1_000_000_007,
        u64::MAX - 1,
        u64::MAX,
    ]) {
        assert_eq!(said(&|out| digits(n, out)), n.to_string());
    }
    for octet in 0..=255_u8 {
        let addr: SocketAddr = ([octet, 0, 255, 255 - octet], u16::from(octet) * 257).into();
        assert_eq!(said(&|out| address(addr, out)), addr.to_string());
    }
}

#[test]
fn text_is_written_as_utf8_and_what_is_none_byte_by_byte() {
    let target = "/é/\u{202e}\u{85}\u{1f600} x".as_bytes();
    let odd = Access { target, host: b"a\xc3(\xff", backend: "odd \"x\\ ü", ..access() };
    let line = json(&odd);
    assert!(line.contains(r#""target":"/é/\u202e\u0085😀 x""#), "{line}");
    assert!(line.contains(r#""host":"a\u00c3(\u00ff""#), "{line}");
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["backend"], "odd \"x\\ ü");
    assert_eq!(value["target"], "/é/\u{202e}\u{85}\u{1f600} x");
}

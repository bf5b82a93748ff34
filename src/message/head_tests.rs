//! Names are known or not, fields are found, changed, undone and written in order.
use super::*;
use crate::message::Chunk;

#[test]
fn every_known_name_is_found_in_any_case_and_its_neighbours_are_not() {
    let mut bits = 0;
    for known in Known::ALL {
        let name = known.name();
        for spelt in [name.to_string(), name.to_ascii_lowercase(), name.to_ascii_uppercase()] {
            assert_eq!(Known::of(spelt.as_bytes()), Some(*known), "{spelt}");
        }
        assert_eq!(bits & known.bit(), 0, "{name} shares its bit");
        bits |= known.bit();
        let found = |name: &[u8]| Known::ALL.iter().any(|k| k.name().as_bytes() == name);
        for at in 0..name.len() {
            let mut near = name.as_bytes().to_vec();
            near[at] ^= 1;
            assert_eq!(Known::of(&near).is_some(), found(&near), "{}", near.escape_ascii());
            near.remove(at);
            assert_eq!(Known::of(&near).is_some(), found(&near), "{}", near.escape_ascii());
        }
        assert_eq!(Known::of(&[name.as_bytes(), b"s"].concat()), None);
        // What differs by the bit of case only, and is no letter, is another name.
        let twisted = name.replace('-', "\r");
        assert_eq!(Known::of(twisted.as_bytes()).is_some(), !name.contains('-'), "{name}");
    }
    for name in [&b""[..], b"x", b"\0", &[b'h'; 300], b"Host\0", b" Host", b"Hos"] {
        assert_eq!(Known::of(name), None);
    }
}

#[test]
fn a_method_is_known_by_its_exact_token() {
    for (token, method, idempotent) in [
        ("GET", Method::Get, true),
        ("HEAD", Method::Head, true),
        ("POST", Method::Post, false),
        ("PUT", Method::Put, true),
        ("DELETE", Method::Delete, true),
        ("CONNECT", Method::Connect, false),
        ("OPTIONS", Method::Options, true),
        ("TRACE", Method::Trace, true),
        ("PATCH", Method::Patch, false),
        ("get", Method::Other, false),
        ("GETS", Method::Other, false),
        ("", Method::Other, false),
    ] {
        assert_eq!(Method::of(token.as_bytes()), method, "{token}");
        assert_eq!(method.is_idempotent(), idempotent, "{token}");
    }
}

/// Fields as a parser leaves them: lines of the wire, some of them not in the usual form.
fn loaded(lines: &[(&str, &str, &str)]) -> Fields {
    let wire: String = lines.iter().map(|(n, sep, v)| format!("{n}{sep}{v}\r\n")).collect();
    let mut fields = Fields::new();
    fields.begin();
    let mut at = 0;
    for (name, sep, value) in lines {
        let bare = value.trim_end();
        let value_at = at + name.len() + sep.len();
        let end = value_at + value.len() + 2;
        let name = (at, name.len(), Known::number(name.as_bytes()));
        let usual = *sep == ": " && bare.len() == value.len();
        fields.index_line(name, (value_at, bare.len()), usual);
        at = end;
    }
    fields.keep(wire.as_bytes());
    fields
}

fn written(fields: &Fields, skip: u64) -> String {
    let mut out = Chunk::none();
    fields.write_to(skip, &mut out);
    String::from_utf8(out.data().to_vec()).unwrap()
}

/// What `write_to` must say, line by line.
fn by_hand(fields: &Fields, skip: u64) -> String {
    let text = String::from_utf8_lossy;
    fields
        .iter()
        .filter(|(name, _)| Known::of(name).is_none_or(|known| skip & known.bit() == 0))
        .map(|(name, value)| format!("{}: {}\r\n", text(name), text(value)))
        .collect()
}

#[test]
fn odd_lines_are_written_anew_and_usual_ones_as_they_came() {
    let fields = loaded(&[
        ("Host", ": ", "a"),
        ("X-One", ":", "1"),
        ("accept", ": ", "*/*"),
        ("Via", ": ", "p"),
        ("X-Two", ":  ", "2"),
        ("X-Three", ": ", "3 \t"),
        ("X-Empty", ":", ""),
        ("X-Void", ": ", ""),
        ("cookie", ": ", "c"),
    ]);
    assert_eq!(
        written(&fields, 0),
        "Host: a\r\nX-One: 1\r\naccept: */*\r\nVia: p\r\nX-Two: 2\r\nX-Three: 3\r\nX-Empty: \r\n\
         X-Void: \r\ncookie: c\r\n"
    );
    let skip = Known::Via.bit() | Known::Host.bit() | Known::Cookie.bit();
    assert_eq!(
        written(&fields, skip),
        "X-One: 1\r\naccept: */*\r\nX-Two: 2\r\nX-Three: 3\r\nX-Empty: \r\nX-Void: \r\n"
    );
}

#[test]
fn a_set_field_stands_where_the_first_of_its_name_stood() {
    let mut fields =
        loaded(&[("A", ": ", "1"), ("via", ": ", "x"), ("B", ": ", "2"), ("Via", ": ", "y")]);
    fields.set("Via", b"z").unwrap();
    assert_eq!(written(&fields, 0), "A: 1\r\nVia: z\r\nB: 2\r\n");
    fields.set("C", b"3").unwrap();
    fields.set("a", b"4").unwrap();
    assert_eq!(written(&fields, 0), "a: 4\r\nVia: z\r\nB: 2\r\nC: 3\r\n");
    assert_eq!((fields.len(), fields.is_empty()), (4, false));
    assert_eq!(fields.get(Known::Via), Some(&b"z"[..]));
    fields.remove(Known::Via);
    assert!(!fields.has(Known::Via) && fields.get(Known::Via).is_none());
    fields.push(Known::Via, &[b"1.1 ", b"me"]);
    assert_eq!(fields.find("via"), Some(&b"1.1 me"[..]));
}

#[test]
fn what_may_not_stand_in_a_message_changes_nothing() {
    let mut fields = loaded(&[("A", ": ", "1")]);
    for name in ["", "a b", "a:", "a\r\n", "\u{e4}", "(a)"] {
        assert_eq!(fields.append(name, b"v"), Err(Invalid::Name), "{name:?}");
        assert_eq!(fields.set(name, b"v"), Err(Invalid::Name), "{name:?}");
    }
    for value in [&b"a\r\nB: 2"[..], b"a\rb", b"a\nb", b"\0", b"\x7f", b"\x1b"] {
        assert_eq!(fields.append("B", value), Err(Invalid::Value), "{value:?}");
        assert_eq!(fields.set("A", value), Err(Invalid::Value), "{value:?}");
    }
    assert_eq!(written(&fields, 0), "A: 1\r\n");
    fields.append("B", b"tab\tand caf\xc3\xa9 ").unwrap();
    assert_eq!(fields.len(), 2);
}

/// One random change.
fn change(fields: &mut Fields, random: &mut fastrand::Rng) {
    const NAMES: [&str; 8] = ["Host", "via", "Cookie", "X-A", "x-a", "X-B", "TE", "x-c"];
    let name = NAMES[random.usize(..NAMES.len())];
    let value = "v".repeat(random.usize(..4));
    match random.u8(..4) {
        0 => fields.append(name, value.as_bytes()).unwrap(),
        1 => fields.set(name, value.as_bytes()).unwrap(),
        2 => fields.remove_named(name.as_bytes()),
        _ => fields.push(Known::Cookie, &[value.as_bytes(), b"w"]),
    }
}

#[test]
fn after_any_changes_every_view_agrees() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..2000 {
        let mut head = Head::new();
        head.fields = loaded(&[
            ("Host", ": ", "a"),
            ("X-A", ":", "1"),
            ("Via", ": ", "p"),
            ("X-B", ": ", "2 "),
            ("cookie", ": ", "c"),
        ]);
        for _ in 0..random.usize(..4) {
            change(&mut head, &mut random);
        }
        for _ in 0..random.usize(..6) {
            change(&mut head, &mut random);
            let skip = Known::ALL[random.usize(..Known::ALL.len())].bit();
            assert_eq!(written(&head, skip), by_hand(&head, skip));
            assert_eq!(written(&head, 0), by_hand(&head, 0));
            for known in Known::ALL {
                assert_eq!(head.has(*known), head.find(known.name()).is_some());
                assert_eq!(head.all(*known).count(), head.find_all(known.name()).count());
            }
            assert_eq!(head.len(), head.iter().count());
        }
    }
}

#[test]
fn a_target_is_taken_apart() {
    for (method, target, authority, path, query) in [
        ("GET", "/", None, "/", None),
        ("GET", "/a?b?c", None, "/a", Some("b?c")),
        ("GET", "/?", None, "/", Some("")),
        ("OPTIONS", "*", None, "*", None),
        ("GET", "http://h:1/p?q", Some("h:1"), "/p", Some("q")),
        ("GET", "HTTPS://h", Some("h"), "/", None),
        ("OPTIONS", "http://h", Some("h"), "*", None),
        ("GET", "http://h?q", Some("h"), "", Some("q")),
        ("CONNECT", "h:1", Some("h:1"), "h:1", None),
    ] {
        let mut head = Head::new();
        head.start_request(method.as_bytes(), target.as_bytes(), Version::Http11).unwrap();
        assert_eq!(head.authority(), authority.map(str::as_bytes), "{target}");
        assert_eq!(head.path(), path.as_bytes(), "{target}");
        assert_eq!(head.query(), query.map(str::as_bytes), "{target}");
    }
    let mut head = Head::new();
    for bad in [&b""[..], b"/a b", b"/#", b"/\x00", b"/\xc3\xa4", b"/\r\n"] {
        let refused = head.start_request(b"GET", bad, Version::Http11);
        assert_eq!(refused, Err(Invalid::Target));
        assert_eq!(head.set_target(bad), Err(Invalid::Target));
    }
    assert_eq!(head.start_request(b"G T", b"/", Version::Http11), Err(Invalid::Name));
}

#[test]
fn a_response_starts_with_its_usual_reason() {
    let mut head = Head::new();
    head.start_request(b"GET", b"/", Version::Http11).unwrap();
    head.append("X", b"1").unwrap();
    head.start_response(404, Version::Http10);
    assert_eq!((head.status(), head.reason(), head.len()), (404, &b"Not Found"[..], 0));
    assert_eq!(head.version(), Version::Http10);
    head.start_response(799, Version::Http11);
    assert_eq!((head.status(), head.reason()), (799, &b""[..]));
}

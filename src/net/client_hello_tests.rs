//! Every prefix, every split, records of every size, and what others send.
use super::*;

/// A vector behind its length of N bytes.
fn vector<const N: usize>(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len().to_be_bytes();
    [&length[length.len() - N..], bytes].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector::<2>(body)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &vector::<2>(&[&[0], &vector::<2>(name)[..]].concat()))
}

fn body(extensions: Option<&[u8]>) -> Vec<u8> {
    let extensions = extensions.map(vector::<2>).unwrap_or_default();
    [&[3, 3][..], &[7; 32], &vector::<1>(&[9; 32]), &vector::<2>(&[0x13, 1]), &[1, 0], &extensions]
        .concat()
}

fn message(extensions: Option<&[u8]>) -> Vec<u8> {
    [&[1][..], &vector::<3>(&body(extensions))].concat()
}

/// In records of so many bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &vector::<2>(part)].concat()).collect()
}

/// A key share larger than a segment stands before the name.
fn large(name: &[u8]) -> Vec<u8> {
    [extension(51, &[5; 1300]), server_name(name), extension(16, b"\0\x03\x02h2")].concat()
}

fn read(bytes: &[u8]) -> Result<Option<Hello>, Fault> {
    Reader::default().feed(bytes)
}

fn named(name: &str) -> Result<Option<Hello>, Fault> {
    Ok(Some(Hello { name: Some(name.into()) }))
}

#[test]
fn the_name_is_found_however_the_records_are_cut() {
    let message = message(Some(&large(b"a.Example.COM")));
    for size in [1, 2, 3, 4, 5, 7, 100, 1200, RECORD_MOST] {
        let bytes = records(&message, size);
        assert_eq!(read(&bytes), named("a.example.com"), "records of {size}");
        // What follows is the client's own affair.
        assert_eq!(read(&[&bytes[..], b"\x17garbage"].concat()), named("a.example.com"));
    }
}

#[test]
fn every_prefix_asks_for_more_and_every_split_says_the_same() {
    for size in [5, 700, RECORD_MOST] {
        let bytes = records(&message(Some(&large(b"a.test"))), size);
        for n in 0..bytes.len() {
            let mut reader = Reader::default();
            assert_eq!(reader.feed(&bytes[..n]), Ok(None), "{n}");
            assert_eq!(reader.feed(&bytes), named("a.test"), "split at {n}");
        }
        let mut reader = Reader::default();
        let all: Vec<_> = (1..=bytes.len()).map(|n| reader.feed(&bytes[..n])).collect();
        assert_eq!(all.last().unwrap(), &named("a.test"));
        assert!(all[..all.len() - 1].iter().all(|read| *read == Ok(None)));
    }
}

#[test]
fn a_hello_without_a_name_has_none() {
    for extensions in [None, Some(&b""[..]), Some(&extension(10, b"\0\x02\0\x1d")[..])] {
        let bytes = records(&message(extensions), RECORD_MOST);
        assert_eq!(read(&bytes), Ok(Some(Hello { name: None })));
    }
    let unknown = extension(0, &vector::<2>(b"\x01anything"));
    let bytes = records(&message(Some(&unknown)), RECORD_MOST);
    assert_eq!(read(&bytes), Ok(Some(Hello { name: None })));
}

#[test]
fn names_have_one_form_and_what_no_host_is_called_is_refused() {
    let of = |name: &[u8]| read(&records(&message(Some(&server_name(name))), RECORD_MOST));
    for (name, form) in [
        ("A.test", "a.test"),
        ("a.test.", "a.test"),
        ("_x-1.test", "_x-1.test"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        (&"a".repeat(253), &"a".repeat(253)),
    ] {
        assert_eq!(of(name.as_bytes()), named(form), "{name}");
    }
    for name in [
        &b""[..],
        b".",
        b".a",
        b"a..b",
        b"a\0.test",
        b"a b",
        b"\xc3\xa4.test",
        b"a\r\nb",
        b"a..",
        &[b'a'; 254],
    ] {
        assert_eq!(of(name), Err(Fault::Illegal), "{}", name.escape_ascii());
    }
}

#[test]
fn what_is_no_hello_is_refused_with_the_alert_for_it() {
    let whole = |extensions: &[u8]| records(&message(Some(extensions)), RECORD_MOST);
    let short = |body: &[u8]| records(&[&[1][..], &vector::<3>(body)].concat(), RECORD_MOST);
    let good = body(Some(&server_name(b"a.test")));
    let two = [server_name(b"a.test"), server_name(b"b.test")].concat();
    let twice = extension(0, &vector::<2>(&b"\0\0\x01a".repeat(2)));
    let odd = |from: usize, with: &[u8]| {
        let mut body = good.clone();
        body.splice(from..from + with.len(), with.iter().copied());
        short(&body)
    };
    let huge = [&[1][..], &vector::<3>(&vec![0; MOST])].concat();
    for (bytes, fault) in [
        (b"GET / HTTP/1.1".to_vec(), Fault::NotTls),
        (b"\x80\x2e\x01\x03\x01".to_vec(), Fault::NotTls), // of SSL 2
        (vec![22, 2], Fault::NotTls),
        (vec![22, 3, 5], Fault::NotTls),
        (vec![21, 3, 1], Fault::NotTls),
        (vec![22, 3, 1, 0, 0], Fault::Garbled),
        (vec![22, 3, 1, 0x40, 1], Fault::Overflow),
        (vec![22, 3, 1, 0, 5, 2], Fault::Garbled),
        (vec![22, 3, 1, 0x40, 0, 1, 0, 0x40, 0], Fault::TooLarge),
        (records(&huge, 9000), Fault::TooLarge),
        (records(&message(Some(&extension(9, &[0; 6000]))), 2), Fault::TooLarge),
        ([&records(&message(None)[..20], 99)[..], &[23, 3, 1, 0, 1]].concat(), Fault::NotTls),
        (short(b""), Fault::Garbled),
        (short(&good[..good.len() - 1]), Fault::Garbled),
        (short(&[&good[..], b"x"].concat()), Fault::Garbled),
        (odd(34, &[33]), Fault::Garbled),
        (odd(67, &[0, 0]), Fault::Garbled),
        (odd(67, &[0, 1]), Fault::Garbled),
        (whole(&two), Fault::Illegal),
        (whole(&[extension(9, b""), extension(9, b"")].concat()), Fault::Illegal),
        (whole(&twice), Fault::Illegal),
        (whole(&extension(0, b"")), Fault::Garbled),
        (whole(&extension(0, b"\0\0")), Fault::Garbled),
        (whole(&extension(0, b"\0\x04\0\0\x02a")), Fault::Garbled),
        (whole(&extension(0, b"\0\x04\0\0\x01ab")), Fault::Garbled),
        (whole(b"\0\0\0\x09a"), Fault::Garbled),
    ] {
        assert_eq!(read(&bytes), Err(fault), "{}", bytes.escape_ascii());
        let mut reader = Reader::default();
        let first = (1..=bytes.len()).map(|n| reader.feed(&bytes[..n])).find(|r| *r != Ok(None));
        assert_eq!(first, Some(Err(fault)), "byte by byte: {}", bytes.escape_ascii());
        assert_eq!(fault.alert()[..6], [21, 3, 3, 0, 2, 2]);
    }
    assert_eq!(unrecognized_name()[6], 112);
}

#[test]
fn random_bytes_and_damaged_hellos_never_panic_and_never_depend_on_their_splits() {
    let mut random = fastrand::Rng::with_seed(8);
    let good = records(&message(Some(&large(b"a.test"))), 900);
    for round in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        if round % 4 == 0 {
            bytes.truncate(random.usize(..bytes.len()));
        }
        if round % 7 == 0 {
            random.fill(bytes.get_mut(5..).unwrap_or_default());
        }
        let whole = read(&bytes);
        let mut reader = Reader::default();
        let (mut n, mut parts) = (0, Ok(None));
        while n < bytes.len() && parts == Ok(None) {
            n = (n + random.usize(1..600)).min(bytes.len());
            parts = reader.feed(&bytes[..n]);
        }
        assert_eq!(whole, parts, "{}", bytes.escape_ascii());
    }
}

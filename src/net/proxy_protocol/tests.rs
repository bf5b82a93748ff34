//! Every prefix, every lie about a length, and what others write.
use super::*;
use std::net::SocketAddr;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn ip(source: &str, destination: &str) -> Ends {
    Ends::Ip { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xc8, 0x22, 0x01, 0xbb];

fn every_tlv() -> Vec<u8> {
    let ssl = [&[7, 0, 0, 0, 0], &tlv(0x21, b"TLSv1.3")[..], &tlv(0x22, b"al"), &tlv(0x23, b"x")]
        .concat();
    [
        tlv(0x01, b"h2"),
        tlv(0x02, b"a.test"),
        tlv(0x04, &[0; 7]),
        tlv(0x05, b"id-1"),
        tlv(0x20, &ssl),
        tlv(0xe0, b"own"),
    ]
    .concat()
}

/// Whole headers and what they say.
fn good() -> Vec<(Vec<u8>, Ends)> {
    let line = |text: &str| format!("{text}\r\n").into_bytes();
    let v6 = [[0x20; 16], [0x30; 16]].concat();
    let v6 = [&v6[..], &[0, 1, 0xff, 0xff]].concat();
    let eights = |of: &str| [of; 8].join(":");
    vec![
        (
            line("PROXY TCP4 192.0.2.1 198.51.100.2 51234 443"),
            ip("192.0.2.1:51234", "198.51.100.2:443"),
        ),
        (line("PROXY TCP6 2001:db8::1 ::1 0 65535"), ip("[2001:db8::1]:0", "[::1]:65535")),
        (line("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2"), ip("[::ffff:192.0.2.1]:1", "[::1]:2")),
        (
            line(&format!("PROXY TCP6 {0} {0} 65535 65535", eights("ffff"))),
            ip(&format!("[{}]:65535", eights("ffff")), &format!("[{}]:65535", eights("ffff"))),
        ),
        (line("PROXY UNKNOWN"), Ends::Nobody),
        (line(&format!("PROXY UNKNOWN {}", "x".repeat(91))), Ends::Nobody),
        (v2(0x21, 0x11, &V4), ip("192.0.2.1:51234", "198.51.100.2:443")),
        (v2(0x21, 0x21, &v6), {
            let (source, destination) = (eights("2020"), eights("3030"));
            ip(&format!("[{source}]:1"), &format!("[{destination}]:65535"))
        }),
        (v2(0x21, 0x31, &[0; 216]), Ends::Unix),
        (v2(0x21, 0x00, b""), Ends::Nobody),
        (v2(0x20, 0x00, b""), Ends::Nobody),
        (v2(0x20, 0x11, &V4), Ends::Nobody),
        // Of a LOCAL header nothing counts but its length.
        (v2(0x20, 0x77, b"anything"), Ends::Nobody),
        (
            v2(0x21, 0x11, &[&V4[..], &every_tlv()].concat()),
            ip("192.0.2.1:51234", "198.51.100.2:443"),
        ),
    ]
}

#[test]
fn every_prefix_asks_for_more_and_what_follows_is_left() {
    for (bytes, ends) in good() {
        for n in 0..bytes.len() {
            assert_eq!(read(&bytes[..n]), Ok(Read::More), "{n} of {}", bytes.escape_ascii());
        }
        for surplus in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &SIGNATURE.repeat(1000)] {
            let Ok(Read::Whole(header, n)) = read(&[&bytes, surplus].concat()) else {
                panic!("{}", bytes.escape_ascii())
            };
            assert_eq!((header.ends, n), (ends, bytes.len()), "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn tlvs_are_kept_and_the_first_of_a_kind_counts() {
    let twice = [every_tlv(), tlv(0x02, b"b.test"), tlv(0x20, &[0; 5])].concat();
    for all in [every_tlv(), twice] {
        let bytes = v2(0x21, 0x11, &[&V4[..], &all].concat());
        let Ok(Read::Whole(header, _)) = read(&bytes) else { panic!() };
        let bytes = |text: &str| Some(text.as_bytes().into());
        let ssl = Ssl { client: 7, verify: 0, version: bytes("TLSv1.3"), cn: bytes("al") };
        let unique_id = bytes("id-1");
        let tlvs =
            Tlvs { alpn: bytes("h2"), authority: bytes("a.test"), unique_id, ssl: Some(ssl) };
        assert_eq!(header.tlvs, tlvs);
        // What is passed on says the same.
        let again = header.write(Version::V2);
        assert_eq!(read(again.bytes()), Ok(Read::Whole(header, again.bytes().len())));
    }
}

#[test]
fn what_is_no_header_is_refused_and_called_by_its_name() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    let cut = |n: usize| {
        let mut bytes = v2(0x21, 0x11, &[&V4[..], &every_tlv()].concat());
        bytes.truncate(bytes.len() - n);
        let length = u16::try_from(bytes.len() - 16).unwrap().to_be_bytes();
        bytes[14..16].copy_from_slice(&length);
        bytes
    };
    let mut all: Vec<(Vec<u8>, Fault)> = vec![
        (b"GET / HTTP/1.1\r\n".to_vec(), Fault::Missing),
        (b"PROXYTCP4".to_vec(), Fault::Missing),
        (b"POST".to_vec(), Fault::Missing),
        (b"proxy ".to_vec(), Fault::Missing),
        (b"\r\n\r\nGET".to_vec(), Fault::Missing),
        (vec![22, 3, 1], Fault::Missing),
        (long.into_bytes(), Fault::TooLarge),
        (format!("PROXY TCP4 {}", "1".repeat(107)).into_bytes(), Fault::TooLarge),
        (v2(0x21, 0x11, &[&V4[..], &[0xe0, 0, 1]].concat()), Fault::Invalid),
        (v2(0x21, 0x11, &[&V4[..], &tlv(0x05, &[1; 129])].concat()), Fault::Invalid),
        (v2(0x21, 0x11, &[&V4[..], &tlv(0x03, &[0; 3])].concat()), Fault::Invalid),
        (v2(0x21, 0x11, &[&V4[..], &tlv(0x03, &[0; 4])].concat()), Fault::Invalid),
        (v2(0x21, 0x11, &[&V4[..], &tlv(0x20, &[1; 4])].concat()), Fault::Invalid),
        (
            v2(0x21, 0x11, &[&V4[..], &tlv(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 9])].concat()),
            Fault::Invalid,
        ),
        (v2(0x21, 0x31, &[0; 215]), Fault::Invalid),
        (v2(0x20, 0x00, &[0; MOST - 15]), Fault::TooLarge),
        ([SIGNATURE, &[0x20, 0, 0xff, 0xff]].concat(), Fault::TooLarge),
    ];
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\rX",
        "PROXY TCP4 192.0.2.1 198.51.100.2 51234 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 51234 443 1\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 51234 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 51234\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 -1\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 1 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 1 1\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 1 1\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "PROXY TCP4 \u{661}.0.0.1 1.1.1.1 1 1\r\n",
    ] {
        all.push((line.into(), Fault::Invalid));
    }
    // Cut between two TLVs it is a whole one again.
    let cuts = (1..every_tlv().len()).map(cut).filter(|bytes| read(bytes).is_err());
    all.extend(cuts.map(|bytes| (bytes, Fault::Invalid)));
    assert!(all.len() > 70, "{}", all.len());
    for command in (0..=255).filter(|c| ![0x20, 0x21].contains(c)) {
        all.push((v2(command, 0x11, &V4), Fault::Invalid));
    }
    for family in (0..=255).filter(|f| ![0x00, 0x11, 0x21, 0x31].contains(f)) {
        all.push((v2(0x21, family, &[0; 300]), Fault::Invalid));
    }
    for short in 0..12 {
        all.push((v2(0x21, 0x11, &V4[..short]), Fault::Invalid));
    }
    for (bytes, fault) in all {
        assert_eq!(read(&bytes), Err(fault), "{}", bytes.escape_ascii());
        // The same however it comes, and never a header before that.
        let said = (0..=bytes.len()).map(|n| read(&bytes[..n]));
        let first = said.filter(|read| *read != Ok(Read::More)).collect::<Vec<_>>();
        assert!(first.iter().all(|read| *read == Err(fault)), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_checksum_is_verified() {
    // Its own bytes count as zero: CRC-32C of the header with them.
    let mut bytes = v2(0x21, 0x11, &[&V4[..], &tlv(0x03, &[0; 4]), &tlv(0x04, &[0; 2])].concat());
    let at = 16 + 12 + 3;
    let mut crc = !0u32;
    for byte in &bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    bytes[at..at + 4].copy_from_slice(&(!crc).to_be_bytes());
    assert!(matches!(read(&bytes), Ok(Read::Whole(..))));
    for bit in 0..bytes.len() * 8 {
        let mut wrong = bytes.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        let read = read(&wrong);
        // LOCAL has no checksum to be verified, nor has a header whose checksum is another TLV.
        let local = wrong[12] == 0x20 || bit / 8 == 16 + 12;
        assert!(local || !matches!(read, Ok(Read::Whole(_, n)) if n == bytes.len()), "bit {bit}");
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..2000 {
        let mut addr = |v4: bool| {
            let ip = match v4 {
                true => std::net::IpAddr::from(random.u32(..).to_be_bytes()),
                false => std::net::IpAddr::from((random.u128(..) | 1 << 127).to_be_bytes()),
            };
            SocketAddr::new(ip, random.u16(..))
        };
        let v4 = addr(true).port() % 2 == 0;
        let ends = Ends::Ip { source: addr(v4), destination: addr(v4) };
        for version in [Version::V1, Version::V2] {
            let written = Header { ends, ..Header::default() }.write(version);
            let Ok(Read::Whole(header, n)) = read(written.bytes()) else { panic!("{written:?}") };
            assert_eq!((header.ends, n), (ends, written.bytes().len()));
        }
    }
}

#[test]
fn ends_of_two_families_are_one_on_the_wire() {
    let mixed = Header { ends: ip("[2001:db8::1]:1", "192.0.2.1:2"), ..Header::default() };
    assert_eq!(
        mixed.write(Version::V1).bytes(),
        b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 2\r\n"
    );
    let mapped = Header { ends: ip("[::ffff:192.0.2.1]:1", "192.0.2.1:2"), ..Header::default() };
    assert_eq!(mapped.write(Version::V1).bytes(), b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2\r\n");
    for (ends, v1, v2) in [
        (Ends::Nobody, "PROXY UNKNOWN\r\n", [0x20, 0x00, 0, 0]),
        (Ends::Unix, "PROXY UNKNOWN\r\n", [0x21, 0x00, 0, 0]),
    ] {
        let header = Header { ends, ..Header::default() };
        assert_eq!(header.write(Version::V1).bytes(), v1.as_bytes());
        assert_eq!(header.write(Version::V2).bytes(), [SIGNATURE, &v2].concat());
    }
}

#[test]
fn a_value_too_large_is_left_out_and_the_header_stays_whole() {
    let mut header = Header { ends: ip("192.0.2.1:1", "192.0.2.1:2"), ..Header::default() };
    header.tlvs.authority = Some(vec![b'a'; 70_000].into());
    header.tlvs.alpn = Some((*b"h2").into());
    let written = header.write(Version::V2);
    header.tlvs.authority = None;
    assert_eq!(read(written.bytes()), Ok(Read::Whole(header, written.bytes().len())));
}

#[test]
fn random_bytes_never_panic() {
    let mut random = fastrand::Rng::with_seed(6);
    for _ in 0..50_000 {
        let mut bytes = vec![0; random.usize(..300)];
        random.fill(&mut bytes);
        let begin: &[u8] = [SIGNATURE, b"PROXY ", b""][random.usize(..3)];
        let mut bytes = [begin, &bytes].concat();
        if begin.len() == 12 && bytes.len() > 16 && random.bool() {
            let length = (bytes.len() - 16) as u16;
            bytes[12..16].copy_from_slice(&[0x21, 0x11, (length >> 8) as u8, length as u8]);
        }
        if let Ok(Read::Whole(_, n)) = read(&bytes) {
            assert!(n <= bytes.len());
        }
    }
}

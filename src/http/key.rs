//! The parts of a hash key, taken from a request. Nothing is allocated.
use super::path::Asked;
use super::query;
use crate::config::KeyPart;
use crate::message::Known;
use crate::pool::key_hash;
use std::net::{IpAddr, SocketAddr};

/// The hash of a request's key: of all parts that are there, or of the first; `None` when every part is absent. An empty value is an absent one:
/// else all who have an empty cookie would share one backend. The path is the one that routes
/// see; of repeated fields, cookies and parameters the first one counts, as it came.
pub(super) fn hash_key(
    key: &[KeyPart],
    first: bool,
    asked: &Asked<'_>,
    client: Option<SocketAddr>,
) -> Option<u64> {
    let client = client.map(Octets::of);
    key_hash(key.iter().map(|part| of(part, asked, client.as_ref())), first)
}

/// Each part as text; `None` for an absent one.
pub(super) fn parts(
    key: &[KeyPart],
    asked: &Asked<'_>,
    client: Option<SocketAddr>,
) -> Vec<Option<Vec<u8>>> {
    let octets = client.map(Octets::of);
    let text = |part: &KeyPart| {
        let value = of(part, asked, octets.as_ref())?;
        Some(match (part, client) {
            (KeyPart::ClientIp, Some(client)) => client.ip().to_canonical().to_string().into(),
            (KeyPart::ClientAddr, Some(client)) => client.to_string().into(),
            _ => value.to_vec(),
        })
    };
    key.iter().map(text).collect()
}

#[inline(always)]
fn of<'a>(part: &KeyPart, asked: &'a Asked<'_>, client: Option<&'a Octets>) -> Option<&'a [u8]> {
    let value = match part {
        KeyPart::Header(name) => asked.head.host_of_target(name).or_else(|| asked.head.find(name)),
        KeyPart::Cookie(name) => {
            asked.head.all(Known::Cookie).find_map(|field| query::cookie(field, name))
        }
        KeyPart::Query(name) => query::first(asked.query?, name),
        KeyPart::Path => Some(&*asked.path),
        KeyPart::ClientIp => client.map(Octets::ip),
        KeyPart::ClientAddr => client.map(Octets::ip_and_port),
    };
    value.filter(|value| !value.is_empty())
}

/// An address as bytes: 4 or 16, then the port.
struct Octets {
    bytes: [u8; 18],
    ip: usize,
}

impl Octets {
    fn of(addr: SocketAddr) -> Self {
        let mut bytes = [0; 18];
        let ip = match addr.ip().to_canonical() {
            IpAddr::V4(ip) => {
                bytes[..4].copy_from_slice(&ip.octets());
                4
            }
            IpAddr::V6(ip) => {
                bytes[..16].copy_from_slice(&ip.octets());
                16
            }
        };
        bytes[ip..ip + 2].copy_from_slice(&addr.port().to_be_bytes());
        Self { bytes, ip }
    }
    fn ip(&self) -> &[u8] {
        &self.bytes[..self.ip]
    }
    fn ip_and_port(&self) -> &[u8] {
        &self.bytes[..self.ip + 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Hash, Table};
    use crate::http::path::asked;
    use crate::message::{Head, Version};

    fn hash(key: Vec<KeyPart>, first: bool) -> Hash {
        Hash { key, first, fallback: "random".into(), table: Table::Ring, bounded_load: None }
    }

    fn key(hash: &Hash, target: &str, fields: &[(&str, &str)], client: &str) -> Option<u64> {
        let mut head = Head::new();
        head.start_request(b"GET", target.as_bytes(), Version::Http11).unwrap();
        for (name, value) in fields {
            head.append(name, value.as_bytes()).unwrap();
        }
        let asked = asked(&head, None).unwrap();
        hash_key(&hash.key, hash.first, &asked, client.parse().ok())
    }

    #[test]
    fn each_part_is_read_from_its_place() {
        let some = [("X-User", "u"), ("Cookie", "a=1; sid=s"), ("Cookie", "sid=t")];
        let other = [("X-User", "v"), ("Cookie", "a=1; sid=r")];
        let cases = [
            (KeyPart::Header("x-user".into()), true),
            (KeyPart::Cookie("sid".into()), true),
            (KeyPart::Cookie("a".into()), false),
            (KeyPart::Query("id".into()), true),
            (KeyPart::Query("same".into()), false),
            (KeyPart::Path, true),
            (KeyPart::ClientIp, true),
            (KeyPart::ClientAddr, true),
        ];
        for (part, differs) in cases {
            let hash = hash(vec![part.clone()], false);
            let a = key(&hash, "/a?id=1&same=1", &some, "10.0.0.1:1");
            let b = key(&hash, "/b?id=2&same=1", &other, "10.0.0.2:1");
            assert!(a.is_some(), "{part:?}");
            assert_eq!(a != b, differs, "{part:?}");
            assert_eq!(a, key(&hash, "/./a?id=1&same=1", &some, "[::ffff:10.0.0.1]:1"), "{part:?}");
        }
    }

    #[test]
    fn the_port_counts_only_for_the_whole_address() {
        let (ip, addr) =
            (hash(vec![KeyPart::ClientIp], false), hash(vec![KeyPart::ClientAddr], false));
        assert_eq!(key(&ip, "/", &[], "10.0.0.1:1"), key(&ip, "/", &[], "10.0.0.1:2"));
        assert_ne!(key(&addr, "/", &[], "10.0.0.1:1"), key(&addr, "/", &[], "10.0.0.1:2"));
    }

    #[test]
    fn all_takes_every_part_in_its_place_and_first_the_first() {
        let parts = || vec![KeyPart::Header("a".into()), KeyPart::Header("b".into())];
        let (all, first) = (hash(parts(), false), hash(parts(), true));
        let of = |hash: &Hash, fields: &[(&str, &str)]| key(hash, "/", fields, "");
        assert_ne!(of(&all, &[("A", "x")]), of(&all, &[("B", "x")]));
        assert_ne!(of(&all, &[("A", "x"), ("B", "y")]), of(&all, &[("A", "x")]));
        assert_ne!(of(&all, &[("A", "xy"), ("B", "z")]), of(&all, &[("A", "x"), ("B", "yz")]));
        assert_eq!(of(&first, &[("A", "x"), ("B", "y")]), of(&first, &[("A", "x")]));
        assert_eq!(of(&first, &[("A", ""), ("B", "x")]), of(&first, &[("B", "x")]));
        assert_eq!(of(&all, &[("A", "")]), None);
        assert_eq!(of(&first, &[]), None);
    }

    #[test]
    fn a_key_is_the_same_in_every_process() {
        let hash = hash(vec![KeyPart::ClientIp, KeyPart::Path], false);
        let known = key(&hash, "/a", &[], "10.0.0.1:1");
        assert_eq!(known, key_hash([Some(&[10, 0, 0, 1][..]), Some(b"/a")], false));
    }
}

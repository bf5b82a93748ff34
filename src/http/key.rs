//! The parts of a hash key, taken from a request.
use super::path::Asked;
use super::query;
use crate::config::{Hash, KeyPart};
use crate::message::Known;
use crate::pool::key_hash;
use std::net::SocketAddr;

/// The hash of a request's key; `None` when every part is absent.
pub fn hash_key(hash: &Hash, asked: &Asked<'_>, client: Option<SocketAddr>) -> Option<u64> {
    let needs = |part: KeyPart| hash.key.contains(&part);
    let ip = client.filter(|_| needs(KeyPart::ClientIp)).map(|c| c.ip().to_canonical().to_string());
    let all = client.filter(|_| needs(KeyPart::ClientAddr)).map(|c| c.to_string());
    let part = |part: &KeyPart| -> Option<&[u8]> {
        match part {
            KeyPart::Header(name) => asked.head.find(name),
            KeyPart::Cookie(name) => {
                asked.head.all(Known::Cookie).find_map(|field| query::cookie(field, name))
            }
            KeyPart::Query(name) => query::first(asked.query?, name),
            KeyPart::Path => Some(&asked.path),
            KeyPart::ClientIp => ip.as_deref().map(str::as_bytes),
            KeyPart::ClientAddr => all.as_deref().map(str::as_bytes),
        }
    };
    key_hash(hash.key.iter().map(part), hash.first)
}

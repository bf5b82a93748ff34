//! The hash of a composite key.
use crate::config::KeyPart;
use std::net::SocketAddr;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Folds the parts of a key, in order, into one hash; `None` when all are absent. With `first` the
/// first part that is present is the whole key.
///
/// Each part is hashed for itself (XXH3, 64 bit) with what came before it and its place as seed, so
/// that no two lists of parts are joined into the same bytes.
pub fn key_hash<'a>(parts: impl IntoIterator<Item = Option<&'a [u8]>>, first: bool) -> Option<u64> {
    let mut hash = None;
    for (place, part) in parts.into_iter().enumerate() {
        let Some(part) = part else { continue };
        let before: u64 = hash.unwrap_or(0);
        let place = if first { 0 } else { place as u64 + 1 };
        hash = Some(xxh3_64_with_seed(part, before ^ place));
        if first {
            break;
        }
    }
    hash
}

/// The hash of those parts of a key that are known of a client below HTTP.
pub fn client_hash(key: &[KeyPart], first: bool, client: SocketAddr) -> Option<u64> {
    if key.is_empty() {
        return None;
    }
    let (ip, all) = (client.ip().to_string(), client.to_string());
    let parts = key.iter().map(|part| match part {
        KeyPart::ClientIp => Some(ip.as_bytes()),
        KeyPart::ClientAddr => Some(all.as_bytes()),
        _ => None,
    });
    key_hash(parts, first)
}

//! Session tickets: by keys of our own, or by keys that several proxies share (RFC 5077, RFC 8446
//! 4.6.1).
use super::identity::wrong;
use super::provider::{aead, digest};
use crate::config::{Blob, Clients, Problem};
use rustls::server::ProducesTickets;
use std::sync::Arc;

/// How long a ticket is good for.
const LIFETIME: u32 = 12 * 3600;
/// Bytes of each key in a file: as other proxies take them (a name of 16, secrets of 32 or 64).
const KEY: usize = 80;
const NAME: usize = 16;

/// Keys that this process makes, and changes every few hours.
pub(super) fn own() -> Option<Arc<dyn ProducesTickets>> {
    #[cfg(feature = "tls-aws-lc")]
    let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new();
    #[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
    let ticketer = rustls::crypto::ring::Ticketer::new();
    ticketer.ok()
}

/// Keys of a file: 80 random bytes each, the first seals, each opens. What is asked of clients is
/// part of each key: a ticket of a listener that asks for less resumes nothing where more is asked.
///
/// # Errors
///
/// A file of another length.
pub(super) fn of_file(
    file: &Blob,
    asked: Option<&Clients>,
) -> Result<Arc<dyn ProducesTickets>, Problem> {
    let (keys, rest) = file.bytes.as_chunks::<KEY>();
    if keys.is_empty() || !rest.is_empty() {
        let what = format!("{} bytes are no keys of {KEY} bytes each", file.bytes.len());
        return Err(wrong(file, &what).hint("openssl rand -out tickets.key 80"));
    }
    Ok(Arc::new(Shared { keys: keys.iter().map(|key| Key::new(key, asked)).collect() }))
}

/// Keys that several proxies have; the first seals.
struct Shared {
    keys: Vec<Key>,
}

struct Key {
    name: [u8; NAME],
    key: aead::LessSafeKey,
}

impl Key {
    fn new(bytes: &[u8; KEY], asked: Option<&Clients>) -> Self {
        let (name, secret) = bytes.split_first_chunk().expect("a key is longer than its name");
        // Whatever the secret is made of, all of it counts.
        let mut all = digest::Context::new(&digest::SHA256);
        all.update(secret);
        if let Some(clients) = asked {
            all.update(&[u8::from(clients.required)]);
            all.update(&clients.ca.bytes);
        }
        let secret = all.finish();
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, secret.as_ref());
        let key = aead::LessSafeKey::new(key.expect("SHA-256 is as long as the key"));
        Self { name: *name, key }
    }
}

impl std::fmt::Debug for Shared {
    /// Never its keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} shared ticket keys", self.keys.len())
    }
}

impl ProducesTickets for Shared {
    fn enabled(&self) -> bool {
        true
    }
    fn lifetime(&self) -> u32 {
        LIFETIME
    }
    /// `name | nonce | sealed`
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let Key { name, key } = self.keys.first()?;
        let nonce: [u8; aead::NONCE_LEN] = super::provider::random()?;
        let mut sealed = plain.to_vec();
        let unique = aead::Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, aead::Aad::from(name), &mut sealed).ok()?;
        Some([&name[..], &nonce, &sealed].concat())
    }
    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<{ aead::NONCE_LEN }>()?;
        let Key { key, .. } = self.keys.iter().find(|key| key.name == *name)?;
        let mut bytes = sealed.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let plain = key.open_in_place(nonce, aead::Aad::from(name), &mut bytes).ok()?;
        Some(plain.to_vec())
    }
}

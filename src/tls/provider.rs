//! The one library of ciphers this program was built with.
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

#[cfg(all(feature = "tls-aws-lc", feature = "tls-ring"))]
compile_error!("choose one of the features tls-aws-lc and tls-ring");
#[cfg(not(any(feature = "tls-aws-lc", feature = "tls-ring")))]
compile_error!("choose one of the features tls-aws-lc and tls-ring");

#[cfg(feature = "tls-aws-lc")]
use aws_lc_rs as library;
#[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
use ring as library;

pub(super) use library::{aead, digest, hmac};

/// The key exchange that withstands quantum computers.
pub(super) const LASTING: rustls::NamedGroup = rustls::NamedGroup::X25519MLKEM768;

/// Bytes of the records we send, their heads with them: with what encryption adds a block of 8 KiB,
/// which the allocator gives again while it is in the processor's cache. Records of 16 KiB came out of
/// it one after the other, and copying into them cost three times what encrypting them did.
pub(super) const RECORD: usize = (8 << 10) - 24;

/// Its ciphers; the key exchange that withstands quantum computers first, where it has one.
pub(super) fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "tls-aws-lc")]
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
    let mut provider = rustls::crypto::ring::default_provider();
    provider.kx_groups.sort_by_key(|group| group.name() != LASTING);
    Arc::new(provider)
}

/// As [`provider`], with no other key exchange than the one that withstands quantum computers; `None`
/// where there is none.
pub(super) fn lasting() -> Option<Arc<CryptoProvider>> {
    let mut provider = CryptoProvider::clone(&provider());
    provider.kx_groups.retain(|group| group.name() == LASTING);
    (!provider.kx_groups.is_empty()).then(|| Arc::new(provider))
}

/// Random bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes)
}

/// The hash that the handshake of WebSocket is made of (RFC 6455 4.2.2): it proves understanding
/// and keeps no secret.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    hash.as_ref().try_into().expect("SHA-1 has 20 bytes")
}

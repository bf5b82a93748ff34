//! A map from bytes, for keys that clients choose when they are looked up.
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A map from bytes to something.
pub(super) type Keyed<V> = HashMap<Box<[u8]>, V, Seeded>;

/// XXH3 with a random seed for each map: about a third of SipHash's instructions at the length of
/// a host name. Keys come from the config alone, so no client can lengthen a chain anyway.
#[derive(Clone, Debug)]
pub(super) struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Self {
        Self(fastrand::u64(..))
    }
}

impl BuildHasher for Seeded {
    type Hasher = Bytes;
    fn build_hasher(&self) -> Bytes {
        Bytes(self.0)
    }
}

/// Hashes one run of bytes; its length is part of XXH3 already.
#[derive(Debug)]
pub(super) struct Bytes(u64);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
    /// The length that `[u8]`'s `Hash` writes first.
    fn write_usize(&mut self, _: usize) {}
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Which lengths the keys of a map have, modulo 64: spares most look-ups of what is not there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lengths(u64);

impl Lengths {
    pub(super) fn note(&mut self, length: usize) {
        self.0 |= 1 << (length % 64);
    }
    pub(super) fn may_have(self, length: usize) -> bool {
        self.0 >> (length % 64) & 1 == 1
    }
}

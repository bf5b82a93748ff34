//! Bytes to a header, and back.
use super::header::{Fault, Header, Read, Version};
use super::{v1, v2};

/// Reads the first bytes of a connection. What they say does not depend on how they came.
///
/// # Errors
///
/// [`Fault`], as soon as it is sure.
pub fn read(bytes: &[u8]) -> Result<Read, Fault> {
    match bytes.first() {
        None => Ok(Read::More),
        Some(b'P') => v1::read(bytes),
        Some(_) => v2::read(bytes),
    }
}

/// A header as it is sent, or one that was: two are equal when they say the same to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Written {
    version: Version,
    bytes: Box<[u8]>,
}

impl Written {
    /// Of this version.
    pub fn version(&self) -> Version {
        self.version
    }
    /// As it goes on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Header {
    /// As this version says it. Version 1 has no TLVs; one that speaks for nobody says none.
    pub fn write(&self, version: Version) -> Written {
        let bytes = match version {
            Version::V1 => v1::write(self),
            Version::V2 => v2::write(self),
        };
        Written { version, bytes: bytes.into() }
    }
}

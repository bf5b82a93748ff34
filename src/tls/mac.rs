//! Words that only who has a secret can write: HMAC with SHA-256 (RFC 2104).
use super::provider::hmac;

/// Bytes of a tag.
pub const TAG: usize = 32;

/// A secret that signs.
pub struct Mac(hmac::Key);

impl std::fmt::Debug for Mac {
    /// Never its secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a secret")
    }
}

impl Mac {
    /// Of a secret of any length.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The tag of these bytes.
    pub fn sign(&self, bytes: &[u8]) -> [u8; TAG] {
        let tag = hmac::sign(&self.0, bytes);
        tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// Whether it is their tag: in a time that tells nothing of where it is not.
    pub fn is_of(&self, tag: &[u8], bytes: &[u8]) -> bool {
        hmac::verify(&self.0, bytes, tag).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_that_of_the_rfc() {
        // RFC 4231 4.3
        let tag = Mac::new(b"Jefe").sign(b"what do ya want for nothing?");
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let mac = Mac::new(b"Jefe");
        assert!(mac.is_of(&tag, b"what do ya want for nothing?"));
        assert!(!mac.is_of(&tag, b"what do ya want for nothing!"));
        assert!(!mac.is_of(&tag[..16], b"what do ya want for nothing?"), "nor a part of it");
    }
}

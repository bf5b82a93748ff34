//! Field names by which a sender could pass for another one. `_` counts as `-`: servers that make
//! variables of field names take one for the other.

const CERTIFICATE: &[u8] = b"x-client-cert";

/// Whether it says who a client is: by its address, its host or its certificate.
pub fn is_claim(name: &[u8]) -> bool {
    match name.first() {
        Some(b'x' | b'X') => {
            begins(name, b"x-forwarded-")
                || is_certificate_claim(name)
                || (name.len() == 9 && begins(name, b"x-real-ip"))
        }
        Some(b'f' | b'F') => name.eq_ignore_ascii_case(b"forwarded"),
        _ => false,
    }
}

/// Whether it says what a client proved by its certificate.
pub fn is_certificate_claim(name: &[u8]) -> bool {
    begins(name, CERTIFICATE)
}

fn begins(name: &[u8], prefix: &[u8]) -> bool {
    name.len() >= prefix.len()
        && name
            .iter()
            .zip(prefix)
            .all(|(a, b)| a.to_ascii_lowercase() == *b || (*a == b'_' && *b == b'-'))
}

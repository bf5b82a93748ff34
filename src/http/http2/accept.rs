//! Whether a backend understood the question for a WebSocket that was put for a client of HTTP/2:
//! that client has no key, so nobody else can tell (RFC 8441 5.1, RFC 6455 4.1).
use crate::message::Head;
use crate::tls::sha1;

/// What is hashed behind the key (RFC 6455 4.2.2).
const BEHIND: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether the answer proves that its sender read the key of the request.
pub(super) fn is_proven(request: &Head, answer: &Head) -> bool {
    let one = |head: &Head, name: &str| {
        let mut all = head.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
        let first = all.next().map(|(_, value)| value.to_vec());
        first.filter(|_| all.next().is_none())
    };
    let (key, said) = (one(request, "sec-websocket-key"), one(answer, "sec-websocket-accept"));
    key.zip(said).is_some_and(|(key, said)| said == accept(&key))
}

/// `Sec-WebSocket-Accept` for a key: a hash in base64.
fn accept(key: &[u8]) -> [u8; 28] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hash = sha1(&[key, BEHIND].concat());
    let mut out = [b'='; 28];
    for (three, four) in hash.chunks(3).zip(out.chunks_mut(4)) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for (at, digit) in four.iter_mut().take(three.len() + 1).enumerate() {
            *digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_that_of_the_rfc() {
        assert_eq!(&accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}

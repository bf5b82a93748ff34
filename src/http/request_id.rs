//! `X-Request-Id`: kept where it may be, made where there is none.
use crate::message::{Head, Known, hex};
use nix::time::{ClockId, clock_gettime};

/// The longest id that is kept from a peer that is not trusted.
const LONGEST: usize = 64;

/// Keeps a request's id or gives it one.
pub(super) fn ensure(head: &mut Head, believed: bool) {
    if head.has(Known::XRequestId) {
        if said(head, believed).is_some() {
            return;
        }
        head.remove(Known::XRequestId);
    }
    head.push(Known::XRequestId, &[&new()]);
}

/// The id that a request came with, where it may keep it. Peers that are not trusted may say one of
/// `[A-Za-z0-9._-]{1,64}`: nothing that could break a log line or a label.
pub(super) fn said(head: &Head, believed: bool) -> Option<&[u8]> {
    let mut all = head.all(Known::XRequestId);
    let first = all.next().filter(|id| !id.is_empty())?;
    (believed || (is_plain(first) && all.next().is_none())).then_some(first)
}

/// For a request that was refused before it was given one.
pub(super) fn new() -> [u8; 32] {
    let random = fastrand::u128(..);
    fresh(millis(), (random >> 64) as u64, random as u64)
}

/// Milliseconds since 1970 as of the kernel's last tick, a few milliseconds ago: enough to sort by,
/// at half the cost.
fn millis() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE);
    now.map_or(0, |now| now.tv_sec() as u64 * 1000 + now.tv_nsec() as u64 / 1_000_000)
}

fn is_plain(id: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=LONGEST).contains(&id.len()) && id.iter().all(plain)
}

/// A UUIDv7 (RFC 9562 5.7) in 32 hexadecimal digits: 48 bits of milliseconds, version, 12 random
/// bits, variant, 62 random bits. Ids sort by time.
fn fresh(millis: u64, a: u64, b: u64) -> [u8; 32] {
    let high = millis << 16 | 7 << 12 | a >> 52;
    let low = 2 << 62 | b >> 2;
    let mut text = [0; 32];
    for (place, part) in text.chunks_exact_mut(8).zip([high >> 32, high, low >> 32, low]) {
        place.copy_from_slice(&hex(part as u32));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Version;

    fn ensured(ids: &[&str], believed: bool) -> Vec<String> {
        let mut head = Head::new();
        head.start_request(b"GET", b"/", Version::Http11).unwrap();
        for id in ids {
            head.append("X-Request-ID", id.as_bytes()).unwrap();
        }
        ensure(&mut head, believed);
        head.all(Known::XRequestId).map(|id| String::from_utf8(id.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_fresh_id_is_a_uuid_of_version_seven() {
        let id = fresh(0x0123_4567_89ab, u64::MAX, u64::MAX);
        assert_eq!(&id, b"0123456789ab7fffbfffffffffffffff");
        let id = fresh(u64::MAX, 0, 0);
        assert_eq!(&id, b"ffffffffffff70008000000000000000");
    }

    #[test]
    fn ids_of_strangers_are_kept_only_when_plain() {
        let long = "x".repeat(65);
        for kept in ["a", "A.b_c-9", &long[..64]] {
            assert_eq!(ensured(&[kept], false), [kept]);
        }
        for replaced in [&["a b"][..], &["a\"b"], &[&long], &["a", "b"], &[""], &[]] {
            let ids = ensured(replaced, false);
            assert_eq!((ids.len(), ids[0].len()), (1, 32), "{replaced:?}");
            assert_ne!(ids, replaced);
        }
    }

    #[test]
    fn ids_of_trusted_proxies_are_kept_as_they_came() {
        assert_eq!(ensured(&["a b/c"], true), ["a b/c"]);
        assert_eq!(ensured(&[""], true)[0].len(), 32);
    }
}

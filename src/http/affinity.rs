//! `pool.sticky`: a cookie that brings a client back to its backend.
//!
//! It holds a number of the backend, when it ends and a few random bytes, under a tag of all of that
//! and the pool's name (HMAC-SHA-256); the number is hidden by a mask made of the tag, as in SIV (RFC
//! 5297). So nobody can make one, take one of another pool, or learn from one, or from two, who is
//! behind the proxy. What is not one of ours is as if it were not there.
use super::query;
use crate::config::{SameSite, Sticky};
use crate::message::{Fields, Head, Known};
use crate::pool::{Backend, Pool};
use crate::tls::{Mac, TAG};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::xxh3_64;

/// So many cookies of our name are looked at: a browser sends one, or one more of a wider domain.
const LOOKED_AT: usize = 4;

/// Bytes of a cookie: number, end in Unix seconds, random ones, tag.
const NUMBER: usize = 8;
const END: usize = 5;
const SALT: usize = 6;
const WHOLE: usize = NUMBER + END + SALT + TAG;
/// Characters of it: six bits each, and nothing to fill up.
const CHARS: usize = WHOLE / 3 * 4;

const SIGNED: u8 = 1;
const MASKED: u8 = 2;

/// A pool's cookie.
#[derive(Debug)]
pub(super) struct Affinity {
    pool: Arc<Pool>,
    said: Sticky,
    /// The first one signs, each is believed.
    secrets: Vec<Mac>,
    /// `; Path=/; …`
    attributes: String,
}

/// What a request's cookies came to.
#[derive(Debug)]
pub(super) struct Bond<'g> {
    affinity: &'g Affinity,
    /// Seconds since 1970.
    now: u64,
    found: Found,
    is_secure: bool,
}

/// What a request's cookies say.
#[derive(Debug)]
enum Found {
    /// There is none.
    Miss,
    /// There is one past its end.
    Expired,
    /// There is one, and nobody who has a secret made it for this pool.
    Forged,
    /// Its backend is not there any more.
    Gone,
    /// Its backend; whether it is time to renew it; a number of the client.
    Backend(Arc<Backend>, bool, u64),
}

impl Affinity {
    pub(super) fn new(pool: &Arc<Pool>, said: &Sticky) -> Self {
        let same_site = match said.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        };
        let seconds = said.ttl.as_secs();
        let attributes = format!("; Path=/; Max-Age={seconds}; HttpOnly; SameSite={same_site}");
        let secrets = said.secrets.iter().map(|secret| Mac::new(&secret.bytes)).collect();
        Self { pool: pool.clone(), said: said.clone(), secrets, attributes }
    }

    /// Reads the cookies of a request.
    #[cold]
    pub(super) fn bond(&self, head: &Head) -> Bond<'_> {
        let now = unix(SystemTime::now());
        Bond { affinity: self, now, found: self.found(head, now), is_secure: false }
    }

    fn found(&self, head: &Head, now: u64) -> Found {
        let mut found = Found::Miss;
        let fields = head.all(Known::Cookie);
        let values = fields.flat_map(|field| query::cookies(field, &self.said.cookie));
        for value in values.take(LOOKED_AT) {
            match self.read(value) {
                None => found = Found::Forged,
                Some((_, end, _)) if end <= now => found = Found::Expired,
                Some((number, end, is_old)) => {
                    let half = self.said.ttl.as_secs() / 2;
                    return match self.pool.named(number) {
                        Some(backend) => {
                            Found::Backend(backend, is_old || end - now <= half, xxh3_64(value))
                        }
                        None => Found::Gone,
                    };
                }
            }
        }
        found
    }

    /// The number, the end, and whether another secret than the first signed it.
    fn read(&self, value: &[u8]) -> Option<(u64, u64, bool)> {
        let bytes = decode(value)?;
        let (hidden, tag) = bytes.split_last_chunk::<TAG>()?;
        for (at, secret) in self.secrets.iter().enumerate() {
            let mut plain: [u8; WHOLE - TAG] = hidden.try_into().ok()?;
            mask(secret, tag, &mut plain);
            if secret.is_of(tag, &self.signed(&plain)) {
                let (number, rest) = plain.split_first_chunk::<NUMBER>()?;
                let mut end = [0; 8];
                end[8 - END..].copy_from_slice(&rest[..END]);
                return Some((u64::from_be_bytes(*number), u64::from_be_bytes(end), at > 0));
            }
        }
        None
    }

    /// A cookie's value for a backend.
    fn value(&self, number: u64, end: u64, salt: u64) -> Option<String> {
        let secret = self.secrets.first()?;
        let mut plain = [0; WHOLE - TAG];
        plain[..NUMBER].copy_from_slice(&number.to_be_bytes());
        plain[NUMBER..NUMBER + END].copy_from_slice(&end.to_be_bytes()[8 - END..]);
        plain[NUMBER + END..].copy_from_slice(&salt.to_be_bytes()[..SALT]);
        let tag = secret.sign(&self.signed(&plain));
        mask(secret, &tag, &mut plain);
        Some(encode(&[&plain[..], &tag].concat()))
    }

    fn signed(&self, plain: &[u8]) -> Vec<u8> {
        [&[SIGNED], plain, self.pool.name.as_bytes()].concat()
    }
}

/// Takes our cookies, those of every pool, out of a request: they are the proxy's own affair, and what a
/// backend sees it may log, or show to others.
#[cold]
pub(super) fn hide(names: &[String], head: &mut Head) {
    let mut rest: Vec<u8> = Vec::new();
    let mut hidden = false;
    for pair in head.all(Known::Cookie).flat_map(|field| field.split(|b| *b == b';')) {
        let pair = pair.trim_ascii();
        if names.iter().any(|name| query::is_cookie(pair, name)) {
            hidden = true;
        } else if !pair.is_empty() {
            if !rest.is_empty() {
                rest.extend_from_slice(b"; ");
            }
            rest.extend_from_slice(pair);
        }
    }
    if !hidden {
        return;
    }
    if rest.is_empty() {
        return head.remove(Known::Cookie);
    }
    // Made of a valid value.
    let _ = head.set("Cookie", &rest);
}

impl Bond<'_> {
    /// The backend that it is of.
    pub(super) fn backend(&self) -> Option<&Arc<Backend>> {
        match &self.found {
            Found::Backend(backend, ..) => Some(backend),
            _ => None,
        }
    }

    /// A number of the client, where there is one: no two clients have the same cookie.
    pub(super) fn client(&self) -> u64 {
        if let Found::Backend(.., client) = self.found { client } else { 0 }
    }

    /// Whether it is a good one, be its backend there or not.
    pub(super) fn is_good(&self) -> bool {
        matches!(self.found, Found::Backend(..) | Found::Gone)
    }

    /// Its client came by TLS.
    pub(super) fn came_by_tls(&mut self) {
        self.is_secure = true;
    }

    /// Counts what it came to, and has the client come back to who answered it: not to one who was only
    /// faster than the one that it is of (`outrun`), nor to a backup for what failed before it.
    #[cold]
    pub(super) fn answered(&self, backend: &Backend, outrun: bool, answer: &mut Fields) {
        let cells = &self.affinity.pool.sticky;
        let is_there = || self.backend().is_some_and(|own| own.is_usable());
        let moves = || !(self.affinity.pool.stands_by(backend) || outrun && is_there());
        let (cell, renew) = match &self.found {
            Found::Backend(found, renew, _) if found.id == backend.id => (&cells.hit, *renew),
            Found::Backend(..) | Found::Gone => (&cells.gone, moves()),
            Found::Forged => (&cells.forged, moves()),
            Found::Expired => (&cells.expired, moves()),
            Found::Miss => (&cells.miss, moves()),
        };
        cell.inc();
        if !renew {
            return;
        }
        let Affinity { said, attributes, .. } = self.affinity;
        let end = self.now + said.ttl.as_secs();
        let Some(value) = self.affinity.value(backend.number(), end, fastrand::u64(..)) else {
            return;
        };
        let secure = if said.secure.unwrap_or(self.is_secure) { "; Secure" } else { "" };
        let cookie = format!("{}={value}{attributes}{secure}", said.cookie);
        // Its name is a token and the rest is ours.
        let _ = answer.append("Set-Cookie", cookie.as_bytes());
    }
}

/// Hides, or shows, the number.
fn mask(secret: &Mac, tag: &[u8], plain: &mut [u8]) {
    let mask = secret.sign(&[&[MASKED], tag].concat());
    plain[..NUMBER].iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Base64 for URLs (RFC 4648 5): all of it may stand in a cookie.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(CHARS);
    for three in bytes.chunks_exact(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        (0..4).for_each(|at| out.push(char::from(DIGITS[bits >> (18 - 6 * at) & 63])));
    }
    out
}

fn decode(text: &[u8]) -> Option<[u8; WHOLE]> {
    if text.len() != CHARS {
        return None;
    }
    let mut out = [0; WHOLE];
    for (four, three) in text.chunks_exact(4).zip(out.chunks_exact_mut(3)) {
        let mut bits = 0;
        for digit in four {
            bits = bits << 6 | DIGITS.iter().position(|d| d == digit)? as u32;
        }
        three.copy_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::message::Version;
    use crate::pool::Policies;
    use proptest::prelude::*;
    use std::path::Path;

    fn affinity() -> Affinity {
        let text = "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n[pool.app]\n\
            sticky = { secret_files = [\"tests/config/valid/certs/sticky.key\"] }\nbackends = []\n";
        let config = config::parse(text, Path::new("proxy.toml")).unwrap();
        let said = &config.pools["app"];
        let pool = Pool::prepare(&said.name, said, &Policies::default(), None).unwrap();
        Affinity::new(pool.pool(), said.sticky.as_ref().unwrap())
    }

    fn request(cookies: &[&str]) -> Head {
        let mut head = Head::new();
        head.start_request(b"GET", b"/", Version::Http11).unwrap();
        for cookie in cookies {
            head.append("Cookie", cookie.as_bytes()).unwrap();
        }
        head
    }

    #[test]
    fn a_cookie_says_what_was_put_in_and_has_no_two_equal_parts() {
        let affinity = affinity();
        let value = affinity.value(7, 99, 1 << 40).unwrap();
        assert_eq!(affinity.read(value.as_bytes()), Some((7, 99, false)));
        let other = affinity.value(7, 99, 2 << 40).unwrap();
        assert_ne!(value[..11], other[..11], "the same backend looks like another");
        assert_eq!(encode(&decode(value.as_bytes()).unwrap()), value);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_harm_and_not_believed(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            text in "[A-Za-z0-9_-]{68}",
        ) {
            let affinity = affinity();
            prop_assert_eq!(affinity.read(&bytes), None);
            prop_assert_eq!(affinity.read(text.as_bytes()), None);
        }

        #[test]
        fn no_bit_of_a_cookie_may_change(number: u64, end in 0..1_u64 << 40, salt: u64, at in 0..WHOLE * 8) {
            let affinity = affinity();
            let value = affinity.value(number, end, salt).unwrap();
            prop_assert_eq!(affinity.read(value.as_bytes()), Some((number, end, false)));
            let mut bytes = decode(value.as_bytes()).unwrap();
            bytes[at / 8] ^= 1 << (at % 8);
            prop_assert_eq!(affinity.read(encode(&bytes).as_bytes()), None);
        }

        #[test]
        fn what_is_hidden_is_ours_and_all_else_stays_in_its_order(
            names in proptest::collection::vec("(evenkeel|evenkeel2|x|sid)=[a-z\"=]{0,4}|x|evenkeel", 0..8),
            at in 0_usize..8,
        ) {
            let at = at.min(names.len());
            let fields = [names[..at].join("; "), names[at..].join(";")];
            let fields: Vec<&str> = fields.iter().map(String::as_str).filter(|f| !f.is_empty()).collect();
            let mut head = request(&fields);
            hide(&["evenkeel".into()], &mut head);
            let left: Vec<String> = head.all(Known::Cookie)
                .flat_map(|field| field.split(|b| *b == b';'))
                .map(|pair| String::from_utf8(pair.trim_ascii().to_vec()).unwrap())
                .collect();
            let wanted: Vec<&String> = names.iter().filter(|name| !name.starts_with("evenkeel=")).collect();
            prop_assert_eq!(left.iter().collect::<Vec<_>>(), wanted);
        }
    }
}

//! The table that everybody has (RFC 7541 A).
use crate::message::Known;

/// Names and values, the first one is number 1.
pub(super) static FIELDS: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Numbers that are spoken of by name.
pub(super) mod number {
    pub(in crate::http2) const AUTHORITY: u8 = 1;
    pub(in crate::http2) const METHOD: u8 = 2;
    pub(in crate::http2) const PATH: u8 = 4;
    pub(in crate::http2) const SCHEME: u8 = 6;
    pub(in crate::http2) const STATUS: u8 = 8;
    pub(in crate::http2) const CONTENT_LENGTH: u8 = 28;
}

/// The first number of a name, by the number of a known one; 0 where the table has it not.
pub(super) static OF_KNOWN: [u8; 64] = {
    let mut all = [0; 64];
    let mut at = 0;
    while at < Known::ALL.len() {
        all[at] = find(Known::ALL[at].name().as_bytes());
        at += 1;
    }
    all
};

/// Names that are known, in lower case, and how long they are.
static LOWER: [([u8; 24], u8); Known::ALL.len()] = {
    let mut all = [([0; 24], 0); Known::ALL.len()];
    let mut at = 0;
    while at < all.len() {
        let name = Known::ALL[at].name().as_bytes();
        let mut n = 0;
        while n < name.len() {
            all[at].0[n] = name[n].to_ascii_lowercase();
            n += 1;
        }
        all[at].1 = n as u8;
        at += 1;
    }
    all
};

/// A known name as HTTP/2 has it.
#[inline]
pub(super) fn lower(known: Known) -> &'static [u8] {
    let (name, len) = &LOWER[known as usize];
    &name[..usize::from(*len)]
}

/// The numbers of the names of [`FIELDS`] as [`Known::number`] has them; those that begin with a colon
/// are no fields.
pub(super) static KNOWN: [Option<u8>; 61] = {
    let mut all = [None; 61];
    let mut at = FIRST;
    while at < FIELDS.len() {
        all[at] = Some(Known::NONE);
        let mut n = 0;
        while n < Known::ALL.len() {
            if same(FIELDS[at].0.as_bytes(), Known::ALL[n].name().as_bytes()) {
                all[at] = Some(n as u8);
            }
            n += 1;
        }
        at += 1;
    }
    all
};

const fn find(name: &[u8]) -> u8 {
    let mut n = 0;
    while n < FIELDS.len() {
        if same(FIELDS[n].0.as_bytes(), name) {
            return n as u8 + 1;
        }
        n += 1;
    }
    0
}

const fn same(lower: &[u8], name: &[u8]) -> bool {
    let mut at = 0;
    while lower.len() == name.len() && at < name.len() {
        if lower[at] != name[at].to_ascii_lowercase() {
            return false;
        }
        at += 1;
    }
    lower.len() == name.len()
}

/// Where the names of a length begin in [`BY_LENGTH`].
static LENGTHS: [u8; 30] = {
    let mut begins = [0; 30];
    let mut len = 1;
    while len < 30 {
        let (mut n, mut shorter) = (FIRST, 0);
        while n < FIELDS.len() {
            shorter += (FIELDS[n].0.len() < len) as u8;
            n += 1;
        }
        begins[len] = shorter;
        len += 1;
    }
    begins
};

/// Those before it are no fields.
const FIRST: usize = 14;

/// Numbers of the names of fields, the shortest first.
static BY_LENGTH: [u8; 61 - FIRST] = {
    let (mut all, mut at, mut len) = ([0; 61 - FIRST], 0, 1);
    while len < 30 {
        let mut n = FIRST;
        while n < FIELDS.len() {
            if FIELDS[n].0.len() == len {
                all[at] = n as u8 + 1;
                at += 1;
            }
            n += 1;
        }
        len += 1;
    }
    all
};

/// The number of a name in lower case; 0 where the table has it not.
pub(super) fn of_name(name: &[u8]) -> u8 {
    let Some(range) = LENGTHS.get(name.len()..name.len() + 2) else { return 0 };
    let same = BY_LENGTH[usize::from(range[0])..usize::from(range[1])]
        .iter()
        .find(|n| FIELDS[usize::from(**n) - 1].0.as_bytes() == name);
    same.copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        for (at, (name, _)) in FIELDS.iter().enumerate().skip(FIRST) {
            assert_eq!(usize::from(of_name(name.as_bytes())), at + 1, "{name}");
        }
        for other in ["", "x", "x-request-id", "content-lengti", "access-control-allow-origins"] {
            assert_eq!(of_name(other.as_bytes()), 0, "{other}");
        }
        let of = |known: Known| OF_KNOWN[known as usize];
        assert_eq!((of(Known::Date), of(Known::Te), of(Known::Via)), (33, 0, 60));
    }

    #[test]
    fn what_is_known_of_names_is_what_looking_finds() {
        for (at, (name, _)) in FIELDS.iter().enumerate() {
            let number = (!name.starts_with(':')).then(|| Known::number(name.as_bytes()));
            assert_eq!(KNOWN[at], number, "{name}");
        }
        for known in Known::ALL {
            assert_eq!(lower(*known), known.name().to_ascii_lowercase().as_bytes());
        }
    }
}

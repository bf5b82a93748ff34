//! Reading query strings and cookies: names, values, percent-decoding. Nothing is changed here.

/// The raw value of the first parameter of that name; a parameter without `=` has an empty one.
pub(super) fn first<'a>(query: &'a [u8], name: &str) -> Option<&'a [u8]> {
    query.split(|b| *b == b'&').find_map(|pair| {
        let (key, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[pair.len()..]),
        };
        (!pair.is_empty() && decodes_to(key, name.as_bytes())).then_some(value)
    })
}

/// Whether a raw value says these bytes once decoded. Allocates nothing.
pub(super) fn decodes_to(raw: &[u8], wanted: &[u8]) -> bool {
    Decode(raw).eq(wanted.iter().copied())
}

/// A raw value decoded: `+` is a space, `%XX` a byte, a broken escape stands for itself.
pub(super) fn decode(raw: &[u8]) -> Vec<u8> {
    Decode(raw).collect()
}

/// The value of the first cookie of a name in one `Cookie` field, without its quotes (RFC 6265 4.2.1).
pub(super) fn cookie<'a>(field: &'a [u8], name: &str) -> Option<&'a [u8]> {
    cookies(field, name).next()
}

/// The values of all of them.
pub(super) fn cookies<'a>(field: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    field
        .split(|b| *b == b';')
        .map(<[u8]>::trim_ascii)
        .filter(move |pair| is_cookie(pair, name))
        .map(move |pair| {
            let value = &pair[name.len() + 1..];
            value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value)
        })
}

/// Whether a part of a `Cookie` field is a cookie of this name.
pub(super) fn is_cookie(pair: &[u8], name: &str) -> bool {
    pair.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
}

/// The value of a hexadecimal digit.
pub(super) fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

struct Decode<'a>(&'a [u8]);

impl Iterator for Decode<'_> {
    type Item = u8;
    fn next(&mut self) -> Option<u8> {
        let (byte, used) = match *self.0 {
            [] => return None,
            [b'+', ..] => (b' ', 1),
            [b'%', high, low, ..] => match (nibble(high), nibble(low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [byte, ..] => (byte, 1),
        };
        self.0 = &self.0[used..];
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        let cases: [(&str, &str, Option<&str>); 9] = [
            ("a=1&b=2", "b", Some("2")),
            ("a=1&a=2", "a", Some("1")),
            ("a", "a", Some("")),
            ("", "", None),
            ("&&a=1", "a", Some("1")),
            ("%61=x%20y", "a", Some("x%20y")),
            ("aa=1", "a", None),
            ("a=b=c", "a", Some("b=c")),
            ("A=1", "a", None),
        ];
        for (query, name, value) in cases {
            assert_eq!(first(query.as_bytes(), name), value.map(str::as_bytes), "{query}");
        }
    }

    #[test]
    fn decoding_keeps_broken_escapes() {
        assert_eq!(decode(b"a+b%20c%zz%4"), b"a b c%zz%4");
        assert!(decodes_to(b"%64ebug", b"debug"));
        assert!(!decodes_to(b"debug1", b"debug"));
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let field = b"xsid=1; sid=\"2\";sid=3; empty=";
        assert_eq!(cookie(field, "sid"), Some(&b"2"[..]));
        assert_eq!(cookie(field, "empty"), Some(&b""[..]));
        assert_eq!(cookie(field, "id"), None);
        assert_eq!(cookie(b"sid=\"", "sid"), Some(&b"\""[..]));
    }
}

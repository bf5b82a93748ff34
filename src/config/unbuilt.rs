//! The words of `proxy.toml` whose feature does not exist: one table, a row goes when it is built.

/// (the table or key it stands in, the key or word). Each is answered with `is not built yet`.
///
/// A key's row makes its whole value unread; a word's row (`route.upgrade`, `connect`) is one
/// value of a key that is read.
const UNBUILT: &[(&str, &str)] = &[
    ("", "filter"),
    ("", "acme"),
    ("listener.tls.certificates", "acme"),
    ("listener.tls.certificates", "names"),
    ("route", "filters"),
    ("route.upgrade", "connect"),
    ("pool", "discover"),
];

/// Whether a word of the contract has no feature behind it.
pub(super) fn is_unbuilt(place: &str, word: &str) -> bool {
    UNBUILT.contains(&(place, word))
}

/// The words of a place without a feature, for hints.
pub(super) fn of(place: &str) -> impl Iterator<Item = &'static str> {
    UNBUILT.iter().filter(move |(at, _)| *at == place).map(|(_, word)| *word)
}

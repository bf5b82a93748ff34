//! Small words of HTTP/1 answers.

/// The Connection field of an answer: an HTTP/1.0 client must be told that it may stay, an
/// HTTP/1.1 client that it must go.
pub(super) fn connection_field(stays: bool, old: bool) -> Option<&'static str> {
    match (stays, old) {
        (true, true) => Some("keep-alive"),
        (false, false) => Some("close"),
        _ => None,
    }
}

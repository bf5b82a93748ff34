//! Why a message is refused: the rule it breaks and the status that earns.

/// A rule of HTTP/1 that a message broke. `word()` goes to the access log and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "`word` and `status` say it; one row each in the table")]
pub enum Rule {
    RequestLine, // grows with the parser
}

/// A refused message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .rule.word())]
pub struct Refusal {
    /// The rule.
    pub rule: Rule,
}

impl Rule {
    /// A word for logs and metrics, such as `bad_request_line`, `head_too_large`.
    pub const fn word(self) -> &'static str {
        match self {
            Rule::RequestLine => "bad_request_line",
        }
    }
    /// The status a client gets: 400, 408, 413, 414, 417, 431, 501 or 505. A backend's fault is always 502.
    pub const fn status(self) -> u16 {
        match self {
            Rule::RequestLine => 400,
        }
    }
}

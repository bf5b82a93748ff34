//! Why a message is refused: the rule it breaks and the status that earns.

macro_rules! rules {
    ($($rule:ident $word:literal $status:literal),* $(,)?) => {
        /// A rule of HTTP/1, or of what becomes HTTP/1, that a message broke.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "the table gives each a word and a status")]
        pub enum Rule { $($rule),* }

        impl Rule {
            /// A word for logs and metrics, such as `bad_request_line`, `head_too_large`.
            pub const fn word(self) -> &'static str {
                match self { $(Rule::$rule => $word),* }
            }
            /// The status a client gets. A backend's fault is always 502.
            pub const fn status(self) -> u16 {
                match self { $(Rule::$rule => $status),* }
            }
        }
    };
}

rules! {
    RequestLine "bad_request_line" 400,
    StatusLine "bad_status_line" 502,
    Version "bad_version" 505,
    Target "bad_target" 400,
    BareLf "bare_lf" 400,
    Folded "obs_fold" 400,
    FieldName "bad_field_name" 400,
    FieldValue "bad_field_value" 400,
    HeadTooLarge "head_too_large" 431,
    TooManyFields "too_many_fields" 431,
    TargetTooLong "target_too_long" 414,
    HostMissing "host_missing" 400,
    HostRepeated "host_repeated" 400,
    HostInvalid "bad_host" 400,
    HostDiffers "host_differs" 400,
    ConnectionField "connection_field" 400,
    Scheme "bad_scheme" 400,
    Protocol "unknown_protocol" 501,
    BothLengths "both_lengths" 400,
    LengthInvalid "bad_content_length" 400,
    LengthRepeated "content_length_repeated" 400,
    CodingInvalid "bad_transfer_encoding" 400,
    CodingUnknown "unknown_transfer_encoding" 501,
    CodingOld "transfer_encoding_in_http_1_0" 400,
    Expectation "unknown_expectation" 417,
    ChunkSize "bad_chunk_size" 400,
    ChunkExtension "bad_chunk_extension" 400,
    ChunkEnd "bad_chunk_end" 400,
    ChunkOverhead "chunk_overhead" 400,
    TrailersTooLarge "trailers_too_large" 400,
    Truncated "truncated" 499,
    Unasked "unasked_bytes" 502,
    UnaskedSwitch "unasked_switch" 502,
}

/// A refused message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .rule.word())]
pub struct Refusal {
    /// The rule.
    pub rule: Rule,
}

impl From<Rule> for Refusal {
    fn from(rule: Rule) -> Self {
        Self { rule }
    }
}

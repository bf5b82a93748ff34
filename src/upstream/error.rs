//! Why a backend could not be reached or did not answer.
use std::fmt;

/// Why a try broke.
#[derive(Debug)]
pub enum Error {
    /// The name has no address.
    Unresolved,
    /// Refused, unreachable, reset while connecting.
    Connect(std::io::Error),
    /// `timeout.connect` passed.
    ConnectTimeout,
    /// A shortage of our own machine.
    Local(std::io::Error),
    /// Written, then broken.
    Io(std::io::Error),
    /// The backend closed before its answer.
    Closed,
    /// `timeout.first_byte` passed.
    FirstByte,
    /// The answer is no HTTP.
    Garbage(crate::http1::Refusal),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved => f.write_str("its name has no address"),
            Self::Connect(e) | Self::Local(e) | Self::Io(e) => e.fmt(f),
            Self::ConnectTimeout => f.write_str("connect timed out"),
            Self::Closed => f.write_str("closed before its answer"),
            Self::FirstByte => f.write_str("no answer in time"),
            Self::Garbage(r) => write!(f, "invalid answer: {r}"),
        }
    }
}
impl std::error::Error for Error {}

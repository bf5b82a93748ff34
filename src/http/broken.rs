//! What a broken try means: to the words of `retry.on`, to its backend, and to the client.
use super::relay::body_fault;
use super::retry::Cause;
use crate::pool::Outcome;
use crate::upstream::{Error, Retry};

/// What broke a try, by the words of `retry.on`.
pub(super) fn cause(error: &Error, retry: Retry, stale: bool) -> Cause {
    match (retry, error) {
        _ if stale => Cause::Stale,
        (Retry::NothingWritten | Retry::Refused, _) => Cause::Connect,
        (_, Error::Io(_) | Error::Closed | Error::Down | Error::Silent) => Cause::Reset,
        // What came is no head.
        (_, Error::Garbage(_) | Error::Malformed(_)) => Cause::Reset,
        (_, Error::FirstByte) => Cause::Timeout,
        _ => Cause::Other,
    }
}

pub(super) fn outcome(error: &Error, stale: bool) -> Outcome {
    match error {
        _ if stale => Outcome::Stale,
        Error::Local(_) | Error::Body(_) | Error::Request | Error::Over | Error::NoUpgrade => {
            Outcome::Abandoned
        }
        error if error.never_reached() => Outcome::NotReached,
        _ => Outcome::Failed,
    }
}

/// The status of our own answer for a broken try.
pub(super) fn status(error: &Error) -> u16 {
    match error {
        Error::ConnectTimeout | Error::FirstByte | Error::Idle | Error::Request | Error::Silent => {
            504
        }
        Error::Local(_)
        | Error::Unresolved
        | Error::OffLimits(_)
        | Error::Over
        | Error::Changed => 503,
        Error::NoUpgrade => 501,
        _ => 502,
    }
}

/// What broke an answer in the middle: the status it would have earned, and the reason for the log.
pub(super) fn cut_fault(error: &Error) -> (u16, &'static str) {
    let status = status(error);
    match error {
        Error::Body(broken) => body_fault(broken),
        Error::Idle | Error::Request | Error::Over => (status, error.word()),
        _ => (status, "upstream_cut"),
    }
}

//! What an answer says to another try: that it is one of `retry.on`, and when its backend may be asked
//! again.
use super::date::moment;
use super::retry::Asked;
use crate::config::{Retry, Statuses};
use crate::http2;
use crate::message::{Head, Known};
use std::time::{Duration, SystemTime};

/// What gRPC calls UNAVAILABLE.
const UNAVAILABLE: &[u8] = b"14";

/// An answer that may be asked of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unwanted {
    /// By this status of `retry.on`.
    pub(super) status: u16,
    /// It says that a call of gRPC was not taken up. Whether a call may be repeated its method cannot
    /// say, which is POST for all: whoever names 503 there says that it may, as the retry policies of
    /// gRPC do (gRFC A6).
    pub(super) is_call: bool,
}

/// Whether an answer is one of these. That to a call of gRPC which is nothing but UNAVAILABLE
/// ("trailers-only") counts as 503, which is what HTTP would say.
#[inline]
pub(super) fn unwanted(statuses: &Statuses, request: &Head, answer: &Head) -> Option<Unwanted> {
    let status = answer.status();
    if statuses.has(status) {
        return Some(Unwanted { status, is_call: false });
    }
    let named = status == 200 && statuses.has(503);
    (named && is_unavailable(request, answer)).then_some(Unwanted { status: 503, is_call: true })
}

/// Whether a call that was not taken up is made again: then what was sent of it is kept.
#[cold]
pub(super) fn is_made_again(retry: &Retry) -> bool {
    retry.on.statuses.has(503)
}

#[cold]
fn is_unavailable(request: &Head, answer: &Head) -> bool {
    answer.get(Known::GrpcStatus) == Some(UNAVAILABLE) && http2::is_call(request)
}

/// When its backend may be asked again.
pub(super) fn asked(answer: &Head, now: SystemTime) -> Asked {
    if let Some(said) = answer.find("grpc-retry-pushback-ms") {
        // What is below zero, or no number, says: not again.
        return number(said).map_or(Asked::Never, |ms| Asked::At(Duration::from_millis(ms)));
    }
    let after = answer.get(Known::RetryAfter).and_then(|said| {
        let seconds = number(said).map(Duration::from_secs);
        seconds.or_else(|| Some(moment(said)?.duration_since(now).unwrap_or_default()))
    });
    after.map_or(Asked::Nothing, Asked::After)
}

/// Digits alone; as much as there is room for.
fn number(text: &[u8]) -> Option<u64> {
    let digit = |n: u64, b: &u8| {
        b.is_ascii_digit().then(|| n.saturating_mul(10).saturating_add(u64::from(b - b'0')))
    };
    (!text.is_empty()).then(|| text.iter().try_fold(0, digit))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Version;

    fn head(start: impl FnOnce(&mut Head), fields: &[(&str, &str)]) -> Head {
        let mut head = Head::new();
        start(&mut head);
        for (name, value) in fields {
            head.append(name, value.as_bytes()).unwrap();
        }
        head
    }

    fn request(kind: &str) -> Head {
        let start = |head: &mut Head| head.start_request(b"POST", b"/", Version::Http11).unwrap();
        head(start, &[("content-type", kind)])
    }

    fn answer(status: u16, fields: &[(&str, &str)]) -> Head {
        head(|head| head.start_response(status, Version::Http11), fields)
    }

    #[test]
    fn only_statuses_that_are_named_are_unwanted() {
        let mut statuses = Statuses::NONE;
        let plain = request("text/plain");
        assert_eq!(unwanted(&statuses, &plain, &answer(503, &[])), None);
        statuses.add(503);
        let found = unwanted(&statuses, &plain, &answer(503, &[]));
        assert_eq!(found, Some(Unwanted { status: 503, is_call: false }));
        assert_eq!(unwanted(&statuses, &plain, &answer(500, &[])), None);
    }

    #[test]
    fn a_call_that_was_not_taken_up_is_one_of_503() {
        let mut statuses = Statuses::NONE;
        let (call, plain) = (request("application/grpc+proto"), request("text/plain"));
        let unavailable = answer(200, &[("grpc-status", "14")]);
        assert_eq!(unwanted(&statuses, &call, &unavailable), None);
        statuses.add(503);
        let found = unwanted(&statuses, &call, &unavailable);
        assert_eq!(found, Some(Unwanted { status: 503, is_call: true }));
        assert_eq!(unwanted(&statuses, &plain, &unavailable), None);
        for other in ["0", "13", "4"] {
            let answer = answer(200, &[("grpc-status", other)]);
            assert_eq!(unwanted(&statuses, &call, &answer), None, "{other}");
        }
    }

    #[test]
    fn a_backend_says_when_it_may_be_asked_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let after = |value| asked(&answer(503, &[("retry-after", value)]), now);
        assert_eq!(after("120"), Asked::After(Duration::from_secs(120)));
        assert_eq!(after("99999999999999999999999"), Asked::After(Duration::from_secs(u64::MAX)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:47 GMT"), Asked::After(Duration::from_secs(10)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:27 GMT"), Asked::After(Duration::ZERO));
        for wrong in ["", "-1", "1.5", "soon"] {
            assert_eq!(after(wrong), Asked::Nothing, "{wrong}");
        }
        let pushed = |value| asked(&answer(200, &[("grpc-retry-pushback-ms", value)]), now);
        assert_eq!(pushed("20"), Asked::At(Duration::from_millis(20)));
        for never in ["-1", "", "x", "1.5"] {
            assert_eq!(pushed(never), Asked::Never, "{never}");
        }
        assert_eq!(asked(&answer(503, &[]), now), Asked::Nothing);
    }
}

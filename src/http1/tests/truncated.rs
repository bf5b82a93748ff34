//! A stream that ends at any byte: what was whole is said, what was not is never a clean end.
use super::corpus::{REQUESTS, RESPONSES};
use super::http1::{BodyLength, Rule};
use super::replay::{Arrivals, Said, requests, responses};

/// Holds what was said of a part of a stream against what is said of the whole.
fn is_told_of_a_part(part: &[Said], whole: &[Said], shown: &dyn std::fmt::Display) {
    let (last, before) = part.split_last().expect("an end is always said");
    for (i, (part, whole)) in before.iter().zip(whole).enumerate() {
        let shorter = i + 1 == before.len()
            && matches!((part, whole), (Said::Body(p), Said::Body(w)) if w.starts_with(p));
        assert!(part == whole || shorter, "{part:?} for {whole:?} in {shown}");
    }
    assert!(before.len() <= whole.len(), "{shown}");
    let in_a_message =
        matches!(before.last(), Some(Said::Request(..) | Said::Response(..) | Said::Body(_)));
    match last {
        Said::Closed => assert!(!in_a_message, "a clean end in a message: {before:?} in {shown}"),
        Said::Refused(rule) => assert_eq!(*rule, Rule::Truncated, "{shown}"),
        Said::Over => assert!(!in_a_message, "{before:?} in {shown}"),
        // A handshake is switched as soon as its head was read.
        Said::Tunnel(_) => {}
        other => panic!("{other:?} last in {shown}"),
    }
}

#[test]
fn a_request_that_ends_early_is_refused_or_was_none() {
    for wire in REQUESTS {
        let whole = requests(wire, &Arrivals::whole(wire.len(), false));
        for cut in 0..=wire.len() {
            for end_with_last in [true, false] {
                let part = requests(&wire[..cut], &Arrivals::whole(cut, end_with_last));
                is_told_of_a_part(&part, &whole, &wire[..cut].escape_ascii());
            }
        }
    }
}

#[test]
fn a_response_that_ends_early_is_refused_unless_its_end_is_the_close() {
    for (wire, asked) in RESPONSES {
        let whole = responses(wire, asked, &Arrivals::whole(wire.len(), false));
        let until_close = |said: &Said| matches!(said, Said::Response(_, verdict) if verdict.body == BodyLength::UntilClose);
        for cut in 0..=wire.len() {
            let part = responses(&wire[..cut], asked, &Arrivals::whole(cut, false));
            if part.iter().any(until_close) {
                assert_eq!(&part[part.len() - 2..], [Said::End(None), Said::Over]);
            } else {
                is_told_of_a_part(&part, &whole, &wire[..cut].escape_ascii());
            }
        }
    }
}

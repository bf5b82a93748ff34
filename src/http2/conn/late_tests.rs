//! A backend that answers what was taken back, and one whose answers cannot be used: neither costs the
//! connection that others share.
use super::tests::{feed, frame};
use super::*;
use crate::http1::Rule;
use crate::http2::frame::{Code, flag, kind};
use crate::message::Method;
use std::time::Instant;

const LIMITS: Limits = Limits { window: 65_535, ..super::tests::LIMITS };

fn client() -> Core {
    let mut core = Core::new(Side::Client, LIMITS, 1, Instant::now());
    feed(&mut core, &frame(kind::SETTINGS, 0, 0, &[]), usize::MAX);
    core
}

fn ask(core: &mut Core) -> u32 {
    let begun = core.open(Method::Get, LIMITS.head, true, |out| out.path(b"/"));
    sent(core);
    begun.unwrap()
}

/// What waited went.
fn sent(core: &mut Core) -> usize {
    let n = core.out().data().len();
    core.out().consume(n);
    core.wrote();
    n
}

fn answer(id: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flags, id, block)
}

/// Status 200, and a field of the table that is new, or stands in it.
const NEW: [u8; 6] = [0x88, 0x40, 1, b'b', 1, b'v'];
const KNOWN: [u8; 2] = [0x88, 0xbe];

#[test]
fn late_answers_are_never_held_against_a_backend() {
    let mut core = client();
    let held = ask(&mut core);
    for _ in 0..5000 {
        let key = ask(&mut core);
        core.reset(key, Code::CANCEL);
        core.release(key);
        sent(&mut core);
    }
    let window = core.window;
    for n in 0..5000u32 {
        let id = 2 * n + 3;
        let head: &[u8] = if n == 0 { &NEW } else { &KNOWN };
        let all = [
            answer(id, 0, &[0x08, 3, b'1', b'0', b'3']),
            answer(id, 0, head),
            frame(kind::WINDOW_UPDATE, 0, id, &1u32.to_be_bytes()),
            frame(kind::DATA, 0, id, &[b'x'; 3000]),
            answer(id, flag::END_STREAM, &[0x00, 1, b'a', 1, b'1']),
            frame(kind::RST_STREAM, 0, id, &[0; 4]),
        ];
        feed(&mut core, &all.concat(), usize::MAX);
        assert_eq!(core.fault(), None, "{n}");
        sent(&mut core);
    }
    assert_eq!(core.window + core.owed as i64, window, "the window is given back");
    // The other's answer is as whole as ever, by the same table.
    feed(&mut core, &answer(1, flag::END_STREAM, &KNOWN), usize::MAX);
    let head = core.take_head(held).unwrap().unwrap();
    assert_eq!((head.status(), head.find("b")), (200, Some(&b"v"[..])));
    assert!(core.takes_requests());
}

#[test]
fn late_frames_are_bound_by_what_was_taken_back() {
    let end = flag::END_STREAM;
    let (head, data) = (answer(1, 0, &KNOWN[..1]), frame(kind::DATA, end, 1, b"x"));
    // A window of bytes, and the end of one body.
    let window = LIMITS.window as usize / 2 + 1;
    for (late, most) in [(&head, 32 + 2), (&data, window)] {
        let mut core = client();
        let key = ask(&mut core);
        core.reset(key, Code::CANCEL);
        core.release(key);
        feed(&mut core, &late.repeat(most - 1), usize::MAX);
        assert_eq!((core.fault(), core.faults), (None, 0));
        // Each fault of a stream that is gone is a reset, too, behind which as much may come.
        feed(&mut core, &late.repeat(most * (LIMITS.local_resets + 2)), usize::MAX);
        assert!(core.fault().is_some(), "no end of it");
    }
    // Nothing is late behind an end.
    let mut core = client();
    let key = ask(&mut core);
    feed(&mut core, &answer(1, end, &KNOWN[..1]), usize::MAX);
    core.release(key);
    feed(&mut core, &head, usize::MAX);
    assert_eq!(core.fault().map(|fault| fault.code), Some(Code::STREAM_CLOSED));
}

#[test]
fn answers_that_cannot_be_used_end_alone() {
    let mut core = client();
    let held = ask(&mut core);
    let small: Vec<u8> = [&[0x88][..], &[0x00, 1, b'a', 1, b'1'].repeat(51)].concat();
    let name: &[u8] = &[0x88, 0x00, 1, b'A', 1, b'1'];
    // One entry of the table, named again and again: far more than a list may be.
    let mut bomb = vec![0x88, 0x40, 1, b'b', 0x7f, 0xbd, 0x1d];
    bomb.extend([b'v'; 3900]);
    bomb.extend([0xbe; 12_000]);
    let all =
        [(&small[..], Rule::TooManyFields), (name, Rule::FieldName), (&bomb, Rule::HeadTooLarge)];
    for n in 0..3000 {
        let (block, rule) = all[n % 3];
        let key = ask(&mut core);
        let id = core.last;
        feed(&mut core, &answer(id, 0, block), usize::MAX);
        assert_eq!(core.broken(key), Some(Broken::Refused(rule.into())), "{n}");
        core.release(key);
        feed(&mut core, &frame(kind::DATA, flag::END_STREAM, id, b"ok"), usize::MAX);
        assert_eq!(core.fault(), None, "{n}");
        sent(&mut core);
    }
    let key = ask(&mut core);
    let (id, last) = (core.last, [0xbe; 12_000]);
    feed(&mut core, &[answer(id, 0, &[0x88]), answer(id, flag::END_STREAM, &last)].concat(), 999);
    let large = Broken::Refused(Rule::TrailersTooLarge.into());
    assert_eq!((core.broken(key), core.fault()), (Some(large), None));
    feed(&mut core, &answer(1, flag::END_STREAM, &[0x88, 0xbe]), usize::MAX);
    assert_eq!(core.take_head(held).unwrap().unwrap().status(), 200);
    assert!(core.takes_requests());
}

//! Frames are found however bytes are cut, and an end is said between two of them alone.
use super::*;
use std::time::{Duration, Instant};

fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        n @ 0..=125 => bytes.push(mask | n as u8),
        n @ 126..=65535 => {
            bytes.push(mask | 126);
            bytes.extend((n as u16).to_be_bytes());
        }
        n => {
            bytes.push(mask | 127);
            bytes.extend((n as u64).to_be_bytes());
        }
    }
    if masked {
        bytes.extend([0x88, 0x02, 0x03, 0xe9]);
    }
    bytes.extend(payload);
    bytes
}

/// Frames of all shapes, and where each ends.
fn stream(masked: bool) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (first, length) in [
        (0x81, 0),
        (0x82, 1),
        (0x01, 125),
        (0x89, 4),
        (0x00, 126),
        (0xc1, 300),
        (0x80, 65_535),
        (0x82, 65_536),
        (0x8a, 125),
        (0x82, 70_000),
    ] {
        // Looks like a Close wherever it is taken for a head.
        let payload: Vec<u8> = [0x88, 0x02, 0x03, 0xe9].into_iter().cycle().take(length).collect();
        bytes.extend(frame(first, masked, &payload));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

#[test]
fn frames_are_found_however_bytes_are_cut() {
    for masked in [false, true] {
        let (bytes, ends) = stream(masked);
        for step in [1, 2, 3, 7, 127, 4096, bytes.len()] {
            let (mut frames, mut at) = (Frames::new(masked), 0);
            for part in bytes.chunks(step) {
                frames.pass(part);
                at += part.len();
                assert_eq!(frames.is_between(), ends.contains(&at), "{at} by {step}");
            }
            assert!(!frames.has_closed() && !frames.is_lost());
        }
        // What is opaque goes by unseen.
        let (mut frames, mut at, mut seen) = (Frames::new(masked), 0, 0);
        while at < bytes.len() {
            let opaque = frames.opaque() as usize;
            if opaque > 0 {
                frames.skip(opaque as u64);
            } else {
                frames.pass(&bytes[at..at + 1]);
                seen += 1;
            }
            at += opaque.max(1);
            assert_eq!(frames.is_between(), ends.contains(&at));
        }
        assert!(seen < 60, "{seen} bytes were looked at");
        // The rest of a frame is known wherever it stands.
        let mut frames = Frames::new(masked);
        for cut in 0..1000 {
            let end = *ends.iter().find(|end| **end > cut).unwrap();
            assert_eq!(frames.rest(&bytes[cut..]), end - cut, "{cut}");
            frames.pass(&bytes[cut..=cut]);
        }
    }
}

#[test]
fn a_close_is_seen_when_it_is_whole() {
    for masked in [false, true] {
        let close = frame(0x88, masked, b"\x03\xe9bye");
        let mut frames = Frames::new(masked);
        for (at, byte) in close.iter().enumerate() {
            assert!(!frames.has_closed());
            frames.pass(&[*byte]);
            assert_eq!(frames.has_closed(), at + 1 == close.len());
        }
        let mut frames = Frames::new(masked);
        frames.pass(&frame(0x88, masked, b""));
        assert!(frames.has_closed() && frames.is_between());
    }
}

#[test]
fn what_is_no_websocket_is_known_to_be_none() {
    let odd: [(bool, &[u8]); 9] = [
        (false, &[0x81, 0x80]),
        (true, &[0x81, 0x01]),
        (false, &[0x83, 0]),
        (false, &[0x8b, 0]),
        (false, &[0x08, 0]),
        (false, &[0x88, 126]),
        (false, &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        (true, &[0x82, 255, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (false, b"HTTP/1.1 200 OK\r\n"),
    ];
    for (masked, bytes) in odd {
        let mut frames = Frames::new(masked);
        frames.pass(bytes);
        assert!(frames.is_lost() && !frames.is_between(), "{bytes:?}");
        assert_eq!(frames.opaque(), u64::MAX);
        frames.pass(&[0x81, 0]);
        assert!(frames.is_lost());
    }
}

/// Moves what can be moved of one direction; what was written.
fn moved(side: &mut Side, data: &mut Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        match side.step(data) {
            Step::Say => {
                out.push(side.words()[0]);
                side.said(1);
            }
            Step::Pass(0) => return out,
            Step::Pass(n) => {
                side.passed(&data[..n]);
                out.extend(data.drain(..n));
            }
            Step::Drop => {
                side.passed(data);
                data.clear();
                return out;
            }
        }
    }
}

const CLOSE: [u8; 4] = [0x88, 2, 0x03, 0xe9];

#[test]
fn an_end_is_said_between_two_frames_and_nothing_after_it() {
    let (bytes, ends) = stream(false);
    for cut in (0..ends[4]).chain([ends[6] - 1, ends[8], bytes.len()]) {
        let mut closing = Closing::behind(0);
        let now = Instant::now();
        let mut data = bytes[..cut].to_vec();
        assert_eq!(moved(&mut closing.back, &mut data), bytes[..cut]);
        assert_eq!(closing.next(now), Next::Open);
        closing.begin(now + Duration::from_secs(3600));
        let mut rest = bytes[cut..].to_vec();
        let end = *[0].iter().chain(&ends).find(|end| **end >= cut).unwrap();
        let wanted = [&bytes[cut..end], &CLOSE].concat();
        assert_eq!(moved(&mut closing.back, &mut rest), wanted, "{cut}");
        assert!(rest.is_empty(), "the rest is thrown away");
        assert_eq!(closing.next(now), Next::Again);
    }
}

#[test]
fn a_head_before_the_first_frame_is_none() {
    let mut closing = Closing::behind(16);
    closing.begin(Instant::now());
    let mut data = b"HTTP/1.1 101 OK\n".to_vec();
    assert_eq!(moved(&mut closing.back, &mut data), [&b"HTTP/1.1 101 OK\n"[..], &CLOSE].concat());
}

#[test]
fn what_the_client_sends_before_its_own_close_reaches_the_backend() {
    let now = Instant::now();
    let mut closing = Closing::behind(0);
    closing.begin(now + Duration::from_secs(3600));
    assert_eq!(moved(&mut closing.back, &mut Vec::new()), CLOSE);
    assert_eq!(closing.next(now), Next::Again);
    let Next::Until(_) = closing.next(now) else { panic!("the client has a moment") };
    let last = [frame(0x81, true, b"one more"), frame(0x88, true, b"\x03\xe9")].concat();
    assert_eq!(moved(&mut closing.there, &mut last.clone()), last);
    assert_eq!(closing.next(now), Next::Again);
    let Next::Until(_) = closing.next(now) else { panic!("the backend has a moment") };
    assert!(moved(&mut closing.back, &mut frame(0x82, false, b"late")).is_empty());
    let Next::Until(_) = closing.next(now) else { panic!("that was no Close") };
    assert!(moved(&mut closing.back, &mut CLOSE.to_vec()).is_empty());
    assert_eq!(closing.next(now), Next::Over);
}

#[test]
fn a_client_that_says_nothing_has_its_close_said_for_it() {
    let (now, long) = (Instant::now(), Duration::from_secs(60));
    let mut closing = Closing::behind(0);
    closing.begin(now + Duration::from_secs(3600));
    moved(&mut closing.back, &mut Vec::new());
    assert_eq!(closing.next(now), Next::Again);
    // In the middle of a frame.
    let frame = frame(0x81, true, b"half");
    assert_eq!(moved(&mut closing.there, &mut frame[..7].to_vec()), frame[..7]);
    assert_eq!(closing.next(now + long), Next::Again);
    let out = moved(&mut closing.there, &mut [&frame[7..], &frame].concat());
    assert_eq!(out[..frame.len() - 7], frame[7..]);
    let close = &out[frame.len() - 7..];
    let unmasked: Vec<u8> = close[6..].iter().zip(&close[2..6]).map(|(a, b)| a ^ b).collect();
    assert_eq!((&close[..2], &unmasked[..]), (&[0x88, 0x82][..], &[0x03, 0xe9][..]));
    assert_eq!(closing.next(now + long + long), Next::Over);
}

#[test]
fn nobody_is_waited_for_until_it_is_cut() {
    let now = Instant::now();
    let second = Duration::from_secs(1);
    let mut closing = Closing::behind(0);
    closing.begin(now + second);
    moved(&mut closing.back, &mut Vec::new());
    assert_eq!(closing.next(now), Next::Again);
    assert_eq!(closing.next(now), Next::Until(now + second / 2));
    assert_eq!(closing.next(now + second / 2), Next::Again);
    assert_eq!(closing.next(now + second / 2), Next::Until(now + second / 4 * 3));
    assert_eq!(closing.next(now + second), Next::Over);
}

#[test]
fn one_that_closes_by_itself_is_told_nothing_more() {
    let now = Instant::now();
    let mut closing = Closing::behind(0);
    assert_eq!(moved(&mut closing.back, &mut CLOSE.to_vec()), CLOSE);
    closing.begin(now + Duration::from_secs(3600));
    assert!(moved(&mut closing.back, &mut Vec::new()).is_empty());
    assert_eq!(closing.next(now), Next::Again);
    let close = frame(0x88, true, b"\x03\xe9");
    moved(&mut closing.there, &mut close.clone());
    assert_eq!(closing.next(now), Next::Again);
    assert_eq!(closing.next(now), Next::Over);
}

#[test]
fn moments_are_spread_over_the_time_that_is_left() {
    let now = Instant::now();
    let until = now + Duration::from_secs(10);
    assert_eq!(moment(now, until, 0.0), now);
    assert_eq!(moment(now, until, 0.5), now + Duration::from_secs(4));
    assert_eq!(moment(now, until, 1.0), now + Duration::from_secs(8));
    assert_eq!(moment(until, now, 0.7), until);
}

//! Peers that do not read: what may wait for them, who has what becomes free, and what time pays for.
use super::tests::{LIMITS, feed, frame, head, hello, sent, server};
use super::{Came, Core, Limits, Side};
use crate::http2::frame::{flag, kind};
use crate::http2::hpack::{Encoder, Keep};
use crate::http2::tally::Kind;
use std::time::{Duration, Instant};

/// A head of a good kilobyte.
fn long(out: &mut Encoder) {
    out.status(200);
    out.field(b"x-long", None, &[b'~'; 1000], Keep::Never);
}

fn with(limits: Limits, wire: &[u8]) -> Core {
    let mut core = Core::new(Side::Server, limits, 1, Instant::now());
    feed(&mut core, &[&hello(), wire].concat(), usize::MAX);
    core
}

fn news(core: &mut Core) -> Vec<u32> {
    std::iter::from_fn(|| core.news()).collect()
}

#[test]
fn heads_wait_for_their_turn_and_bodies_for_heads() {
    let wire: Vec<u8> = (0..200).flat_map(|n| head(2 * n + 1, flag::END_STREAM, &[])).collect();
    let mut core = with(Limits { streams: 200, ..LIMITS }, &wire);
    let (body, _) = core.asked().unwrap();
    assert!(core.turn(body) && core.head(body, false, long));
    let mut waiting = Vec::new();
    while let Some((key, _)) = core.asked() {
        if core.turn(key) {
            assert!(core.head(key, true, long));
            core.release(key);
        } else {
            waiting.push(key);
        }
    }
    let most = LIMITS.send_buffer;
    assert!((most..most + 1100).contains(&core.out().data().len()), "{}", core.out().data().len());
    assert!(waiting.len() > 100);
    assert_eq!(core.room(body, 100), Some(0));
    assert!(news(&mut core).is_empty());
    // One that gives up holds nobody up.
    core.release(waiting.remove(2));
    let mut bytes = 0;
    while !waiting.is_empty() {
        bytes += 5000;
        core.out().consume(5000);
        core.wrote();
        while !core.turns.is_empty() {
            assert_eq!(core.room(body, 100), Some(0), "a body has none of it");
            let [next] = news(&mut core)[..] else { break };
            assert_eq!(next, waiting[0], "in order");
            if !core.turn(next) {
                break;
            }
            waiting.remove(0);
            assert!(core.head(next, true, long));
            core.release(next);
        }
        assert!(core.out().data().len() < most + 1100);
    }
    assert!(bytes > 100_000);
    let rest = core.out().data().len();
    core.out().consume(rest);
    core.wrote();
    assert_eq!(news(&mut core), [body]);
    assert_eq!(core.room(body, 100), Some(100));
}

#[test]
fn a_turn_that_nobody_takes_is_the_next_ones() {
    let wire: Vec<u8> = (0..4).flat_map(|n| head(2 * n + 1, flag::END_STREAM, &[])).collect();
    let mut core = server(&wire);
    let keys: Vec<u32> = std::iter::from_fn(|| core.asked().map(|(key, _)| key)).collect();
    while core.turn(keys[0]) {
        core.pong(&[0; 8]);
    }
    assert!(!core.turn(keys[1]) && !core.turn(keys[2]) && !core.turn(keys[3]));
    sent(&mut core);
    assert_eq!(news(&mut core), [keys[0]]);
    core.release(keys[0]);
    assert_eq!(news(&mut core), [keys[1]]);
    // Taken back by its client; it hears of that, and goes.
    feed(&mut core, &frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]), 1);
    assert!(core.turn(keys[1]) && !core.head(keys[1], true, long));
    core.release(keys[1]);
    assert!(news(&mut core).contains(&keys[2]));
    assert!(core.turn(keys[2]) && core.turn(keys[3]));
    assert_eq!(core.open_streams(), 2);
}

#[test]
fn nothing_is_read_begun_or_told_of_while_twice_as_much_waits() {
    let mut core = server(&head(1, 0, &[]));
    let (key, _) = core.asked().unwrap();
    while core.may_read() {
        feed(&mut core, &frame(kind::PING, 0, 0, &[0; 8]).repeat(100), usize::MAX);
    }
    let waits = core.out().data().len();
    assert!((2 * LIMITS.send_buffer..2 * LIMITS.send_buffer + 1700).contains(&waits), "{waits}");
    feed(&mut core, &head(3, flag::END_STREAM, &[]), 1);
    assert!(core.asked().is_none());
    core.interim(key, |out| out.status(103));
    assert_eq!(core.out().data().len(), waits);
    sent(&mut core);
    assert!(core.may_read() && core.asked().is_some());
    core.interim(key, |out| out.status(103));
    assert_eq!(sent(&mut core).len(), 1);
}

#[test]
fn the_whole_time_of_a_connection_pays_for_frames() {
    let begun = Instant::now();
    let mut core = Core::new(Side::Server, LIMITS, 1, begun);
    feed(&mut core, &hello(), usize::MAX);
    let mut pings = |n: usize, after: Duration| {
        let wire = frame(kind::PING, 0, 0, &[0; 8]).repeat(n);
        core.receive(&wire, || begun + after);
        sent(&mut core);
        core.fault().and_then(|fault| fault.flood)
    };
    assert_eq!(pings(9990, Duration::ZERO), None);
    // 8.5 seconds are 850 frames.
    assert_eq!(pings(840, Duration::from_millis(8500)), None);
    assert_eq!(pings(30, Duration::from_millis(8500)), Some(Kind::Other));
}

#[test]
fn the_last_byte_of_a_body_is_taken_with_its_end() {
    let mut core = server(&head(1, 0, &[("content-length", "4")]));
    let (key, _) = core.asked().unwrap();
    let took = |core: &mut Core| {
        let mut data = Vec::new();
        let came = core.take_data(key, &mut data);
        core.used(key, data.len());
        core.open_window(key, data.len());
        (came, String::from_utf8(data).unwrap())
    };
    feed(&mut core, &frame(kind::DATA, 0, 1, b"ab"), usize::MAX);
    assert_eq!(took(&mut core), (Ok(Came::Data), "ab".into()));
    feed(&mut core, &frame(kind::DATA, 0, 1, b"cd"), usize::MAX);
    assert_eq!(took(&mut core), (Ok(Came::Data), "c".into()));
    assert_eq!(took(&mut core), (Ok(Came::Nothing), String::new()));
    news(&mut core);
    feed(&mut core, &frame(kind::DATA, flag::END_STREAM, 1, b""), usize::MAX);
    assert_eq!(news(&mut core), [key]);
    assert_eq!(took(&mut core), (Ok(Came::Data), "d".into()));
    assert_eq!(took(&mut core), (Ok(Came::End), String::new()));
    // One that goes on, or is taken back, never has it.
    for wrong in [frame(kind::DATA, 0, 1, b"e"), frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])] {
        let wire = [head(1, 0, &[("content-length", "4")]), frame(kind::DATA, 0, 1, b"abcd")];
        let mut core = server(&wire.concat());
        assert_eq!(core.asked().map(|(same, _)| same), Some(key));
        feed(&mut core, &wrong, usize::MAX);
        assert_eq!(took(&mut core), (Ok(Came::Data), "abc".into()));
        assert!(took(&mut core).0.is_err());
    }
}

#[test]
fn whoever_goes_on_beyond_its_streams_is_sent_away() {
    let begun = Instant::now();
    let mut core = Core::new(Side::Server, LIMITS, 1, begun);
    feed(&mut core, &hello(), usize::MAX);
    let mut stream = 1;
    let mut ask = |n: u32, after: Duration| {
        for _ in 0..n {
            core.receive(&head(stream, flag::END_STREAM, &[]), || begun + after);
            sent(&mut core);
            stream += 2;
        }
        core.fault().and_then(|fault| fault.flood)
    };
    assert_eq!(ask(8 + 9990, Duration::ZERO), None);
    assert_eq!(ask(500, Duration::from_secs(5)), None);
    assert_eq!(ask(20, Duration::from_secs(5)), Some(Kind::LocalResets));
}

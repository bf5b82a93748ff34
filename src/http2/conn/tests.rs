//! Frames in every cut, two ends that talk to each other, and what ends a stream or a connection.
use super::core::list;
use super::*;
use crate::http1::HeadLimits;
use crate::http2::frame::{Code, Frame, PREFACE, flag, kind};
use crate::http2::hpack::{Encoder, Keep};
use crate::http2::tally::Kind;
use crate::message::{Chunk, Method};
use std::time::Instant;

pub(super) const LIMITS: Limits = Limits {
    streams: 8,
    window: 1 << 20,
    connection_window: 8 << 20,
    send_buffer: 64 << 10,
    resets: 3,
    local_resets: 4,
    head: HeadLimits { head: 4096, fields: 50, target: 1024 },
};

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Chunk::none();
    Frame { len: payload.len() as u32, kind, flags, stream }.write(&mut out);
    [out.data(), payload].concat()
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.begin();
    for (name, value) in fields {
        encoder.field(name.as_bytes(), None, value.as_bytes(), Keep::Never);
    }
    encoder.block().to_vec()
}

fn usual(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    block(&[&usual[..], more].concat())
}

pub(super) fn head(stream: u32, flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flags, stream, &usual("POST", more))
}

/// A client's beginning.
pub(super) fn hello() -> Vec<u8> {
    [PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat()
}

/// Reads bytes as they come in pieces of this size.
pub(super) fn feed(core: &mut Core, wire: &[u8], step: usize) {
    let mut input = Vec::new();
    for piece in wire.chunks(step) {
        input.extend_from_slice(piece);
        let read = core.receive(&input, Instant::now);
        input.drain(..read);
    }
}

pub(super) fn server(wire: &[u8]) -> Core {
    let mut core = Core::new(Side::Server, LIMITS, 1, Instant::now());
    feed(&mut core, &[&hello(), wire].concat(), usize::MAX);
    core
}

/// The frames that wait to be sent.
pub(super) fn sent(core: &mut Core) -> Vec<(Frame, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(frame) = Frame::read(core.out().data()) {
        let whole = 9 + frame.len as usize;
        all.push((frame, core.out().data()[9..whole].to_vec()));
        core.out().consume(whole);
    }
    core.wrote();
    all
}

/// What the peer was told by RST_STREAM or GOAWAY.
fn told(core: &mut Core) -> Vec<(u8, u32, Code)> {
    let number = |b: &[u8]| u32::from_be_bytes(b.try_into().unwrap());
    let frames = sent(core).into_iter();
    let told = frames.filter_map(|(frame, payload)| match frame.kind {
        kind::RST_STREAM => Some((3, frame.stream, Code(number(&payload)))),
        kind::GOAWAY => Some((7, number(&payload[..4]), Code(number(&payload[4..8])))),
        _ => None,
    });
    told.collect()
}

/// All that a connection came to, in words.
fn shown(core: &mut Core) -> String {
    let mut text = String::new();
    while let Some((key, request)) = core.asked() {
        let mut data = Vec::new();
        let came = core.take_data(key, &mut data);
        let fields = request.head.bytes().escape_ascii().to_string();
        let trailers = core.take_trailers(key);
        let trailers = trailers.map(|t| t.bytes().escape_ascii().to_string());
        text += &format!(
            "{key} {:?} {} {fields:?} {came:?} {} {trailers:?} {:?} {:?}\n",
            request.verdict,
            request.ended,
            data.escape_ascii(),
            core.take_data(key, &mut Vec::new()),
            core.broken(key),
        );
    }
    format!("{text}{:?} {:?}", core.fault(), sent(core))
}

#[test]
fn a_connection_is_the_same_however_its_bytes_are_cut() {
    let parts = usual("POST", &[("x-a", &"a".repeat(300)), ("cookie", "a=1"), ("cookie", "b=2")]);
    let (first, rest) = parts.split_at(100);
    let padded = [&[2, 0, 0, 0, 0, 7][..], &usual("GET", &[]), &[0, 0]].concat();
    let wire = [
        hello(),
        frame(kind::HEADERS, 0, 1, first),
        frame(kind::CONTINUATION, 0, 1, &rest[..50]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, &rest[50..]),
        frame(kind::DATA, 0, 1, &[b'd'; 700]),
        frame(
            kind::HEADERS,
            flag::END_HEADERS | flag::END_STREAM | flag::PADDED | flag::PRIORITY,
            3,
            &padded,
        ),
        frame(kind::DATA, flag::PADDED, 1, &[&[3][..], b"padded", &[0; 3]].concat()),
        frame(kind::DATA, flag::PADDED, 1, &[4, 0, 0, 0, 0]),
        frame(kind::PING, 0, 0, &[7; 8]),
        frame(77, 9, 5, b"nobody knows it"),
        frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0]),
        frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block(&[("x-sum", "1")])),
        head(5, 0, &[("content-length", "3")]),
        frame(kind::RST_STREAM, 0, 5, &[0, 0, 0, 8]),
        frame(
            kind::HEADERS,
            flag::END_HEADERS,
            7,
            &[&usual("GET", &[])[..], b"\0\x01X\x011"].concat(),
        ),
        head(9, 0, &[("content-length", "3")]),
        frame(kind::DATA, flag::END_STREAM, 9, b"1234"),
        frame(kind::DATA, 0, 9, b"late"),
        frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9, 0, 3, 0, 0, 0, 9]),
        frame(kind::PRIORITY, 0, 11, &[0; 5]),
        frame(kind::GOAWAY, 0, 0, &[0; 12]),
        frame(kind::DATA, 0, 21, b"of no stream"),
    ]
    .concat();
    let whole = |step| {
        let mut core = Core::new(Side::Server, LIMITS, 1, Instant::now());
        feed(&mut core, &wire, step);
        shown(&mut core)
    };
    let wanted = whole(usize::MAX);
    for word in ["dddpadded", "x-sum: 1", "FieldName", "Length", "data of no stream", "a=1; b=2"] {
        assert!(wanted.contains(word), "{word} not in {wanted}");
    }
    for step in 1..=wire.len() {
        assert_eq!(whole(step), wanted, "{step}");
    }
    // Cut once, anywhere.
    for at in 0..wire.len() {
        let mut core = Core::new(Side::Server, LIMITS, 1, Instant::now());
        let read = core.receive(&wire[..at], Instant::now);
        feed(&mut core, &wire[read..], usize::MAX);
        assert_eq!(shown(&mut core), wanted, "{at}");
    }
}

#[test]
fn what_breaks_the_rules_of_streams_ends_them_or_the_connection() {
    use kind::*;
    let (end, heads) = (flag::END_STREAM, flag::END_HEADERS);
    let window = |n: u32| n.to_be_bytes();
    let rst = |stream, code| vec![(3, stream, code)];
    let bye = |last, code| vec![(7, last, code)];
    type Told = Vec<(u8, u32, Code)>;
    let cases: Vec<(Vec<u8>, Told)> = vec![
        // Data behind the end; of one that is gone, of which nobody knows why.
        ([head(1, end, &[]), frame(DATA, 0, 1, b"x")].concat(), rst(1, Code::STREAM_CLOSED)),
        ([head(3, end, &[]), frame(DATA, 0, 1, b"x")].concat(), rst(1, Code::STREAM_CLOSED)),
        ([head(1, end, &[]), head(1, end, &[])].concat(), rst(1, Code::STREAM_CLOSED)),
        ([head(3, end, &[]), head(1, end, &[])].concat(), bye(3, Code::STREAM_CLOSED)),
        ([head(1, 0, &[]), head(1, 0, &[])].concat(), rst(1, Code::PROTOCOL)),
        ([head(1, 0, &[]), head(1, end, &[(":path", "/")])].concat(), rst(1, Code::PROTOCOL)),
        (
            [head(1, 0, &[]), frame(WINDOW_UPDATE, 0, 1, &window(0))].concat(),
            rst(1, Code::PROTOCOL),
        ),
        (
            [head(1, 0, &[]), frame(WINDOW_UPDATE, 0, 1, &window((1 << 31) - 1))].concat(),
            rst(1, Code::FLOW_CONTROL),
        ),
        ([head(1, 0, &[]), frame(PRIORITY, 0, 1, &[0; 4])].concat(), rst(1, Code::FRAME_SIZE)),
        (frame(PRIORITY, 0, 3, &[0; 4]), bye(0, Code::FRAME_SIZE)),
        (frame(PRIORITY, 0, 0, &[0; 5]), bye(0, Code::PROTOCOL)),
        (frame(RST_STREAM, 0, 1, &[0; 4]), bye(0, Code::PROTOCOL)),
        (frame(HEADERS, heads | end, 2, &usual("GET", &[])), bye(0, Code::PROTOCOL)),
        (frame(SETTINGS, flag::ACK, 0, &[0; 6]), bye(0, Code::FRAME_SIZE)),
        (frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), bye(0, Code::FLOW_CONTROL)),
        (frame(HEADERS, heads, 1, &[0xff; 20]), bye(1, Code::COMPRESSION)),
        (frame(CONTINUATION, heads, 1, &[]), bye(0, Code::PROTOCOL)),
        ([frame(HEADERS, 0, 1, &[]), frame(PING, 0, 0, &[0; 8])].concat(), bye(0, Code::PROTOCOL)),
        (frame(5, heads, 1, &[0, 0, 0, 2]), bye(0, Code::PROTOCOL)),
    ];
    for (at, (wire, wanted)) in cases.into_iter().enumerate() {
        let mut core = server(&wire);
        assert_eq!(told(&mut core), wanted, "case {at}");
        assert_eq!(core.fault().is_some(), wanted[0].0 == 7, "case {at}");
    }
    let mut core = Core::new(Side::Server, LIMITS, 1, Instant::now());
    feed(&mut core, &[PREFACE, &frame(kind::PING, 0, 0, &[0; 8])].concat(), 1);
    assert_eq!(core.fault().map(|fault| fault.code), Some(Code::PROTOCOL), "settings come first");
}

#[test]
fn floods_end_with_their_kind() {
    let kind_of = |core: &Core| core.fault().and_then(|fault| fault.flood);
    let reset = |n: u32| [head(n, 0, &[]), frame(kind::RST_STREAM, 0, n, &[0, 0, 0, 8])].concat();
    let few: Vec<u8> = (0..3).flat_map(|n| reset(2 * n + 1)).collect();
    assert_eq!(server(&few).fault(), None);
    assert_eq!(kind_of(&server(&[few, reset(7)].concat())), Some(Kind::Resets));
    let window = |n: u32| frame(kind::WINDOW_UPDATE, 0, n, &0x7fff_ffffu32.to_be_bytes());
    let made: Vec<u8> =
        (0..5).flat_map(|n| [head(2 * n + 1, 0, &[]), window(2 * n + 1)].concat()).collect();
    assert_eq!(kind_of(&server(&made)), Some(Kind::LocalResets));
    let parts = [frame(kind::HEADERS, 0, 1, &[]), frame(kind::CONTINUATION, 0, 1, &[]).repeat(40)];
    assert_eq!(kind_of(&server(&parts.concat())), Some(Kind::Continuations));
    let long = block(&[("x-a", &"a".repeat(16_000))]);
    let parts =
        [frame(kind::HEADERS, 0, 1, &[]), frame(kind::CONTINUATION, 0, 1, &long).repeat(10)];
    assert_eq!(kind_of(&server(&parts.concat())), Some(Kind::Other));
    // One field in the table, named again and again.
    let mut bomb = usual("GET", &[]);
    bomb.extend([0x40, 1, b'b', 0x7f, 0xbd, 0x1d]);
    bomb.extend([b'v'; 3900]);
    bomb.extend([0xbe; 10_000]);
    let bomb = frame(kind::HEADERS, flag::END_HEADERS, 1, &bomb);
    assert_eq!(kind_of(&server(&bomb)), Some(Kind::Other));
    assert!(list(&LIMITS.head) < 16_000);
    // Nobody reads what answers them.
    let mut core = server(&frame(kind::PING, 0, 0, &[0; 8]).repeat(9000));
    assert!(!core.may_read() && core.fault().is_none());
    sent(&mut core);
    assert!(core.may_read());
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let all: Vec<u8> = (0..10).flat_map(|n| head(2 * n + 1, 0, &[])).collect();
    let mut core = server(&all);
    assert_eq!(told(&mut core), [(3, 17, Code::REFUSED), (3, 19, Code::REFUSED)]);
    let keys: Vec<u32> = std::iter::from_fn(|| core.asked().map(|(key, _)| key)).collect();
    assert_eq!(keys.len(), 8);
    core.release(keys[0]);
    assert_eq!(told(&mut core), [(3, 1, Code::CANCEL)]);
    feed(&mut core, &head(21, 0, &[]), 1);
    assert!(core.asked().is_some() && told(&mut core).is_empty());
}

#[test]
fn who_leaves_serves_what_was_on_its_way_and_no_more() {
    let mut core = server(&head(1, flag::END_STREAM, &[]));
    core.leave();
    core.leave();
    let out = sent(&mut core);
    let goodbyes: Vec<_> = out.iter().filter(|(frame, _)| frame.kind == kind::GOAWAY).collect();
    assert!(goodbyes.len() == 1 && goodbyes[0].1[..4] == [0x7f, 0xff, 0xff, 0xff]);
    let ping = &out.iter().find(|(frame, _)| frame.kind == kind::PING).unwrap().1;
    feed(&mut core, &head(3, flag::END_STREAM, &[]), 1);
    feed(&mut core, &frame(kind::PING, flag::ACK, 0, ping), 1);
    assert_eq!(told(&mut core), [(7, 3, Code::NO_ERROR)]);
    feed(&mut core, &head(5, flag::END_STREAM, &[]), 1);
    let keys: Vec<u32> = std::iter::from_fn(|| core.asked().map(|(key, _)| key)).collect();
    assert_eq!(keys.len(), 2);
    for key in keys {
        assert!(!core.is_over());
        assert!(core.head(key, true, |out| out.status(204)));
        core.release(key);
    }
    assert!(!core.is_over(), "it is to be sent");
    sent(&mut core);
    assert!(core.is_over() && core.fault().is_none());
}

/// Moves what waits on one side to the other, in pieces.
fn pass(from: &mut Core, to: &mut Core, input: &mut Vec<u8>, random: &mut fastrand::Rng) -> bool {
    let n = from.out().data().len().min(random.usize(1..5000));
    if n == 0 {
        return false;
    }
    input.extend_from_slice(&from.out().data()[..n]);
    from.out().consume(n);
    from.wrote();
    let read = to.receive(input, Instant::now);
    input.drain(..read);
    true
}

/// One end's part in an exchange.
#[derive(Default)]
struct Part {
    key: u32,
    to_send: Vec<u8>,
    sent: usize,
    got: Vec<u8>,
    ended: bool,
}

impl Part {
    /// Sends and takes a little; whether anything moved.
    fn go(&mut self, core: &mut Core, random: &mut fastrand::Rng) -> bool {
        let mut moved = false;
        if self.sent <= self.to_send.len() {
            let left = self.to_send.len() - self.sent;
            let wanted = left.min(random.usize(1..20_000));
            let room = if left == 0 { Some(0) } else { core.room(self.key, wanted) };
            let room = room.expect("nothing breaks");
            if room > 0 || left == 0 {
                let last = room == left;
                assert!(core.send(self.key, &self.to_send[self.sent..self.sent + room], last));
                self.sent += room + usize::from(last);
                moved = true;
            }
        }
        let mut data = Vec::new();
        match core.take_data(self.key, &mut data).expect("nothing breaks") {
            Came::End => self.ended = true,
            Came::Nothing => {}
            Came::Data => {
                core.used(self.key, data.len());
                core.open_window(self.key, data.len());
                self.got.extend(data);
                moved = true;
            }
        }
        moved
    }
    fn is_done(&self) -> bool {
        self.ended && self.sent > self.to_send.len()
    }
}

/// Bodies of any length, both ways, through windows of any size and cuts of any kind.
#[test]
fn two_ends_bring_each_other_every_byte() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let window = [65_535, 1 << 20, 100_000, 20_000][random.usize(..4)];
        let limits = Limits { window, connection_window: 200_000, ..LIMITS };
        let mut client = Core::new(Side::Client, limits, seed, Instant::now());
        let mut server = Core::new(Side::Server, limits, seed, Instant::now());
        let (mut there, mut back) = (Vec::new(), Vec::new());
        while !client.is_agreed() {
            pass(&mut client, &mut server, &mut there, &mut random);
            pass(&mut server, &mut client, &mut back, &mut random);
        }
        let mut asks: Vec<Part> = Vec::new();
        let mut answers: Vec<Part> = Vec::new();
        let body = |random: &mut fastrand::Rng| {
            let len = [0, 1, 70_000, 300_000][random.usize(..4)];
            (0..len).map(|n| (n * 7 % 251) as u8).collect::<Vec<u8>>()
        };
        for round in 0.. {
            assert!(round < 100_000, "{seed}: it stands still");
            let mut moved = false;
            if asks.len() < 12
                && let Some(key) = client.open(Method::Post, LIMITS.head, false, |out| {
                    out.method(b"POST");
                    out.scheme(false);
                    out.authority(b"a");
                    out.path(b"/");
                })
            {
                asks.push(Part { key, to_send: body(&mut random), ..Part::default() });
                moved = true;
            }
            while let Some((key, request)) = server.asked() {
                assert!(request.verdict.is_ok());
                assert!(server.head(key, false, |out| out.status(200)));
                answers.push(Part { key, to_send: body(&mut random), ..Part::default() });
            }
            for part in &mut asks {
                let _ = client.take_head(part.key);
                moved |= !part.is_done() && part.go(&mut client, &mut random);
                if part.is_done() && part.key != u32::MAX {
                    client.release(part.key);
                    part.key = u32::MAX;
                }
            }
            for part in &mut answers {
                moved |= !part.is_done() && part.go(&mut server, &mut random);
                if part.is_done() && part.key != u32::MAX {
                    server.release(part.key);
                    part.key = u32::MAX;
                }
            }
            moved |= pass(&mut client, &mut server, &mut there, &mut random);
            moved |= pass(&mut server, &mut client, &mut back, &mut random);
            if asks.len() == 12 && asks.iter().chain(&answers).all(Part::is_done) {
                break;
            }
            assert!(moved, "{seed}: everybody waits, {} answers", answers.len());
        }
        assert!(client.fault().is_none() && server.fault().is_none());
        assert_eq!((client.open_streams(), server.open_streams()), (0, 0), "{seed}");
        let mut uploads: Vec<_> = asks.iter().map(|part| &part.to_send).collect();
        let mut got: Vec<_> = answers.iter().map(|part| &part.got).collect();
        uploads.sort();
        got.sort();
        assert!(uploads == got, "{seed}");
        let mut answered: Vec<_> = answers.iter().map(|part| &part.to_send).collect();
        let mut got: Vec<_> = asks.iter().map(|part| &part.got).collect();
        answered.sort();
        got.sort();
        assert!(answered == got, "{seed}");
    }
}

#[test]
fn short_ends_wait_for_the_window_without_anybody() {
    let settings = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 3]);
    let mut core = server(&[settings, head(1, flag::END_STREAM, &[])].concat());
    let (key, _) = core.asked().unwrap();
    assert!(core.head(key, false, |out| out.status(200)));
    assert_eq!(core.room(key, 10), Some(3));
    assert!(core.send(key, b"0123456789", true));
    core.release(key);
    let data = |core: &mut Core| -> Vec<(u8, Vec<u8>)> {
        let frames = sent(core).into_iter().filter(|(frame, _)| frame.kind == kind::DATA);
        frames.map(|(frame, data)| (frame.flags, data)).collect()
    };
    assert_eq!(data(&mut core), [(0, b"012".to_vec())]);
    assert_eq!(core.open_streams(), 1);
    feed(&mut core, &frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 5]), 1);
    assert_eq!(data(&mut core), [(0, b"34567".to_vec())]);
    feed(&mut core, &frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 5]), 1);
    assert_eq!(data(&mut core), [(1, b"89".to_vec())]);
    assert_eq!(core.open_streams(), 0);
}

#[test]
fn any_bytes_end_in_order() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..3000 {
        let mut core = server(&[]);
        let mut stream = 1;
        for _ in 0..random.usize(1..20) {
            let len = random.usize(..40);
            let payload: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            let wire = if random.u8(..4) == 0 {
                stream += 2;
                head(stream, random.u8(..2), &[])
            } else {
                frame(random.u8(..11), random.u8(..), random.u32(..stream + 4), &payload)
            };
            feed(&mut core, &wire, random.usize(1..50));
            if let Some((key, _)) = core.asked() {
                match random.u8(..4) {
                    0 => core.release(key),
                    1 => drop(core.head(key, true, |out| out.status(200))),
                    2 => core.reset(key, Code::CANCEL),
                    _ => {}
                }
            }
        }
        if core.fault().is_some() {
            let bye = told(&mut core).into_iter().filter(|(kind, ..)| *kind == 7).count();
            assert_eq!(bye, 1);
            assert!(core.is_over());
        }
    }
}

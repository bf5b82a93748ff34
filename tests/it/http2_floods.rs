//! Clients of HTTP/2 that only make work: each is sent away, counted, and nobody else notices.
use crate::support::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame, usual,
};
use crate::support::{Backend, Proxy, until};
use evenkeel::message::memory;
use std::time::{Duration, Instant};

const PADDED: u8 = 8;

const ENHANCE_YOUR_CALM: u32 = 11;

/// How many connections were ended for this.
fn floods(proxy: &Proxy, kind: &str) -> u64 {
    let plan = proxy.running().state().plan.load_full().unwrap();
    let cells = &plan.listeners["web"].cells;
    cells.floods.all().iter().find(|(word, _)| *word == kind).map_or(0, |(_, n)| *n)
}

/// Writes this again and again until the proxy has had enough, reading what comes; the neighbour
/// on another connection is served all the while.
#[track_caller]
fn flood(bytes: &dyn Fn(u32) -> Vec<u8>, kind: &str) {
    // An answer would end the stream of a flood, and what comes behind it is of another kind.
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            if head.starts_with("POST /held") {
                drop(peer.rest());
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
        }
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut neighbour = Frames::connect(proxy.addr());
    neighbour.get(1, "/", &[]);
    assert_eq!(neighbour.answer(1), (200, "fine".into()));
    let mut client = Frames::connect(proxy.addr());
    let mut reader = Frames::over(client.stream().try_clone().unwrap());
    let reading = std::thread::spawn(move || reader.goodbye());
    let begun = Instant::now();
    let mut n = 0;
    while !reading.is_finished() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it goes on after {n}");
        let batch: Vec<u8> = (0..100).flat_map(|i| bytes(n + i)).collect();
        client.write(&batch);
        n += 100;
    }
    assert_eq!(reading.join().unwrap(), Some(ENHANCE_YOUR_CALM), "after {n}");
    until("it is counted", || floods(&proxy, kind) == 1);
    neighbour.get(3, "/", &[]);
    assert_eq!(neighbour.answer(3), (200, "fine".into()));
}

#[test]
fn a_flood_of_pings_ends() {
    flood(&|_| frame(PING, 0, 0, &[0; 8]), "other");
}

#[test]
fn a_flood_of_settings_ends() {
    flood(&|_| frame(SETTINGS, 0, 0, &[]), "other");
}

#[test]
fn a_flood_of_unknown_frames_ends() {
    flood(&|_| frame(0x77, 0, 0, &[1, 2, 3]), "other");
}

#[test]
fn a_flood_of_priorities_ends() {
    flood(&|_| frame(2, 0, 1, &[0, 0, 0, 0, 1]), "other");
}

#[test]
fn a_flood_of_empty_data_ends() {
    let head = |n: u32| match n {
        0 => frame(HEADERS, END_HEADERS, 1, &usual("POST", "/held")),
        _ => frame(DATA, 0, 1, &[]),
    };
    flood(&head, "data_frames");
}

#[test]
fn padding_alone_is_as_empty() {
    let padded = |n: u32| match n {
        0 => frame(HEADERS, END_HEADERS, 1, &usual("POST", "/held")),
        _ => frame(DATA, PADDED, 1, &[2, 0, 0]),
    };
    flood(&padded, "data_frames");
}

#[test]
fn a_byte_does_not_pay_for_a_ping() {
    let pair = |n: u32| match n {
        0 => frame(HEADERS, END_HEADERS, 1, &usual("POST", "/held")),
        _ => [frame(PING, 0, 0, &[0; 8]), frame(DATA, 0, 1, b"x")].concat(),
    };
    flood(&pair, "other");
}

#[test]
fn a_flood_of_continuations_ends() {
    let head = |n: u32| match n {
        0 => frame(HEADERS, END_STREAM, 1, &usual("GET", "/")),
        _ => frame(CONTINUATION, 0, 1, &[]),
    };
    flood(&head, "continuations");
}

#[test]
fn rapid_resets_end() {
    let pair = |n: u32| {
        let stream = 1 + 2 * n;
        let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream, &usual("GET", "/"));
        bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        bytes
    };
    flood(&pair, "resets");
}

#[test]
fn slow_rapid_resets_end_too() {
    slow_resets(0);
}

#[test]
fn a_few_bytes_do_not_pay_for_a_reset() {
    slow_resets(10);
}

/// One by one: each is seen, has so many frames of a byte, and is taken back before its answer.
fn slow_resets(bytes: u32) {
    let backend = Backend::run(|peer| {
        let _ = peer.rest();
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = Frames::connect(proxy.addr());
    let (mut stream, mut code) = (1, None);
    'flood: while stream < 20_000 {
        client.post(stream, "/", &[]);
        for _ in 0..bytes {
            client.send(DATA, 0, stream, b"x");
        }
        client.send(RST_STREAM, 0, stream, &8u32.to_be_bytes());
        client.send(PING, 0, 0, &[0; 8]);
        loop {
            match client.next() {
                Some(frame) if frame.kind == PING => break,
                Some(frame) if frame.kind == GOAWAY => code = Some(frame.code()),
                Some(_) => {}
                None => break 'flood,
            }
        }
        stream += 2;
    }
    assert_eq!(code, Some(ENHANCE_YOUR_CALM), "after {stream}");
    until("it is counted", || floods(&proxy, "resets") == 1);
}

#[test]
fn resets_that_are_provoked_end() {
    // MadeYouReset: each stream is ended by us, for a window that cannot be so large.
    let pair = |n: u32| {
        let stream = 1 + 2 * n;
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &usual("POST", "/"));
        bytes.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffffu32.to_be_bytes()));
        bytes
    };
    let backend = Backend::run(|peer| {
        let _ = peer.rest();
    });
    let proxy = Proxy::http(&[backend.addr], "");
    let mut client = Frames::connect(proxy.addr());
    let mut reader = Frames::over(client.stream().try_clone().unwrap());
    let reading = std::thread::spawn(move || reader.goodbye());
    let mut n = 0;
    while !reading.is_finished() && n < 20_000 {
        client.write(&pair(n));
        n += 1;
    }
    assert_eq!(reading.join().unwrap(), Some(ENHANCE_YOUR_CALM), "after {n}");
    until("it is counted", || floods(&proxy, "local_resets") == 1);
}

#[test]
fn a_list_of_fields_is_bounded_before_it_is_kept() {
    let backend = Backend::named("fine");
    let proxy = Proxy::http(&[backend.addr], "");
    // A bomb: one field of 4 KiB in the table, named again and again by one byte each.
    let mut client = Frames::connect(proxy.addr());
    let value = "v".repeat(3900);
    let mut bomb = usual("GET", "/");
    bomb.extend([0x40, 1, b'b', 0x7f, 0xbd, 0x1d]);
    bomb.extend(value.as_bytes());
    bomb.extend(std::iter::repeat_n(0xbe, 10_000));
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &bomb);
    assert_eq!(client.goodbye(), Some(ENHANCE_YOUR_CALM));
    until("it is counted", || floods(&proxy, "other") == 1);
    // A megabyte over many frames.
    let mut client = Frames::connect(proxy.addr());
    client.send(HEADERS, END_STREAM, 1, &usual("GET", "/"));
    let piece = block(&[("x-a", &"a".repeat(16_000))]);
    for _ in 0..64 {
        client.send(CONTINUATION, 0, 1, &piece);
    }
    assert!(client.goodbye().is_some());
    assert_eq!(backend.connections(), 0);
}

#[test]
fn streams_that_nobody_reads_cost_little_and_end() {
    let backend = Backend::run(|peer| {
        while peer.request().is_some() {
            let body = vec![b'x'; 1 << 20];
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            peer.send(body);
        }
    });
    let (folder, words) = crate::support::access_log();
    let proxy =
        Proxy::http(&[backend.addr], &format!("[defaults.timeout]\nidle = \"1s\"\n{words}"));
    // A window of nothing.
    let mut client = Frames::with_settings(proxy.addr(), &[(4, 0)]);
    for n in 0..100 {
        client.get(1 + 2 * n, "/", &[]);
    }
    let mut ended = 0;
    while ended < 100 {
        let frame = client.until("resets", |f| {
            assert!(f.kind != DATA || f.payload.is_empty(), "not a byte was asked for");
            f.kind == RST_STREAM
        });
        assert_eq!(frame.code(), 8, "CANCEL");
        ended += 1;
    }
    let lines = crate::support::access_lines(&folder, 100);
    assert!(lines.iter().all(|line| line.contains("client_timeout_idle")), "{}", lines[0]);
}

#[test]
fn a_connection_without_streams_ends() {
    let backend = Backend::named("fine");
    let more = "[defaults.timeout]\nkeep_alive = \"300ms\"\nheader = \"300ms\"";
    let proxy = Proxy::http(&[backend.addr], more);
    // Before its first request, and after its last.
    let mut client = Frames::connect(proxy.addr());
    assert_eq!(client.goodbye(), Some(0));
    let plan = proxy.running().state().plan.load_full().unwrap();
    assert_eq!(plan.listeners["web"].cells.limit_hits.all(), [("header", 1)]);
    let mut client = Frames::connect(proxy.addr());
    client.get(1, "/", &[]);
    assert_eq!(client.answer(1), (200, "fine".into()));
    assert_eq!(client.goodbye(), Some(0));
}

#[test]
fn more_streams_than_allowed_are_refused_and_the_others_go_on() {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            if head.starts_with("GET /wait ") {
                let _ = peer.rest();
                return;
            }
            peer.answer("fine");
        }
    });
    let web = crate::support::web(&[backend.addr], "");
    let proxy = Proxy::start(&web.replace(
        "protocol = \"http\"",
        "protocol = \"http\"\nhttp2 = { streams = 2, send_buffer = \"16KiB\" }",
    ));
    let mut client = Frames::connect(proxy.addr());
    client.until("our settings are known", |f| f.kind == SETTINGS && f.flags == 1);
    client.get(1, "/wait", &[]);
    client.get(3, "/wait", &[]);
    client.get(5, "/", &[]);
    let refused = client.until("a refusal", |f| f.kind == RST_STREAM);
    assert_eq!((refused.stream, refused.code()), (5, 7), "REFUSED_STREAM");
    client.send(RST_STREAM, 0, 1, &8u32.to_be_bytes());
    client.get(7, "/", &[]);
    assert_eq!(client.answer(7), (200, "fine".into()));
}

/// A connection whose first stream stays open, so that it never rests. Other requests are answered when
/// their body has come.
fn never_at_rest() -> (Backend, Proxy, Frames) {
    let backend = Backend::run(|peer| {
        while let Some(head) = peer.request() {
            if head.starts_with("GET /wait ") {
                peer.rest();
                return;
            }
            peer.bytes(40);
            peer.answer("fine");
        }
    });
    let more = "[defaults.timeout]\nidle = \"300s\"\nfirst_byte = \"300s\"";
    let proxy = Proxy::http(&[backend.addr], more);
    let mut client = Frames::connect(proxy.addr());
    client.until("our settings are known", |f| f.kind == SETTINGS && f.flags == 1);
    client.get(1, "/wait", &[]);
    (backend, proxy, client)
}

#[test]
fn padding_is_not_kept_in_the_account_of_memory() {
    let (_backend, _proxy, mut client) = never_at_rest();
    let padded = [&[255, b'x'][..], &[0; 255]].concat();
    for n in 0..100 {
        let stream = 3 + 2 * n;
        client.post(stream, "/", &[("content-length", "40")]);
        let frames: Vec<u8> = (0..40).flat_map(|_| frame(DATA, PADDED, stream, &padded)).collect();
        client.write(&frames);
        client.send(DATA, END_STREAM, stream, b"");
        assert_eq!(client.answer(stream), (200, "fine".into()));
    }
    // A megabyte went by.
    until("nothing is held", || memory().used() < 256 << 10);
}

#[test]
fn what_comes_for_streams_that_are_gone_is_not_kept_in_the_account_of_memory() {
    let (_backend, _proxy, mut client) = never_at_rest();
    for stream in [3, 5, 7] {
        // Ended by us, for a window that cannot be so large.
        client.post(stream, "/", &[]);
        client.send(WINDOW_UPDATE, 0, stream, &0x7fff_ffffu32.to_be_bytes());
        client.until("a reset", |f| f.kind == RST_STREAM && f.stream == stream);
        for _ in 0..60 {
            client.send(DATA, 0, stream, &[0; 16_384]);
        }
    }
    client.send(PING, 0, 0, &[0; 8]);
    client.until("all was read", |f| f.kind == PING);
    until("nothing is held", || memory().used() < 256 << 10);
}

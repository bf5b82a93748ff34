//! Heads of HTTP/2: what is let in is written as one request of HTTP/1 that says the same, and an
//! answer of HTTP/1 becomes one that HTTP/2 allows.
use super::strict::{self, Delimited};
use evenkeel::http1::{self, BodyLength, HeadLimits, Parsed};
use evenkeel::http2::conn::{Core, Limits, Side};
use evenkeel::http2::hpack::{Decoder, Encoder, Judged, Keep, Stop};
use evenkeel::http2::{self, Asking, Listen, PREFACE};
use evenkeel::message::{Chunk, Head, Known, Method};

const LIMITS: HeadLimits = HeadLimits { head: 64 << 10, fields: 1000, target: 8 << 10 };

/// What was said: pseudo-headers, fields, and whether no body follows.
struct Said {
    pseudo: Vec<(&'static str, Vec<u8>)>,
    fields: Lines,
    ended: bool,
}

impl Said {
    fn pseudo(&self, name: &str) -> Option<&[u8]> {
        self.pseudo.iter().find(|(n, _)| *n == name).map(|(_, value)| &value[..])
    }
}

/// A byte of flags (1: no body follows; 2: it asks for a WebSocket), then lines: method, scheme,
/// authority, path, and fields as `name: value`, where a value may hold any byte but a line's end.
fn said_by(input: &[u8]) -> Option<Said> {
    let (flags, rest) = input.split_first()?;
    let mut lines = rest.split(|byte| *byte == b'\n');
    let mut pseudo = Vec::new();
    for name in [":method", ":scheme", ":authority", ":path"] {
        let value = lines.next()?;
        if !value.is_empty() {
            pseudo.push((name, value.to_vec()));
        }
    }
    if flags & 2 != 0 {
        pseudo.push((":protocol", b"websocket".to_vec()));
    }
    let mut fields = Vec::new();
    for field in lines {
        let at = field.iter().position(|byte| *byte == b':')?;
        let value = field[at + 1..].strip_prefix(b" ").unwrap_or(&field[at + 1..]);
        fields.push((field[..at].to_vec(), value.to_vec()));
    }
    Some(Said { pseudo, fields, ended: flags & 1 != 0 })
}

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// What a head says besides its framing and what is for this hop.
fn said(head: &Head) -> Lines {
    let ours = [Known::ContentLength, Known::TransferEncoding, Known::Connection, Known::Upgrade];
    let fields =
        head.iter().filter(|(name, _)| !Known::of(name).is_some_and(|k| ours.contains(&k)));
    let mut lines: Lines =
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect();
    lines.sort();
    lines
}

/// A request, as [`said_by`] reads it.
///
/// # Panics
///
/// When it is let in and its bytes for a backend are not exactly one request that says the same.
pub fn request(input: &[u8]) {
    let Some(came) = said_by(input) else { return };
    let mut asking = Asking::new(&LIMITS, 1 << 20);
    let pseudo = came.pseudo.iter().map(|(name, value)| (name.as_bytes(), &value[..]));
    let fields = came.fields.iter().map(|(name, value)| (&name[..], &value[..]));
    for (name, value) in pseudo.chain(fields) {
        asking.field(name, value, &mut Judged::default()).expect("not so many");
    }
    let http2::Request { head, verdict, .. } = asking.finish(came.ended, || 7);
    let Ok(verdict) = verdict else { return };
    let upgrade = verdict.websocket.then_some("Upgrade");
    let mut out = Chunk::none();
    http1::request_head(&head, None, verdict.body, upgrade, &mut out);
    let wire = out.data();
    let shown = wire.escape_ascii();
    let strictly = strict::request(wire).unwrap_or_else(|fault| panic!("{fault} in {shown}"));
    assert_eq!(strictly.len, wire.len(), "more than a head: {shown}");
    let delimited = match verdict.body {
        BodyLength::None | BodyLength::UntilClose => Delimited::Silent,
        BodyLength::Exact(n) => Delimited::Length(n),
        BodyLength::Chunked => Delimited::Chunked,
    };
    assert_eq!(strictly.delimited, delimited, "{shown}");
    let mut again = Head::new();
    let parsed = http1::request(wire, 0, &LIMITS, &mut again);
    assert_eq!(parsed.expect("our own bytes are refused"), Parsed::Done(wire.len()), "{shown}");
    let read = http1::of_request(&again).expect("our own head is refused");
    assert_eq!((read.body, read.websocket), (verdict.body, verdict.websocket), "{shown}");
    // What it says is what came.
    let method = if verdict.websocket { Some(&b"GET"[..]) } else { came.pseudo(":method") };
    assert_eq!(Some(again.method_token()), method);
    if let Some(path) = came.pseudo(":path") {
        assert_eq!(again.target(), path);
    }
    let host = || came.fields.iter().find(|(name, _)| name == b"host").map(|(_, host)| &host[..]);
    assert_eq!(again.get(Known::Host), came.pseudo(":authority").or_else(host), "{shown}");
    assert_eq!(said(&again), said(&head), "{shown}");
    let own = ["host", "cookie", "content-length", "sec-websocket-key"];
    let kept = |name: &str| !own.contains(&name);
    let mut came = came.fields;
    came.retain(|(name, _)| std::str::from_utf8(name).is_ok_and(kept));
    came.sort();
    let mut went = said(&again);
    went.retain(|(name, _)| std::str::from_utf8(name).is_ok_and(kept));
    assert_eq!(went, came, "{shown}");
}

/// A byte says what was asked; the rest is an answer of HTTP/1.
///
/// # Panics
///
/// When what becomes of it is nothing that HTTP/2 allows, or says something else.
pub fn response(input: &[u8]) {
    let Some((which, wire)) = input.split_first() else { return };
    let method = [Method::Get, Method::Head, Method::Post][usize::from(which % 3)];
    let mut head = Head::new();
    let Ok(Parsed::Done(_)) = http1::response(wire, 0, &LIMITS, &mut head) else { return };
    if head.status() < 200 {
        return allowed(&head, &written(|out| http2::interim(&head, out)));
    }
    let Ok(verdict) = http1::of_response(&head, method) else { return };
    let answer = written(|out| http2::response(head.status(), &head, verdict.body, out));
    let all = |name: &str| -> Vec<String> {
        let all = answer.iter().filter(|(n, _)| n == name.as_bytes());
        all.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    };
    assert_eq!(all(":status"), [head.status().to_string()]);
    let lengths = all("content-length");
    match verdict.body {
        BodyLength::Exact(n) => assert_eq!(lengths, [n.to_string()]),
        BodyLength::None => assert!(lengths.len() <= 1),
        _ => assert!(lengths.is_empty()),
    }
    allowed(&head, &answer);
}

/// The fields of a block.
fn written(write: impl FnOnce(&mut Encoder)) -> Lines {
    let mut encoder = Encoder::default();
    encoder.begin();
    write(&mut encoder);
    let mut lines = Lines::new();
    let decoded = Decoder::default().decode(encoder.block(), |name, value, _| {
        lines.push((name.to_vec(), value.to_vec()));
        Ok(())
    });
    assert_eq!(decoded, Ok(()));
    lines
}

/// Nothing of HTTP/1's connections (RFC 9113 8.2.2), and of the rest everything.
fn allowed(head: &Head, fields: &Lines) {
    let connection =
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"];
    let is = |name: &[u8], words: &[&str]| words.iter().any(|word| word.as_bytes() == name);
    for (name, _) in fields {
        assert!(!is(name, &connection), "{}", name.escape_ascii());
    }
    let of_framing =
        |name: &[u8]| is(name, &["content-length", ":status"]) || is(name, &connection);
    let mut came: Lines = said(head);
    came.retain(|(name, _)| !of_framing(name));
    let mut went = fields.clone();
    went.retain(|(name, _)| !of_framing(name));
    went.sort();
    assert_eq!(went, came);
}

/// What a client's frames come to, in words.
fn came_to(wire: &[u8], cuts: &[usize]) -> String {
    let limits = Limits {
        streams: 8,
        window: 65_535,
        connection_window: 100_000,
        send_buffer: 64 << 10,
        resets: 5,
        local_resets: 5,
        head: LIMITS,
    };
    let mut core = Core::new(Side::Server, limits, 1, std::time::Instant::now());
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let (mut input, mut from) = ([PREFACE, &settings].concat(), 0);
    for to in cuts.iter().copied().chain([wire.len()]) {
        input.extend_from_slice(&wire[from..to.max(from)]);
        from = to.max(from);
        let read = core.receive(&input, std::time::Instant::now);
        assert!(input.len() - read <= 16_384 + 9, "more is asked for than a frame");
        input.drain(..read);
    }
    let mut text = String::new();
    while let Some((key, request)) = core.asked() {
        let mut data = Vec::new();
        let came = core.take_data(key, &mut data);
        assert!(data.len() <= 65_535, "more than its window");
        let (verdict, broken) = (request.verdict, core.broken(key));
        let fields = request.head.bytes().escape_ascii().to_string();
        let trailers = core.take_trailers(key).map(|t| t.bytes().escape_ascii().to_string());
        text += &format!("{key} {verdict:?} {fields} {came:?} {data:?} {trailers:?} {broken:?}\n");
        core.release(key);
    }
    format!("{text}{:?} {}", core.fault(), core.out().data().escape_ascii())
}

/// Two bytes say where the rest, frames of a client behind its settings, is cut.
///
/// # Panics
///
/// When the cut changes what they come to, or more is kept than may be.
pub fn frames(input: &[u8]) {
    let Some(([a, b], wire)) = input.split_first_chunk::<2>() else { return };
    let at = usize::from(u16::from_be_bytes([*a, *b])).min(wire.len());
    let whole = came_to(wire, &[]);
    assert_eq!(came_to(wire, &[at]), whole);
    let bytes: Vec<usize> = (0..wire.len()).collect();
    assert_eq!(came_to(wire, &bytes), whole);
}

/// A block of compressed fields.
///
/// # Panics
///
/// When what it says cannot be said again as the same.
pub fn fields(input: &[u8]) {
    let (mut said, mut left) = (Lines::new(), 1 << 16);
    let read = Decoder::default().decode(input, |name, value, _| {
        left -= (name.len() + value.len() + 32) as i64;
        said.push((name.to_vec(), value.to_vec()));
        if left < 0 { Err(Stop) } else { Ok(()) }
    });
    if read.is_err() {
        return;
    }
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    for round in 0..3 {
        encoder.begin();
        let mut wanted = Lines::new();
        for (name, value) in &said {
            encoder.field(name, Known::of(name), value, Keep::Again);
            wanted.push((name.to_ascii_lowercase(), value.clone()));
        }
        let mut again = Lines::new();
        let read = decoder.decode(encoder.block(), |name, value, _| {
            again.push((name.to_vec(), value.to_vec()));
            Ok(())
        });
        assert_eq!((read, &again), (Ok(()), &wanted), "round {round}");
    }
}

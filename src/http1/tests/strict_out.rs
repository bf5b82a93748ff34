//! Rule one: whatever came in, what goes out is strictly valid and says the same.
//!
//! A head that is let in is written as the proxy writes it, held against a checker of its own,
//! read again and written again.
use super::http1::{
    BodyLength, Decoded, Decoder, HeadLimits, Parsed, Refusal, chunk_size_line, hop_by_hop,
    last_chunk, of_request, of_response, request, request_head, response, response_head,
};
use super::message::{Chunk, Fields, Head, Known, Method};
use super::strict::{self, Delimited};

/// Large enough for every input; bounds have tests of their own.
const LIMITS: HeadLimits = HeadLimits { head: 64 << 10, fields: 1000, target: 8 << 10 };

/// The Host of a request that has none: its backend's.
const BACKEND: &[u8] = b"backend.test:80";

/// What became of a head that was let in.
#[derive(Debug)]
pub(crate) struct Went {
    /// Bytes that were read.
    pub(crate) used: usize,
    /// How the body behind it is delimited.
    pub(crate) body: BodyLength,
    /// What was written.
    pub(crate) written: Vec<u8>,
}

/// Reads a request head from the beginning of these bytes and checks what is written of it.
/// `None`: it is not complete.
///
/// # Errors
///
/// What refused it.
///
/// # Panics
///
/// When the written head is not strictly valid or says something else.
pub(crate) fn of_a_request(wire: &[u8]) -> Result<Option<Went>, Refusal> {
    let mut head = Head::new();
    let Parsed::Done(used) = request(wire, 0, &LIMITS, &mut head)? else { return Ok(None) };
    let verdict = of_request(&head)?;
    let written = write_request(&mut head, verdict.body);
    let strictly = strict::request(&written)
        .unwrap_or_else(|fault| panic!("{fault} in {}", written.escape_ascii()));
    assert_eq!(strictly.len, written.len(), "more than a head: {}", written.escape_ascii());
    assert_eq!(strictly.delimited, delimited(verdict.body));
    let said = request_said(&head);
    let mut again = Head::new();
    let parsed = request(&written, 0, &LIMITS, &mut again).expect("own head is refused");
    assert_eq!(parsed, Parsed::Done(written.len()));
    assert_eq!(of_request(&again).expect("own head is refused").body, verdict.body);
    assert_eq!(request_said(&again), said);
    let twice = write_request(&mut again, verdict.body);
    assert_eq!(twice, written, "{} and {}", twice.escape_ascii(), written.escape_ascii());
    Ok(Some(Went { used, body: verdict.body, written }))
}

/// The same of a response to a request with this method.
///
/// # Errors
///
/// What refused it.
///
/// # Panics
///
/// As [`of_a_request`].
pub(crate) fn of_a_response(wire: &[u8], to: Method) -> Result<Option<Went>, Refusal> {
    let mut head = Head::new();
    let Parsed::Done(used) = response(wire, 0, &LIMITS, &mut head)? else { return Ok(None) };
    let body = of_response(&head, to)?.body;
    let written = write_response(&mut head, body);
    let strictly = strict::response(&written)
        .unwrap_or_else(|fault| panic!("{fault} in {}", written.escape_ascii()));
    assert_eq!(strictly.len, written.len(), "more than a head: {}", written.escape_ascii());
    if body != BodyLength::None {
        assert_eq!(strictly.delimited, delimited(body));
    }
    let mut again = Head::new();
    let parsed = response(&written, 0, &LIMITS, &mut again).expect("own head is refused");
    assert_eq!(parsed, Parsed::Done(written.len()));
    assert_eq!(of_response(&again, to).expect("own head is refused").body, body);
    assert_eq!((again.status(), again.reason()), (head.status(), head.reason()));
    assert_eq!(lines(&again), lines(&head));
    assert_eq!(write_response(&mut again, body), written);
    Ok(Some(Went { used, body, written }))
}

/// Reads a chunked body from the beginning of these bytes, and checks what is written of it.
///
/// # Errors
///
/// What refused it.
///
/// # Panics
///
/// When the written body is not strictly valid or says something else.
pub(crate) fn of_a_chunked_body(wire: &[u8]) -> Result<(), Refusal> {
    let mut decoder = Decoder::new(BodyLength::Chunked, LIMITS);
    let (mut body, mut trailers, mut out) = (Vec::new(), None, Chunk::none());
    let mut at = 0;
    while let Decoded::Data(range) = decoder.decode(&wire[at..], true, &mut trailers)? {
        let data = &wire[at..][range.clone()];
        chunk_size_line(data.len(), &mut out);
        out.extend(data);
        out.extend(b"\r\n");
        body.extend_from_slice(data);
        at += range.end;
    }
    last_chunk(trailers.as_deref(), &mut out);
    assert_eq!(strict::chunked(out.data()), Ok((body, out.data().len())));
    Ok(())
}

fn write_request(head: &mut Head, body: BodyLength) -> Vec<u8> {
    hop_by_hop(head);
    let mut out = Chunk::none();
    let named = head.has(Known::Host) || head.authority().is_some();
    request_head(head, (!named).then_some(BACKEND), body, None, &mut out);
    out.data().to_vec()
}

fn write_response(head: &mut Head, body: BodyLength) -> Vec<u8> {
    hop_by_hop(head);
    let mut out = Chunk::none();
    response_head(head, body, body == BodyLength::None, None, &mut out);
    out.data().to_vec()
}

fn delimited(body: BodyLength) -> Delimited {
    match body {
        BodyLength::None | BodyLength::UntilClose => Delimited::Silent,
        BodyLength::Exact(n) => Delimited::Length(n),
        BodyLength::Chunked => Delimited::Chunked,
    }
}

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// Method, target in origin form, Host, and the fields that go end to end.
fn request_said(head: &Head) -> ([Vec<u8>; 3], Lines) {
    let mut target = head.path_and_query().to_vec();
    if target.starts_with(b"?") {
        target.insert(0, b'/');
    }
    let host = head.authority().or_else(|| head.get(Known::Host)).unwrap_or(BACKEND);
    ([head.method_token().to_vec(), target, host.to_vec()], lines(head))
}

/// What is neither framing nor Host, in order.
fn lines(fields: &Fields) -> Lines {
    let framing = [Known::Host, Known::ContentLength, Known::TransferEncoding];
    fields
        .iter()
        .filter(|(name, _)| !Known::of(name).is_some_and(|known| framing.contains(&known)))
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

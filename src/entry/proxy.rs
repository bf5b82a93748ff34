//! A PROXY header, required of some peers.
use crate::net::Stream;
use crate::net::proxy_protocol::{Header, MOST, Read, read};
use std::future::poll_fn;

/// Reads a header and nothing behind it.
///
/// # Errors
///
/// The word of `evenkeel_proxy_protocol_errors_total{reason}`: `empty` when the peer closed before
/// it said anything, as probes do; `truncated` when it closed inside the header.
pub(super) async fn header(stream: &mut Stream) -> Result<Header, &'static str> {
    let mut seen = Vec::new();
    let mut buf = [0; 1024];
    loop {
        // Looked at and left there: what stands behind the header is not ours.
        let room = buf.len().min(MOST - seen.len());
        let there = poll_fn(|cx| stream.poll_peek(cx, &mut buf[..room])).await;
        let there = match there {
            Ok(1..) => there.map_err(|_| "truncated")?,
            _ if seen.is_empty() => return Err("empty"),
            _ => return Err("truncated"),
        };
        let before = seen.len();
        seen.extend_from_slice(&buf[..there]);
        let (header, n) = match read(&seen).map_err(|fault| fault.word())? {
            Read::More => (None, seen.len()),
            Read::Whole(header, n) => (Some(header), n),
        };
        take(stream, &mut buf[..n - before]).await?;
        if let Some(header) = header {
            return Ok(header);
        }
    }
}

/// Takes bytes that are there.
async fn take(stream: &mut Stream, mut bytes: &mut [u8]) -> Result<(), &'static str> {
    while !bytes.is_empty() {
        match poll_fn(|cx| stream.poll_read(cx, bytes)).await {
            Ok(n @ 1..) => bytes = &mut bytes[n..],
            _ => return Err("truncated"),
        }
    }
    Ok(())
}

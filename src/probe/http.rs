//! The HTTP check: a GET on a connection of its own; status and, if said, body decide.
use super::tcp::write;
use crate::http1::{BodyLength, Client, Event, HeadLimits, request_head};
use crate::message::{Chunk, Head, Known, Size, Version};
use crate::net::Stream;
use std::future::poll_fn;

/// A body is searched within so many bytes.
const MOST: usize = 64 << 10;
const LIMITS: HeadLimits = HeadLimits { head: 32 << 10, fields: 100, target: 8 << 10 };

/// What a check asks for.
pub(super) struct Asks<'a> {
    pub(super) path: &'a str,
    pub(super) host: &'a str,
    pub(super) status: &'a [(u16, u16)],
    pub(super) body: Option<&'a str>,
}

pub(super) async fn check(mut stream: Stream, asks: &Asks<'_>) -> Result<(), String> {
    let mut head = Head::new();
    head.start_request(b"GET", asks.path.as_bytes(), Version::Http11)
        .map_err(|e| format!("path: {e}"))?;
    head.push(Known::Host, &[asks.host.as_bytes()]);
    let _ = head.append("User-Agent", b"evenkeel-health");
    let mut buf = Chunk::lend(Size::Head);
    request_head(&head, None, BodyLength::None, Some("close"), &mut buf);
    write(&mut stream, buf.data()).await?;
    buf.clear();
    let mut client = Client::new(LIMITS, LIMITS.head);
    client.requested(head.method(), false);
    judge(&mut stream, &mut client, &mut buf, asks).await
}

async fn judge(
    stream: &mut Stream,
    client: &mut Client,
    buf: &mut Chunk,
    asks: &Asks<'_>,
) -> Result<(), String> {
    let mut head = Head::new();
    let mut body = Vec::new();
    let mut eof = false;
    loop {
        let step = client.next(buf.data(), eof, &mut head);
        let (used, event) = step.map_err(|refusal| format!("invalid answer: {refusal}"))?;
        match event {
            Event::Head(_) => {
                let status = head.status();
                if !asks.status.iter().any(|(from, to)| (*from..=*to).contains(&status)) {
                    return Err(format!("status {status}, expected {}", ranges(asks.status)));
                }
                if asks.body.is_none() {
                    return Ok(());
                }
            }
            Event::Data(range) => body.extend_from_slice(&buf.data()[range]),
            Event::End | Event::Closed | Event::Switched => return found(&body, asks),
            Event::Informational => {}
            Event::Want(_) => {
                buf.consume(used);
                if buf.spare().is_empty() {
                    buf.reserve(1);
                }
                let n = poll_fn(|cx| stream.poll_read(cx, buf.spare()))
                    .await
                    .map_err(|e| format!("read: {e}"))?;
                buf.filled(n);
                eof = n == 0;
                continue;
            }
        }
        buf.consume(used);
        if body.len() >= MOST {
            return found(&body, asks);
        }
    }
}

fn found(body: &[u8], asks: &Asks<'_>) -> Result<(), String> {
    match asks.body {
        Some(wanted) if memchr::memmem::find(body, wanted.as_bytes()).is_none() => {
            Err(format!("the body does not hold {wanted:?}"))
        }
        _ => Ok(()),
    }
}

fn ranges(all: &[(u16, u16)]) -> String {
    let show = |(from, to): &(u16, u16)| {
        if from == to { from.to_string() } else { format!("{from}-{to}") }
    };
    all.iter().map(show).collect::<Vec<_>>().join(", ")
}

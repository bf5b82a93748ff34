//! The HTTP check: a GET on a connection of its own; status and, if said, body decide.
use super::tcp::{broken, write};
use crate::http1::{BodyLength, Client, Event, HeadLimits, request_head};
use crate::message::{Chunk, Head, Known, Size, Version};
use crate::net::Stream;
use std::future::poll_fn;
use std::time::Duration;

/// A body is searched within so many bytes.
pub(super) const MOST: usize = 64 << 10;
/// Once all is well the rest of the answer is read for so long and so far, so that the backend
/// sees an end instead of a reset.
const POLITE: Duration = Duration::from_millis(20);
pub(super) const LIMITS: HeadLimits = HeadLimits { head: 32 << 10, fields: 100, target: 8 << 10 };

/// What a check asks for.
pub(super) struct Asks<'a> {
    pub(super) path: &'a str,
    pub(super) host: &'a str,
    pub(super) status: &'a [(u16, u16)],
    pub(super) body: Option<&'a str>,
}

impl Asks<'_> {
    /// Whether a status is a good one.
    pub(super) fn judge(&self, status: u16) -> Result<(), String> {
        if self.status.iter().any(|(from, to)| (*from..=*to).contains(&status)) {
            return Ok(());
        }
        Err(format!("status {status}, expected {}", ranges(self.status)))
    }
}

pub(super) async fn check(mut stream: Stream, asks: &Asks<'_>) -> Result<(), String> {
    let mut head = Head::new();
    head.start_request(b"GET", asks.path.as_bytes(), Version::Http11)
        .map_err(|e| format!("path: {e}"))?;
    head.push(Known::Host, &[asks.host.as_bytes()]);
    head.append("User-Agent", b"evenkeel-health").map_err(|e| format!("user agent: {e}"))?;
    let mut buf = Chunk::lend(Size::Head);
    request_head(&head, None, BodyLength::None, Some("close"), &mut buf);
    write(&mut stream, buf.data()).await?;
    buf.clear();
    let mut client = Client::new(LIMITS, LIMITS.head);
    client.requested(head.method(), false);
    let mut answer = Answer { stream, client, head, buf, eof: false };
    answer.judge(asks).await?;
    let _ = tokio::time::timeout(POLITE, answer.rest()).await;
    Ok(())
}

/// An answer as it comes in.
struct Answer {
    stream: Stream,
    client: Client,
    head: Head,
    buf: Chunk,
    eof: bool,
}

/// A step of it.
enum Step {
    Status(u16),
    Data(Vec<u8>),
    End,
}

impl Answer {
    async fn judge(&mut self, asks: &Asks<'_>) -> Result<(), String> {
        let status = loop {
            match self.step().await? {
                Step::Status(status) => break status,
                Step::End => return Err("closed without an answer".into()),
                Step::Data(_) => {}
            }
        };
        asks.judge(status)?;
        match asks.body {
            Some(wanted) => self.find(wanted.as_bytes()).await,
            None => Ok(()),
        }
    }

    /// Reads the body until it holds what is wanted.
    async fn find(&mut self, wanted: &[u8]) -> Result<(), String> {
        let mut seen = Vec::new();
        while seen.len() < MOST {
            let Step::Data(more) = self.step().await? else { break };
            if add_and_find(&mut seen, &more, wanted) {
                return Ok(());
            }
        }
        Err(not_there(wanted))
    }

    async fn rest(&mut self) {
        let mut left = MOST;
        while let Ok(Step::Data(more)) = self.step().await {
            left = left.saturating_sub(more.len());
            if left == 0 {
                return;
            }
        }
    }

    async fn step(&mut self) -> Result<Step, String> {
        loop {
            let step = self.client.next(self.buf.data(), self.eof, &mut self.head);
            let (used, event) = step.map_err(|refusal| format!("invalid answer: {refusal}"))?;
            let data = match &event {
                Event::Data(range) => self.buf.data()[range.clone()].to_vec(),
                _ => Vec::new(),
            };
            self.buf.consume(used);
            match event {
                Event::Head(_) => return Ok(Step::Status(self.head.status())),
                Event::Data(_) => return Ok(Step::Data(data)),
                Event::End | Event::Closed | Event::Switched => return Ok(Step::End),
                Event::Informational => {}
                Event::Want(_) => self.read().await?,
            }
        }
    }

    async fn read(&mut self) -> Result<(), String> {
        if self.buf.spare().is_empty() {
            self.buf.reserve(1);
        }
        let read = poll_fn(|cx| self.stream.poll_read(cx, self.buf.spare())).await;
        let n = read.map_err(|e| broken("read", &e))?;
        self.buf.filled(n);
        self.eof = n == 0;
        Ok(())
    }
}

/// Adds a piece to what was seen; says whether that now holds what is wanted.
pub(super) fn add_and_find(seen: &mut Vec<u8>, more: &[u8], wanted: &[u8]) -> bool {
    let from = seen.len().saturating_sub(wanted.len());
    seen.extend_from_slice(more);
    memchr::memmem::find(&seen[from..], wanted).is_some()
}

pub(super) fn not_there(wanted: &[u8]) -> String {
    format!("the body does not hold {:?}", String::from_utf8_lossy(wanted))
}

fn ranges(all: &[(u16, u16)]) -> String {
    let show = |(from, to): &(u16, u16)| {
        if from == to { from.to_string() } else { format!("{from}-{to}") }
    };
    all.iter().map(show).collect::<Vec<_>>().join(", ")
}

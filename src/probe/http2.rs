//! The HTTP check where HTTP/2 is spoken, and the one request on a connection of its own that it and
//! the check of gRPC send.
use super::http::{Asks, LIMITS, MOST, add_and_find, not_there};
use crate::config::PoolHttp2;
use crate::http1::{BodyLength, HeadLimits};
use crate::http2::Outbound;
use crate::http2::conn::{Broken, Came};
use crate::message::{Fields, Head, Version};
use crate::mux::Stream as Half;
use crate::net::Stream;
use crate::reach::http2::{HeadMost, Spoken, begin};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Whether HTTP/2 is spoken there at all.
pub(super) async fn greet(stream: Stream) -> Result<(), String> {
    begin(stream, &PoolHttp2::default(), most()).await.map(drop).map_err(|e| e.to_string())
}

fn most() -> HeadMost {
    HeadMost { bytes: LIMITS.head, fields: LIMITS.fields }
}

pub(super) async fn check(stream: Stream, asks: &Asks<'_>, is_tls: bool) -> Result<(), String> {
    let asked = request("GET", asks.host, asks.path)?;
    ask(stream, (asked, is_tls), None, async |head, mut body| {
        asks.judge(head.status())?;
        let Some(wanted) = asks.body else { return Ok(()) };
        let mut seen = Vec::new();
        while seen.len() < MOST {
            let Some(piece) = body.piece().await? else { break };
            if add_and_find(&mut seen, &piece, wanted.as_bytes()) {
                return Ok(());
            }
        }
        Err(not_there(wanted.as_bytes()))
    })
    .await
}

/// The head of a request.
pub(super) fn request(method: &str, host: &str, path: &str) -> Result<Head, String> {
    let mut head = Head::new();
    let made = head
        .start_request(method.as_bytes(), path.as_bytes(), Version::Http2)
        .and_then(|()| head.append("host", host.as_bytes()))
        .and_then(|()| head.append("user-agent", b"evenkeel-health"));
    made.map(|()| head).map_err(|invalid| format!("{host}{path}: {invalid}"))
}

/// Sends one request, by TLS or not, and has its answer judged; what follows the verdict is not
/// waited for.
pub(super) async fn ask<J>(
    stream: Stream,
    (head, is_tls): (Head, bool),
    body: Option<Vec<u8>>,
    judge: J,
) -> Result<(), String>
where
    J: AsyncFnOnce(Head, Body) -> Result<(), String>,
{
    let begun = begin(stream, &PoolHttp2::default(), most()).await.map_err(|e| e.to_string())?;
    let Spoken { mux, mut wire } = begun;
    let asked = async move {
        let length = BodyLength::None;
        let outbound = Outbound {
            head: &head,
            host: None,
            body: length,
            trailers: body.is_some(),
            is_tls,
            written: "",
        };
        outbound.check().map_err(|refusal| refusal.to_string())?;
        let limits = HeadLimits { head: LIMITS.head, fields: LIMITS.fields, target: LIMITS.target };
        let half = mux.open(head.method(), limits, body.is_none(), |out| outbound.write(out));
        let (half, _) = half.ok_or("it takes no requests")?;
        if let Some(body) = body {
            half.send(&body, true).map_err(|_| "it broke before its answer")?;
        }
        let answer = loop {
            let head = poll_fn(|cx| half.poll_head(cx)).await.map_err(words)?;
            if head.status() >= 200 {
                break head;
            }
        };
        judge(answer, Body(half)).await
    };
    let mut asked = pin!(asked);
    poll_fn(|cx| {
        let carried = wire.poll(cx);
        match (asked.as_mut().poll(cx), carried) {
            (Poll::Ready(verdict), _) => Poll::Ready(verdict),
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error.to_string())),
            (Poll::Pending, Poll::Ready(Ok(()))) => {
                Poll::Ready(Err("closed before the end of its answer".into()))
            }
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        }
    })
    .await
}

fn words(broken: Broken) -> String {
    match broken {
        Broken::Reset(code) => format!("it reset the stream ({code})"),
        Broken::Away => "it takes no more requests (GOAWAY)".into(),
        Broken::Fault(code, why) => format!("no HTTP/2: {why} ({code})"),
        Broken::Length => "a body of another length than it said".into(),
        Broken::Refused(refusal) => format!("invalid answer: {refusal}"),
        Broken::Ended => "closed before the end of its answer".into(),
    }
}

/// The body of an answer.
pub(super) struct Body(Half);

impl Body {
    /// The next piece; `None` at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut piece = Vec::new();
        match poll_fn(|cx| self.0.poll_data(cx, &mut piece)).await.map_err(words)? {
            Came::End => Ok(None),
            _ => {
                self.0.used(piece.len(), piece.len());
                Ok(Some(piece))
            }
        }
    }

    /// The trailers, behind the end.
    pub(super) fn trailers(&self) -> Option<Fields> {
        self.0.take_trailers()
    }
}

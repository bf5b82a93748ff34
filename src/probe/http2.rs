//! The HTTP check where HTTP/2 is spoken, and the one request on a connection of its own that it and
//! the check of gRPC send.
use super::http::{Asks, LIMITS, MOST, add_and_find, not_there};
use crate::config::PoolHttp2;
use crate::net::Stream;
use crate::reach::http2::{HeadMost, begin};
use bytes::{Buf, Bytes};
use h2::RecvStream;
use http::{HeaderMap, Method, Request, StatusCode};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

/// Whether HTTP/2 is spoken there at all.
pub(super) async fn greet(stream: Stream) -> Result<(), String> {
    begin(stream, &PoolHttp2::default(), most()).await.map(drop).map_err(|e| e.to_string())
}

fn most() -> HeadMost {
    HeadMost { bytes: LIMITS.head, fields: LIMITS.fields }
}

pub(super) async fn check(stream: Stream, asks: &Asks<'_>, is_tls: bool) -> Result<(), String> {
    let asked = request(Method::GET, asks.host, asks.path, is_tls)?;
    ask(stream, asked, None, async |status, _, mut body| {
        asks.judge(status.as_u16())?;
        let Some(wanted) = asks.body else { return Ok(()) };
        let mut seen = Vec::new();
        while seen.len() < MOST {
            let Some(piece) = data(&mut body).await? else { break };
            if add_and_find(&mut seen, &piece, wanted.as_bytes()) {
                return Ok(());
            }
        }
        Err(not_there(wanted.as_bytes()))
    })
    .await
}

/// The head of a request.
pub(super) fn request(
    method: Method,
    host: &str,
    path: &str,
    is_tls: bool,
) -> Result<Request<()>, String> {
    let scheme = if is_tls { "https" } else { "http" };
    let uri = http::Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
    Request::builder()
        .method(method)
        .uri(uri.map_err(|e| format!("{host}{path}: {e}"))?)
        .header("user-agent", "evenkeel-health")
        .body(())
        .map_err(|e| e.to_string())
}

/// Sends one request and has its answer judged; what follows the verdict is not waited for.
pub(super) async fn ask<J>(
    stream: Stream,
    request: Request<()>,
    body: Option<Bytes>,
    judge: J,
) -> Result<(), String>
where
    J: AsyncFnOnce(StatusCode, HeaderMap, RecvStream) -> Result<(), String>,
{
    let begun = begin(stream, &PoolHttp2::default(), most()).await.map_err(|e| e.to_string())?;
    let (mut sender, mut connection, seen) = (begun.sender, begun.connection, begun.seen);
    let asked = async move {
        let sent = sender.send_request(request, body.is_none()).map_err(|e| e.to_string())?;
        let (answer, mut rest) = sent;
        if let Some(body) = body {
            rest.send_data(body, true).map_err(|e| e.to_string())?;
        }
        let (head, body) = answer.await.map_err(|e| e.to_string())?.into_parts();
        judge(head.status, head.headers, body).await
    };
    let mut asked = pin!(asked);
    poll_fn(|cx| {
        seen.turn();
        let carried = Pin::new(&mut connection).poll(cx);
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

/// The next piece of a body; `None` at its end.
pub(super) async fn data(body: &mut RecvStream) -> Result<Option<Bytes>, String> {
    let Some(piece) = body.data().await.transpose().map_err(|e| e.to_string())? else {
        return Ok(None);
    };
    // It fails only for more than came.
    let _ = body.flow_control().release_capacity(piece.remaining());
    Ok(Some(piece))
}

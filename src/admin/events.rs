//! `GET /v1/events`: server-sent events (WHATWG HTML 9.2), bounded for each listener. Who reads too
//! slowly is told how many it missed; who does not read at all is cut.
use super::places::Line;
use crate::server::{Event, State};
use hyper::body::{Body, Bytes, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

/// Pieces between the one who tells and the connection: the rest waits in the ring of all.
const PIECES: usize = 16;
/// A line without meaning is sent so often, so that both sides see that the other is there.
const PING: Duration = Duration::from_secs(15);
/// Who takes nothing for so long is gone.
const STALL: Duration = Duration::from_secs(60);

/// The body of an answer that does not end by itself.
#[derive(Debug)]
pub(super) struct Stream(mpsc::Receiver<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

fn piece(event: &Event) -> Bytes {
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.number, event.kind, event.data).into()
}

/// Begins to tell: what is kept of those after `last`, then what happens.
pub(super) fn stream(
    state: &Arc<State>,
    last: u64,
    line: &Arc<Line>,
    place: OwnedSemaphorePermit,
) -> Stream {
    let (tell, heard) = mpsc::channel(PIECES);
    let (kept, mut next) = state.events.after(last);
    let line = line.clone();
    // The state is not held: a stream must not keep alive what it tells of.
    tokio::spawn(async move {
        let streaming = line.streaming();
        let mut first = format!("retry: 1000\n: evenkeel {}\n\n", env!("CARGO_PKG_VERSION"));
        kept.iter().for_each(|event| first += &String::from_utf8_lossy(&piece(event)));
        let mut out = Bytes::from(first);
        loop {
            match timeout(STALL, tell.send(out)).await {
                Ok(Ok(())) => {}
                // It ended the connection.
                Ok(Err(_)) => break,
                Err(_) => {
                    line.cut();
                    break;
                }
            }
            let told = tokio::select! {
                told = timeout(PING, next.recv()) => told,
                () = tell.closed() => break,
            };
            out = match told {
                Ok(Ok(event)) => piece(&event),
                Ok(Err(RecvError::Lagged(missed))) => {
                    format!("event: gap\ndata: {{\"missed\":{missed}}}\n\n").into()
                }
                Ok(Err(RecvError::Closed)) => break,
                Err(_) => Bytes::from_static(b": ping\n\n"),
            };
        }
        drop((streaming, place));
    });
    Stream(heard)
}

//! `GET /v1/events`: server-sent events (WHATWG HTML 9.2), bounded for each listener. Who reads too
//! slowly is told how many it missed; who does not read at all is cut.
use super::line::Line;
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

/// Some were missed: how many, where that is known.
fn gap(missed: Option<u64>) -> String {
    let missed = missed.map_or("null".into(), |missed| missed.to_string());
    format!("event: gap\ndata: {{\"missed\":{missed}}}\n\n")
}

fn piece(event: &Event) -> Bytes {
    let number = match event.number {
        0 => String::new(),
        number => format!("id: {number}\n"),
    };
    format!("{number}event: {}\ndata: {}\n\n", event.kind, event.data).into()
}

/// Begins to tell: what is kept of those after `last`, then what happens, while the caller may hear.
pub(super) fn stream(
    state: &Arc<State>,
    last: u64,
    line: &Arc<Line>,
    place: OwnedSemaphorePermit,
    may_hear: impl Fn(&State) -> bool + Send + 'static,
) -> Stream {
    let (tell, heard) = mpsc::channel(PIECES);
    let past = state.events.after(last);
    let line = line.clone();
    // The state is not held: a stream must not keep alive what it tells of.
    let state = Arc::downgrade(state);
    tokio::spawn(async move {
        let streaming = line.streaming();
        let mut first = format!("retry: 1000\n: evenkeel {}\n\n", env!("CARGO_PKG_VERSION"));
        first += &past.gap.map(gap).unwrap_or_default();
        past.events.iter().for_each(|event| first += &String::from_utf8_lossy(&piece(event)));
        let (mut out, mut next) = (Bytes::from(first), past.next);
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
            // A reload, which may bring another token, is an event itself.
            if !state.upgrade().is_some_and(|state| may_hear(&state)) {
                break;
            }
            out = match told {
                Ok(Ok(event)) => piece(&event),
                Ok(Err(RecvError::Lagged(missed))) => gap(Some(missed)).into(),
                Ok(Err(RecvError::Closed)) => break,
                Err(_) => Bytes::from_static(b": ping\n\n"),
            };
        }
        drop((streaming, place));
    });
    Stream(heard)
}

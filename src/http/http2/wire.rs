//! The bytes of an HTTP/2 connection on their way between its socket and the library: counted by
//! what their frames cost.
use super::held::Held;
use crate::http2::{Frame, Kind, Tally, Walker};
use crate::message::Chunk;
use crate::metrics::ListenerCells;
use crate::net::{Stream, poll_read_buf};
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;

/// What was seen of a flood.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarm(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// The client sent something.
    began: bool,
    flood: Option<Kind>,
    said: Option<&'static str>,
}

impl Alarm {
    /// The flood, once after it was seen.
    pub(super) fn take(&self) -> Option<Kind> {
        self.0.lock().flood.take()
    }

    /// Whether the client sent anything.
    pub(super) fn has_begun(&self) -> bool {
        self.0.lock().began
    }

    /// What the library told the client when it sent it away, in our words: it tells nobody else.
    pub(super) fn said(&self) -> &'static str {
        self.0.lock().said.unwrap_or("other")
    }
}

/// What the library calls a flood, and what we call it.
const WORDS: [(&[u8], &str); 4] = [
    (b"too_many_resets", "resets"),
    (b"too_many_internal_resets", "local_resets"),
    (b"too_many_continuations", "continuations"),
    (b"too_many_data_frames", "data_frames"),
];

/// A connection's bytes.
#[derive(Debug)]
pub(super) struct Wire<'a> {
    stream: &'a mut Stream,
    /// What was read before it was known to be HTTP/2.
    first: Chunk,
    came: Walker,
    went: Walker,
    tally: Tally,
    since: Instant,
    flooded: bool,
    /// Something came.
    began: bool,
    /// Reads in a row.
    row: u32,
    alarm: Alarm,
    held: Arc<Held>,
    cells: Arc<ListenerCells>,
}

/// After so many reads in a row the streams have their turn: they take what came, before small
/// frames are too many for the library.
const READS: u32 = 16;

impl<'a> Wire<'a> {
    pub(super) fn new(
        stream: &'a mut Stream,
        first: Chunk,
        alarm: Alarm,
        held: Arc<Held>,
        cells: Arc<ListenerCells>,
    ) -> Self {
        Self {
            stream,
            first,
            came: Walker::after(super::serve::PREFACE.len()),
            went: Walker::after(0),
            tally: Tally::default(),
            since: Instant::now(),
            flooded: false,
            began: false,
            row: 0,
            alarm,
            held,
            cells,
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        if !std::mem::replace(&mut self.began, true) {
            self.alarm.0.lock().began = true;
        }
        let Self { came, tally, since, flooded, alarm, held, .. } = self;
        came.pass(bytes, |frame| {
            if frame.is_data() {
                held.take(frame.stream, frame.data() as usize);
            }
            let Some(kind) = tally.came(frame) else { return };
            // Only who has nothing left is asked how long that took.
            let now = Instant::now();
            tally.passed(now.saturating_duration_since(*since));
            *since = now;
            if tally.came(frame).is_some() && !*flooded {
                *flooded = true;
                alarm.0.lock().flood = Some(kind);
            }
        });
        if !came.is_inside() {
            held.whole();
        }
    }

    fn counted(&mut self, mut n: usize, slices: &[IoSlice<'_>]) {
        for slice in slices {
            let part = n.min(slice.len());
            let mut goodbye = false;
            let Self { went, tally, cells, .. } = self;
            went.pass(&slice[..part], |frame| {
                tally.went(frame);
                told(frame, cells);
                goodbye |= frame.is_goodbye();
            });
            if goodbye {
                let is_said = |word: &[u8]| memchr::memmem::find(&slice[..part], word).is_some();
                let said = WORDS.iter().find(|(word, _)| is_said(word)).map(|(_, ours)| *ours);
                self.alarm.0.lock().said = said;
            }
            n -= part;
        }
    }
}

/// Counts what the library tells the client and nobody else.
fn told(frame: Frame, cells: &ListenerCells) {
    if frame.is_refusal() {
        cells.limit_hits.inc("streams");
    } else if let Some(error) = frame.error() {
        cells.http2_errors.inc(error);
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.flooded {
            // Nothing more of this is read. Whoever is told ends the connection.
            return Poll::Pending;
        }
        // The library reads on for as long as something comes: others have their turn.
        let coop = ready!(poll_proceed(cx));
        if self.row == READS {
            self.row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if self.first.data().is_empty() {
            let read = poll_read_buf(self.stream, cx, buf);
            self.row = if read.is_ready() { self.row + 1 } else { 0 };
            ready!(read)?;
        } else {
            let n = self.first.data().len().min(buf.remaining());
            buf.put_slice(&self.first.data()[..n]);
            self.first.consume(n);
            self.first.rest();
        }
        coop.made_progress();
        self.count(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(self.stream.poll_write(cx, bytes))?;
        self.counted(n, &[IoSlice::new(bytes)]);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(self.stream.poll_write_vectored(cx, slices))?;
        self.counted(n, slices);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.poll_flush(cx))?;
        Poll::Ready(self.stream.shutdown_write())
    }
}

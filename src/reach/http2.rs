//! The side of an HTTP/2 connection that asks (RFC 9113): its beginning, and the limits of what a
//! backend may make us hold or do.
use crate::config::PoolHttp2;
use crate::http1::HeadLimits;
use crate::http2::conn::{Limits, Side};
use crate::message::Chunk;
use crate::mux::{Mux, Wire};
use crate::net::Stream;
use std::borrow::BorrowMut;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::task::Poll;

/// So many streams of a connection may be ended for its backend's faults.
const FAULTS: usize = 1024;

/// What a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadMost {
    /// Bytes.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// A connection whose peer has said what it allows.
#[derive(Debug)]
pub struct Spoken<S> {
    /// Begins requests.
    pub mux: Mux,
    /// Carries them: to be polled for as long as it lives.
    pub wire: Wire<S>,
}

/// Begins to speak HTTP/2 and waits until the peer has said what it allows, so that nothing is sent
/// to one that speaks something else, or more than it takes. No limit on time: the caller has one.
///
/// # Errors
///
/// The kernel's; `InvalidData` for what is no HTTP/2.
pub async fn begin<S>(stream: S, said: &PoolHttp2, most: HeadMost) -> io::Result<Spoken<S>>
where
    S: BorrowMut<Stream>,
{
    let limits = Limits {
        // None are pushed.
        streams: 0,
        window: said.window,
        connection_window: said.connection_window,
        send_buffer: said.send_buffer,
        resets: 0,
        local_resets: FAULTS,
        head: HeadLimits { head: most.bytes, fields: most.fields, target: 0 },
    };
    let mux = Mux::new(Side::Client, limits);
    let mut wire = Wire::new(stream, Chunk::none(), mux.clone());
    poll_fn(|cx| {
        let moved = wire.poll(cx)?;
        if let Some(fault) = mux.fault() {
            let what = format!("it speaks no HTTP/2: {fault}");
            return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, what)));
        }
        match moved {
            _ if mux.takes().is_some_and(|most| most > 0) && mux.is_agreed() => Poll::Ready(Ok(())),
            Poll::Ready(()) => {
                let what = "it closed instead of HTTP/2";
                Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, what)))
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    Ok(Spoken { mux, wire })
}

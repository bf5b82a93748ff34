//! TLS that is let pass: the client's first message is read and not answered, and every byte of it
//! goes on to the backend.
use crate::message::{Chunk, Part};
use crate::net::Stream;
use crate::net::client_hello::{Fault, Hello, Reader};
use std::future::poll_fn;
use std::time::Duration;

/// Why no hello was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unheard {
    /// What came is none.
    Fault(Fault),
    /// It took longer than `timeout.header`.
    Late,
    /// The client closed before its end; or it broke.
    Cut,
    /// The client closed before it said anything.
    Silent,
}

impl Unheard {
    /// The reason for log and metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.word(),
            Self::Late => "timeout_header",
            Self::Cut => "client_hello_cut",
            Self::Silent => "no_client_hello",
        }
    }
    /// What the client is told: a closed connection and one that is late are told nothing.
    pub(super) fn alert(self) -> Option<[u8; 7]> {
        match self {
            Self::Fault(fault) => Some(fault.alert()),
            Self::Late | Self::Cut | Self::Silent => None,
        }
    }
    /// The limit that it ran into.
    pub(super) fn limit(self) -> Option<&'static str> {
        match self {
            Self::Fault(Fault::TooLarge) => Some("client_hello"),
            Self::Late => Some("header"),
            _ => None,
        }
    }
}

/// Reads a hello within its time; what was read is in the chunk, perhaps with what follows it.
pub(super) async fn hello(
    stream: &mut Stream,
    limit: Option<Duration>,
) -> Result<(Hello, Chunk), Unheard> {
    let read = read(stream);
    match limit {
        Some(limit) => tokio::time::timeout(limit, read).await.unwrap_or(Err(Unheard::Late)),
        None => read.await,
    }
}

async fn read(stream: &mut Stream) -> Result<(Hello, Chunk), Unheard> {
    let (mut chunk, mut reader) = (Chunk::none(), Reader::default());
    loop {
        let n = poll_fn(|cx| stream.poll_read_chunk(cx, &mut chunk, Part::Request)).await;
        if !matches!(n, Ok(1..)) {
            let is_silent = chunk.data().is_empty();
            return Err(if is_silent { Unheard::Silent } else { Unheard::Cut });
        }
        if let Some(hello) = reader.feed(chunk.data()).map_err(Unheard::Fault)? {
            return Ok((hello, chunk));
        }
    }
}

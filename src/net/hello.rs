//! The first message of a client that speaks TLS with us, waited for before anything is decided.
use super::client_hello::Fault;
use super::raw::Raw;
use super::records::Records;
use super::session::Heard;
use crate::message::memory;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use std::io;
use std::task::{Context, Poll, ready};

/// A hello as it comes.
#[derive(Default)]
pub(super) struct Hello {
    acceptor: Acceptor,
    records: Records,
    /// What came of it, counted as memory.
    counted: usize,
}

impl Drop for Hello {
    fn drop(&mut self) {
        memory().give(self.counted);
    }
}

/// Why there is no hello, or none that goes on.
#[derive(Debug)]
pub enum NoHello {
    /// The kernel's word, or the end of the connection.
    Broken(io::Error),
    /// It is none, or nothing can be agreed on: why, and the alert that says so (RFC 8446 6.2).
    Refused(rustls::Error, Vec<u8>),
}

impl NoHello {
    /// What TLS says of it; where the library has no word for it, that it does not parse.
    pub fn refused((error, mut alert): (rustls::Error, AcceptedAlert)) -> Self {
        let mut words = Vec::new();
        let _ = alert.write_all(&mut words);
        if words.is_empty() {
            words.extend(Fault::Garbled.alert());
        }
        Self::Refused(error, words)
    }
}

impl Hello {
    /// Ready when all of it came.
    ///
    /// # Errors
    ///
    /// [`NoHello`]
    pub(super) fn poll(
        &mut self,
        raw: &mut Raw,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Accepted, NoHello>> {
        loop {
            let mut heard = Heard { raw, records: &mut self.records };
            match self.acceptor.read_tls(&mut heard) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(raw.poll_read_ready(cx)).map_err(NoHello::Broken)?;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let alert = Fault::TooLarge.alert().to_vec();
                    let why = rustls::InvalidMessage::HandshakePayloadTooLarge.into();
                    return Poll::Ready(Err(NoHello::Refused(why, alert)));
                }
                Err(error) => return Poll::Ready(Err(NoHello::Broken(error))),
                Ok(0) => {
                    let cut = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(NoHello::Broken(cut)));
                }
                Ok(n) => {
                    self.counted += n;
                    memory().take(n);
                }
            }
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(hello)) => return Poll::Ready(Ok(hello)),
                Err(refused) => return Poll::Ready(Err(NoHello::refused(refused))),
            }
        }
    }
}

//! A session's way to its backend: a lease and a connected socket, which hears that backend alone.
use super::ring::Ring;
use crate::net::{self, Batch};
use crate::pool::{Lease, Outcome};
use crate::upstream::Error;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::io::unix::AsyncFd;

/// A way to a backend.
#[derive(Debug)]
pub(super) struct Way {
    lease: Option<Lease>,
    /// Where it leads.
    pub(super) addr: SocketAddr,
    socket: AsyncFd<OwnedFd>,
    begun: Instant,
    /// The backend has sent something.
    pub(super) answered: bool,
}

/// What was heard of a backend.
#[derive(Debug)]
pub(super) enum Heard {
    /// So many datagrams, for now.
    Some(usize),
    /// It cannot be reached.
    Lost(io::Error),
}

impl Way {
    /// Opens a socket to the backend of a lease, at one of its addresses.
    ///
    /// # Errors
    ///
    /// The lease, and why.
    pub(super) fn open(
        lease: Lease,
        addr: Option<SocketAddr>,
        now: Instant,
    ) -> Result<Self, Box<(Lease, Error)>> {
        let failed = |lease, error| Err(Box::new((lease, error)));
        let Some(addr) = addr else { return failed(lease, Error::Unresolved) };
        match net::connect_datagrams(addr).and_then(net::watch) {
            Ok(socket) => {
                lease.backend().cells.open.add(1);
                Ok(Self { lease: Some(lease), addr, socket, begun: now, answered: false })
            }
            Err(error) if is_unreached(&error) => failed(lease, Error::Connect(error)),
            Err(error) => failed(lease, Error::Local(error)),
        }
    }

    /// Its lease; gone only while the way ends.
    pub(super) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Whether datagrams have to go elsewhere: the backend is down, or its time to drain is over.
    pub(super) fn is_over(&self) -> bool {
        self.lease().is_none_or(|lease| lease.is_over() || lease.backend().is_down())
    }

    /// Sends one datagram. `Ok(false)`: this machine or the way has no room for it.
    ///
    /// # Errors
    ///
    /// The backend cannot be reached; the datagram was not sent.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<bool> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match send(self.socket.get_ref(), bytes, flags) {
            Ok(_) => Ok(true),
            Err(error) if is_unreached(&error.into()) => Err(error.into()),
            Err(_) => Ok(false),
        }
    }

    /// Takes what the backend sent, up to `most` datagrams from place `at` of the batch on. What
    /// comes later, a refusal too, rings.
    pub(super) fn hear(
        &self,
        bell: (&Arc<Ring>, &Waker),
        batch: &mut Batch,
        at: usize,
        most: usize,
    ) -> Heard {
        let (ring, waker) = bell;
        let mut cx = Context::from_waker(waker);
        let mut count = 0;
        while let Poll::Ready(Ok(mut guard)) = self.socket.poll_read_ready(&mut cx) {
            if count == most {
                // There may be more: others have their turn first.
                ring.ring();
                return Heard::Some(count);
            }
            match batch.receive_at(self.socket.get_ref().as_fd(), at + count, most - count) {
                Ok(some) => {
                    if some < most - count {
                        guard.clear_ready();
                    }
                    count += some;
                }
                Err(error) if is_unreached(&error) => {
                    ring.ring();
                    return if count == 0 { Heard::Lost(error) } else { Heard::Some(count) };
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
                // Such as a datagram that was too long for the way (EMSGSIZE): the next may pass.
                Err(_) => {
                    guard.clear_ready();
                    ring.ring();
                    break;
                }
            }
        }
        // A refusal alone makes a socket not readable but broken, which is told to who writes.
        if self.socket.poll_write_ready(&mut cx).is_ready()
            && let Ok(Err(error)) = rustix::net::sockopt::socket_error(self.socket.get_ref())
            && is_unreached(&error.into())
        {
            return Heard::Lost(error.into());
        }
        Heard::Some(count)
    }

    /// The backend has answered for the first time.
    pub(super) fn first(&mut self, now: Instant) {
        self.answered = true;
        if let Some(lease) = &mut self.lease {
            lease.backend().cells.connect_ok.inc();
            lease.first_byte(now.saturating_duration_since(self.begun));
        }
    }

    /// Ends it; gives back its lease.
    pub(super) fn end(mut self) -> Option<Lease> {
        self.lease.take().inspect(|lease| lease.backend().cells.open.add(-1))
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.backend().cells.open.add(-1);
            lease.settle(Outcome::Closed);
        }
    }
}

/// Whether an error says that nobody is there, as ICMP or the routes have it (RFC 1122 4.1.3.3).
fn is_unreached(error: &io::Error) -> bool {
    const WORDS: [Errno; 7] = [
        Errno::CONNREFUSED,
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::NETDOWN,
        Errno::NOPROTOOPT,
        Errno::PROTO,
    ];
    error.raw_os_error().is_some_and(|code| WORDS.iter().any(|e| e.raw_os_error() == code))
}

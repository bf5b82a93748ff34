//! The accept loop of one worker on one address. It waits for places, never for what a
//! client sends.
use super::connection::{self, Held};
use super::gate::Pass;
use super::listener::{Live, Surplus};
use super::state::State;
use crate::drain::{Drain, Opening};
use crate::net::{Peer, Stream};
use crate::upstream::Dialer;
use arc_swap::ArcSwap;
use rustix::io::Errno;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

/// After an error that says the machine is short of something, the next try waits so long.
const BREATH: Duration = Duration::from_millis(50);
/// An error that goes on is said again after this.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// Room is made at most so often: every look for the oldest idle connections looks at all of them,
/// and those that were asked need a moment to leave.
const ROOM_AGAIN: Duration = Duration::from_millis(5);
/// Idle connections asked to leave when the machine is short of something.
const SHORT: usize = 16;
/// How long a loop that ends may take over what already waits, when every place is taken.
const LAST: Duration = Duration::from_secs(1);

/// Faults of the one connection that was about to be accepted (accept(2)); the next one may be sound.
const OF_THE_CLIENT: [Errno; 10] = [
    Errno::INTR,
    Errno::CONNABORTED,
    Errno::PROTO,
    Errno::NETDOWN,
    Errno::NOPROTOOPT,
    Errno::HOSTDOWN,
    Errno::NONET,
    Errno::HOSTUNREACH,
    Errno::OPNOTSUPP,
    Errno::NETUNREACH,
];

/// One accept loop.
pub(super) struct Accept {
    pub(super) live: Arc<ArcSwap<Live>>,
    /// The number of the worker it runs on.
    pub(super) worker: usize,
    pub(super) dialer: Arc<Dialer>,
    pub(super) state: Arc<State>,
    pub(super) stop: watch::Receiver<Opening>,
}

/// When an error was last said.
#[derive(Default)]
struct Said(Option<Instant>);

impl Said {
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.0.is_none_or(|at| now - at >= SAY_AGAIN);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

impl Accept {
    /// Accepts until it is told to stop, and then what already waits.
    pub(super) async fn run(self, socket: OwnedFd) {
        let socket = match Socket::new(socket) {
            Ok(socket) => socket,
            Err(error) => {
                return tracing::error!(%error, listener = %self.live.load().name, "cannot accept");
            }
        };
        let mut said = Said::default();
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                opening = told(&mut stop) => match opening {
                    Opening::Paused if open_again(&mut stop).await => continue,
                    _ => break,
                },
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some((live, places)) = self.places(&mut stop).await else { break };
                    self.begin(&live, stream, peer, places);
                }
                Err(error) => self.failed(&error, &mut said).await,
            }
        }
        self.rest(&socket).await;
    }

    /// Takes what waits in the kernel's queue, until nothing does or every place is taken.
    async fn rest(&self, socket: &Socket) {
        let mut ended = self.stop.clone();
        // Whoever waits is another process's.
        while *ended.borrow() != Opening::Paused {
            let accepted = poll_fn(|cx| match socket.poll_accept(cx) {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending => Poll::Ready(None),
            });
            // No task's share of the worker may leave a client behind.
            match tokio::task::coop::unconstrained(accepted).await {
                Some(Ok((stream, peer))) => {
                    let Some((live, places)) = self.places(&mut ended).await else { return };
                    self.begin(&live, stream, peer, places);
                }
                Some(Err(error)) if is_of_the_client(&error) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    /// Waits for a place at the listener and in the process: meanwhile further clients wait in the
    /// kernel's queue. Once the loop is told to stop, it waits only for a moment more.
    async fn places(
        &self,
        stop: &mut watch::Receiver<Opening>,
    ) -> Option<(Arc<Live>, (Pass, Pass))> {
        let live = self.live.load_full();
        if let (Some(own), Some(all)) = (live.gate.enter(), self.state.gate.enter()) {
            return Some((live, (own, all)));
        }
        live.cells.limit_hits.inc("max_connections");
        let make_room = || self.make_room(&live, 0);
        let both = async {
            let own = live.gate.wait(make_room).await;
            (own, self.state.gate.wait(make_room).await)
        };
        let too_late = async {
            if told(stop).await == Opening::Paused {
                // It is nobody else's any more: it waits for those before it to end.
                open_again(stop).await;
            }
            tokio::time::sleep(LAST).await;
        };
        let places = tokio::select! {
            places = both => places,
            () = too_late => return None,
        };
        Some((live, places))
    }

    /// Asks idle connections to leave, oldest first: of this listener where it is full, of all where
    /// the process is, `least` of them in any case.
    fn make_room(&self, live: &Live, least: usize) {
        let own = live.gate.surplus().unwrap_or(0);
        let all = self.state.gate.surplus().unwrap_or(0).max(least);
        if own.max(all) == 0 || !self.state.room.is_due(ROOM_AGAIN) {
            return;
        }
        let asked = if own > 0 { Drain::evict_idle(live.drains.iter(), own) } else { 0 };
        if all > asked {
            let others = self.state.live.lock();
            let groups = others.values().flat_map(|live| &live.drains);
            Drain::evict_idle(groups, all - asked);
        }
    }

    async fn failed(&self, error: &io::Error, said: &mut Said) {
        let live = self.live.load_full();
        live.cells.accept_errors.inc(errno(error));
        if is_of_the_client(error) {
            return;
        }
        if said.is_due() {
            tracing::error!(%error, listener = %live.name, "accept; clients wait meanwhile");
        }
        self.make_room(&live, SHORT);
        tokio::time::sleep(BREATH).await;
    }

    /// Gives a connection its task. Nothing here waits for the client.
    fn begin(&self, live: &Arc<Live>, stream: Stream, peer: Peer, places: (Pass, Pass)) {
        live.cells.accepted.inc();
        self.make_room(live, 0);
        // A proxy says by its header who the client is: only then it can be counted.
        let client = match live.entry.load().is_proxy(peer) {
            true => None,
            false => match live.client(peer) {
                Ok(client) => client,
                Err(Surplus) => return,
            },
        };
        let watch = live.drains[self.worker].enter();
        let held = Held::new(places, client, live.cells.clone(), self.state.clone());
        connection::spawn(live, stream, peer, watch, self.dialer.clone(), held);
    }
}

/// Waits until the loop is told to stop, for now or for good, or its door is gone.
async fn told(stop: &mut watch::Receiver<Opening>) -> Opening {
    let told = stop.wait_for(|opening| *opening != Opening::Open).await.map(|opening| *opening);
    told.unwrap_or(Opening::Closing)
}

/// Waits while the loop is to pause; `false`: its door is gone.
async fn open_again(stop: &mut watch::Receiver<Opening>) -> bool {
    stop.wait_for(|opening| *opening != Opening::Paused).await.is_ok()
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        let about = socket2::SockRef::from(&socket);
        if about.domain()? == socket2::Domain::UNIX {
            return UnixListener::from_std(socket.into()).map(Self::Unix);
        }
        // Accepted sockets inherit it on Linux: a system call less for each connection.
        about.set_tcp_nodelay(true)?;
        TcpListener::from_std(socket.into()).map(Self::Tcp)
    }
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        match self {
            Self::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, peer)| (stream.into(), Peer::Ip(peer)))
            }
            Self::Unix(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| (stream.into(), Peer::Unix))
            }
        }
    }
    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| OF_THE_CLIENT.iter().any(|e| e.raw_os_error() == code))
}

/// The word of `evenkeel_accept_errors_total{errno}`.
fn errno(error: &io::Error) -> &'static str {
    const WORDS: [(Errno, &str); 7] = [
        (Errno::MFILE, "EMFILE"),
        (Errno::NFILE, "ENFILE"),
        (Errno::NOBUFS, "ENOBUFS"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::CONNABORTED, "ECONNABORTED"),
        (Errno::PROTO, "EPROTO"),
        (Errno::NOSPC, "ENOSPC"),
    ];
    let code = error.raw_os_error();
    WORDS.iter().find(|(e, _)| Some(e.raw_os_error()) == code).map_or("other", |(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_inherit_nodelay() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let socket = Socket::new(listener.into()).unwrap();
        let client = std::net::TcpStream::connect(addr).unwrap();
        let (stream, peer) = socket.accept().await.unwrap();
        assert!(stream.tcp().unwrap().nodelay().unwrap());
        assert_eq!(peer, Peer::Ip(client.local_addr().unwrap()));
    }

    #[test]
    fn shortages_have_their_names() {
        let error = |e: Errno| io::Error::from_raw_os_error(e.raw_os_error());
        assert_eq!(errno(&error(Errno::MFILE)), "EMFILE");
        assert_eq!(errno(&error(Errno::PERM)), "other");
        assert!(is_of_the_client(&error(Errno::CONNABORTED)));
        assert!(!is_of_the_client(&error(Errno::MFILE)));
    }
}

//! The addresses of a name: dialled in turn, one beside the other where one is slow to answer (RFC 8305).
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// An address that says nothing for so long has the next one dialled beside it: the Connection Attempt
/// Delay of RFC 8305 5.
const BESIDE: Duration = Duration::from_millis(250);
/// An address that could not be reached comes last for so long.
const LAST: Duration = Duration::from_secs(30);

/// The addresses that a name has now.
#[derive(Debug, Default)]
pub struct Named {
    addrs: Vec<SocketAddr>,
    /// Which of them comes next.
    turn: AtomicU32,
    /// Which come last, since when and why. Asked only where there are several.
    last: Mutex<Vec<Last>>,
}

/// An address that others come before.
#[derive(Clone, Copy, Debug)]
struct Last {
    addr: SocketAddr,
    since: Instant,
    /// It took the connection, and then nothing good came.
    doubted: bool,
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

impl Last {
    fn holds(&self, now: Instant) -> bool {
        now.duration_since(self.since) < LAST
    }
}

impl Named {
    /// None of them was dialled yet.
    pub fn new(addrs: Vec<SocketAddr>) -> Self {
        Self { addrs, turn: AtomicU32::new(0), last: Mutex::default() }
    }

    /// All of them.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The one to be asked next.
    pub fn next(&self) -> Option<SocketAddr> {
        self.order().first().copied()
    }

    /// This one could not be reached: others come before it for a while.
    pub fn missed(&self, addr: SocketAddr) {
        self.put_last(addr, false);
    }

    /// Nothing good came from this one: others come before it for a while. So many at the most that half
    /// of all are left; of more the first ones come back. False where there is no other.
    pub fn doubt(&self, addr: SocketAddr) -> bool {
        self.put_last(addr, true)
    }

    fn put_last(&self, addr: SocketAddr, doubted: bool) -> bool {
        if self.addrs.len() < 2 || !self.addrs.contains(&addr) {
            return false;
        }
        let mut last = self.last.lock();
        last.retain(|other| other.addr != addr);
        last.push(Last { addr, since: Instant::now(), doubted });
        let over = last.iter().filter(|one| one.doubted).count() > self.addrs.len() / 2;
        if over && let Some(first) = last.iter().position(|one| one.doubted) {
            last.remove(first);
        }
        true
    }

    /// Whether another one comes before this for a while.
    pub fn shuns(&self, addr: SocketAddr) -> bool {
        let now = Instant::now();
        let last = self.last.lock();
        let is_last = |addr| last.iter().any(|one| one.addr == addr && one.holds(now));
        is_last(addr) && !self.addrs.iter().all(|addr| is_last(*addr))
    }

    /// All of them in turn, those that come last behind the others.
    pub(super) fn order(&self) -> Vec<SocketAddr> {
        self.order_at(Instant::now())
    }

    fn order_at(&self, now: Instant) -> Vec<SocketAddr> {
        if self.addrs.len() < 2 {
            return self.addrs.clone();
        }
        let mut last = self.last.lock();
        last.retain(|one| one.holds(now));
        let is_last = |addr: &SocketAddr| last.iter().any(|one| one.addr == *addr);
        let (mut bad, mut good): (Vec<_>, Vec<_>) = self.addrs.iter().copied().partition(is_last);
        let turn = self.turn.fetch_add(1, Relaxed) as usize;
        for some in [&mut good, &mut bad] {
            let first = turn.checked_rem(some.len()).unwrap_or(0);
            some.rotate_left(first);
        }
        good.extend(bad);
        good
    }

    /// Connects to one of them: to each in turn until one takes it. No limit on time: the caller has one.
    ///
    /// # Errors
    ///
    /// The kernel's for the last one.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let order = self.order();
        if let [only] = order[..] {
            return TcpStream::connect(only).await;
        }
        let mut waiting = order.into_iter();
        let mut under_way: Vec<(SocketAddr, Attempt)> = Vec::new();
        let mut failed = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
        loop {
            if let Some(addr) = waiting.next() {
                under_way.push((addr, Box::pin(TcpStream::connect(addr))));
            } else if under_way.is_empty() {
                return Err(failed);
            }
            let ended = match waiting.len() {
                0 => Some(first(&mut under_way).await),
                _ => tokio::time::timeout(BESIDE, first(&mut under_way)).await.ok(),
            };
            match ended {
                None => {}
                Some((n, addr, Ok(stream))) => {
                    // Those that were dialled before it say nothing still.
                    let silent: Vec<_> = under_way.drain(..n).map(|(addr, _)| addr).collect();
                    silent.into_iter().for_each(|addr| self.missed(addr));
                    self.last.lock().retain(|one| one.addr != addr || one.doubted);
                    return Ok(stream);
                }
                Some((_, _, Err(error))) if super::is_local_fault(&error) => return Err(error),
                Some((_, addr, Err(error))) => {
                    self.missed(addr);
                    failed = error;
                }
            }
        }
    }
}

/// Takes out the first attempt that ends; says which of them it was.
async fn first(
    under_way: &mut Vec<(SocketAddr, Attempt)>,
) -> (usize, SocketAddr, io::Result<TcpStream>) {
    poll_fn(|cx| {
        for n in 0..under_way.len() {
            if let Poll::Ready(ended) = under_way[n].1.as_mut().poll(cx) {
                let (addr, _) = under_way.remove(n);
                return Poll::Ready((n, addr, ended));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    fn ip(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_come_in_turn_and_those_that_were_missed_last() {
        let all = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"].map(ip);
        let named = Named::new(all.to_vec());
        let begun: Vec<_> = (0..6).map(|_| named.next().unwrap()).collect();
        assert_eq!(begun[..3], all);
        assert_eq!(begun[3..], all);
        named.missed(all[1]);
        named.missed(ip("10.9.9.9:80"));
        let now = Instant::now();
        for _ in 0..4 {
            let order = named.order_at(now);
            assert_eq!((order.len(), order[2]), (3, all[1]));
        }
        assert!((0..3).any(|_| named.order_at(now + LAST)[0] == all[1]), "it is asked again");
        assert_eq!(Named::default().next(), None);
    }

    #[test]
    fn no_more_than_half_are_doubted_and_where_all_come_last_each_has_its_turn() {
        let all = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"].map(ip);
        let named = Named::new(all.to_vec());
        assert!(all.into_iter().all(|addr| named.doubt(addr)));
        assert_eq!(all.map(|addr| named.shuns(addr)), [false, false, true]);
        all.into_iter().for_each(|addr| named.missed(addr));
        assert_eq!(all.map(|addr| named.shuns(addr)), [false; 3], "none is better");
        let begun: std::collections::HashSet<_> = (0..3).map(|_| named.next().unwrap()).collect();
        assert_eq!(begun.len(), 3);
    }

    /// Takes connections.
    async fn open() -> (tokio::net::TcpListener, SocketAddr) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, addr)
    }

    /// A socket at a port of its own, which refuses connections until it listens.
    fn bound() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&ip("127.0.0.1:0").into()).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, addr)
    }

    #[tokio::test]
    async fn the_next_one_is_dialled_where_one_refuses() {
        let (_listener, good) = open().await;
        let (_bound, closed) = bound();
        let named = Named::new(vec![closed, good]);
        for _ in 0..4 {
            assert_eq!(named.connect().await.unwrap().peer_addr().unwrap(), good);
            assert_eq!(named.order(), [good, closed]);
        }
        let none = Named::new(vec![closed, ip("127.0.0.2:1")]);
        assert_eq!(none.connect().await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(Named::default().connect().await.is_err());
    }

    #[tokio::test]
    async fn the_next_one_is_dialled_beside_one_that_says_nothing() {
        let (_listener, good) = open().await;
        // A listener whose queue is full answers no SYN.
        let (full, silent) = bound();
        full.listen(0).unwrap();
        let _queued: Vec<_> = (0..3)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&silent.into());
                socket
            })
            .collect();
        let named = Named::new(vec![silent, good]);
        assert_eq!(named.connect().await.unwrap().peer_addr().unwrap(), good);
        assert_eq!(named.order(), [good, silent], "it is known");
    }
}

//! Datagrams, many of them by one system call (recvmmsg(2), sendmmsg(2)), each with the local
//! address it came to or leaves from.
//!
//! The kernel's headers hold pointers, so they stay on their thread: each worker has one
//! [`Batch`], lent for as long as nothing waits.
use super::socket::connect_datagrams;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg,
    sendmmsg,
};
use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Datagrams of one call: from here on a system call is a small part of what a datagram costs.
pub const BATCH: usize = 32;
/// Room for the longest datagram: 65,507 bytes by IPv4, 65,527 by IPv6.
const SLOT: usize = 64 << 10;

/// Where a datagram comes from or goes to, and by which address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The other end.
    pub peer: SocketAddr,
    /// Ours; `None` where the socket is bound to one.
    pub local: Option<IpAddr>,
}

/// Datagrams on their way. Pages of it that no datagram ever reached take no memory.
pub struct Batch {
    slots: Box<[u8]>,
    lengths: [usize; BATCH],
    flows: [Option<Flow>; BATCH],
    /// Their other ends, as the kernel wants them.
    to: Box<[Option<SockaddrStorage>; BATCH]>,
    /// One for each [`Door`]: the kernel shortens the room in them to what it used.
    received: [MultiHeaders<SockaddrStorage>; 4],
    /// Without addresses: connected sockets.
    plain: MultiHeaders<()>,
    sent: MultiHeaders<SockaddrStorage>,
    sent_v4: MultiHeaders<SockaddrStorage>,
    sent_v6: MultiHeaders<SockaddrStorage>,
}

thread_local! {
    static OWN: RefCell<Batch> = RefCell::new(Batch::new());
}

/// Lends this thread's batch. Nested calls are a fault of the program.
pub fn with_batch<T>(work: impl FnOnce(&mut Batch) -> T) -> T {
    OWN.with(|own| work(&mut own.borrow_mut()))
}

/// What kind of socket many send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// IPv4, bound to one address.
    V4,
    /// IPv4, bound to every address: it says which one each datagram came to (`IP_PKTINFO`).
    EveryV4,
    /// IPv6, bound to one address.
    V6,
    /// IPv6, bound to every address (`IPV6_PKTINFO`, RFC 3542 6.2).
    EveryV6,
}

impl Door {
    const ALL: [Self; 4] = [Self::V4, Self::EveryV4, Self::V6, Self::EveryV6];

    /// That of a socket bound to an address.
    pub fn of(addr: SocketAddr) -> Self {
        match (addr, addr.ip().is_unspecified()) {
            (SocketAddr::V4(_), false) => Self::V4,
            (SocketAddr::V4(_), true) => Self::EveryV4,
            (SocketAddr::V6(_), false) => Self::V6,
            (SocketAddr::V6(_), true) => Self::EveryV6,
        }
    }
    fn is_told(self) -> bool {
        matches!(self, Self::EveryV4 | Self::EveryV6)
    }
    fn headers(self) -> MultiHeaders<SockaddrStorage> {
        let room = self.is_told().then(|| nix::cmsg_space!(in6_pktinfo));
        MultiHeaders::preallocate(BATCH, room)
    }
}

/// What became of datagrams that were to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes taken by the kernel.
    pub bytes: usize,
    /// Datagrams that it did not take: no room in its queue, too long for the way, no way.
    pub dropped: usize,
}

impl Batch {
    fn new() -> Self {
        let received = Door::ALL.map(Door::headers);
        Self {
            slots: vec![0; SLOT * BATCH].into(),
            lengths: [0; BATCH],
            flows: [None; BATCH],
            to: Box::new([None; BATCH]),
            received,
            plain: MultiHeaders::preallocate(BATCH, None),
            sent: MultiHeaders::preallocate(BATCH, None),
            sent_v4: MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(in_pktinfo))),
            sent_v6: MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(in6_pktinfo))),
        }
    }

    /// The bytes of a datagram.
    pub fn bytes(&self, index: usize) -> &[u8] {
        &self.slots[index * SLOT..][..self.lengths[index]]
    }

    /// Where it came from; `None` for one whose address could not be read.
    pub fn flow(&self, index: usize) -> Option<Flow> {
        self.flows[index]
    }

    /// Where it goes to.
    pub fn address(&mut self, index: usize, flow: Flow) {
        self.flows[index] = Some(flow);
        self.to[index] = Some(flow.peer.into());
    }

    /// Takes what waits at a socket that many send to, from the first place on; how many there
    /// were.
    ///
    /// # Errors
    ///
    /// The kernel's; `WouldBlock` when nothing waits.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, door: Door) -> io::Result<usize> {
        let mut iov = buffers(&mut self.slots);
        let flags = MsgFlags::MSG_DONTWAIT;
        let headers = &mut self.received[door as usize];
        let results = recvmmsg(socket.as_raw_fd(), headers, iov.iter_mut(), flags, None)?;
        let mut count = 0;
        for message in results {
            self.lengths[count] = message.bytes;
            let peer = message.address.as_ref().and_then(address);
            let local = message.cmsgs().ok().and_then(|mut all| all.find_map(local));
            self.flows[count] = match (peer, local, door.is_told()) {
                (Some(peer), Some(local), true) => Some(Flow { peer, local: Some(local) }),
                (Some(peer), _, false) => Some(Flow { peer, local: None }),
                _ => None,
            };
            count += 1;
        }
        // Where it said nothing there is no room left for the next: begin anew.
        if self.flows[..count].contains(&None) {
            self.received[door as usize] = door.headers();
        }
        Ok(count)
    }

    /// Takes up to `most` datagrams of a connected socket, from place `at` on; how many there were.
    ///
    /// # Errors
    ///
    /// The kernel's; `WouldBlock` when nothing waits.
    pub fn receive_at(
        &mut self,
        socket: BorrowedFd<'_>,
        at: usize,
        most: usize,
    ) -> io::Result<usize> {
        let mut iov = buffers(&mut self.slots);
        let iov = iov.iter_mut().skip(at).take(most);
        let flags = MsgFlags::MSG_DONTWAIT;
        let results = recvmmsg(socket.as_raw_fd(), &mut self.plain, iov, flags, None)?;
        let mut count = 0;
        for message in results {
            self.lengths[at + count] = message.bytes;
            count += 1;
        }
        Ok(count)
    }

    /// Sends the first `count` datagrams, each to the flow it was given: as few calls as the local
    /// addresses allow. What the kernel does not take at once is dropped, as any hop may do.
    pub fn send(&mut self, socket: BorrowedFd<'_>, count: usize) -> Sent {
        let mut all = Sent::default();
        let mut begin = 0;
        while begin < count {
            let local = self.flows[begin].and_then(|flow| flow.local);
            let same = |flow: &Option<Flow>| flow.and_then(|flow| flow.local) == local;
            let end = begin + self.flows[begin..count].iter().take_while(|f| same(f)).count();
            self.send_from(socket, begin..end, local, &mut all);
            begin = end;
        }
        all
    }

    fn send_from(
        &mut self,
        socket: BorrowedFd<'_>,
        mut left: std::ops::Range<usize>,
        local: Option<IpAddr>,
        all: &mut Sent,
    ) {
        while !left.is_empty() {
            let (lengths, slots) = (&self.lengths, &self.slots);
            let slice =
                |i: usize| IoSlice::new(slots.get(i * SLOT..i * SLOT + lengths[i]).unwrap_or(&[]));
            let iov: [[IoSlice<'_>; 1]; BATCH] =
                std::array::from_fn(|i| [slice((left.start + i).min(BATCH - 1))]);
            let (iov, to) = (&iov[..left.len()], &self.to[left.clone()]);
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let fd = socket.as_raw_fd();
            let sent = match local {
                None => sendmmsg(fd, &mut self.sent, iov, to, [], flags).map(Iterator::count),
                Some(IpAddr::V4(ip)) => {
                    let info = from_v4(ip);
                    let from = [ControlMessage::Ipv4PacketInfo(&info)];
                    sendmmsg(fd, &mut self.sent_v4, iov, to, from, flags).map(Iterator::count)
                }
                Some(IpAddr::V6(ip)) => {
                    let info = from_v6(ip);
                    let from = [ControlMessage::Ipv6PacketInfo(&info)];
                    sendmmsg(fd, &mut self.sent_v6, iov, to, from, flags).map(Iterator::count)
                }
            };
            match sent {
                Ok(sent) => {
                    let sent = sent.max(1);
                    all.bytes += self.lengths[left.start..left.start + sent].iter().sum::<usize>();
                    left.start += sent;
                }
                Err(Errno::EINTR) => {}
                // Of the others nothing is known: they are tried.
                Err(error) if error != Errno::EAGAIN && error != Errno::ENOBUFS => {
                    all.dropped += 1;
                    left.start += 1;
                }
                Err(_) => {
                    all.dropped += left.len();
                    left.start = left.end;
                }
            }
        }
    }
}

/// Watches a socket for datagrams and refusals, not for room to send: the kernel tells of that
/// after each datagram, and nobody waits for it.
///
/// # Errors
///
/// The kernel's.
#[expect(
    deprecated,
    reason = "the successor is unsafe for what need not stay open and the same; this does"
)]
pub fn watch(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// How long a refusal (ICMP port unreachable) may take: a round trip around the world.
const REFUSAL: Duration = Duration::from_millis(300);

/// Sends an empty datagram, which few servers answer, and waits for a moment whether anybody says
/// that nobody is there.
///
/// # Errors
///
/// The refusal, or the kernel's.
pub async fn knock(addr: SocketAddr) -> io::Result<()> {
    let socket = watch(connect_datagrams(addr)?)?;
    rustix::net::send(socket.get_ref(), &[], rustix::net::SendFlags::NOSIGNAL)?;
    // A refusal makes a socket not readable but broken, which is told to who writes.
    let refused = tokio::time::timeout(REFUSAL, async { socket.writable().await.map(drop) });
    if refused.await.is_ok() {
        rustix::net::sockopt::socket_error(socket.get_ref())??;
    }
    Ok(())
}

fn buffers(slots: &mut [u8]) -> [[IoSliceMut<'_>; 1]; BATCH] {
    let mut slots = slots.chunks_exact_mut(SLOT);
    std::array::from_fn(|_| [IoSliceMut::new(slots.next().unwrap_or_default())])
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

fn local(message: ControlMessageOwned) -> Option<IpAddr> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into())
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// The interface is the kernel's to choose: the way back need not be the way in.
fn from_v4(ip: Ipv4Addr) -> in_pktinfo {
    let addr = in_addr { s_addr: u32::from(ip).to_be() };
    in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: addr, ipi_addr: in_addr { s_addr: 0 } }
}

fn from_v6(ip: Ipv6Addr) -> in6_pktinfo {
    in6_pktinfo { ipi6_addr: in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 }
}

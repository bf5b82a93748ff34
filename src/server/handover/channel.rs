//! Messages between two processes of this machine, with descriptors beside them (unix(7),
//! SCM_RIGHTS). A message is its length in four bytes, the highest first, and JSON.
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Descriptors beside one message: the kernel takes 253 at most.
pub(super) const FDS: usize = 64;
/// The longest message of the process that serves: what is known of a hundred thousand backends.
pub(super) const MEMORY: usize = 64 << 20;
/// What is read at once.
const PIECE: usize = 64 << 10;

/// One of two ends.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
    most: usize,
}

impl Channel {
    /// `most`: bytes of the longest message that is taken.
    pub(super) fn new(stream: UnixStream, most: usize) -> Self {
        Self { stream, bytes: Vec::new(), fds: VecDeque::new(), most }
    }

    /// The user and the process at the other end.
    pub(super) fn peer(&self) -> io::Result<(u32, Option<u32>)> {
        let peer = self.stream.peer_cred()?;
        Ok((peer.uid(), peer.pid().and_then(|pid| u32::try_from(pid).ok())))
    }

    /// Sends a message with so many descriptors, [`FDS`] at most.
    pub(super) async fn send(
        &mut self,
        message: &impl Serialize,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        let mut all = Vec::with_capacity(body.len() + 4);
        all.extend(u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes());
        all.extend(body);
        let (mut at, mut beside) = (0, fds);
        while at < all.len() {
            let some = || send(&self.stream, &all[at..], beside);
            at += self.stream.async_io(Interest::WRITABLE, some).await?;
            beside = &[];
        }
        Ok(())
    }

    /// The next message, within a time.
    pub(super) async fn receive<T: DeserializeOwned>(&mut self, limit: Duration) -> io::Result<T> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "it said nothing for too long");
        tokio::time::timeout(limit, self.next()).await.unwrap_or_else(|_| Err(late()))
    }

    /// The next message, whenever it comes. What came of it by then is not lost where this is dropped.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let head = self.fill(4).await?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length > self.most {
            return Err(io::Error::other(format!("a message of {length} bytes is too long")));
        }
        let message = serde_json::from_slice(&self.fill(4 + length).await?[4..]);
        self.bytes.drain(..4 + length);
        Ok(message?)
    }

    /// So many of the descriptors that came.
    pub(super) fn descriptors(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        if self.fds.len() < count {
            let what = "fewer descriptors came than were said; is the descriptor limit reached?";
            return Err(io::Error::other(what));
        }
        Ok(self.fds.drain(..count).collect())
    }

    /// So many bytes at least, the first that were not taken yet.
    async fn fill(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.bytes.len() < count {
            let (stream, bytes, fds) = (&self.stream, &mut self.bytes, &mut self.fds);
            let read = stream.async_io(Interest::READABLE, || receive(stream, bytes, fds)).await?;
            if read == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended"));
            }
        }
        Ok(&self.bytes[..count])
    }
}

fn send(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)?)
}

fn receive(
    stream: &UnixStream,
    bytes: &mut Vec<u8>,
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut piece = vec![0; PIECE];
    let into = &mut [IoSliceMut::new(&mut piece)];
    let got = recvmsg(stream, into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost: the descriptor limit is reached"));
    }
    bytes.extend_from_slice(&piece[..got.bytes]);
    Ok(got.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn messages_and_their_descriptors_stay_together() {
        let (a, b) = UnixStream::pair().unwrap();
        let (mut a, mut b) = (Channel::new(a, 0), Channel::new(b, MEMORY));
        let sent = tokio::spawn(async move {
            for n in 0..5_u8 {
                let files: Vec<_> = (0..n * 16).map(|_| tempfile::tempfile().unwrap()).collect();
                for mut file in &files {
                    file.write_all(&[n]).unwrap();
                }
                let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
                // Longer than the kernel takes at once.
                a.send(&(n, "x".repeat(300_000)), &fds).await.unwrap();
            }
            a
        });
        for n in 0..5_u8 {
            let (said, long): (u8, String) = b.receive(SOON).await.unwrap();
            assert_eq!((said, long.len()), (n, 300_000));
            for fd in b.descriptors(usize::from(n) * 16).unwrap() {
                let (mut file, mut read) = (std::fs::File::from(fd), Vec::new());
                file.rewind().unwrap();
                file.read_to_end(&mut read).unwrap();
                assert_eq!(read, [n]);
            }
        }
        assert!(b.descriptors(1).is_err(), "none is left over");
        drop(sent.await.unwrap());
        assert_eq!(b.next::<u8>().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_is_longer_than_it_may_be_is_refused_before_it_is_read() {
        for (most, is_taken) in [(12, true), (11, false)] {
            let (a, b) = UnixStream::pair().unwrap();
            let mut a = Channel::new(a, 0);
            a.send(&"x".repeat(10), &[]).await.unwrap();
            let mut b = Channel::new(b, most);
            assert_eq!(b.receive::<String>(SOON).await.is_ok(), is_taken, "{most}");
        }
    }

    #[tokio::test]
    async fn what_is_too_long_or_no_json_is_an_error() {
        for bytes in [&[255, 255, 255, 255, 0][..], &[0, 0, 0, 2, b'{', b'x']] {
            let (a, b) = UnixStream::pair().unwrap();
            assert_eq!(a.try_write(bytes).unwrap(), bytes.len());
            assert!(Channel::new(b, MEMORY).receive::<u8>(SOON).await.is_err());
        }
    }
}

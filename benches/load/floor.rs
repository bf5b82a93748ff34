//! What the kernel alone costs: one thread, one epoll, bytes passed on as they come.
//!
//! ```text
//! floor PORT BACKEND_PORT
//! ```
//!
//! Each client connection has one of its own to the backend. Nothing is looked at, so it is no proxy:
//! for each request there are the same two reads and two writes that every proxy makes, and epoll.
//! No proxy of this shape can be cheaper.

mod poll;

use poll::{Event, Poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

/// Whether one of the pair has ended.
fn pass_on(from: &mut TcpStream, to: &mut TcpStream, buffer: &mut [u8]) -> bool {
    loop {
        match from.read(buffer) {
            Ok(0) => return true,
            // The messages of these measurements fit the socket's buffer.
            Ok(n) if to.write_all(&buffer[..n]).is_err() => return true,
            // Less than there was room for: nothing is left, and the next edge tells of more.
            Ok(n) if n < buffer.len() => return false,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let mut port = || words.next().and_then(|word| word.parse().ok()).expect("floor PORT BACKEND_PORT");
    let (own, backend): (u16, u16) = (port(), port());
    let listener = TcpListener::bind(("127.0.0.1", own)).expect("bind");
    listener.set_nonblocking(true).expect("nonblocking");
    let poll = Poll::new();
    poll.add(listener.as_raw_fd(), u64::MAX, true);
    let mut pairs: Vec<Option<[TcpStream; 2]>> = Vec::new();
    let mut events = vec![Event::default(); 512];
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = poll.wait(&mut events, None);
        for event in &events[..n] {
            let data = event.data;
            if data != u64::MAX {
                let Some(Some([client, server])) = pairs.get_mut((data / 2) as usize) else { continue };
                let ended = match data % 2 {
                    0 => pass_on(client, server, &mut buffer),
                    _ => pass_on(server, client, &mut buffer),
                };
                if ended {
                    pairs[(data / 2) as usize] = None;
                }
                continue;
            }
            while let Ok((client, _)) = listener.accept() {
                let server = TcpStream::connect(("127.0.0.1", backend)).expect("the backend answers");
                let number = pairs.len() as u64;
                for (side, stream) in [&client, &server].into_iter().enumerate() {
                    stream.set_nodelay(true).expect("nodelay");
                    stream.set_nonblocking(true).expect("nonblocking");
                    poll.add(stream.as_raw_fd(), 2 * number + side as u64, true);
                }
                pairs.push(Some([client, server]));
            }
        }
    }
}

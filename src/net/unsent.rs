//! What was written to a socket and is not with its peer's kernel yet.
use rustix::ioctl::{Getter, Opcode, ioctl};
use std::ffi::c_int;
use std::os::fd::AsFd;

/// SIOCOUTQ, tcp(7).
const UNSENT: Opcode = nix::libc::TIOCOUTQ as Opcode;

/// Whether the peer's kernel has acknowledged every byte; not where ours does not say.
#[allow(unsafe_code)]
pub(super) fn has_arrived(socket: impl AsFd) -> bool {
    // SAFETY: SIOCOUTQ writes one int and reads none.
    let unsent = unsafe { ioctl(socket, Getter::<UNSENT, c_int>::new()) };
    unsent == Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_a_peer_does_not_read_has_not_arrived_once_its_kernel_has_no_room() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        assert!(has_arrived(&near), "nothing was written");
        near.write_all(b"short").unwrap();
        far.read_exact(&mut [0; 5]).unwrap();
        assert!(has_arrived(&near), "it is read");
        near.set_nonblocking(true).unwrap();
        let full = loop {
            if let Err(error) = near.write(&[0; 1 << 16]) {
                break error.kind();
            }
        };
        assert_eq!(full, ErrorKind::WouldBlock);
        assert!(!has_arrived(&near));
        assert!(!has_arrived(std::fs::File::open("/").unwrap()), "it is no socket");
    }
}

//! Addresses to text without an allocation, and from what other proxies write.
use crate::arrival::Arrival;
use crate::net::Peer;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;

/// How a client connection came, with the client's address as text: it is written into every
/// request.
#[derive(Debug)]
pub(super) struct Origin {
    arrival: Arrival,
    text: IpText,
}

impl Deref for Origin {
    type Target = Arrival;
    fn deref(&self) -> &Arrival {
        &self.arrival
    }
}

impl Origin {
    pub(super) fn new(arrival: Arrival) -> Self {
        let text = match arrival.peer {
            Peer::Ip(addr) => IpText::of(addr.ip().to_canonical()),
            Peer::Unix => IpText { bytes: [0; 46], len: 0 },
        };
        Self { arrival, text }
    }

    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether requests to a host (no port) may come over its connection.
    pub(super) fn covers(&self, host: &str) -> bool {
        self.tls.as_deref().is_none_or(|tls| tls.covers(host))
    }

    /// The address without its port, IPv4 where it is that inside IPv6; empty where there is none.
    pub(super) fn ip_text(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// An address as text.
#[derive(Debug)]
pub(super) struct IpText {
    /// 45 bytes are the longest: an IPv6 address with an IPv4 one inside.
    bytes: [u8; 46],
    len: u8,
}

impl IpText {
    pub(super) fn of(ip: IpAddr) -> Self {
        let mut text = Self { bytes: [0; 46], len: 0 };
        match ip {
            IpAddr::V4(ip) => text.v4(ip),
            IpAddr::V6(ip) => {
                let mut rest = &mut text.bytes[..];
                // Cannot fail: it is long enough.
                let _ = write!(rest, "{ip}");
                text.len = 46 - rest.len() as u8;
            }
        }
        text
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn v4(&mut self, ip: Ipv4Addr) {
        let mut at = 0;
        for octet in ip.octets() {
            let [a, b, c, len] = OCTETS[usize::from(octet)];
            // A dot follows each; what is behind it is written over by the next.
            self.bytes[at..at + 4].copy_from_slice(&[a, b, c, b'.']);
            at += usize::from(len);
            self.bytes[at] = b'.';
            at += 1;
        }
        self.len = at as u8 - 1;
    }
}

/// The digits of each octet, and how many they are.
static OCTETS: [[u8; 4]; 256] = {
    let mut all = [[0; 4]; 256];
    let mut n = 0;
    while n < 256 {
        let (a, b, c) = (b'0' + (n / 100) as u8, b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8);
        all[n] = match n {
            0..10 => [c, 0, 0, 1],
            10..100 => [b, c, 0, 2],
            _ => [a, b, c, 3],
        };
        n += 1;
    }
    all
};

/// A node of a forwarding chain: an address, bare or in brackets, with a port or without (0).
pub(super) fn node(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip.to_canonical(), 0));
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Some(SocketAddr::new(addr.ip().to_canonical(), addr.port()));
    }
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    Some(SocketAddr::new(IpAddr::V6(inside.parse().ok()?).to_canonical(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_the_standard_library_writes() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2000 {
            let v4 = IpAddr::from(random.u32(..).to_be_bytes());
            let v6 = IpAddr::from((random.u128(..) >> random.u32(..128)).to_be_bytes());
            for ip in [v4, v6] {
                assert_eq!(IpText::of(ip).as_bytes(), ip.to_string().as_bytes());
            }
        }
        let longest: IpAddr = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        assert_eq!(IpText::of(longest).as_bytes().len(), 39);
    }

    #[test]
    fn nodes_are_read_in_every_form() {
        let cases = [
            ("10.0.0.1", Some("10.0.0.1:0")),
            (" 10.0.0.1:80 ", Some("10.0.0.1:80")),
            ("::1", Some("[::1]:0")),
            ("[::1]", Some("[::1]:0")),
            ("[::1]:80", Some("[::1]:80")),
            ("::ffff:10.0.0.1", Some("10.0.0.1:0")),
            ("unknown", None),
            ("_hidden", None),
            ("", None),
            ("[10.0.0.1]", None),
        ];
        for (text, expected) in cases {
            assert_eq!(node(text.as_bytes()), expected.map(|e| e.parse().unwrap()), "{text}");
        }
    }
}

//! What a header says, whatever its version.
use std::net::SocketAddr;

/// Bytes of a header. Version 1 has 107 at most; version 2 could announce 64 KiB, but with every
/// TLV in use, a client's certificate included, senders stay below 4 KiB.
pub const MOST: usize = 8 << 10;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary, with TLVs.
    V2,
}

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// For whom the connection was made.
    pub ends: Ends,
    /// What it says besides; version 2 only.
    pub tlvs: Tlvs,
}

/// For whom a connection was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ends {
    /// For the sender itself, or for somebody it does not know (`LOCAL`, `UNKNOWN`, `UNSPEC`).
    #[default]
    Nobody,
    /// For a client by TCP.
    Ip {
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
    /// For a client by Unix socket, which has no address.
    Unix,
}

/// What a header of version 2 says besides. Bytes are the sender's, unjudged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlvs {
    /// `PP2_TYPE_ALPN`: the protocol above TLS.
    pub alpn: Option<Box<[u8]>>,
    /// `PP2_TYPE_AUTHORITY`: the name the client asked for (SNI).
    pub authority: Option<Box<[u8]>>,
    /// `PP2_TYPE_UNIQUE_ID`: the connection's name; 128 bytes at most.
    pub unique_id: Option<Box<[u8]>>,
    /// `PP2_TYPE_SSL`: the client spoke TLS, or did not.
    pub ssl: Option<Ssl>,
}

/// `PP2_TYPE_SSL`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssl {
    /// Bits of [`Ssl::TLS`], [`Ssl::CERT_CONN`], [`Ssl::CERT_SESS`].
    pub client: u8,
    /// 0 when the client showed a certificate that was verified.
    pub verify: u32,
    /// `PP2_SUBTYPE_SSL_VERSION`: `TLSv1.3`
    pub version: Option<Box<[u8]>>,
    /// `PP2_SUBTYPE_SSL_CN`: the common name of the client's certificate.
    pub cn: Option<Box<[u8]>>,
}

impl Ssl {
    /// The client spoke TLS.
    pub const TLS: u8 = 1;
    /// It showed a certificate on this connection.
    pub const CERT_CONN: u8 = 2;
    /// It showed one in this TLS session.
    pub const CERT_SESS: u8 = 4;
}

/// What bytes at the beginning of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// All of them belong to a header, and more of it must come.
    More,
    /// A header, and its length.
    Whole(Header, usize),
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It begins with something else.
    Missing,
    /// It begins like one and is none.
    Invalid,
    /// It has, or announces, more than [`MOST`] bytes; of version 1 more than 107.
    TooLarge,
}

impl Fault {
    /// The word of `evenkeel_proxy_protocol_errors_total{reason}`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
        }
    }
}

/// Both ends in one family: IPv4 where both are, IPv4 inside IPv6 beside an IPv6 one.
pub(super) fn one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let (source, destination) = (plain(source), plain(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let v6 = |addr: SocketAddr| match addr {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 => v6,
    };
    (v6(source), v6(destination))
}

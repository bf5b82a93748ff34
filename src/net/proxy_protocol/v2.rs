//! Version 2: a signature, version and command, family, length, addresses, TLVs.
use super::header::{Ends, Fault, Header, MOST, Read, Ssl, Tlvs, one_family};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const UNSPEC: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;
/// Bytes of two addresses by Unix socket.
const UNIX_ENDS: usize = 216;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;

/// Bytes of a unique id.
const ID_MOST: usize = 128;

pub(super) fn read(bytes: &[u8]) -> Result<Read, Fault> {
    let begun = bytes.len().min(SIGNATURE.len());
    if bytes[..begun] != SIGNATURE[..begun] {
        return Err(Fault::Missing);
    }
    let Some((&[ref signature @ .., command, family, high, low], _)) =
        bytes.split_first_chunk::<FIXED>()
    else {
        return Ok(Read::More);
    };
    debug_assert_eq!(signature, SIGNATURE);
    let length = usize::from(u16::from_be_bytes([high, low]));
    let is_local = match command {
        LOCAL => true,
        PROXY => false,
        _ => return Err(Fault::Invalid),
    };
    let size = match family {
        // The family of a LOCAL header is nobody's word.
        _ if is_local => 0,
        UNSPEC => 0,
        TCP4 => 12,
        TCP6 => 36,
        UNIX => UNIX_ENDS,
        // Datagrams, too: this is a stream.
        _ => return Err(Fault::Invalid),
    };
    if length < size {
        return Err(Fault::Invalid);
    }
    let whole = FIXED + length;
    if whole > MOST {
        return Err(Fault::TooLarge);
    }
    let Some(header) = bytes.get(..whole) else { return Ok(Read::More) };
    if is_local {
        return Ok(Read::Whole(Header::default(), whole));
    }
    let (addresses, rest) = header[FIXED..].split_at(size);
    let ends = match family {
        TCP4 => ends::<4>(addresses),
        TCP6 => ends::<16>(addresses),
        UNIX => Some(Ends::Unix),
        _ => Some(Ends::Nobody),
    };
    let tlvs = tlvs(rest, header)?;
    Ok(Read::Whole(Header { ends: ends.ok_or(Fault::Invalid)?, tlvs }, whole))
}

/// Two addresses of N bytes each, then two ports.
fn ends<const N: usize>(bytes: &[u8]) -> Option<Ends>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = bytes.split_first_chunk::<N>()?;
    let (destination, ports) = rest.split_first_chunk::<N>()?;
    let &[a, b, c, d] = ports else { return None };
    Some(Ends::Ip {
        source: SocketAddr::new((*source).into(), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new((*destination).into(), u16::from_be_bytes([c, d])),
    })
}

/// The next TLV and what is behind it.
fn tlv(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Fault> {
    let &[kind, high, low, ref rest @ ..] = bytes else { return Err(Fault::Invalid) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (value, rest) = rest.split_at_checked(length).ok_or(Fault::Invalid)?;
    Ok((kind, value, rest))
}

/// Of one kind the first counts; those without use to us are passed over, but not their lengths.
fn tlvs(mut bytes: &[u8], header: &[u8]) -> Result<Tlvs, Fault> {
    let mut all = Tlvs::default();
    while !bytes.is_empty() {
        let (kind, value, rest) = tlv(bytes)?;
        match kind {
            ALPN => keep(&mut all.alpn, value),
            AUTHORITY => keep(&mut all.authority, value),
            UNIQUE_ID if value.len() > ID_MOST => return Err(Fault::Invalid),
            UNIQUE_ID => keep(&mut all.unique_id, value),
            CRC32C => checked(value, header.len() - rest.len(), header)?,
            SSL => {
                let ssl = ssl(value)?;
                all.ssl.get_or_insert(ssl);
            }
            _ => {}
        }
        bytes = rest;
    }
    Ok(all)
}

fn keep(place: &mut Option<Box<[u8]>>, value: &[u8]) {
    place.get_or_insert_with(|| value.into());
}

fn ssl(value: &[u8]) -> Result<Ssl, Fault> {
    let &[client, a, b, c, d, ref rest @ ..] = value else { return Err(Fault::Invalid) };
    let mut ssl = Ssl { client, verify: u32::from_be_bytes([a, b, c, d]), ..Ssl::default() };
    let mut bytes = rest;
    while !bytes.is_empty() {
        let (kind, value, rest) = tlv(bytes)?;
        match kind {
            SSL_VERSION => keep(&mut ssl.version, value),
            SSL_CN => keep(&mut ssl.cn, value),
            _ => {}
        }
        bytes = rest;
    }
    Ok(ssl)
}

/// Whether a checksum that ends at `end` is that of the header, its own bytes taken as zero.
fn checked(value: &[u8], end: usize, header: &[u8]) -> Result<(), Fault> {
    let said = <[u8; 4]>::try_from(value).map_err(|_| Fault::Invalid)?;
    let (before, rest) = header.split_at(end - said.len());
    let crc = [before, &[0; 4], &rest[said.len()..]].into_iter().fold(!0, crc32c);
    if !crc == u32::from_be_bytes(said) { Ok(()) } else { Err(Fault::Invalid) }
}

/// CRC-32C (RFC 3720 B.4), bit by bit: headers that have one are rare and small.
fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}

pub(super) fn write(header: &Header) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    let (command, family) = match header.ends {
        Ends::Nobody => (LOCAL, UNSPEC),
        Ends::Unix => (PROXY, UNSPEC),
        Ends::Ip { source, destination } if one_family(source, destination).0.is_ipv4() => {
            (PROXY, TCP4)
        }
        Ends::Ip { .. } => (PROXY, TCP6),
    };
    out.extend([command, family, 0, 0]);
    if let Ends::Ip { source, destination } = header.ends {
        let (source, destination) = one_family(source, destination);
        for addr in [source, destination] {
            match addr.ip() {
                IpAddr::V4(ip) => out.extend(ip.octets()),
                IpAddr::V6(ip) => out.extend(Ipv6Addr::octets(&ip)),
            }
        }
        out.extend([source, destination].iter().flat_map(|addr| addr.port().to_be_bytes()));
    }
    if command == PROXY {
        put_tlvs(&header.tlvs, &mut out);
    }
    // `put` keeps it within 64 KiB.
    let length = ((out.len() - FIXED) as u16).to_be_bytes();
    out[FIXED - 2..FIXED].copy_from_slice(&length);
    out
}

fn put_tlvs(tlvs: &Tlvs, out: &mut Vec<u8>) {
    let Tlvs { alpn, authority, unique_id, ssl } = tlvs;
    for (kind, value) in [(ALPN, alpn), (AUTHORITY, authority), (UNIQUE_ID, unique_id)] {
        if let Some(value) = value {
            put(kind, value, out);
        }
    }
    if let Some(ssl) = ssl {
        let mut value = vec![ssl.client];
        value.extend(ssl.verify.to_be_bytes());
        for (kind, part) in [(SSL_VERSION, &ssl.version), (SSL_CN, &ssl.cn)] {
            if let Some(part) = part {
                put(kind, part, &mut value);
            }
        }
        put(SSL, &value, out);
    }
}

/// A value that would make a header larger than one that is taken is left out.
fn put(kind: u8, value: &[u8], out: &mut Vec<u8>) {
    if out.len() + 3 + value.len() <= MOST {
        out.push(kind);
        out.extend((value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
    }
}

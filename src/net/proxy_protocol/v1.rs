//! Version 1: `PROXY TCP4 192.0.2.1 198.51.100.2 51234 443\r\n`
use super::header::{Ends, Fault, Header, Read, one_family};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const BEGIN: &[u8] = b"PROXY ";
/// The longest line, its end included.
const LINE: usize = 107;

pub(super) fn read(bytes: &[u8]) -> Result<Read, Fault> {
    let begun = bytes.len().min(BEGIN.len());
    if bytes[..begun] != BEGIN[..begun] {
        return Err(Fault::Missing);
    }
    let line = &bytes[..bytes.len().min(LINE)];
    match memchr::memchr2(b'\r', b'\n', line) {
        Some(at) if line[at] == b'\n' => Err(Fault::Invalid),
        Some(at) => match line.get(at + 1) {
            Some(b'\n') => {
                let ends = ends(&line[begun..at]).ok_or(Fault::Invalid)?;
                Ok(Read::Whole(Header { ends, ..Header::default() }, at + 2))
            }
            Some(_) => Err(Fault::Invalid),
            None if line.len() == LINE => Err(Fault::TooLarge),
            None => Ok(Read::More),
        },
        None if line.len() == LINE => Err(Fault::TooLarge),
        None => Ok(Read::More),
    }
}

/// What follows `PROXY `. Behind `UNKNOWN` anything may stand, and is nobody's word.
fn ends(text: &[u8]) -> Option<Ends> {
    let text = std::str::from_utf8(text).ok()?;
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Some(Ends::Nobody);
    }
    let mut parts = text.split(' ');
    let mut next = || parts.next();
    let is_v4 = match next()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let (source, destination) = (ip(next()?, is_v4)?, ip(next()?, is_v4)?);
    let (from, to) = (port(next()?)?, port(next()?)?);
    let ends = Ends::Ip {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    };
    next().is_none().then_some(ends)
}

fn ip(text: &str, is_v4: bool) -> Option<IpAddr> {
    if is_v4 {
        text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
    } else {
        text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    }
}

/// Decimal, without zeros before it or a sign.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if digits && !padded { text.parse().ok() } else { None }
}

pub(super) fn write(header: &Header) -> Vec<u8> {
    let Ends::Ip { source, destination } = header.ends else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let (source, destination) = one_family(source, destination);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.port(), destination.port());
    format!("PROXY {family} {} {} {from} {to}\r\n", source.ip(), destination.ip()).into_bytes()
}

//! What the proxy tells about certificates, read from their DER (X.690, RFC 5280 4.1).
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Hexadecimal, upper case.
    pub(super) serial: String,
    /// As RFC 4514 writes it, in visible ASCII.
    pub(super) issuer: String,
    /// As RFC 4514 writes it, in visible ASCII.
    pub(super) subject: String,
    /// When it is good.
    pub(super) good: Span,
}

/// From when until when, both included: seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) until: i64,
}

impl Span {
    /// Whether it is now.
    pub(super) fn is_now(self) -> bool {
        (self.from..=self.until).contains(&now())
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64)
}

pub(super) const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `iPAddress` of a GeneralName (RFC 5280 4.2.1.6).
const IP_ADDRESS: u8 = 0x87;
/// `id-ce-subjectAltName`.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// Reads a certificate; `None` when it is none.
pub(super) fn facts(certificate: &[u8]) -> Option<Facts> {
    let mut whole = Der(certificate);
    let mut tbs = Der(Der(whole.take(SEQUENCE)?).take(SEQUENCE)?);
    if tbs.begins(VERSION) {
        tbs.take(VERSION)?;
    }
    let serial = tbs.take(INTEGER)?;
    tbs.take(SEQUENCE)?;
    let issuer = tbs.take(SEQUENCE)?;
    let mut validity = Der(tbs.take(SEQUENCE)?);
    let subject = tbs.take(SEQUENCE)?;
    Some(Facts {
        serial: hex(serial.strip_prefix(&[0]).unwrap_or(serial)),
        issuer: name(issuer)?,
        subject: name(subject)?,
        good: Span { from: validity.time()?, until: validity.time()? },
    })
}

/// When a certificate is good; `None` when it is none.
pub(super) fn validity(certificate: &[u8]) -> Option<Span> {
    let mut validity = Der(before_validity(certificate)?.take(SEQUENCE)?);
    Some(Span { from: validity.time()?, until: validity.time()? })
}

/// The common name of a certificate's owner, the last one said; empty when it has none. `None` when
/// it is no certificate.
pub(super) fn common_name(certificate: &[u8]) -> Option<&[u8]> {
    let mut subject = Der(subject(certificate)?);
    let mut found = &b""[..];
    while !subject.is_empty() {
        let mut set = Der(subject.take(SET)?);
        while !set.is_empty() {
            let mut pair = Der(set.take(SEQUENCE)?);
            let (oid, (_, value)) = (pair.take(OID)?, pair.next()?);
            if word(oid) == Some("CN") {
                found = value;
            }
        }
    }
    Some(found)
}

fn subject(certificate: &[u8]) -> Option<&[u8]> {
    behind_validity(certificate)?.take(SEQUENCE)
}

/// The addresses in a certificate's subjectAltName, as they stand there.
pub(super) fn addresses(certificate: &[u8]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let Some(mut names) = alternative_names(certificate).map(Der) else { return found };
    while let Some((tag, value)) = names.next() {
        let v4 = |value| <[u8; 4]>::try_from(value).map(IpAddr::from);
        let v6 = |value| <[u8; 16]>::try_from(value).map(IpAddr::from);
        if tag == IP_ADDRESS {
            found.extend(v4(value).or_else(|_| v6(value)));
        }
    }
    found
}

fn alternative_names(certificate: &[u8]) -> Option<&[u8]> {
    let mut rest = behind_validity(certificate)?;
    // Before the extensions: subject, key, and two identifiers that nobody has.
    while !rest.begins(EXTENSIONS) {
        rest.next()?;
    }
    let mut extensions = Der(Der(rest.take(EXTENSIONS)?).take(SEQUENCE)?);
    while !extensions.is_empty() {
        let mut extension = Der(extensions.take(SEQUENCE)?);
        if extension.take(OID)? == SUBJECT_ALT_NAME {
            // Whether it is critical may stand between.
            while !extension.begins(OCTET_STRING) {
                extension.next()?;
            }
            return Der(extension.take(OCTET_STRING)?).take(SEQUENCE);
        }
    }
    None
}

/// Who signed a certificate and whose it is, as hashed in words about it (RFC 6960 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parties<'a> {
    /// The name of who signed it, in DER.
    pub(super) issuer: &'a [u8],
    /// The name of its owner, in DER.
    pub(super) subject: &'a [u8],
    /// The bits of its owner's key.
    pub(super) key: &'a [u8],
}

/// `None` when it is no certificate.
pub(super) fn parties(certificate: &[u8]) -> Option<Parties<'_>> {
    let mut rest = behind_algorithm(certificate)?;
    let issuer = rest.take_whole(SEQUENCE)?;
    rest.take(SEQUENCE)?;
    let subject = rest.take_whole(SEQUENCE)?;
    let mut key = Der(rest.take(SEQUENCE)?);
    key.take(SEQUENCE)?;
    // Whole bytes: none of their bits is unused.
    let key = key.take(BIT_STRING)?.strip_prefix(&[0])?;
    Some(Parties { issuer, subject, key })
}

/// What comes behind the validity: the subject first.
fn behind_validity(certificate: &[u8]) -> Option<Der<'_>> {
    let mut rest = before_validity(certificate)?;
    rest.take(SEQUENCE)?;
    Some(rest)
}

/// The validity, and what comes behind it.
fn before_validity(certificate: &[u8]) -> Option<Der<'_>> {
    let mut rest = behind_algorithm(certificate)?;
    rest.take(SEQUENCE)?;
    Some(rest)
}

/// What comes behind the serial number and the algorithm: the issuer first.
fn behind_algorithm(certificate: &[u8]) -> Option<Der<'_>> {
    let mut whole = Der(certificate);
    let mut tbs = Der(Der(whole.take(SEQUENCE)?).take(SEQUENCE)?);
    if tbs.begins(VERSION) {
        tbs.take(VERSION)?;
    }
    tbs.take(INTEGER)?;
    tbs.take(SEQUENCE)?;
    Some(tbs)
}

/// Hexadecimal, upper case.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// Values that stand one behind the other.
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a value of this kind comes next.
    pub(super) fn begins(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        let (len, rest) = match *first {
            short @ 0..0x80 => (usize::from(short), rest),
            long => {
                let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                if digits.is_empty() || digits.len() > 4 {
                    return None;
                }
                (digits.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
            }
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((*tag, value))
    }

    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }

    /// As `take`, with its tag and its length.
    fn take_whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.take(tag)?;
        before.get(..before.len() - self.0.len())
    }

    /// `YYMMDDHHMMSSZ`, or with four digits of a year.
    pub(super) fn time(&mut self) -> Option<i64> {
        let (tag, text) = self.next()?;
        let digits = text.strip_suffix(b"Z").filter(|d| d.iter().all(u8::is_ascii_digit))?;
        let (year, rest) = match tag {
            UTC_TIME => digits.split_at_checked(2)?,
            GENERALIZED_TIME => digits.split_at_checked(4)?,
            _ => return None,
        };
        let number = |digits: &[u8]| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0'));
        let year = match (tag, number(year)) {
            (UTC_TIME, year @ 0..50) => 2000 + year,
            (UTC_TIME, year) => 1900 + year,
            (_, year) => year,
        };
        let [month, day, hour, minute, second] =
            *rest.chunks(2).map(number).collect::<Vec<_>>().as_slice()
        else {
            return None;
        };
        Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
    }
}

/// Days since 1970 of a date in the Gregorian calendar (Howard Hinnant, `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A distinguished name, its last part first (RFC 4514 2.1).
fn name(der: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut all = Der(der);
    while !all.is_empty() {
        let mut set = Der(all.take(SET)?);
        let mut part = String::new();
        while !set.is_empty() {
            let mut pair = Der(set.take(SEQUENCE)?);
            let (oid, (_, value)) = (pair.take(OID)?, pair.next()?);
            if !part.is_empty() {
                part.push('+');
            }
            attribute(oid, value, &mut part);
        }
        parts.push(part);
    }
    parts.reverse();
    Some(parts.join(","))
}

fn attribute(oid: &[u8], value: &[u8], out: &mut String) {
    match word(oid) {
        Some(word) => {
            let _ = write!(out, "{word}=");
            escaped(value, out);
        }
        // A type without a short name: its number, and the value as it is.
        None => {
            let _ = write!(out, "{}=#{}", dotted(oid), hex(value));
        }
    }
}

/// RFC 4514 3 and RFC 4519.
fn word(oid: &[u8]) -> Option<&'static str> {
    Some(match oid {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        _ => return None,
    })
}

fn dotted(oid: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number = 0u64;
    for byte in oid {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    if let Some(first) = numbers.first().copied() {
        let top = (first / 40).min(2);
        numbers.splice(..1, [top, first - top * 40]);
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// RFC 4514 2.4; what is not visible ASCII by its two digits, so that it can stand in a field.
fn escaped(value: &[u8], out: &mut String) {
    for (at, byte) in value.iter().enumerate() {
        let edge =
            (*byte == b' ' && (at == 0 || at + 1 == value.len())) || (*byte == b'#' && at == 0);
        match *byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            _ if edge => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            0x20..=0x7e => out.push(char::from(*byte)),
            _ => drop(write!(out, "\\{byte:02X}")),
        }
    }
}

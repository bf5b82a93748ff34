//! What an authority says of a certificate, to be handed to clients with it (OCSP, RFC 6960 4.2.1;
//! stapling, RFC 6066 8).
use super::der::{
    Der, ENUMERATED, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, SEQUENCE, Span, hex, now,
};
use super::identity::wrong;
use crate::config::{Blob, Problem};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// `id-pkix-ocsp-basic`
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
/// `[0] EXPLICIT`: the bytes of a response, its version, its next update.
const ZERO: u8 = 0xa0;
const BY_NAME: u8 = 0xa1;
const BY_KEY: u8 = 0xa2;

/// A certificate with its key and the word of its authority.
#[derive(Debug)]
pub(super) struct Stapled {
    key: Arc<CertifiedKey>,
    file: Blob,
    /// `None` where it says nothing of this certificate.
    good: Option<Span>,
}

impl Stapled {
    /// # Errors
    ///
    /// A file that is no response, or one that says that it is none.
    pub(super) fn new(key: &CertifiedKey, file: &Blob, serial: &str) -> Result<Self, Problem> {
        let good = read(&file.bytes, serial).map_err(|what| {
            wrong(file, what)
                .hint("openssl ocsp -respout writes one; take the key out to have none")
        })?;
        let mut key = key.clone();
        key.ocsp = Some(file.bytes.to_vec());
        Ok(Self { key: Arc::new(key), file: file.clone(), good })
    }

    /// The certificate with it, as long as it says something of it: clients take one that has
    /// expired, or that is of another certificate, for a reason to leave.
    pub(super) fn key(&self) -> Option<&Arc<CertifiedKey>> {
        self.good.is_some_and(Span::is_now).then_some(&self.key)
    }

    /// Why it is not handed out.
    pub(super) fn note(&self) -> Option<Problem> {
        let now = now();
        let what = match self.good {
            None => "says nothing of this certificate",
            Some(Span { until, .. }) if now > until => "it has expired",
            Some(Span { from, .. }) if now < from => "it is of the future",
            Some(_) => return None,
        };
        let what = format!("{what}; clients get the certificate without it");
        Some(wrong(&self.file, &what).hint("put a new one in its place"))
    }
}

/// From when and until when it says something of the certificate with this serial number; `None`
/// when it says nothing of it.
///
/// # Errors
///
/// What is wrong with it.
fn read(response: &[u8], serial: &str) -> Result<Option<Span>, &'static str> {
    const GARBLED: &str = "is no OCSP response in DER";
    let mut whole = Der(response);
    let mut outer = Der(whole.take(SEQUENCE).ok_or(GARBLED)?);
    if outer.take(ENUMERATED).ok_or(GARBLED)? != [0] {
        return Err("is an OCSP response that says that there is none");
    }
    let singles = singles(&mut outer).filter(|_| whole.is_empty()).ok_or(GARBLED)?;
    let mut singles = Der(singles);
    let mut found = None;
    while !singles.is_empty() {
        let (of, span) = single(&mut singles).ok_or(GARBLED)?;
        if of == serial {
            found = Some(span);
        }
    }
    Ok(found)
}

/// What it says of each certificate.
fn singles<'a>(outer: &mut Der<'a>) -> Option<&'a [u8]> {
    let mut bytes = Der(Der(outer.take(ZERO)?).take(SEQUENCE)?);
    if bytes.take(OID)? != BASIC {
        return None;
    }
    let mut basic = Der(Der(bytes.take(OCTET_STRING)?).take(SEQUENCE)?);
    let mut data = Der(basic.take(SEQUENCE)?);
    if data.begins(ZERO) {
        data.take(ZERO)?;
    }
    data.take(if data.begins(BY_NAME) { BY_NAME } else { BY_KEY })?;
    data.take(GENERALIZED_TIME)?;
    data.take(SEQUENCE)
}

fn single(singles: &mut Der<'_>) -> Option<(String, Span)> {
    let mut single = Der(singles.take(SEQUENCE)?);
    let mut id = Der(single.take(SEQUENCE)?);
    // Algorithm, and hashes of the issuer's name and key.
    for tag in [SEQUENCE, OCTET_STRING, OCTET_STRING] {
        id.take(tag)?;
    }
    let serial = id.take(INTEGER)?;
    // Good, revoked or unknown: the client's to judge.
    single.next()?;
    let from = single.time()?;
    // Without a next update, a newer one may be had at any time.
    let until = match single.begins(ZERO) {
        true => Der(single.take(ZERO)?).time()?,
        false => i64::MAX,
    };
    Some((hex(serial.strip_prefix(&[0]).unwrap_or(serial)), Span { from, until }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, value: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, 0x82];
        out.extend((value.len() as u16).to_be_bytes());
        out.extend(value);
        out
    }

    fn response(serial: &[u8], until: Option<&[u8]>) -> Vec<u8> {
        let hash = der(OCTET_STRING, &[7; 20]);
        let id = [der(SEQUENCE, &[]), hash.clone(), hash.clone(), der(INTEGER, serial)].concat();
        let mut single = [der(SEQUENCE, &id), vec![0x80, 0]].concat();
        single.extend(der(GENERALIZED_TIME, b"20200101000000Z"));
        if let Some(until) = until {
            single.extend(der(ZERO, &der(GENERALIZED_TIME, until)));
        }
        let data = [
            der(BY_KEY, &hash),
            der(GENERALIZED_TIME, b"20200101000000Z"),
            der(SEQUENCE, &der(SEQUENCE, &single)),
        ];
        let basic = der(SEQUENCE, &der(SEQUENCE, &data.concat()));
        let bytes = der(SEQUENCE, &[der(OID, BASIC), der(OCTET_STRING, &basic)].concat());
        der(SEQUENCE, &[vec![ENUMERATED, 1, 0], der(ZERO, &bytes)].concat())
    }

    #[test]
    fn it_is_good_for_its_certificate_in_its_time() {
        let from = 1_577_836_800;
        let said = response(&[0, 0xab, 1], Some(b"20200102000000Z"));
        assert_eq!(read(&said, "AB01"), Ok(Some(Span { from, until: from + 86_400 })));
        assert_eq!(read(&said, "AB02"), Ok(None));
        let open = response(&[1], None);
        assert_eq!(read(&open, "01"), Ok(Some(Span { from, until: i64::MAX })));
    }

    #[test]
    fn what_is_garbled_is_none_and_nothing_panics() {
        let said = response(&[1], Some(b"20200102000000Z"));
        for end in 0..said.len() {
            assert!(read(&said[..end], "01").is_err(), "{end}");
            let mut turned = said.clone();
            turned[end] ^= 0x55;
            let _ = read(&turned, "01");
        }
        assert!(read(&[&said[..], b"x"].concat(), "01").is_err());
        // tryLater
        assert!(read(&der(SEQUENCE, &[ENUMERATED, 1, 3]), "01").unwrap_err().contains("none"));
    }
}

//! What an authority says of a certificate, to be handed to clients with it (OCSP, RFC 6960 4.2.1;
//! stapling, RFC 6066 8).
use super::der::{
    self, Der, ENUMERATED, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, SEQUENCE, Span, hex, now,
};
use super::identity::wrong;
use super::provider::digest;
use crate::config::{Blob, Problem};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// `id-pkix-ocsp-basic`
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
/// `[0] EXPLICIT`: the bytes of a response, its version, its next update.
const ZERO: u8 = 0xa0;
const BY_NAME: u8 = 0xa1;
const BY_KEY: u8 = 0xa2;
/// What is said of a certificate, else that it is not known.
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;

/// Algorithms that names and keys of authorities are hashed by.
const HASHES: [(&[u8], &digest::Algorithm); 4] = [
    (&[0x2b, 0x0e, 3, 2, 0x1a], &digest::SHA1_FOR_LEGACY_USE_ONLY),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], &digest::SHA256),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2], &digest::SHA384),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3], &digest::SHA512),
];

/// A certificate with its key and the word of its authority.
#[derive(Debug)]
pub(super) struct Stapled {
    key: Arc<CertifiedKey>,
    file: Blob,
    word: Word,
}

/// What an authority says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// It is good, as far as is known from when until when.
    Good(Span),
    Revoked,
    /// The authority does not know it.
    Unknown,
    /// Nothing: it is of another certificate.
    Nothing,
    /// Nothing: it is of one with this serial number by another authority.
    Another,
}

/// A certificate as authorities speak of it.
#[derive(Clone, Copy, Debug)]
struct Subject<'a> {
    /// Hexadecimal.
    serial: &'a str,
    /// The name of who signed it, in DER.
    issuer: &'a [u8],
    /// The bits of the key it was signed by, where the chain has its certificate.
    issuer_key: Option<&'a [u8]>,
}

impl<'a> Subject<'a> {
    fn of(chain: &'a [CertificateDer<'_>], serial: &'a str) -> Option<Self> {
        let issuer = der::parties(chain.first()?)?.issuer;
        let mut all = chain.iter().filter_map(|one| der::parties(one));
        // The second of a chain in order; the first where it has signed itself.
        let issuer_key = all.find(|one| one.subject == issuer).map(|one| one.key);
        Some(Self { serial, issuer, issuer_key })
    }
}

impl Stapled {
    /// # Errors
    ///
    /// A file that is no response, or one that says that it is none.
    pub(super) fn new(key: &CertifiedKey, file: &Blob) -> Result<Self, Problem> {
        let serial = key.cert.first().and_then(|leaf| der::facts(leaf)).map(|facts| facts.serial);
        let serial = serial.unwrap_or_default();
        let read = match Subject::of(&key.cert, &serial) {
            Some(subject) => read(&file.bytes, subject),
            None => Err("is of a certificate that does not parse"),
        };
        let word = read.map_err(|what| {
            wrong(file, what)
                .hint("openssl ocsp -respout writes one; take the key out to have none")
        })?;
        let mut key = key.clone();
        key.ocsp = Some(file.bytes.to_vec());
        Ok(Self { key: Arc::new(key), file: file.clone(), word })
    }

    /// The certificate with it, as long as it says that it is good: clients take one that has
    /// expired, or that is of another certificate, for a reason to leave.
    pub(super) fn key(&self) -> Option<&Arc<CertifiedKey>> {
        matches!(self.word, Word::Good(span) if span.is_now()).then_some(&self.key)
    }

    /// Why it is not handed out.
    pub(super) fn note(&self) -> Option<Problem> {
        const NEW: &str = "put a new one in its place";
        let now = now();
        let (what, hint) = match self.word {
            Word::Nothing => ("says nothing of this certificate", NEW),
            Word::Another => {
                ("is of another authority than the one that signed this certificate", NEW)
            }
            Word::Revoked => {
                ("says that this certificate is revoked", "put another certificate in its place")
            }
            Word::Unknown => ("says that its authority does not know this certificate", NEW),
            Word::Good(Span { until, .. }) if now > until => ("it has expired", NEW),
            Word::Good(Span { from, .. }) if now < from => ("it is of the future", NEW),
            Word::Good(_) => return None,
        };
        let what = format!("{what}; clients get the certificate without it");
        Some(wrong(&self.file, &what).hint(hint))
    }
}

/// What it says of this certificate.
///
/// # Errors
///
/// What is wrong with it.
fn read(response: &[u8], subject: Subject<'_>) -> Result<Word, &'static str> {
    const GARBLED: &str = "is no OCSP response in DER";
    let mut whole = Der(response);
    let mut outer = Der(whole.take(SEQUENCE).ok_or(GARBLED)?);
    if outer.take(ENUMERATED).ok_or(GARBLED)? != [0] {
        return Err("is an OCSP response that says that there is none");
    }
    let singles = singles(&mut outer).filter(|_| whole.is_empty()).ok_or(GARBLED)?;
    let mut singles = Der(singles);
    let mut found = Word::Nothing;
    while !singles.is_empty() {
        let word = single(&mut singles, subject).ok_or(GARBLED)?;
        // The first that is of it; one of another authority's is no word of it.
        if matches!(found, Word::Nothing | Word::Another) && word != Word::Nothing {
            found = word;
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

fn single(singles: &mut Der<'_>, subject: Subject<'_>) -> Option<Word> {
    let mut single = Der(singles.take(SEQUENCE)?);
    let mut id = Der(single.take(SEQUENCE)?);
    let hash = Der(id.take(SEQUENCE)?).take(OID)?;
    let (name, key) = (id.take(OCTET_STRING)?, id.take(OCTET_STRING)?);
    let serial = id.take(INTEGER)?;
    let (status, _) = single.next()?;
    let from = single.time()?;
    // Without a next update, a newer one may be had at any time.
    let until = match single.begins(ZERO) {
        true => Der(single.take(ZERO)?).time()?,
        false => i64::MAX,
    };
    if hex(serial.strip_prefix(&[0]).unwrap_or(serial)) != subject.serial {
        return Some(Word::Nothing);
    }
    let hash = HASHES.iter().find(|(oid, _)| *oid == hash).map(|(_, hash)| *hash);
    let is_of = |bytes: &[u8], said: &[u8]| {
        hash.is_some_and(|hash| digest::digest(hash, bytes).as_ref() == said)
    };
    if !is_of(subject.issuer, name) || !subject.issuer_key.is_none_or(|bits| is_of(bits, key)) {
        return Some(Word::Another);
    }
    Some(match status {
        GOOD => Word::Good(Span { from, until }),
        REVOKED => Word::Revoked,
        _ => Word::Unknown,
    })
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

    const ISSUER: &[u8] = b"the name of the authority";
    const KEY: &[u8] = b"its key";

    fn subject(serial: &str) -> Subject<'_> {
        Subject { serial, issuer: ISSUER, issuer_key: Some(KEY) }
    }

    fn single(algorithm: usize, serial: &[u8], status: u8, until: Option<&[u8]>) -> Vec<u8> {
        let (oid, hash) = HASHES[algorithm];
        let hashed = |bytes: &[u8]| der(OCTET_STRING, digest::digest(hash, bytes).as_ref());
        let algorithm = der(SEQUENCE, &der(OID, oid));
        let id = [algorithm, hashed(ISSUER), hashed(KEY), der(INTEGER, serial)].concat();
        let mut single = [der(SEQUENCE, &id), der(status, &[])].concat();
        single.extend(der(GENERALIZED_TIME, b"20200101000000Z"));
        if let Some(until) = until {
            single.extend(der(ZERO, &der(GENERALIZED_TIME, until)));
        }
        der(SEQUENCE, &single)
    }

    fn response(singles: &[Vec<u8>]) -> Vec<u8> {
        let data = [
            der(BY_KEY, &der(OCTET_STRING, &[7; 20])),
            der(GENERALIZED_TIME, b"20200101000000Z"),
            der(SEQUENCE, &singles.concat()),
        ];
        let basic = der(SEQUENCE, &der(SEQUENCE, &data.concat()));
        let bytes = der(SEQUENCE, &[der(OID, BASIC), der(OCTET_STRING, &basic)].concat());
        der(SEQUENCE, &[vec![ENUMERATED, 1, 0], der(ZERO, &bytes)].concat())
    }

    #[test]
    fn it_is_good_for_its_certificate_in_its_time() {
        let from = 1_577_836_800;
        for algorithm in 0..HASHES.len() {
            let until = Some(&b"20200102000000Z"[..]);
            let said = response(&[single(algorithm, &[0, 0xab, 1], GOOD, until)]);
            let good = Word::Good(Span { from, until: from + 86_400 });
            assert_eq!(read(&said, subject("AB01")), Ok(good));
            assert_eq!(read(&said, subject("AB02")), Ok(Word::Nothing));
            // Another's of the same number, by its name or by its key.
            let other = Subject { issuer: b"another", ..subject("AB01") };
            assert_eq!(read(&said, other), Ok(Word::Another));
            let other = Subject { issuer_key: Some(b"another"), ..subject("AB01") };
            assert_eq!(read(&said, other), Ok(Word::Another));
            let alone = Subject { issuer_key: None, ..subject("AB01") };
            assert_eq!(read(&said, alone), Ok(good));
        }
        let open = response(&[single(0, &[1], GOOD, None)]);
        let good = Word::Good(Span { from, until: i64::MAX });
        assert_eq!(read(&open, subject("01")), Ok(good));
        let two = response(&[single(0, &[2], GOOD, None), single(0, &[1], REVOKED, None)]);
        assert_eq!(read(&two, subject("01")), Ok(Word::Revoked));
        let unknown = response(&[single(0, &[1], 0x82, None)]);
        assert_eq!(read(&unknown, subject("01")), Ok(Word::Unknown));
    }

    #[test]
    fn what_is_garbled_is_none_and_nothing_panics() {
        let said = response(&[single(0, &[1], GOOD, None)]);
        for end in 0..said.len() {
            assert!(read(&said[..end], subject("01")).is_err(), "{end}");
            let mut turned = said.clone();
            turned[end] ^= 0x55;
            let _ = read(&turned, subject("01"));
        }
        assert!(read(&[&said[..], b"x"].concat(), subject("01")).is_err());
        // tryLater
        let later = der(SEQUENCE, &[ENUMERATED, 1, 3]);
        assert!(read(&later, subject("01")).unwrap_err().contains("none"));
    }
}

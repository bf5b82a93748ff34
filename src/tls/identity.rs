//! A certificate with its key, judged.
use super::der::{self, Span};
use super::provider::{digest, provider};
use super::staple::Stapled;
use crate::config::{Blob, Certificate, Problem};
use crate::telemetry::rfc3339;
use rustls::SignatureScheme;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Schemes that tell kinds of keys apart.
const SCHEMES: [SignatureScheme; 5] = [
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
];

/// A certificate with its key.
#[derive(Debug)]
pub struct Identity {
    pub(super) said: Certificate,
    pub(super) key: Arc<CertifiedKey>,
    /// The same with the word of its authority.
    pub(super) stapled: Option<Stapled>,
    /// Names it is good for, in lower case; `*.x` among them.
    pub(super) names: Vec<String>,
    /// What it is called in metrics: its first name, else its subject.
    pub label: String,
    /// The common name of its subject; empty where it has none.
    pub common_name: String,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// Seconds since 1970 after which it is good for nothing.
    pub not_after: i64,
}

impl Identity {
    /// Judges a chain, its key and that both belong together.
    ///
    /// # Errors
    ///
    /// What is wrong, at the key that names the file.
    pub(super) fn new(said: &Certificate) -> Result<Self, Problem> {
        let chain = chain(&said.cert)?;
        let leaf = chain.first().expect("a chain is not empty");
        let facts = der::facts(leaf).ok_or_else(|| wrong(&said.cert, "does not parse"))?;
        if let Err(error) = webpki::EndEntityCert::try_from(leaf) {
            return Err(wrong(
                &said.cert,
                &format!("its first certificate does not parse: {error}"),
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(&said.key.bytes)
            .map_err(|error| pem_fault(&said.key, &error, "PRIVATE KEY"))?;
        let signs = provider().key_provider.load_private_key(key);
        let signs =
            signs.map_err(|error| wrong(&said.key, &format!("no key to sign with: {error}")))?;
        let key = CertifiedKey::new(chain.clone(), signs);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => {
                let what = format!("is not the key of {}", said.cert.path.display());
                return Err(wrong(&said.key, &what));
            }
        }
        let staple = |file| Stapled::new(&key, file);
        let stapled = said.ocsp.as_ref().map(staple).transpose()?;
        let names = names(leaf);
        let common_name = der::common_name(leaf).unwrap_or_default();
        let common_name = String::from_utf8_lossy(common_name).into_owned();
        let label = names.first().cloned().unwrap_or(facts.subject);
        Ok(Self {
            said: said.clone(),
            key: Arc::new(key),
            stapled,
            names,
            label,
            common_name,
            serial: facts.serial,
            not_after: facts.good.until,
        })
    }

    /// Names it is good for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The first name for which another one is always shown before it: one with a key of the same
    /// kind.
    pub(super) fn behind(&self, other: &Self) -> Option<&str> {
        let same_kind = SCHEMES.iter().all(|scheme| {
            let signs = |one: &Self| one.key.key.choose_scheme(&[*scheme]).is_some();
            signs(self) == signs(other)
        });
        let shared = self.names.iter().find(|name| other.names.contains(name));
        shared.map(String::as_str).filter(|_| same_kind)
    }

    /// Why it is good for nothing now: its time, and that of those it was signed by.
    pub(super) fn untimely(&self) -> Option<Problem> {
        let now = der::now();
        if now > self.not_after {
            return Some(self.wrong("it has expired").hint("put a new one in its place"));
        }
        let (at, Span { from, .. }) = self.spans().find(|(_, span)| now < span.from)?;
        let since = rfc3339(UNIX_EPOCH + Duration::from_secs(from.unsigned_abs()));
        let what = match at {
            0 => format!("it is not valid before {since}"),
            at => format!("certificate {} of it is not valid before {since}", at + 1),
        };
        Some(self.wrong(&what).hint("put one in its place that is valid now, or look at the clock"))
    }

    /// What is to be known of it, though it is in force.
    pub(super) fn notes(&self) -> Vec<Problem> {
        let now = der::now();
        // Clients may know another way to whom they trust.
        let old = self.spans().skip(1).filter(|(_, span)| now > span.until).map(|(at, _)| {
            let what = format!("certificate {} of it has expired", at + 1);
            self.wrong(&what).hint("put the chain in its place that came with the certificate")
        });
        self.untimely().into_iter().chain(old).chain(self.said.key.caution()).collect()
    }

    /// Where it is good for no name at all.
    pub(super) fn nameless(&self) -> Option<Problem> {
        let what =
            "it names nobody (no subjectAltName): with client_ca each request by it gets 421";
        let hint = "let it be signed with its names as subjectAltName";
        self.names.is_empty().then(|| self.wrong(what).hint(hint))
    }

    fn wrong(&self, what: &str) -> Problem {
        wrong(&self.said.cert, what)
    }

    /// When each of its chain is good.
    fn spans(&self) -> impl Iterator<Item = (usize, Span)> {
        let all = self.key.cert.iter().enumerate();
        all.filter_map(|(at, one)| Some((at, der::validity(one)?)))
    }

    /// What a handshake shows.
    pub(super) fn shown(&self) -> &Arc<CertifiedKey> {
        self.stapled.as_ref().and_then(Stapled::key).unwrap_or(&self.key)
    }

    /// Whether it is good for a host, without a port; an address of IPv6 with or without brackets.
    pub fn covers(&self, host: &str) -> bool {
        let host = &*host.trim_end_matches('.').to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(addr) = bare.parse::<IpAddr>() {
            // No wildcard stands for a part of an address.
            let addr = addr.to_string();
            return self.names.contains(&addr);
        }
        let above = host.split_once('.').map(|(_, above)| above);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(rest) => above == Some(rest),
            None => name == host,
        })
    }
}

/// The certificates of a file, the first of them its owner's.
pub(super) fn chain(file: &Blob) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.bytes).collect();
    let all = all.map_err(|error| pem_fault(file, &error, "CERTIFICATE"))?;
    if all.is_empty() {
        return Err(pem_fault(file, &pem::Error::NoItemsFound, "CERTIFICATE"));
    }
    for (at, one) in all.iter().enumerate() {
        if der::facts(one).is_none() {
            return Err(wrong(file, &format!("certificate {} of it does not parse", at + 1)));
        }
    }
    Ok(all)
}

/// Why a file has no certificate or key for us, and what makes one of it.
fn pem_fault(file: &Blob, error: &pem::Error, kind: &str) -> Problem {
    let path = file.path.display();
    let (of, bytes) = (if kind == "CERTIFICATE" { "x509" } else { "pkey" }, &file.bytes);
    let is_encrypted = memchr::memmem::find(bytes, b"ENCRYPTED").is_some();
    match error {
        _ if is_encrypted && of == "pkey" => {
            wrong(file, "is encrypted, and nobody is here to decrypt it")
                .hint(format!("openssl pkey -in {path} -out plain.key"))
        }
        // A sequence, as DER begins (X.690).
        _ if bytes.first() == Some(&0x30) => wrong(file, "is DER; PEM is wanted")
            .hint(format!("openssl {of} -inform der -in {path} -out pem.{of}")),
        pem::Error::NoItemsFound => {
            let what = format!("nothing in it begins with -----BEGIN {kind}-----: is it PEM?");
            wrong(file, &what)
        }
        error => wrong(file, &format!("is no sound PEM: {error}")),
    }
}

pub(super) fn wrong(file: &Blob, what: &str) -> Problem {
    Problem::new(&file.at, &*file.key, format!("{}: {what}", file.path.display()))
}

/// The names in a certificate's subjectAltName, in lower case: DNS names, and addresses as text.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    let addresses = der::addresses(certificate).into_iter().map(|addr| addr.to_string());
    parsed.valid_dns_names().map(str::to_ascii_lowercase).chain(addresses).collect()
}

/// What a client's certificate says, for the fields of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) facts: der::Facts,
    pub(super) fingerprint: String,
    pub(super) names: Vec<String>,
}

/// `None` when it does not parse.
pub(super) fn shown(certificate: &CertificateDer<'_>) -> Option<Shown> {
    let fingerprint = digest::digest(&digest::SHA256, certificate);
    Some(Shown {
        facts: der::facts(certificate)?,
        fingerprint: der::hex(fingerprint.as_ref()),
        names: names(certificate),
    })
}

//! The side that asks: a request's head on its way to a backend (RFC 9113 8.3).
use super::fields::{CONNECTION, all};
use super::hpack::{Encoder, Keep};
use crate::http1::{BodyLength, Refusal, Rule, is_authority};
use crate::message::{Head, Known};
use std::borrow::Cow;

/// A request as a backend is sent it.
#[derive(Clone, Copy, Debug)]
pub struct Outbound<'a> {
    /// Its head, hop-by-hop fields removed.
    pub head: &'a Head,
    /// The host to name instead of the head's own.
    pub host: Option<&'a [u8]>,
    /// How its body is delimited.
    pub body: BodyLength,
    /// Whether whoever asked takes trailers.
    pub trailers: bool,
    /// Whether it goes by TLS.
    pub is_tls: bool,
    /// The backend's address as written, for a request that names no host.
    pub written: &'a str,
}

const SAID_ELSEWHERE: u64 =
    CONNECTION | Known::Host.bit() | Known::Te.bit() | Known::ContentLength.bit();

impl Outbound<'_> {
    /// Whether HTTP/2 can say it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where it cannot.
    pub fn check(&self) -> Result<(), Refusal> {
        match self.own_host() {
            Some(host) if !is_authority(host) => Err(Rule::HostInvalid.into()),
            _ => Ok(()),
        }
    }

    fn own_host(&self) -> Option<&[u8]> {
        let own = || self.head.authority().or_else(|| self.head.get(Known::Host));
        self.host.or_else(own).filter(|host| !host.is_empty())
    }

    /// What `Host` would say (RFC 9113 8.3.1). A socket's path is no host.
    fn authority(&self) -> &[u8] {
        self.own_host().unwrap_or_else(|| {
            let written = self.written.as_bytes();
            if is_authority(written) { written } else { b"localhost" }
        })
    }

    /// Writes it as HTTP/2 says it; it was checked.
    pub fn write(&self, out: &mut Encoder) {
        out.method(self.head.method_token());
        out.scheme(self.is_tls);
        out.authority(self.authority());
        out.path(&path(self.head));
        all(self.head, SAID_ELSEWHERE, out);
        if let BodyLength::Exact(n) = self.body {
            out.length(n);
        }
        if self.trailers {
            out.field(b"te", Some(Known::Te), b"trailers", Keep::Again);
        }
    }
}

/// The target in origin form. What others refuse in one (RFC 3986 2) is percent-encoded, which says
/// the same.
fn path(head: &Head) -> Cow<'_, [u8]> {
    let said = head.path_and_query();
    let said: Cow<'_, [u8]> = match said.first() {
        Some(b'?') | None => [b"/", said].concat().into(),
        _ => said.into(),
    };
    if !said.iter().any(|byte| matches!(byte, b'<' | b'>' | b'`' | b'^' | b'\\')) {
        return said;
    }
    let mut encoded = Vec::with_capacity(said.len() + 16);
    for byte in &*said {
        match byte {
            b'<' | b'>' | b'`' | b'^' | b'\\' => {
                encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
            _ => encoded.push(*byte),
        }
    }
    encoded.into()
}

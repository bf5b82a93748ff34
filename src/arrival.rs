//! How a connection came: who is at its other end, and what was said before it is served.
use crate::net::proxy_protocol::{Ends, Header, Ssl, Tlvs};
use crate::net::{Peer, Stream};
use crate::tls::{Client, Identity};
use std::fmt::Write;
use std::sync::Arc;

/// How a connection came.
#[derive(Debug)]
pub struct Arrival {
    /// Who is at its other end; behind a proxy that said so by the PROXY protocol, who is at its.
    pub peer: Peer,
    /// Where it speaks TLS.
    pub tls: Option<Box<Secured>>,
    /// What a PROXY header said, where one came.
    pub proxied: Option<Box<Proxied>>,
}

/// What TLS agreed on.
#[derive(Debug)]
pub struct Secured {
    /// The certificate that was shown, where the connection is for its names only.
    pub only: Option<Arc<Identity>>,
    /// The name the client asked for.
    pub sni: Option<String>,
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Where backends are told: what the client showed, if it showed something.
    pub client: Option<Option<Client>>,
    /// The protocol above it.
    pub alpn: Option<Box<[u8]>>,
    /// The common name of the certificate that the client showed, where it showed one; empty where
    /// that has none.
    pub common_name: Option<Box<[u8]>>,
    /// Whether it showed it on an earlier connection.
    pub resumed: bool,
}

/// What a PROXY header said.
#[derive(Debug)]
pub struct Proxied {
    /// Who sent it.
    pub by: Peer,
    /// What it says.
    pub header: Header,
    /// The same for the access log.
    pub words: String,
}

impl Arrival {
    /// In the clear.
    pub fn plain(peer: Peer) -> Self {
        Self { peer, tls: None, proxied: None }
    }

    /// The name the client asked for by TLS, here or at the proxy before us.
    pub fn server_name(&self) -> &[u8] {
        match (&self.tls, &self.proxied) {
            (Some(tls), _) => tls.sni.as_deref().unwrap_or_default().as_bytes(),
            (None, Some(proxied)) => proxied.header.tlvs.authority.as_deref().unwrap_or_default(),
            (None, None) => b"",
        }
    }

    /// What a backend is told of the client. What was agreed on here counts before what a proxy
    /// before us said; `stream` is the connection, to ask where it came to.
    pub fn header(&self, stream: &Stream) -> Header {
        let said = self.proxied.as_ref().map(|proxied| &proxied.header);
        let ends = match said.map_or(Ends::Nobody, |header| header.ends) {
            Ends::Nobody => ends(self.peer, stream),
            said => said,
        };
        let mut tlvs = said.map_or_else(Tlvs::default, |header| header.tlvs.clone());
        if let Some(tls) = &self.tls {
            tlvs.alpn = tls.alpn.clone();
            tlvs.authority = tls.sni.as_ref().map(|name| name.as_bytes().into());
            tlvs.ssl = Some(tls.ssl());
        }
        Header { ends, tlvs }
    }
}

/// The ends of a connection by the kernel's word.
fn ends(peer: Peer, stream: &Stream) -> Ends {
    match (peer, stream.local_addr()) {
        (Peer::Ip(source), Some(destination)) => Ends::Ip { source, destination },
        _ => Ends::Unix,
    }
}

impl Secured {
    /// Whether requests to a host (no port) may come this way.
    pub fn covers(&self, host: &str) -> bool {
        self.only.as_ref().is_none_or(|shown| shown.covers(host))
    }

    fn ssl(&self) -> Ssl {
        let shown = match (&self.common_name, self.resumed) {
            (Some(_), true) => Ssl::CERT_SESS,
            (Some(_), false) => Ssl::CERT_CONN | Ssl::CERT_SESS,
            (None, _) => 0,
        };
        Ssl {
            client: Ssl::TLS | shown,
            // One that is not verified does not get so far.
            verify: u32::from(shown == 0),
            version: Some(format!("TLSv{}", self.version).into_bytes().into()),
            cn: self.common_name.clone().filter(|name| !name.is_empty()),
        }
    }
}

impl Proxied {
    /// Of a header that this peer sent.
    pub fn new(by: Peer, header: Header) -> Self {
        let words = words(by, &header.tlvs);
        Self { by, header, words }
    }
}

/// `192.0.2.7:51234;authority=a.test;unique_id=x1;tls=TLSv1.3;cn=alice`: semicolons inside a value
/// and what is not visible ASCII are percent-encoded.
fn words(by: Peer, tlvs: &Tlvs) -> String {
    let mut out = by.addr().map_or_else(|| "unix".to_owned(), |addr| addr.to_string());
    let ssl = tlvs.ssl.as_ref().filter(|ssl| ssl.client & Ssl::TLS != 0);
    let verified = ssl.filter(|ssl| ssl.verify == 0);
    let version = ssl.map(|ssl| ssl.version.as_deref().unwrap_or(b"unknown"));
    for (word, value) in [
        ("alpn", tlvs.alpn.as_deref()),
        ("authority", tlvs.authority.as_deref()),
        ("unique_id", tlvs.unique_id.as_deref()),
        ("tls", version),
        ("cn", verified.and_then(|ssl| ssl.cn.as_deref())),
    ] {
        let Some(value) = value else { continue };
        let _ = write!(out, ";{word}=");
        for byte in value {
            match byte {
                b'!'..=b'~' if !matches!(byte, b'%' | b';') => out.push(char::from(*byte)),
                byte => drop(write!(out, "%{byte:02X}")),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_said_is_one_line_that_nobody_can_forge() {
        let bytes = |text: &str| Some(text.as_bytes().into());
        let ssl =
            Ssl { client: 1, verify: 0, version: bytes("TLSv1.3"), cn: bytes("a b%\n\u{e4}") };
        let tlvs = Tlvs {
            alpn: bytes("h2"),
            authority: bytes("a.test;cn=root"),
            unique_id: Some((*b"\0\xff").into()),
            ssl: Some(ssl.clone()),
        };
        let by = Peer::Ip("192.0.2.7:1".parse().unwrap());
        let header = Header { ends: Ends::Nobody, tlvs: tlvs.clone() };
        assert_eq!(
            Proxied::new(by, header).words,
            "192.0.2.7:1;alpn=h2;authority=a.test%3Bcn=root;unique_id=%00%FF;tls=TLSv1.3;\
             cn=a%20b%25%0A%C3%A4"
        );
        // A name that was not verified is nobody's.
        let other = Tlvs { ssl: Some(Ssl { verify: 1, ..ssl }), ..Tlvs::default() };
        assert_eq!(words(Peer::Unix, &other), "unix;tls=TLSv1.3");
        assert_eq!(words(by, &Tlvs::default()), "192.0.2.7:1");
    }
}

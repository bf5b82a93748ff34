//! The side that calls: a pool's TLS.
use super::identity::{Identity, chain, wrong};
use super::provider::{RECORD, provider};
use super::resumption::{Sessions, are_good};
use crate::config::{Addr, PoolTls, Problem};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, HandshakeKind,
    RootCertStore, SignatureScheme,
};
use std::sync::Arc;

/// What handshakes with backends need.
#[derive(Debug)]
pub struct Connector {
    /// By what is offered, in the order of [`Offer`].
    configs: [Arc<ClientConfig>; 4],
    sni: Option<ServerName<'static>>,
    verifier: Arc<dyn ServerCertVerifier>,
    sessions: Arc<Sessions>,
    /// Who we show that we are.
    own: Option<Identity>,
}

/// The protocols a handshake offers (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// None: what follows is bytes.
    Nothing,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/2, else HTTP/1.1.
    Either,
}

impl Offer {
    const ALL: [Self; 4] = [Self::Nothing, Self::Http1, Self::Http2, Self::Either];

    fn ids(self) -> Vec<Vec<u8>> {
        let ids: &[&[u8]] = match self {
            Self::Nothing => &[],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Either => &[b"h2", b"http/1.1"],
        };
        ids.iter().map(|id| id.to_vec()).collect()
    }
}

impl Connector {
    /// Judges every file. Asks this machine whom it trusts where nobody is named.
    ///
    /// # Errors
    ///
    /// Every problem.
    pub fn new(said: &PoolTls) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let own = said.own.as_ref().map(Identity::new).transpose();
        let own = own.map_err(|problem| problems.push(problem)).unwrap_or_default();
        let provider = provider();
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .expect("each provider has both versions");
        let verifier = verifier(said, provider).map_err(|problem| problems.push(problem));
        let sni = said.sni.as_ref().map(|name| ServerName::try_from(name.clone())).transpose();
        let sni = sni.map_err(|_| {
            problems.push(Problem::new(&said.at, format!("{}.sni", said.key), "is no DNS name"));
        });
        let Ok(verifier) = verifier else { return Err(problems) };
        let config = config.dangerous().with_custom_certificate_verifier(verifier.clone());
        let config = match &own {
            Some(own) => {
                let resolver = rustls::sign::SingleCertAndKey::from((*own.key).clone());
                config.with_client_cert_resolver(Arc::new(resolver))
            }
            None => config.with_no_client_auth(),
        };
        match sni {
            Ok(sni) if problems.is_empty() => {
                let sessions = Arc::new(Sessions::new());
                let offering = |offer: Offer| {
                    let mut config = config.clone();
                    config.alpn_protocols = offer.ids();
                    config.max_fragment_size = Some(RECORD);
                    config.resumption = Resumption::store(sessions.clone());
                    Arc::new(config)
                };
                let configs = Offer::ALL.map(offering);
                Ok(Self { configs, sni, verifier, sessions, own })
            }
            _ => Err(problems),
        }
    }

    /// What an operator should know of its files, though they are in force.
    pub fn notes(&self) -> Vec<String> {
        let Some(own) = &self.own else { return Vec::new() };
        own.notes().iter().map(Problem::to_string).collect()
    }

    /// Begins a handshake with the backend of an address.
    ///
    /// # Errors
    ///
    /// An address that is no name to verify.
    pub fn begin(&self, addr: &Addr, offer: Offer) -> Result<ClientConnection, String> {
        let name = self.name(addr)?;
        let connection = ClientConnection::new(self.configs[offer as usize].clone(), name);
        connection.map_err(|error| error.to_string())
    }

    /// Whether a session was resumed whose backend would not be believed any more: the certificate
    /// it showed when it began has run out. Then none is resumed any more: the next handshake is a
    /// whole one, in which the backend shows what it has now.
    pub fn is_stale(&self, connection: &Connection, addr: &Addr) -> bool {
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let shown = connection.peer_certificates().filter(|_| is_resumed);
        let Some(all @ [leaf, rest @ ..]) = shown else { return false };
        if are_good(all) {
            return false;
        }
        // What has run out may be one that nobody needs.
        let judge = |name| {
            self.verifier.verify_server_cert(leaf, rest, &name, &[], UnixTime::now()).is_err()
        };
        let is_stale = self.name(addr).is_ok_and(judge);
        if is_stale {
            self.sessions.forget();
        }
        is_stale
    }

    fn name(&self, addr: &Addr) -> Result<ServerName<'static>, String> {
        self.sni.clone().map_or_else(|| name(addr), Ok)
    }
}

fn name(addr: &Addr) -> Result<ServerName<'static>, String> {
    let unusable = |what: &str| format!("{what} is no name to verify: write sni");
    match addr {
        Addr::Ip(addr) => Ok(ServerName::IpAddress(IpAddr::from(addr.ip()))),
        Addr::Host(host, _) => ServerName::try_from(host.to_string()).map_err(|_| unusable(host)),
        Addr::Unix(path) => Err(unusable(&path.display().to_string())),
    }
}

/// Who judges what backends show.
fn verifier(
    said: &PoolTls,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Problem> {
    if !said.verify {
        return Ok(Arc::new(Anybody(provider)));
    }
    let roots = Arc::new(roots(said)?);
    let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
    let wrong = |error: rustls::client::VerifierBuilderError| {
        Problem::new(&said.at, &*said.key, error.to_string())
    };
    Ok(built.map_err(wrong)?)
}

fn roots(said: &PoolTls) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &said.ca {
        for (at, root) in chain(file)?.into_iter().enumerate() {
            roots.add(root).map_err(|error| {
                wrong(file, &format!("certificate {} of it vouches for nobody: {error}", at + 1))
            })?;
        }
        return Ok(roots);
    }
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        let none = Problem::new(&said.at, &*said.key, "this machine trusts nobody");
        return Err(none.hint("install Debian's ca-certificates, or name a ca_file"));
    }
    Ok(roots)
}

/// Lets anybody be anybody (`verify = false`); what is signed is still verified.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

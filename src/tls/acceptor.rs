//! The side that is called: a listener's TLS.
use super::by_name::{ByName, Choice};
use super::der::common_name;
use super::identity::{Identity, Shown, chain, shown, wrong};
use super::provider::{LASTING, RECORD, lasting, provider};
use super::resumption::{Judged, are_good};
use super::staple::Stapled;
use super::tickets;
use crate::config::{Blob, Clients, ListenerTls, Problem, TlsVersion};
use rustls::server::{
    Accepted, AcceptedAlert, ClientHello, NoServerSessionStorage, ProducesTickets,
    ServerConnection, WebPkiClientVerifier,
};
use rustls::{HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::sync::{Arc, OnceLock};

/// What a listener's handshakes need.
#[derive(Debug)]
pub struct Acceptor {
    said: ListenerTls,
    config: Arc<ServerConfig>,
    /// For clients that know [`LASTING`]: left to itself the library goes by their order.
    lasting: Option<Arc<ServerConfig>>,
    names: Arc<ByName>,
    tickets: Arc<dyn ProducesTickets>,
}

/// A handshake that was begun.
#[derive(Debug)]
pub struct Begun {
    /// The connection.
    pub connection: ServerConnection,
    /// The certificate it is made with, where the connection is for its names only: where clients are
    /// asked for certificates, what they prove is for those.
    pub only: Option<Arc<Identity>>,
}

/// What a client's certificate says, ready for the fields of requests: visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "names say it")]
pub struct Client {
    pub subject: String,
    pub issuer: String,
    pub serial: String,
    /// SHA-256 of the certificate, hexadecimal.
    pub fingerprint: String,
    /// Its DNS names, with commas between.
    pub names: String,
}

impl Acceptor {
    /// Judges every file. What was in force before is kept where nothing is said of it: an equal
    /// table is the same acceptor, and tickets stay good as long as what is asked of clients does.
    /// Returns what an operator should know besides.
    ///
    /// # Errors
    ///
    /// Every problem.
    pub fn new(
        said: &ListenerTls,
        before: Option<&Arc<Self>>,
    ) -> Result<(Arc<Self>, Vec<String>), Vec<Problem>> {
        if let Some(same) = before.filter(|before| before.said == *said) {
            return Ok((same.clone(), same.notes()));
        }
        let mut problems = Vec::new();
        let mut identities = Vec::new();
        for pair in &said.certificates {
            match Identity::new(pair) {
                Ok(identity) => {
                    // Where it was in force, or nothing was, it is better than none.
                    let known = before.is_none_or(|b| b.said.certificates.contains(pair));
                    problems.extend(identity.untimely().filter(|_| !known));
                    identities.push(Arc::new(identity));
                }
                Err(problem) => problems.push(problem),
            }
        }
        let tickets = match &said.tickets {
            Some(file) => tickets::of_file(file, said.clients.as_ref())
                .map_err(|problem| problems.push(problem))
                .ok(),
            None => before
                .filter(|before| {
                    before.said.clients == said.clients && before.said.tickets.is_none()
                })
                .map(|before| before.tickets.clone())
                .or_else(tickets::own),
        };
        let clients = said.clients.as_ref().map(verifier).transpose();
        let clients = clients.map_err(|problem| problems.push(problem)).unwrap_or_default();
        let Some(tickets) = tickets.filter(|_| problems.is_empty()) else { return Err(problems) };
        let names = Arc::new(ByName::new(identities));
        let versions: &[_] = match said.min_version {
            TlsVersion::V12 => rustls::ALL_VERSIONS,
            TlsVersion::V13 => &[&rustls::version::TLS13],
        };
        let ticketer = match &clients {
            Some(_) => Arc::new(Judged(tickets.clone())),
            None => tickets.clone(),
        };
        let config = |provider, versions: &[&'static SupportedProtocolVersion]| {
            let config = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(versions)
                .expect("each provider has both versions");
            let config = match &clients {
                Some(verifier) => config.with_client_cert_verifier(verifier.clone()),
                None => config.with_no_client_auth(),
            };
            let mut config = config.with_cert_resolver(names.clone());
            config.alpn_protocols = said.alpn.iter().map(|alpn| alpn.id().to_vec()).collect();
            config.ticketer = ticketer.clone();
            config.max_fragment_size = Some(RECORD);
            // Tickets are enough: what is remembered here would be remembered for each client.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            Arc::new(config)
        };
        let lasting = lasting().map(|provider| config(provider, &[&rustls::version::TLS13]));
        let config = config(provider(), versions);
        let made = Arc::new(Self { said: said.clone(), config, lasting, names, tickets });
        let notes = made.notes();
        Ok((made, notes))
    }

    /// What an operator should know of its certificates, though they are in force.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (at, one) in self.identities().iter().enumerate() {
            let mut before = self.identities()[..at].iter();
            if let Some((name, other)) = before.find_map(|b| Some((one.behind(b)?, b))) {
                let other = other.said.cert.path.display();
                let what = format!(
                    "no client that asks for {name} gets it: {other} stands before it, with a key of the same kind"
                );
                notes.push(wrong(&one.said.cert, &what).to_string());
            }
            let staple = one.stapled.as_ref().and_then(Stapled::note);
            let nameless = one.nameless().filter(|_| self.said.clients.is_some());
            let said = one.notes().into_iter().chain(nameless).chain(staple);
            notes.extend(said.map(|problem| problem.to_string()));
        }
        let tickets = self.said.tickets.as_ref().and_then(Blob::caution);
        notes.extend(tickets.map(|problem| problem.to_string()));
        notes
    }

    /// Answers a hello.
    ///
    /// # Errors
    ///
    /// What TLS says where nothing can be agreed on.
    pub fn begin(&self, hello: Accepted) -> Result<Begun, (rustls::Error, AcceptedAlert)> {
        let lasting = self.lasting.as_ref().filter(|_| can_last(&hello.client_hello()));
        let config = lasting.unwrap_or(&self.config);
        if self.said.clients.is_none() {
            let connection = hello.into_connection(config.clone())?;
            return Ok(Begun { connection, only: None });
        }
        // Which one is shown the library tells nobody but who chooses it.
        let choice = Arc::new(Choice { names: self.names.clone(), shown: OnceLock::new() });
        let mut config = ServerConfig::clone(config);
        config.cert_resolver = choice.clone();
        let connection = hello.into_connection(Arc::new(config))?;
        Ok(Begun { connection, only: choice.shown.get().cloned() })
    }

    /// Its certificates, in the order they were said.
    pub fn identities(&self) -> &[Arc<Identity>] {
        &self.names.all
    }

    /// Those that a client that asks for `name` (`None`: for none) may be shown.
    #[cfg(test)]
    pub(super) fn of(&self, name: Option<&str>) -> Vec<&Identity> {
        self.names.of(name).map(|one| &**one).collect()
    }

    /// Whether what a client shows, or showed when its session began, is good still. A ticket is
    /// judged before it is taken; here in the end it counts.
    pub fn is_good(&self, connection: &rustls::Connection) -> bool {
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        !is_resumed || connection.peer_certificates().is_none_or(are_good)
    }

    /// The common name of the certificate that a client showed, empty where that has none; `None`
    /// when it showed none.
    pub fn common_name(&self, connection: &rustls::Connection) -> Option<Box<[u8]>> {
        let leaf = connection.peer_certificates()?.first()?;
        common_name(leaf).map(Into::into)
    }

    /// What backends are told of a client: the fields, where they are told at all; `None` inside
    /// when it showed no certificate.
    pub fn client(&self, connection: &rustls::Connection) -> Option<Option<Client>> {
        let told = self.said.clients.as_ref().is_some_and(|clients| clients.headers);
        told.then(|| {
            let leaf = connection.peer_certificates()?.first()?;
            let Shown { facts, fingerprint, names } = shown(leaf)?;
            let (subject, issuer, serial) = (facts.subject, facts.issuer, facts.serial);
            Some(Client { subject, issuer, serial, fingerprint, names: names.join(",") })
        })
    }
}

/// Whether a client knows [`LASTING`], and the version of TLS that has it.
fn can_last(hello: &ClientHello<'_>) -> bool {
    use rustls::CipherSuite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let ours = [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    hello.named_groups().is_some_and(|groups| groups.contains(&LASTING))
        && hello.cipher_suites().iter().any(|suite| ours.contains(suite))
}

fn verifier(
    clients: &Clients,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Problem> {
    let mut roots = RootCertStore::empty();
    for (at, root) in chain(&clients.ca)?.into_iter().enumerate() {
        roots.add(root).map_err(|error| {
            wrong(&clients.ca, &format!("certificate {} of it vouches for nobody: {error}", at + 1))
        })?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let verifier = if clients.required { verifier } else { verifier.allow_unauthenticated() };
    let built = verifier.build();
    built.map_err(|error| wrong(&clients.ca, &error.to_string()))
}

//! TLS 1.3 handshakes for the load harness, on connections that carry nothing else: clients that each
//! have one under way, as fast as it goes or at a fixed rate.
//!
//! A handshake counts when the server's ticket came, for only then is it over on both sides; one that
//! was not of the wanted kind is an error. Everybody gets the same offer: X25519 and AES-128-GCM. The
//! certificate is not looked at, which would be work of ours alone.
//!
//! `openssl s_time` could not be it: without a request it never reads the ticket of TLS 1.3, so its
//! `-reuse` resumes nothing; with one the request is measured too; and it has one connection at a time.
//!
//! Usage: handshakes ADDR CLIENTS RATE SECONDS full|resumed (RATE 0: as fast as it goes)
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind};
use rustls::{NamedGroup, SignatureScheme};
use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A server that says nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Tally {
    done: u64,
    other_kind: u64,
    broken: u64,
    micros: Vec<u32>,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, addr, clients, rate, seconds, kind] = &args[..] else {
        eprintln!("usage: handshakes ADDR CLIENTS RATE SECONDS full|resumed");
        std::process::exit(2);
    };
    let clients: u32 = clients.parse().expect("a number of clients");
    let rate: f64 = rate.parse().expect("handshakes per second");
    let time = Duration::from_secs_f64(seconds.parse().expect("seconds"));
    let step = if rate > 0.0 {
        Duration::from_secs_f64(f64::from(clients) / rate)
    } else {
        Duration::ZERO
    };
    let start = Instant::now();
    let threads: Vec<_> = (0..clients)
        .map(|index| {
            let client = Client::new(addr, kind == "resumed");
            let due = start + step.mul_f64(f64::from(index) / f64::from(clients));
            std::thread::spawn(move || client.drive(due, step, start + time))
        })
        .collect();
    let mut all = Tally::default();
    for thread in threads {
        let one = thread.join().expect("no client panics");
        all.done += one.done;
        all.other_kind += one.other_kind;
        all.broken += one.broken;
        all.micros.extend(one.micros);
    }
    all.micros.sort_unstable();
    let at = |share: f64| {
        all.micros.get((all.micros.len() as f64 * share) as usize).copied().unwrap_or(0)
    };
    println!(
        "{{\"requests\":{},\"seconds\":{:.6},\"status\":{},\"socket\":{},\"timeout\":0,\"p50\":{},\"p99\":{},\"max\":{}}}",
        all.done,
        start.elapsed().as_secs_f64(),
        all.other_kind,
        all.broken,
        at(0.5),
        at(0.99),
        all.micros.last().copied().unwrap_or(0)
    );
}

/// One client, with the tickets it got.
struct Client {
    addr: String,
    config: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
}

impl Client {
    /// One that resumes what its last handshake left, or that has nothing to resume.
    fn new(addr: &str, resumes: bool) -> Self {
        let mut provider = ClientConfig::builder().crypto_provider().as_ref().clone();
        provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
        provider
            .cipher_suites
            .retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
        let tickets = Arc::new(Tickets { resumes, last: Mutex::new(None) });
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::store(tickets.clone());
        Self { addr: addr.to_owned(), config: Arc::new(config), tickets }
    }

    fn drive(&self, mut due: Instant, step: Duration, end: Instant) -> Tally {
        let mut tally = Tally::default();
        let wanted =
            if self.tickets.resumes { HandshakeKind::Resumed } else { HandshakeKind::Full };
        // The first ticket is of a full handshake, which does not count.
        if self.tickets.resumes && self.handshake().is_err() {
            tally.broken += 1;
        }
        while due < end {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            match self.handshake() {
                Ok(kind) if kind == wanted => tally.done += 1,
                Ok(_) => tally.other_kind += 1,
                Err(error) => {
                    eprintln!("{error}");
                    tally.broken += 1;
                }
            }
            tally.micros.push(due.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
            due = if step.is_zero() { Instant::now() } else { due + step };
        }
        tally
    }

    /// From connect to the server's close: both sides have ended in order.
    fn handshake(&self) -> std::io::Result<HandshakeKind> {
        let mut tcp = TcpStream::connect(&self.addr)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
        let mut tls =
            ClientConnection::new(self.config.clone(), name).map_err(std::io::Error::other)?;
        // A ticket is given away as the hello is made: what is there later was sent by this server.
        self.tickets.forget();
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        while !self.tickets.came() {
            if tls.read_tls(&mut tcp)? == 0 {
                return Err(std::io::Error::other("closed before the ticket"));
            }
            tls.process_new_packets().map_err(std::io::Error::other)?;
        }
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(&mut tcp)?;
        }
        tcp.shutdown(Shutdown::Write)?;
        while tcp.read(&mut [0; 1024])? > 0 {}
        tls.handshake_kind().ok_or_else(|| std::io::Error::other("no handshake"))
    }
}

/// The last ticket that came, given away only by who resumes.
struct Tickets {
    resumes: bool,
    last: Mutex<Option<Tls13ClientSessionValue>>,
}

impl Tickets {
    fn last(&self) -> MutexGuard<'_, Option<Tls13ClientSessionValue>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn came(&self) -> bool {
        self.last().is_some()
    }
    fn forget(&self) {
        *self.last() = None;
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        *self.last() = Some(ticket);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if self.resumes { self.last().take() } else { None }
    }
}

#[derive(Debug)]
struct Anybody;

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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

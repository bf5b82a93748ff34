//! A session is resumed for as long as what was shown in it is good: at a resumption nobody shows a
//! certificate, and the library judges none again.
use super::der::{Span, validity};
use arc_swap::ArcSwap;
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ProducesTickets;
use std::sync::Arc;

/// Sessions with backends that are remembered, eight of each name: the library's own number.
const SESSIONS: usize = 256;

/// Whether each of these is good now.
pub(super) fn are_good(shown: &[CertificateDer<'_>]) -> bool {
    shown.iter().all(|one| is_good(one))
}

fn is_good(certificate: &[u8]) -> bool {
    validity(certificate).is_some_and(Span::is_now)
}

/// Tickets that open nothing once what the client showed has run out: it is asked for it again, as
/// by a first handshake.
#[derive(Debug)]
pub(super) struct Judged(pub(super) Arc<dyn ProducesTickets>);

impl ProducesTickets for Judged {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }
    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }
    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let plain = self.0.decrypt(ticket)?;
        shown(&plain)?.iter().all(|one| is_good(one)).then_some(plain)
    }
}

/// What the client of a session showed, read as the library writes a session down; `None` where it
/// is written in another way.
fn shown(session: &[u8]) -> Option<Vec<&[u8]>> {
    let rest = &mut &session[..];
    // The name that was asked for.
    if flag(rest)? {
        vector(rest, 1)?;
    }
    // Version, suite, secret, and whether it was extended.
    take(rest, 4)?;
    vector(rest, 1)?;
    take(rest, 1)?;
    let mut all = Vec::new();
    if flag(rest)? {
        let mut chain = vector(rest, 3)?;
        while !chain.is_empty() {
            all.push(vector(&mut chain, 3)?);
        }
    }
    Some(all)
}

fn flag(rest: &mut &[u8]) -> Option<bool> {
    match take(rest, 1)? {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

/// Bytes behind their number, which has `digits` bytes.
fn vector<'a>(rest: &mut &'a [u8], digits: usize) -> Option<&'a [u8]> {
    let len = take(rest, digits)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    take(rest, len)
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(n)?;
    *rest = behind;
    Some(taken)
}

/// Sessions with backends, all to be forgotten at once.
#[derive(Debug)]
pub(super) struct Sessions(ArcSwap<ClientSessionMemoryCache>);

impl Sessions {
    pub(super) fn new() -> Self {
        Self(ArcSwap::from_pointee(ClientSessionMemoryCache::new(SESSIONS)))
    }

    pub(super) fn forget(&self) {
        self.0.store(Arc::new(ClientSessionMemoryCache::new(SESSIONS)));
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.load().set_kx_hint(name, group);
    }
    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.load().kx_hint(name)
    }
    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.0.load().set_tls12_session(name, session);
    }
    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.load().tls12_session(name)
    }
    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.0.load().remove_tls12_session(name);
    }
    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.load().insert_tls13_ticket(name, ticket);
    }
    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.load().take_tls13_ticket(name)
    }
}

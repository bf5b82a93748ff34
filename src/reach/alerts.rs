//! What a backend has against us, said by an alert of TLS: in a handshake, or, of our certificate with
//! TLS 1.3, behind it (RFC 8446 4.4.2.4).
use crate::config::{Addr, Name};
use crate::net::Early;
use rustls::{AlertDescription, Error};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A pool says so often at most that its backends end new connections: each request would say it
/// again.
const PAUSE: Duration = Duration::from_secs(10);

/// What TLS had against a connection, in words; `None` where it was not TLS that failed.
pub fn alert(error: &io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<Error>().map(words)
}

/// What a backend had against our certificate, in words: with TLS 1.3 that is heard behind the
/// handshake, which came about on our side alone. It has looked at nothing that was sent since.
pub fn refused_us(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    about_us(error).map(|_| words(error))
}

fn words(error: &Error) -> String {
    match about_us(error) {
        Some(why) => format!("the backend refused our certificate: {why}"),
        None => error.to_string(),
    }
}

fn about_us(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::AlertReceived(AlertDescription::BadCertificate) => "bad certificate",
        Error::AlertReceived(AlertDescription::UnsupportedCertificate) => "unsupported certificate",
        Error::AlertReceived(AlertDescription::CertificateRevoked) => "certificate revoked",
        Error::AlertReceived(AlertDescription::CertificateExpired) => "certificate expired",
        Error::AlertReceived(AlertDescription::CertificateUnknown) => "certificate unknown",
        Error::AlertReceived(AlertDescription::UnknownCA) => "unknown authority",
        Error::AlertReceived(AlertDescription::AccessDenied) => "access denied",
        Error::AlertReceived(AlertDescription::CertificateRequired) => "certificate required",
        _ => return None,
    })
}

/// What the backends of a pool say behind handshakes.
#[derive(Debug)]
pub(super) struct Alerts {
    pool: Name,
    said: Mutex<Option<Instant>>,
    unsaid: AtomicU64,
}

impl Alerts {
    pub(super) fn new(pool: &Name) -> Self {
        Self { pool: pool.clone(), said: Mutex::default(), unsaid: AtomicU64::new(0) }
    }

    /// Those of a new connection to this backend.
    pub(super) fn of(all: &Arc<Self>, addr: &Addr) -> Box<dyn Early> {
        Box::new(Connected { all: all.clone(), addr: addr.clone() })
    }

    /// How many were not said since the last one, if this one may be.
    fn may_say(&self, now: Instant) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_some_and(|said| now.duration_since(said) < PAUSE) {
            self.unsaid.fetch_add(1, Relaxed);
            return None;
        }
        *said = Some(now);
        Some(self.unsaid.swap(0, Relaxed))
    }
}

#[derive(Debug)]
struct Connected {
    all: Arc<Alerts>,
    addr: Addr,
}

impl Early for Connected {
    fn ended(&self, alert: &Error) {
        if let Some(unsaid) = self.all.may_say(Instant::now()) {
            tracing::warn!(pool = %self.all.pool, backend = %self.addr, unsaid,
                detail = %format_args!("TLS: {}", words(alert)), "a new connection was ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_it_and_counts_those_that_it_stands_for() {
        let (alerts, now) = (Alerts::new(&Name::new("app").unwrap()), Instant::now());
        assert_eq!(alerts.may_say(now), Some(0));
        assert_eq!(alerts.may_say(now + PAUSE / 2), None);
        assert_eq!(alerts.may_say(now + PAUSE / 2), None);
        assert_eq!(alerts.may_say(now + PAUSE), Some(2));
    }

    #[test]
    fn alerts_about_a_certificate_are_about_ours() {
        let of = |error: Error| alert(&io::Error::new(io::ErrorKind::InvalidData, error));
        let required = of(Error::AlertReceived(AlertDescription::CertificateRequired)).unwrap();
        assert_eq!(required, "the backend refused our certificate: certificate required");
        let other = of(Error::AlertReceived(AlertDescription::ProtocolVersion)).unwrap();
        assert!(other.contains("ProtocolVersion"), "{other}");
        let refused = |alert| {
            let error = Error::AlertReceived(alert);
            refused_us(&io::Error::new(io::ErrorKind::InvalidData, error)).is_some()
        };
        assert!(refused(AlertDescription::CertificateRequired));
        assert!(!refused(AlertDescription::ProtocolVersion));
        assert_eq!(alert(&io::ErrorKind::InvalidData.into()), None);
    }
}

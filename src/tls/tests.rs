//! Certificates as real ones are made, good and bad.
use super::acceptor::Acceptor;
use super::der;
use super::identity::{Identity, chain};
use super::tickets;
use crate::config::{Blob, Certificate, Clients, ListenerTls, TlsVersion};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::CertificateDer;

/// A file of the configuration.
fn blob(name: &str, bytes: &[u8]) -> Blob {
    let text = "[listener.x]\nbind = \"127.0.0.1:1\"\npool = \"a\"\n[pool.a]\nbackends = []\n";
    let config = crate::config::parse(text, "proxy.toml".as_ref()).unwrap();
    Blob {
        path: name.into(),
        key: format!("tls.{name}"),
        at: config.pools["a"].at.clone(),
        bytes: bytes.into(),
        is_public: false,
    }
}

struct Made {
    pair: Certificate,
    der: CertificateDer<'static>,
}

fn make(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Made {
    sign(names, KeyPair::generate().unwrap(), change)
}

fn make_with(names: &[&str], key: KeyPair) -> Made {
    sign(names, key, |_| {})
}

fn sign(names: &[&str], key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Made {
    let names: Vec<String> = names.iter().map(|name| (*name).to_string()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let cert = params.self_signed(&key).unwrap();
    let pair = Certificate {
        cert: blob("cert.pem", cert.pem().as_bytes()),
        key: blob("key.pem", key.serialize_pem().as_bytes()),
        ocsp: None,
    };
    Made { pair, der: cert.der().clone() }
}

fn listener(pairs: &[&Made]) -> ListenerTls {
    ListenerTls {
        certificates: pairs.iter().map(|made| made.pair.clone()).collect(),
        alpn: Vec::new(),
        min_version: TlsVersion::V12,
        clients: None,
        tickets: None,
    }
}

#[test]
fn facts_are_what_the_certificate_says() {
    let made = make(&["a.test"], |params| {
        params.serial_number = Some(vec![0xab, 0x01].into());
        params.not_before = rcgen::date_time_ymd(1999, 12, 31);
        params.not_after = rcgen::date_time_ymd(2096, 2, 29);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "A, B \u{e4} #1");
        params.distinguished_name.push(DnType::CommonName, " x\r\ny ");
    });
    let facts = der::facts(&made.der).unwrap();
    assert_eq!(facts.serial, "AB01");
    assert_eq!((facts.good.from, facts.good.until), (946_598_400, 3_981_312_000));
    assert_eq!(der::validity(&made.der), Some(facts.good));
    assert_eq!(facts.subject, "CN=\\ x\\0D\\0Ay\\ ,O=A\\, B \\C3\\A4 #1,C=DE");
    assert_eq!(facts.issuer, facts.subject);
    // Whatever is cut off or turned, nothing panics, and a prefix is never a certificate.
    for end in 0..made.der.len() {
        assert_eq!(der::facts(&made.der[..end]), None);
        let mut turned = made.der.to_vec();
        turned[end] ^= 0x55;
        let _ = (der::facts(&turned), der::parties(&turned), der::parties(&made.der[..end]));
    }
    let parties = der::parties(&made.der).unwrap();
    assert_eq!(parties.issuer, parties.subject);
}

#[test]
fn a_pair_that_does_not_fit_is_refused_with_its_file() {
    let (one, two) = (make(&["a.test"], |_| {}), make(&["a.test"], |_| {}));
    let said = |pair: Certificate| Identity::new(&pair).unwrap_err().to_string();
    let other = Certificate { key: two.pair.key.clone(), ..one.pair.clone() };
    assert!(said(other).contains("tls.key.pem: key.pem: is not the key of cert.pem"));
    let garbage = |bytes: &[u8]| Certificate { cert: blob("c.pem", bytes), ..one.pair.clone() };
    assert!(said(garbage(b"")).contains("c.pem: nothing in it begins with -----BEGIN CERTIFICATE"));
    let swapped = Certificate { key: one.pair.cert.clone(), ..one.pair.clone() };
    assert!(said(swapped).contains("nothing in it begins with -----BEGIN PRIVATE KEY"));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(said(garbage(broken)).contains("certificate 1 of it does not parse"));
    assert!(chain(&blob("ca.pem", broken)).is_err());
}

#[test]
fn certificates_are_found_by_name() {
    let all = [
        make(&["first.test"], |_| {}),
        make(&["a.test", "*.a.test"], |_| {}),
        make(&["x.a.test"], |_| {}),
    ];
    let (acceptor, notes) = Acceptor::new(&listener(&all.each_ref()), None).unwrap();
    assert!(notes.is_empty());
    let found = |name: Option<&str>| {
        let first = acceptor.of(name)[0];
        acceptor.identities().iter().position(|one| std::ptr::eq(&**one, first)).unwrap()
    };
    for (name, at) in [
        (None, 0),
        (Some("unknown.test"), 0),
        (Some("a.test"), 1),
        (Some("A.Test"), 1),
        (Some("a.test."), 1),
        (Some("x.a.test."), 2),
        (Some("b.a.test"), 1),
        (Some("x.a.test"), 2),
        // A wildcard stands for one label (RFC 9525 6.3).
        (Some("c.b.a.test"), 0),
    ] {
        assert_eq!(found(name), at, "{name:?}");
    }
}

#[test]
fn who_cannot_use_the_most_exact_one_gets_the_next() {
    let all = [
        make(&["first.test"], |_| {}),
        make(&["second.test", "first.test"], |_| {}),
        make(&["*.a.test"], |_| {}),
        make(&["x.a.test"], |_| {}),
    ];
    let (acceptor, _) = Acceptor::new(&listener(&all.each_ref()), None).unwrap();
    let of = |name: Option<&str>| -> Vec<&str> {
        acceptor.of(name).iter().map(|one| one.names[0].as_str()).collect()
    };
    assert_eq!(of(Some("x.a.test")), ["x.a.test", "*.a.test", "first.test", "second.test"]);
    assert_eq!(of(Some("y.a.test")), ["*.a.test", "first.test", "second.test"]);
    assert_eq!(of(Some("second.test")), ["second.test", "first.test", "second.test"]);
    assert_eq!(of(None), ["first.test", "second.test"]);
}

#[test]
fn addresses_are_names_too() {
    let made = make(&["192.0.2.7", "a.test", "2001:db8::1"], |_| {});
    let (acceptor, _) = Acceptor::new(&listener(&[&made]), None).unwrap();
    let one = &acceptor.identities()[0];
    assert_eq!(one.names, ["a.test", "192.0.2.7", "2001:db8::1"]);
    assert_eq!(one.label, "a.test");
    for host in ["a.test", "192.0.2.7", "2001:db8::1", "[2001:db8::1]", "[2001:db8:0:0::1]"] {
        assert!(one.covers(host), "{host}");
    }
    // No wildcard stands for a part of an address.
    for host in ["192.0.2.8", "192.0.2.9", "[2001:db8::2]", "[a.test]"] {
        assert!(!one.covers(host), "{host}");
    }
    let lone = make(&["192.0.2.7"], |_| {});
    assert_eq!(der::addresses(&lone.der), ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]);
    for end in 0..made.der.len() {
        let mut turned = made.der.to_vec();
        turned[end] ^= 0x55;
        let _ = (der::addresses(&turned), der::addresses(&made.der[..end]));
    }
}

#[test]
fn a_second_pair_of_one_name_is_for_another_kind_of_key_or_for_nobody() {
    let rsa = |names: &[&str]| {
        let size = rcgen::RsaKeySize::_2048;
        make_with(names, KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap())
    };
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let apart = [make(&["a.test"], |_| {}), rsa(&["a.test"]), make_with(&["a.test"], p384)];
    assert!(Acceptor::new(&listener(&apart.each_ref()), None).unwrap().1.is_empty());
    let same = [make(&["a.test"], |_| {}), make(&["b.test", "a.test"], |_| {}), rsa(&["a.test"])];
    let notes = Acceptor::new(&listener(&same.each_ref()), None).unwrap().1;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("no client that asks for a.test gets it: cert.pem"), "{notes:?}");
}

#[test]
fn one_that_expired_is_refused_where_it_is_new() {
    let old = make(&["a.test"], |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let new = make(&["new.test"], |_| {});
    // Nothing was in force: better than none.
    let (running, notes) = Acceptor::new(&listener(&[&old]), None).unwrap();
    assert!(notes[0].contains("cert.pem: it has expired"), "{notes:?}");
    // It was in force: other edits go on.
    let more = listener(&[&old, &new]);
    let (running, notes) = Acceptor::new(&more, Some(&running)).unwrap();
    assert_eq!(notes.len(), 1);
    // As long as it is there it is said, also where nothing of it was edited.
    assert_eq!(Acceptor::new(&more, Some(&running)).unwrap().1, notes);
    // It comes in place of another.
    let other = make(&["b.test"], |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let problems = Acceptor::new(&listener(&[&other]), Some(&running)).unwrap_err();
    assert!(problems[0].to_string().contains("it has expired; put a new one in its place"));
}

#[test]
fn one_of_the_future_is_refused_where_it_is_new() {
    let early =
        |names: &[&str]| make(names, |params| params.not_before = rcgen::date_time_ymd(2040, 1, 1));
    let (good, coming) = (make(&["a.test"], |_| {}), early(&["a.test"]));
    let (running, notes) = Acceptor::new(&listener(&[&good]), None).unwrap();
    assert!(notes.is_empty());
    let said = Acceptor::new(&listener(&[&coming]), Some(&running)).unwrap_err();
    let what = "cert.pem: it is not valid before 2040-01-01T00:00:00";
    assert!(said[0].to_string().contains(what), "{}", said[0]);
    // At a start there is nothing better.
    let (_, notes) = Acceptor::new(&listener(&[&coming]), None).unwrap();
    assert!(notes.len() == 1 && notes[0].contains(what), "{notes:?}");
    // So it is with those that signed it.
    let text = |made: &Made| String::from_utf8(made.pair.cert.bytes.to_vec()).unwrap();
    let chained = |made: &Made, other: &Made| Made {
        pair: Certificate {
            cert: blob("cert.pem", format!("{}{}", text(made), text(other)).as_bytes()),
            ..made.pair.clone()
        },
        der: made.der.clone(),
    };
    let chain = chained(&good, &early(&["ca.test"]));
    let said = Acceptor::new(&listener(&[&chain]), Some(&running)).unwrap_err();
    assert!(said[0].to_string().contains("certificate 2 of it is not valid before 2040"));
    let old = make(&["ca.test"], |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let chain = chained(&good, &old);
    let (_, notes) = Acceptor::new(&listener(&[&chain]), Some(&running)).unwrap();
    assert!(notes.len() == 1 && notes[0].contains("certificate 2 of it has expired"), "{notes:?}");
}

#[test]
fn shared_tickets_open_what_any_of_their_keys_sealed() {
    let keys: Vec<u8> = (0..240).map(|n| n as u8).collect();
    let of = |bytes: &[u8]| tickets::of_file(&blob("tickets.key", bytes), None);
    let all = of(&keys).unwrap();
    let sealed = all.encrypt(b"secret").unwrap();
    assert_ne!(all.encrypt(b"secret").unwrap(), sealed, "each by a nonce of its own");
    assert_eq!(all.decrypt(&sealed).unwrap(), b"secret");
    // The next generation: another key seals, the old one still opens.
    let turned = of(&[&keys[80..160], &keys[..80]].concat()).unwrap();
    assert_eq!(turned.decrypt(&sealed).unwrap(), b"secret");
    assert_eq!(of(&keys[80..]).unwrap().decrypt(&sealed), None);
    for at in 0..sealed.len() {
        let mut torn = sealed.clone();
        torn[at] ^= 1;
        assert_eq!(all.decrypt(&torn), None);
        assert_eq!(all.decrypt(&sealed[..at]), None);
    }
    // What is asked of clients is part of the key.
    let asks = |ca: &[u8], required| Clients { ca: blob("ca.pem", ca), required, headers: false };
    let made = |clients: &Clients| tickets::of_file(&blob("k", &keys), Some(clients)).unwrap();
    let strict = made(&asks(b"one", true));
    assert_eq!(made(&asks(b"one", true)).decrypt(&strict.encrypt(b"x").unwrap()).unwrap(), b"x");
    for other in [asks(b"one", false), asks(b"two", true)] {
        assert_eq!(strict.decrypt(&made(&other).encrypt(b"x").unwrap()), None);
    }
    assert_eq!(strict.decrypt(&sealed), None);
    for wrong in [0, 79, 81] {
        let said = of(&keys[..wrong]).unwrap_err().to_string();
        assert!(said.contains("are no keys of 80 bytes each; openssl rand"), "{said}");
    }
}

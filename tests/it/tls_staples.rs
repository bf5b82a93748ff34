//! What an authority says of a certificate comes with it (OCSP). Made and seen by openssl.
use crate::cli::{Process, check};
use crate::support::{Backend, Certs, until};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn openssl(args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).stdin(Stdio::null()).output();
    let output = output.expect("openssl: install Debian's package openssl");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A certificate `a` with this serial number.
fn certificate(serial: u8) -> Certs {
    let certs = Certs::new();
    certs.make_with("a", &["a.test"], |p| p.serial_number = Some(vec![serial].into()));
    // With who signed it.
    let all = ["a.pem", "ca.pem"].map(|name| std::fs::read(certs.path(name)).unwrap()).concat();
    std::fs::write(certs.path("a.pem"), all).unwrap();
    certs
}

/// What the authority says of serial number `serial`: `V` good, `R` revoked, `U` that it knows none;
/// for so many minutes.
fn response(certs: &Certs, serial: u8, word: &str, minutes: &str) -> Vec<u8> {
    let path = |name: &str| certs.path(name).display().to_string();
    let gone = if word == "R" { "250101000000Z" } else { "" };
    let known = if word == "U" { serial + 1 } else { serial };
    let word = if word == "U" { "V" } else { word };
    let line = format!("{word}\t991231235959Z\t{gone}\t{known:02X}\tunknown\t/CN=a\n");
    std::fs::write(certs.path("index.txt"), line).unwrap();
    let (ca, number) = (path("ca.pem"), serial.to_string());
    let (request, index, response) = (path("request"), path("index.txt"), path("response"));
    openssl(&["ocsp", "-no_nonce", "-issuer", &ca, "-serial", &number, "-reqout", &request]);
    // None of before counts for a new one.
    let _ = std::fs::remove_file(&response);
    let said = openssl(&[
        "ocsp",
        "-CA",
        &ca,
        "-rsigner",
        &ca,
        "-rkey",
        &path("ca.key"),
        "-index",
        &index,
        "-reqin",
        &request,
        "-nmin",
        minutes,
        "-respout",
        &response,
    ]);
    std::fs::read(response).unwrap_or_else(|_| panic!("{said}"))
}

fn put(file: &Path, bytes: &[u8]) {
    let new = file.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn words(backend: &Backend, certs: &Certs, port: u16, admin: u16) -> String {
    format!(
        "[admin]\nbind = \"127.0.0.1:{admin}\"\n[log]\naccess = {{ to = \"access.log\" }}\n\
         [listener.web]\nbind = \"127.0.0.1:{port}\"\npool = \"app\"\n\
         tls = {{ certificates = [{{ {}, ocsp = \"{}\" }}] }}\n\
         [pool.app]\nbackends = [\"{}\"]\n",
        certs.words("a"),
        certs.path("a.der").display(),
        backend.addr
    )
}

fn seen(process: &Process, version: &str) -> String {
    let addr = format!("127.0.0.1:{}", process.port);
    openssl(&["s_client", "-connect", &addr, "-servername", "a.test", "-status", version])
}

fn staple(certs: &Certs) -> PathBuf {
    certs.path("a.der")
}

#[test]
fn a_staple_is_handed_out_and_so_is_the_one_that_replaces_it() {
    let (backend, certs) = (Backend::named("one"), certificate(7));
    put(&staple(&certs), &response(&certs, 7, "V", "600"));
    let process = Process::serving(|port, admin| words(&backend, &certs, port, admin));
    for version in ["-tls1_2", "-tls1_3"] {
        let seen = seen(&process, version);
        assert!(seen.contains("OCSP Response Status: successful"), "{seen}");
        assert!(seen.contains("Cert Status: good"), "{seen}");
    }
    let until_when = |seen: &str| {
        let line = seen.lines().find_map(|line| line.trim().strip_prefix("Next Update: "));
        line.map(str::to_owned)
    };
    let first = until_when(&seen(&process, "-tls1_3"));
    put(&staple(&certs), &response(&certs, 7, "V", "900"));
    until("the new one is seen", || {
        let now = until_when(&seen(&process, "-tls1_3"));
        now.is_some() && now != first
    });
    // Garbled: refused, and the one before stays.
    let refused = || process.metric("evenkeel_config_reloads_total{result=\"failure\"}");
    assert_eq!(refused(), Some(0.0));
    put(&staple(&certs), b"garbage");
    until("it is refused", || refused() == Some(1.0));
    assert!(seen(&process, "-tls1_3").contains("Cert Status: good"));
    // What is no good word of this certificate, no client is shown.
    let other = certificate(7);
    for bad in [
        response(&certs, 8, "V", "600"),
        response(&other, 7, "V", "600"),
        response(&certs, 7, "R", "600"),
        response(&certs, 7, "U", "600"),
    ] {
        put(&staple(&certs), &bad);
        until("none is shown", || {
            seen(&process, "-tls1_3").contains("OCSP response: no response sent")
        });
        put(&staple(&certs), &response(&certs, 7, "V", "600"));
        until("the good one is seen", || seen(&process, "-tls1_2").contains("Cert Status: good"));
    }
    let said = process.end();
    for what in [
        "a.der: is no OCSP response in DER",
        "a.der: says nothing of this certificate",
        "a.der: is of another authority than the one that signed this certificate",
        "a.der: says that this certificate is revoked",
        "a.der: says that its authority does not know this certificate",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
}

#[test]
fn one_that_has_expired_is_not_handed_out_and_one_that_is_none_is_a_problem() {
    let (backend, certs) = (Backend::named("one"), certificate(7));
    // Of some year in the past: openssl writes none, so the year of one is written over.
    let good = response(&certs, 7, "V", "600");
    let mut old = good.clone();
    for at in 0..old.len() - 15 {
        if old[at..at + 2] == [0x18, 15] {
            old[at + 2..at + 6].copy_from_slice(b"2001");
        }
    }
    assert_ne!(old, good);
    put(&staple(&certs), &old);
    let process = Process::serving(|port, admin| words(&backend, &certs, port, admin));
    let seen = seen(&process, "-tls1_3");
    assert!(seen.contains("OCSP response: no response sent") && seen.contains("CN = a"), "{seen}");
    let said = process.end();
    assert!(said.contains("a.der: it has expired; clients get the certificate without"), "{said}");
    put(&staple(&certs), b"garbage");
    let bad = check(&words(&backend, &certs, 1, 2), &[]);
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert_eq!(bad.status.code(), Some(1), "{said}");
    assert!(said.contains("ocsp: ") && said.contains("a.der: is no OCSP response"), "{said}");
}

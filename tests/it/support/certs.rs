//! Certificates made for a test, as files of its own.
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::PathBuf;

/// An authority and what it signed, in a folder.
pub(crate) struct Certs {
    folder: tempfile::TempDir,
    ca: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Certs {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let cert = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), cert.pem()).unwrap();
        std::fs::write(folder.path().join("ca.key"), key.serialize_pem()).unwrap();
        Self { folder, ca: cert.der().clone(), issuer: Issuer::new(params, key) }
    }
    /// The authority's own certificate; also in `ca.pem`.
    pub(crate) fn ca(&self) -> rustls::pki_types::CertificateDer<'static> {
        self.ca.clone()
    }
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    /// A server of another kind than ours that shows `NAME.pem`.
    pub(crate) fn server(&self, name: &str) -> rustls::ServerConfig {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
        let at = |end: &str| self.path(&format!("{name}.{end}"));
        let chain = vec![CertificateDer::from_pem_file(at("pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(at("key")).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }
    /// Signs `NAME.pem` with `NAME.key` for these DNS names.
    pub(crate) fn make(&self, name: &str, hosts: &[&str]) -> &Self {
        self.make_with(name, hosts, |_| {})
    }
    pub(crate) fn make_with(
        &self,
        name: &str,
        hosts: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> &Self {
        self.sign(name, hosts, &KeyPair::generate().unwrap(), change)
    }
    /// As `make`, with a key of RSA.
    pub(crate) fn make_rsa(&self, name: &str, hosts: &[&str]) -> &Self {
        let size = rcgen::RsaKeySize::_2048;
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap();
        self.sign(name, hosts, &key, |_| {})
    }
    fn sign(
        &self,
        name: &str,
        hosts: &[&str],
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> &Self {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_string()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let cert = params.signed_by(key, &self.issuer).unwrap();
        // As a careful hand does it: a new file, renamed over the old one.
        for (end, text) in [("pem", cert.pem()), ("key", key.serialize_pem())] {
            let new = self.path(&format!("{name}.{end}.new"));
            std::fs::write(&new, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&new, mode).unwrap();
            std::fs::rename(new, self.path(&format!("{name}.{end}"))).unwrap();
        }
        self
    }
    /// The words `cert = …, key = …` of one.
    pub(crate) fn words(&self, name: &str) -> String {
        let path = |end: &str| self.path(&format!("{name}.{end}")).display().to_string();
        format!("cert = \"{}\", key = \"{}\"", path("pem"), path("key"))
    }
    /// A tls table with these certificates and `more`.
    pub(crate) fn table(&self, names: &[&str], more: &str) -> String {
        let all: Vec<String> =
            names.iter().map(|name| format!("{{ {} }}", self.words(name))).collect();
        format!("tls = {{ certificates = [{}]{more} }}", all.join(", "))
    }
}

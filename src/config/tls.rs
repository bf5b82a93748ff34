//! `listener.*.tls` and `pool.*.tls`. Certificates and keys are read here, with the words that name
//! them, so that an edited file is an edited configuration; the `tls` room judges them.
use super::addr;
use super::draft::Draft;
use super::model::Protocol;
use super::open;
use super::problem::{At, Problem, Wrong};
use super::table::{Item, Table};
use super::value::Kind;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of one such file: bundles of every authority in use have a few hundred KiB.
const MOST: usize = 4 << 20;
/// Bytes of all such files together: twenty thousand certificates with their chains and keys.
const TOTAL: usize = 128 << 20;

/// A file that the configuration names, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its path.
    pub path: PathBuf,
    /// The key that names it.
    pub key: String,
    /// Where it is named.
    pub at: At,
    /// What it says.
    pub bytes: Arc<[u8]>,
    /// Whether everybody on this machine may read it.
    pub is_public: bool,
}

impl Blob {
    /// What is to be said of a secret that is none.
    pub fn caution(&self) -> Option<Problem> {
        let what = format!("{}: everybody on this machine can read it", self.path.display());
        let said = Problem::new(&self.at, &*self.key, what);
        self.is_public.then(|| said.hint(format!("chmod o= {}", self.path.display())))
    }
}

impl std::fmt::Debug for Blob {
    /// Never its bytes: they may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.path.display(), self.bytes.len())
    }
}

/// `listener.*.tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one; the first is for clients that name none, or an unknown one.
    pub certificates: Vec<Certificate>,
    /// Protocols to agree on, the preferred first.
    pub alpn: Vec<Alpn>,
    /// The oldest version.
    pub min_version: TlsVersion,
    /// Clients that are asked for a certificate: who may have signed it, and what if there is none.
    pub clients: Option<Clients>,
    /// Keys of session tickets that several proxies share: the first for new ones.
    pub tickets: Option<Blob>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, PEM.
    pub cert: Blob,
    /// The key, PEM.
    pub key: Blob,
    /// A staple, DER (RFC 6960).
    pub ocsp: Option<Blob>,
}

/// `client_ca`, `client_auth`, `client_headers`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Who may have signed their certificates, PEM.
    pub ca: Blob,
    /// Whether who has none is turned away.
    pub required: bool,
    /// Whether backends are told about them.
    pub headers: bool,
}

/// A protocol above TLS (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `h2`
    H2,
    /// `http/1.1`
    Http11,
}

impl Alpn {
    /// As it is agreed on.
    pub fn id(self) -> &'static [u8] {
        match self {
            Self::H2 => b"h2",
            Self::Http11 => b"http/1.1",
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    V12,
    /// 1.3
    V13,
}

/// `pool.*.tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTls {
    /// Whether backends must prove who they are.
    pub verify: bool,
    /// Who may have signed their certificates, PEM; `None`: whom this machine trusts.
    pub ca: Option<Blob>,
    /// The name asked for and verified; `None`: that of each backend's address.
    pub sni: Option<String>,
    /// Our own certificate and its key.
    pub own: Option<Certificate>,
    /// The key of the table.
    pub key: String,
    /// Where it is said.
    pub at: At,
}

/// The `tls` of a listener.
pub(super) fn listener(
    item: &Item<'_>,
    protocol: Option<Protocol>,
    draft: &mut Draft,
) -> Option<ListenerTls> {
    // What a tcp listener carries its backends must speak: HTTP/2 is not promised for them.
    let usual = match protocol {
        Some(Protocol::Tcp) => vec![Alpn::Http11],
        _ => vec![Alpn::H2, Alpn::Http11],
    };
    item.table("listener.tls", |t| terminate(t, protocol, usual, draft)).flatten()
}

fn terminate(
    t: &mut Table<'_>,
    protocol: Option<Protocol>,
    usual: Vec<Alpn>,
    draft: &mut Draft,
) -> Option<ListenerTls> {
    let certificates = certificates(t, draft);
    let clients = clients(t, protocol, draft);
    let tickets = t.take("tickets_file").and_then(|item| blob(&item, draft));
    let alpn = t.take("alpn").map(|item| alpn(&item));
    let min_version = t.take("min_version").and_then(|item| {
        item.word("listener.tls.min_version", &[("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)])
    });
    Some(ListenerTls {
        certificates: certificates?,
        alpn: alpn.unwrap_or(usual),
        min_version: min_version.unwrap_or(TlsVersion::V12),
        clients,
        tickets,
    })
}

fn certificates(t: &mut Table<'_>, draft: &mut Draft) -> Option<Vec<Certificate>> {
    const EXAMPLE: &str = "write certificates = [{ cert = \"cert.pem\", key = \"key.pem\" }]";
    let Some(item) = t.take("certificates") else {
        t.missing(Wrong::new("says no certificates").hint(EXAMPLE));
        return None;
    };
    let all = item.array();
    if all.is_empty() && item.kind() == Kind::List {
        item.wrong(Wrong::new("an empty list is no certificate").hint(EXAMPLE));
    }
    let all: Vec<_> = all.iter().filter_map(|item| certificate(item, draft)).collect();
    (!all.is_empty()).then_some(all)
}

fn certificate(item: &Item<'_>, draft: &mut Draft) -> Option<Certificate> {
    let read = item.table("listener.tls.certificates", |t| {
        let ocsp = t.take("ocsp").and_then(|item| blob(&item, draft));
        let (cert, key) = pair(t, draft)?;
        Some(Certificate { cert, key, ocsp })
    });
    read.flatten()
}

/// `cert` and `key`: neither is of use alone.
fn pair(t: &mut Table<'_>, draft: &mut Draft) -> Option<(Blob, Blob)> {
    let [cert, key] = ["cert", "key"].map(|word| {
        let item = t.take(word);
        if item.is_none() {
            t.missing(Wrong::new(format!("says no {word}")));
        }
        item.and_then(|item| blob(&item, draft))
    });
    Some((cert?, key?))
}

fn clients(t: &mut Table<'_>, protocol: Option<Protocol>, draft: &mut Draft) -> Option<Clients> {
    let (ca, auth, headers) =
        (t.take("client_ca"), t.take("client_auth"), t.take("client_headers"));
    if let (Some(Protocol::Tcp), Some(item)) = (protocol, &headers) {
        let wrong = Wrong::new("means nothing to a tcp listener: no request carries such fields");
        item.key_wrong(
            wrong.hint("write send_proxy_protocol = \"v2\" in the pool: it tells of them"),
        );
    }
    let Some(ca) = ca else {
        for item in [auth, headers].into_iter().flatten() {
            item.key_wrong(
                Wrong::new("means nothing without client_ca")
                    .hint("write client_ca = \"ca.pem\": who may sign certificates of clients"),
            );
        }
        return None;
    };
    let required = auth.and_then(|item| {
        item.word("listener.tls.client_auth", &[("require", true), ("request", false)])
    });
    let headers = headers.and_then(|item| item.flag()).unwrap_or(false);
    let ca = blob(&ca, draft)?;
    Some(Clients { ca, required: required.unwrap_or(true), headers })
}

fn alpn(item: &Item<'_>) -> Vec<Alpn> {
    let words = [("h2", Alpn::H2), ("http/1.1", Alpn::Http11)];
    let mut all = Vec::new();
    for item in item.list() {
        let Some(alpn) = item.word("listener.tls.alpn", &words) else { continue };
        if all.contains(&alpn) {
            item.fault("is said twice");
        }
        all.push(alpn);
    }
    all
}

/// The `tls` of a pool: a table, or `true`.
pub(super) fn pool(item: &Item<'_>, draft: &mut Draft) -> Option<PoolTls> {
    let mut tls = PoolTls {
        verify: true,
        ca: None,
        sni: None,
        own: None,
        key: item.path.clone(),
        at: item.key_at(),
    };
    if item.kind() == Kind::Flag {
        return item.flag().filter(|on| *on).map(|_| tls);
    }
    item.table("pool.tls", |t| {
        tls.verify = t.take("verify").and_then(|item| item.flag()).unwrap_or(true);
        let ca = t.take("ca_file");
        if let (Some(item), false) = (&ca, tls.verify) {
            item.key_wrong(Wrong::new("contradicts verify = false: nobody is verified"));
        }
        tls.ca = ca.and_then(|item| blob(&item, draft));
        // One that is wrong was said all the same: nobody is asked for it once more.
        let sni = |item: Item<'_>| item.checked(addr::host_name).unwrap_or_default();
        tls.sni = t.take("sni").map(sni);
        if t.has("cert") || t.has("key") {
            tls.own = pair(t, draft).map(|(cert, key)| Certificate { cert, key, ocsp: None });
        }
        tls
    })
}

/// Reads a file that is named. It is watched, also where it cannot be read now.
pub(super) fn blob(item: &Item<'_>, draft: &mut Draft) -> Option<Blob> {
    let name = item.text()?;
    if name.is_empty() || name.contains('\0') {
        item.fault("names no file");
        return None;
    }
    let path = item.page.file.path(&name);
    if item.page.desk.files.is_some_and(|known| !known.names_blob(&path)) {
        item.wrong(withheld());
        return None;
    }
    draft.sources.file(path.clone());
    match read(&path, TOTAL.saturating_sub(draft.blob_bytes)) {
        Ok((bytes, is_public)) => {
            draft.sources.said(&path, Some(&bytes));
            draft.blob_bytes += bytes.len();
            let bytes = bytes.into();
            Some(Blob { path, key: item.path.clone(), at: item.at(), bytes, is_public })
        }
        Err(Wrong { what, hint }) => {
            draft.sources.said(&path, None);
            item.wrong(Wrong::new(format!("{}: {what}", path.display())).maybe(hint));
            None
        }
    }
}

/// A file that its author is told nothing of.
pub(super) fn withheld() -> Wrong {
    let what = "is no file that the configuration in force names in such a place";
    Wrong::new(what).hint("plan it by the Unix socket of the admin side, or with admin.token_file")
}

/// What a file says, and whether everybody may read it. `left`: bytes that may still be read.
fn read(path: &std::path::Path, left: usize) -> Result<(Vec<u8>, bool), Wrong> {
    let (file, meta) = open::open(path).map_err(|why| unopened(&why))?;
    let mut bytes = Vec::new();
    let most = MOST.min(left);
    let read = file.take(most as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Wrong::new(format!("cannot be read: {error}")))?;
    match bytes.len() > most {
        true if most == MOST => Err(Wrong::new("is larger than 4MiB")),
        true => Err(Wrong::new("is too large: 128MiB in all such files together is the limit")),
        false => Ok((bytes, meta.mode() & 0o004 != 0)),
    }
}

fn unopened(why: &open::Unopened) -> Wrong {
    let wrong = Wrong::new(why.to_string());
    match why {
        open::Unopened::Failed(error) if error.kind() == ErrorKind::PermissionDenied => wrong
            .hint("the user of this process must be able to: of root, for its group, chmod 640"),
        _ => wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_read_a_file_is_told_what_to_do() {
        let of = |kind: ErrorKind| unopened(&open::Unopened::Failed(kind.into())).hint;
        assert!(of(ErrorKind::PermissionDenied).unwrap().contains("chmod 640"));
        assert_eq!(of(ErrorKind::NotFound), None);
    }
}

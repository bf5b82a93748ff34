//! `pool.sticky`: a cookie that brings a client back to its backend.
use super::draft::Draft;
use super::field::is_token;
use super::hint::quoted;
use super::problem::Wrong;
use super::table::{Item, Table};
use super::tls::{Blob, blob};
use super::value::Kind;
use std::time::Duration;

/// A secret has at least so many bytes: fewer could be guessed.
const LEAST: usize = 16;

/// `pool.sticky`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// How long it is good for.
    pub ttl: Duration,
    /// What signs it: the first one; every one is believed. At least one.
    pub secrets: Vec<Blob>,
    /// From which sites it comes back.
    pub same_site: SameSite,
    /// Whether it comes back by TLS alone; `None`: where it was given by TLS.
    pub secure: Option<bool>,
}

/// `pool.sticky.same_site`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of the attribute")]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

/// Reads it.
pub(super) fn sticky(item: &Item<'_>, draft: &mut Draft) -> Option<Sticky> {
    item.table("pool.sticky", |t| read(t, draft)).flatten()
}

fn read(t: &mut Table<'_>, draft: &mut Draft) -> Option<Sticky> {
    let cookie = t.take("cookie").map_or(Some("evenkeel".into()), |item| item.checked(name));
    let ttl = t.take("ttl").map_or(Some(Duration::from_secs(3600)), |item| ttl(&item));
    let same_site = t.take("same_site").map_or(Some(SameSite::Lax), |item| {
        let words =
            [("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)];
        item.word("pool.sticky.same_site", &words)
    });
    let secure = t.take("secure");
    let said = secure.as_ref().and_then(|item| match item.kind() {
        Kind::Flag => item.flag(),
        _ => item.word("pool.sticky.secure", &[("auto", ())]).and(None),
    });
    if let (Some(SameSite::None), Some(false), Some(item)) = (same_site, said, &secure) {
        let wrong = Wrong::new("contradicts same_site = \"none\": no browser keeps such a cookie");
        item.key_wrong(wrong.hint("write secure = true"));
    }
    let prefixed = |name: &&String| {
        ["__host-", "__secure-"].iter().any(|p| name.to_ascii_lowercase().starts_with(p))
    };
    if let (Some(name), Some(false), Some(item)) = (cookie.as_ref().filter(prefixed), said, &secure)
    {
        let what = format!("contradicts {}: no browser keeps such a cookie", quoted(name));
        item.key_wrong(Wrong::new(what).hint("write secure = true"));
    }
    let secrets = secrets(t, draft);
    Some(Sticky {
        cookie: cookie?,
        ttl: ttl?,
        secrets: secrets?,
        same_site: same_site?,
        // Without it no browser keeps one that comes from every site.
        secure: said.or((same_site == Some(SameSite::None)).then_some(true)),
    })
}

fn name(text: &str) -> Result<String, Wrong> {
    if is_token(text) {
        return Ok(text.into());
    }
    Err(Wrong::new(format!("{} is not the name of a cookie", quoted(text))))
}

/// Whole seconds: a cookie knows no less.
fn ttl(item: &Item<'_>) -> Option<Duration> {
    let ttl = item.duration()?;
    if ttl < Duration::from_secs(1) {
        item.fault("is less than a second");
        return None;
    }
    Some(ttl)
}

fn secrets(t: &mut Table<'_>, draft: &mut Draft) -> Option<Vec<Blob>> {
    const EXAMPLE: &str =
        "write secret_files = [\"sticky.key\"], made by: openssl rand -hex -out sticky.key 32";
    let Some(item) = t.take("secret_files") else {
        t.missing(Wrong::new("says no secret_files: anybody could make its cookie").hint(EXAMPLE));
        return None;
    };
    let all = item.list();
    if all.is_empty() {
        item.wrong(Wrong::new("an empty list is no secret").hint(EXAMPLE));
    }
    let mut read = Vec::new();
    for item in all {
        let Some(mut secret) = blob(&item, draft) else { continue };
        // Whoever wrote it with an editor means the same as who did not.
        let bytes = secret.bytes.strip_suffix(b"\n").unwrap_or(&secret.bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.len() < LEAST {
            let what = format!("{}: {} bytes can be guessed", secret.path.display(), bytes.len());
            item.wrong(Wrong::new(what).hint("openssl rand -hex -out sticky.key 32"));
            continue;
        }
        secret.bytes = bytes.into();
        if read.iter().any(|other: &Blob| other.bytes == secret.bytes) {
            item.fault(format!("{}: the same secret as one before it", secret.path.display()));
            continue;
        }
        read.push(secret);
    }
    (!read.is_empty()).then_some(read)
}

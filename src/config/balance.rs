//! `pool.balance`: the policy's word and the members of a consistent hash.
use super::draft::Said;
use super::field::is_token;
use super::hint::{did_you_mean, quoted};
use super::model::{Balance, Hash, KeyPart, Table as HashTable};
use super::problem::Wrong;
use super::table::{Item, Table};
use super::value::{Kind, normal};

/// The policies of this program. Others are an embedder's own: whether one is there is checked by
/// who has them.
const POLICIES: [&str; 6] =
    ["round_robin", "least_connections", "random", "p2c", "peak_ewma", "consistent_hash"];
const HASHED: &str = "consistent_hash";
/// The largest Maglev table: at this size one takes seconds to build.
const SLOTS: u64 = 5_000_011;
/// A bound above this is none.
const BOUND: f64 = 100.0;

/// Round robin, for a pool that says nothing.
pub(super) fn default(at: super::problem::At) -> Balance {
    Balance { policy: POLICIES[0].into(), hash: None, at }
}

/// A table, or the policy's word.
pub(super) fn balance(item: &Item<'_>, http_only: &mut Vec<Said>) -> Option<Balance> {
    if item.kind() != Kind::Text {
        return item.table("pool.balance", |t| table(item, t, http_only)).flatten();
    }
    let policy = item.checked(policy)?;
    if policy == HASHED {
        let write = "write { policy = \"consistent_hash\", key = \"client_ip\" }";
        item.wrong(Wrong::new("consistent_hash needs a key").hint(write));
    }
    Some(Balance { policy, hash: None, at: item.at() })
}

/// A policy's word without its case, hyphens and aliases.
fn policy(text: &str) -> Result<String, Wrong> {
    let word = normal(text);
    if word.is_empty() {
        return Err(Wrong::new("\"\" is not a policy"));
    }
    Ok(match &*word {
        "rr" | "roundrobin" => "round_robin".into(),
        "leastconn" | "least_conn" => "least_connections".into(),
        "power_of_two" => "p2c".into(),
        "hash" => HASHED.into(),
        "ewma" => "peak_ewma".into(),
        _ => word,
    })
}

fn table(item: &Item<'_>, t: &mut Table<'_>, http_only: &mut Vec<Said>) -> Option<Balance> {
    let named = t.take("policy");
    if named.is_none() {
        let policy = if t.has("key") { HASHED } else { POLICIES[0] };
        t.missing(Wrong::new("says no policy").hint(format!("write policy = \"{policy}\"")));
    }
    let policy = named.and_then(|item| item.checked(policy));
    let members =
        ["key", "combine", "fallback", "table", "size", "bounded_load"].map(|key| t.take(key));
    let at = item.at();
    let known = policy.as_deref().is_some_and(|policy| POLICIES.contains(&policy));
    if known && policy.as_deref() != Some(HASHED) {
        for item in members.into_iter().flatten() {
            item.key_wrong(Wrong::new(format!(
                "means nothing to {}: it belongs to {HASHED}",
                policy.as_deref().unwrap_or_default()
            )));
        }
        return Some(Balance { policy: policy?, hash: None, at });
    }
    if policy.as_deref() == Some(HASHED) && members[0].is_none() {
        t.missing(
            Wrong::new("consistent_hash needs a key").hint("write for example key = \"client_ip\""),
        );
    }
    let said = members.iter().any(Option::is_some);
    let hash = said.then(|| hash(members, http_only));
    Some(Balance { policy: policy?, hash, at })
}

fn hash(
    [key, combine, fallback, table, size, bounded]: [Option<Item<'_>>; 6],
    http_only: &mut Vec<Said>,
) -> Hash {
    let first = combine
        .and_then(|item| item.word("pool.balance.combine", &[("all", false), ("first", true)]));
    let key = key.map(|item| {
        let parts = parts(&item, http_only);
        if first == Some(true) {
            in_reach(&item, &parts);
        }
        parts
    });
    let key = key.unwrap_or_default();
    let fallback = fallback.and_then(|item| {
        let word = item.checked(policy)?;
        if word == HASHED {
            item.fault("the fallback is for requests without a key: it cannot be consistent_hash");
        }
        Some(word)
    });
    let ring = table
        .and_then(|item| item.word("pool.balance.table", &[("maglev", false), ("ring", true)]))
        == Some(true);
    if let (true, Some(size)) = (ring, &size) {
        size.key_wrong(Wrong::new("means nothing to a ring: it belongs to maglev"));
    }
    let size = size.and_then(|item| slots(&item));
    Hash {
        key,
        first: first.unwrap_or(false),
        fallback: fallback.unwrap_or_else(|| "random".into()),
        table: if ring { HashTable::Ring } else { HashTable::Maglev(size) },
        bounded_load: bounded.and_then(|item| bound(&item)),
    }
}

/// `"auto"`, or a prime: Maglev's steps reach every slot only then.
fn slots(item: &Item<'_>) -> Option<u32> {
    if item.kind() == Kind::Text {
        item.word("pool.balance.size", &[("auto", ())])?;
        return None;
    }
    let size: u32 = item.count(3..=SLOTS)?;
    if !is_prime(size) {
        let near = (size..=u32::MAX).find(|n| is_prime(*n)).unwrap_or(65_537);
        item.wrong(Wrong::new(format!("{size} is not a prime")).hint(format!("write {near}")));
        return None;
    }
    Some(size)
}

fn is_prime(n: u32) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

fn bound(item: &Item<'_>) -> Option<f64> {
    if item.is_off() {
        return None;
    }
    let bound = item.factor()?;
    if !(bound > 1.0 && bound <= BOUND) {
        item.wrong(
            Wrong::new(format!("{bound} is not above 1 and at most {BOUND}"))
                .hint("write for example 1.25"),
        );
        return None;
    }
    Some(bound)
}

/// Of a key that is the first of its parts that is there, those after one that always is are none.
pub(super) fn in_reach(item: &Item<'_>, parts: &[KeyPart]) {
    let always =
        |part: &KeyPart| matches!(part, KeyPart::Path | KeyPart::ClientIp | KeyPart::ClientAddr);
    let list = item.list();
    if let Some(after) = parts.iter().position(always).and_then(|at| list.get(at + 1)) {
        let wrong = Wrong::new("is never looked at: the part before it is always there");
        after.wrong(wrong.hint("put that one last"));
    }
}

/// The parts of a key.
pub(super) fn parts(item: &Item<'_>, http_only: &mut Vec<Said>) -> Vec<KeyPart> {
    let all = item.list();
    if all.is_empty() {
        item.fault("an empty list is no key");
    }
    let read = |item: &Item<'_>| {
        let part = item.checked(part)?;
        if !matches!(part, KeyPart::ClientIp | KeyPart::ClientAddr) {
            http_only.push(Said { key: item.path.clone(), at: item.at() });
        }
        Some(part)
    };
    all.iter().filter_map(read).collect()
}

fn part(text: &str) -> Result<KeyPart, Wrong> {
    const KINDS: [&str; 6] = ["header:", "cookie:", "query:", "path", "client_ip", "client_addr"];
    let (kind, name) = text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)));
    match (&*normal(kind), name) {
        ("header", Some(name)) if is_token(name) => Ok(KeyPart::Header(name.to_ascii_lowercase())),
        ("cookie", Some(name)) if is_token(name) => Ok(KeyPart::Cookie(name.into())),
        ("query", Some(name)) if !name.is_empty() => Ok(KeyPart::Query(name.into())),
        ("path", None) => Ok(KeyPart::Path),
        ("client_ip", None) => Ok(KeyPart::ClientIp),
        ("client_addr", None) => Ok(KeyPart::ClientAddr),
        ("header" | "cookie" | "query", _) => {
            let what = format!("{} has no usable name", quoted(text));
            Err(Wrong::new(what).hint("write for example \"header:X-User\""))
        }
        _ => {
            let known = KINDS
                .map(|kind| if kind.ends_with(':') { format!("{kind}NAME") } else { kind.into() });
            let near = did_you_mean(kind, KINDS.map(|kind| kind.trim_end_matches(':')));
            let hint = near.unwrap_or_else(|| format!("known are {}", known.join(", ")));
            Err(Wrong::new(format!("{} is not a part of a key", quoted(text))).hint(hint))
        }
    }
}

//! `route.rate_limit`: how often requests of one key may come.
use super::field::is_token;
use super::hint::{did_you_mean, quoted};
use super::problem::Wrong;
use super::table::{Item, Table};
use super::units::Rate;
use super::value::normal;

/// Requests that may come at once.
const BURST: u32 = 200;
/// Keys that are remembered.
const KEYS: u32 = 100_000;
/// The most of both: 160 MB of keys.
const MOST: u64 = 10_000_000;
/// One customer of an access provider has one address of IPv4, and a network of 64 bits of IPv6
/// (RFC 6177).
const PREFIX: (u8, u8) = (32, 64);

/// `route.rate_limit`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Whose requests are counted together.
    pub key: RateKey,
    /// How often they may come.
    pub rate: Rate,
    /// How many may come at once after a rest; at least 1.
    pub burst: u32,
    /// Keys that are remembered; at least 1.
    pub keys: u32,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateKey {
    /// Those of one network of clients.
    ClientIp {
        /// Bits of an IPv4 address that count.
        v4: u8,
        /// Bits of an IPv6 address that count.
        v6: u8,
    },
    /// All of the route.
    Route,
    /// Those with one value of this field, its name in lower case.
    Header(String),
}

/// Reads it.
pub(super) fn rate_limit(item: &Item<'_>) -> Option<RateLimit> {
    item.table("route.rate_limit", read).flatten()
}

fn read(t: &mut Table<'_>) -> Option<RateLimit> {
    let key = t.take("key").map_or(Some(RateKey::ClientIp { v4: 0, v6: 0 }), |item| key(&item));
    let prefix = t.take("prefix");
    if let (Some(RateKey::Route | RateKey::Header(_)), Some(item)) = (&key, &prefix) {
        item.key_wrong(Wrong::new("means nothing without an address: it belongs to client_ip"));
    }
    let (v4, v6) = prefix.map_or(PREFIX, |item| bits(&item));
    let rate = t.take("rate");
    if rate.is_none() {
        t.missing(Wrong::new("says no rate").hint("write for example rate = \"100/s\""));
    }
    let rate = rate.and_then(|item| item.rate());
    let burst = t.take("burst").and_then(|item| item.count(1..=MOST)).unwrap_or(BURST);
    let keys = t.take("keys");
    if let (Some(RateKey::Route), Some(item)) = (&key, &keys) {
        item.key_wrong(Wrong::new("means nothing where the whole route is one key"));
    }
    let keys = keys.and_then(|item| item.count(1..=MOST)).unwrap_or(KEYS);
    let key = match key? {
        RateKey::ClientIp { .. } => RateKey::ClientIp { v4, v6 },
        other => other,
    };
    Some(RateLimit { key, rate: rate?, burst, keys })
}

fn bits(item: &Item<'_>) -> (u8, u8) {
    let read = item.table("route.rate_limit.prefix", |t| {
        let v4 = t.take("v4").and_then(|item| item.count(0..=32)).unwrap_or(PREFIX.0);
        let v6 = t.take("v6").and_then(|item| item.count(0..=128)).unwrap_or(PREFIX.1);
        (v4, v6)
    });
    read.unwrap_or(PREFIX)
}

fn key(item: &Item<'_>) -> Option<RateKey> {
    item.checked(|text| {
        let (kind, name) =
            text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)));
        match (&*normal(kind), name) {
            ("client_ip", None) => Ok(RateKey::ClientIp { v4: 0, v6: 0 }),
            ("route", None) => Ok(RateKey::Route),
            ("header", Some(name)) if is_token(name) => {
                Ok(RateKey::Header(name.to_ascii_lowercase()))
            }
            ("header", _) => {
                let what = format!("{} has no usable name", quoted(text));
                Err(Wrong::new(what).hint("write for example \"header:X-User\""))
            }
            _ => {
                let near = did_you_mean(kind, ["client_ip", "route", "header"]);
                let hint = near.unwrap_or_else(|| "known are client_ip, route, header:NAME".into());
                Err(Wrong::new(format!("{} is no key of a rate limit", quoted(text))).hint(hint))
            }
        }
    })
}

//! `route.rate_limit`: how often requests of one key may come.
//!
//! The count is the generic cell rate algorithm (ITU-T I.371, "virtual scheduling"; a token bucket
//! that needs one number a key): a key remembers the moment at which its bucket is full again. A
//! request puts that off by the time of one token, and is refused where it would then lie further
//! away than a whole bucket. A key whose moment has passed need not be remembered at all.
use super::address::Origin;
use super::headers;
use super::keys::Keys;
use crate::config::{RateKey, RateLimit};
use crate::message::{Fields, Head};
use crate::metrics::Counter;
use crate::net::Peer;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// How many requests may come at once, and how often: in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// The time of one token.
    interval: u64,
    /// The time of a whole bucket.
    depth: u64,
}

impl Bucket {
    pub(super) fn new(said: &RateLimit) -> Self {
        let interval = said.rate.interval().as_nanos() as u64;
        Self { interval, depth: interval.saturating_mul(u64::from(said.burst)) }
    }

    /// Takes a token of the bucket that is full again at `due`: when it then is.
    ///
    /// # Errors
    ///
    /// There is none: how long until there is one.
    pub(super) fn take(&self, due: u64, now: u64) -> Result<u64, u64> {
        let after = due.max(now).saturating_add(self.interval);
        match (after - now).checked_sub(self.depth) {
            Some(early @ 1..) => Err(early),
            _ => Ok(after),
        }
    }

    /// Tokens that are left.
    fn left(&self, due: u64, now: u64) -> u64 {
        self.depth.saturating_sub(due.saturating_sub(now)) / self.interval
    }
}

/// Where a client stands, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Requests that may come at once.
    limit: u32,
    /// How many of them may come now.
    left: u64,
    /// Seconds until all of them may.
    reset: u64,
}

impl Standing {
    /// Says it in an answer; what a backend says of a limit of its own stays, alone.
    #[cold]
    pub(super) fn say(&self, fields: &mut Fields) {
        if fields.find("RateLimit-Limit").is_some() {
            return;
        }
        for (name, number) in [
            ("RateLimit-Limit", u64::from(self.limit)),
            ("RateLimit-Remaining", self.left),
            ("RateLimit-Reset", self.reset),
        ] {
            // A number is a valid value.
            let _ = fields.append(name, number.to_string().as_bytes());
        }
    }
}

/// A route's limit.
#[derive(Clone, Debug)]
pub struct Limiter {
    said: RateLimit,
    bucket: Bucket,
    keys: Arc<Keys>,
    /// `evenkeel_rate_limited_total`
    pub refused: Arc<Counter>,
}

impl Limiter {
    /// Who is remembered by the one before is remembered further where the key stays the same.
    pub(super) fn new(said: &RateLimit, before: Option<&Self>) -> Self {
        let refused = before.map_or_else(Arc::default, |before| before.refused.clone());
        let keys = match before {
            Some(before) if before.said.key != said.key => Arc::new(Keys::new(said.keys)),
            Some(before) if before.said.keys != said.keys => {
                Arc::new(before.keys.resized(said.keys))
            }
            Some(before) => before.keys.clone(),
            None => Arc::new(Keys::new(said.keys)),
        };
        Self { said: said.clone(), bucket: Bucket::new(said), keys, refused }
    }

    /// `evenkeel_rate_limit_evictions_total`
    pub fn evicted(&self) -> u64 {
        self.keys.evicted.get()
    }

    /// Takes a token for a request.
    ///
    /// # Errors
    ///
    /// There is none: seconds until there is one.
    pub(super) fn take(
        &self,
        head: &Head,
        origin: &Origin,
        trusted: &[IpNet],
        now: Instant,
    ) -> Result<Standing, (Standing, u64)> {
        let taken = self.keyed(head, origin.peer, trusted, |key| self.count(key, now));
        taken.inspect_err(|_| self.refused.inc())
    }

    /// Tokens that are there, with none taken; without one, seconds until there is.
    pub(super) fn peek(
        &self,
        head: &Head,
        peer: Peer,
        trusted: &[IpNet],
        now: Instant,
    ) -> (u64, Option<u64>) {
        let due = self.keyed(head, peer, trusted, |key| self.keys.due(key));
        let now = self.keys.since(now);
        (self.bucket.left(due, now), self.bucket.take(due, now).err().map(seconds))
    }

    /// Tokens of a full bucket.
    pub(super) fn burst(&self) -> u32 {
        self.said.burst
    }

    /// With the key of a request. Who has none shares one with all like it: else leaving it out would
    /// be a way around.
    fn keyed<T>(
        &self,
        head: &Head,
        peer: Peer,
        trusted: &[IpNet],
        then: impl FnOnce(&[u8]) -> T,
    ) -> T {
        match &self.said.key {
            RateKey::Route => then(b""),
            RateKey::Header(name) => then(head.find(name).unwrap_or(b"")),
            RateKey::ClientIp { v4, v6 } => {
                let client = headers::client_address(head, peer, trusted);
                match client.map(|client| client.ip().to_canonical()) {
                    None => then(b""),
                    Some(IpAddr::V4(ip)) => {
                        let bits = u32::MAX.checked_shl(32 - u32::from(*v4)).unwrap_or(0);
                        then(&(u32::from(ip) & bits).to_be_bytes())
                    }
                    Some(IpAddr::V6(ip)) => {
                        let bits = u128::MAX.checked_shl(128 - u32::from(*v6)).unwrap_or(0);
                        then(&(u128::from(ip) & bits).to_be_bytes())
                    }
                }
            }
        }
    }

    fn count(&self, key: &[u8], now: Instant) -> Result<Standing, (Standing, u64)> {
        let now = self.keys.since(now);
        let standing = |due: u64| Standing {
            limit: self.said.burst,
            left: self.bucket.left(due, now),
            reset: seconds(due.saturating_sub(now)),
        };
        match self.keys.take(key, self.bucket, now) {
            Ok(due) => Ok(standing(due)),
            Err((due, wait)) => Err((standing(due), seconds(wait))),
        }
    }
}

/// Whole seconds that are enough.
fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rate;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    fn said(rate: u32, burst: u32, keys: u32) -> RateLimit {
        let rate = Rate::every(Duration::from_secs(1) / rate).unwrap();
        RateLimit { key: RateKey::Route, rate, burst, keys }
    }

    #[test]
    fn never_more_than_a_bucket_and_the_rate_and_never_less() {
        // At random moments of a minute: against the tokens of a bucket that is filled drop by drop.
        let mut random = fastrand::Rng::with_seed(7);
        for (rate, burst) in [(1, 1), (10, 5), (1000, 20), (3, 200)] {
            let bucket = Bucket::new(&said(rate, burst, 1));
            let (mut due, mut now, mut passed) = (0, 0, 0_u64);
            let mut tokens = f64::from(burst);
            for _ in 0..20_000 {
                let step = random.u64(..2 * SECOND / u64::from(rate));
                now += step;
                tokens = f64::from(burst).min(tokens + step as f64 / bucket.interval as f64);
                let is_near = (tokens - tokens.round()).abs() < 1e-6;
                match bucket.take(due, now) {
                    Ok(after) => {
                        assert!(tokens >= 1.0 || is_near, "{tokens}");
                        (due, passed, tokens) = (after, passed + 1, tokens - 1.0);
                        assert!(bucket.left(due, now) < u64::from(burst));
                    }
                    Err(wait) => {
                        assert!(tokens < 1.0 || is_near, "{tokens}");
                        assert!(bucket.take(due, now + wait - 1).is_err());
                        assert!(bucket.take(due, now + wait).is_ok());
                    }
                }
                assert!(passed <= u64::from(burst) + now / bucket.interval);
            }
        }
    }

    #[test]
    fn a_client_is_told_where_it_stands() {
        let limiter = Limiter::new(&said(2, 3, 10), None);
        let now = Instant::now();
        let told = |after| limiter.count(b"a", now + Duration::from_millis(after));
        let standing = |left, reset| Standing { limit: 3, left, reset };
        assert_eq!(told(0), Ok(standing(2, 1)));
        assert_eq!(told(0), Ok(standing(1, 1)));
        assert_eq!(told(0), Ok(standing(0, 2)));
        assert_eq!(told(0), Err((standing(0, 2), 1)));
        assert_eq!(limiter.count(b"b", now), Ok(standing(2, 1)), "of another key");
        assert_eq!(told(500), Ok(standing(0, 2)), "the refused one cost nothing");
        assert_eq!(told(100_000), Ok(standing(2, 1)));
    }

    #[test]
    fn a_reload_forgets_nobody_while_the_key_stays() {
        let now = Instant::now();
        let first = Limiter::new(&said(1, 1, 100), None);
        assert!(first.count(b"a", now).is_ok());
        for (rate, burst, keys) in [(1, 1, 100), (2, 1, 100), (1, 1, 5000), (1, 1, 20)] {
            let next = Limiter::new(&said(rate, burst, keys), Some(&first));
            assert!(next.count(b"a", now).is_err(), "{rate} {burst} {keys}");
        }
        let wider = Limiter::new(&said(1, 2, 100), Some(&first));
        assert!(wider.count(b"a", now).is_ok() && wider.count(b"a", now).is_err());
        let key = RateKey::Header("x".into());
        let other = Limiter::new(&RateLimit { key, ..said(1, 1, 100) }, Some(&first));
        assert!(other.count(b"a", now).is_ok());
    }
}

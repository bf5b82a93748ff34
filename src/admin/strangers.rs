//! How often those may ask who are refused: each address for itself, so that a flood of one has neither
//! the answers nor the lines in the log of another. Bounded: the addresses that are many share a pace.
use super::guard::{Caller, Pace};
use crate::config::Rate;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// From one try to the next: ten a second are a person's, and few enough for a log.
const EVERY: Duration = Duration::from_millis(100);
/// Addresses with a pace of their own. Together they fill a log with 160 lines a second at most.
const OWN: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Paces>);

#[derive(Debug, Default)]
struct Paces {
    own: BTreeMap<Option<IpAddr>, Pace>,
    others: Pace,
}

impl Strangers {
    /// Takes one, or says how long to wait.
    pub(super) fn take(&self, caller: Caller, now: Instant) -> Result<(), Duration> {
        let rate = Rate::every(EVERY).expect("ten a second is a rate");
        let from = caller.tcp.map(|(peer, _)| network(peer.ip()));
        let Paces { own, others } = &mut *self.0.lock();
        if !own.contains_key(&from) && own.len() >= OWN {
            own.retain(|_, pace| !pace.is_rested(now));
        }
        if own.contains_key(&from) || own.len() < OWN {
            return own.entry(from).or_default().take(rate, now);
        }
        others.take(rate, now)
    }
}

/// Who has one address of IPv6 has the 2^64 beside it (RFC 4291, 2.5.4).
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & u128::MAX << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(ip: &str) -> Caller {
        let own = "127.0.0.1:9900".parse().unwrap();
        Caller { tcp: Some(((ip.parse::<IpAddr>().unwrap(), 5).into(), own)), ..Caller::default() }
    }

    #[test]
    fn each_address_has_its_own_pace_and_those_beyond_the_bound_share_one() {
        let (strangers, begun) = (Strangers::default(), Instant::now());
        let taken = |ip: &str, now: Instant| {
            (0..30).filter(|_| strangers.take(caller(ip), now).is_ok()).count()
        };
        for n in 0..OWN - 1 {
            assert_eq!(taken(&format!("10.0.0.{n}"), begun), 10, "{n}");
        }
        assert_eq!(taken("2001:db8::1", begun), 10);
        assert_eq!((taken("2001:db8::2", begun), taken("::ffff:10.0.0.1", begun)), (0, 0));
        assert_eq!((taken("10.0.1.1", begun), taken("10.0.1.2", begun)), (10, 0), "all others");
        assert_eq!(strangers.0.lock().own.len(), OWN);
        // Those who rested make room.
        let later = begun + Duration::from_secs(2);
        assert_eq!((taken("10.0.1.1", later), taken("10.0.1.2", later)), (10, 10));
        assert_eq!(strangers.0.lock().own.len(), 2);
    }
}

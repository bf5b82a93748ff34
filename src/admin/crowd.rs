//! Who was answered 429: told of in the log once in a while, however many they are.
use super::guard::Caller;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// From the first one that is not told of to the line that counts all.
const WHILE: Duration = Duration::from_secs(10);
/// Addresses that a line names; all others are counted together.
const NAMED: usize = 8;

/// Those who were refused since the last line. `None`: by the Unix socket.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_address: BTreeMap<Option<IpAddr>, u64>,
    others: u64,
}

impl Counts {
    /// Counts one more; whether it is the first.
    fn add(&mut self, address: Option<IpAddr>) -> bool {
        let is_first = self.by_address.is_empty();
        let room = self.by_address.len() < NAMED;
        match self.by_address.get_mut(&address) {
            Some(count) => *count += 1,
            None if room => drop(self.by_address.insert(address, 1)),
            None => self.others += 1,
        }
        is_first
    }

    /// How many, and who: those who asked most often first.
    fn tell(&self) -> (u64, String) {
        let all = self.others + self.by_address.values().sum::<u64>();
        let mut named: Vec<_> = self.by_address.iter().collect();
        named.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let one = |(address, count): (&Option<IpAddr>, &u64)| match address {
            Some(address) => format!("{address} {count}"),
            None => format!("unix {count}"),
        };
        let mut said: Vec<String> = named.into_iter().map(one).collect();
        said.extend((self.others > 0).then(|| format!("others {}", self.others)));
        (all, said.join(", "))
    }
}

impl Crowd {
    /// One was refused: a line follows.
    pub(super) fn refused(self: &Arc<Self>, caller: Caller) {
        let address = caller.tcp.map(|(peer, _)| peer.ip().to_canonical());
        if self.0.lock().add(address) {
            let crowd = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(WHILE).await;
                crowd.tell();
            });
        }
    }

    fn tell(&self) {
        let (count, peers) = std::mem::take(&mut *self.0.lock()).tell();
        let limit = "admin.limits.rate, or ten a second of an address without the token";
        tracing::warn!(count, peers, within = ?WHILE, limit, "admin: refused with 429");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_all_and_names_few() {
        let mut counts = Counts::default();
        let address = |n: u8| Some(IpAddr::from([10, 0, 0, n]));
        assert!(counts.add(address(1)));
        for n in 1..=10 {
            (0..n).for_each(|_| assert!(!counts.add(address(n))));
        }
        assert!(!counts.add(None));
        let (count, peers) = counts.tell();
        assert_eq!(count, 57);
        assert!(peers.starts_with("10.0.0.8 8, 10.0.0.7 7, "), "{peers}");
        assert!(peers.ends_with(", others 20"), "{peers}");
        assert_eq!(peers.split(", ").count(), NAMED + 1);
    }

    #[tokio::test]
    async fn the_first_one_brings_a_line_and_the_next_begins_anew() {
        let crowd = Arc::new(Crowd::default());
        for _ in 0..3 {
            crowd.refused(Caller::default());
        }
        assert_eq!(crowd.0.lock().tell(), (3, "unix 3".into()));
        crowd.tell();
        assert_eq!(crowd.0.lock().tell().0, 0);
        crowd.refused(Caller::default());
        assert_eq!(crowd.0.lock().tell().0, 1);
    }
}

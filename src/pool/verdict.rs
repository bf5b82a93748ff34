//! What a pool knows of its backends, in a form that another process can go on from: verdicts of
//! probes and tries, how long each state has lasted, the addresses of names. Times are ages, since no
//! clock but the wall's is shared.
use super::change::Reason;
use super::health::Health;
use super::hot::Quiet;
use super::known::Known;
use super::members::Members;
use super::slow_start::Ramp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What is known of one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    name: String,
    /// Where it is: another address is another backend.
    addr: String,
    health: Health,
    /// A try did not reach it.
    unreached: bool,
    /// Why it is ejected, and for how long still.
    ejected: Option<(String, Duration)>,
    /// Ejections that still count, and how long ago the last one ended.
    ejections: (u32, Option<Duration>),
    /// Since its silence began, a probe was good.
    proven: bool,
    /// How long it has been on its way to its whole weight.
    ramp: Option<Duration>,
    founder: bool,
    ever_up: bool,
    /// How long its state has lasted.
    lasts: Duration,
    probe: Option<(Duration, String)>,
    /// The addresses of its name, once there was an answer.
    resolved: Option<Vec<SocketAddr>>,
}

impl Known {
    fn verdict(&self, now: Instant) -> Verdict {
        let ago = |at: Instant| now.saturating_duration_since(at);
        let (held, ejections) = self.record.remembered(now);
        Verdict {
            name: self.endpoint.name.to_string(),
            addr: self.endpoint.addr.to_string(),
            health: self.health,
            unreached: self.unreached,
            ejected: held.map(|(reason, left)| (reason.word().to_string(), left)),
            ejections,
            proven: self.proven,
            ramp: self.ramp.map(|(ramp, _)| ramp.age(now)),
            founder: self.founder,
            ever_up: self.ever_up,
            lasts: ago(self.since),
            probe: self.last_probe.as_ref().map(|(at, word)| (ago(*at), word.clone())),
            resolved: self.answered.then(|| self.backend.resolved().addrs().to_vec()),
        }
    }

    fn take(&mut self, said: &Verdict, probed: bool, outlier: bool, now: Instant) {
        let then = |age: Duration| now.checked_sub(age).unwrap_or(now);
        if probed {
            self.health = said.health;
        }
        self.unreached = said.unreached;
        self.proven = said.proven;
        let reason = |word: &str| Reason::EJECTIONS.into_iter().find(|r| r.word() == word);
        let held = said.ejected.as_ref().filter(|_| outlier);
        let held = held.and_then(|(word, left)| Some((reason(word)?, *left)));
        self.record.recall(held, said.ejections, now);
        if held.is_some_and(|(reason, _)| reason == Reason::Silence) {
            self.backend.set_quiet(Quiet::Silent);
        }
        (self.founder, self.ever_up) = (said.founder, said.ever_up);
        self.last_probe = said.probe.clone().map(|(age, word)| (then(age), word));
        if let Some(addrs) = &said.resolved
            && !self.answered
        {
            (self.unresolved, self.answered) = (self.unresolved && addrs.is_empty(), true);
            self.backend.resolve(addrs.clone());
        }
    }
}

impl Members {
    /// What is known of everybody who is named.
    pub(super) fn remember(&self, now: Instant) -> Vec<Verdict> {
        let named = self.list.iter().filter(|known| known.removed.is_none());
        named.map(|known| known.verdict(now)).collect()
    }

    /// Goes on from what another process knew. Of those who are no longer named, or are elsewhere by
    /// now, nothing is known. Nobody turned: each is as it was.
    pub(super) fn recall(&mut self, said: &[Verdict], now: Instant) {
        let of: HashMap<(&str, &str), &Verdict> =
            said.iter().map(|one| ((&*one.name, &*one.addr), one)).collect();
        let config = self.config.clone();
        let (probed, outlier) = (config.health.is_some(), config.outlier.is_some());
        let mut told = Vec::new();
        for (place, known) in self.list.iter_mut().enumerate() {
            let key = (known.endpoint.name.to_string(), known.endpoint.addr.to_string());
            let Some(said) = of.get(&(&*key.0, &*key.1)) else { continue };
            known.take(said, probed, outlier, now);
            self.free = self.free.into_iter().chain(known.record.until()).min();
            told.push((place, *said));
        }
        self.judge_all("handed over", now);
        for (place, said) in told {
            let known = &mut self.list[place];
            known.since = now.checked_sub(said.lasts).unwrap_or(now);
            known.ramp = None;
            if let (Some(rules), Some(age)) = (&config.slow_start, said.ramp) {
                let ramp = Ramp::new(now.checked_sub(age).unwrap_or(now));
                known.ramp = ramp.share(rules, now).map(|share| (ramp, share));
                self.step.get_or_insert(now);
            }
        }
        self.judge_all("handed over", now);
        self.served |= said.iter().any(|one| one.ever_up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Name;
    use crate::pool::change::{Change, Wish};
    use crate::pool::testing::pool;
    use crate::pool::{Policies, Pool};
    use std::sync::Arc;

    fn started(config: &crate::config::Pool) -> Arc<Pool> {
        Pool::prepare(&config.name, config, &Policies::default(), None).unwrap().commit().0
    }
    fn config() -> crate::config::Pool {
        let text = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n[pool.app]\n\
            health = { http = \"/\", rise = 3, fall = 3 }\noutlier = {}\nslow_start = \"30s\"\n\
            backends = [{ name = \"a\", addr = \"127.0.0.1:1\" }, { name = \"b\", addr = \"127.0.0.1:2\" }, \
            { name = \"c\", addr = \"c.test:3\" }, { name = \"d\", addr = \"127.0.0.1:4\" }]\n";
        let config = crate::config::parse(text, std::path::Path::new("proxy.toml")).unwrap();
        config.pools["app"].clone()
    }
    fn states(pool: &Pool) -> Vec<(&'static str, &'static str)> {
        pool.members().iter().map(|m| (m.state.word(), m.reason.word())).collect()
    }

    #[test]
    fn another_process_goes_on_where_this_one_is() {
        let (config, mut now) = (config(), Instant::now());
        let before = started(&config);
        let ids: Vec<_> = before.members().iter().map(|m| m.backend.id).collect();
        let probe = |pool: &Pool, at: usize, good: bool, now: Instant| {
            let id = pool.members()[at].backend.id;
            let verdict = if good { Ok(()) } else { Err("503".into()) };
            pool.apply(Change::Probed { id, verdict }, now);
        };
        before.apply(
            Change::Resolved { id: ids[2], addrs: vec!["127.0.0.9:3".parse().unwrap()] },
            now,
        );
        for at in [0, 2, 3] {
            probe(&before, at, true, now);
        }
        probe(&before, 1, false, now);
        probe(&before, 1, true, now);
        probe(&before, 0, false, now);
        probe(&before, 0, false, now);
        before.apply(Change::Failing { id: ids[3], detail: "5 in a row".into() }, now);
        let expect =
            [("up", ""), ("down", "probe"), ("up", ""), ("ejected", "consecutive_failures")];
        assert_eq!(states(&before), expect);
        now += Duration::from_secs(10);
        let text = serde_json::to_string(&before.remember(now)).unwrap();
        let said: Vec<Verdict> = serde_json::from_str(&text).unwrap();
        let after = started(&config);
        after.apply(Change::Remembered(said.clone()), now);
        assert_eq!(states(&after), expect);
        assert_eq!(after.remember(now), said, "and could hand it on as it got it");
        assert!(after.publish(now).is_none(), "whoever is up gets work at once");
        assert_eq!(after.members()[2].backend.resolved().addrs(), ["127.0.0.9:3".parse().unwrap()]);
        // Rise and fall go on in the middle, an ejection ends when it would have ended.
        for pool in [&before, &after] {
            probe(pool, 0, false, now);
            probe(pool, 1, true, now);
            assert_eq!(states(pool)[..2], [("down", "probe"), ("down", "probe")]);
            probe(pool, 1, true, now);
            assert_eq!(states(pool)[1].0, "up", "it is there since the beginning");
            pool.apply(Change::Tick, now + Duration::from_secs(19));
            assert_eq!(states(pool)[3].0, "ejected");
            pool.apply(Change::Tick, now + Duration::from_secs(20));
            assert_eq!(states(pool)[3].0, "slow_start");
        }
        // One on its way to its whole weight goes on its way.
        now += Duration::from_secs(45);
        let third = started(&config);
        third.apply(Change::Remembered(after.remember(now)), now);
        assert_eq!(states(&third)[3].0, "slow_start");
        third.apply(Change::Tick, now + Duration::from_secs(6));
        assert_eq!(states(&third)[3].0, "up");
    }

    #[test]
    fn what_is_elsewhere_by_now_or_an_operators_is_not_touched() {
        let (mut config, now) = (pool("app", &["a", "b", "c"]), Instant::now());
        let before = started(&config);
        let unreached = |at: usize| {
            let id = before.members()[at].backend.id;
            before.apply(Change::Unreached { id, detail: "refused".into() }, now);
        };
        unreached(0);
        unreached(1);
        config.backends[0].addr = crate::config::Addr::new("127.0.0.1:9").unwrap();
        let after = started(&config);
        let (name, wish) = (Name::new("c").unwrap(), Wish::Drain);
        after.apply(Change::Operator { name, wish }, now);
        after.apply(Change::Remembered(before.remember(now)), now);
        assert_eq!(states(&after), [("up", ""), ("down", "connect"), ("drain", "operator")]);
    }
}

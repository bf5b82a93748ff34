//! Resolves the names of backends again and again; the last answer is kept on error.
use super::rhythm::{Lookup, Rhythm};
use crate::config::{Addr, Family};
use crate::pool::{BackendId, Change, Pool};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long one look-up may take: two tries of the system's resolver at its usual 5 s are cut to one.
const DEADLINE: Duration = Duration::from_secs(5);

/// A pool that changes all the time is asked for its names no more often than this.
const LOOK: Duration = Duration::from_millis(50);

/// An answer that is on its way.
pub type Answer<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Looks a name up. Injected, so that tests script it.
pub trait Resolver: Send + Sync {
    /// Every address of a name.
    fn resolve<'a>(&'a self, name: &'a str) -> Answer<'a>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Answer<'a> {
        Box::pin(async move {
            Ok(tokio::net::lookup_host((name, 0)).await?.map(|addr| addr.ip()).collect())
        })
    }
}

/// Keeps the names of a pool's backends resolved (`Change::Resolved`) for as long as it is polled.
/// Names lead nowhere that is off_limits.
pub async fn run(pool: Arc<Pool>, resolver: Arc<dyn Resolver>, off_limits: OffLimits) {
    let (mut changes, mut rhythm) = (pool.changes(), Rhythm::default());
    let (mut asked, mut ids, mut faults) = (JoinSet::new(), HashMap::new(), Faults::default());
    // When the names are to be read again.
    let mut read = Instant::now();
    let mut look = Some(read);
    loop {
        let (settings, now) = (pool.config().resolve.clone(), Instant::now());
        if look.is_some_and(|at| at <= now) {
            (read, look) = (now, None);
            changes.mark_unchanged();
            let names = names(&pool);
            faults.0.retain(|id, _| names.iter().any(|(other, ..)| other == id));
            rhythm.follow(names, now);
        }
        for (id, host, port) in rhythm.next(now) {
            let (resolver, family) = (resolver.clone(), settings.family);
            let asking = asked.spawn(async move {
                let answer = look_up(&*resolver, &host, port, family).await;
                (host, answer)
            });
            ids.insert(asking.id(), id);
        }
        let wakes = rhythm.wakes(now).into_iter().chain(look).min();
        tokio::select! {
            Some(ended) = asked.join_next_with_id() => {
                let task = ended.as_ref().map_or_else(|error| error.id(), |(task, _)| *task);
                let Some(id) = ids.remove(&task) else { continue };
                // A resolver that panicked is asked again.
                if let Ok((_, (host, answer))) = ended {
                    take(&pool, id, &host, allowed(answer, &off_limits), &mut faults);
                }
                let now = Instant::now();
                rhythm.answered(id, now, now + jittered(settings.interval));
            }
            _ = changes.changed(), if look.is_none() => look = Some(now.max(read + LOOK)),
            () = until(wakes) => {}
        }
    }
}

/// Where no name may lead to: to the admin side, which takes who comes from this machine for its own.
pub type OffLimits = Box<dyn Fn(SocketAddr) -> bool + Send + Sync>;

fn allowed(
    answer: io::Result<Vec<SocketAddr>>,
    off_limits: &OffLimits,
) -> io::Result<Vec<SocketAddr>> {
    let mut addrs = answer?;
    let before = addrs.len();
    addrs.retain(|addr| !off_limits(*addr));
    if addrs.is_empty() && before > 0 {
        let what = "it leads to admin.bind, which asks this machine for no token";
        return Err(io::Error::other(what));
    }
    Ok(addrs)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn names(pool: &Pool) -> Vec<Lookup> {
    let name = |m: crate::pool::Member| match m.backend.addr() {
        Addr::Host(host, port) if m.removed.is_none() => Some((m.backend.id, host.clone(), *port)),
        _ => None,
    };
    pool.members().into_iter().filter_map(name).collect()
}

async fn look_up(
    resolver: &dyn Resolver,
    host: &str,
    port: u16,
    family: Family,
) -> io::Result<Vec<SocketAddr>> {
    let answer = tokio::time::timeout(DEADLINE, resolver.resolve(host));
    let addrs = answer.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let wanted = |ip: &IpAddr| match family {
        Family::Any => true,
        Family::V4 => ip.is_ipv4(),
        Family::V6 => ip.is_ipv6(),
    };
    Ok(addrs.into_iter().filter(wanted).map(|ip| SocketAddr::new(ip, port)).collect())
}

/// What was said last of names that have no answer: it is not said at each look-up.
#[derive(Debug, Default)]
struct Faults(HashMap<BackendId, String>);

impl Faults {
    fn is_news(&mut self, id: BackendId, why: &str) -> bool {
        self.0.insert(id, why.into()).is_none_or(|before| before != why)
    }
}

/// Tells the pool of an answer that differs. An error or an empty answer keeps the last good one;
/// where there is none the pool hears that there is no address, so that nobody waits for it.
fn take(
    pool: &Pool,
    id: BackendId,
    host: &str,
    answer: io::Result<Vec<SocketAddr>>,
    faults: &mut Faults,
) {
    let Some(backend) = pool.backend(id) else { return };
    let known = backend.resolved();
    let mut addrs = match answer {
        Ok(addrs) if !addrs.is_empty() => addrs,
        other => {
            let why = other.err().map_or_else(|| "no address".into(), |e| e.to_string());
            let kept = if known.addrs().is_empty() {
                "the backend is down"
            } else {
                "the last answer is kept"
            };
            if faults.is_news(id, &why) {
                tracing::warn!(pool = %pool.name, backend = %backend.name, host, why, "name not resolved; {kept}");
            }
            if known.addrs().is_empty() {
                pool.apply(Change::Resolved { id, addrs: Vec::new() }, Instant::now());
            }
            return;
        }
    };
    let was_faulty = faults.0.remove(&id).is_some();
    addrs.sort();
    addrs.dedup();
    if addrs == known.addrs() {
        if was_faulty {
            tracing::info!(pool = %pool.name, backend = %backend.name, host, "name resolved again");
        }
        return;
    }
    tracing::info!(pool = %pool.name, backend = %backend.name, host, ?addrs, "name resolved");
    for turn in pool.apply(Change::Resolved { id, addrs }, Instant::now()) {
        tracing::info!(pool = %pool.name, backend = %turn.backend, from = turn.from.word(), to = turn.to.word(),
            reason = turn.reason.word(), "backend turned");
    }
}

/// A tenth more or less, so that many proxies do not ask at once.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::pool::{Ask, NoLease, Policies};
    use std::path::Path;

    fn pool() -> Arc<Pool> {
        let text = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\npool = \"app\"\n\
                    [pool.app]\nbackends = [\"app.internal:80\"]\n";
        let config = config::parse(text, Path::new("proxy.toml")).unwrap();
        let section = &config.pools["app"];
        Pool::prepare(&section.name, section, &Policies::default(), None).unwrap().commit().0
    }

    #[test]
    fn a_name_leads_nowhere_that_is_off_limits() {
        let [own, other] = ["127.0.0.1:9900", "10.0.0.1:9900"].map(|at| at.parse().unwrap());
        let off_limits: OffLimits = Box::new(move |to| to == own);
        assert_eq!(allowed(Ok(vec![own, other]), &off_limits).unwrap(), [other]);
        assert!(
            allowed(Ok(vec![own]), &off_limits).unwrap_err().to_string().contains("admin.bind")
        );
        assert!(allowed(Ok(Vec::new()), &off_limits).unwrap().is_empty());
    }

    #[test]
    fn a_fault_is_said_when_it_begins_or_is_another() {
        let (mut faults, pool) = (Faults::default(), pool());
        let id = pool.members()[0].backend.id;
        let said =
            ["no answer", "no answer", "refused", "refused"].map(|why| faults.is_news(id, why));
        assert_eq!(said, [true, false, true, false]);
        let addr = "127.0.0.1:80".parse().unwrap();
        take(&pool, id, "app.internal", Ok(vec![addr]), &mut faults);
        assert!(faults.is_news(id, "refused"), "it was resolved meanwhile");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_name_that_has_no_address() {
        for answer in [Ok(Vec::new()), Err(io::Error::other("no server answers"))] {
            let pool = pool();
            let id = pool.members()[0].backend.id;
            take(&pool, id, "app.internal", answer, &mut Faults::default());
            let now = Instant::now();
            assert_eq!(pool.publish(now + Duration::from_secs(1)), None);
            let hour = now + Duration::from_secs(3600);
            let refused = pool.lease_by(&Ask::new(now, 1), hour).await.unwrap_err();
            assert_eq!(refused, NoLease::Empty);
        }
    }

    #[tokio::test]
    async fn the_last_good_answer_is_kept() {
        let pool = pool();
        let id = pool.members()[0].backend.id;
        let addr: SocketAddr = "127.0.0.1:80".parse().unwrap();
        take(&pool, id, "app.internal", Ok(vec![addr, addr]), &mut Faults::default());
        take(&pool, id, "app.internal", Ok(Vec::new()), &mut Faults::default());
        take(
            &pool,
            id,
            "app.internal",
            Err(io::Error::other("no server answers")),
            &mut Faults::default(),
        );
        assert_eq!(pool.members()[0].backend.resolved().addrs(), [addr]);
        assert_eq!(pool.members()[0].state.word(), "up");
    }
}

//! `route.mirror`: copies of requests to another pool.
use super::draft::{Draft, Ref};
use super::model::{Action, PoolRef};
use super::problem::Wrong;
use super::table::{Item, Table};
use super::units::{ByteSize, Percent};
use std::time::Duration;

/// Bytes of a body that is copied: it is held until the copy has been sent.
const BODY: u64 = 64 << 10;
/// Copies under way: with `BODY` for each, 6 MiB.
const IN_FLIGHT: u32 = 100;
/// The longest body that may be copied.
const MOST_BODY: u64 = 64 << 20;

/// `route.mirror`
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// Where copies go.
    pub pool: PoolRef,
    /// How many of the requests are copied.
    pub share: Percent,
    /// Bytes of a body that is copied.
    pub body: ByteSize,
    /// Copies that may be under way.
    pub in_flight: u32,
    /// How long one may take.
    pub timeout: Duration,
}

/// Reads it. `action` is where the requests themselves go.
pub(super) fn mirror(
    item: &Item<'_>,
    action: Option<&Action>,
    draft: &mut Draft,
) -> Option<Mirror> {
    item.table("route.mirror", |t| read(t, action, draft)).flatten()
}

fn read(t: &mut Table<'_>, action: Option<&Action>, draft: &mut Draft) -> Option<Mirror> {
    let pool = t.take("pool");
    if pool.is_none() {
        t.missing(Wrong::new("says no pool").hint("write for example pool = \"shadow\""));
    }
    let share = t.take("share").and_then(|item| {
        let share = item.percent()?;
        if share.get() == 0.0 {
            item.wrong(Wrong::new("\"0%\" copies nothing").hint("leave mirror out"));
        }
        Some(share)
    });
    let body = t.take("body").and_then(|item| item.size(0..=MOST_BODY)).unwrap_or(BODY);
    let in_flight = t.take("in_flight").and_then(|item| item.count(1..=1_000_000));
    let timeout = t.take("timeout").and_then(|item| item.duration());
    let item = pool?;
    let to = item.refers()?;
    let same = match action {
        Some(Action::Pool(pool)) => pool.name == to.name,
        Some(Action::Pools(pools)) => pools.iter().any(|(pool, _)| pool.name == to.name),
        _ => false,
    };
    if same {
        item.wrong(Wrong::new("the requests themselves go there").hint("name another pool"));
    }
    let Ref { name, at, .. } = to.clone();
    draft.http_pools.push(to);
    Some(Mirror {
        pool: PoolRef { name, at },
        share: share.or_else(|| Percent::new(0.1))?,
        body: ByteSize(body),
        in_flight: in_flight.unwrap_or(IN_FLIGHT),
        timeout: timeout.unwrap_or(Duration::from_secs(5)),
    })
}

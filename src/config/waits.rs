//! Waits that never come to their end, since another limit of the tables that hold together ends them
//! before: said where somebody wrote the wait knowing of the other, or in the one place it has.
use super::chains::{Chain, Owner, Wait, chains};
use super::draft::Draft;
use super::faults::Faults;
use super::hedge::HedgeAfter;
use super::model::Overrides;
use super::problem::Problem;
use super::units::Timeout;
use std::time::Duration;

/// A wait, and the limit that ends it before its own end: whose word that is, its key, its value.
type First<'c> = (Option<Duration>, Option<&'c Owner>, &'static str, Timeout);

/// Every wait that ends before its time on each way that it is of.
pub(super) fn waits_in_vain(draft: &Draft, faults: &mut Faults) {
    let all = chains(draft);
    for (owner, said) in &draft.retries {
        for (wait, said) in &said.waits {
            let here = all.iter().filter(|chain| holds(chain, owner, *wait));
            let vain: Option<Vec<_>> = here.map(|chain| ends_before(chain, owner, *wait)).collect();
            let first = vain.and_then(|vain| vain.into_iter().next());
            let Some((long, whose, key, first)) = first else { continue };
            let table = whose.map_or("the default of ".into(), |owner| format!("{owner}."));
            let what = match (long, first.get()) {
                (None, _) => format!("\"timeout\" never comes: {table}{key} is off"),
                (Some(long), Some(first)) => {
                    format!("{long:?} is never reached: {table}{key} is {first:?}")
                }
                (Some(_), None) => continue,
            };
            let hint = match wait {
                Wait::Again => "leave it out, or say how long a try may wait".into(),
                _ => format!("leave it out, or write less than {key}"),
            };
            faults.push(Problem::new(&said.at, said.key.clone(), what).hint(hint));
        }
    }
}

/// Whether the word of this place holds on this way.
fn holds(chain: &Chain<'_>, owner: &Owner, wait: Wait) -> bool {
    match says(wait) {
        Some(says) => chain.last(says).is_some_and(|(_, last)| last == owner),
        None => chain.layers.iter().any(|(one, _)| one == owner),
    }
}

/// Whether some tables say it; `None` of what has one place alone.
fn says(wait: Wait) -> Option<fn(&Overrides) -> bool> {
    Some(match wait {
        Wait::Connect => |over| over.timeout.connect.is_some(),
        Wait::FirstByte => |over| over.timeout.first_byte.is_some(),
        Wait::Idle => |over| over.timeout.idle.is_some(),
        Wait::Again => |over| over.retry.on.is_some(),
        Wait::Backoff => |over| over.retry.backoff.is_some(),
        Wait::Queue | Wait::Hedge | Wait::HedgeMin | Wait::Silence => return None,
    })
}

/// What ends the wait before on this way. Of what every place may say, a word nearer to the request
/// than the wait's is no contradiction, it is what places are for; and of the same table it was said
/// when that was read.
fn ends_before<'c>(chain: &'c Chain<'_>, owner: &Owner, wait: Wait) -> Option<First<'c>> {
    let effective = chain.effective();
    let time = effective.timeout;
    let request: (_, fn(&Overrides) -> bool, _) =
        ("timeout.request", |over| over.timeout.request.is_some(), time.request);
    let first_byte: (_, fn(&Overrides) -> bool, _) =
        ("timeout.first_byte", |over| over.timeout.first_byte.is_some(), time.first_byte);
    let (long, firsts) = match wait {
        Wait::Connect => (time.connect.get(), vec![request]),
        Wait::FirstByte => (time.first_byte.get(), vec![request]),
        Wait::Idle => (time.idle.get(), vec![request]),
        Wait::Again => (None, vec![first_byte]),
        Wait::Queue => (chain.pool.queue.map(|queue| queue.timeout), vec![request]),
        Wait::Backoff => (Some(effective.retry.backoff.base), vec![request]),
        Wait::Hedge => (hedge(chain), vec![request, first_byte]),
        Wait::HedgeMin => {
            let hedge = chain.route.and_then(|route| route.hedge);
            (hedge.map(|hedge| hedge.min), vec![request, first_byte])
        }
        Wait::Silence => {
            let silence = chain.pool.outlier.as_ref().and_then(|outlier| outlier.silence);
            (silence.map(|silence| silence.wait), vec![request, first_byte])
        }
    };
    let own = chain.layers.iter().position(|(one, _)| one == owner)?;
    firsts.into_iter().find_map(|(key, says, first)| {
        let ends = match (wait, long, first.get()) {
            (Wait::Again, _, first) => first.is_none(),
            (_, Some(long), Some(first)) => long > first,
            _ => false,
        };
        let whose = chain.last(says);
        let known = match (self::says(wait), whose) {
            // Nobody said it.
            (Some(_), None) => false,
            (Some(_), Some((at, _))) => at < own || (at == own && wait == Wait::Backoff),
            (None, whose) => wait != Wait::Queue || whose.is_none_or(|(at, _)| at != own),
        };
        (ends && known).then_some((long, whose.map(|(_, owner)| owner), key, first))
    })
}

fn hedge(chain: &Chain<'_>) -> Option<Duration> {
    match chain.route?.hedge.as_ref()?.after {
        HedgeAfter::Time(after) => Some(after),
        HedgeAfter::Quantile(_) => None,
    }
}

//! Hedging: a try that takes longer than is usual gets another one beside it, at another backend. The
//! first answer counts, and the other try is cancelled (Dean and Barroso, "The Tail at Scale", CACM 56,
//! 2013). Both are polled by the request's own task.
use super::attempt::{Came, attempt, host_sent};
use super::broken::outcome;
use super::downstream::Downstream;
use super::tries::Tries;
use crate::config::{Hedge, HedgeAfter, HostSent, Statuses};
use crate::message::{Broken, Empty, Head};
use crate::net::Timer;
use crate::pool::{BackendId, Lease, Pool, Vigil};
use crate::upstream::{Dialer, Error, Exchange, Failed, Heard, Outgoing};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// An answer to a try beside, with its head.
type Said = (Box<Exchange>, Heard, Head);

/// What a try beside comes to.
type Beside<'a> = Pin<Box<dyn Future<Output = Result<Said, Box<Failed>>> + Send + 'a>>;

/// Whether an answer may win a race. Who fails fast, or turns requests away, would win them all; and of
/// what `retry.on` names somebody else would be asked, who is.
pub(crate) fn wins(status: u16, unwanted: &Statuses) -> bool {
    status < 500 && status != 429 && !unwanted.has(status)
}

/// How long a try may take before it gets one beside it; `None` where that is not known yet.
pub(crate) fn delay(hedge: &Hedge, pool: &Pool) -> Option<Duration> {
    match hedge.after {
        HedgeAfter::Time(time) => Some(time),
        HedgeAfter::Quantile(share) => Some(pool.first_byte_quantile(share)?.max(hedge.min)),
    }
}

/// How long the one beside may take once the try itself came to no answer that wins. Where somebody else
/// can be asked it is late as that was, after `delay`. Else it is the last hope to better an answer, and
/// gets the time of all but one of a hundred: one that does not come then would not for long.
pub(crate) fn patience(delay: Duration, pool: &Pool, others: bool) -> Duration {
    let usual = pool.first_byte_quantile(0.99).unwrap_or(delay);
    if others { delay.min(usual) } else { delay.max(usual) }
}

/// A request without a body that may be sent to two backends at once.
pub(super) struct Race<'a> {
    pub(super) hedge: &'a Hedge,
    pub(super) dialer: &'a Arc<Dialer>,
    /// As it is sent to the first one.
    pub(super) outgoing: &'a Outgoing<'a>,
    /// What Host each sees.
    pub(super) host: &'a HostSent,
    /// `retry.on`
    pub(super) unwanted: &'a Statuses,
}

/// A try beside another one, under way.
struct Other<'a> {
    backend: BackendId,
    came: Beside<'a>,
    vigil: Option<Vigil>,
    begun: Instant,
}

impl Other<'_> {
    /// It is cancelled.
    fn lose(self, pool: &Pool) {
        pool.hedges_lost.inc();
        self.vigil.into_iter().for_each(|vigil| vigil.outrun(self.begun, Instant::now()));
    }
}

/// Who came first.
enum First {
    /// The try itself.
    Own(Came),
    /// The one beside it, with an answer that wins.
    Other(Said),
}

/// What came of waiting for the one beside.
enum Second {
    Came(Result<Said, Box<Failed>>),
    /// Nothing in time.
    Late,
    /// The client went away.
    Gone,
}

impl Race<'_> {
    /// One try, and another one beside it where it takes too long.
    pub(super) async fn run(
        self,
        lease: Lease,
        tries: &mut Tries<'_>,
        answer: &mut Head,
        client: &mut dyn Downstream,
        timer: &mut Timer,
    ) -> Came {
        let (pool, backend, begun) = (lease.pool().clone(), lease.backend().id, tries.now());
        let (vigil, delay) = (lease.vigil(), delay(self.hedge, &pool));
        let mut other = None;
        let first = {
            let (client, timer) = (&mut *client, &mut *timer);
            let own = attempt(self.dialer, lease, self.outgoing, begun, answer, client, timer);
            let mut own = pin!(own);
            match within(delay, begun, own.as_mut()).await {
                Some(came) => First::Own(came),
                None => {
                    let lease = tries.beside(self.hedge.budget, backend);
                    other = lease.map(|lease| self.other(lease));
                    both(own.as_mut(), &mut other, &pool, self.unwanted).await
                }
            }
        };
        let own = match first {
            First::Own(own) => own,
            First::Other((exchange, heard, head)) => {
                // The other one would have taken as long at the least.
                pool.learn_first_byte(begun.elapsed());
                pool.hedges_won.inc();
                tries.won_beside(backend);
                vigil.into_iter().for_each(|vigil| vigil.outrun(begun, Instant::now()));
                *answer = head;
                return Ok((exchange, heard));
            }
        };
        if own.is_ok() {
            pool.learn_first_byte(begun.elapsed());
        }
        let Some(mut other) = other else { return own };
        if own.is_ok() && wins(answer.status(), self.unwanted) {
            other.lose(&pool);
            return own;
        }
        let others = tries.could_go_on(&own, answer);
        // One that broke has no answer to be bettered: as the last try it may take as long as any other.
        let limit = (own.is_ok() || others)
            .then(|| other.begun + patience(delay.unwrap_or_default(), &pool, others));
        let second = second(&mut other, limit, client, timer).await;
        if others && matches!(second, Second::Late) {
            tries.come_back_to(other.backend);
        }
        let answered = own.is_ok();
        let (came, won) = self.last_word(own, other, second, answer, &pool);
        if answered && won {
            tries.won_beside(backend);
        }
        came
    }

    /// A try beside.
    fn other(&self, lease: Lease) -> Other<'_> {
        let (backend, vigil, begun) = (lease.backend().id, lease.vigil(), Instant::now());
        Other { backend, came: Box::pin(self.beside(lease)), vigil, begun }
    }

    /// The try beside: its interim answers are nobody's.
    async fn beside(&self, lease: Lease) -> Result<Said, Box<Failed>> {
        let backend = lease.backend().clone();
        let host = host_sent(self.host, self.outgoing.head, &backend);
        let outgoing = Outgoing { host, fresh: false, ..*self.outgoing };
        let now = Instant::now();
        let mut exchange = match self.dialer.reuse(lease, &outgoing, now) {
            Ok(exchange) => exchange,
            Err(lease) => self.dialer.connect(lease, &outgoing, now).await?,
        };
        let (mut head, mut timer) = (Head::new(), Timer::new());
        for _ in 0..=outgoing.effective.limits.interim {
            match exchange.head(&mut head, &mut Empty, &mut timer).await {
                Ok(Heard::Interim) => head.clear(),
                Ok(heard) => return Ok((exchange, heard, head)),
                Err(error) => return Err(exchange.fail(error)),
            }
        }
        Err(exchange.fail(Error::Interim))
    }

    /// What the client gets of a try that came to no answer that wins and of the one beside it; says
    /// whether that is the answer of the latter. Where the try broke, any answer is better.
    fn last_word(
        &self,
        own: Came,
        other: Other<'_>,
        second: Second,
        answer: &mut Head,
        pool: &Pool,
    ) -> (Came, bool) {
        match second {
            Second::Came(Ok((exchange, heard, head)))
                if own.is_err() || wins(head.status(), self.unwanted) =>
            {
                match own {
                    Ok((own, _)) => own.discard(&mut Empty, Instant::now()),
                    Err(failed) => settle(*failed),
                }
                pool.hedges_won.inc();
                *answer = head;
                return (Ok((exchange, heard)), true);
            }
            Second::Came(beaten) => fail(beaten, pool),
            Second::Late => other.lose(pool),
            Second::Gone => {
                pool.hedges_lost.inc();
                let gone = own.map_err(|mut failed| {
                    failed.error = Error::Body(Broken::Closed);
                    failed
                });
                return (gone, false);
            }
        }
        (own, false)
    }
}

/// What a try comes to within a time; for ever without one.
async fn within(
    delay: Option<Duration>,
    begun: Instant,
    mut own: Pin<&mut impl Future<Output = Came>>,
) -> Option<Came> {
    let mut timer = Timer::new();
    timer.set(delay.map(|delay| begun + delay));
    poll_fn(|cx| match own.as_mut().poll(cx) {
        Poll::Ready(came) => Poll::Ready(Some(came)),
        Poll::Pending => timer.poll(cx).map(|()| None),
    })
    .await
}

/// Whoever ends first; the other one only with an answer that may win. One that broke is gone.
async fn both(
    mut own: Pin<&mut impl Future<Output = Came>>,
    other: &mut Option<Other<'_>>,
    pool: &Pool,
    unwanted: &Statuses,
) -> First {
    poll_fn(|cx| {
        if let Poll::Ready(came) = own.as_mut().poll(cx) {
            return Poll::Ready(First::Own(came));
        }
        let Some(beside) = other else { return Poll::Pending };
        match beside.came.as_mut().poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(said)) if wins(said.2.status(), unwanted) => {
                return Poll::Ready(First::Other(said));
            }
            Poll::Ready(beaten) => fail(beaten, pool),
        }
        *other = None;
        Poll::Pending
    })
    .await
}

/// Waits for the one that is left, until then at the longest, and not for a client that goes away.
async fn second(
    other: &mut Other<'_>,
    limit: Option<Instant>,
    client: &mut dyn Downstream,
    timer: &mut Timer,
) -> Second {
    timer.set(limit);
    poll_fn(|cx| {
        if let Poll::Ready(came) = other.came.as_mut().poll(cx) {
            return Poll::Ready(Second::Came(came));
        }
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Second::Gone);
        }
        timer.poll(cx).map(|()| Second::Late)
    })
    .await
}

/// Nothing comes of a try beside.
fn fail(beaten: Result<Said, Box<Failed>>, pool: &Pool) {
    match beaten {
        Ok((exchange, ..)) => exchange.discard(&mut Empty, Instant::now()),
        Err(failed) => settle(*failed),
    }
    pool.hedges_failed.inc();
}

/// Nothing comes of a try that broke, but that it is counted.
fn settle(failed: Failed) {
    let outcome = outcome(&failed.error, failed.stale);
    failed.lease.settle(outcome);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_sheds_or_would_be_asked_again_wins_no_race() {
        let mut unwanted = Statuses::NONE;
        unwanted.add(404);
        let losers = [404, 429, 500, 503, 599];
        assert!((200..500).all(|status| wins(status, &unwanted) != losers.contains(&status)));
        assert!(!losers.into_iter().any(|status| wins(status, &unwanted)));
    }
}

//! Hedging: a try that takes longer than is usual gets another one beside it, at another backend. The
//! first answer counts, and the other try is cancelled (Dean and Barroso, "The Tail at Scale", CACM 56,
//! 2013). Both are polled by the request's own task.
use super::attempt::{Came, attempt, host_sent};
use super::downstream::Downstream;
use super::tries::{Tries, outcome};
use crate::config::{Hedge, HedgeAfter, HostSent, Statuses};
use crate::message::{Broken, Empty, Head};
use crate::net::Timer;
use crate::pool::{Lease, Pool};
use crate::upstream::{Dialer, Error, Exchange, Failed, Heard, Outgoing};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// An answer, whose head is in its place.
type Answer = (Box<Exchange>, Heard);

/// What a try beside came to, with the head of its answer.
type Beside = Result<(Box<Exchange>, Heard, Head), Box<Failed>>;

/// A try beside another one.
type Other<'a> = Pin<Box<dyn Future<Output = Beside> + Send + 'a>>;

/// Whether an answer may win a race. Who fails fast, or turns requests away, would win them all; and of
/// what `retry.on` names somebody else would be asked, who is.
fn wins(head: &Head, unwanted: &Statuses) -> bool {
    let status = head.status();
    status < 500 && status != 429 && !unwanted.has(status)
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

/// Who came first.
enum First {
    /// The try itself.
    Own(Came),
    /// The one beside it, with an answer.
    Other(Box<Exchange>, Heard, Head),
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
        let (own_vigil, mut other_vigil) = (lease.vigil(), None);
        let mut other: Option<Other<'_>> = None;
        let first = {
            let (client, timer) = (&mut *client, &mut *timer);
            let own = attempt(self.dialer, lease, self.outgoing, begun, answer, client, timer);
            let mut own = pin!(own);
            match within(delay(self.hedge, &pool), begun, own.as_mut()).await {
                Some(came) => First::Own(came),
                None => {
                    let lease = tries.beside(self.hedge.budget, backend);
                    other_vigil =
                        lease.as_ref().and_then(Lease::vigil).map(|v| (v, Instant::now()));
                    other = lease.map(|lease| -> Other<'_> { Box::pin(self.beside(lease)) });
                    both(own.as_mut(), &mut other, &pool, self.unwanted).await
                }
            }
        };
        match first {
            First::Own(Ok(came)) => {
                pool.learn_first_byte(begun.elapsed());
                match other {
                    None => Ok(came),
                    Some(other) if !wins(answer, self.unwanted) => {
                        let unwanted = self.unwanted;
                        let (came, won) =
                            outdone(came, other, answer, client, &pool, unwanted).await;
                        if won {
                            tries.won_beside(backend);
                        }
                        Ok(came)
                    }
                    Some(_) => {
                        pool.hedges_lost.inc();
                        if let Some((vigil, begun)) = other_vigil {
                            vigil.outrun(begun, Instant::now());
                        }
                        Ok(came)
                    }
                }
            }
            First::Other(exchange, heard, head) => {
                // The other one would have taken as long at the least.
                pool.learn_first_byte(begun.elapsed());
                pool.hedges_won.inc();
                tries.won_beside(backend);
                own_vigil.into_iter().for_each(|vigil| vigil.outrun(begun, Instant::now()));
                *answer = head;
                Ok((exchange, heard))
            }
            First::Own(Err(failed)) => match other {
                None => Err(failed),
                Some(other) => rescue(failed, other, answer, client, &pool).await,
            },
        }
    }

    /// The try beside: its interim answers are nobody's.
    async fn beside(&self, lease: Lease) -> Beside {
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
}

/// How long a try may take; `None` where that is not known yet.
fn delay(hedge: &Hedge, pool: &Pool) -> Option<Duration> {
    match hedge.after {
        HedgeAfter::Time(time) => Some(time),
        HedgeAfter::Quantile(share) => Some(pool.first_byte_quantile(share)?.max(hedge.min)),
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
        match beside.as_mut().poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok((exchange, heard, head))) if wins(&head, unwanted) => {
                return Poll::Ready(First::Other(exchange, heard, head));
            }
            Poll::Ready(Ok((exchange, ..))) => exchange.discard(&mut Empty, Instant::now()),
            Poll::Ready(Err(failed)) => settle(*failed),
        }
        *other = None;
        pool.hedges_failed.inc();
        Poll::Pending
    })
    .await
}

/// The try broke, and the one beside it is under way: whatever that comes to counts.
async fn rescue(
    mut failed: Box<Failed>,
    mut other: Other<'_>,
    answer: &mut Head,
    client: &mut dyn Downstream,
    pool: &Pool,
) -> Came {
    match last(&mut other, client).await {
        Some(Ok((exchange, heard, head))) => {
            settle(*failed);
            pool.hedges_won.inc();
            *answer = head;
            Ok((exchange, heard))
        }
        Some(Err(other)) => {
            settle(*other);
            pool.hedges_failed.inc();
            Err(failed)
        }
        None => {
            failed.error = Error::Body(Broken::Closed);
            Err(failed)
        }
    }
}

/// The try was answered by what wins nothing, and the one beside it is under way: what that says counts
/// if it may; says whether it does.
async fn outdone(
    own: Answer,
    mut other: Other<'_>,
    answer: &mut Head,
    client: &mut dyn Downstream,
    pool: &Pool,
    unwanted: &Statuses,
) -> (Answer, bool) {
    match last(&mut other, client).await {
        Some(Ok((exchange, heard, head))) if wins(&head, unwanted) => {
            own.0.discard(&mut Empty, Instant::now());
            pool.hedges_won.inc();
            *answer = head;
            return ((exchange, heard), true);
        }
        Some(Ok((exchange, ..))) => {
            exchange.discard(&mut Empty, Instant::now());
            pool.hedges_failed.inc();
        }
        Some(Err(failed)) => {
            settle(*failed);
            pool.hedges_failed.inc();
        }
        None => pool.hedges_lost.inc(),
    }
    (own, false)
}

/// What the one that is left comes to; nothing where the client went away before.
async fn last(other: &mut Other<'_>, client: &mut dyn Downstream) -> Option<Beside> {
    poll_fn(|cx| match other.as_mut().poll(cx) {
        Poll::Ready(came) => Poll::Ready(Some(came)),
        Poll::Pending => client.poll_gone(cx).map(|()| None),
    })
    .await
}

/// Nothing comes of a try that broke, but that it is counted.
fn settle(failed: Failed) {
    let outcome = outcome(&failed.error, failed.stale);
    failed.lease.settle(outcome);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Version;

    #[test]
    fn what_fails_sheds_or_would_be_asked_again_wins_no_race() {
        let mut unwanted = Statuses::NONE;
        unwanted.add(404);
        let wins = |status| {
            let mut head = Head::new();
            head.start_response(status, Version::Http11);
            wins(&head, &unwanted)
        };
        let losers = [404, 429, 500, 503, 599];
        assert!((200..500).all(|status| wins(status) != losers.contains(&status)));
        assert!(!losers.into_iter().any(wins));
    }
}

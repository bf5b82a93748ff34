//! Who waits for a first byte, and for how long: as `upstream::Exchange` does.
use super::request::{How, Long, Stage};
use super::server::Job;
use super::world::{Event, World};
use crate::net::BEAT;
use crate::pool::{Allowance, Lease};

impl World {
    /// Who waits at somebody who gets no more work looks at the next beat.
    pub(super) fn look_soon(&mut self) {
        for request in 0..self.requests.len() {
            let it = &self.requests[request];
            if let Stage::Tried(lease) = &it.stage
                && !lease.backend().is_usable()
            {
                let job = Job { request, attempt: it.attempt };
                self.plan(BEAT / 2, Event::Look(job));
            }
        }
    }

    /// As `upstream::Exchange::look`: whether the backend is to be waited for any longer.
    pub(super) fn look(&mut self, job: Job) {
        let now = self.now;
        let it = &mut self.requests[job.request];
        let Stage::Tried(lease) = &it.stage else { return };
        if it.attempt != job.attempt {
            return;
        }
        let retry = &it.effective.retry;
        let moves = it.repeatable && it.course.has_more() && retry.on.reset;
        let allowed =
            Allowance { share: retry.budget.get(), floor: retry.floor, window: retry.window };
        let until = it.until.and_then(|until| until.checked_sub(retry.backoff.max));
        let asks = (it.hash, it.seed);
        let (waited, in_time) = (now - it.sent, until.is_none_or(|until| until > now));
        // Where it goes on; `None` within where that is asked for afterwards.
        let leaves = |lease: &Lease, told: bool| {
            let backend = lease.backend();
            match () {
                () if !moves => None,
                () if backend.is_down() => Some(None),
                () if backend.is_silent() || (told && lease.is_forlorn(waited)) => {
                    in_time.then(|| lease.elsewhere(asks, allowed, waited, now)).flatten().map(Some)
                }
                () => None,
            }
        };
        let mut next = None;
        let mut leave = leaves(lease, it.long.is_some_and(|long| long.awaited.was_told()));
        if leave.is_none()
            && let Some(patience) = lease.patience()
        {
            let begin =
                || Long { awaited: lease.awaited(), at: (it.sent + patience).max(now + BEAT) };
            let mut long = it.long.unwrap_or_else(begin);
            if long.at <= now {
                lease.overdue(&mut long.awaited, now - it.sent, now);
                long.at = now + patience;
            }
            it.long = Some(long);
            next = Some(long.at);
        }
        if leave.is_none() {
            leave = leaves(lease, it.long.is_some_and(|long| long.awaited.was_told()));
        }
        next.into_iter().for_each(|at| self.plan_at(at, Event::Look(job)));
        if let Some(next) = leave {
            self.broke_for(job, How::Left, next);
        }
    }
}

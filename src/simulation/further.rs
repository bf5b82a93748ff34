//! Further tries of a request, as `http::tries` goes about them.
use super::request::After;
use super::server::Job;
use super::world::{Event, World};
use crate::http::{Broke, Wait};
use crate::metrics::Span;
use crate::pool::{Allowance, BackendId, Lease};

impl World {
    pub(super) fn allowed(&self, request: usize) -> Allowance {
        let retry = &self.requests[request].effective.retry;
        Allowance { share: retry.budget.get(), floor: retry.floor, window: retry.window }
    }

    /// A further try, if there is to be one: as `http::tries` goes about it.
    pub(super) fn again(
        &mut self,
        job: Job,
        broke: Broke,
        id: BackendId,
        after: After,
        next: Option<Lease>,
    ) {
        let (now, request, allowed) = (self.now, job.request, self.allowed(job.request));
        let it = &mut self.requests[request];
        let left = it.until.map(|until| until.saturating_duration_since(now));
        let again = it.course.after(broke, &it.effective.retry, left, it.seed);
        it.after = Some(After { costs: again.is_some_and(|again| again.costs), ..after });
        let Some(again) = again else {
            assert!(next.is_none(), "it left for a place, and may not go there");
            return self.no_more(request);
        };
        if again.costs && next.is_none() && !self.pool.allows_try(allowed, now) {
            it.spent = true;
            return self.no_more(request);
        }
        it.tried.push(id);
        self.tally.retries += 1;
        if let Some(lease) = next {
            return self.begin(request, lease);
        }
        match again.wait {
            Wait::None => self.another(request),
            Wait::Twice(rest) => match self.pool.another(&it.ask(now)) {
                Some(lease) => self.begin(request, lease),
                None => self.plan(rest, Event::Again(job)),
            },
            Wait::Always(rest) => self.plan(rest, Event::Again(job)),
        }
    }

    /// Asks for another backend once the rest is over.
    pub(super) fn another(&mut self, request: usize) {
        let it = &self.requests[request];
        if let Some(lease) = self.pool.another(&it.ask(self.now)) {
            return self.begin(request, lease);
        }
        let may_wait = self.pool.may_wait(&it.ask(self.now));
        let it = &mut self.requests[request];
        if !it.later.is_empty() && !may_wait {
            let later = std::mem::take(&mut it.later);
            it.tried.retain(|tried| !later.contains(tried));
            return self.another(request);
        }
        let kept = it.after.as_mut().and_then(|after| after.kept.take());
        match kept {
            // Whoever waits holds no place.
            Some((kept, status)) if may_wait => {
                self.laws.settled(kept.backend().id);
                kept.answered(status, Span::new(self.now, self.now));
                self.ask(request);
            }
            Some(kept) => {
                it.full |= self.pool.config().queue.is_none();
                it.after.as_mut().expect("it has an answer").kept = Some(kept);
                self.no_more(request);
            }
            None => self.ask(request),
        }
    }

    /// There is no further try: the client gets what the last one came to.
    pub(super) fn no_more(&mut self, request: usize) {
        let end = self.requests[request].after.as_ref().map(|after| after.end);
        self.end(request, end.expect("a try was made"));
    }
}

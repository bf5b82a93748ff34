//! Tasks that do a connection's work: whoever is done waits for the next, so that a busy connection
//! makes no task, no timer and no buffer anew for each of its streams.
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::{JoinError, JoinSet};

/// Who was not needed for so long goes: a client that asks for one thing after the other finds the same
/// task each time, and one that asked for much at once leaves little behind.
pub(super) const REST: Duration = Duration::from_secs(1);

/// The tasks of one connection.
#[derive(Debug)]
pub(super) struct Hands<W> {
    tasks: JoinSet<()>,
    desk: Arc<Mutex<Desk<W>>>,
    /// When it was last looked who is not needed.
    looked: Option<Instant>,
}

/// Where they are given their work.
#[derive(Debug)]
struct Desk<W> {
    places: Vec<Given<W>>,
    /// Those that wait. The one that was busy last is asked first: its memory is warm.
    free: Vec<usize>,
    /// The fewest that waited since it was last looked: so many were not needed.
    fewest: usize,
    /// Places that nobody has.
    vacant: Vec<usize>,
    /// How many are not done with what they were given.
    busy: usize,
    /// The connection's task, to hear that all are done.
    task: Option<Waker>,
    /// There will be no more.
    closed: bool,
}

#[derive(Debug)]
struct Given<W> {
    work: Option<W>,
    waker: Option<Waker>,
    /// It is not needed any more.
    leaves: bool,
}

/// A task's place at the desk.
#[derive(Debug)]
pub(super) struct Place<W> {
    desk: Arc<Mutex<Desk<W>>>,
    at: usize,
    busy: bool,
}

impl<W> Default for Hands<W> {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), desk: Arc::default(), looked: None }
    }
}

impl<W> Default for Desk<W> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            fewest: 0,
            vacant: Vec::new(),
            busy: 0,
            task: None,
            closed: false,
        }
    }
}

impl<W> Hands<W> {
    /// Whether all are done.
    pub(super) fn is_idle(&self) -> bool {
        self.desk.lock().busy == 0
    }

    /// Gives work to whoever is free, else to a new task.
    pub(super) fn give<F>(&mut self, work: W, hand: impl FnOnce(Place<W>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut desk = self.desk.lock();
        desk.busy += 1;
        if let Some(free) = desk.free.pop() {
            desk.fewest = desk.fewest.min(desk.free.len());
            let given = &mut desk.places[free];
            given.work = Some(work);
            return given.waker.iter().for_each(Waker::wake_by_ref);
        }
        desk.fewest = 0;
        let given = Given { work: Some(work), waker: None, leaves: false };
        let at = desk.vacant.pop().unwrap_or(desk.places.len());
        if at == desk.places.len() {
            desk.places.push(given);
        } else {
            desk.places[at] = given;
        }
        drop(desk);
        let place = Place { desk: self.desk.clone(), at, busy: false };
        // Boxed: the runtime moves what it is given more than once.
        self.tasks.spawn(Box::pin(hand(place)));
    }

    /// Wakes the connection's task once all are done.
    pub(super) fn listen(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
            passed_on(ended);
        }
        let mut desk = self.desk.lock();
        if !desk.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            desk.task = Some(cx.waker().clone());
        }
    }

    /// Lets those go that were not needed for [`REST`]; says whether it was time to look.
    pub(super) fn trim(&mut self, now: Instant) -> bool {
        let since = *self.looked.get_or_insert(now);
        if now.saturating_duration_since(since) < REST {
            return false;
        }
        self.looked = Some(now);
        let mut desk = self.desk.lock();
        let Desk { places, free, fewest, .. } = &mut *desk;
        for at in free.drain(..*fewest) {
            places[at].leaves = true;
            places[at].waker.iter().for_each(Waker::wake_by_ref);
        }
        *fewest = free.len();
        true
    }

    /// Lets all go, if all wait; `false` where there is none, or work.
    pub(super) fn dismiss(&mut self) -> bool {
        if self.tasks.is_empty() || !self.is_idle() {
            return false;
        }
        let desk = std::mem::take(&mut self.desk);
        close(&desk);
        true
    }

    /// Waits until all that is under way is done.
    pub(super) async fn end(mut self) {
        close(&self.desk);
        while let Some(ended) = self.tasks.join_next().await {
            passed_on(ended);
        }
    }
}

/// A panic is counted where those of connections are.
fn passed_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn close<W>(desk: &Mutex<Desk<W>>) {
    let mut desk = desk.lock();
    desk.closed = true;
    let Desk { places, free, .. } = &mut *desk;
    free.drain(..).filter_map(|free| places[free].waker.as_ref()).for_each(Waker::wake_by_ref);
}

impl<W> Place<W> {
    /// Done with what was given before: what is next, or nothing when it is not needed any more.
    pub(super) async fn next(&mut self) -> Option<W> {
        let mut waits = false;
        poll_fn(|cx| self.poll_next(&mut waits, cx)).await
    }

    fn poll_next(&mut self, waits: &mut bool, cx: &mut Context<'_>) -> Poll<Option<W>> {
        let desk = &mut *self.desk.lock();
        if std::mem::take(&mut self.busy) {
            desk.busy -= 1;
            if desk.busy == 0 {
                desk.task.iter().for_each(Waker::wake_by_ref);
            }
        }
        let given = &mut desk.places[self.at];
        if let Some(work) = given.work.take() {
            self.busy = true;
            return Poll::Ready(Some(work));
        }
        if desk.closed || given.leaves {
            given.waker = None;
            desk.vacant.push(self.at);
            return Poll::Ready(None);
        }
        if !given.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            given.waker = Some(cx.waker().clone());
        }
        if !std::mem::replace(waits, true) {
            desk.free.push(self.at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::{Notify, mpsc};

    type Work = (u32, Arc<Notify>);

    /// Tells its own number and that of its work, and is done with that when it is told.
    async fn hand(number: u32, mut place: Place<Work>, told: mpsc::UnboundedSender<(u32, u32)>) {
        while let Some((work, done)) = place.next().await {
            told.send((number, work)).unwrap();
            done.notified().await;
        }
    }

    #[tokio::test]
    async fn whoever_is_done_does_the_next_until_all_are_let_go() {
        let (told, mut heard) = mpsc::unbounded_channel();
        let (mut hands, mut made) = (Hands::default(), 0);
        let mut give = |hands: &mut Hands<Work>, work| {
            let done = Arc::new(Notify::new());
            hands.give((work, done.clone()), |place| {
                made += 1;
                hand(made, place, told.clone())
            });
            done
        };
        let idle = async |hands: &mut Hands<Work>| {
            poll_fn(|cx| {
                hands.listen(cx);
                if hands.is_idle() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        };
        let (one, two) = (give(&mut hands, 1), give(&mut hands, 2));
        assert_eq!((heard.recv().await, heard.recv().await), (Some((1, 1)), Some((2, 2))));
        assert!(!hands.is_idle() && !hands.dismiss());
        one.notify_one();
        two.notify_one();
        idle(&mut hands).await;
        let three = give(&mut hands, 3);
        assert_eq!(heard.recv().await, Some((2, 3)), "the one that was busy last");
        three.notify_one();
        idle(&mut hands).await;
        let begun = Instant::now();
        assert!(!hands.trim(begun) && hands.trim(begun + REST) && hands.trim(begun + 2 * REST));
        assert_eq!(hands.desk.lock().free.len(), 0, "neither was needed");
        assert!(hands.dismiss());
        let four = give(&mut hands, 4);
        assert_eq!(heard.recv().await, Some((3, 4)), "a new one");
        four.notify_one();
        // Also those that were let go.
        hands.end().await;
        assert!(heard.try_recv().is_err());
    }
}

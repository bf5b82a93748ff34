//! Room for answers that nobody has read yet: who asks for much and reads nothing fills no memory with it.
//!
//! What is made and has no room yet is one answer at the most. Where room is short, the oldest answers that are
//! read too slowly give way, with their connections, and a scrape may be one that was made within the last second.
use super::answer::{Answer, Problem};
use super::line::Line;
use super::turn::limits;
use crate::config::AdminLimits;
use crate::server::State;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Bytes;
use hyper::http::response::Parts;
use hyper::{Response, StatusCode};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Answers up to this size are not counted: one for each connection is not much.
const SMALL: usize = 64 << 10;
/// Where room is short an answer that is older than this gives way; a younger one may be given again.
const FAIR: Duration = Duration::from_secs(1);
/// And only where, after that, less of it went in a second: who reads steadily has what he asked for.
const STEADY: u64 = 4 << 20;
/// Where nobody gives way yet it is looked again so soon.
const LOOK: Duration = Duration::from_millis(50);

/// The room of an address.
#[derive(Debug, Default)]
pub(super) struct Room {
    turn: tokio::sync::Mutex<()>,
    shelf: Arc<Shelf>,
    /// The last answers of each kind that may be given again.
    last: [Mutex<Weak<Kept>>; 3],
}

/// Who reads, by the number of what he reads and his own.
type Readers = BTreeMap<(u64, u64), Reader>;

#[derive(Debug)]
struct Reader {
    since: Instant,
    line: Arc<Line>,
    /// Bytes that had gone on his connection before.
    before: u64,
}

impl Reader {
    /// Whether he had time for it, and reads it too slowly.
    fn is_late(&self, now: Instant) -> bool {
        let more = now.saturating_duration_since(self.since).checked_sub(FAIR);
        let went = self.line.sent().saturating_sub(self.before) as f64;
        more.is_some_and(|more| went <= more.as_secs_f64() * STEADY as f64)
    }
}

#[derive(Debug, Default)]
struct Shelf {
    bytes: AtomicUsize,
    freed: Notify,
    number: AtomicU64,
    readers: Mutex<Readers>,
}

impl Shelf {
    /// Takes room. One answer has it in any case, whatever its size.
    fn take(&self, n: usize, most: usize) -> bool {
        let fits = |held: usize| (held == 0 || held + n <= most).then_some(held + n);
        self.bytes.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }
    /// Ends the connections of those who read the oldest answer of which somebody is late.
    fn cut_oldest(&self, now: Instant) {
        let readers = self.readers.lock();
        let mut late = readers.iter().filter(|(_, reader)| reader.is_late(now)).peekable();
        let Some(((oldest, _), _)) = late.peek() else { return };
        let oldest = *oldest;
        late.take_while(|((answer, _), _)| *answer == oldest)
            .for_each(|(_, reader)| reader.line.cut());
    }
    fn next(&self) -> u64 {
        self.number.fetch_add(1, Relaxed)
    }
}

/// An answer that has room.
#[derive(Debug)]
struct Kept {
    head: Parts,
    bytes: Bytes,
    number: u64,
    made: Instant,
    shelf: Arc<Shelf>,
}

impl Kept {
    /// As the body of one connection's answer.
    fn give(self: Arc<Self>, line: &Arc<Line>) -> Answer {
        let head = self.head.clone();
        let number = self.shelf.next();
        let reader = Reader { since: Instant::now(), line: line.clone(), before: line.sent() };
        self.shelf.readers.lock().insert((self.number, number), reader);
        let bytes = Bytes::from_owner(UnderWay { kept: self, number });
        Response::from_parts(head, Either::Left(Full::new(bytes)))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.shelf.bytes.fetch_sub(self.bytes.len(), Relaxed);
        self.shelf.freed.notify_one();
    }
}

/// One that is being read.
struct UnderWay {
    kept: Arc<Kept>,
    number: u64,
}

impl AsRef<[u8]> for UnderWay {
    fn as_ref(&self) -> &[u8] {
        &self.kept.bytes
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.kept.shelf.readers.lock().remove(&(self.kept.number, self.number));
    }
}

impl Room {
    /// Makes an answer when nobody else does, and finds room for it. One `of` a kind that may be given again
    /// is, where room is short.
    ///
    /// # Errors
    ///
    /// Those of `make`; 503 where there was no room within `admin.limits.time`.
    pub(super) async fn make(
        &self,
        state: &State,
        line: &Arc<Line>,
        of: Option<usize>,
        make: impl Future<Output = Result<Answer, Problem>>,
    ) -> Result<Answer, Problem> {
        let limits = limits(state);
        let until = tokio::time::Instant::now() + limits.time;
        let turn = tokio::time::timeout_at(until, self.turn.lock()).await;
        let _turn = turn.map_err(|_| {
            state.admin.limit_hits.inc("answers");
            let what = "another answer was made and waited for room for longer than \
                        admin.limits.time; ask again";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, what).again_in(1)
        })?;
        let last = of.and_then(|of| self.last[of].lock().upgrade());
        if let Some(kept) = last.filter(|kept| kept.made.elapsed() < FAIR)
            && self.shelf.bytes.load(Relaxed) + kept.bytes.len() > limits.answers
        {
            state.admin.limit_hits.inc("answers");
            return Ok(kept.give(line));
        }
        let (head, bytes) = match parts(make.await?).await {
            Ok(parts) => parts,
            Err(small) => return Ok(small),
        };
        let mut is_told = false;
        while !self.shelf.take(bytes.len(), limits.answers) {
            if !std::mem::replace(&mut is_told, true) {
                state.admin.limit_hits.inc("answers");
            }
            self.shelf.cut_oldest(Instant::now());
            if tokio::time::Instant::now() >= until {
                return Err(full(state, &limits));
            }
            let soon = until.min(tokio::time::Instant::now() + LOOK);
            let _ = tokio::time::timeout_at(soon, self.shelf.freed.notified()).await;
        }
        let kept = self.keep(head, bytes);
        if let Some(of) = of {
            *self.last[of].lock() = Arc::downgrade(&kept);
        }
        Ok(kept.give(line))
    }

    /// Finds room for an answer that is made already, at once or not at all.
    ///
    /// # Errors
    ///
    /// 503 where there is none.
    pub(super) async fn place(
        &self,
        state: &State,
        line: &Arc<Line>,
        answer: Answer,
    ) -> Result<Answer, Problem> {
        let limits = limits(state);
        let (head, bytes) = match parts(answer).await {
            Ok(parts) => parts,
            Err(small) => return Ok(small),
        };
        if !self.shelf.take(bytes.len(), limits.answers) {
            self.shelf.cut_oldest(Instant::now());
            return Err(full(state, &limits));
        }
        Ok(self.keep(head, bytes).give(line))
    }

    /// What has room.
    fn keep(&self, head: Parts, bytes: Bytes) -> Arc<Kept> {
        let (number, shelf) = (self.shelf.next(), self.shelf.clone());
        Arc::new(Kept { head, bytes, number, made: Instant::now(), shelf })
    }
}

/// Head and body; whole again where it needs no room.
async fn parts(answer: Answer) -> Result<(Parts, Bytes), Answer> {
    let (head, body) = answer.into_parts();
    let body = match body {
        Either::Left(body) => body,
        stream @ Either::Right(_) => return Err(Response::from_parts(head, stream)),
    };
    let bytes = match body.collect().await {
        Ok(all) => all.to_bytes(),
        Err(never) => match never {},
    };
    if bytes.len() <= SMALL {
        return Err(Response::from_parts(head, Either::Left(Full::new(bytes))));
    }
    Ok((head, bytes))
}

fn full(state: &State, limits: &AdminLimits) -> Problem {
    state.admin.limit_hits.inc("answers");
    let what = format!(
        "answers that nobody has read yet fill {} bytes (admin.limits.answers); ask again",
        limits.answers
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, what).again_in(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::answer::text;

    fn kept(room: &Room, n: usize) -> Option<Arc<Kept>> {
        let head = text(StatusCode::OK, "text/plain", String::new()).into_parts().0;
        room.shelf.take(n, 1000).then(|| room.keep(head, vec![b'x'; n].into()))
    }

    #[test]
    fn one_answer_has_room_in_any_case_and_more_have_what_is_left() {
        let room = Room::default();
        let large = kept(&room, 5000).expect("the first");
        assert!(kept(&room, 1).is_none());
        drop(large);
        let (one, two) = (kept(&room, 600).unwrap(), kept(&room, 400).unwrap());
        assert!(kept(&room, 1).is_none());
        drop((one, two));
        assert_eq!(room.shelf.bytes.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn readers_of_the_oldest_give_way_when_they_had_time_and_no_others() {
        let room = Room::default();
        let lines: Vec<Arc<Line>> = (0..3).map(|_| Arc::new(Line::new(None))).collect();
        let (old, new) = (kept(&room, 600).unwrap(), kept(&room, 400).unwrap());
        let answers =
            [old.clone().give(&lines[0]), old.give(&lines[1]), new.clone().give(&lines[2])];
        let is_cut = |line: &Arc<Line>| {
            let line = line.clone();
            async move { tokio::time::timeout(Duration::ZERO, line.over()).await.is_ok() }
        };
        let now = Instant::now();
        room.shelf.cut_oldest(now);
        assert!(!is_cut(&lines[0]).await, "it was just begun");
        room.shelf.cut_oldest(now + FAIR);
        let cut = [is_cut(&lines[0]).await, is_cut(&lines[1]).await, is_cut(&lines[2]).await];
        assert_eq!(cut, [true, true, false]);
        // Who reads steadily stays, and who reads nothing of a newer answer goes.
        lines.iter().take(2).for_each(|line| line.send(2 * STEADY as usize));
        room.shelf.cut_oldest(now + 2 * FAIR);
        let cut = [is_cut(&lines[0]).await, is_cut(&lines[1]).await, is_cut(&lines[2]).await];
        assert_eq!(cut, [false, false, true]);
        room.shelf.cut_oldest(now + 4 * FAIR);
        assert!(is_cut(&lines[0]).await, "he stopped");
        let [one, two, three] = answers;
        drop(one);
        assert_eq!(room.shelf.bytes.load(Relaxed), 1000, "the other one reads it still");
        drop(two);
        assert_eq!(room.shelf.bytes.load(Relaxed), 400);
        drop((three, new));
        assert_eq!(room.shelf.bytes.load(Relaxed), 0);
        assert!(room.shelf.readers.lock().is_empty());
    }

    #[tokio::test]
    async fn small_answers_need_no_room() {
        let small = text(StatusCode::OK, "text/plain", "x".repeat(SMALL));
        assert!(parts(small).await.is_err());
        let large = text(StatusCode::OK, "text/plain", "x".repeat(SMALL + 1));
        assert_eq!(parts(large).await.map(|(_, bytes)| bytes.len()).ok(), Some(SMALL + 1));
    }
}

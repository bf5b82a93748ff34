//! A played backend: it works on so many requests at once, the others stand in its line.
use std::collections::VecDeque;
use std::time::Duration;

/// How a backend behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mood {
    Well,
    /// Answers 500 at once.
    Fails,
    /// The same to so many of a hundred.
    FailsOften(u32),
    /// Works, and its health check says that it does not.
    Misjudged,
    /// Answers 429 at once.
    Sheds,
    /// Answers at once that there is nothing (404), or that it can do nothing (501).
    Says(u16),
    /// Breaks each connection before the answer.
    Resets,
    /// Takes so many times as long.
    Slow(u32),
    /// Its kernel takes connections, and nothing answers.
    Frozen,
    /// Refuses connections; what it had is reset.
    Gone,
    /// Its kernel takes no more connections: they hang.
    Full,
}

/// One try of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) request: usize,
    pub(super) attempt: u32,
}

/// What a try meets at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// It is worked on, or stands in the line.
    Taken,
    Refused,
    /// No answer to the connect.
    Hangs,
    Reset,
    /// This status.
    Answered(u16),
}

/// A played backend.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) width: usize,
    pub(super) work: Duration,
    /// Connections its kernel takes beyond those in work.
    pub(super) room: usize,
    /// Whether its health check tells what is wrong with it.
    pub(super) honest: bool,
    pub(super) mood: Mood,
    /// This share of its pages takes so many times as long.
    pub(super) slow: (f64, u32),
    /// Counts its lives.
    pub(super) life: u32,
    in_work: Vec<Job>,
    line: VecDeque<Job>,
    /// Ready, but nothing answers.
    ready: Vec<Job>,
}

impl Server {
    pub(super) fn new(width: usize, work: Duration, room: usize, honest: bool) -> Self {
        Self {
            width,
            work,
            room,
            honest,
            mood: Mood::Well,
            slow: (0.0, 1),
            life: 0,
            in_work: Vec::new(),
            line: VecDeque::new(),
            ready: Vec::new(),
        }
    }

    /// A try comes; `broken`: for a page that fails at once.
    pub(super) fn meet(&mut self, job: Job, broken: bool) -> Met {
        match self.mood {
            Mood::Well | Mood::FailsOften(_) | Mood::Slow(_) if broken => Met::Answered(500),
            Mood::Gone => Met::Refused,
            Mood::Full => Met::Hangs,
            Mood::Fails => Met::Answered(500),
            Mood::Sheds => Met::Answered(429),
            Mood::Says(status) => Met::Answered(status),
            Mood::Resets => Met::Reset,
            Mood::Well | Mood::FailsOften(_) | Mood::Misjudged | Mood::Slow(_) | Mood::Frozen => {
                if self.line.len() >= self.room {
                    return Met::Hangs;
                }
                self.line.push_back(job);
                Met::Taken
            }
        }
    }

    /// The next one it begins to work on, if it can.
    pub(super) fn begin(&mut self) -> Option<Job> {
        if self.in_work.len() >= self.width || self.mood == Mood::Frozen {
            return None;
        }
        let job = self.line.pop_front()?;
        self.in_work.push(job);
        Some(job)
    }

    /// How much longer than usual it takes.
    pub(super) fn times(&self) -> u32 {
        if let Mood::Slow(times) = self.mood { times } else { 1 }
    }

    /// It has done this; whether the answer goes out.
    pub(super) fn done(&mut self, job: Job) -> bool {
        if self.mood == Mood::Frozen {
            self.ready.push(job);
            return false;
        }
        self.in_work.retain(|other| *other != job);
        true
    }

    /// It behaves otherwise from now on. What is answered now, and what is reset.
    pub(super) fn turn(&mut self, mood: Mood) -> (Vec<Job>, Vec<Job>) {
        let before = std::mem::replace(&mut self.mood, mood);
        if mood == Mood::Gone {
            self.life += 1;
            self.ready.clear();
            let mut lost = std::mem::take(&mut self.in_work);
            lost.extend(self.line.drain(..));
            return (Vec::new(), lost);
        }
        let answered = match before {
            Mood::Frozen if mood != Mood::Frozen => std::mem::take(&mut self.ready),
            _ => Vec::new(),
        };
        self.in_work.retain(|job| !answered.contains(job));
        (answered, Vec::new())
    }

    /// What a probe finds, and after how long; `None` when it gets no answer.
    pub(super) fn probed(&self) -> Option<(bool, Duration)> {
        const MS: Duration = Duration::from_millis(1);
        match self.mood {
            Mood::Well => Some((true, MS)),
            Mood::Slow(times) => Some((true, MS * times)),
            Mood::Misjudged => Some((false, MS)),
            Mood::Fails | Mood::FailsOften(_) | Mood::Sheds | Mood::Says(_) | Mood::Resets => {
                Some((!self.honest, MS))
            }
            Mood::Gone => Some((false, MS / 5)),
            Mood::Frozen | Mood::Full => None,
        }
    }
}

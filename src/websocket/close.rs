//! How a WebSocket that others carry on is ended: a Close frame (1001, going away) to the client
//! where one of the backend's frames has ended, the client's own Close to the backend, and ours in
//! its place where the client says none (RFC 6455 7).
use super::frames::Frames;
use std::time::{Duration, Instant};

/// How long the client may take to say Close, too, and never longer than half of what is left. What
/// it sends until then reaches its backend.
const ANSWER: Duration = Duration::from_secs(2);

/// The same for the backend after that.
const LAST: Duration = Duration::from_secs(1);

/// Close, 1001: "an endpoint is going away" (RFC 6455 7.4.1).
const GOING_AWAY: [u8; 2] = 1001u16.to_be_bytes();

/// When to end one of many that must all end until then: somewhere in the first four fifths of the
/// time that is left, so that their clients do not all come back at once, and so that the last of
/// them can still say goodbye. `share` is of 0 to 1.
pub fn moment(now: Instant, until: Instant, share: f64) -> Instant {
    now + until.saturating_duration_since(now).mul_f64(share.clamp(0.0, 1.0) * 0.8)
}

/// What is to be done next in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write [`Side::words`].
    Say,
    /// Write so many of the bytes at hand, and tell [`Side::passed`].
    Pass(usize),
    /// Throw the bytes at hand away, and tell [`Side::passed`].
    Drop,
}

/// One direction.
#[derive(Debug)]
pub struct Side {
    frames: Frames,
    masked: bool,
    /// A Close is to be said between two frames.
    wanted: bool,
    /// It was begun to be said: nothing follows it.
    silent: bool,
    words: [u8; 8],
    from: usize,
    to: usize,
}

impl Side {
    fn new(masked: bool) -> Self {
        let frames = Frames::new(masked);
        Self { frames, masked, wanted: false, silent: false, words: [0; 8], from: 0, to: 0 }
    }

    /// What to do, with these bytes at hand.
    pub fn step(&mut self, data: &[u8]) -> Step {
        if self.wanted && !self.silent && self.frames.is_between() && !self.frames.has_closed() {
            self.silent = true;
            self.say();
        }
        if self.from < self.to {
            Step::Say
        } else if self.silent {
            Step::Drop
        } else if self.wanted {
            Step::Pass(self.frames.rest(data))
        } else {
            Step::Pass(data.len())
        }
    }

    fn say(&mut self) {
        let [a, b] = GOING_AWAY;
        if self.masked {
            let [k, l, m, n] = fastrand::u32(..).to_be_bytes();
            (self.words, self.to) = ([0x88, 0x82, k, l, m, n, a ^ k, b ^ l], 8);
        } else {
            self.words[..4].copy_from_slice(&[0x88, 2, a, b]);
            self.to = 4;
        }
    }

    /// What is to be said.
    pub fn words(&self) -> &[u8] {
        &self.words[self.from..self.to]
    }

    /// So much of it was.
    pub fn said(&mut self, n: usize) {
        self.from += n;
    }

    /// These bytes were written, or thrown away.
    pub fn passed(&mut self, bytes: &[u8]) {
        self.frames.pass(bytes);
    }

    /// So many bytes can go by unseen.
    pub fn opaque(&self) -> u64 {
        if self.silent { 0 } else { self.frames.opaque() }
    }

    /// So many did.
    pub fn skipped(&mut self, n: u64) {
        self.frames.skip(n);
    }

    /// Whether nothing more is to be read: we have ended it, and so has the peer.
    pub fn is_done(&self) -> bool {
        self.is_silent() && self.frames.has_closed()
    }

    /// Whether our Close went.
    fn is_silent(&self) -> bool {
        self.silent && self.from == self.to
    }

    /// Whether whoever reads this direction was told Close, by us or by the peer.
    fn is_told(&self) -> bool {
        self.is_silent() || (!self.silent && self.frames.has_closed())
    }
}

/// Both directions of a WebSocket, and how far its end is.
#[derive(Debug)]
pub struct Closing {
    /// From the client.
    pub there: Side,
    /// From the backend.
    pub back: Side,
    phase: Phase,
    /// When it is cut, whatever it waits for.
    until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody wants its end.
    Open,
    /// A frame of the backend is under way, or the client does not read.
    Asked,
    /// The client was told.
    Answer(Instant),
    /// The client's side has said Close.
    Last(Instant),
}

/// What an end waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing was asked, or what was asked is not due by any time.
    Open,
    /// Until then at the most.
    Until(Instant),
    /// Look again at once: something is to be said.
    Again,
    /// It is over.
    Over,
}

impl Closing {
    /// Nothing went by yet; to the client so many bytes of a head will before the first frame.
    pub fn behind(head: usize) -> Self {
        let mut back = Side::new(false);
        back.frames = back.frames.behind(head as u64);
        Self { there: Side::new(true), back, phase: Phase::Open, until: None }
    }

    /// Asks for its end; it will be cut then.
    pub fn begin(&mut self, until: Instant) {
        if self.phase == Phase::Open {
            self.until = Some(until);
            self.phase = Phase::Asked;
            self.back.wanted = true;
        }
    }

    /// Whether its end was asked for.
    pub fn is_begun(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Whether both sides heard a Close: however their connections end now, it is in order.
    pub fn is_over(&self) -> bool {
        self.there.is_told() && self.back.is_told()
    }

    /// Whether the client heard a Close because its end was asked for.
    pub fn is_told(&self) -> bool {
        matches!(self.phase, Phase::Answer(_) | Phase::Last(_))
    }

    /// Where it stands, after everything that could be moved was.
    pub fn next(&mut self, now: Instant) -> Next {
        match self.phase {
            Phase::Open => Next::Open,
            Phase::Asked if self.back.is_told() => {
                self.phase = Phase::Answer(self.within(now, ANSWER));
                Next::Again
            }
            Phase::Asked => Next::Open,
            Phase::Answer(_) if self.there.is_told() => {
                self.phase = Phase::Last(self.within(now, LAST));
                Next::Again
            }
            Phase::Answer(at) if now >= at => {
                self.there.wanted = true;
                self.phase = Phase::Last(self.within(now, LAST));
                Next::Again
            }
            Phase::Last(_) if self.there.is_told() && self.back.frames.has_closed() => Next::Over,
            Phase::Last(at) if now >= at => Next::Over,
            Phase::Answer(at) | Phase::Last(at) => Next::Until(at),
        }
    }

    fn within(&self, now: Instant, most: Duration) -> Instant {
        let left = self.until.map(|until| until.saturating_duration_since(now) / 2);
        now + left.map_or(most, |left| left.min(most))
    }
}

//! The thread that writes a log: it empties the lanes and writes many lines at once.
use super::lanes::Lanes;
use super::room::Lines;
use std::io::{self, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

/// Room that is kept for the next lines: what the busiest worker says in a rest (100,000 lines a second),
/// and half as much, since to give it back and ask for it again costs a page fault for each 4 KiB. A burst
/// need not be remembered by its own.
const KEPT: usize = 1 << 20;
/// How long it rests, so that nobody need wake it for the next line, and writes many at once: to wake and
/// to write cost as much as 150 lines do, whatever there is to write.
const REST: Duration = Duration::from_millis(20);
/// After so many rests in a row with nothing to write it sleeps until it is woken, or for this long.
const RESTS: u32 = 5;
const SLEEP: Duration = Duration::from_millis(500);
/// A pipe whose reader takes nothing for so long loses what is gathered.
const STILL: Duration = Duration::from_secs(1);
/// A target that cannot be written is said no more often than this.
const SAID: Duration = Duration::from_secs(10);

/// Whose lines they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of requests and connections.
    Access,
    /// Of the process itself.
    Process,
}

impl Whose {
    /// The name of the thread that writes them.
    pub(super) const fn thread(self) -> &'static str {
        match self {
            Self::Access => "access-log",
            Self::Process => "log",
        }
    }
}

/// What the writer is told besides lines. Each is answered when it is done.
pub(super) enum Order {
    /// Lines that are said from here on go there.
    Target(Box<dyn Write + Send>, SyncSender<()>),
    /// What was said is to be written.
    Flush(SyncSender<()>),
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

/// Writes lines until nobody can send any more. What cannot be written is dropped and counted.
pub(super) fn writer(receive: &Receiver<Order>, lanes: &Lanes, whose: Whose) {
    let target: Box<dyn Write + Send> = Box::new(io::sink());
    let lines = Lines::default();
    let mut out = Out { whose, target, lines, torn: false, failed: false, said: None, told: 0 };
    let mut rests = 0;
    loop {
        match receive.try_recv() {
            Ok(order) => {
                // What was said before it comes first.
                out.empty(lanes);
                take(order, &mut out);
                continue;
            }
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => rests = if out.empty(lanes) { 0 } else { rests + 1 },
        }
        if rests < RESTS {
            std::thread::park_timeout(REST);
            continue;
        }
        lanes.asleep.store(true, Relaxed);
        // Who did not see that yet is seen by this. An order wakes by itself.
        if lanes.is_empty() {
            std::thread::park_timeout(SLEEP);
        }
        lanes.asleep.store(false, Relaxed);
    }
    out.empty(lanes);
}

fn take(order: Order, out: &mut Out) {
    let done = match order {
        Order::Target(target, done) => {
            (out.target, out.torn, out.said) = (target, false, None);
            done
        }
        Order::Flush(done) => done,
    };
    let _ = done.try_send(());
}

/// Lines on their way to a target.
struct Out {
    whose: Whose,
    target: Box<dyn Write + Send>,
    lines: Lines,
    /// The target holds a part of a line whose rest is lost.
    torn: bool,
    /// Of what was written last not all is there.
    failed: bool,
    /// When it was last said that nothing can be written.
    said: Option<Instant>,
    /// Lost lines that the process's log has told of.
    told: u64,
}

impl Out {
    /// Writes what is in the lanes; whether there was anything.
    fn empty(&mut self, lanes: &Lanes) -> bool {
        let any = self.sweep(lanes);
        if any && self.whose == Whose::Process {
            self.tell(lanes);
        }
        any
    }

    fn sweep(&mut self, lanes: &Lanes) -> bool {
        let (mut next, mut any) = (0, false);
        while let Some(after) = lanes.swap(next, &mut self.lines) {
            (next, any) = (after, true);
            self.write(lanes);
        }
        any
    }

    /// Writes what is gathered; what cannot be written is lost, line by line, and counted.
    fn write(&mut self, lanes: &Lanes) {
        let lines = std::mem::take(&mut self.lines);
        let mut rest = lines.bytes();
        let result = if self.torn { self.put(&mut &b"\n"[..]) } else { Ok(()) };
        let result = result.and_then(|()| self.put(&mut rest));
        self.failed = result.is_err();
        if let Err(error) = result {
            let lost = memchr::memchr_iter(b'\n', rest).count() as u64;
            lanes.dropped.fetch_add(lost, Relaxed);
            self.say(&error);
        }
        self.lines = lines;
        self.lines.clear(KEPT);
    }

    /// Writes these; what could not be is left.
    fn put(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        let mut moved = None;
        while !rest.is_empty() {
            match self.target.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.torn = rest[n - 1] != b'\n';
                    (*rest, moved) = (&rest[n..], None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A pipe whose reader is slow.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if moved.get_or_insert_with(Instant::now).elapsed() >= STILL {
                        return Err(error);
                    }
                    std::thread::sleep(REST);
                }
                Err(error) => return Err(error),
            }
        }
        self.target.flush()
    }

    fn say(&mut self, error: &io::Error) {
        // The process's log tells of its own when it can be written again.
        if self.whose == Whose::Access && self.said.is_none_or(|said| said.elapsed() >= SAID) {
            self.said = Some(Instant::now());
            tracing::error!(%error, "access log cannot be written; lines are lost and counted");
        }
    }

    /// Tells of what the process's log has lost, by a line of that log, once there is room for it.
    fn tell(&mut self, lanes: &Lanes) {
        let lost = lanes.dropped.load(Relaxed);
        if lost > self.told && !self.failed && lanes.is_empty() {
            tracing::warn!(lines = lost - self.told, "lines of this log are lost: nobody read it");
            self.told = lost;
            self.sweep(lanes);
        }
    }
}

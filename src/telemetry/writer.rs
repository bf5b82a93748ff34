//! The thread that writes the access log: it gathers lines and writes many at once.
use super::access::{Cells, Order};
use std::io::{self, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// So much is gathered before it is written.
const GATHERED: usize = 64 << 10;
/// How long it rests when nothing is there, so that nobody need wake it for the next line.
const REST: Duration = Duration::from_millis(5);
/// After so many rests in a row it sleeps until it is woken, or for this long.
const RESTS: u32 = 20;
const SLEEP: Duration = Duration::from_millis(500);
/// A pipe whose reader takes nothing for so long loses what is gathered.
const STILL: Duration = Duration::from_secs(1);
/// A target that cannot be written is said no more often than this.
const SAID: Duration = Duration::from_secs(10);

/// Writes lines until nobody can send any more. What cannot be written is dropped and counted.
pub(super) fn writer(receive: &Receiver<Order>, cells: &Cells) {
    let target: Box<dyn Write + Send> = Box::new(io::sink());
    let mut out = Out { target, lines: Vec::new(), torn: false, said: None };
    let mut rests = 0;
    loop {
        match receive.try_recv() {
            Ok(order) => {
                rests = 0;
                take(order, &mut out, cells);
                continue;
            }
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => out.write(cells),
        }
        if rests < RESTS {
            rests += 1;
            std::thread::park_timeout(REST);
            continue;
        }
        cells.asleep.store(true, Relaxed);
        match receive.try_recv() {
            Ok(order) => {
                rests = 0;
                take(order, &mut out, cells);
            }
            Err(_) => std::thread::park_timeout(SLEEP),
        }
        cells.asleep.store(false, Relaxed);
    }
    out.write(cells);
}

fn take(order: Order, out: &mut Out, cells: &Cells) {
    match order {
        Order::Line(line) => {
            out.lines.extend_from_slice(line.as_bytes());
            if out.lines.len() >= GATHERED {
                out.write(cells);
            }
        }
        Order::Target(target) => {
            out.write(cells);
            (out.target, out.torn, out.said) = (target, false, None);
        }
        Order::Flushed(done) => {
            out.write(cells);
            let _ = done.try_send(());
        }
    }
}

/// Lines on their way to a target.
struct Out {
    target: Box<dyn Write + Send>,
    lines: Vec<u8>,
    /// The target holds a part of a line whose rest is lost.
    torn: bool,
    /// When it was last said that nothing can be written.
    said: Option<Instant>,
}

impl Out {
    /// Writes what is gathered; what cannot be written is lost, line by line, and counted.
    fn write(&mut self, cells: &Cells) {
        if self.lines.is_empty() {
            return;
        }
        let ended = usize::from(self.torn);
        if self.torn {
            self.lines.insert(0, b'\n');
        }
        let (mut at, mut moved) = (0, None);
        let failed = loop {
            match self.target.write(&self.lines[at..]) {
                Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
                Ok(n) if at + n >= self.lines.len() => break self.target.flush().err(),
                Ok(n) => (at, moved) = (at + n, None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A pipe whose reader is slow.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if moved.get_or_insert_with(Instant::now).elapsed() >= STILL {
                        break Some(error);
                    }
                    std::thread::sleep(REST);
                }
                Err(error) => break Some(error),
            }
        };
        match failed {
            None => self.torn = false,
            Some(error) => {
                self.torn = if at > 0 { self.lines[at - 1] != b'\n' } else { self.torn };
                let rest = &self.lines[at.max(ended)..];
                let lost = memchr::memchr_iter(b'\n', rest).count() as u64;
                cells.dropped.fetch_add(lost, Relaxed);
                self.say(&error);
            }
        }
        self.lines.clear();
        // One long line need not be remembered by its room.
        self.lines.shrink_to(2 * GATHERED);
    }

    fn say(&mut self, error: &io::Error) {
        if self.said.is_none_or(|said| said.elapsed() >= SAID) {
            self.said = Some(Instant::now());
            tracing::error!(%error, "access log cannot be written; lines are lost and counted");
        }
    }
}

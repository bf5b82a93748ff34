//! Sends HTTP/1.1 requests at a fixed rate over kept connections and prints what came of them.
//!
//! wrk is a closed loop: a slower proxy is asked less. Here the rate is given, each request has the
//! moment it is due, and its latency counts from that moment, so that waiting behind a slow answer
//! is not left out. One thread serves all connections, so that the generator takes as little of the core that
//! it shares with the backend as it can. Standard library only; the harness builds it with `rustc -O`.
//!
//! Usage: paced ADDR PATH CONNECTIONS RATE SECONDS [FILE-WITH-FIELD-LINES] [POST-PERCENT]
mod poll;

use poll::{Event, Poll};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// A request without an answer for this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked for such.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Tally {
    sent: u64,
    late: u64,
    status: u64,
    socket: u64,
    posts_failed: u64,
    micros: Vec<u32>,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, addr, path, connections, rate, seconds, rest @ ..] = &args[..] else {
        eprintln!("usage: paced ADDR PATH CONNECTIONS RATE SECONDS [FIELDS-FILE] [POST-PERCENT]");
        std::process::exit(2);
    };
    let connections: u32 = connections.parse().expect("a number of connections");
    let rate: f64 = rate.parse().expect("requests per second");
    let seconds: f64 = seconds.parse().expect("seconds");
    let fields = rest.first().filter(|f| !f.is_empty()).map_or(String::new(), |f| std::fs::read_to_string(f).expect("the file of fields"));
    let posts: u64 = rest.get(1).map_or(0, |p| p.parse().expect("a percentage"));
    // Wake within a microsecond of the due time. Without it: 50 µs more.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let start = Instant::now() + Duration::from_millis(20);
    let mut all = All {
        get: format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n{fields}\r\n").into_bytes(),
        post: format!("POST {path} HTTP/1.1\r\nHost: {addr}\r\n{fields}Content-Length: 5\r\n\r\nhello").into_bytes(),
        addr: addr.clone(),
        posts,
        step: Duration::from_secs_f64(f64::from(connections) / rate),
        end: start + Duration::from_secs_f64(seconds),
        poll: Poll::new(),
        idle: BinaryHeap::new(),
        buffer: vec![0; 64 << 10],
        tally: Tally::default(),
    };
    let mut lines: Vec<Line> = (0..connections)
        .map(|index| {
            let due = start + all.step.mul_f64(f64::from(index) / f64::from(connections));
            all.idle.push(Reverse((due, index as usize)));
            Line { index: index as usize, due, sent: 0, stream: None, asked: None, answer: Answer::default() }
        })
        .collect();
    let mut events = vec![Event::default(); 512];
    let (mut waiting, mut looked) = (0_usize, start);
    while waiting > 0 || !all.idle.is_empty() {
        let now = Instant::now();
        while let Some(Reverse((due, index))) = all.idle.peek().copied().filter(|Reverse((due, _))| *due <= now) {
            all.idle.pop();
            // One that waited for the answer before is late.
            all.tally.late += u64::from(lines[index].answer.came.is_some_and(|came| came > due));
            waiting += usize::from(lines[index].ask(&mut all, now));
        }
        let next = all.idle.peek().map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()));
        let n = all.poll.wait(&mut events, Some(next.unwrap_or(LOOK).min(LOOK)));
        for event in &events[..n] {
            waiting -= usize::from(lines[event.data as usize].hear(&mut all));
        }
        if looked.elapsed() >= LOOK && looked < Instant::now() {
            looked = Instant::now();
            let is_over = |line: &&mut Line| line.asked.is_some_and(|asked| asked.at.elapsed() >= PATIENCE);
            for line in lines.iter_mut().filter(is_over) {
                line.end(&mut all, Err(ErrorKind::TimedOut.into()));
                waiting -= 1;
            }
        }
    }
    let Tally { sent, late, status, socket, posts_failed, mut micros } = all.tally;
    micros.sort_unstable();
    let at = |share: f64| micros.get((micros.len() as f64 * share) as usize).copied().unwrap_or(0);
    println!(
        "{{\"requests\":{sent},\"seconds\":{:.6},\"late\":{late},\"status\":{status},\"socket\":{socket},\"timeout\":0,\"posts_failed\":{posts_failed},\"p50\":{},\"p99\":{},\"max\":{}}}",
        start.elapsed().as_secs_f64(), at(0.5), at(0.99), micros.last().copied().unwrap_or(0)
    );
}

/// What all connections share.
struct All {
    addr: String,
    get: Vec<u8>,
    post: Vec<u8>,
    posts: u64,
    step: Duration,
    end: Instant,
    poll: Poll,
    /// Who has nothing under way, by when its next request is due.
    idle: BinaryHeap<Reverse<(Instant, usize)>>,
    buffer: Vec<u8>,
    tally: Tally,
}

/// A request under way.
#[derive(Clone, Copy)]
struct Asked {
    due: Instant,
    at: Instant,
    is_post: bool,
}

/// What came of an answer so far.
#[derive(Default)]
struct Answer {
    head: Vec<u8>,
    /// Once the head is there: its status, whether the connection ends, and the bytes that are to come.
    rest: Option<(u16, bool, usize)>,
    /// When the last one was whole.
    came: Option<Instant>,
}

/// A connection.
struct Line {
    index: usize,
    /// When its next request is due.
    due: Instant,
    sent: u64,
    stream: Option<TcpStream>,
    asked: Option<Asked>,
    answer: Answer,
}

impl Line {
    /// Sends the next request; `false` where that failed.
    fn ask(&mut self, all: &mut All, now: Instant) -> bool {
        // A cheap spread of the POSTs over connections and time.
        let is_post = (self.sent * 7 + self.index as u64 * 13) % 100 < all.posts;
        self.asked = Some(Asked { due: self.due, at: now, is_post });
        self.due += all.step;
        self.sent += 1;
        all.tally.sent += 1;
        let sent = self.send(all, is_post);
        let failed = sent.is_err();
        if let Err(error) = sent {
            self.end(all, Err(error));
        }
        !failed
    }

    fn send(&mut self, all: &All, is_post: bool) -> Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&all.addr)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            all.poll.add(stream.as_raw_fd(), self.index as u64, false);
            self.stream = Some(stream);
        }
        // It fits the socket's buffer, which is empty.
        let request = if is_post { &all.post } else { &all.get };
        self.stream.as_mut().map_or(Ok(()), |stream| stream.write_all(request))
    }

    /// Something came; whether its request is over.
    fn hear(&mut self, all: &mut All) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let read = match stream.read(&mut all.buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => return self.end(all, Err(error)),
        };
        if read == 0 {
            return self.end(all, Err(Error::other("closed")));
        }
        match self.answer.take(&all.buffer[..read]) {
            Ok(None) => false,
            Ok(Some((status, closes))) => {
                if closes {
                    self.stream = None;
                }
                self.end(all, Ok(status))
            }
            Err(error) => self.end(all, Err(error)),
        }
    }

    /// What came of it; whether there was one.
    fn end(&mut self, all: &mut All, came: Result<u16>) -> bool {
        if came.is_err() {
            self.stream = None;
        }
        self.answer = Answer { came: Some(Instant::now()), head: std::mem::take(&mut self.answer.head), rest: None };
        self.answer.head.clear();
        let Some(asked) = self.asked.take() else { return false };
        let failed = match came {
            Ok(200..=399) => false,
            // A static file answers a POST with 405: the backend was reached.
            Ok(405) if asked.is_post => false,
            Ok(_) => {
                all.tally.status += 1;
                true
            }
            Err(_) => {
                all.tally.socket += 1;
                true
            }
        };
        all.tally.posts_failed += u64::from(failed && asked.is_post);
        all.tally.micros.push(asked.due.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
        if self.due < all.end {
            all.idle.push(Reverse((self.due, self.index)));
        }
        true
    }
}

impl Answer {
    /// Takes what came; the status once it is whole, and whether the connection ends.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<(u16, bool)>> {
        let broken = |what: &str| Error::other(what.to_owned());
        let (status, closes, left) = match self.rest {
            Some((status, closes, left)) => (status, closes, left.checked_sub(bytes.len())),
            None => {
                self.head.extend_from_slice(bytes);
                let Some(at) = self.head.windows(4).position(|w| w == b"\r\n\r\n") else {
                    return match self.head.len() {
                        65_537.. => Err(broken("a head of more than 64 KiB")),
                        _ => Ok(None),
                    };
                };
                let (head, body) = self.head.split_at(at + 4);
                let status = head.get(9..12).and_then(|s| std::str::from_utf8(s).ok()?.parse().ok());
                let length = field(head, b"content-length:").and_then(|v| std::str::from_utf8(v).ok()?.trim().parse::<usize>().ok());
                let closes = field(head, b"connection:").is_some_and(|v| v.trim_ascii().eq_ignore_ascii_case(b"close"));
                let status = status.ok_or_else(|| broken("no status"))?;
                let length = length.ok_or_else(|| broken("no length"))?;
                (status, closes, length.checked_sub(body.len()))
            }
        };
        let left = left.ok_or_else(|| broken("bytes after the body"))?;
        self.rest = Some((status, closes, left));
        Ok((left == 0).then_some((status, closes)))
    }
}

/// What a field of a head says.
fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.split_at_checked(name.len()).filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, said)| said))
}

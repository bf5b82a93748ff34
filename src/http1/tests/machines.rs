//! The two machines under every short sequence of what their callers can do, in any order.
use super::http1::{Client, Event, HeadLimits, Refusal, Server, Want};
use super::message::{Head, Method};

const LIMITS: HeadLimits = HeadLimits { head: 64, fields: 3, target: 16 };
const TRAILERS: usize = 16;

/// What a caller does.
#[derive(Clone, Copy, Debug)]
enum Do {
    /// Bytes come.
    Bytes(&'static [u8]),
    /// The end comes.
    Eof,
    /// Server: the answer was written; whether the connection is kept.
    Answered(bool),
    /// Server: the answer was 101.
    Switched,
    /// Client: a request is written.
    Requested(Method, bool),
    /// Body bytes are moved past the machine, if they may be.
    Splice,
}

/// Either machine.
trait Machine {
    fn next(&mut self, wire: &[u8], eof: bool, head: &mut Head) -> Result<(usize, Seen), Refusal>;
    fn act(&mut self, what: Do);
    fn opaque(&self) -> u64;
    fn advance(&mut self, n: u64);
    /// Whether it says that another message may follow on this connection.
    fn goes_on(&self) -> bool;
}

/// An event without its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Head,
    Interim,
    Switched,
    Data(std::ops::Range<usize>),
    End,
    Closed,
    Want(Want),
}

fn seen<V>(event: Event<V>) -> Seen {
    match event {
        Event::Head(_) => Seen::Head,
        Event::Informational => Seen::Interim,
        Event::Switched => Seen::Switched,
        Event::Data(range) => Seen::Data(range),
        Event::End => Seen::End,
        Event::Closed => Seen::Closed,
        Event::Want(want) => Seen::Want(want),
    }
}

impl Machine for Server {
    fn next(&mut self, wire: &[u8], eof: bool, head: &mut Head) -> Result<(usize, Seen), Refusal> {
        Self::next(self, wire, eof, head).map(|(used, event)| (used, seen(event)))
    }
    fn act(&mut self, what: Do) {
        match what {
            Do::Answered(keep_alive) => self.answered(keep_alive),
            Do::Switched => self.switched(),
            other => panic!("{other:?} of a server"),
        }
    }
    fn opaque(&self) -> u64 {
        Self::opaque(self)
    }
    fn advance(&mut self, n: u64) {
        Self::advance(self, n);
    }
    fn goes_on(&self) -> bool {
        self.is_body_done()
    }
}

impl Machine for Client {
    fn next(&mut self, wire: &[u8], eof: bool, head: &mut Head) -> Result<(usize, Seen), Refusal> {
        Self::next(self, wire, eof, head).map(|(used, event)| (used, seen(event)))
    }
    fn act(&mut self, what: Do) {
        match what {
            Do::Requested(method, upgrade) => self.requested(method, upgrade),
            other => panic!("{other:?} of a client"),
        }
    }
    fn opaque(&self) -> u64 {
        Self::opaque(self)
    }
    fn advance(&mut self, n: u64) {
        Self::advance(self, n);
    }
    fn goes_on(&self) -> bool {
        self.is_reusable()
    }
}

/// A connection: a machine, the bytes at hand, and what may come next.
struct Line<M> {
    machine: M,
    head: Head,
    bytes: Vec<u8>,
    eof: bool,
    in_body: bool,
    refused: bool,
    heads: usize,
}

impl<M: Machine> Line<M> {
    fn new(machine: M) -> Self {
        let head = Head::new();
        Self {
            machine,
            head,
            bytes: Vec::new(),
            eof: false,
            in_body: false,
            refused: false,
            heads: 0,
        }
    }

    fn play(&mut self, steps: &[Do]) {
        for step in steps {
            match *step {
                Do::Bytes(bytes) if !self.eof => self.bytes.extend(bytes),
                Do::Bytes(_) => {}
                Do::Eof => self.eof = true,
                Do::Splice => self.splice(),
                act => {
                    self.machine.act(act);
                    // An answer before the end of a body: what is left of it is nobody's.
                    self.in_body &= !matches!(act, Do::Answered(_) | Do::Switched);
                }
            }
            self.settle();
        }
    }

    /// Bytes may only go past the machine while none is at hand.
    fn splice(&mut self) {
        let may = self.machine.opaque();
        assert!(may == 0 || self.in_body, "{may} opaque bytes outside a body");
        if self.bytes.is_empty() && may > 0 {
            self.machine.advance(may.min(1));
        }
    }

    /// Steps until the machine stands still, which it must.
    fn settle(&mut self) {
        for _ in 0..2 * self.bytes.len() + 4 {
            if self.step() {
                return;
            }
        }
        panic!("no progress over {}", self.bytes.escape_ascii());
    }

    /// `true`: it stands still.
    fn step(&mut self) -> bool {
        let Ok((used, event)) = self.machine.next(&self.bytes, self.eof, &mut self.head) else {
            (self.refused, self.in_body) = (true, false);
            assert!(!self.machine.goes_on(), "goes on after a refusal");
            return true;
        };
        assert!(used <= self.bytes.len(), "used up what was not there");
        assert!(!self.refused || matches!(event, Seen::Closed | Seen::Want(Want::Tunnel)));
        match &event {
            Seen::Head | Seen::Interim | Seen::Switched => {
                assert!(used > 0 && !self.in_body, "a head in a body");
                self.in_body = event == Seen::Head;
                self.heads += 1;
            }
            Seen::Data(range) => {
                assert!(self.in_body && !range.is_empty() && range.end == used, "{range:?}");
            }
            Seen::End => {
                assert!(self.in_body, "an end without a head");
                self.in_body = false;
            }
            Seen::Closed => assert!(used == 0 && !self.in_body, "a clean end inside a body"),
            Seen::Want(Want::Read) => assert!(!self.eof, "waits for what will never come"),
            Seen::Want(want) => assert!(used == 0 && !self.in_body, "{want:?} inside a body"),
        }
        let still = match event {
            Seen::Closed => true,
            // A machine that used something up may go on with the rest; else it says it again.
            Seen::Want(_) => used == 0,
            _ => false,
        };
        self.bytes.drain(..used);
        still
    }
}

/// Every sequence of so many of these steps, on a fresh machine each.
fn every_sequence<M: Machine>(of: &[Do], len: u32, machine: impl Fn() -> M) -> usize {
    let mut heads = 0;
    for number in 0..of.len().pow(len) {
        let mut left = number;
        let mut steps = Vec::new();
        for _ in 0..len {
            steps.push(of[left % of.len()]);
            left /= of.len();
        }
        heads += run(&steps, machine());
    }
    heads
}

fn run<M: Machine>(steps: &[Do], machine: M) -> usize {
    let mut line = Line::new(machine);
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| line.play(steps)));
    if let Err(panic) = played {
        eprintln!("in {steps:?}");
        std::panic::resume_unwind(panic);
    }
    line.heads
}

/// Long sequences, drawn with a fixed seed.
fn drawn_sequences<M: Machine>(of: &[Do], machine: impl Fn() -> M) {
    let mut random = fastrand::Rng::with_seed(0x5eed);
    for _ in 0..10_000 {
        let steps: Vec<Do> = (0..16).map(|_| of[random.usize(..of.len())]).collect();
        run(&steps, machine());
    }
}

const SERVER: &[Do] = &[
    Do::Bytes(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Do::Bytes(b"GET / HTTP/1.0\r\n\r\n"),
    Do::Bytes(b"P / HTTP/1.1\r\nHost:a\r\nContent-Length:2\r\n\r\n"),
    Do::Bytes(b"P / HTTP/1.1\r\nHost:a\r\nTransfer-Encoding:chunked\r\n\r\n"),
    Do::Bytes(b"1\r\nx"),
    Do::Bytes(b"\r\n"),
    Do::Bytes(b"0\r\n"),
    Do::Bytes(b"xyz"),
    Do::Bytes(b"\n"),
    Do::Eof,
    Do::Answered(true),
    Do::Answered(false),
    Do::Switched,
    Do::Splice,
];

const CLIENT: &[Do] = &[
    Do::Requested(Method::Get, false),
    Do::Requested(Method::Head, false),
    Do::Requested(Method::Get, true),
    Do::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
    Do::Bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    Do::Bytes(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
    Do::Bytes(b"HTTP/1.1 204 No\r\n\r\n"),
    Do::Bytes(b"HTTP/1.1 100 C\r\n\r\n"),
    Do::Bytes(b"HTTP/1.1 101 S\r\n\r\n"),
    Do::Bytes(b"1\r\nx"),
    Do::Bytes(b"\r\n"),
    Do::Bytes(b"0\r\n"),
    Do::Eof,
    Do::Splice,
];

fn server() -> Server {
    Server::new(LIMITS, TRAILERS)
}

fn client() -> Client {
    Client::new(LIMITS, TRAILERS)
}

#[test]
fn a_server_holds_under_every_short_sequence() {
    assert!(every_sequence(SERVER, 4, server) > 10_000, "the sequences reach nothing");
}

#[test]
fn a_client_holds_under_every_short_sequence() {
    assert!(every_sequence(CLIENT, 4, client) > 1_000, "the sequences reach nothing");
}

#[test]
fn both_hold_under_long_sequences() {
    drawn_sequences(SERVER, server);
    drawn_sequences(CLIENT, client);
}

#[test]
fn a_kept_connection_waits_idle_and_a_closed_one_reads_nothing_more() {
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut head = Head::new();
    for keep_alive in [true, false] {
        let mut machine = server();
        assert_eq!(
            Server::next(&mut machine, b"", false, &mut head),
            Ok((0, Event::Want(Want::Idle)))
        );
        assert!(matches!(
            Server::next(&mut machine, get, false, &mut head),
            Ok((27, Event::Head(_)))
        ));
        assert_eq!(Server::next(&mut machine, get, false, &mut head), Ok((0, Event::End)));
        let waits = Ok((0, Event::Want(Want::WriteFirst)));
        assert_eq!(Server::next(&mut machine, get, false, &mut head), waits);
        machine.answered(keep_alive);
        let after = Server::next(&mut machine, get, false, &mut head);
        if keep_alive {
            assert!(matches!(after, Ok((27, Event::Head(_)))));
        } else {
            assert_eq!(after, Ok((0, Event::Closed)));
        }
    }
}

#[test]
fn an_answer_before_the_end_of_a_body_ends_the_connection() {
    let post = b"P / HTTP/1.1\r\nHost:a\r\nContent-Length:2\r\n\r\nx";
    let mut head = Head::new();
    let mut machine = server();
    let (used, _) = Server::next(&mut machine, post, false, &mut head).expect("good");
    assert_eq!(machine.opaque(), 2);
    machine.answered(true);
    assert_eq!(Server::next(&mut machine, &post[used..], false, &mut head), Ok((0, Event::Closed)));
}

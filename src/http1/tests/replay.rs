//! Plays bytes to a machine in pieces and writes down what it said, however they were cut.
use super::http1::{
    Client, Event, HeadLimits, RequestVerdict, ResponseVerdict, Rule, Server, Want,
};
use super::message::{Fields, Head, Method};

/// Small bounds, so that inputs at them are short enough to be cut at every byte.
pub(crate) const LIMITS: HeadLimits = HeadLimits { head: 512, fields: 12, target: 128 };
/// Bytes of a trailer section.
pub(crate) const TRAILERS: usize = 96;

/// What a machine said, body bytes that follow each other joined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the events of the machines")]
pub(crate) enum Said {
    Request(String, RequestVerdict),
    Response(String, ResponseVerdict),
    Interim(String),
    Switched(String),
    Body(Vec<u8>),
    End(Option<String>),
    Closed,
    /// The connection carries no further message, whatever follows.
    Over,
    /// Bytes of another protocol.
    Tunnel(Vec<u8>),
    Refused(Rule),
}

/// How many bytes are there at each step, and whether the end comes with the last of them.
#[derive(Clone)]
pub(crate) struct Arrivals {
    counts: Vec<usize>,
    end_with_last: bool,
}

impl std::fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = if self.end_with_last { ", its end with it" } else { "" };
        match self.counts[..] {
            [_] => write!(f, "whole{end}"),
            [at, _] => write!(f, "cut at {at}{end}"),
            _ => write!(f, "byte by byte{end}"),
        }
    }
}

impl Arrivals {
    /// Everything at once.
    pub(crate) fn whole(len: usize, end_with_last: bool) -> Self {
        Self { counts: vec![len], end_with_last }
    }
    /// In two pieces.
    pub(crate) fn two(at: usize, len: usize, end_with_last: bool) -> Self {
        Self { counts: vec![at, len], end_with_last }
    }
    /// A byte at a time.
    pub(crate) fn bytes(len: usize) -> Self {
        Self { counts: (0..=len).collect(), end_with_last: false }
    }
    fn steps(&self) -> impl Iterator<Item = (usize, bool)> {
        let last = *self.counts.last().unwrap_or(&0);
        let given = self.counts.iter().map(move |n| (*n, self.end_with_last && *n == last));
        given.chain((!self.end_with_last).then_some((last, true)))
    }
}

#[derive(Default)]
struct Story {
    said: Vec<Said>,
    over: bool,
}

impl Story {
    fn say(&mut self, said: Said) {
        match (self.said.last_mut(), said) {
            (Some(Said::Body(all)), Said::Body(more)) => all.extend(more),
            (_, said) => self.said.push(said),
        }
    }
    fn last_word(&mut self, said: Said) {
        self.say(said);
        self.over = true;
    }
}

/// Plays requests; each is answered as soon as it was read, a WebSocket handshake with 101.
pub(crate) fn requests(wire: &[u8], arrivals: &Arrivals) -> Vec<Said> {
    let mut machine = Server::new(LIMITS, TRAILERS);
    let (mut head, mut story, mut keep) = (Head::new(), Story::default(), true);
    let mut at = 0;
    for (there, eof) in arrivals.steps() {
        loop {
            let data = &wire[at..there];
            let step = machine.next(data, eof, &mut head);
            // Whatever came of it, an access log can tell of it.
            let _ = told(&head);
            let (used, event) = match step {
                Ok(step) => step,
                Err(refusal) => {
                    story.say(Said::Refused(refusal.rule));
                    return story.said;
                }
            };
            assert!(used <= data.len(), "used up what was not there");
            at += used;
            match event {
                Event::Head(verdict) => {
                    keep = verdict.keep_alive;
                    story.say(Said::Request(told(&head), verdict));
                    if verdict.websocket {
                        machine.switched();
                    }
                }
                Event::End => {
                    story.say(Said::End(machine.trailers().map(lines)));
                    machine.answered(keep);
                }
                event => {
                    if shared(event, used, data, eof, &wire[at..], &mut story) {
                        break;
                    }
                }
            }
            if story.over {
                return story.said;
            }
        }
    }
    story.said
}

/// Plays responses to these requests (method, and whether 101 may answer).
pub(crate) fn responses(wire: &[u8], asked: &[(Method, bool)], arrivals: &Arrivals) -> Vec<Said> {
    let mut machine = Client::new(LIMITS, TRAILERS);
    let (mut head, mut story, mut asked) = (Head::new(), Story::default(), asked.iter());
    if let Some((method, upgrade)) = asked.next() {
        machine.requested(*method, *upgrade);
    }
    let mut at = 0;
    for (there, eof) in arrivals.steps() {
        loop {
            let data = &wire[at..there];
            let step = machine.next(data, eof, &mut head);
            // Whatever came of it, an access log can tell of it.
            let _ = told(&head);
            let (used, event) = match step {
                Ok(step) => step,
                Err(refusal) => {
                    assert!(!machine.is_reusable(), "reusable after {refusal}");
                    story.say(Said::Refused(refusal.rule));
                    return story.said;
                }
            };
            assert!(used <= data.len(), "used up what was not there");
            at += used;
            match event {
                Event::Head(verdict) => story.say(Said::Response(told(&head), verdict)),
                Event::Informational => story.say(Said::Interim(told(&head))),
                Event::Switched => story.say(Said::Switched(told(&head))),
                Event::End => {
                    story.say(Said::End(machine.trailers().map(lines)));
                    if !machine.is_reusable() {
                        story.last_word(Said::Over);
                    } else if let Some((method, upgrade)) = asked.next() {
                        machine.requested(*method, *upgrade);
                    }
                }
                event => {
                    if shared(event, used, data, eof, &wire[at..], &mut story) {
                        break;
                    }
                }
            }
            if story.over {
                return story.said;
            }
        }
    }
    story.said
}

/// What both machines say in the same way. `true`: more bytes are wanted.
fn shared<V: std::fmt::Debug>(
    event: Event<V>,
    used: usize,
    data: &[u8],
    eof: bool,
    rest: &[u8],
    story: &mut Story,
) -> bool {
    match event {
        Event::Data(range) => {
            assert!(!range.is_empty() && range.end == used, "{range:?} of {used}");
            story.say(Said::Body(data[range].to_vec()));
        }
        Event::Closed => story.last_word(Said::Closed),
        Event::Want(Want::Tunnel) => story.last_word(Said::Tunnel(rest.to_vec())),
        Event::Want(want) => {
            assert!(!eof, "{want:?} of what will never come");
            let idle = matches!(want, Want::Idle | Want::WriteFirst);
            assert!(!idle || used == data.len(), "{want:?} beside bytes");
            return used == 0;
        }
        other => panic!("{other:?} at the wrong side"),
    }
    false
}

fn told(head: &Head) -> String {
    let part = String::from_utf8_lossy;
    let start = match head.status() {
        0 => format!("{} {}", part(head.method_token()), part(head.target())),
        status => format!("{status} {}", part(head.reason())),
    };
    format!("{start} {:?}\n{}", head.version(), lines(head))
}

fn lines(fields: &Fields) -> String {
    fields
        .iter()
        .map(|(name, value)| format!("{}: {}\n", name.escape_ascii(), value.escape_ascii()))
        .collect()
}

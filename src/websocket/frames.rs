//! Where the frames of one direction end (RFC 6455 5.2). Looks at their heads alone.

/// Follows one direction.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    /// Whether frames of this direction must be masked: those of clients.
    masked: bool,
    at: At,
    head: [u8; HEAD],
    /// The frame under way is a Close.
    closes: bool,
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// So many bytes of a head came.
    Head(usize),
    /// So many bytes of a frame are to come.
    Payload(u64),
    /// It is no WebSocket.
    Lost,
}

/// A head without its mask, which counts as payload here.
const HEAD: usize = 10;
const MASK: u64 = 4;
const CLOSE: u8 = 8;

impl Frames {
    /// At the beginning. `masked`: of a client.
    pub fn new(masked: bool) -> Self {
        Self { masked, at: At::Head(0), head: [0; HEAD], closes: false, closed: false }
    }

    /// So many bytes before the first frame are something else.
    pub fn behind(self, n: u64) -> Self {
        let mut behind = Self { at: At::Payload(n), ..self };
        behind.end();
        behind
    }

    /// Whether the last frame is whole: another one may stand here.
    pub fn is_between(&self) -> bool {
        self.at == At::Head(0)
    }

    /// Whether a Close went by, after which nothing may follow.
    pub fn has_closed(&self) -> bool {
        self.closed
    }

    /// Whether what went by is no WebSocket: nobody knows where anything ends.
    pub fn is_lost(&self) -> bool {
        self.at == At::Lost
    }

    /// So many of the next bytes can go by unseen, through [`Frames::skip`].
    pub fn opaque(&self) -> u64 {
        match self.at {
            At::Head(_) => 0,
            At::Payload(left) => left,
            At::Lost => u64::MAX,
        }
    }

    /// So many went by unseen, [`Frames::opaque`] at the most.
    pub fn skip(&mut self, n: u64) {
        if let At::Payload(left) = self.at {
            self.at = At::Payload(left.saturating_sub(n));
            self.end();
        }
    }

    /// These went by.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.step(bytes)..];
        }
    }

    /// How many of these bytes belong to the frame under way; where none is, to the next one.
    pub fn rest(&self, bytes: &[u8]) -> usize {
        let (mut ahead, mut n) = (*self, 0);
        while n < bytes.len() {
            n += ahead.step(&bytes[n..]);
            if ahead.is_between() {
                break;
            }
        }
        n
    }

    /// One byte of a head, or payload; says how many bytes that was.
    fn step(&mut self, bytes: &[u8]) -> usize {
        match self.at {
            At::Lost => bytes.len(),
            At::Payload(left) => {
                let n = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.skip(n as u64);
                n
            }
            At::Head(have) => {
                self.head[have] = bytes[0];
                self.at = At::Head(have + 1);
                self.judge(have + 1);
                1
            }
        }
    }

    /// Looks at a head of which so many bytes are there.
    fn judge(&mut self, have: usize) {
        if have < 2 {
            return;
        }
        let [first, second, long @ ..] = self.head;
        let (code, short) = (first & 0x0f, second & 0x7f);
        let control = code >= CLOSE;
        let odd = matches!(code, 3..=7 | 11..) || (control && (short > 125 || first & 0x80 == 0));
        if odd || (second & 0x80 != 0) != self.masked {
            self.at = At::Lost;
            return;
        }
        let length = match (short, have) {
            (126, 4) => u64::from(u16::from_be_bytes([long[0], long[1]])),
            (127, HEAD) => u64::from_be_bytes(long),
            (126 | 127, _) => return,
            (short, _) => u64::from(short),
        };
        // A length has 63 bits.
        let whole = length.checked_add(if self.masked { MASK } else { 0 });
        let Some(whole) = whole.filter(|_| length >> 63 == 0) else {
            self.at = At::Lost;
            return;
        };
        self.closes = code == CLOSE;
        self.at = At::Payload(whole);
        self.end();
    }

    /// Ends the frame when nothing of it is to come.
    fn end(&mut self) {
        if self.at == At::Payload(0) {
            self.at = At::Head(0);
            self.closed |= self.closes;
        }
    }
}

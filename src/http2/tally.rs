//! What the frames of a connection cost, so that a peer that only makes work is sent away.
//!
//! The windows and limits of streams bound what a flood may hold in memory; this bounds how much work
//! it may ask for without ever carrying anything (RFC 9113 10.5). No clock: whoever reads says how
//! much time went by.
use super::frame::kind;
use std::time::Duration;

/// What a flood is made of: the words of `evenkeel_http2_floods_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The peer's RST_STREAM.
    Resets,
    /// Ours, for what the peer did wrong.
    LocalResets,
    /// CONTINUATION.
    Continuations,
    /// DATA that carries nothing.
    DataFrames,
    /// SETTINGS, PING, PRIORITY, WINDOW_UPDATE, what nobody knows; lists of fields without end.
    Other,
}

impl Kind {
    /// Each.
    pub const ALL: [Self; 5] =
        [Self::Resets, Self::LocalResets, Self::Continuations, Self::DataFrames, Self::Other];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::LocalResets => "local_resets",
            Self::Continuations => "continuations",
            Self::DataFrames => "data_frames",
            Self::Other => "other",
        }
    }
}

/// The account of a connection.
#[derive(Debug)]
pub struct Tally {
    credit: u32,
    /// Bytes of bodies that came and earned nothing yet.
    carried: u32,
}

/// So many frames that carry nothing are nobody's harm: a tenth of a second of one core.
const MOST: u32 = 10_000;
/// A reset costs as much as a request that is begun for nothing.
const RESET: u32 = 20;
/// For each frame that we send: a client may answer it with updates of its windows and a PING.
const SENT: u32 = 10;
/// So many bytes of bodies that come pay for one frame that carries nothing. Bytes and not frames:
/// else one byte between two PINGs would pay for both, and ten of them for a reset. Clients hardly
/// need it: what they send besides a body (windows, PINGs that measure) answers what they were sent,
/// which is paid for by [`SENT`]. So small messages pay for little, and cost nothing either.
const CARRIED: u32 = 4 << 10;
/// For each second: a client that only keeps its connection alive may do so for ever.
const SECOND: u32 = 100;

impl Default for Tally {
    fn default() -> Self {
        Self { credit: MOST, carried: 0 }
    }
}

impl Tally {
    /// A frame came, which carries so many bytes of a body; `ends` its stream. The kind of flood it
    /// belongs to, where it was one too many.
    #[inline]
    pub fn came(&mut self, frame: u8, data: u32, ends: bool) -> Option<Kind> {
        let (cost, kind) = match frame {
            kind::DATA if data == 0 && !ends => (1, Kind::DataFrames),
            kind::DATA => {
                let carried = self.carried.saturating_add(data);
                self.carried = carried % CARRIED;
                self.gain(carried / CARRIED);
                return None;
            }
            // What is behind it is bounded as a request is.
            kind::HEADERS => return None,
            kind::RST_STREAM => (RESET, Kind::Resets),
            kind::CONTINUATION => (1, Kind::Continuations),
            _ => (1, Kind::Other),
        };
        self.spend(cost, kind)
    }

    /// A request came beyond those that are allowed, and was refused: as cheap as a frame. A client may
    /// not know of its limit yet.
    pub fn refused(&mut self) -> Option<Kind> {
        self.spend(1, Kind::LocalResets)
    }

    fn spend(&mut self, cost: u32, kind: Kind) -> Option<Kind> {
        match self.credit.checked_sub(cost) {
            Some(left) => {
                self.credit = left;
                None
            }
            None => Some(kind),
        }
    }

    /// A part of a body, or a head, went out.
    #[inline]
    pub fn went(&mut self) {
        self.gain(SENT);
    }

    /// So much time went by.
    pub fn passed(&mut self, time: Duration) {
        let earned = time.as_millis() * u128::from(SECOND) / 1000;
        self.gain(u32::try_from(earned).unwrap_or(u32::MAX));
    }

    fn gain(&mut self, n: u32) {
        self.credit = self.credit.saturating_add(n).min(MOST);
    }
}

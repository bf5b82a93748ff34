//! Rise and fall: pure. So many good probes in a row bring a backend up, so many bad ones down.
use serde::{Deserialize, Serialize};

/// What probes know of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Health {
    /// Not probed yet.
    Unknown,
    /// Up, with so many bad probes in a row.
    Up {
        /// In a row.
        bad: u32,
    },
    /// Down, with so many good probes in a row.
    Down {
        /// In a row.
        good: u32,
    },
}

impl Health {
    /// Up, with nothing against it.
    pub(super) const UP: Self = Self::Up { bad: 0 };

    /// After one more probe. The very first one decides at once.
    pub(super) fn after(self, good: bool, rise: u32, fall: u32) -> Self {
        match (self, good) {
            (Self::Unknown, true) => Self::Up { bad: 0 },
            (Self::Unknown, false) => Self::Down { good: 0 },
            (Self::Up { .. }, true) => Self::Up { bad: 0 },
            (Self::Up { bad }, false) if bad + 1 < fall => Self::Up { bad: bad + 1 },
            (Self::Up { .. }, false) => Self::Down { good: 0 },
            (Self::Down { good }, true) if good + 1 < rise => Self::Down { good: good + 1 },
            (Self::Down { .. }, true) => Self::Up { bad: 0 },
            (Self::Down { .. }, false) => Self::Down { good: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(from: Health, probes: &str) -> Health {
        probes.chars().fold(from, |h, c| h.after(c == '+', 2, 3))
    }

    #[test]
    fn rise_and_fall_count_in_a_row() {
        let up = Health::Up { bad: 0 };
        let down = Health::Down { good: 0 };
        for (from, probes, to) in [
            (Health::Unknown, "+", up),
            (Health::Unknown, "-", down),
            (up, "--", Health::Up { bad: 2 }),
            (up, "--+--", Health::Up { bad: 2 }),
            (up, "---", down),
            (down, "+", Health::Down { good: 1 }),
            (down, "+-+", Health::Down { good: 1 }),
            (down, "++", up),
        ] {
            assert_eq!(run(from, probes), to, "{from:?} {probes}");
        }
    }
}

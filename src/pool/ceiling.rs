//! How many requests at once a backend bears that refuses what is more. Pure. For one backend.
//!
//! Who refuses at once has that place free again at once: one place too many asks on and on, and what
//! would have waited is refused. So the limit has to be met, not gone around. It is searched for between what went
//! well and what was refused, half-way each time, and held there; now and then one more is tried. It is
//! what BIC TCP does between two losses (L. Xu, K. Harfoush, I. Rhee, "Binary Increase Congestion Control for
//! Fast Long-Distance Networks", INFOCOM 2004).

/// So many windows go well until one more is tried, the first time;
const HOLD: u32 = 3;
/// twice as many each time that it was refused, up to this: little is refused where nothing changes.
const HOLD_MOST: u32 = 16;
/// What went well is gone back to, where it is this share of what was refused: else all may be otherwise now.
const NEAR: f64 = 0.5;
/// A window of refusals takes no more than this.
const CUT_MOST: f64 = 0.5;

/// Between what the search goes on.
#[derive(Debug)]
pub(super) struct Ceiling {
    /// The most that went well.
    fits: f64,
    /// The least that was refused.
    much: Option<f64>,
    /// Windows that went well, since then, and how many it takes until one more is tried.
    held: u32,
    hold: u32,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self { fits: 0.0, much: None, held: 0, hold: HOLD }
    }
}

impl Ceiling {
    /// A window went well, with so many in work: no more than this next.
    pub(super) fn went_well(&mut self, most: f64) -> f64 {
        self.fits = self.fits.max(most);
        let Some(much) = self.much.filter(|much| self.fits < *much) else {
            *self = Self { fits: self.fits, ..Self::default() };
            return f64::INFINITY;
        };
        self.held += 1;
        let half = ((self.fits + much) / 2.0).floor();
        if self.held >= self.hold { much } else { half.max(self.fits) }
    }

    /// In a window at this limit that share was refused: so many next.
    pub(super) fn refused(&mut self, limit: f64, share: f64) -> f64 {
        if self.held >= self.hold {
            self.hold = (self.hold * 2).min(HOLD_MOST);
        }
        (self.much, self.held) = (Some(limit), 0);
        if self.fits < limit && self.fits >= limit * NEAR {
            return self.fits;
        }
        self.fits = 0.0;
        limit * (1.0 - share).max(CUT_MOST)
    }
}

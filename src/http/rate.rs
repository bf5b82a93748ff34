//! Whether a body that is waited for comes fast enough (`limits.body_rate`).
use crate::message::Broken;
use std::time::{Duration, Instant};

/// How long a slow body may be waited for before its rate counts: a client may need a moment
/// between its head and its body.
const GRACE: Duration = Duration::from_secs(10);

/// The time that was spent waiting for a body.
#[derive(Debug)]
pub(super) struct Rate {
    /// Bytes a second; 0: no limit.
    least: u64,
    waited: Duration,
    since: Option<Instant>,
}

impl Rate {
    /// No limit.
    pub(super) const NONE: Self = Self { least: 0, waited: Duration::ZERO, since: None };

    /// So many bytes a second at the least, from here on.
    pub(super) fn bound(&mut self, least: Option<u64>) {
        self.least = least.unwrap_or(0);
    }

    /// The client must send before more can be done.
    pub(super) fn wait(&mut self) {
        if self.least > 0 && self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    /// It has sent: `taken` bytes were taken before that.
    ///
    /// # Errors
    ///
    /// [`Broken::Slow`]
    pub(super) fn judge(&mut self, taken: u64) -> Result<(), Broken> {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
            let allowed = GRACE.as_secs_f64() + taken as f64 / self.least.max(1) as f64;
            if self.least > 0 && self.waited.as_secs_f64() > allowed {
                return Err(Broken::Slow);
            }
        }
        Ok(())
    }
}

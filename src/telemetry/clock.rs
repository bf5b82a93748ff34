//! When something began by the calendar, without a look at that clock for each.
use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How old a reading of both clocks may be: the calendar's may be set meanwhile.
const OLD: Duration = Duration::from_secs(1);

/// The same moment by both clocks.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    since_1970: Duration,
}

thread_local! {
    static LAST: Cell<Option<Reading>> = const { Cell::new(None) };
}

/// A moment, as time since 1970; to be asked soon after it.
pub(crate) fn since_1970(moment: Instant) -> Duration {
    let last = LAST.get().and_then(|last| last.tell(moment));
    last.unwrap_or_else(|| read(moment))
}

#[cold]
fn read(moment: Instant) -> Duration {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = Instant::now();
    LAST.set(Some(Reading { at, since_1970 }));
    since_1970.saturating_sub(at.saturating_duration_since(moment))
}

impl Reading {
    /// What it says of a moment not long after it.
    fn tell(self, moment: Instant) -> Option<Duration> {
        let later = moment.checked_duration_since(self.at).filter(|later| *later < OLD)?;
        Some(self.since_1970 + later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_by_a_reading_that_is_not_long_before_it() {
        let at = Instant::now();
        let reading = Reading { at, since_1970: Duration::from_secs(7) };
        assert_eq!(reading.tell(at), Some(Duration::from_secs(7)));
        assert_eq!(reading.tell(at + OLD / 2), Some(Duration::from_millis(7_500)));
        assert_eq!(reading.tell(at + OLD), None);
        assert_eq!(reading.tell(at - Duration::from_nanos(1)), None);
    }

    #[test]
    fn moments_are_told_in_their_order_however_long_ago_they_were() {
        let now = Instant::now();
        let told = since_1970(now);
        let ago = now - 10 * OLD;
        assert!(since_1970(ago) < told && told <= since_1970(Instant::now()));
        assert!(told > Duration::from_secs(1_700_000_000), "{told:?}");
    }
}

//! Peak-EWMA of one backend: a slower first byte counts at once, a faster one by and by, and what
//! was learnt fades when nothing new comes (after finagle's `p2cPeakEwma`).
//!
//! Time comes in as ticks, so that it can be played. Value and time stand in one word and change
//! together by compare-and-swap: no update is half seen, none is lost.
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Milliseconds of a tick, as a shift: 16 ms. 32 bits of them last two years.
const TICK_SHIFT: u32 = 4;
/// Ticks of a second, nearly.
pub(super) const TICKS_A_SECOND: u32 = 62;
/// After so long without news a value has faded to 1/e. Finagle's default.
const FADE_S: f32 = 10.0;
/// What a failure adds to what a backend costs, and by what it multiplies it: one failure makes a
/// 1 ms backend as dear as 13 ms, which fades within 25 s; failures in a row shut it out.
const FAILED_S: f32 = 0.005;
/// As above.
const FAILED_TIMES: f32 = 8.0;
/// Nothing costs more than this, in seconds: what failed a hundred times can come back in a minute.
const MOST_S: f32 = 10.0;
/// Nothing costs less: seconds, so that a value once learnt is never taken for "never measured".
const LEAST_S: f32 = 1e-6;

/// The cell. 0: never measured.
#[derive(Debug, Default)]
pub(super) struct Ewma(AtomicU64);

/// A time as ticks since a backend was born.
pub(super) fn tick(age: Duration) -> u32 {
    (age.as_millis() >> TICK_SHIFT) as u32
}

impl Ewma {
    /// A first byte took so long.
    pub(super) fn learn(&self, took: Duration, tick: u32) {
        let took = took.as_secs_f32();
        self.update(tick, |old, kept| match old {
            Some(old) if took < old => old * kept + took * (1.0 - kept),
            _ => took,
        });
    }
    /// A try failed.
    pub(super) fn fail(&self, tick: u32) {
        self.update(tick, |old, kept| old.unwrap_or(0.0) * kept * FAILED_TIMES + FAILED_S);
    }
    /// What a first byte costs now, in seconds; `None` when nothing is known.
    pub(super) fn cost(&self, tick: u32) -> Option<f32> {
        let (old, then) = unpack(self.0.load(Relaxed));
        old.map(|old| old * kept(then, tick))
    }
    fn update(&self, tick: u32, next: impl Fn(Option<f32>, f32) -> f32) {
        let step = |word: u64| {
            let (old, then) = unpack(word);
            Some(pack(next(old, kept(then, tick)).clamp(LEAST_S, MOST_S), tick.max(then)))
        };
        let _ = self.0.fetch_update(Relaxed, Relaxed, step);
    }
}

fn pack(value: f32, tick: u32) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(tick)
}

fn unpack(word: u64) -> (Option<f32>, u32) {
    let value = f32::from_bits((word >> 32) as u32);
    ((word != 0).then_some(value), word as u32)
}

/// The share that is left of a value: e^-x, as 1 / (1 + x + x²/2 + x³/6), which is above it by at
/// most 3 % up to x = 2 and takes a few cycles.
fn kept(then: u32, now: u32) -> f32 {
    let ms = u64::from(now.saturating_sub(then)) << TICK_SHIFT;
    let x = ms as f32 / 1000.0 / FADE_S;
    1.0 / (1.0 + x * (1.0 + x * (0.5 + x / 6.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: u32 = 62;

    #[test]
    fn a_peak_counts_at_once_and_fades_by_and_by() {
        let ewma = Ewma::default();
        assert_eq!(ewma.cost(0), None);
        ewma.learn(MS, 0);
        ewma.learn(100 * MS, 1);
        assert_eq!(ewma.cost(1), Some(0.1));
        ewma.learn(MS, 1 + SECOND);
        let soon = ewma.cost(1 + SECOND).expect("it was measured");
        assert!((0.085..0.095).contains(&soon), "one fast answer a second later: {soon}");
        for second in 2..60 {
            ewma.learn(MS, second * SECOND);
        }
        let late = ewma.cost(60 * SECOND).expect("it was measured");
        assert!(late < 0.003, "a minute of fast answers: {late}");
    }

    #[test]
    fn silence_fades_to_nothing() {
        let ewma = Ewma::default();
        ewma.learn(1000 * MS, 0);
        let after = |s: u32| ewma.cost(s * SECOND).expect("it was measured");
        assert!(after(1) > after(10) && after(10) > after(100));
        assert!((0.35..0.40).contains(&after(10)), "{}", after(10));
        assert!(after(100) < 0.01);
    }

    #[test]
    fn failures_make_dear_and_are_bounded() {
        let ewma = Ewma::default();
        ewma.learn(MS, 0);
        ewma.fail(0);
        assert!(ewma.cost(0).is_some_and(|c| (0.012..0.014).contains(&c)));
        for _ in 0..100 {
            ewma.fail(0);
        }
        assert_eq!(ewma.cost(0), Some(MOST_S));
    }

    #[test]
    fn a_clock_that_seems_to_go_back_changes_nothing() {
        let ewma = Ewma::default();
        ewma.learn(10 * MS, 1000);
        ewma.learn(MS, 500);
        assert_eq!(ewma.cost(1000), Some(0.01));
    }
}

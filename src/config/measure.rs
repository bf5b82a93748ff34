//! Texts with a unit: durations, sizes, rates and shares.
use super::hint::quoted;
use super::problem::Wrong;
use super::units::{ByteSize, Percent, Rate};
use std::time::Duration;

/// No time of a configuration is longer: far from where clocks overflow.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

const TIMES: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const SIZES: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// `"250ms" "2s" "1m30s" "1.5h"`: numbers with a unit, the larger unit first.
///
/// # Errors
///
/// No unit, an unknown one, one out of order, more than ten years.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let no = || {
        let all = Wrong::new(format!("{} is not a duration", quoted(text)));
        all.hint("write for example \"250ms\", \"2s\" or \"1m30s\"")
    };
    let (mut rest, mut nanos, mut before) = (text, 0_u128, u64::MAX);
    while !rest.is_empty() || before == u64::MAX {
        let (number, after) = number(rest).ok_or_else(no)?;
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (word, after) = after.split_at(letters);
        let Some((_, unit)) = TIMES.iter().find(|(name, _)| *name == word) else {
            return Err(unit_fault(text, word, "s", &TIMES, no()));
        };
        if *unit >= before {
            return Err(no());
        }
        nanos = nanos.saturating_add(scaled(number, *unit).ok_or_else(no)?);
        (rest, before) = (after, *unit);
    }
    let whole = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    let part = u32::try_from(nanos % 1_000_000_000).expect("a remainder is below its divisor");
    let all = Duration::new(whole, part);
    if all > LONGEST {
        return Err(Wrong::new(format!("{} is more than ten years", quoted(text))));
    }
    Ok(all)
}

/// `"16KiB" "10MB" "500B"`: a number with a unit; powers of 1024 have an `i`.
///
/// # Errors
///
/// No unit, an unknown one, more than 2^63 bytes.
pub(super) fn size(text: &str) -> Result<ByteSize, Wrong> {
    let no = || {
        let all = Wrong::new(format!("{} is not a size", quoted(text)));
        all.hint("write for example \"500B\", \"16KiB\" or \"10MB\"")
    };
    let (number, word) = number(text).ok_or_else(no)?;
    let Some((_, unit)) = SIZES.iter().find(|(name, _)| *name == word) else {
        return Err(unit_fault(text, word, "B", &SIZES, no()));
    };
    let bytes = scaled(number, *unit).and_then(|all| u64::try_from(all).ok());
    match bytes.filter(|bytes| *bytes <= i64::MAX as u64) {
        Some(bytes) => Ok(ByteSize(bytes)),
        None => Err(Wrong::new(format!("{} is too large", quoted(text)))),
    }
}

/// `"500B/s"`: bytes a second.
///
/// # Errors
///
/// As [`size`]; no `/s`.
pub(super) fn byte_rate(text: &str) -> Result<u64, Wrong> {
    match text.strip_suffix("/s") {
        Some(amount) => size(amount).map(|size| size.0).map_err(|wrong| Wrong {
            what: format!("{} is not a byte rate", quoted(text)),
            hint: wrong.hint.map(|_| "write for example \"500B/s\" or \"16KiB/s\"".into()),
        }),
        None if size(text).is_ok() => {
            let what = format!("{} is not a rate", quoted(text));
            Err(Wrong::new(what).hint(format!("write {}", quoted(&format!("{text}/s")))))
        }
        None => {
            let what = format!("{} is not a byte rate", quoted(text));
            Err(Wrong::new(what).hint("write for example \"500B/s\" or \"16KiB/s\""))
        }
    }
}

/// `"100/s" "30/m" "0.5/s"`: how often, in seconds, minutes or hours.
///
/// # Errors
///
/// No time, an unknown one, more than a million times a second, less than once a day.
pub(super) fn rate(text: &str) -> Result<Rate, Wrong> {
    let no = || {
        let wrong = Wrong::new(format!("{} is not a rate", quoted(text)));
        wrong.hint("write for example \"100/s\" or \"30/m\"")
    };
    let Some((amount, unit)) = text.split_once('/') else {
        return Err(match number(text) {
            Some((_, "")) => no_unit(text, &format!("{text}/s")),
            _ => no(),
        });
    };
    let Some((_, "")) = number(amount) else { return Err(no()) };
    let unit = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(no()),
    };
    let times: f64 = amount.parse().map_err(|_| no())?;
    let interval = Duration::try_from_secs_f64(unit / times);
    interval.ok().and_then(Rate::every).ok_or_else(|| {
        let what = format!("{} is not between once a day and a million a second", quoted(text));
        Wrong::new(what)
    })
}

/// `"20%" "0.5%"`: a share.
///
/// # Errors
///
/// No `%`, more than 100 %.
pub(super) fn percent(text: &str) -> Result<Percent, Wrong> {
    let no =
        || Wrong::new(format!("{} is not a share", quoted(text))).hint("write for example \"20%\"");
    let Some(amount) = text.strip_suffix('%') else {
        return Err(match number(text) {
            Some((_, "")) => no_unit(text, &format!("{text}%")),
            _ => no(),
        });
    };
    let Some((_, "")) = number(amount) else { return Err(no()) };
    let share = amount.parse::<f64>().map_err(|_| no())? / 100.0;
    Percent::new(share).ok_or_else(|| Wrong::new(format!("{} is more than 100%", quoted(text))))
}

/// `"2" has no unit; write "2s"`
pub(super) fn no_unit(shown: &str, write: &str) -> Wrong {
    Wrong::new(format!("{} has no unit", quoted(shown))).hint(format!("write {}", quoted(write)))
}

fn unit_fault(text: &str, word: &str, usual: &str, units: &[(&str, u64)], no: Wrong) -> Wrong {
    let tight: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    if tight.len() < text.len() && tight.len() > word.len() {
        return no.hint("write it without spaces");
    }
    if word.is_empty() {
        return if text.ends_with(|c: char| c.is_ascii_digit()) {
            no_unit(text, &format!("{text}{usual}"))
        } else {
            no
        };
    }
    let near = units.iter().find(|(name, _)| {
        name.eq_ignore_ascii_case(word) || (word.len() > 2 && word.starts_with(name))
    });
    let all = units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let what = format!("{} has an unknown unit {}", quoted(text), quoted(word));
    Wrong::new(what).hint(match near {
        Some((name, _)) => format!("did you mean {}?", quoted(name)),
        None => format!("units are {all}"),
    })
}

/// A number at the start, as (whole, digits after the point), and what follows it.
fn number(text: &str) -> Option<((&str, &str), &str)> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, rest) = text.split_at(digits(text));
    let Some(after) = rest.strip_prefix('.') else {
        return (!whole.is_empty()).then_some(((whole, ""), rest));
    };
    let (part, rest) = after.split_at(digits(after));
    (!whole.is_empty() && !part.is_empty()).then_some(((whole, part), rest))
}

/// A number of units, rounded down; `None` when it is beyond all use.
fn scaled((whole, part): (&str, &str), unit: u64) -> Option<u128> {
    let unit = u128::from(unit);
    let all = whole.parse::<u64>().ok().map(u128::from)?.checked_mul(unit)?;
    // Digits beyond the twelfth are below a nanosecond of a day and below a byte of a TiB.
    let part = &part[..part.len().min(12)];
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let more = if part.is_empty() { 0 } else { part.parse::<u128>().ok()? * unit / scale };
    all.checked_add(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, micros) in
            [("100/s", 10_000), ("1/s", 1_000_000), ("30/m", 2_000_000), ("0.5/s", 2_000_000)]
        {
            assert_eq!(rate(text).map(Rate::interval), Ok(Duration::from_micros(micros)), "{text}");
        }
        let range = "is not between once a day and a million a second";
        for (text, said) in [
            ("100", "\"100\" has no unit; write \"100/s\"".into()),
            ("", "\"\" is not a rate; write for example \"100/s\" or \"30/m\"".into()),
            ("1/d", "\"1/d\" is not a rate; write for example \"100/s\" or \"30/m\"".into()),
            ("-1/s", "\"-1/s\" is not a rate; write for example \"100/s\" or \"30/m\"".into()),
            ("0/s", format!("\"0/s\" {range}")),
            ("2000000/s", format!("\"2000000/s\" {range}")),
            ("0.01/h", format!("\"0.01/h\" {range}")),
        ] {
            assert_eq!(line(rate(text)), said, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("250ms", 250),
            ("2s", 2000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("1d", 86_400_000),
            ("0s", 0),
            ("1s500ms", 1500),
            ("0.25s", 250),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, said) in [
            ("2", "\"2\" has no unit; write \"2s\""),
            ("1m30", "\"1m30\" has no unit; write \"1m30s\""),
            ("", "\"\" is not a duration; write for example \"250ms\", \"2s\" or \"1m30s\""),
            ("-1s", "\"-1s\" is not a duration; write for example \"250ms\", \"2s\" or \"1m30s\""),
            (
                "1s1m",
                "\"1s1m\" is not a duration; write for example \"250ms\", \"2s\" or \"1m30s\"",
            ),
            ("2 s", "\"2 s\" is not a duration; write it without spaces"),
            ("2S", "\"2S\" has an unknown unit \"S\"; did you mean \"s\"?"),
            ("2sec", "\"2sec\" has an unknown unit \"sec\"; did you mean \"s\"?"),
            ("2x", "\"2x\" has an unknown unit \"x\"; units are d, h, m, s, ms, us, ns"),
            ("99999d", "\"99999d\" is more than ten years"),
        ] {
            assert_eq!(line(duration(text)), said);
        }
    }

    #[test]
    fn sizes_rates_and_shares() {
        for (text, bytes) in [
            ("500B", 500),
            ("16KiB", 16 << 10),
            ("10MB", 10_000_000),
            ("1.5MiB", 3 << 19),
            ("1kB", 1000),
        ] {
            assert_eq!(size(text), Ok(ByteSize(bytes)), "{text}");
        }
        assert_eq!(line(size("16")), "\"16\" has no unit; write \"16B\"");
        assert_eq!(
            line(size("16kib")),
            "\"16kib\" has an unknown unit \"kib\"; did you mean \"KiB\"?"
        );
        assert_eq!(line(size("99999999999TiB")), "\"99999999999TiB\" is too large");
        assert_eq!(byte_rate("500B/s"), Ok(500));
        assert_eq!(line(byte_rate("500B")), "\"500B\" is not a rate; write \"500B/s\"");
        assert_eq!(percent("20%").map(Percent::get), Ok(0.2));
        assert_eq!(percent("0.5%").map(Percent::get), Ok(0.005));
        assert_eq!(line(percent("20")), "\"20\" has no unit; write \"20%\"");
        assert_eq!(line(percent("120%")), "\"120%\" is more than 100%");
        assert_eq!(line(percent("x%")), "\"x%\" is not a share; write for example \"20%\"");
    }

    fn line<T: std::fmt::Debug>(result: Result<T, Wrong>) -> String {
        let wrong = result.unwrap_err();
        match wrong.hint {
            Some(hint) => format!("{}; {hint}", wrong.what),
            None => wrong.what,
        }
    }

    #[test]
    fn no_text_makes_them_panic() {
        for seed in 0..20_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let text: String = (0..rng.usize(..12))
                .map(|_| {
                    rng.choice([
                        '0', '3', '9', '.', 's', 'm', 'h', 'd', 'K', 'i', 'B', '/', '%', ' ', 'é',
                    ])
                    .expect("letters")
                })
                .collect();
            let _ = (duration(&text), size(&text), byte_rate(&text), rate(&text), percent(&text));
        }
    }
}

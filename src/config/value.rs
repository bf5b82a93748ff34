//! Values by their kind: text, number, word, time, size, share.
use super::env;
use super::hint::{did_you_mean, quoted};
use super::measure;
use super::problem::Wrong;
use super::table::Item;
use super::unbuilt;
use super::units::{Percent, Rate, Timeout};
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::DeValue;

/// Kinds of values, for short forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "names say it")]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    List,
    Table,
    Date,
}

impl Item<'_> {
    /// What kind of value it is.
    pub(super) fn kind(&self) -> Kind {
        match self.value.get_ref() {
            DeValue::String(_) => Kind::Text,
            DeValue::Integer(_) | DeValue::Float(_) => Kind::Number,
            DeValue::Boolean(_) => Kind::Flag,
            DeValue::Array(_) => Kind::List,
            DeValue::Table(_) => Kind::Table,
            DeValue::Datetime(_) => Kind::Date,
        }
    }

    /// A string with the environment put in.
    pub(super) fn text(&self) -> Option<String> {
        let DeValue::String(raw) = self.value.get_ref() else {
            let wrong = self.type_fault("a string");
            let hint = self
                .shown()
                .filter(|_| self.kind() == Kind::Number)
                .map(|shown| format!("write {}", quoted(&shown)));
            self.wrong(wrong.maybe(hint));
            return None;
        };
        self.hold(env::substitute(raw, self.page.desk.env))
    }

    /// A number or truth value as written.
    pub(super) fn shown(&self) -> Option<String> {
        match self.value.get_ref() {
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.to_string()),
            DeValue::Boolean(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// Turns a failed check into a problem.
    pub(super) fn hold<T>(&self, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|wrong| self.wrong(wrong)).ok()
    }

    /// A string that passes a check.
    pub(super) fn checked<T>(&self, check: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        self.text().and_then(|text| self.hold(check(&text)))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                self.wrong_type("true or false");
                None
            }
        }
    }

    /// A whole number.
    pub(super) fn count<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Option<T> {
        let DeValue::Integer(number) = self.value.get_ref() else {
            let wrong = match self.value.get_ref() {
                DeValue::Float(number) => Wrong::new(format!("{number} is not a whole number")),
                _ => self.type_fault("a whole number"),
            };
            let bare = self.value.get_ref().as_str().and_then(|text| text.parse::<u64>().ok());
            self.wrong(wrong.maybe(bare.map(|number| format!("write {number} without quotes"))));
            return None;
        };
        let read = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let fits = read.and_then(|n| u64::try_from(n).ok()).filter(|n| range.contains(n));
        let out = fits.and_then(|n| T::try_from(n).ok());
        if out.is_none() {
            let (low, high) = range.into_inner();
            self.fault(match high {
                u64::MAX => format!("{number} is below {low}"),
                _ => format!("{number} is not between {low} and {high}"),
            });
        }
        out
    }

    /// A whole number, or `"off"`.
    pub(super) fn count_or_off<T: TryFrom<u64>>(
        &self,
        range: RangeInclusive<u64>,
    ) -> Option<Option<T>> {
        if self.is_off() { Some(None) } else { self.count(range).map(Some) }
    }

    /// A number with or without a fraction.
    pub(super) fn factor(&self) -> Option<f64> {
        let number = match self.value.get_ref() {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n as f64)
            }
            _ => {
                self.wrong_type("a number");
                return None;
            }
        };
        if number.is_none() {
            self.fault("is no number that can be used");
        }
        number
    }

    /// One of some words; case, and `-` or `_`, do not count.
    pub(super) fn word<T: Copy>(&self, place: &str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let word = normal(&text);
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == word) {
            return Some(*value);
        }
        if unbuilt::is_unbuilt(place, &word) {
            self.unbuilt(&quoted(&word));
            return None;
        }
        let unbuilt = unbuilt::of(place).filter(|word| !word.contains(' '));
        let mut all: Vec<&'static str> = words.iter().map(|(name, _)| *name).collect();
        all.extend(unbuilt);
        let hint = did_you_mean(&text, all.iter().copied());
        let hint = hint.unwrap_or_else(|| format!("known are {}", all.join(", ")));
        self.wrong(Wrong::new(format!("{} is not a word of this key", quoted(&text))).hint(hint));
        None
    }

    /// Whether it is the word `"off"`.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::String(text) if normal(text) == "off")
    }

    /// A time above zero.
    pub(super) fn duration(&self) -> Option<Duration> {
        let time = self.delay()?;
        if time.is_zero() {
            self.fault("a time of zero is none");
            return None;
        }
        Some(time)
    }

    /// A time that may be zero.
    pub(super) fn delay(&self) -> Option<Duration> {
        self.off_fault()?;
        self.unitless("s")?;
        self.checked(measure::duration)
    }

    /// A time above zero, or `"off"`.
    pub(super) fn timeout(&self) -> Option<Timeout> {
        if self.is_off() {
            return Some(Timeout::OFF);
        }
        self.unitless("s")?;
        let time = self.checked(|text| {
            measure::duration(text).map_err(|wrong| match wrong.hint {
                Some(_) => wrong,
                None => wrong.hint("write \"off\" for no limit"),
            })
        })?;
        if Timeout::new(time).is_none() {
            self.wrong(Wrong::new("a time of zero is none").hint("write \"off\" for no limit"));
        }
        Timeout::new(time)
    }

    /// A number of bytes within a range.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        self.off_fault()?;
        let number = self.shown().and_then(|number| number.parse::<u64>().ok());
        match number {
            Some(number) if number > 0 && number % 1024 == 0 => {
                self.no_unit(&format!("{}KiB", number / 1024))?
            }
            _ => self.unitless("B")?,
        }
        let bytes = self.checked(measure::size)?.0;
        if !range.contains(&bytes) {
            let (low, high) = range.into_inner();
            self.fault(format!("a size of {bytes} bytes is not between {low} and {high}"));
            return None;
        }
        Some(bytes)
    }

    /// A number of bytes, or `"off"`.
    pub(super) fn size_or_off(&self) -> Option<Option<u64>> {
        if self.is_off() { Some(None) } else { self.size(0..=i64::MAX as u64).map(Some) }
    }

    /// Bytes a second, or `"off"`.
    pub(super) fn byte_rate_or_off(&self) -> Option<Option<u64>> {
        if self.is_off() {
            return Some(None);
        }
        self.unitless("B/s")?;
        match self.checked(measure::byte_rate)? {
            0 => {
                self.wrong(Wrong::new("a rate of zero is none").hint("write \"off\" for no limit"));
                None
            }
            rate => Some(Some(rate)),
        }
    }

    /// How often something may happen.
    pub(super) fn rate(&self) -> Option<Rate> {
        self.off_fault()?;
        self.unitless("/s")?;
        self.checked(measure::rate)
    }

    /// A share.
    pub(super) fn percent(&self) -> Option<Percent> {
        self.off_fault()?;
        // 0.5 without a unit is half of all more often than half of a hundredth.
        match self.value.get_ref() {
            DeValue::Float(number)
                if number.as_str().parse::<f64>().is_ok_and(|n| n > 0.0 && n <= 1.0) =>
            {
                let share = number.as_str().parse::<f64>().unwrap_or_default();
                self.no_unit(&format!("{}%", share * 100.0))?;
            }
            _ => self.unitless("%")?,
        }
        self.checked(measure::percent)
    }

    fn off_fault(&self) -> Option<()> {
        if self.is_off() {
            self.fault("this cannot be off");
            return None;
        }
        Some(())
    }

    /// Refuses a bare number where a unit belongs.
    fn unitless(&self, unit: &str) -> Option<()> {
        match self.shown() {
            Some(shown) if self.kind() == Kind::Number => self.no_unit(&format!("{shown}{unit}")),
            _ => Some(()),
        }
    }

    fn no_unit(&self, write: &str) -> Option<()> {
        let shown = self.shown().unwrap_or_default();
        if shown.starts_with('-') {
            self.fault(format!("{shown} is below zero"));
            return None;
        }
        self.wrong(
            Wrong::new(format!("{shown} has no unit")).hint(format!("write {}", quoted(write))),
        );
        None
    }
}

/// A word without case, `-` as `_`.
pub(super) fn normal(text: &str) -> String {
    text.to_ascii_lowercase().replace('-', "_")
}

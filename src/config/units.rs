//! Values with a unit: a bad one cannot be constructed.
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// The name of a listener, route, pool or backend: 1 to 255 bytes without controls, and neither `.`
/// nor `..`: in a path these are no names (RFC 3986 5.2.4), whatever a client writes for them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks and keeps a name.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a name cannot be empty".into());
        }
        if text.len() > 255 {
            return Err(format!("a name has at most 255 bytes, this one {}", text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err("a name cannot hold control characters".into());
        }
        if text.starts_with(' ') || text.ends_with(' ') {
            return Err(format!("a name cannot begin or end with a blank: {text:?}"));
        }
        if matches!(text, "." | "..") {
            return Err(format!("{text:?} cannot be a name: no browser could ask for its path"));
        }
        Ok(Self(text.into()))
    }
}
impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A backend's share of the work relative to its pool: 0 to 1000. 0 gets no new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// The weight of a backend that says none.
    pub const DEFAULT: Weight = Weight(1);
    /// `None` above 1000.
    pub const fn new(weight: u16) -> Option<Self> {
        if weight <= 1000 { Some(Self(weight)) } else { None }
    }
    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// A time limit, or none (`"off"`). A limit of zero cannot be constructed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeout(Option<Duration>);

impl Timeout {
    /// No limit.
    pub const OFF: Timeout = Timeout(None);
    /// `None` for zero.
    pub const fn new(limit: Duration) -> Option<Self> {
        if limit.is_zero() { None } else { Some(Self(Some(limit))) }
    }
    /// A limit known when the program is written; zero means off.
    pub const fn secs(secs: u64) -> Self {
        if secs == 0 { Self(None) } else { Self(Some(Duration::from_secs(secs))) }
    }
    /// The limit, if there is one.
    pub const fn get(self) -> Option<Duration> {
        self.0
    }
}

/// How often something may happen: from a million times a second to once a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate(Duration);

impl Rate {
    /// Once in so long; `None` beyond what a rate can be.
    pub fn every(interval: Duration) -> Option<Self> {
        let range = Duration::from_micros(1)..=Duration::from_secs(86_400);
        range.contains(&interval).then_some(Self(interval))
    }
    /// From one to the next.
    pub const fn interval(self) -> Duration {
        self.0
    }
}

/// A share, 0.0 to 1.0.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// `None` outside 0.0 to 1.0.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }
    /// The share, 0.0 to 1.0.
    pub const fn get(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_shown_and_asked_for() {
        for name in ["a", "a b", "10.0.0.1:80", "ü", "a/b"] {
            assert_eq!(&*Name::new(name).unwrap(), name);
        }
        for (name, why) in [
            ("", "empty"),
            (" a", "a blank"),
            ("a ", "a blank"),
            ("a\tb", "control"),
            ("..", "cannot be a name"),
            (&"a".repeat(256), "255 bytes"),
        ] {
            assert!(Name::new(name).unwrap_err().contains(why), "{name:?}");
        }
    }
}

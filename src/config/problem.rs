//! A fault of the configuration: where it is, what is wrong, what was meant.
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Where in a file something is said. Lines and columns count from 1; 0 means the file as a whole.
///
/// Two places are always equal: where a thing is written is no part of what it says, so a value
/// that only moved in its file is an unchanged value at a reload.
#[derive(Clone, Debug, Default)]
pub struct At {
    /// The file as it was named to us.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl PartialEq for At {
    fn eq(&self, _: &At) -> bool {
        true
    }
}
impl Eq for At {}

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: At,
    /// The key's full path, such as `pool.app.health.interval`; empty where none is known, as of a
    /// file that cannot be read.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do, or what was probably meant.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(at: &At, key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { at: at.clone(), key: key.into(), what: what.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    /// `proxy.toml:14:12: pool.app.health.interval: "2" has no unit; write "2s"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at.file)?;
        if self.at.line > 0 {
            write!(f, ":{}:{}", self.at.line, self.at.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", line(&self.what))?;
        match &self.hint {
            Some(hint) => write!(f, "; {}", line(hint)),
            None => Ok(()),
        }
    }
}

/// A problem is one line, whatever stands in a name of a file or another word of the document.
fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// What is wrong with a value, before its place and its key are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What is wrong.
    pub(super) what: String,
    /// What to do.
    pub(super) hint: Option<String>,
}

impl Wrong {
    /// Without a hint.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    /// The same with a hint.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same with a hint if there is one.
    pub(super) fn maybe(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

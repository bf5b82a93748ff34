//! `[log]`: the process's own log and the access log.
use super::hint::{did_you_mean, quoted};
use super::log_line::{self, LineFormat};
use super::problem::{At, Wrong};
use super::table::Item;
use super::units::{Percent, Timeout};
use super::value::{Kind, normal};
use std::path::PathBuf;

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `trace debug info warn error`, or a filter directive list.
    pub level: String,
    /// Form of the process's own log.
    pub format: LogFormat,
    /// The access log; `None` when there is none.
    pub access: Option<AccessLog>,
    /// From here a request counts as slow; `None` is off.
    pub slow: Timeout,
    /// So many of the last failed requests are kept, and of the slow ones.
    pub errors: usize,
}

/// Form of the process's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `log.access`
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Where it goes.
    pub to: LogTarget,
    /// Where that is said.
    pub at: At,
    /// The key that says it: `log.access`, or `log.access.to`.
    pub key: String,
    /// A line's form.
    pub format: LineFormat,
    /// The share of what went well that is written.
    pub sample: Percent,
    /// Only what failed or was slow.
    pub only_errors: bool,
}

/// Where an access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, reopened on SIGUSR1.
    File(PathBuf),
}

impl std::fmt::Display for LogTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::Stderr => f.write_str("standard error"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// `[log]` of a file that says none.
pub(super) fn default() -> Log {
    Log { level: "info".into(), format: LogFormat::Text, access: None, slow: SLOW, errors: ERRORS }
}

/// `[log]`
pub(super) fn log(item: &Item<'_>) -> Option<Log> {
    item.table("log", |t| Log {
        level: t
            .take("level")
            .and_then(|item| item.checked(level))
            .unwrap_or_else(|| "info".into()),
        format: t
            .take("format")
            .and_then(|item| item.word("log.format", &FORMATS))
            .unwrap_or(LogFormat::Text),
        access: t.take("access").and_then(|item| access(&item)),
        slow: t.take("slow").and_then(|item| item.timeout()).unwrap_or(SLOW),
        errors: t.take("errors").and_then(|item| item.count(0..=MOST)).unwrap_or(ERRORS),
    })
}

/// What a person at a screen would call slow.
const SLOW: Timeout = Timeout::secs(1);
/// More than one looks through; at the most 16 KiB each, 10 MiB of all sorts together.
const ERRORS: usize = 200;
/// Of so many the largest together take half a gigabyte.
const MOST: u64 = 10_000;

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
const ONLY: [(&str, bool); 2] = [("all", false), ("errors", true)];
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A level, or a list of `level` and `target=level`.
fn level(text: &str) -> Result<String, Wrong> {
    for part in text.split(',') {
        let word = part.rsplit('=').next().unwrap_or(part).trim();
        if part.contains('[') || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word)) {
            continue;
        }
        let hint = did_you_mean(word, LEVELS)
            .unwrap_or_else(|| format!("levels are {}", LEVELS.join(", ")));
        return Err(Wrong::new(format!("{} is not a level", quoted(word))).hint(hint));
    }
    Ok(text.to_owned())
}

/// A table, or only where it goes.
fn access(item: &Item<'_>) -> Option<AccessLog> {
    if item.is_off() {
        return None;
    }
    if item.kind() == Kind::Text {
        return lines(item, LineFormat::Text);
    }
    let read = item.table("log.access", |t| {
        let to = t.take("to");
        if to.is_none() {
            t.missing(
                Wrong::new("says no \"to\"").hint("write to = \"stdout\", \"stderr\" or a file"),
            );
        }
        let format = t.take("format").and_then(|item| log_line::format(&item));
        let sample = t.take("sample").and_then(|item| Some((item.percent()?, item)));
        let only = t.take("only").and_then(|item| item.word("log.access.only", &ONLY));
        if let (Some((_, item)), Some(true)) = (&sample, only) {
            let what = "nothing is left to be drawn from: only = \"errors\" writes all of them";
            item.key_wrong(Wrong::new(what).hint("leave out one of the two"));
        }
        if let Some(to) = to.as_ref().filter(|to| to.is_off()) {
            let what = "a log that is off has no other words";
            let hint = "write access = \"off\", or \"./off\" for a file of this name";
            to.wrong(Wrong::new(what).hint(hint));
        }
        let mut lines = lines(&to?, format.unwrap_or(LineFormat::Text))?;
        lines.sample = sample.map_or(lines.sample, |(sample, _)| sample);
        lines.only_errors = only.unwrap_or(false);
        Some(lines)
    });
    read.flatten()
}

/// Lines of a form to where this says.
fn lines(to: &Item<'_>, format: LineFormat) -> Option<AccessLog> {
    let (sample, only_errors) = (Percent::new(1.0)?, false);
    let (to, at, key) = (target(to)?, to.at(), to.path.clone());
    Some(AccessLog { to, at, key, format, sample, only_errors })
}

fn target(item: &Item<'_>) -> Option<LogTarget> {
    let text = item.text()?;
    match &*normal(&text) {
        "stdout" => Some(LogTarget::Stdout),
        "stderr" => Some(LogTarget::Stderr),
        _ => path(item).map(LogTarget::File),
    }
}

/// A path of this file.
fn path(item: &Item<'_>) -> Option<PathBuf> {
    let check = |text: &str| match text.is_empty() || text.contains('\0') {
        true => Err(Wrong::new(format!("{} names no path", quoted(text)))),
        false => Ok(item.page.file.path(text)),
    };
    item.checked(check)
}

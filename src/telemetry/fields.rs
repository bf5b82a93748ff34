//! The fields of a line of the process's own log as text: words, then `name=value`. A value that is no
//! plain word is in quotes, however it was recorded: names come from others, and must not read as
//! fields.
use super::escape::{is_unseen, seen};
use std::fmt::{self, Debug};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes them.
#[derive(Debug)]
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, to: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { to, is_empty: true, done: Ok(()) };
        fields.record(&mut line);
        line.done
    }
}

struct Line<'w> {
    to: Writer<'w>,
    is_empty: bool,
    done: fmt::Result,
}

impl Line<'_> {
    fn say(&mut self, field: &Field, value: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_empty) {
            self.to.write_char(' ')?;
        }
        // A raw name says what it is called.
        let name = field.name().trim_start_matches("r#");
        match self.to.has_ansi_escapes() {
            _ if name == "message" => self.to.write_str(value),
            true => write!(self.to, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value}"),
            false => write!(self.to, "{name}={value}"),
        }
    }
    fn record(&mut self, field: &Field, value: &str) {
        if self.done.is_ok() {
            self.done = self.say(field, value);
        }
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record(field, &seen(value, |_| false)),
            _ => self.record(field, &format!("{value:?}")),
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.record(field, &seen(&text, |_| false)),
            _ if is_plain(&text) => self.record(field, &text),
            _ => self.record(field, &format!("{text:?}")),
        }
    }
}

/// Whether nobody can take it for more than one value.
fn is_plain(text: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || is_unseen(c) || c == '"' || c == '=';
    !text.is_empty() && !text.contains(odd)
}

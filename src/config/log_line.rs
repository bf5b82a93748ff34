//! `log.access.format`: the form of a line, and the fields that a template may name.
use super::hint::{did_you_mean, quoted};
use super::problem::Wrong;
use super::table::Item;

macro_rules! fields {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// A field of the access log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "names say it")]
        pub enum LogField { $($variant),* }
        impl LogField {
            /// Every field with its name.
            pub const ALL: &'static [(&'static str, LogField)] = &[$(($name, Self::$variant)),*];
        }
    };
}
fields! {
    Time "time", Client "client", Method "method", Target "target", Host "host", Status "status",
    Reason "reason", Listener "listener", Route "route", Pool "pool", Backend "backend",
    Tries "tries", BytesIn "bytes_in", BytesOut "bytes_out", Duration "duration",
    Connect "connect", FirstByte "first_byte", RequestId "request_id", Sni "sni", Proxy "proxy",
    Tls "tls",
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPiece {
    /// As it stands.
    Text(String),
    /// What a field holds.
    Field(LogField),
}

/// A template of a line: text and `{field}`; `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTemplate {
    /// In their order.
    pub pieces: Vec<LogPiece>,
    /// What its own text may be taken apart by.
    pub marks: Marks,
}

impl LogTemplate {
    fn new(pieces: Vec<LogPiece>) -> Self {
        let marks = pieces.iter().fold(Marks::default(), |marks, piece| match piece {
            LogPiece::Text(text) => marks.and(text),
            LogPiece::Field(_) => marks,
        });
        Self { pieces, marks }
    }
}

/// A set of ASCII punctuation: a bit for each byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u128);

impl Marks {
    /// Adds those of a text, but for what separates nothing: punctuation within a word, as in
    /// `bytes_in=`, and a dash that stands for itself, as in the common log format.
    fn and(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        for (at, byte) in bytes.iter().enumerate().filter(|(_, byte)| byte.is_ascii_punctuation()) {
            let before = at.checked_sub(1).and_then(|at| bytes.get(at));
            let beside = [before, bytes.get(at + 1)];
            let both = |is: fn(&u8) -> bool| beside.iter().all(|one| one.is_some_and(is));
            let lone = *byte == b'-' && both(|byte| *byte == b' ');
            if !lone && !both(u8::is_ascii_alphanumeric) {
                self.0 |= 1 << byte;
            }
        }
        self
    }

    /// Whether a byte is one of them.
    pub fn has(self, byte: u8) -> bool {
        byte.is_ascii() && self.0 >> byte & 1 == 1
    }
}

/// The form of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// Fields in order.
    Text,
    /// A JSON object.
    Json,
    /// As a template says.
    Template(LogTemplate),
}

impl std::fmt::Display for LogTemplate {
    /// As it is written in the file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            LogPiece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            LogPiece::Field(field) => {
                let found = LogField::ALL.iter().find(|(_, other)| other == field);
                write!(f, "{{{}}}", found.map_or("", |(name, _)| name))
            }
        })
    }
}

/// A word, or a template.
pub(super) fn format(item: &Item<'_>) -> Option<LineFormat> {
    if item.value.get_ref().as_str().is_some_and(|text| text.contains('{')) {
        return item.checked(template).map(LineFormat::Template);
    }
    let words = [("text", false), ("json", true)];
    let json = item.word("log.access.format", &words)?;
    Some(if json { LineFormat::Json } else { LineFormat::Text })
}

fn template(text: &str) -> Result<LogTemplate, Wrong> {
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Wrong::new("a line is one line: control characters have no place in it"));
    }
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        let behind = &rest[at + 1..];
        if let Some(more) = behind.strip_prefix(brace) {
            plain.push_str(brace);
            rest = more;
            continue;
        }
        let (name, more) = match brace {
            "{" => behind.split_once('}').ok_or_else(|| lone("{", "{{"))?,
            _ => return Err(lone("}", "}}")),
        };
        if !plain.is_empty() {
            pieces.push(LogPiece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(LogPiece::Field(field(name)?));
        rest = more;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(LogPiece::Text(plain));
    }
    Ok(LogTemplate::new(pieces))
}

fn lone(brace: &str, write: &str) -> Wrong {
    let what = format!("{} stands alone", quoted(brace));
    Wrong::new(what).hint(format!("write {} for the character", quoted(write)))
}

fn field(name: &str) -> Result<LogField, Wrong> {
    let names = || LogField::ALL.iter().map(|(name, _)| *name);
    match LogField::ALL.iter().find(|(known, _)| *known == name) {
        Some((_, field)) => Ok(*field),
        None => {
            let hint = did_you_mean(name, names());
            let all = || format!("fields are {}", names().collect::<Vec<_>>().join(", "));
            let what = format!("{} is no field of the access log", quoted(name));
            Err(Wrong::new(what).hint(hint.unwrap_or_else(all)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_read_and_written_back() {
        for text in ["{time} {status}", "{{{status}}}\t\"{target}\" x", "a {request_id}"] {
            assert_eq!(template(text).map(|t| t.to_string()).ok().as_deref(), Some(text));
        }
        let pieces = template("{{{status}}}").unwrap().pieces;
        let text = |text: &str| LogPiece::Text(text.into());
        assert_eq!(pieces, [text("{"), LogPiece::Field(LogField::Status), text("}")]);
        for (text, said) in [
            ("{stauts}", "\"stauts\" is no field of the access log; did you mean \"status\"?"),
            ("{time", "\"{\" stands alone; write \"{{\" for the character"),
            ("{time} }", "\"}\" stands alone; write \"}}\" for the character"),
            ("{time}\n", "a line is one line: control characters have no place in it"),
        ] {
            let wrong = template(text).unwrap_err();
            let hint = wrong.hint.map_or_else(String::new, |hint| format!("; {hint}"));
            assert_eq!(wrong.what + &hint, said);
        }
    }

    #[test]
    fn what_may_separate_fields_is_known_of_a_template() {
        for (text, marks) in [
            ("{client} {target}", ""),
            ("{client}|{target}; {host}", ";|"),
            ("{client}-{target}", "-"),
            ("{client} - - [{time}] \"{method} {target}\" {status}", "\"[]"),
            ("bytes_in={bytes_in} request-id={request_id}", "="),
            ("{{\"a.b\":\"{target}\"}}", "\":{}"),
            ("{host}x{target}ü{sni}", ""),
        ] {
            let known = template(text).unwrap().marks;
            let all: String =
                (0..=u8::MAX).filter(|byte| known.has(*byte)).map(char::from).collect();
            assert_eq!(all, marks, "{text}");
        }
    }
}

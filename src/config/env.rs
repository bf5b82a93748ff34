//! `${NAME}` and `${NAME:-default}` inside strings, after parsing; `$${` is a literal `${`.
use super::hint::quoted;
use super::problem::{Problem, Wrong};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env::VarError;
use std::fmt;

/// How a variable of the environment is looked up.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Result<String, Lack>;

/// Why there is no value.
#[derive(Debug)]
pub(super) enum Lack {
    /// The environment has none.
    Var(VarError),
    /// Whoever wrote the text is not told what the environment says.
    Withheld,
}

impl From<VarError> for Lack {
    fn from(error: VarError) -> Self {
        Self::Var(error)
    }
}

/// What stands in place of a value that may be a secret.
pub const MASK: &str = "***";
/// Names of fields whose values may be secrets hold one of these.
const SECRET: [&str; 10] =
    ["auth", "cookie", "key", "pass", "secret", "token", "credential", "session", "vault", "sign"];
/// A value of fewer bytes is no secret, and would be found in many words that have none.
const SHORT: usize = 4;

/// Whether the values of a field, or a parameter, of this name may be secrets.
pub fn may_be_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRET.iter().any(|word| name.contains(word))
}

/// Values that the environment put into a configuration, by the names of their variables. Two are
/// always equal: what a text says counts, not where it is from.
#[derive(Clone, Default)]
pub struct PutIn(BTreeMap<String, String>);

impl PartialEq for PutIn {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for PutIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl PutIn {
    /// A text with `${NAME}` in place of each value of four bytes or more.
    pub fn hide(&self, text: &str) -> String {
        let mut values: Vec<_> = self.0.iter().filter(|(_, v)| v.len() >= SHORT).collect();
        // One that holds another goes as a whole.
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            match values.iter().find(|(_, value)| rest.starts_with(value.as_str())) {
                Some((name, value)) => {
                    out += &format!("${{{name}}}");
                    rest = &rest[value.len()..];
                }
                None => {
                    out.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        out
    }

    /// Problems that tell no value.
    pub(crate) fn hide_in(&self, mut problems: Vec<Problem>) -> Vec<Problem> {
        if self.0.values().all(|value| value.len() < SHORT) {
            return problems;
        }
        for problem in &mut problems {
            problem.key = self.hide(&problem.key);
            problem.what = self.hide(&problem.what);
            problem.hint = problem.hint.as_deref().map(|hint| self.hide(hint));
        }
        problems
    }
}

/// Looks up, and remembers what was put in.
pub(super) fn remembering<'a>(
    env: Lookup<'a>,
    seen: &'a RefCell<PutIn>,
) -> impl Fn(&str) -> Result<String, Lack> + 'a {
    move |name| {
        let value = env(name)?;
        seen.borrow_mut().0.insert(name.to_string(), value.clone());
        Ok(value)
    }
}

/// A fault of a value into which the environment was put: what it quotes of it is not told.
pub(super) fn masked(wrong: Wrong, raw: &str, full: &str) -> Wrong {
    let hide = |text: &str, all: bool| {
        // A quote within quotes: nobody can say where they end.
        if text.contains("\\\"") {
            return MASK.to_string();
        }
        let parts = text.split('"').enumerate().map(|(n, part)| {
            let own = full.contains(part) || part.contains(full);
            let told = n % 2 == 1 && !part.is_empty() && !raw.contains(part) && (all || own);
            if told { MASK } else { part }
        });
        parts.collect::<Vec<_>>().join("\"").replace(full, raw)
    };
    Wrong { what: hide(&wrong.what, true), hint: wrong.hint.map(|hint| hide(&hint, false)) }
}

/// No string of a configuration is longer with everything put in; secrets have their `*_file`.
const LONGEST: usize = 1 << 20;

/// Puts the environment into a string.
///
/// As in a shell `:-` speaks for a variable that is empty, too. What was put in is not looked at
/// again.
///
/// # Errors
///
/// A variable that is not set and has no default, a bad name, a `${` that does not end.
pub(super) fn substitute(text: &str, env: Lookup<'_>) -> Result<String, Wrong> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = after;
            continue;
        }
        let Some(end) = after.find('}') else {
            return Err(Wrong::new("\"${\" has no end")
                .hint("write \"${NAME}\", or \"$${\" for a literal \"${\""));
        };
        out.push_str(before);
        out.push_str(&one(&after[..end], env)?);
        rest = &after[end + 1..];
        if out.len() > LONGEST {
            return Err(Wrong::new("is longer than 1MiB with the environment put in"));
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn one(inside: &str, env: Lookup<'_>) -> Result<String, Wrong> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !first || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let what = format!("{} is no name of an environment variable", quoted(name));
        return Err(Wrong::new(what).hint("write \"$${\" for a literal \"${\""));
    }
    match (env(name), default) {
        (Ok(value), None) => Ok(value),
        (Ok(value), Some(_)) if !value.is_empty() => Ok(value),
        (Err(Lack::Withheld), _) => {
            let what = "the environment is not put into what comes over the API";
            Err(Wrong::new(what).hint("write the value, or plan the file that runs"))
        }
        (Ok(_) | Err(Lack::Var(VarError::NotPresent)), Some(default)) => Ok(default.into()),
        (Err(Lack::Var(VarError::NotPresent)), None) => {
            let what = format!("the environment variable {name} is not set");
            Err(Wrong::new(what).hint(format!("set it or write \"${{{name}:-default}}\"")))
        }
        (Err(Lack::Var(VarError::NotUnicode(_))), _) => {
            Err(Wrong::new(format!("the environment variable {name} is not valid UTF-8")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Result<String, Lack> {
        match name {
            "A" => Ok("one".into()),
            "E" => Ok(String::new()),
            "L" => Ok("${A}".into()),
            "BIG" => Ok("x".repeat(600_000)),
            _ => Err(VarError::NotPresent.into()),
        }
    }

    #[test]
    fn variables_defaults_and_literals() {
        for (text, out) in [
            ("", ""),
            ("a$b{c}", "a$b{c}"),
            ("${A}", "one"),
            ("x${A}y${A}", "xoneyone"),
            ("${N:-dé}", "dé"),
            ("${E:-d}", "d"),
            ("${E}", ""),
            ("${N:-}", ""),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("${L}", "${A}"),
            ("^/x$", "^/x$"),
        ] {
            assert_eq!(substitute(text, &env).as_deref(), Ok(out), "{text}");
        }
    }

    #[test]
    fn faults_are_said() {
        for (text, what) in [
            ("${N}", "the environment variable N is not set"),
            ("a ${A", "\"${\" has no end"),
            ("${1}", "\"1\" is no name of an environment variable"),
            ("${}", "\"\" is no name of an environment variable"),
            ("${BIG}${BIG}${BIG}", "is longer than 1MiB with the environment put in"),
        ] {
            assert_eq!(substitute(text, &env).unwrap_err().what, what, "{text}");
        }
    }

    #[test]
    fn what_was_put_in_is_told_by_its_name_alone() {
        let all = [("S", "hunter2"), ("T", "hunter2-more"), ("N", "80")];
        let put = PutIn(all.map(|(name, value)| (name.into(), value.into())).into());
        assert_eq!(put.hide("a hunter2-more, hunter2 é 80"), "a ${T}, ${S} é 80");
        let wrong = Wrong::new("\"80x\" of 80x is no port of \"x:${N}x\"").hint("write \"1:80x\"");
        let masked = masked(wrong, "${N}x", "80x");
        assert_eq!(masked.what, "\"***\" of ${N}x is no port of \"***\"");
        assert_eq!(masked.hint.as_deref(), Some("write \"***\""));
    }
}

//! `${NAME}` and `${NAME:-default}` inside strings, after parsing; `$${` is a literal `${`.
use super::hint::quoted;
use super::problem::Wrong;
use std::env::VarError;

/// How a variable of the environment is looked up.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

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
        (Ok(_) | Err(VarError::NotPresent), Some(default)) => Ok(default.into()),
        (Err(VarError::NotPresent), None) => {
            let what = format!("the environment variable {name} is not set");
            Err(Wrong::new(what).hint(format!("set it or write \"${{{name}:-default}}\"")))
        }
        (Err(VarError::NotUnicode(_)), _) => {
            Err(Wrong::new(format!("the environment variable {name} is not valid UTF-8")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Result<String, VarError> {
        match name {
            "A" => Ok("one".into()),
            "E" => Ok(String::new()),
            "L" => Ok("${A}".into()),
            "BIG" => Ok("x".repeat(600_000)),
            _ => Err(VarError::NotPresent),
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
}

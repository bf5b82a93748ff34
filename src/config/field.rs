//! Names and values of header fields: what may stand in each.
use super::hint::quoted;
use super::problem::Wrong;

/// A token (RFC 9110 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let other = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || other(b))
}

/// Fields the proxy decides itself: a rule on one would contradict the framing it writes.
const OWN: [&str; 8] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// A field's name as it stands.
///
/// # Errors
///
/// It is no token.
pub(super) fn field_name(text: &str) -> Result<(), Wrong> {
    if is_token(text) {
        return Ok(());
    }
    let wrong = Wrong::new(format!("{} is not a header name", quoted(text)));
    Err(match text.strip_suffix(':') {
        Some(name) if is_token(name) => {
            wrong.hint(format!("write {} without the colon", quoted(name)))
        }
        _ => wrong,
    })
}

/// A field's name that a rule may change.
///
/// # Errors
///
/// As [`field_name`]; a field that frames the message.
pub(super) fn rule_name(text: &str) -> Result<(), Wrong> {
    field_name(text)?;
    let lower = text.to_ascii_lowercase();
    if OWN.contains(&&*lower) {
        return Err(Wrong::new(format!(
            "{} is the proxy's own: it frames the message",
            quoted(text)
        )));
    }
    Ok(())
}

/// A field's value: no control bytes but a tab, no white space at its ends (RFC 9110 5.5).
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn field_value(text: &str) -> Result<(), Wrong> {
    if text.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        return Err(Wrong::new(format!("{} has control characters", quoted(text))));
    }
    if text.trim_matches([' ', '\t']).len() != text.len() {
        return Err(Wrong::new(format!("{} begins or ends with white space", quoted(text))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        assert!(
            rule_name("X-A").is_ok()
                && rule_name("Content-Length").is_err()
                && rule_name("a b").is_err()
        );
        assert!(field_value("a\tb").is_ok() && field_value("").is_ok() && field_value("ä").is_ok());
        assert!(
            field_value("a\r\nb").is_err()
                && field_value(" a").is_err()
                && field_value("\0").is_err()
        );
    }
}

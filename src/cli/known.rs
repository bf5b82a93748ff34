//! Whether an answer is one of the API: whoever else has the port must not be believed. Pure.
use super::ask::printable;
use serde_json::Value;

/// Says in a word how far the proxy is; neither token nor pace is asked for.
pub(super) const READY: &str = "/readyz";

/// What came back.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    /// Its `Content-Type`, without parameters.
    pub(super) kind: &'a str,
    pub(super) text: &'a str,
    /// Null where the text is no JSON.
    pub(super) body: &'a Value,
}

/// Members that an answer has at the least.
fn members(path: &str) -> &'static [&'static str] {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    match parts[..] {
        ["status"] => &["version", "stage", "generation"],
        ["pools"] => &["pools"],
        ["pools", _] => &["name", "members"],
        ["pools", _, "ring"] => &["shares", "moved"],
        ["pools", _, "backends", ..] => &["name", "addr", "state"],
        ["reload"] => &["generation", "changed"],
        ["plan"] => &["keep", "drain"],
        ["errors"] => &["errors"],
        ["explain"] => &["listener", "rules"],
        _ => &[],
    }
}

/// # Errors
///
/// What is odd about it as an answer to this question.
pub(super) fn judge(method: &str, path: &str, answer: &Answer<'_>) -> Result<(), String> {
    let Answer { status, kind, text, body } = *answer;
    let odd = |what: &str| Err(format!("{method} {path}: {status}, {}", printable(what)));
    let said = if kind.is_empty() { "of no content type" } else { kind };
    let is_no = kind == "application/problem+json" && body["detail"].is_string();
    if path == READY && !(is_no && status >= 400) {
        let is_word = matches!(text, "starting\n" | "ready\n" | "draining\n");
        return if kind == "text/plain" && is_word { Ok(()) } else { odd(said) };
    }
    if !(200..300).contains(&status) {
        return if is_no { Ok(()) } else { odd(said) };
    }
    // What is merely done has nothing to say.
    if text.is_empty()
        && matches!((method, status), ("POST", 201) | ("DELETE", 202) | ("PATCH", 204))
    {
        return Ok(());
    }
    if kind != "application/json" {
        return odd(said);
    }
    match members(path).iter().find(|name| body.get(**name).is_none()) {
        Some(name) => odd(&format!("{kind} without {name:?}")),
        None if body.is_null() => odd("no JSON"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(method: &str, path: &str, status: u16, kind: &str, text: &str) -> Result<(), String> {
        let body = serde_json::from_str(text).unwrap_or_default();
        judge(method, path, &Answer { status, kind, text, body: &body })
    }

    #[test]
    fn an_answer_of_the_api_is_told_from_those_of_others() {
        let (json, problem) = ("application/json", "application/problem+json");
        for (method, path, status, kind, text) in [
            ("GET", "/v1/pools", 200, json, r#"{"pools":[]}"#),
            ("GET", "/v1/pools/a%2Fb/ring?remove=x", 200, json, r#"{"shares":[],"moved":0}"#),
            ("PATCH", "/v1/pools/a/backends/b", 204, "", ""),
            ("DELETE", "/v1/pools/a/backends/b", 202, "", ""),
            ("PATCH", "/v1/pools/a/backends/b", 404, problem, r#"{"detail":"none"}"#),
            ("GET", READY, 503, "text/plain", "draining\n"),
            ("GET", READY, 403, problem, r#"{"detail":"this Host is not served here"}"#),
        ] {
            assert_eq!(judged(method, path, status, kind, text), Ok(()), "{method} {path}");
        }
        for (method, path, status, kind, text, said) in [
            ("GET", "/v1/errors", 200, "text/html", "ok", "text/html"),
            ("GET", "/v1/errors", 200, json, "[]", "application/json without \"errors\""),
            ("GET", "/v1/errors", 200, json, "ok", "application/json without \"errors\""),
            ("POST", "/v1/reload", 200, "", "", "of no content type"),
            ("POST", "/v1/other", 200, json, "", "no JSON"),
            ("PATCH", "/v1/pools/a/backends/b", 200, "", "", "of no content type"),
            ("GET", "/v1/status", 404, json, r#"{"detail":"none"}"#, json),
            ("GET", "/v1/status", 404, problem, "{}", problem),
            ("GET", READY, 200, "text/plain", "ok\n", "text/plain"),
            ("GET", READY, 200, "text/html", "ready\n", "text/html"),
            ("GET", READY, 200, problem, r#"{"detail":"none"}"#, problem),
        ] {
            let wrong = format!("{method} {path}: {status}, {said}");
            assert_eq!(judged(method, path, status, kind, text), Err(wrong));
        }
    }
}

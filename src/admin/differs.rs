//! What is otherwise in an object of two configurations, key by key, as `GET /v1/config` shows them.
use super::config_view;
use crate::config::Config;
use serde_json::Value;
use std::collections::BTreeSet;

/// Keys that are told of one object.
const KEYS: usize = 12;
/// Characters of a value that are told.
const LONG: usize = 60;

/// Of an object as a report names it. What is not shown, such as what is in a file or a secret, is not
/// told either.
pub(super) fn differs(object: &str, (before, after): (&Config, &Config)) -> String {
    let shown = |config| config_view::object(config, object).unwrap_or_default();
    let mut all = Vec::new();
    walk("", &shown(before), &shown(after), &mut all);
    let more = all.len().saturating_sub(KEYS);
    all.truncate(KEYS);
    match (all.is_empty(), more) {
        (true, _) => "what is in its files, or is not shown".into(),
        (false, 0) => all.join(", "),
        (false, more) => format!("{} and {more} more", all.join(", ")),
    }
}

fn walk(key: &str, before: &Value, after: &Value, out: &mut Vec<String>) {
    if before == after {
        return;
    }
    if let (Value::Object(a), Value::Object(b)) = (before, after) {
        for name in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
            let below = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            let of = |all: &serde_json::Map<String, Value>| all.get(name).cloned();
            walk(&below, &of(a).unwrap_or_default(), &of(b).unwrap_or_default(), out);
        }
        return;
    }
    let (before, after) = (text(before), text(after));
    let is_long = |text: &str| text.chars().count() > LONG;
    out.push(match is_long(&before) || is_long(&after) {
        true => key.to_string(),
        false => format!("{key} {before} to {after}"),
    });
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_that_differs_is_named() {
        const FILE: &str = "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
            [[route]]\nname = \"r\"\npath = \"/a\"\npool = \"app\"\n\
            [pool.app]\nbackends = [\"127.0.0.1:1\"]\nmax_active = 5\n";
        let config = |text: &str| crate::config::parse(text, "proxy.toml".as_ref()).unwrap();
        let told = |object: &str, from: &str, to: &str| {
            differs(object, (&config(FILE), &config(&FILE.replace(from, to))))
        };
        assert_eq!(
            told("pool app", "max_active = 5", "drain = \"9s\""),
            "drain 300s to 9s, max_active 5 to off"
        );
        assert_eq!(told("route r", "/a", "/b"), "path /a to /b");
        assert_eq!(
            told("listener web", "127.0.0.1:0", "127.0.0.1:7"),
            "bind [\"127.0.0.1:0\"] to [\"127.0.0.1:7\"]"
        );
        let more = "[defaults]\ntimeout = { idle = \"9s\" }\n[pool.app]";
        assert_eq!(told("defaults", "[pool.app]", more), "timeout.idle 60s to 9s");
        assert_eq!(told("pool none", "/a", "/b"), "what is in its files, or is not shown");
    }
}

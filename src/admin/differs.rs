//! What is otherwise in an object of two configurations, key by key, as `GET /v1/config` shows them.
use super::{config_view, unshown};
use crate::config::Config;
use serde_json::Value;
use std::collections::BTreeSet;

/// Keys that are told of one object.
const KEYS: usize = 12;
/// Characters of a value that are told.
const LONG: usize = 60;

/// Of an object as a report names it. Of a secret, and of what is in a file, only that it is another.
pub(super) fn differs(object: &str, (before, after): (&Config, &Config)) -> String {
    let shown = |config| config_view::object(config, object).unwrap_or_default();
    let mut all = Vec::new();
    walk("", &shown(before), &shown(after), &mut all);
    for (key, said) in unshown::differs(object, (before, after)) {
        // A key of which a part is shown is told once.
        if !all.iter().any(|(told, _)| *told == key) {
            all.push((key, said));
        }
    }
    let more = all.len().saturating_sub(KEYS);
    let told: Vec<String> = all.drain(..).take(KEYS).map(|(_, said)| said).collect();
    let told = told.join(", ");
    match (told.is_empty(), more) {
        (true, _) => "what is not shown".into(),
        (false, 0) => told,
        (false, more) => format!("{told} and {more} more"),
    }
}

fn walk(key: &str, before: &Value, after: &Value, out: &mut Vec<(String, String)>) {
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
    let said = match is_long(&before) || is_long(&after) {
        true => key.to_string(),
        false => format!("{key} {before} to {after}"),
    };
    out.push((key.to_string(), said));
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
        assert_eq!(told("pool none", "/a", "/b"), "what is not shown");
    }

    #[test]
    fn that_a_secret_changes_is_told_and_never_the_secret() {
        const FILE: &str = "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
            [[route]]\nname = \"r\"\npath = \"/a\"\n\
            header = { authorization = \"old-1\", x-token = { regex = \"^old-2$\" } }\n\
            query = { api_key = \"old-3\", v = \"1\" }\npool = \"app\"\n\
            request_headers = { set = { Cookie = \"old-5\" }, add = { X-Token = \"old-6\" } }\n\
            [[route]]\nname = \"own\"\npath = \"/own\"\n\
            respond = { status = 200, body = \"b\", headers = { X-Secret = \"old-4\" } }\n\
            [pool.app]\nbackends = [\"127.0.0.1:1\"]\nhealth = { http = \"/h?t=old-7\" }\n\
            [pool.ping]\nbackends = [\"127.0.0.1:1\"]\nhealth = { tcp = { send = \"old-8\" } }\n";
        let config = |text: &str| crate::config::parse(text, "proxy.toml".as_ref()).unwrap();
        let after = FILE.replace("old-", "new-").replace("\"/a\"", "\"/b\"");
        let (before, after) = (config(FILE), config(&after));
        let told = |object: &str| differs(object, (&before, &after));
        assert_eq!(
            told("route r"),
            "path /a to /b, header.authorization *** to ***, \
             header.x-token *** to ***, query.api_key *** to ***, \
             request_headers.add.X-Token *** to ***, request_headers.set.Cookie *** to ***"
        );
        assert_eq!(told("route own"), "respond.headers.X-Secret *** to ***");
        assert_eq!(told("pool app"), "health.http *** to ***");
        assert_eq!(told("pool ping"), "health.tcp.send *** to ***");
    }

    #[test]
    fn of_files_it_is_told_which_say_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let (key, file) = (folder.path().join("s.key"), folder.path().join("proxy.toml"));
        let config = |secret: &str, ttl: &str| {
            std::fs::write(&key, secret.repeat(32)).unwrap();
            let text = format!(
                "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n[pool.app]\n\
                 backends = [\"127.0.0.1:1\"]\nsticky = {{ secret_files = [\"s.key\"], ttl = \"{ttl}\" }}\n"
            );
            crate::config::parse(&text, &file).unwrap()
        };
        let (before, after) = (config("a", "9s"), config("b", "8s"));
        let what = format!("sticky.secret_files: what {} says", key.display());
        let told = differs("pool app", (&before, &after));
        assert_eq!(told, format!("sticky.ttl 9s to 8s, {what}"));
    }
}

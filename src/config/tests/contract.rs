//! No key is ever ignored: every key of the contract is read or answered with `is not built yet`,
//! and every misspelt key of a full document is a problem at that key.
use super::say::{examples, parse, problems};

/// Keys of the contract whose feature does not exist: the table they stand in, and the line.
const UNBUILT: &[(&str, &str)] = &[
    ("", "filter = { auth = { kind = \"x\" } }"),
    ("", "acme = { le = {} }"),
    ("route", "filters = [\"auth\"]"),
    ("route", "upgrade = [\"websocket\", \"connect\"]"),
    (
        "listener.web",
        "tls.certificates = [{ cert = \"Cargo.toml\", key = \"Cargo.toml\", acme = \"le\" }]",
    ),
    (
        "listener.web",
        "tls.certificates = [{ cert = \"Cargo.toml\", key = \"Cargo.toml\", names = [] }]",
    ),
    ("pool.app", "discover = { dns = \"a\", port = 1 }"),
];

#[test]
fn what_is_not_built_says_so() {
    for (place, line) in UNBUILT {
        let mut parts = vec![
            ("", String::new()),
            ("server", "[server]\n".into()),
            ("log", "[log]\naccess.to = \"stdout\"\n".into()),
            ("admin", "[admin]\n".into()),
            ("listener.web", "[listener.web]\nbind = \"127.0.0.1:0\"\n".into()),
            ("route", "[[route]]\npool = \"app\"\n".into()),
            ("pool.app", "[pool.app]\nbackends = []\n".into()),
        ];
        let (_, part) = parts.iter_mut().find(|(name, _)| name == place).unwrap();
        part.push_str(&format!("{line}\n"));
        let text: String = parts.into_iter().map(|(_, part)| part).collect();
        let all = problems(&text);
        assert!(
            !all.is_empty() && all.iter().all(|said| said.contains("is not built yet")),
            "{line}: {all:?}"
        );
        let key = line.split(" =").next().unwrap().trim();
        assert!(all[0].contains(key), "{line}: {all:?}");
    }
}

/// Every key of a document, as byte ranges: what stands before an `=` outside of a string.
fn keys(text: &str) -> Vec<std::ops::Range<usize>> {
    let (bytes, mut out, mut quote) = (text.as_bytes(), Vec::new(), false);
    let mut comment = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' => comment = false,
            b'"' if !comment => quote = !quote,
            b'#' if !quote => comment = true,
            b'=' if !quote && !comment => {
                let end = text[..at].trim_end().len();
                let start = text[..end]
                    .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .map_or(0, |i| i + 1);
                if start < end {
                    out.push(start..end);
                }
            }
            _ => {}
        }
    }
    out
}

/// Keys that the operator chooses: names of pools, headers and query parameters.
const CHOSEN: &[&str] =
    &["app", "canary", "db", "replica", "debug", "q", "user", "any", "Tier", "A", "Why"];

#[test]
fn every_misspelt_key_is_a_problem_at_that_key() {
    let path = examples("valid").into_iter().find(|path| path.ends_with("full.toml")).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let mut tried = 0;
    for range in keys(&text) {
        let key = &text[range.clone()];
        if CHOSEN.contains(&key) {
            continue;
        }
        let wrong = format!("{}qz{}", &text[..range.end], &text[range.end..]);
        let line = text[..range.start].matches('\n').count() + 1;
        let start = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
        let at = (u32::try_from(line).unwrap(), u32::try_from(range.start - start + 1).unwrap());
        let all = parse(&wrong).unwrap_err();
        let said = all.iter().find(|problem| (problem.at.line, problem.at.column) == at);
        let said = said.unwrap_or_else(|| panic!("{key} at {at:?}: {all:?}"));
        assert_eq!(said.what, "unknown key", "{key}");
        assert!(said.key.ends_with(&format!("{key}qz")), "{key}: {}", said.key);
        tried += 1;
    }
    assert!(tried > 120, "only {tried} keys were tried");
}

#[test]
fn misspelt_sections_are_problems_at_their_name() {
    for name in
        ["server", "log", "admin", "metrics", "defaults", "listener", "route", "pool", "include"]
    {
        let text = format!("{}qz = {{}}\n[listener.a]\nbind = \"127.0.0.1:0\"\n", name);
        let expect = format!("x.toml:1:1: {name}qz: unknown key");
        assert!(problems(&text)[0].starts_with(&expect), "{name}");
    }
}

//! The house stays in order: floors, and no upward stairs.
use std::path::{Path, PathBuf};

/// Rooms by floor.
const FLOORS: [(&str, u8); 27] = [
    ("config", 0),
    ("message", 0),
    ("websocket", 0),
    ("net", 1),
    ("http1", 1),
    ("metrics", 1),
    ("drain", 1),
    ("telemetry", 1),
    ("http2", 2),
    ("tls", 2),
    ("arrival", 3),
    ("mux", 3),
    ("reach", 4),
    ("pool", 5),
    ("upstream", 6),
    ("probe", 6),
    ("discover", 6),
    ("export", 6),
    ("entry", 7),
    ("tcp", 7),
    ("udp", 7),
    ("http", 7),
    ("plan", 8),
    ("simulation", 8),
    ("server", 9),
    ("admin", 10),
    ("cli", 11),
];

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
    all
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The room of a file: its folder below `src`, or its own name.
fn room(file: &Path) -> String {
    let below = file.strip_prefix(src()).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_string()
}

/// The rooms a line names as `crate::room`, comments left out.
fn named(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or("");
    code.match_indices("crate::")
        .map(|(at, _)| {
            code[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        })
        .collect()
}

#[test]
fn stairs_go_down() {
    let mut wrong = Vec::new();
    let mut arrows = 0;
    for file in sources(&src()) {
        let own = room(&file);
        let Some(from) = floor(&own) else {
            assert!(matches!(own.as_str(), "lib" | "main"), "{own} has no floor");
            continue;
        };
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for to in named(line).into_iter().filter(|to| *to != own) {
                arrows += 1;
                if floor(&to).is_none_or(|to| to >= from) {
                    wrong.push(format!("{}:{}: {own} names {to}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(arrows > 100, "the check reads nothing");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_server_and_the_door_name_a_runtime() {
    for file in sources(&src()) {
        if matches!(room(&file).as_str(), "server" | "cli" | "main") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("tokio::runtime"), "{} names a runtime", file.display());
    }
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for file in sources(&src()) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//!"), "{} does not begin with //!", file.display());
        let code = text.split("#[cfg(test)]").next().unwrap().lines().count();
        let most = if file.to_string_lossy().ends_with("tests.rs") { 750 } else { 600 };
        assert!(code <= most, "{} has {code} lines", file.display());
    }
}

#[test]
fn a_stair_that_goes_up_would_be_seen() {
    assert_eq!(named("use crate::server::State; // crate::admin"), ["server"]);
    assert!(floor("server") > floor("http"));
}

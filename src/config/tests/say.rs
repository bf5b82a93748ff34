//! Reading a document in a test, with problems as the lines an operator sees.
use super::super::model::Config;
use super::super::problem::Problem;
use std::env::VarError;
use std::path::{Path, PathBuf};

/// The environment of all tests.
fn env(name: &str) -> Result<String, VarError> {
    match name {
        "PORT" => Ok("8080".into()),
        "EMPTY" => Ok(String::new()),
        _ => Err(VarError::NotPresent),
    }
}

/// Reads a text as `x.toml`.
pub(super) fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    crate::config::parse_with(text, Path::new("x.toml"), &env)
}

/// The same with the problems as lines.
pub(super) fn read(text: &str) -> Result<Config, Vec<String>> {
    parse(text).map_err(|all| all.iter().map(ToString::to_string).collect())
}

/// The problems of a text; none when it is right.
pub(super) fn problems(text: &str) -> Vec<String> {
    read(text).err().unwrap_or_default()
}

/// A folder below `tests/config`.
pub(super) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

/// The files of such a folder with an ending, in order.
pub(super) fn examples(name: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> =
        all.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

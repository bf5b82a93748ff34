//! What `proxy.toml` says, as plain values. Knows no running thing.
//!
//! [`load`] reads a file, its includes and the environment and returns a [`Config`] or every
//! problem at once.

mod model;
mod problem;
mod units;

pub use model::*;
pub use problem::{At, Problem};
pub use units::{ByteSize, Name, Percent, Timeout, Weight};

use std::path::Path;

/// Loads a configuration file with its includes.
///
/// # Errors
///
/// Every problem of all files, in the order of the files and their lines.
pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    let _ = path;
    todo!()
}

/// Reads a configuration from text; `path` only names it in problems and anchors relative paths.
///
/// # Errors
///
/// As [`load`].
pub fn parse(text: &str, path: &Path) -> Result<Config, Vec<Problem>> {
    let _ = (text, path);
    todo!()
}

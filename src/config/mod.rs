//! What `proxy.toml` says, as plain values. Knows no running thing.
//!
//! [`load`] reads a file, its includes and the environment and returns a [`Config`] or every
//! problem at once. No key is ever ignored: each table is read by asking for its keys by name
//! (`table.rs`), and what nobody asked for is a problem; what exists in the contract but not yet
//! in this program is one list (`unbuilt.rs`).

mod action;
mod addr;
mod admin;
mod astray;
mod balance;
mod bodies;
mod chains;
mod check;
mod datagrams;
mod draft;
mod env;
mod faults;
mod field;
mod file;
mod glob;
mod header;
mod health;
mod hedge;
mod hint;
mod http2;
mod include;
mod listener;
mod log;
mod log_line;
mod measure;
mod mirror;
mod model;
mod open;
mod outlier;
mod over;
mod over_retry;
mod passthrough;
mod pool;
mod pool_http;
mod problem;
mod rate_limit;
mod rewrite;
mod route;
mod route_path;
mod server;
mod slow_start;
mod sni_route;
mod sources;
mod sticky;
mod syntax;
mod table;
mod tls;
mod trace;
mod unbuilt;
mod units;
mod unmatched;
mod value;

#[cfg(test)]
mod tests;
mod waits;

pub use datagrams::{Carries, Sessions};
pub use env::{MASK, PutIn, may_be_secret};
pub use health::{Check, Health};
pub use hedge::{Hedge, HedgeAfter};
pub use http2::Http2;
pub use include::Whereabouts;
pub use log::{AccessLog, Log, LogFormat, LogTarget};
pub use log_line::{LineFormat, LogField, LogPiece, LogTemplate, Marks};
pub use mirror::Mirror;
pub use model::*;
pub use outlier::{Outlier, Silence, SuccessRate};
pub use pool_http::{PoolHttp, PoolHttp2};
pub use problem::{At, Problem};
pub use rate_limit::{RateKey, RateLimit};
pub use slow_start::{Curve, SlowStart};
pub use sources::{Contents, Folder, Folders, Names, Sources};
pub use sticky::{SameSite, Sticky};
pub use tls::{Alpn, Blob, Certificate, Clients, ListenerTls, PoolTls, TlsVersion};
pub use trace::{Collector, Trace};
pub use units::{ByteSize, Name, Percent, Rate, Timeout, Weight};

use std::env::VarError;
use std::path::Path;

/// Loads a configuration file with its includes.
///
/// # Errors
///
/// Every problem of all files, in the order of the files and their lines.
pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    include::load(path, None, &Author::Owner)
}

/// Where the proxy of a file is that holds this text, whatever problems this and those that it includes have.
pub fn whereabouts(path: &Path, text: &str) -> Whereabouts {
    include::whereabouts(path, text)
}

/// As [`load`], and the files that were read to say it: those of a refused one are to be watched
/// too, for the fault may be in a file that the configuration in force does not name.
pub fn load_with_sources(path: &Path) -> (Result<Config, Vec<Problem>>, Sources) {
    include::load_from(path, None, &var, None)
}

/// Reads a configuration from text; `path` only names it in problems and anchors relative paths.
///
/// ```
/// let text = "[listener.web]\nbind = \"127.0.0.1:8080\"\npool = \"ap\"\n[pool.app]\nbackends = []\n";
/// let problems = evenkeel::config::parse(text, "proxy.toml".as_ref()).unwrap_err();
/// let said = "proxy.toml:3:8: listener.web.pool: no pool named \"ap\"; did you mean \"app\"?";
/// assert_eq!(problems[0].to_string(), said);
/// ```
///
/// # Errors
///
/// As [`load`].
pub fn parse(text: &str, path: &Path) -> Result<Config, Vec<Problem>> {
    parse_of(&Author::Owner, text, path)
}

/// Who wrote a text: what may be put into it decides what its author learns.
#[derive(Clone, Debug)]
pub enum Author {
    /// Who runs this process: the environment and every file.
    Owner,
    /// Who is not told what the environment says (`${NAME}` is a problem), and may name every file.
    Trusted,
    /// Who may be anybody on this machine: no environment, and of files those alone that are named
    /// by a configuration already, in the same part.
    Anybody(Sources),
}

/// As [`parse`], for a text of somebody.
///
/// # Errors
///
/// As [`load`].
pub fn parse_of(author: &Author, text: &str, path: &Path) -> Result<Config, Vec<Problem>> {
    include::load(path, Some(text), author)
}

/// The text of a configuration that is not the one of this process.
///
/// # Errors
///
/// What is no file, is too large, is no text, or cannot be read.
pub fn read_text(path: &Path) -> Result<String, String> {
    let (file, _) = open::open(path).map_err(|why| why.to_string())?;
    file::read(file, path, include::TOTAL).map_err(|unread| unread.what)
}

fn var(name: &str) -> Result<String, env::Lack> {
    Ok(std::env::var(name)?)
}

/// A time as files write it: `"250ms"`, `"1m30s"`.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    measure::duration(text).map_err(|wrong| match wrong.hint {
        Some(hint) => format!("{}; {hint}", wrong.what),
        None => wrong.what,
    })
}

/// Reads a configuration from text with an environment of the caller's.
///
/// # Errors
///
/// As [`load`].
pub fn parse_with(
    text: &str,
    path: &Path,
    env: &dyn Fn(&str) -> Result<String, VarError>,
) -> Result<Config, Vec<Problem>> {
    include::load_from(path, Some(text), &|name| Ok(env(name)?), None).0
}

//! `POST /v1/reload` and `POST /v1/plan`: the file, read now.
use super::answer::{Answer, Problem, json};
use super::body::Members;
use super::routes::no_pool;
use super::serve::Desk;
use super::view;
use crate::config;
use crate::server::{ReloadError, Report, State};
use hyper::StatusCode;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A configuration is no longer than this.
const MOST: u64 = 64 << 20;

/// Reads the file again and takes it into force.
pub(super) async fn reload(desk: &Desk) -> Result<Answer, Problem> {
    let before = desk.reloader.generation();
    tracing::info!("reloading: a caller of the API said so");
    match desk.reloader.read(&desk.path).await {
        Ok(report) => {
            told(report, move |report| json(&view::report(report, report.generation != before)))
                .await
        }
        Err(error) => Err(refused(error)),
    }
}

/// What a reload would do with a text, or with a file. The environment is put into the file that
/// runs, and into what its owner sends: nobody else may learn what it says.
pub(super) async fn plan(
    desk: &Desk,
    owner: bool,
    mut members: Members,
) -> Result<Answer, Problem> {
    let toml = members.text("toml", |text| Ok(text.to_string()))?;
    let path = members.text("path", |path| match path {
        "" => Err("names no file".into()),
        path => Ok(PathBuf::from(path)),
    })?;
    members.end()?;
    let own = desk.path.clone();
    // What is planned is read as if it stood in the file that runs: its paths, what it includes.
    let parse = if owner { config::parse } else { config::parse_without_env };
    let read = tokio::task::spawn_blocking(move || match (toml, path) {
        (Some(_), Some(_)) => Err(Problem::field("path", "say toml or path, not both")),
        (Some(toml), None) => Ok(parse(&toml, &own)),
        (None, Some(path)) => {
            let text = text(&path).map_err(|error| {
                let what = format!("{} cannot be read: {error}", path.display());
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what)
            })?;
            Ok(parse(&text, &own).map_err(|problems| elsewhere(problems, &own, &path)))
        }
        (None, None) => Ok(config::load(&own)),
    });
    let config = read.await.map_err(broken)??.map_err(Problem::config)?;
    let planned = desk.reloader.plan(config).await.map_err(refused)?;
    told(planned, |planned| json(&view::planned(planned))).await
}

/// To tell key by key what differs in ten thousand routes takes a while.
async fn told(
    report: Report,
    tell: impl FnOnce(&Report) -> Answer + Send + 'static,
) -> Result<Answer, Problem> {
    tokio::task::spawn_blocking(move || tell(&report)).await.map_err(broken)
}

/// A file, as far as a configuration may be long.
fn text(path: &Path) -> io::Result<String> {
    // Opening a pipe would wait for a writer, for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(MOST + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// Problems of a text, under the name of the file it is really in.
fn elsewhere(mut problems: Vec<config::Problem>, own: &Path, path: &Path) -> Vec<config::Problem> {
    let (own, path): (String, Arc<str>) =
        (own.to_string_lossy().into(), path.to_string_lossy().into());
    for problem in problems.iter_mut().filter(|problem| *problem.at.file == *own) {
        problem.at.file = path.clone();
    }
    problems
}

/// What becomes of the keys of a pool when a backend goes.
pub(super) async fn ring(
    state: &State,
    pool: &str,
    gone: Option<String>,
) -> Result<Answer, Problem> {
    let plan = state.plan.load_full();
    let found = plan.and_then(|plan| plan.pools.get(pool).cloned()).ok_or_else(|| no_pool(pool))?;
    let gone = gone.ok_or_else(|| Problem::field("remove", "says no backend: ?remove=NAME"))?;
    // Two tables are built for it.
    let asked = tokio::task::spawn_blocking(move || found.ring(&gone)).await.map_err(broken)?;
    let ring = asked.map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    Ok(json(&view::ring(&ring)))
}

fn broken(error: impl ToString) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn refused(error: ReloadError) -> Problem {
    match error {
        ReloadError::Problems(problems) => Problem::config(problems),
        ReloadError::Bind(..) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        ReloadError::TakeOver(what) | ReloadError::Broken(what) => broken(what),
    }
}

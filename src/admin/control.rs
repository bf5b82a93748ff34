//! `POST /v1/reload` and `POST /v1/plan`: the file, read now.
use super::answer::{Answer, Problem, json};
use super::body::Members;
use super::line::Line;
use super::routes::no_pool;
use super::serve::Desk;
use super::view;
use crate::config::{self, Author, Config};
use crate::server::{ReloadError, Report};
use hyper::StatusCode;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads the file again and takes it into force.
pub(super) async fn reload(desk: &Desk, line: &Arc<Line>) -> Result<Answer, Problem> {
    let before = desk.reloader.generation();
    tracing::info!("reloading: a caller of the API said so");
    let (reloader, path) = (desk.reloader.clone(), desk.path.clone());
    // What is begun is done, also where its caller does not wait for it.
    let done = tokio::spawn(async move { reloader.read(&path).await });
    match done.await.map_err(broken)? {
        Ok(report) => {
            let tell =
                move |report: &Report| json(&view::report(report, report.generation != before));
            let (state, told) = (desk.reloader.state(), told(report, tell));
            let answer = desk.room.make(state, line, None, told).await;
            answer.map_err(|problem| problem.after("the file was read and is in force, but "))
        }
        Err(error) => Err(refused(error)),
    }
}

/// What a reload would do with a text, or with a file. The environment is put into the file that
/// runs, and into what its owner sends: nobody else may learn what it says. Nor what files say that
/// they could not read themselves.
pub(super) async fn plan(
    desk: &Desk,
    author: Author,
    mut members: Members,
) -> Result<Answer, Problem> {
    let toml = members.text("toml", |text| Ok(text.to_string()))?;
    let path = members.text("path", |path| match path {
        "" => Err("names no file".into()),
        path => Ok(PathBuf::from(path)),
    })?;
    members.end()?;
    let read = Read { toml, path, own: desk.path.clone(), author };
    read.is_allowed()?;
    let (reloader, started) = (desk.reloader.clone(), desk.reloader.started().await);
    let planned = desk.plans.take(desk.reloader.state(), move || {
        let report = reloader.plan(read.config()?, started).map_err(refused)?;
        Ok(json(&view::planned(&report)))
    });
    planned.await?
}

/// What is to be planned.
struct Read {
    toml: Option<String>,
    path: Option<PathBuf>,
    /// The file that runs.
    own: PathBuf,
    author: Author,
}

impl Read {
    fn is_allowed(&self) -> Result<(), Problem> {
        match (&self.toml, &self.path) {
            (Some(_), Some(_)) => Err(Problem::field("path", "say toml or path, not both")),
            (None, Some(_)) if matches!(self.author, Author::Anybody(_)) => {
                let what = "a file is read for who calls by the Unix socket of the admin side, or \
                            with the token of admin.token_file; send its text as toml";
                let mut refused = Problem::field("path", what);
                refused.status = StatusCode::UNPROCESSABLE_ENTITY;
                Err(refused)
            }
            _ => Ok(()),
        }
    }

    /// What is planned is read as if it stood in the file that runs: its paths, what it includes.
    fn config(self) -> Result<Config, Problem> {
        let Self { toml, path, own, author } = self;
        let parse = |text: &str| config::parse_of(&author, text, &own);
        let read = match (toml, path) {
            (Some(toml), _) => parse(&toml),
            (None, Some(path)) => {
                let text = config::read_text(&path).map_err(|why| {
                    let what = format!("{} {why}", path.display());
                    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what)
                })?;
                parse(&text).map_err(|problems| elsewhere(problems, &own, &path))
            }
            (None, None) => config::load(&own),
        };
        read.map_err(Problem::config)
    }
}

/// To tell key by key what differs in ten thousand routes takes a while.
async fn told(
    report: Report,
    tell: impl FnOnce(&Report) -> Answer + Send + 'static,
) -> Result<Answer, Problem> {
    tokio::task::spawn_blocking(move || tell(&report)).await.map_err(broken)
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
pub(super) async fn ring(desk: &Desk, pool: &str, gone: Option<String>) -> Result<Answer, Problem> {
    let state = desk.reloader.state();
    let plan = state.plan.load_full();
    let found = plan.and_then(|plan| plan.pools.get(pool).cloned()).ok_or_else(|| no_pool(pool))?;
    let gone = gone.ok_or_else(|| Problem::field("remove", "says no backend: ?remove=NAME"))?;
    // Two tables are built for it.
    let asked = desk.rings.take(state, move || found.ring(&gone)).await?;
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
        ReloadError::TakeOver(what) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, what),
        ReloadError::Broken(what) => broken(what),
    }
}

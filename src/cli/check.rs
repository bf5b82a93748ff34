//! `evenkeel check`: every problem of a file, or a one-line summary.
use super::args;
use crate::config::{self, Addr, Carries, Config, Problem};
use crate::net::{Target, connect, knock};
use crate::plan;
use crate::pool::Policies;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long `--connect` waits for each backend.
const DIAL: Duration = Duration::from_secs(2);
/// Backends that `--connect` dials at the same time.
const AT_ONCE: usize = 256;

pub(super) fn check(args: &args::Check) -> Result<ExitCode, String> {
    let checked = config::load(&args.config).and_then(|config| {
        let config = Arc::new(config);
        let draft = plan::compile(config.clone(), None, &Policies::default())?;
        Ok((config, draft.said()))
    });
    let mut problems = Vec::new();
    let (config, warnings) = checked.map_err(|found| problems = found).ok().unzip();
    let warnings = warnings.unwrap_or_default();
    if let Some(config) = config.as_deref().filter(|_| args.connect) {
        problems = super::run::within(async { Ok(dial_all(config).await) })?;
    }
    if args.json {
        say!(
            "{}",
            serde_json::json!({
                "problems": problems.iter().map(json).collect::<Vec<_>>(),
                "warnings": warnings,
            })
        );
    } else {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    }
    let Some(config) = config.filter(|_| problems.is_empty()) else { return Ok(ExitCode::FAILURE) };
    if !args.json {
        let backends: usize = config.pools.values().map(|pool| pool.backends.len()).sum();
        say!(
            "{}: ok: {} listeners, {} routes, {} pools, {backends} backends",
            args.config.display(),
            config.listeners.len(),
            config.routes.len(),
            config.pools.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn json(problem: &Problem) -> serde_json::Value {
    serde_json::json!({
        "file": &*problem.at.file,
        "line": problem.at.line,
        "column": problem.at.column,
        "key": problem.key,
        "what": problem.what,
        "hint": problem.hint,
    })
}

/// Dials every backend, many at the same time: with thousands of dead ones a time-out each would
/// take an hour.
async fn dial_all(config: &Config) -> Vec<Problem> {
    let every: Vec<_> = config
        .pools
        .values()
        .flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
        .collect();
    let mut problems = Vec::new();
    for some in every.chunks(AT_ONCE) {
        let dials = some.iter().map(|(pool, backend)| {
            let (addr, carries) = (backend.addr.clone(), pool.carries);
            tokio::spawn(async move { dial(&addr, carries).await })
        });
        for (dialled, (pool, backend)) in dials.collect::<Vec<_>>().into_iter().zip(some) {
            if let Err(why) = dialled.await.unwrap_or_else(|error| Err(error.to_string())) {
                let key = format!("pool.{}.backends.{}", pool.name, backend.name);
                let what = format!("connect to {}: {why}", backend.addr);
                problems.push(Problem::new(&backend.at, key, what));
            }
        }
    }
    problems
}

async fn dial(addr: &Addr, carries: Carries) -> Result<(), String> {
    let target = match addr {
        Addr::Ip(addr) => Target::Ip(*addr),
        Addr::Unix(path) => Target::Unix(Arc::new(path.clone())),
        Addr::Host(host, port) => {
            let mut all = tokio::net::lookup_host((&**host, *port))
                .await
                .map_err(|error| error.to_string())?;
            Target::Ip(all.next().ok_or("its name has no address")?)
        }
    };
    let reach = async {
        if carries.datagrams() {
            knock(&target).await?;
        }
        if carries.streams() { connect(&target).await.map(drop) } else { Ok(()) }
    };
    match tokio::time::timeout(DIAL, reach).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {DIAL:?}")),
    }
}

//! `evenkeel check`: every problem of a file, or a one-line summary.
use super::args;
use crate::config::{self, Addr, Config, Problem};
use crate::net::{Target, connect};
use crate::plan;
use crate::pool::Policies;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long `--connect` waits for each backend.
const DIAL: Duration = Duration::from_secs(2);

pub(super) fn check(args: &args::Check) -> Result<ExitCode, String> {
    let checked = config::load(&args.config).and_then(|config| {
        let config = Arc::new(config);
        plan::compile(config.clone(), None, &Policies::default())?;
        Ok(config)
    });
    let mut problems = Vec::new();
    let config = checked.map_err(|found| problems = found).ok();
    if let Some(config) = config.as_deref().filter(|_| args.connect) {
        problems = super::run::control()?.block_on(dial_all(config));
    }
    if args.json {
        println!(
            "{}",
            serde_json::json!({ "problems": problems.iter().map(json).collect::<Vec<_>>() })
        );
    } else {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
    }
    let Some(config) = config.filter(|_| problems.is_empty()) else { return Ok(ExitCode::FAILURE) };
    if !args.json {
        let backends: usize = config.pools.values().map(|pool| pool.backends.len()).sum();
        println!(
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

async fn dial_all(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for pool in config.pools.values() {
        for backend in &pool.backends {
            if let Err(why) = dial(&backend.addr).await {
                let key = format!("pool.{}.backends.{}", pool.name, backend.name);
                problems.push(Problem::new(
                    &backend.at,
                    key,
                    format!("connect to {}: {why}", backend.addr),
                ));
            }
        }
    }
    problems
}

async fn dial(addr: &Addr) -> Result<(), String> {
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
    match tokio::time::timeout(DIAL, connect(&target)).await {
        Ok(done) => done.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {DIAL:?}")),
    }
}

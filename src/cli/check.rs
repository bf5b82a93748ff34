//! `evenkeel check`: every problem of a file, or a one-line summary.
use super::args;
use super::dial::dial_all;
use crate::config::{self, Problem};
use crate::plan;
use crate::pool::Policies;
use std::process::ExitCode;
use std::sync::Arc;

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
            config.routes.len() + config.sni_routes.len(),
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

//! What came of a reload: one line of the log, whoever asked for it.
use super::report::{ReloadError, Report, names};

/// `before` is the generation that ran; `asked`: somebody waits for a word, that nothing changed as well.
pub(super) fn log(result: &Result<Report, ReloadError>, before: u64, asked: bool) {
    match result {
        Ok(report) if report.generation != before => tracing::info!(
            generation = report.generation,
            added = names(&report.added),
            changed = names(&report.changed),
            removed = names(&report.removed),
            kept = report.kept,
            needs_restart = names(&report.needs_restart),
            "reloaded"
        ),
        Ok(_) if asked => {
            tracing::info!(generation = before, "nothing changed: the running plan is the file's");
        }
        Ok(_) => {}
        Err(error) => {
            let said = error.to_string().replace('\n', " | ");
            tracing::error!("reload refused, the old plan runs on: {said}");
        }
    }
}

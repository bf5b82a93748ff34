//! `evenkeel errors`: the last failed and slow requests.
use super::args::Client;
use super::ask::{Asker, Error};
use super::ops::{list, show, text};
use super::table::Table;
use serde_json::Value;
use std::process::ExitCode;

/// `evenkeel errors`
pub(super) async fn errors(client: &Client) -> Result<ExitCode, Error> {
    let asker = Asker::find(client).await?;
    let told = asker.get("/v1/errors").await?;
    show(client, &told, |all| {
        let head = ["AT", "KIND", "STATUS", "REASON", "REQUEST", "ROUTE", "BACKEND", "TIME", "ID"];
        let mut table = Table::new(&head);
        for one in list(&all["errors"]) {
            table.row([
                text(&one["at"]),
                text(&one["kind"]),
                text(&one["status"]),
                text(&one["reason"]),
                asked(one),
                text(&one["route"]),
                format!("{}/{}", text(&one["pool"]), text(&one["backend"])),
                time(one),
                text(&one["id"]),
            ]);
        }
        match list(&all["errors"]).next() {
            Some(_) => put!("{table}"),
            None => say!("no request failed or was slow"),
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// What it asked for, so much of it as a line bears.
pub(super) fn asked(one: &Value) -> String {
    const MOST: usize = 60;
    let all = format!("{} {}{}", text(&one["method"]), text(&one["host"]), text(&one["target"]));
    if all.chars().count() <= MOST {
        return all;
    }
    let cut: String = all.chars().take(MOST - 1).collect();
    cut + "…"
}

/// Its whole time, and where it went.
pub(super) fn time(one: &Value) -> String {
    let millis = |value: &Value| value.as_f64().map(|seconds| format!("{:.0}", seconds * 1000.0));
    let phases = ["wait", "connect", "backend", "transfer"];
    let known = phases.iter().filter_map(|name| Some((name, millis(&one["phases"][*name])?)));
    let shown: Vec<String> = known
        .filter(|(_, time)| time != "0")
        .map(|(name, time)| format!("{name} {time}"))
        .collect();
    let whole = millis(&one["duration"]).unwrap_or_default();
    match shown.is_empty() {
        true => format!("{whole} ms"),
        false => format!("{whole} ms ({})", shown.join(", ")),
    }
}

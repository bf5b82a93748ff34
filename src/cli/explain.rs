//! `evenkeel explain`: why a request would go where it goes, or why one went there.
use super::args;
use super::ask::{Asker, Error, encoded};
use super::kept::{asked, time};
use super::ops::{list, show, text};
use super::table::Table;
use crate::admin;
use serde_json::Value;
use std::process::ExitCode;

/// `evenkeel explain`
pub(super) async fn explain(args: &args::Explain) -> Result<ExitCode, Error> {
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend(args.sni.iter().map(|name| ("sni", &**name)));
    match (&args.request, &args.what[..]) {
        (Some(id), _) => query.push(("id", id)),
        (None, []) if args.sni.is_some() => {}
        (None, [url]) => query.push(("url", url)),
        (None, [method, url]) => query.extend([("method", &**method), ("url", &**url)]),
        _ => return Err(Error::Usage("say a URL, or --request ID".into())),
    }
    query.extend(args.headers.iter().map(|field| ("header", &**field)));
    query.extend(args.client.iter().map(|client| ("client", &**client)));
    query.extend(args.listener.iter().map(|listener| ("listener", &**listener)));
    let owned = |(name, value): &(&str, &str)| ((*name).to_string(), (*value).to_string());
    let all: Vec<(String, String)> = query.iter().map(owned).collect();
    admin::check_question(&all).map_err(Error::Usage)?;
    let pairs: Vec<String> =
        query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let asker = Asker::find(&args.proxy).await?;
    let told = asker.get(&format!("/v1/explain?{}", pairs.join("&"))).await?;
    show(&args.proxy, &told, words);
    Ok(ExitCode::SUCCESS)
}

fn words(said: &Value) {
    let request = &said["request"];
    if !request.is_null() {
        say!(
            "request {}: {}, {} {} at {}, {}",
            text(&request["id"]),
            asked(request),
            text(&request["status"]),
            text(&request["reason"]),
            text(&request["at"]),
            time(request),
        );
        for one in list(&request["attempts"]) {
            let millis = |value: &Value| value.as_f64().unwrap_or(0.0) * 1000.0;
            say!(
                "  tried {} after {:.1} ms: {} in {:.1} ms",
                text(&one["backend"]),
                millis(&one["at"]),
                text(&one["result"]),
                millis(&one["seconds"]),
            );
        }
    }
    say!("listener {}", text(&said["listener"]));
    for rule in list(&said["rules"]) {
        let sign = if rule["route"] == said["route"] { '>' } else { ' ' };
        say!("{sign} route {}: {}", text(&rule["route"]), text(&rule["why"]));
    }
    if !said["answer"].is_null() {
        let answer = &said["answer"];
        let status = format!("{} ", text(&answer["status"]));
        say!("answered by the proxy: {}{}", status.trim_start(), text(&answer["reason"]));
    }
    let limit = &said["rate_limit"];
    if !limit.is_null() {
        let wait = match limit["wait"].is_null() {
            true => String::new(),
            false => format!(", the next in {} s", text(&limit["wait"])),
        };
        say!("rate limit: {} of {} left{wait}", text(&limit["left"]), text(&limit["burst"]));
    }
    let shares: Vec<String> = list(&said["shares"])
        .map(|share| format!("{} {}", text(&share["pool"]), text(&share["weight"])))
        .collect();
    if !shares.is_empty() {
        say!("shares: {}", shares.join(", "));
    }
    if said["pool"].is_null() {
        return;
    }
    say!("pool {}", text(&said["pool"]));
    for part in list(&said["key"]["parts"]) {
        match part["value"].is_null() {
            true => say!("  key {}: absent", text(&part["part"])),
            false => say!("  key {}: {:?}", text(&part["part"]), text(&part["value"])),
        }
    }
    let mut table = Table::new(&["", "BACKEND", "STATE", "REASON", "WEIGHT", "ACTIVE", "MAX"]);
    for one in list(&said["candidates"]) {
        let is = |place: &Value| *place == one["backend"];
        let sign = match () {
            () if is(&said["pick"]["backend"]) => ">",
            () if is(&said["runner_up"]) => "2",
            () if one["open"] == false => "-",
            () => "",
        };
        table.row([
            sign.into(),
            text(&one["backend"]),
            text(&one["state"]),
            match one["doubt"] == true {
                true => "in doubt".into(),
                false => text(&one["reason"]),
            },
            text(&one["weight"]),
            text(&one["active"]),
            text(&one["max_active"]),
        ]);
    }
    put!("{table}");
    let queue = &said["queue"];
    match said["pick"].is_null() {
        true if !queue.is_null() => {
            let (waiting, size) = (text(&queue["waiting"]), text(&queue["size"]));
            let most = queue["timeout"].as_f64().unwrap_or(0.0);
            say!(
                "nobody has room: {waiting} of {size} wait in the queue, for {most} s at the most"
            );
        }
        true => say!("nobody can take it"),
        false => {
            say!("picked {}: {}", text(&said["pick"]["backend"]), text(&said["pick"]["why"]));
        }
    }
}

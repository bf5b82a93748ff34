//! The commands that ask and tell a running proxy.
use super::args::{self, BackendCommand, Client, Member, Place};
use super::ask::{Asker, Error, Told, encoded, printable};
use super::known::READY;
use super::progress::Progress;
use super::table::Table;
use crate::config::{self, Name};
use crate::telemetry::seen;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// From one look to the next while something is waited for.
const LOOK: Duration = Duration::from_millis(200);

/// Runs a command that asks; what is wrong is said on standard error. Where JSON is wanted, standard
/// output has what was answered, a no as well.
pub(super) fn run(
    json: bool,
    work: impl Future<Output = Result<ExitCode, Error>>,
) -> Result<ExitCode, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime =
        builder.enable_all().build().map_err(|error| format!("start a thread: {error}"))?;
    match runtime.block_on(work) {
        Ok(code) => Ok(code),
        Err(error) => {
            if let (Error::No(_, told), true) = (&error, json) {
                told.print();
            }
            eprintln!("evenkeel: {error}");
            Ok(ExitCode::from(error.code()))
        }
    }
}

/// What was answered, as it came, where JSON is wanted; else in words.
pub(super) fn show(client: &Client, told: &Told, words: impl FnOnce(&Value)) {
    if client.json { told.print() } else { words(&told.body) }
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// `evenkeel status`
pub(super) async fn status(args: &args::Status) -> Result<ExitCode, Error> {
    let client = &args.client;
    let asker = Asker::find(client).await?;
    if args.ready {
        return ready(&asker, client.json).await;
    }
    let status = asker.get("/v1/status").await?.body;
    let pools = asker.get("/v1/pools").await?.body;
    if client.json {
        let both = json!({ "status": status, "pools": pools["pools"] }).to_string();
        say!("{}", seen(&both, |_| false));
    } else {
        let up = status["uptime_seconds"].as_f64().unwrap_or(0.0) as u64;
        say!(
            "evenkeel {}: {}, up {up}s, generation {}, {} connections",
            text(&status["version"]),
            text(&status["stage"]),
            status["generation"],
            status["connections"],
        );
        for listener in list(&status["listeners"]) {
            let bound: Vec<String> = list(&listener["bound"]).map(text).collect();
            let open = &listener["connections"];
            say!(
                "listener {} on {}: {open} connections",
                text(&listener["name"]),
                bound.join(", ")
            );
        }
        let last = &status["last_reload"];
        if last["result"] == "failure" {
            say!("the last reload, {}, was refused:", text(&last["at"]));
            list(&last["problems"]).for_each(|problem| say!("  {}", text(problem)));
        }
        let last = &status["hand_over"]["last"];
        if last["result"] == "failure" {
            say!("the last hand-over, {}, failed: {}", text(&last["at"]), text(&last["why"]));
        }
        older_work(&status);
        for key in list(&status["needs_restart"]) {
            say!("needs a restart: {}", text(key));
        }
        members(list(&pools["pools"]));
        said_over(&status);
    }
    let works = |pool: &Value| {
        let works = |m: &Value| matches!(m["state"].as_str(), Some("up" | "slow_start"));
        list(&pool["members"]).any(works)
    };
    let well = status["stage"] == "ready" && list(&pools["pools"]).all(works);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Of the proxy alone: a health check that asked for backends would restart it for their faults.
async fn ready(asker: &Asker, as_json: bool) -> Result<ExitCode, Error> {
    let (told, code) = match asker.get(READY).await {
        Ok(told) => (told, ExitCode::SUCCESS),
        Err(Error::No(503, told)) => (told, ExitCode::FAILURE),
        Err(error) => return Err(error),
    };
    let stage = told.text.trim_end();
    if as_json {
        say!("{}", json!({ "stage": stage }));
    } else {
        say!("{stage}");
    }
    Ok(code)
}

/// Processes that served before a hand-over: what they have in work is nobody's to count but theirs.
fn older_work(status: &Value) {
    for pid in list(&status["hand_over"]["draining"]) {
        say!("process {pid}, which served before, still drains: its work is not counted here");
    }
}

/// As [`show`], of backends and what is in work there.
async fn show_work(
    asker: &Asker,
    client: &Client,
    told: &Told,
    words: impl FnOnce(&Value),
) -> Result<(), Error> {
    show(client, told, words);
    if !client.json {
        older_work(&asker.get("/v1/status").await?.body);
    }
    Ok(())
}

/// Values of the file that the API covers.
fn said_over(body: &Value) {
    for one in list(&body["covered"]) {
        let place = format!(
            "{}/{}: {} {}",
            text(&one["pool"]),
            text(&one["backend"]),
            text(&one["key"]),
            text(&one["api"])
        );
        match one["file"].as_str() {
            Some(file) => say!("by the API: {place}, over the file's {}", printable(file)),
            None => say!("by the API: {place}, which the file does not name"),
        }
    }
}

fn members<'a>(pools: impl Iterator<Item = &'a Value>) {
    let mut table =
        Table::new(&["BACKEND", "ADDR", "STATE", "REASON", "WEIGHT", "ACTIVE", "SINCE", "SAID BY"]);
    let mut empty = Vec::new();
    for pool in pools {
        if list(&pool["members"]).next().is_none() {
            empty.push(text(&pool["name"]));
        }
        for m in list(&pool["members"]) {
            let name = format!("{}/{}", text(&pool["name"]), text(&m["name"]));
            table.row([
                name,
                text(&m["addr"]),
                text(&m["state"]),
                text(&m["reason"]),
                text(&m["weight"]),
                text(&m["active"]),
                text(&m["since"]),
                text(&m["said_by"]),
            ]);
        }
    }
    put!("{table}");
    empty.iter().for_each(|pool| say!("pool {pool} has no backends"));
}

pub(super) fn path(place: &Place) -> String {
    format!("/v1/pools/{}/backends/{}", encoded(&place.pool), encoded(&place.backend))
}

/// Who is meant. Where names have slashes it is the one of those that are there.
async fn meant(asker: &Asker, member: &Member) -> Result<Place, Error> {
    if let [place] = member.places() {
        return Ok(place.clone());
    }
    let pools = asker.get("/v1/pools").await?.body;
    let pool = |place: &Place| list(&pools["pools"]).find(|pool| pool["name"] == *place.pool);
    let is_there = |place: &&Place| {
        let members = pool(place).into_iter().flat_map(|pool| list(&pool["members"]));
        members.into_iter().any(|one| one["name"] == *place.backend)
    };
    let of_pool: Vec<&Place> =
        member.places().iter().filter(|place| pool(place).is_some()).collect();
    let there: Vec<&Place> = of_pool.iter().copied().filter(is_there).collect();
    match (&there[..], &of_pool[..]) {
        ([one], _) | ([], [one]) => Ok((*one).clone()),
        ([], []) => Ok(member.places()[0].clone()),
        (more, all) => {
            let more = if more.is_empty() { all } else { more };
            let each = |place: &&Place| {
                format!("{} of pool {}", printable(&place.backend), printable(&place.pool))
            };
            let each: Vec<String> = more.iter().map(each).collect();
            let what = format!("it may be {}: say it to the API", each.join(" or "));
            Err(Error::Usage(what))
        }
    }
}

/// `evenkeel backend …`
pub(super) async fn backend(what: &BackendCommand) -> Result<ExitCode, Error> {
    match what {
        BackendCommand::List { pool, client } => {
            let asker = Asker::find(client).await?;
            match pool {
                Some(pool) => {
                    let told = asker.get(&format!("/v1/pools/{}", encoded(pool))).await?;
                    show_work(&asker, client, &told, |pool| members(std::iter::once(pool))).await?;
                }
                None => {
                    let told = asker.get("/v1/pools").await?;
                    show_work(&asker, client, &told, |all| members(list(&all["pools"]))).await?;
                }
            }
        }
        BackendCommand::Add(add) => {
            if add.name.is_none() {
                Name::new(&add.addr).map_err(|why| Error::Usage(format!("{why}: say --name")))?;
            }
            let mut body = json!({ "addr": add.addr });
            let members =
                [("name", json!(add.name)), ("weight", json!(add.weight)), ("ttl", json!(add.ttl))];
            for (key, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
                body[key] = value;
            }
            if add.backup {
                body["backup"] = true.into();
            }
            let asker = Asker::find(&add.client).await?;
            let place = format!("/v1/pools/{}/backends", encoded(&add.pool));
            let told = asker.ask("POST", &place, Some(body)).await?;
            show(&add.client, &told, |m| {
                say!(
                    "added {}/{} at {}: {}",
                    printable(&add.pool),
                    text(&m["name"]),
                    text(&m["addr"]),
                    text(&m["state"])
                );
            });
        }
        BackendCommand::Remove { pool, name, client } => {
            let asker = Asker::find(client).await?;
            let place = Place { pool: pool.clone(), backend: name.clone() };
            asker.ask("DELETE", &path(&place), None).await?;
            match client.json {
                true => say!("{}", json!({ "pool": pool, "backend": name, "removed": true })),
                false => {
                    say!("{}/{} drains and is then gone", printable(pool), printable(name))
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `evenkeel drain`, with `--wait` until nothing is in work.
pub(super) async fn drain(args: &args::Drain) -> Result<ExitCode, Error> {
    let client = &args.one.client;
    let asker = Asker::find(client).await?;
    let member = &meant(&asker, &args.one.member).await?;
    let mut told = asker.ask("PATCH", &path(member), Some(json!({ "state": "drain" }))).await?;
    if args.wait {
        let name = format!("{}/{}", member.pool, member.backend);
        let begun = told.body["active"].as_u64().unwrap_or(0);
        let mut progress = Progress::new(&format!("drain {}", printable(&name)), begun);
        let mut is_said = false;
        loop {
            let left = told.body["active"].as_u64().unwrap_or(0);
            progress.show(left, told.body["drain_ends"].as_str());
            if left == 0 {
                // Asked after the member: a hand-over between the two is seen by the second.
                let status = asker.get("/v1/status").await?;
                let older: Vec<String> =
                    list(&status.body["hand_over"]["draining"]).map(Value::to_string).collect();
                if older.is_empty() {
                    break;
                }
                if !std::mem::replace(&mut is_said, true) {
                    progress.end();
                    let older = older.join(", ");
                    eprintln!(
                        "process {older}, which served before, still drains: waiting for its end"
                    );
                }
            }
            tokio::time::sleep(LOOK).await;
            // A word on who is not there is no member.
            if told.body.is_null() {
                continue;
            }
            told = asker.get(&path(member)).await?;
            // Somebody else said otherwise: waiting on would be for ever.
            if !matches!(told.body["state"].as_str(), Some("drain" | "maintenance")) {
                progress.end();
                let state = text(&told.body["state"]);
                let detail = format!("{name} is {state} again: somebody undrained it");
                return Err(Error::no(409, &detail));
            }
        }
        progress.end();
    }
    show_work(&asker, client, &told, |m| shown(member, m)).await?;
    Ok(ExitCode::SUCCESS)
}

fn shown(place: &Place, m: &Value) {
    let (pool, name) = (printable(&place.pool), printable(&place.backend));
    if m.is_null() {
        return say!("{pool}/{name}: nobody has the name now; it is noted for who comes under it");
    }
    say!("{pool}/{name}: {}, weight {}, {} active", text(&m["state"]), m["weight"], m["active"]);
}

/// `evenkeel undrain`
pub(super) async fn undrain(args: &args::One) -> Result<ExitCode, Error> {
    let asker = Asker::find(&args.client).await?;
    let place = meant(&asker, &args.member).await?;
    let told = asker.ask("PATCH", &path(&place), Some(json!({ "state": "up" }))).await?;
    show(&args.client, &told, |m| shown(&place, m));
    Ok(ExitCode::SUCCESS)
}

/// `evenkeel weight`
pub(super) async fn weight(args: &args::Weigh) -> Result<ExitCode, Error> {
    let asker = Asker::find(&args.client).await?;
    let place = meant(&asker, &args.member).await?;
    let body = json!({ "weight": args.weight.0 });
    let told = asker.ask("PATCH", &path(&place), Some(body)).await?;
    show(&args.client, &told, |m| shown(&place, m));
    Ok(ExitCode::SUCCESS)
}

/// `evenkeel reload`
pub(super) async fn reload(client: &Client) -> Result<ExitCode, Error> {
    let asker = Asker::find(client).await?;
    let told = asker.ask("POST", "/v1/reload", None).await?;
    show(client, &told, |done| {
        if done["changed"] == false {
            say!("nothing changed: generation {} is the file's", done["generation"]);
        } else {
            say!("reloaded: generation {}", done["generation"]);
            objects(done);
        }
        said_over(done);
    });
    Ok(ExitCode::SUCCESS)
}

/// `evenkeel plan`
pub(super) async fn plan(args: &args::Plan) -> Result<ExitCode, Error> {
    let unread = |why: String| Error::Usage(format!("{}: {why}", args.file.display()));
    let toml = config::read_text(&args.file).map_err(unread)?;
    let path = std::fs::canonicalize(&args.file).map_err(|error| unread(error.to_string()))?;
    let asker = Asker::find(&args.client).await?;
    // What the file includes is found from where it is, where the proxy can look there, too.
    let body = match asker.is_local() {
        true => json!({ "path": path }),
        false => json!({ "toml": toml }),
    };
    let told = asker.ask("POST", "/v1/plan", Some(body)).await?;
    show(&args.client, &told, |plan| {
        objects(plan);
        let kept = list(&plan["keep"]).count();
        let moved: i64 = list(&plan["drain"]).filter_map(|one| one["in_work"].as_i64()).sum();
        say!("{kept} objects stay as they are; no connection is cut, {moved} in work are to end");
        list(&plan["not_tried"]).for_each(|one| say!("not tried: {}", text(one)));
        said_over(plan);
    });
    Ok(ExitCode::SUCCESS)
}

fn objects(plan: &Value) {
    for (sign, key) in [("+", "add"), ("~", "change"), ("-", "drain"), ("!", "cut")] {
        for object in list(&plan[key]) {
            let what = match text(&object["what"]) {
                what if what.is_empty() => what,
                what => format!(": {what}"),
            };
            say!("{sign} {} {}{what}", text(&object["kind"]), text(&object["name"]));
        }
    }
    for key in list(&plan["needs_restart"]) {
        say!("needs a restart: {}", text(key));
    }
    list(&plan["notes"]).for_each(|note| say!("note: {}", text(note)));
}

/// `evenkeel ring`
pub(super) async fn ring(args: &args::Ring) -> Result<ExitCode, Error> {
    let asker = Asker::find(&args.client).await?;
    let (pool, gone) = (encoded(&args.pool), encoded(&args.remove));
    let told = asker.get(&format!("/v1/pools/{pool}/ring?remove={gone}")).await?;
    show(&args.client, &told, |ring| {
        let share = |value: &Value| format!("{:.2} %", value.as_f64().unwrap_or(0.0) * 100.0);
        let mut table = Table::new(&["BACKEND", "BEFORE", "AFTER"]);
        for one in list(&ring["shares"]) {
            table.row([text(&one["backend"]), share(&one["before"]), share(&one["after"])]);
        }
        put!("{table}");
        say!(
            "{} of the keys move, {} of all although their backend stays",
            share(&ring["moved"]),
            share(&ring["needless"]),
        );
    });
    Ok(ExitCode::SUCCESS)
}

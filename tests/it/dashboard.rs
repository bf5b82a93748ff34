//! The dashboard in a real browser: what it shows is what the API says, and what it does is done.
use crate::support::{Api, Backend, TOKEN, json, python};
use serde_json::Value;
use std::collections::BTreeMap;

/// A name that would run, were it ever taken for more than text.
const HOSTILE: &str = "<img src=x onerror='window.run=1'>\\\"<script>window.run=1</script>";

/// What a browser sees.
#[track_caller]
fn look(api: &Api, more: &[&str]) -> Value {
    let profile = tempfile::tempdir().unwrap();
    let output = python("dashboard/look.py")
        .arg(format!("http://{}/", api.addr))
        .arg(profile.path())
        .args(more)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"))
}

fn file(backends: &[(String, String)], more: &str) -> String {
    let all: Vec<String> = backends
        .iter()
        .map(|(name, addr)| format!("{{ name = \"{name}\", addr = \"{addr}\" }}"))
        .collect();
    format!(
        "{more}\n[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [pool.app]\nbackends = [\n{}\n]\n",
        all.join(",\n")
    )
}

/// What the API says of each backend, by pool and name.
fn said(pools: &Value) -> BTreeMap<(String, String), Value> {
    let mut all = BTreeMap::new();
    for pool in pools["pools"].as_array().unwrap() {
        for m in pool["members"].as_array().unwrap() {
            let text = |v: &Value| v.as_str().unwrap().to_string();
            all.insert((text(&pool["name"]), text(&m["name"])), m.clone());
        }
    }
    all
}

#[track_caller]
fn shows_what_is_said(seen: &Value, pools: &Value) {
    let mut expected = said(pools);
    for row in seen["rows"].as_array().unwrap() {
        let text = |key: &str| row[key].as_str().unwrap().to_string();
        let m = expected.remove(&(text("pool"), text("name"))).unwrap_or_else(|| panic!("{row}"));
        for key in ["addr", "state", "weight", "active"] {
            assert_eq!(row[key], m[key], "{key} of {row}");
        }
        assert!(text("why").starts_with(m["reason"].as_str().unwrap()), "{row}");
        let unseen = |c| if MARKLESS.contains(c) { '\u{fffd}' } else { c };
        assert_eq!(text("shown"), text("name").chars().map(unseen).collect::<String>());
        assert_eq!(row["buttons"], serde_json::json!(["drain", "set"]));
    }
    assert!(expected.is_empty(), "not shown: {:?}", expected.keys());
    assert_eq!(seen["run"], true, "something that was typed has run");
    assert_eq!(seen["faults"], serde_json::json!([]));
    assert_eq!(seen["dark"], true, "it is the same by night");
    assert_eq!(seen["astray"], serde_json::json!({}), "cut off or not below its heading, by width");
    assert!(
        seen["wide"].as_u64().unwrap() <= 360,
        "a phone must scroll sideways: {}",
        seen["wide"]
    );
    assert!(seen["lost"].as_str().unwrap().starts_with("Connection lost since "));
    assert!(seen["happened"].as_str().unwrap().contains("reload: generation 1"));
}

/// Everything that was asked for is of its own origin.
#[track_caller]
fn asks_nobody_else(seen: &Value, api: &Api) {
    let own = format!("http://{}/", api.addr);
    for url in seen["asked"].as_array().unwrap() {
        let url = url.as_str().unwrap();
        assert!(url.starts_with(&own) || url == "data:,", "{url}");
    }
}

/// What cannot be seen at the end of a name.
const MARKLESS: &str = "\u{202e}\u{200b}\u{3164}\u{2800}\u{34f}\u{fe0f}\u{e0041}\u{a0}";

#[test]
fn it_shows_three_backends_as_the_api_does_and_drains_one_by_keyboard() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let down = crate::support::nobody().to_string();
    let all = [
        ("b1".to_string(), one.addr.to_string()),
        ("b2".into(), two.addr.to_string()),
        (HOSTILE.into(), down.clone()),
        // Who would look like another one.
        (format!("b2{MARKLESS}"), down),
    ];
    // Two that are one in words alone: `a/b/c`.
    let slashes = format!(
        "[pool.a]\nbackends = [{{ name = \"b/c\", addr = \"{0}\" }}]\n\
         [pool.\"a/b\"]\nbackends = [{{ name = \"c\", addr = \"{0}\" }}]\n",
        one.addr
    );
    let words = file(&all, "[admin]\ntoken_file = \"admin.token\"") + &slashes;
    let api = Api::start(&words);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let before = json(&api.call("GET", "/v1/pools", &bearer, ""));
    let seen = look(&api, &["--token", TOKEN, "--drain", "app", "b2"]);
    assert_eq!(seen["hidden"], true, "nothing is shown without the token");
    shows_what_is_said(&seen, &before);
    asks_nobody_else(&seen, &api);
    goes_back_no_further_than_it_looked(&seen);
    let focus = serde_json::json!(["undrain b2", "drain b2", "undrain b2"]);
    assert_eq!(seen["focus"], focus, "the keyboard stays where it was");
    assert_eq!(seen["next"], "weight of b2", "and goes on to what is beside it");
    let after = json(&api.call("GET", "/v1/pools/app/backends/b2", &bearer, ""));
    assert_eq!((&after["state"], &after["weight"]), (&"drain".into(), &7.into()));
}

/// However often it looked meanwhile: five minutes are as wide as a chart, two seconds are a point.
#[track_caller]
fn goes_back_no_further_than_it_looked(seen: &Value) {
    let elapsed = seen["elapsed"].as_f64().unwrap();
    let chart = seen["chart"].as_str().unwrap();
    let points: Vec<f64> =
        chart.split(['M', 'L']).filter_map(|point| point.split(' ').next()?.parse().ok()).collect();
    assert!(points.len() as f64 <= 1.0 + elapsed / 1950.0, "{chart} after {elapsed} ms");
    assert!((100.0 - points[0]) * 3000.0 <= elapsed + 100.0, "{chart} after {elapsed} ms");
    assert!(points.is_sorted() && points.iter().all(|x| *x <= 100.0), "{chart}");
}

#[test]
fn without_events_it_says_so_and_keeps_what_it_heard_before() {
    let one = Backend::named("one");
    let all = [("b1".to_string(), one.addr.to_string())];
    let api = Api::start(&file(&all, "[admin]\nlimits = { streams = 1 }"));
    let seen = look(&api, &["--unheard"]);
    assert_eq!(seen["steady"], true, "it is said as long as it is so");
    let text = |key: &str| seen[key].as_str().unwrap().to_string();
    assert!(text("deaf").contains("(/v1/events: 503)"), "{seen}");
    assert!(text("unknown").ends_with("is not known: no events are heard."), "{seen}");
    assert_eq!(seen["kept"], true, "a break takes nothing away");
    let lasts = seen["lasts"].as_array().unwrap();
    assert!(lasts[0] == 0 && lasts.last().unwrap().as_u64().unwrap() > 0, "{lasts:?}");
    let count = |key: &str| seen[key].as_u64().unwrap();
    assert_eq!(count("after"), count("before") + 1, "nothing is told twice: {seen}");
}

#[test]
fn it_shows_five_hundred_backends_in_bounded_memory() {
    let all: Vec<_> = (0..500)
        .map(|n| (format!("b{n}"), format!("127.0.{}.{}:9", n / 250, n % 250 + 1)))
        .collect();
    let api = Api::start(&file(&all, ""));
    let seen = look(&api, &[]);
    shows_what_is_said(&seen, &api.get("/v1/pools"));
    assert_eq!(seen["rows"].as_array().unwrap().len(), 500);
    let heap = seen["heap"].as_u64().unwrap();
    println!("painted after {} ms, heap {} KiB", seen["paint"], heap / 1024);
    assert!(heap < 50 << 20, "{heap} bytes");
}

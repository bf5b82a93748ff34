//! The API is what its own description says, asked by a tool of others that makes up requests.
use crate::admin::words;
use crate::support::{Api, Backend, json};
use std::path::Path;
use std::process::Command;

#[test]
fn the_description_holds_for_whatever_is_asked() {
    let backend = Backend::named("one");
    let addr = backend.addr.to_string();
    let hash = "[pool.other]\nbackends = [\"127.0.0.1:1\"]\n";
    let file = words(&[&addr, "127.0.0.1:1"], "")
        + "balance = { policy = \"consistent_hash\", key = \"path\" }\n"
        + hash;
    let api = Api::start(&file);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/python/bin/st");
    assert!(program.is_file(), "no {}: tests/run makes it", program.display());
    // By its interpreter: the folder may have moved since the script was made.
    let output = Command::new(program.with_file_name("python3"))
        .arg(program)
        .current_dir(api.folder.path())
        .arg("--config-file")
        .arg(root.join("tests/it/schemathesis.toml"))
        .args(["run", &format!("http://{}/v1/openapi.json", api.addr)])
        // A stream that does not end has tests of its own.
        .args(["--exclude-path", "/v1/events", "--checks", "all", "--max-examples", "25"])
        // Who registers for a second may be gone when it is looked for, and who did not register is asked for
        // no heartbeat; that what was made is there, tests of our own say.
        .args(["--exclude-checks", "ensure_resource_availability"])
        .args(["--no-color", "--seed", "1", "--generation-database", "none"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Tested: 14"), "{said}");
    assert_eq!(api.call("GET", "/readyz", "", "").status, 200);
}

#[test]
fn every_path_and_method_of_the_description_is_served_and_the_version_is_ours() {
    let api = Api::start(&words(&["127.0.0.1:1"], ""));
    let said = json(&api.call("GET", "/v1/openapi.json", "", ""));
    assert_eq!(said["info"]["version"], env!("CARGO_PKG_VERSION"));
    let paths = said["paths"].as_object().unwrap();
    assert!(paths.len() >= 12);
    for (path, methods) in paths {
        let path = path.replace("{pool}", "app").replace("{name}", "b1");
        let refused = api.call("TRACE", &path, "", "");
        assert_eq!(refused.status, 405, "{path}");
        let allowed = refused.field("allow").unwrap().to_lowercase();
        for method in methods.as_object().unwrap().keys() {
            assert!(allowed.split(", ").any(|one| one == method), "{path}: {method} of {allowed}");
        }
    }
}

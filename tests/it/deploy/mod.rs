//! The files of `examples/deploy` say what the binary does: its arguments, addresses, paths and times.
use crate::support::{Client, Service, call, nobody, python};
use evenkeel::config::{self, BindAddr, Config};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_evenkeel");

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(place(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The command is one of the binary's, with every argument understood: asked for help last, it would
/// complain of the first that is not.
#[track_caller]
fn understood(arguments: &[&str]) {
    let output = Command::new(BINARY).args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--no-such-thing"]).collect();
    assert!(
        !Command::new(BINARY).args(&arguments).arg("--help").output().unwrap().status.success()
    );
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Passes `evenkeel check`, and is what it then says.
#[track_caller]
fn checked(path: &Path) -> Config {
    let output = Command::new(BINARY).arg("check").arg("-c").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    config::load(path).unwrap()
}

/// The ports that a configuration listens on.
fn ports(config: &Config) -> BTreeSet<u16> {
    let listeners = config.listeners.values().flat_map(|l| &l.bind).map(|bind| &bind.addr);
    let metrics = config.metrics.iter().map(|bind| &bind.addr);
    let port = |addr: &BindAddr| match addr {
        BindAddr::Ip(addr) => addr.port(),
        other => panic!("{other}"),
    };
    listeners.chain(metrics).map(port).collect()
}

fn ends_within(config: &Config) -> Duration {
    config.server.shutdown_delay + config.server.grace
}

/// The values of a key of a unit.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_units_run_the_binary_by_the_configuration_beside_them() {
    let (unit, socket) = (read("systemd/evenkeel.service"), read("systemd/evenkeel.socket"));
    for key in ["ExecStart", "ExecReload"] {
        let command = values(&unit, key)[0];
        let arguments: Vec<&str> =
            command.strip_prefix("/usr/bin/evenkeel ").unwrap().split(' ').collect();
        understood(&arguments);
        assert_eq!(arguments[1..], ["-c", "/etc/evenkeel/proxy.toml"]);
    }
    let config = checked(&place("systemd/proxy.toml"));
    let state = format!("/var/lib/{}", values(&unit, "StateDirectory")[0]);
    assert_eq!(config.server.state, Path::new(&state));
    // Its user is made by the file beside it, and it may write where rotation looks.
    let user = values(&unit, "User")[0];
    let made = read("systemd/evenkeel.sysusers");
    assert!(made.lines().any(|line| line.starts_with(&format!("u {user} - "))), "{made}");
    let rotated = read("systemd/evenkeel.logrotate");
    let logs = format!("\n/var/log/{}/*.log {{\n", values(&unit, "LogsDirectory")[0]);
    assert!(rotated.contains(&logs) && rotated.contains(&format!("su {user} {user}\n")));
    let seconds = |key: &str| {
        let text = values(&unit, key)[0].strip_suffix('s').unwrap();
        Duration::from_secs(text.parse().unwrap())
    };
    assert!(seconds("TimeoutStopSec") > ends_within(&config) + Duration::from_secs(5));
    let bound = config.listeners.values().flat_map(|l| &l.bind).map(|bind| bind.addr.to_string());
    assert_eq!(bound.collect::<Vec<_>>(), values(&socket, "ListenStream"));
    // And by what systemd itself makes of them, with the binary where it is.
    let folder = tempfile::tempdir().unwrap();
    let files = [("evenkeel.service", unit), ("evenkeel.socket", socket)].map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text.replace("/usr/bin/evenkeel ", &format!("{BINARY} "))).unwrap();
        path
    });
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&files).output();
    let verify = verify.unwrap();
    assert!(verify.status.success() && said(&verify).is_empty(), "{}", said(&verify));
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=yes", "--threshold=20", "--no-pager"]).arg(&files[0]);
    let security = security.output().unwrap();
    assert!(security.status.success(), "{}", said(&security));
}

#[test]
fn the_container_has_what_the_binary_needs() {
    let file = read("container/Containerfile");
    let of = |word: &str| {
        let mut all = file.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        all.next_back().unwrap_or_else(|| panic!("no {word}")).to_string()
    };
    let list = |text: &str| -> Vec<String> { serde_json::from_str(text).unwrap() };
    assert_eq!(list(&of("ENTRYPOINT")), ["/evenkeel"]);
    let command = list(&of("CMD"));
    understood(&command.iter().map(String::as_str).collect::<Vec<_>>());
    let health = of("HEALTHCHECK");
    let health = list(health.split_once(" CMD ").unwrap().1);
    // Backends that fail are no fault of the container's.
    assert_eq!(health[..3], ["/evenkeel", "status", "--ready"]);
    understood(&health[1..].iter().map(String::as_str).collect::<Vec<_>>());
    assert_ne!(of("USER").split(':').next().unwrap().parse::<u32>().unwrap(), 0);
    let config = checked(&place("container/proxy.toml"));
    let exposed: BTreeSet<u16> =
        of("EXPOSE").split(' ').map(|port| port.parse().unwrap()).collect();
    assert_eq!(exposed, ports(&config));
    assert_eq!(list(&of("VOLUME")), [config.server.state.to_str().unwrap()]);
    // The C library and libgcc are all that is in the image beside it.
    let needs = Command::new("ldd").arg(BINARY).output().unwrap();
    let needs = said(&needs);
    let there = ["linux-vdso.so.1", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "ld-linux"];
    let known = |line: &&str| there.iter().any(|name| line.contains(name));
    assert_eq!(needs.lines().find(|line| !known(line)), None);
}

#[test]
fn the_manifests_probe_what_is_served_and_leave_time_to_drain() {
    let output =
        python("deploy/documents.py").arg(place("kubernetes/evenkeel.yaml")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let of = |kind: &str| all.iter().find(|one| one["kind"] == kind).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    std::fs::write(&path, of("ConfigMap")["data"]["proxy.toml"].as_str().unwrap()).unwrap();
    let config = checked(&path);
    let pod = &of("Deployment")["spec"]["template"];
    let (labels, pod) = (&pod["metadata"]["labels"], &pod["spec"]);
    let container = &pod["containers"][0];
    let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let arguments = texts(&container["args"]);
    understood(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    // Every port is one of the configuration, and every name one of the ports.
    let named = |name: &Value| {
        let ports = container["ports"].as_array().unwrap();
        let found = ports.iter().find(|port| port["name"] == *name);
        found.unwrap_or_else(|| panic!("{name}"))["containerPort"].as_u64().unwrap() as u16
    };
    let declared = container["ports"].as_array().unwrap().iter().map(|port| named(&port["name"]));
    assert_eq!(declared.collect::<BTreeSet<_>>(), ports(&config));
    assert!(ports(&config).contains(&named(&of("Service")["spec"]["ports"][0]["targetPort"])));
    for selector in [
        &of("Service")["spec"]["selector"],
        &of("Deployment")["spec"]["selector"]["matchLabels"],
        &of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    let BindAddr::Ip(metrics) = config.metrics.as_ref().unwrap().addr.clone() else { panic!() };
    let at = nobody();
    let service = Service::start(&format!(
        "[metrics]\nbind = \"{at}\"\n[listener.l]\nbind = \"{}\"\nprotocol = \"http\"\n",
        nobody()
    ));
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let get = &container[probe]["httpGet"];
        assert_eq!(named(&get["port"]), metrics.port(), "{probe}");
        let path = get["path"].as_str().unwrap();
        assert_eq!(call(&mut Client::connect(at), "GET", path, "", "").status, 200, "{probe}");
    }
    drop(service);
    let seconds = |value: &Value| Duration::from_secs(value.as_u64().unwrap());
    let all_of_it =
        seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"]) + ends_within(&config);
    assert!(seconds(&pod["terminationGracePeriodSeconds"]) > all_of_it + Duration::from_secs(5));
    // Nobody is root, and what is written is in a volume.
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    let mounts = container["volumeMounts"].as_array().unwrap();
    let volumes = pod["volumes"].as_array().unwrap();
    assert!(mounts.iter().all(|mount| volumes.iter().any(|v| v["name"] == mount["name"])));
    let mounted = |path: &Path| {
        mounts.iter().any(|mount| path.starts_with(mount["mountPath"].as_str().unwrap()))
    };
    assert!(mounted(&config.server.state) && mounted(Path::new(&arguments[2])));
}

#[test]
fn the_package_has_its_files_and_its_scripts_are_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let made = read("debian/build");
    let mut there = BTreeSet::new();
    for asset in deb["assets"].as_array().unwrap() {
        let [source, target, _mode] = asset.as_array().unwrap().as_slice() else { panic!() };
        let (source, target) = (source.as_str().unwrap(), target.as_str().unwrap());
        let name = source.rsplit('/').next().unwrap();
        let is_made = source == "target/release/evenkeel"
            || (source.starts_with("target/deb/") && made.contains(&format!("$made/{name}")));
        assert!(is_made || root.join(source).is_file(), "{source}");
        there.insert(if target.ends_with('/') {
            format!("/{target}{name}")
        } else {
            format!("/{target}")
        });
    }
    // What the unit runs and reads, and what an upgrade must not write over.
    let unit = read("systemd/evenkeel.service");
    let program = values(&unit, "ExecStart")[0].split(' ').next().unwrap();
    let unit = "/lib/systemd/system/evenkeel.service";
    let (users, rotated) = ("/usr/lib/sysusers.d/evenkeel.conf", "/etc/logrotate.d/evenkeel");
    for path in [program, "/etc/evenkeel/proxy.toml", unit, users, rotated] {
        assert!(there.contains(path), "{path} of {there:?}");
    }
    assert!(read("debian/postinst").contains("systemd-sysusers evenkeel.conf\n"));
    let kept: Vec<&str> =
        deb["conf-files"].as_array().unwrap().iter().filter_map(|v| v.as_str()).collect();
    assert_eq!(kept, ["/etc/evenkeel/proxy.toml", rotated]);
    let scripts = root.join(deb["maintainer-scripts"].as_str().unwrap());
    for name in ["build", "postinst", "prerm", "postrm"] {
        let sound = Command::new("sh").arg("-n").arg(scripts.join(name)).output().unwrap();
        assert!(sound.status.success(), "{name}: {}", said(&sound));
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(made.contains(&format!("completions {shell}")));
        understood(&["completions", shell]);
    }
}

//! Certificate files that change under the running process, and those it refuses.
use crate::cli::{Process, check};
use crate::support::{Backend, Certs, Client, until};
use rcgen::date_time_ymd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

fn words(backend: &Backend, folder: &Path, port: u16, admin: u16) -> String {
    format!(
        "[admin]\nbind = \"127.0.0.1:{admin}\"\n[log]\naccess = {{ to = \"access.log\" }}\n\
         [listener.web]\nbind = \"127.0.0.1:{port}\"\npool = \"app\"\n\
         tls = {{ certificates = [{{ cert = \"{0}/a.pem\", key = \"{0}/a.key\" }}] }}\n\
         [pool.app]\nbackends = [\"{1}\"]\n",
        folder.display(),
        backend.addr
    )
}

fn serve(backend: &Backend, folder: &Path) -> Process {
    Process::serving(|port, admin| words(backend, folder, port, admin))
}

/// The name of its owner that a new connection is shown.
fn shown(process: &Process) -> String {
    let addr = format!("127.0.0.1:{}", process.port);
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &addr, "-servername", "a.test"])
        .stdin(Stdio::null())
        .output()
        .expect("openssl: install Debian's package openssl");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = said.lines().find_map(|line| line.strip_prefix("subject=CN = "));
    found.unwrap_or_else(|| panic!("no certificate: {said}")).to_string()
}

fn not_after(process: &Process) -> Option<f64> {
    let labels = "{listener=\"web\",subject=\"a.test\"}";
    process.metric(&format!("evenkeel_tls_certificate_not_after_timestamp_seconds{labels}"))
}

fn refused(process: &Process) -> f64 {
    process.metric("evenkeel_config_reloads_total{result=\"failure\"}").unwrap()
}

/// Pairs `one` to `four` for the same name, that expire in different years.
fn pairs(certs: &Certs) {
    for (name, year) in [("one", 2051), ("two", 2052), ("three", 2053), ("four", 2054)] {
        certs.make_with(name, &["a.test"], |p| p.not_after = date_time_ymd(year, 1, 1));
    }
    certs.make_with("old", &["a.test"], |p| p.not_after = date_time_ymd(2001, 1, 1));
    certs.make_with("early", &["a.test"], |p| p.not_before = date_time_ymd(2040, 1, 1));
}

/// Seconds since 1970 at the first of January.
fn year(year: i32) -> Option<f64> {
    Some(date_time_ymd(year, 1, 1).unix_timestamp() as f64)
}

#[test]
fn files_that_change_are_taken_however_they_are_written_and_bad_ones_are_not() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    pairs(&certs);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let copy = |from: &str, to: &str| std::fs::copy(certs.path(from), at(to)).unwrap();
    copy("one.pem", "a.pem");
    copy("one.key", "a.key");
    let process = serve(&backend, folder.path());
    assert_eq!((shown(&process).as_str(), not_after(&process)), ("one", year(2051)));
    let addr = ([127, 0, 0, 1], process.port).into();
    let mut kept = Client::secure_at(addr, &certs, "a.test");
    assert_eq!(kept.ask("GET", "/", "").text(), "one");
    // In place, one after the other: the pair in between is none, the one before stays.
    copy("two.key", "a.key");
    until("it is refused", || refused(&process) == 1.0);
    assert_eq!((shown(&process).as_str(), not_after(&process)), ("one", year(2051)));
    copy("two.pem", "a.pem");
    until("both are taken", || shown(&process) == "two");
    until("the metric follows", || not_after(&process) == year(2052));
    // Renamed over.
    for end in ["pem", "key"] {
        copy(&format!("three.{end}"), "new");
        std::fs::rename(at("new"), at(&format!("a.{end}"))).unwrap();
    }
    until("both are taken", || shown(&process) == "three");
    until("the metric follows", || not_after(&process) == year(2053));
    // What does not parse, and what has expired, each whole.
    let before = refused(&process);
    std::fs::write(at("a.pem"), "garbage").unwrap();
    until("it is refused", || refused(&process) == before + 1.0);
    copy("old.key", "a.key");
    until("it is refused", || refused(&process) == before + 2.0);
    copy("old.pem", "a.pem");
    until("it is refused", || refused(&process) == before + 3.0);
    assert_eq!((shown(&process).as_str(), not_after(&process)), ("three", year(2053)));
    // One of the future.
    copy("early.key", "a.key");
    until("it is refused", || refused(&process) == before + 4.0);
    copy("early.pem", "a.pem");
    until("it is refused", || refused(&process) == before + 5.0);
    assert_eq!((shown(&process).as_str(), not_after(&process)), ("three", year(2053)));
    // It is gone.
    std::fs::remove_file(at("a.pem")).unwrap();
    until("it is refused", || refused(&process) == before + 6.0);
    assert_eq!(shown(&process), "three");
    for end in ["pem", "key"] {
        copy(&format!("four.{end}"), &format!("a.{end}"));
    }
    until("a good pair is taken again", || shown(&process) == "four");
    // Its connection was made long ago, and never touched.
    assert_eq!(kept.ask("GET", "/", "").text(), "one");
    let said = process.end();
    for what in [
        "a.key: is not the key of",
        "a.pem: nothing in it begins with -----BEGIN CERTIFICATE-----",
        "a.pem: it has expired",
        "a.pem: it is not valid before 2040-01-01T00:00:00",
        "a.pem: cannot be read",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
}

#[test]
fn a_secret_that_kubernetes_swaps_is_taken_whole() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    pairs(&certs);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let publish = |name: &str| {
        let data = at(&format!("..{name}"));
        std::fs::create_dir(&data).unwrap();
        for end in ["pem", "key"] {
            let from = certs.path(&format!("{name}.{end}"));
            std::fs::copy(from, data.join(format!("a.{end}"))).unwrap();
        }
        symlink(format!("..{name}"), at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    publish("one");
    for end in ["pem", "key"] {
        symlink(format!("..data/a.{end}"), at(&format!("a.{end}"))).unwrap();
    }
    let process = serve(&backend, folder.path());
    assert_eq!(shown(&process), "one");
    for (name, before, then) in [("two", "one", 2052), ("three", "two", 2053)] {
        publish(name);
        std::fs::remove_dir_all(at(&format!("..{before}"))).unwrap();
        until("the new pair is taken", || shown(&process) == name);
        until("the metric follows", || not_after(&process) == year(then));
    }
    assert_eq!(refused(&process), 0.0, "there was never half a pair");
}

#[test]
fn a_key_that_others_can_read_is_a_warning_and_what_does_not_parse_is_no_start() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    pairs(&certs);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(certs.path("one.pem"), at("a.pem")).unwrap();
    std::fs::copy(certs.path("one.key"), at("a.key")).unwrap();
    let mode = |mode: u32| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(at("a.key"), mode).unwrap();
    };
    mode(0o600);
    assert!(!serve(&backend, folder.path()).end().contains("chmod"));
    mode(0o644);
    let said = serve(&backend, folder.path()).end();
    assert!(said.contains("WARN") && said.contains("a.key: everybody on this machine"), "{said}");
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let key = std::fs::read_to_string(at("a.key")).unwrap();
    let pem = std::fs::read_to_string(at("a.pem")).unwrap();
    for (file, text, said) in [
        ("a.pem", garbled, "proxy.toml:8:34: listener.web.tls.certificates[0].cert"),
        ("a.pem", &key, "a.pem: nothing in it begins with -----BEGIN CERTIFICATE-----"),
        ("a.pem", &format!("{pem}{garbled}"), "a.pem: certificate 2 of it does not parse"),
        ("a.key", garbled, "a.key: nothing in it begins with -----BEGIN PRIVATE KEY-----"),
    ] {
        std::fs::write(at("a.pem"), &pem).unwrap();
        std::fs::write(at("a.key"), &key).unwrap();
        std::fs::write(at(file), text).unwrap();
        let bad = check(&words(&backend, folder.path(), 1, 2), &[]);
        let seen = String::from_utf8_lossy(&bad.stderr).into_owned();
        assert_eq!(bad.status.code(), Some(1), "{seen}");
        assert!(seen.contains(said), "{said}: {seen}");
        // A start is no more forgiving.
        let words = words(&backend, folder.path(), 1, 2);
        std::fs::write(at("proxy.toml"), words).unwrap();
        let run = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .current_dir(folder.path())
            .arg("run")
            .output()
            .unwrap();
        let seen = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.code() == Some(1) && seen.contains(said), "{said}: {seen}");
    }
}

#[test]
fn secrets_that_are_none_are_said_by_the_check_too_and_so_is_how_to_make_pem_of_a_key() {
    let certs = Certs::new();
    certs.make("a", &["a.test"]);
    certs.make_with("old", &["a.test"], |p| p.not_after = date_time_ymd(2001, 1, 1));
    let at = |name: &str| certs.path(name).display().to_string();
    std::fs::write(at("tickets"), [7; 80]).unwrap();
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let words = format!(
        "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"app\"\ntls = {{ certificates = [{{ \
         cert = \"{}\", key = \"{}\" }}], tickets_file = \"{}\" }}\n[pool.app]\ntls = {{ cert = \
         \"{}\", key = \"{}\" }}\nbackends = []\n",
        at("a.pem"),
        at("a.key"),
        at("tickets"),
        at("old.pem"),
        at("old.key")
    );
    ["a.key", "old.key", "tickets"].into_iter().for_each(|name| mode(name, 0o600));
    let old = format!("{}: it has expired", at("old.pem"));
    let run = |words: &str| {
        let done = check(words, &[]);
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (fits, said) = run(&words);
    assert!(fits && said.contains(&old) && said.lines().count() == 1, "{said}");
    ["a.key", "old.key", "tickets"].into_iter().for_each(|name| mode(name, 0o644));
    let (fits, said) = run(&words);
    for name in ["a.key", "old.key", "tickets"] {
        let warning = format!("{0}: everybody on this machine can read it; chmod o= {0}", at(name));
        assert!(fits && said.contains(&warning) && said.starts_with("warning: "), "{said}");
    }
    let openssl = |args: &[&str]| {
        let done = Command::new("openssl").args(args).output().expect("openssl is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let (key, pem, plain) = (at("a.key"), at("a.pem"), at("plain"));
    std::fs::copy(&key, &plain).unwrap();
    let aes = ["-in", &plain, "-out", &key, "-aes256", "-passout", "pass:x"];
    let der = ["-outform", "der", "-in", &plain, "-out", &key];
    for (args, hint) in [
        ([&["pkey"][..], &aes].concat(), format!("{key}: is encrypted")),
        ([&["ec"][..], &aes].concat(), format!("openssl pkey -in {key} -out plain.key")),
        ([&["pkey"][..], &der].concat(), format!("openssl pkey -inform der -in {key}")),
    ] {
        openssl(&args);
        let (fits, said) = run(&words);
        assert!(!fits && said.contains(&hint), "{hint}: {said}");
    }
    std::fs::copy(&plain, &key).unwrap();
    openssl(&["x509", "-outform", "der", "-in", &at("old.pem"), "-out", &pem]);
    let (fits, said) = run(&words);
    assert!(!fits && said.contains(&format!("openssl x509 -inform der -in {pem}")), "{said}");
}

#[test]
fn what_is_not_valid_now_or_names_nobody_is_a_warning_where_nothing_better_is_in_force() {
    let (backend, certs) = (Backend::named("one"), Certs::new());
    pairs(&certs);
    certs.make("nobody", &[]);
    let folder = tempfile::tempdir().unwrap();
    let ca = format!(" }}], client_ca = \"{}\" ", certs.path("ca.pem").display());
    for (name, asks, what) in [
        ("old", false, Some("it has expired")),
        ("early", false, Some("it is not valid before 2040-01-01T00:00:00")),
        ("nobody", false, None),
        ("nobody", true, Some("it names nobody (no subjectAltName): with client_ca each")),
    ] {
        for end in ["pem", "key"] {
            let from = certs.path(&format!("{name}.{end}"));
            std::fs::copy(from, folder.path().join(format!("a.{end}"))).unwrap();
        }
        let mut words = words(&backend, folder.path(), 1, 2);
        if asks {
            words = words.replace(" }] ", &ca);
        }
        let seen = check(&words, &[]);
        let said = String::from_utf8_lossy(&seen.stderr).into_owned();
        assert_eq!(seen.status.code(), Some(0), "{name}: {said}");
        let warned = said.lines().find(|line| line.contains("a.pem: "));
        match what {
            Some(what) => assert!(warned.is_some_and(|line| line.contains(what)), "{said}"),
            None => assert_eq!(warned, None),
        }
    }
}

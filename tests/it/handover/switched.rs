//! A release-style `current` is led elsewhere while the proxy runs by a file behind it, and `server.state` with it.
use super::web;
use crate::support::{Service, nobody, until};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Leads `current` to a release, in one step.
fn switch(folder: &Path, release: &str) {
    symlink(release, folder.join("next")).unwrap();
    fs::rename(folder.join("next"), folder.join("current")).unwrap();
}

/// Serves by `current/proxy.toml`, which leads to the first of three releases that are alike.
fn start() -> Service {
    let pool = format!("backends = [{{ name = \"a\", addr = \"{}\" }}]", nobody());
    Service::start_with(&web(nobody(), &pool), |folder, command| {
        for release in ["r1", "r2", "r3"] {
            fs::create_dir(folder.join(release)).unwrap();
            fs::copy(folder.join("proxy.toml"), folder.join(release).join("proxy.toml")).unwrap();
        }
        switch(folder, "r1");
        command.args(["-c", "current/proxy.toml"]);
    })
}

/// One more process of the folder, with what it says in the log of all.
fn run(service: &Service, more: &[&str]) -> Child {
    let log = fs::File::options().append(true).open(service.path("log.txt")).unwrap();
    let mut command = Command::new(service.path("evenkeel"));
    command.args(["run", "-c", "current/proxy.toml"]).args(more).stdin(Stdio::null()).stderr(log);
    command.current_dir(service.folder.path()).spawn().unwrap()
}

#[test]
fn what_the_api_said_and_who_serves_are_found_in_the_next_release() {
    let mut service = start();
    assert_eq!(
        service.call("PATCH", "/v1/pools/app/backends/a", "{\"state\": \"drain\"}").status,
        200
    );
    let is_drained = |service: &Service| assert_eq!(service.member("a")["state"], "drain");
    // At once: the process that is asked to looks itself.
    switch(service.folder.path(), "r2");
    service.hand_over();
    is_drained(&service);
    assert!(UnixStream::connect(service.path("r2/state/admin.sock")).is_ok());
    // The old release goes, the next one comes, and another process takes over from outside.
    fs::remove_dir_all(service.path("r1")).unwrap();
    let before = service.pid();
    switch(service.folder.path(), "r3");
    let mut second = run(&service, &["--take-over"]);
    until("it took over", || service.pid() != before);
    is_drained(&service);
    service.until_ended(before);
    assert!(UnixStream::connect(service.path("r3/state/admin.sock")).is_ok());
    // Nobody asks: it is looked for all the same, and the next start knows.
    switch(service.folder.path(), "r2");
    let log = "server.state leads elsewhere: what the API said and the sockets are there, too";
    until("it is followed", || service.said().matches(log).count() == 3);
    let pid = service.pid();
    service.signal(pid, Signal::TERM);
    second.wait().unwrap();
    assert!(!service.path("r2/state/admin.sock").exists());
    fs::remove_dir_all(service.path("r3")).unwrap();
    let mut third = run(&service, &[]);
    let socket = service.path("current/state/admin.sock");
    until("it serves again", || UnixStream::connect(&socket).is_ok());
    is_drained(&service);
    service.signal(service.pid(), Signal::TERM);
    third.wait().unwrap();
}

#[test]
fn where_another_process_is_nothing_is_written() {
    let service = start();
    assert_eq!(service.call("PATCH", "/v1/pools/app/backends/a", "{\"weight\": 7}").status, 200);
    let state = service.path("r2/state");
    fs::create_dir(&state).unwrap();
    let other = UnixListener::bind(state.join("admin.sock")).unwrap();
    fs::write(state.join("words.json"), "another's").unwrap();
    switch(service.folder.path(), "r2");
    let why = "another process listens at";
    until("it says why not", || service.said().contains(why));
    assert_eq!(fs::read_to_string(state.join("words.json")).unwrap(), "another's");
    assert!(!state.join("handover.sock").exists());
    // It is said once, and followed when the other is gone; what is no socket stays.
    drop(other);
    fs::write(state.join("handover.sock"), "a file").unwrap();
    until("it says that it is in the way", || service.said().contains("File exists"));
    assert_eq!(fs::read_to_string(state.join("handover.sock")).unwrap(), "a file");
    fs::remove_file(state.join("handover.sock")).unwrap();
    until("it is followed", || UnixStream::connect(state.join("handover.sock")).is_ok());
    assert!(UnixStream::connect(state.join("admin.sock")).is_ok());
    assert_eq!(service.said().matches(why).count(), 1);
    until("its words are there", || {
        let text = fs::read_to_string(state.join("words.json"));
        text.is_ok_and(|text| text.contains("\"weight\":7"))
    });
}

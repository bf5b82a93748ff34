//! What only the owner of the proxy may open is opened for nobody else by way of a backend.
use crate::cli::{Process, check};
use crate::support::{Client, TOKEN, call, until};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;

fn words(port: u16, admin: u16, more: &str) -> String {
    format!(
        "[admin]\nbind = \"127.0.0.1:{admin}\"\n{more}\n\
         [listener.web]\nbind = \"127.0.0.1:{port}\"\npool = \"app\"\n[pool.app]\nbackends = []\n"
    )
}

fn post(addr: &str) -> String {
    let body = format!("{{\"name\":\"own\",\"addr\":\"{addr}\"}}");
    format!(
        "POST /v1/pools/app/backends HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The answer to a request by the socket of the state folder.
fn by_socket(folder: &Path, request: &str) -> String {
    let mut socket = UnixStream::connect(folder.join("state/admin.sock")).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn nobody_becomes_the_owner_by_way_of_a_backend() {
    let process = Process::serving(|port, admin| words(port, admin, ""));
    let at = process.admin;
    let ask = |request: &str| {
        let mut client = Client::connect(([127, 0, 0, 1], at).into());
        client.send(request);
        client.response()
    };
    let folder = process.folder.path();
    symlink(folder.join("state/admin.sock"), folder.join("other")).unwrap();
    for addr in [
        "unix:/run/docker.sock".to_string(),
        format!("unix:{}/state/admin.sock", folder.display()),
        format!("127.0.0.1:{at}"),
        format!("0.0.0.0:{at}"),
        format!("[::ffff:127.0.0.1]:{at}"),
        format!("localhost:{at}"),
    ] {
        let answer = ask(&post(&addr));
        assert_eq!(answer.status, 400, "{addr}: {}", answer.text());
        assert!(answer.text().contains("\"field\":\"addr\""), "{}", answer.text());
    }
    // Its owner may name sockets, but for those by which it is governed.
    assert!(by_socket(folder, &post("unix:/run/app.sock")).starts_with("HTTP/1.1 201"));
    for own in ["state/admin.sock", "state/handover.sock", "other"] {
        let answer = by_socket(folder, &post(&format!("unix:{}", folder.join(own).display())));
        assert!(answer.starts_with("HTTP/1.1 400"), "{own}: {answer}");
    }
    // Nor is anybody its owner who comes through a proxy.
    for field in ["Via: 1.1 a", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1"] {
        let get = format!(
            "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n{field}\r\nConnection: close\r\n\r\n"
        );
        let answer = by_socket(folder, &get);
        assert!(answer.starts_with("HTTP/1.1 403"), "{field}: {answer}");
    }
    // What came through a proxy, this one or another, is not this machine's own.
    for field in ["Via: 1.1 a", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1"] {
        let get = |path: &str| {
            ask(&format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\n{field}\r\nConnection: close\r\n\r\n"
            ))
        };
        assert_eq!((get("/v1/status").status, get("/metrics").status), (403, 200), "{field}");
    }
}

#[test]
fn a_file_that_leads_to_its_own_admin_side_needs_a_token() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "0123456789abcdef0123456789abcdef\n").unwrap();
    for (to, key) in [("127.0.0.1:9944", "pool.app.backends"), ("localhost:9944", "pool.app")] {
        let text = words(1, 9944, "").replace("backends = []", &format!("backends = [\"{to}\"]"));
        let bad = check(&text, &[]);
        let said = String::from_utf8_lossy(&bad.stderr).into_owned();
        assert_eq!(bad.status.code(), Some(1), "{said}");
        assert!(said.contains(key) && said.contains("admin.token_file"), "{said}");
        let token = folder.path().join("token");
        let text = text.replacen("[listener", &format!("token_file = {token:?}\n[listener"), 1);
        let good = check(&text, &[]);
        assert_eq!(good.status.code(), Some(0), "{good:?}");
    }
}

/// Serves without a token from the folder that has one, and then with it.
fn with_token() -> Process {
    let process = Process::serving(|port, admin| words(port, admin, ""));
    std::fs::write(process.folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
    process.reload(&file(&process, "token_file = \"token\""));
    process
}

/// The file with a token, or without.
fn file(process: &Process, more: &str) -> String {
    words(process.port, process.admin, more)
}

/// What a client of the data plane is answered.
fn by_pool(process: &Process) -> (u16, String) {
    let mut client = Client::connect(([127, 0, 0, 1], process.port).into());
    client.send("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = client.response();
    (answer.status, answer.text())
}

fn by_token(process: &Process, method: &str, path: &str, body: &str) -> crate::support::Response {
    let mut client = Client::connect(([127, 0, 0, 1], process.admin).into());
    call(&mut client, method, path, &format!("Authorization: Bearer {TOKEN}\r\n"), body)
}

/// State and reason of the only backend.
fn own(process: &Process) -> (String, String) {
    let asked = "GET /v1/pools/app HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = by_socket(process.folder.path(), asked);
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let pool: serde_json::Value = serde_json::from_str(body).unwrap();
    let text = |key: &str| pool["members"][0][key].as_str().unwrap_or("").to_string();
    (text("state"), text("reason"))
}

fn is_off_limits(process: &Process) -> bool {
    own(process) == ("down".into(), "off_limits".into())
}

#[test]
fn a_word_that_came_to_lead_to_the_admin_side_is_down_and_says_why() {
    let mut process = with_token();
    let at = process.admin;
    let add = |process: &Process, addr: &str| {
        let body = format!("{{\"name\":\"own\",\"addr\":\"{addr}\"}}");
        let added = by_token(process, "POST", "/v1/pools/app/backends", &body);
        assert_eq!(added.status, 201, "{}", added.text());
    };
    // With a token it may be called from anywhere, also by way of a backend.
    add(&process, &format!("127.0.0.1:{at}"));
    until("it is asked for the token", || by_pool(&process).0 == 401);
    // A connection that began so is no caller of this machine when the token is gone.
    let mut kept = Client::connect(([127, 0, 0, 1], at).into());
    kept.send("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(kept.response().status, 401);
    process.reload(&file(&process, ""));
    until("it is out at once", || is_off_limits(&process));
    assert_eq!(by_pool(&process).0, 503);
    // Nor is one that may have been dialled before.
    let mut late = Client::connect(([127, 0, 0, 1], at).into());
    for client in [&mut kept, &mut late] {
        client.send("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.response().status, 403);
        assert!(client.is_closed());
    }
    until("whoever comes later is", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let mut client = Client::connect(([127, 0, 0, 1], at).into());
        call(&mut client, "GET", "/v1/status", "", "").status == 200
    });
    // The same where it comes back from the folder, and while another address waits for a restart.
    process.restart();
    assert!(is_off_limits(&process), "{:?}", own(&process));
    assert_eq!(by_pool(&process).0, 503);
    let other = words(process.port, crate::support::nobody().port(), "");
    process.reload(&other);
    assert!(is_off_limits(&process), "{:?}", own(&process));
    let again = by_token(&process, "POST", "/v1/pools/app/backends", &{
        format!("{{\"name\":\"new\",\"addr\":\"127.0.0.1:{at}\"}}")
    });
    assert_eq!(again.status, 400, "what is bound counts, not what waits: {}", again.text());
    // And in again, by the way it is called then.
    process.reload(&file(&process, "token_file = \"token\""));
    until("it is back", || own(&process).0 == "up");
    let said = process.end();
    let turned =
        "from=\"up\" to=\"down\" reason=\"off_limits\" detail=\"it leads to the API of this proxy";
    assert!(said.contains(turned), "{said}");
}

#[test]
fn a_path_is_judged_by_where_it_leads_when_it_is_dialled() {
    let process = with_token();
    let folder = process.folder.path();
    let later = folder.join("later.sock");
    for own_socket in ["admin.sock", "handover.sock"] {
        let body = format!("{{\"name\":\"own\",\"addr\":\"unix:{}\"}}", later.display());
        let added = by_token(&process, "POST", "/v1/pools/app/backends", &body);
        assert_eq!(added.status, 201, "nothing is there yet: {}", added.text());
        symlink(folder.join("state").join(own_socket), &later).unwrap();
        let (status, text) = by_pool(&process);
        assert!(status == 503 && !text.contains("generation"), "{status}: {text}");
        assert!(is_off_limits(&process), "{:?}", own(&process));
        // An application that listens there at last is dialled again.
        std::fs::remove_file(&later).unwrap();
        let app = std::os::unix::net::UnixListener::bind(&later).unwrap();
        until("it is back", || own(&process).0 == "up");
        drop(app);
        std::fs::remove_file(&later).unwrap();
        let gone = by_token(&process, "DELETE", "/v1/pools/app/backends/own", "");
        assert_eq!(gone.status, 202, "{}", gone.text());
    }
}

#[test]
fn a_socket_of_admin_bind_is_its_owner_s_alone_and_no_backend() {
    let folder = tempfile::tempdir().unwrap();
    let (api, web) = (folder.path().join("api.sock"), folder.path().join("web.sock"));
    let text = "[metrics]\nbind = \"unix:metrics.sock\"\n[admin]\nbind = \"unix:api.sock\"\n[listener.web]\nbind = \"unix:web.sock\"\n\
         protocol = \"http\"\npool = \"app\"\n[pool.app]\nbackends = []\n";
    std::fs::write(folder.path().join("proxy.toml"), text).unwrap();
    let mut child = std::process::Command::new("sh")
        .args(["-c", "umask 0; exec \"$0\" run", env!("CARGO_BIN_EXE_evenkeel")])
        .current_dir(folder.path())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("it serves", || UnixStream::connect(&web).is_ok() && UnixStream::connect(&api).is_ok());
    let mode = |name: &str| {
        std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777
    };
    let modes = ["api.sock", "state/admin.sock", "state/handover.sock"].map(mode);
    let metrics = mode("metrics.sock");
    let answer = by_socket(folder.path(), &post(&format!("unix:{}", api.display())));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(modes, [0o600; 3]);
    assert_eq!(metrics, 0o777, "what anybody may read is for the umask to close");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[test]
fn a_file_that_names_its_own_sockets_is_refused() {
    for own in ["state/admin.sock", "./x/../state/handover.sock", "api.sock"] {
        let text = words(1, 9944, "")
            .replace("127.0.0.1:9944", "unix:api.sock")
            .replace("backends = []", &format!("backends = [\"unix:{own}\"]"));
        let bad = check(&text, &[]);
        let said = String::from_utf8_lossy(&bad.stderr).into_owned();
        assert_eq!(bad.status.code(), Some(1), "{own}: {said}");
        assert!(said.contains("pool.app.backends: unix:") && said.contains("governed"), "{said}");
    }
    let text = words(1, 9944, "").replace("backends = []", "backends = [\"unix:state/app.sock\"]");
    assert_eq!(check(&text, &[]).status.code(), Some(0));
}

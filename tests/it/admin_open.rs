//! What only the owner of the proxy may open is opened for nobody else by way of a backend.
use crate::cli::{Process, check};
use crate::support::Client;
use std::io::{Read, Write};
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
    std::os::unix::fs::symlink(folder.join("state/admin.sock"), folder.join("other")).unwrap();
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

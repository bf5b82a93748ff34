//! A proxy in this process with its admin side, reading a file in a folder of its own.
use super::{Client, Response};
use evenkeel::admin::{self, Access};
use evenkeel::config::{self, BindAddr};
use evenkeel::server::{self, Options, Running};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::runtime::Runtime;

pub(crate) struct Api {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) addr: SocketAddr,
    running: Option<Running>,
    control: Option<Runtime>,
}

/// The words for a token in the folder, and what it is.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

impl Api {
    /// Serves these words; `[admin]` is theirs to say but for `bind`.
    #[track_caller]
    pub(crate) fn start(toml: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), toml)
    }

    /// The same in a folder that is there.
    #[track_caller]
    pub(crate) fn start_in(folder: tempfile::TempDir, toml: &str) -> Self {
        std::fs::write(folder.path().join("admin.token"), format!("{TOKEN}\n")).unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(&path, toml).unwrap();
        let config = config::load(&path).unwrap_or_else(|problems| panic!("{problems:?}"));
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let state = config.server.state.clone();
        let options = Options { state: Some(state.clone()), ..Options::default() };
        let running = control.block_on(server::start(config, options)).unwrap();
        let mut bind = config::parse(
            "[metrics]\nbind = \"127.0.0.1:0\"\n[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n",
            "bind.toml".as_ref(),
        )
        .unwrap();
        let socket = admin::bind(&bind.metrics.take().unwrap()).unwrap();
        let BindAddr::Ip(addr) = socket.addr else { panic!("{socket:?}") };
        let reloader = || running.reloader.clone();
        let access = |known_hosts| Access { api: true, known_hosts };
        control.spawn(admin::serve(socket, reloader(), path.clone(), access(true)));
        let socket = admin::bind_private(&state).unwrap();
        control.spawn(admin::serve(socket, reloader(), path, access(false)));
        Self { folder, addr, running: Some(running), control: Some(control) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }
    /// The file of the configuration, another from here on.
    pub(crate) fn edit(&self, toml: &str) {
        std::fs::write(self.path("proxy.toml"), toml).unwrap();
    }
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr)
    }
    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, fields: &str, body: &str) -> Response {
        let mut client = self.client();
        call(&mut client, method, path, fields, body)
    }
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> serde_json::Value {
        let answer = self.call("GET", path, "", "");
        assert_eq!(answer.status, 200, "{path}: {answer:?} {}", answer.text());
        json(&answer)
    }
    /// A member of pool `app`, as it is shown; null where it is not.
    #[track_caller]
    pub(crate) fn member(&self, name: &str) -> serde_json::Value {
        let pool = self.get("/v1/pools/app");
        let found = pool["members"].as_array().unwrap().iter().find(|m| m["name"] == name);
        found.cloned().unwrap_or_default()
    }
    /// Ends the process, as far as one in this process can: nothing is drained. Its folder stays,
    /// and nobody listens on its sockets any more.
    pub(crate) fn end(mut self) -> tempfile::TempDir {
        drop(self.running.take());
        self.control.take().unwrap().shutdown_timeout(std::time::Duration::from_secs(30));
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(control) = self.control.take() {
            control.shutdown_background();
        }
    }
}

/// One request with a body of JSON where it is not empty.
#[track_caller]
pub(crate) fn call(
    client: &mut Client,
    method: &str,
    path: &str,
    fields: &str,
    body: &str,
) -> Response {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let host = if fields.contains("Host:") { "" } else { "Host: localhost\r\n" };
    let length = body.len();
    client.send(format!(
        "{method} {path} HTTP/1.1\r\n{host}{kind}{fields}Content-Length: {length}\r\n\r\n{body}"
    ));
    client.response_to(method)
}

#[track_caller]
pub(crate) fn json(answer: &Response) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()))
}

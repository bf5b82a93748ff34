//! A proxy in this process.
use super::{Client, until};
use evenkeel::config::{self, BindAddr, Config};
use evenkeel::server::{self, Options, ReloadError, Report, Running};
use std::net::SocketAddr;
use std::path::Path;
use tokio::runtime::Runtime;

pub(crate) struct Proxy {
    running: Option<Running>,
    control: Runtime,
    forgiven: std::cell::Cell<u64>,
}

/// Reads a configuration, with admin off; every request is told to an access log, to one that
/// nobody reads where the text names none.
#[track_caller]
pub(crate) fn config(toml: &str) -> Config {
    let log = if toml.contains("[log]") { "" } else { "[log]\naccess = { to = \"/dev/null\" }\n" };
    let toml = format!("{toml}\n[admin]\nbind = \"off\"\n{log}");
    config::parse(&toml, Path::new("proxy.toml")).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

impl Proxy {
    #[track_caller]
    pub(crate) fn start(toml: &str) -> Self {
        Self::start_with(toml, Options::default())
    }

    #[track_caller]
    pub(crate) fn start_with(toml: &str, options: Options) -> Self {
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let running = control.block_on(server::start(config(toml), options)).unwrap();
        Self { running: Some(running), control, forgiven: std::cell::Cell::new(0) }
    }

    /// One http listener `web` on port 0 in front of one pool with these backends.
    #[track_caller]
    pub(crate) fn http(backends: &[SocketAddr], more: &str) -> Self {
        Self::start(&web(backends, more))
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr_of("web")
    }

    pub(crate) fn addr_of(&self, listener: &str) -> SocketAddr {
        match self.running().addresses(listener).first() {
            Some(BindAddr::Ip(addr)) => *addr,
            other => panic!("{listener} is bound to {other:?}"),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr())
    }

    /// One request on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> super::Response {
        let mut client = self.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"));
        client.response()
    }

    pub(crate) fn reload(&self, toml: &str) -> Result<Report, ReloadError> {
        self.control.block_on(self.running().reloader.apply(config(toml)))
    }

    /// Those counted so far were meant.
    pub(crate) fn forgive_panics(&self) {
        self.forgiven.set(self.running().state().panics.0.get());
    }

    /// Ends in order, in the background; returns when it is done.
    pub(crate) fn stop(mut self) {
        let running = self.running.take().unwrap();
        self.control.block_on(running.stop());
    }

    /// Waits until a backend of pool `app` is in a state.
    #[track_caller]
    pub(crate) fn until_state(&self, backend: &str, state: &str) {
        until(&format!("{backend} is {state}"), || self.state(backend) == state);
        // A state is known a moment before it is published, at most 20 ms.
        let plan = self.running().state().plan.load_full().unwrap();
        until("it is published", || plan.pools["app"].publish(std::time::Instant::now()).is_none());
    }

    pub(crate) fn state(&self, backend: &str) -> String {
        let plan = self.running().state().plan.load_full().unwrap();
        let members = plan.pools["app"].members();
        let found = members.iter().find(|m| &*m.backend.name == backend);
        found.map_or_else(|| "gone".into(), |m| m.state.word().into())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let panics = self.running.as_ref().map_or(0, |running| running.state().panics.0.get());
        // Worker threads are joined where blocking is allowed.
        drop(self.running.take());
        let panics = panics - self.forgiven.get();
        assert!(panics == 0 || std::thread::panicking(), "{panics} panics");
    }
}

/// The words of [`Proxy::http`].
pub(crate) fn web(backends: &[SocketAddr], more: &str) -> String {
    let list: Vec<String> = backends
        .iter()
        .enumerate()
        .map(|(n, a)| format!("{{ name = \"b{}\", addr = \"{a}\" }}", n + 1))
        .collect();
    format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"app\"\n\
         [pool.app]\nbackends = [{}]\n{more}\n",
        list.join(", ")
    )
}

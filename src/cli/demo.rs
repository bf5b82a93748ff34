//! `evenkeel demo`: the proxy with built-in backends.
use super::{args, echo, run};
use crate::config::{self, Config, Listener, Problem, Protocol};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

/// The `proxy.toml` of the repository.
const BUILT_IN: &str = include_str!("../../proxy.toml");
/// The first built-in backend listens here, the others follow.
const FIRST_PORT: u16 = 9001;

pub(super) fn demo(args: &args::Demo, tidy: fn()) -> Result<ExitCode, String> {
    run::within(async {
        let signals = run::catch()?;
        let path = Path::new("proxy.toml");
        let config = load(path).map_err(|problems| run::said(&problems))?;
        for n in 0..args.backends {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + n));
            let listener = echo::listen(addr).await?;
            let unused =
                if names(&config, addr) { "" } else { ", which no pool of the file names" };
            say!("demo: backend b{} on {addr}{unused}", n + 1);
            tokio::spawn(echo::serve(listener, format!("b{}", n + 1).into(), false));
        }
        invite(&config);
        run::serve(signals, None, config, path, tidy).await
    })
}

fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    if path.exists() {
        say!("demo: using ./proxy.toml; edit it and it is reloaded");
        return config::load(path);
    }
    say!("demo: no ./proxy.toml here, using the built-in one; one that you put here is taken");
    config::parse(BUILT_IN, path)
}

/// Whether a pool has a backend there.
fn names(config: &Config, addr: SocketAddr) -> bool {
    let mut backends = config.pools.values().flat_map(|pool| &pool.backends);
    backends.any(|backend| matches!(&backend.addr, config::Addr::Ip(at) if *at == addr))
}

/// Says what to try.
fn invite(config: &Config) {
    let http = |listener: &&Listener| listener.protocol == Protocol::Http;
    if let Some(bind) = config.listeners.values().find(http).and_then(|l| l.bind.first()) {
        say!("demo: try    curl -i http://{}/hello", bind.addr);
    }
    if let Some(bind) = &config.admin.bind {
        say!("demo: see    http://{}/ in a browser, or `evenkeel top` in this folder", bind.addr);
        say!("demo: and    curl http://{}/metrics", bind.addr);
    }
}

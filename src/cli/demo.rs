//! `evenkeel demo`: the proxy with built-in backends.
use super::{args, echo, run};
use crate::config;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

/// The `proxy.toml` of the repository.
const BUILT_IN: &str = include_str!("../../proxy.toml");
/// The first built-in backend listens here, the others follow.
const FIRST_PORT: u16 = 9001;

pub(super) fn demo(args: &args::Demo) -> Result<ExitCode, String> {
    let path = Path::new("proxy.toml");
    let loaded = if path.exists() {
        println!("demo: using ./proxy.toml; edit it and it is reloaded");
        config::load(path)
    } else {
        println!("demo: no ./proxy.toml here, using the built-in one");
        config::parse(BUILT_IN, path)
    };
    let config = loaded.map_err(|problems| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    })?;
    run::control()?.block_on(async {
        for n in 0..args.backends {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + n));
            let listener = echo::listen(addr).await?;
            println!("demo: backend b{} on {addr}", n + 1);
            tokio::spawn(echo::serve(listener, format!("b{}", n + 1).into(), false));
        }
        println!("demo: try    curl -i http://127.0.0.1:8080/hello");
        println!("demo: and    curl http://127.0.0.1:9900/metrics");
        run::serve(config, path).await?;
        Ok(ExitCode::SUCCESS)
    })
}

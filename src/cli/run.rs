//! `evenkeel run`: serve until told to end.
use super::args;
use crate::admin;
use crate::config::{self, Config};
use crate::server::{self, Options, Signals};
use crate::telemetry;
use std::path::Path;
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

/// The runtime of config, probes, discovery, admin and signals: one thread beside the workers.
pub(super) fn control() -> Result<Runtime, String> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("control").enable_all();
    builder.build().map_err(|error| format!("start of the control threads: {error}"))
}

pub(super) fn run(args: &args::Run) -> Result<ExitCode, String> {
    let config = match config::load(&args.config) {
        Ok(config) => config,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            return Err(format!("{} problems in {}", problems.len(), args.config.display()));
        }
    };
    control()?.block_on(serve(config, &args.config)).map(|()| ExitCode::SUCCESS)
}

/// Serves a configuration, and the file it came from when that is edited.
pub(super) async fn serve(config: Config, path: &Path) -> Result<(), String> {
    let mut signals = Signals::catch().map_err(|error| format!("catch signals: {error}"))?;
    let log = telemetry::init(&config.log)?;
    let mut listening = Vec::new();
    if let Some(bind) = &config.admin.bind {
        let hosts = Some(config.admin.hosts.clone());
        listening.push((
            admin::bind(bind).map_err(|e| e.to_string())?,
            admin::Access { api: true, hosts },
        ));
    }
    if let Some(bind) = &config.metrics {
        listening.push((
            admin::bind(bind).map_err(|e| e.to_string())?,
            admin::Access { api: false, hosts: None },
        ));
    }
    let options = Options { log: Some(log), ..Options::default() };
    let running = server::start(config, options).await.map_err(|error| error.to_string())?;
    for (name, addresses) in running.state().addresses() {
        for addr in addresses {
            tracing::info!(listener = %name, %addr, "listening");
        }
    }
    for ((socket, addr), access) in listening {
        tracing::info!(%addr, "admin listening");
        tokio::spawn(admin::serve(socket, running.state().clone(), access));
    }
    server::until_stopped(&mut signals, &running.reloader, path).await;
    tokio::select! {
        () = running.stop() => tracing::info!("ended"),
        () = signals.told_to_end() => tracing::warn!("told again: ending at once"),
    }
    Ok(())
}

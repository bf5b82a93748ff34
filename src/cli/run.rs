//! `evenkeel run`: serve until told to end.
use super::args;
use crate::admin;
use crate::config::{self, Bind, Config, Problem};
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

pub(super) fn run(args: &args::Run, tidy: fn()) -> Result<ExitCode, String> {
    within(async {
        let signals = catch()?;
        let config = config::load(&args.config).map_err(|problems| said(&problems))?;
        serve(signals, config, &args.config, tidy).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Runs on the control runtime. What still blocks at the end, such as a look-up of a name, is not
/// waited for.
pub(super) fn within<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let control = control()?;
    let done = control.block_on(work);
    control.shutdown_background();
    done
}

/// Catches the signals: first thing, before any file is read.
pub(super) fn catch() -> Result<Signals, String> {
    Signals::catch().map_err(|error| format!("catch signals: {error}"))
}

/// Every problem, a line each.
pub(super) fn said(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let (count, s) = (lines.len(), if lines.len() == 1 { "" } else { "s" });
    format!("{count} problem{s} in the configuration\n{}", lines.join("\n"))
}

/// Serves a configuration, and the file it came from when that is edited.
pub(super) async fn serve(
    mut signals: Signals,
    config: Config,
    path: &Path,
    tidy: fn(),
) -> Result<(), String> {
    let log = telemetry::init(&config.log)?;
    let mut doors = Vec::new();
    if let Some(bind) = &config.admin.bind {
        doors.push((bound(bind)?, admin::Access { api: true, known_hosts: true }));
    }
    if let Some(bind) = &config.metrics {
        doors.push((bound(bind)?, admin::Access { api: false, known_hosts: false }));
    }
    let options = Options { log: Some(log), tidy: Some(tidy), ..Options::default() };
    let running = server::start(config, options).await.map_err(|error| error.to_string())?;
    for (name, addresses) in running.state().addresses() {
        for addr in addresses {
            tracing::info!(listener = %name, %addr, "listening");
        }
    }
    let mut admins = Vec::new();
    for (socket, access) in doors {
        tracing::info!(addr = %socket.addr, "admin listening");
        admins.push(tokio::spawn(admin::serve(socket, running.state().clone(), access)));
    }
    let reloader = running.reloader.clone();
    server::until_stopped(&mut signals, &reloader, path).await;
    tokio::select! {
        () = running.stop() => tracing::info!("ended"),
        () = signals.told_to_end(&reloader) => {}
    }
    // Waited for, so that their files are gone when the process is.
    for admin in admins {
        admin.abort();
        let _ = admin.await;
    }
    Ok(())
}

fn bound(bind: &Bind) -> Result<admin::Socket, String> {
    admin::bind(bind).map_err(|error| error.to_string())
}

//! `evenkeel run`: serve until told to end.
use super::args;
use super::find::state_of;
use crate::admin;
use crate::config::{self, Bind, BindAddr, Config, Problem};
use crate::net::OffLimits;
use crate::server::{self, Ending, Giver, Inherited, Legacy, Notify, Options, Past, Role, Signals};
use crate::telemetry::{self, LogHandle};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// So long at the end who reads the log may take for what is said already.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The same of a process that is to end at once.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The socket of who serves appears within so long, and is looked for so often.
const APPEARS: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(100);

/// More than are begun before the first request: workers come beside them.
const THREADS: usize = 8;

/// Whether this user may begin so many threads: the runtime would panic where one cannot.
fn may_begin(count: usize) -> Result<(), String> {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let ended = Arc::new(std::sync::Mutex::new(ended));
    let begin = |_| {
        let ended = ended.clone();
        std::thread::Builder::new().spawn(move || drop(ended.lock().map(|ended| ended.recv())))
    };
    let begun: Vec<_> = (0..count).map(begin).collect();
    drop(end);
    let mut failed = None;
    for thread in begun {
        match thread {
            Ok(thread) => drop(thread.join()),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), |error| {
        Err(format!(
            "start of {count} threads: {error}; raise what limits them (ulimit -u, TasksMax= of systemd, \
             --pids-limit of a container)"
        ))
    })
}

/// The runtime of config, probes, discovery, admin and signals: one thread beside the workers.
pub(super) fn control() -> Result<Runtime, String> {
    may_begin(THREADS)?;
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).thread_name("control").enable_all();
    builder.build().map_err(|error| format!("start of the control threads: {error}"))
}

pub(super) fn run(args: &args::Run, tidy: fn()) -> Result<ExitCode, String> {
    within(async {
        let signals = catch()?;
        let (past, config) = match &args.take_over {
            None => (Past::default(), load(args)?),
            // Who serves wants to know what is wrong with the file, too.
            Some(Some(socket)) => {
                let past = take_over(socket).await?;
                match load(args) {
                    Ok(config) => (past, config),
                    Err(why) => return Err(refused(past, why).await),
                }
            }
            Some(None) => match load(args) {
                Ok(config) => (find(&config.server.state.join(server::SOCKET)).await?, config),
                // Which process it is can be known nevertheless. It need not be there.
                Err(why) => {
                    let past = match state_of(&args.config) {
                        Some(state) => find(&state.join(server::SOCKET)).await.ok(),
                        None => None,
                    };
                    return Err(refused(past.unwrap_or_default(), why).await);
                }
            },
        };
        let past = match past.legacy {
            Some(_) => past,
            None => Past { inherited: Inherited::from_service_manager()?, legacy: None },
        };
        serve(signals, Some(past), config, &args.config, tidy).await
    })
}

fn load(args: &args::Run) -> Result<Config, String> {
    config::load(&args.config).map_err(|problems| said(&problems))
}

/// Takes over by the socket of a folder that a link may lead to only since a moment ago: who serves looks for that
/// once a second.
async fn find(socket: &Path) -> Result<Past, String> {
    let until = Instant::now() + APPEARS;
    while !socket.exists() && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
    take_over(socket).await
}

async fn take_over(socket: &Path) -> Result<Past, String> {
    let (legacy, inherited) = Legacy::connect(socket).await?;
    Ok(Past { inherited, legacy: Some(legacy) })
}

/// Tells the process that serves why this one will not.
async fn refused(past: Past, why: String) -> String {
    if let Some(legacy) = past.legacy {
        legacy.refuse(&why).await;
    }
    why
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

/// Serves a configuration, and the file it came from when that is edited. Without a past it has no
/// future either: it hands nothing over.
pub(super) async fn serve(
    signals: Signals,
    past: Option<Past>,
    config: Config,
    path: &Path,
    tidy: fn(),
) -> Result<ExitCode, String> {
    let log = match telemetry::init(&config.log) {
        Ok(log) => log,
        Err(why) => return Err(refused(past.unwrap_or_default(), why).await),
    };
    let done = serve_all(signals, past, config, path, tidy, log.clone()).await;
    log.flush(if done == Ok(Told::AtOnce) { AT_ONCE } else { LAST_WORDS });
    let Err(why) = done else { return Ok(ExitCode::SUCCESS) };
    // By the log, too: where nobody reads it, nobody is waited for.
    log.say(&format!("evenkeel: {why}"));
    log.flush(LAST_WORDS);
    Ok(ExitCode::FAILURE)
}

/// How a process was told to end.
#[derive(PartialEq)]
enum Told {
    InOrder,
    AtOnce,
}

async fn serve_all(
    mut signals: Signals,
    past: Option<Past>,
    config: Config,
    path: &Path,
    tidy: fn(),
    log: LogHandle,
) -> Result<Told, String> {
    let (hands_over, mut past) = (past.is_some(), past.unwrap_or_default());
    let doors = match doors(&config, &mut past) {
        Ok(doors) => doors,
        Err(why) => return Err(refused(past, why).await),
    };
    let (roles, doors): (Vec<_>, Vec<_>) = doors.into_iter().unzip();
    let folder = config.server.state.clone();
    let open = past.inherited.of_role(server::ROLE, &BindAddr::Unix(folder.join(server::SOCKET)));
    let socket = hands_over.then(|| server::bind_hand_over(&folder, open));
    let notify = Notify::from_env()?;
    let governed = doors.iter().filter(|(_, access)| access.api).map(|(door, _)| door.addr.clone());
    let hand_over = BindAddr::Unix(folder.join(server::SOCKET));
    let off_limits = Arc::new(OffLimits::new(governed.chain([hand_over])));
    let last = log.clone();
    let (state, log, tidy) = (Some(folder.clone()), Some(log), Some(tidy));
    let options =
        Options { state, log, tidy, notify: notify.clone(), off_limits, ..Options::default() };
    let started = server::start_from(past, config, options).await;
    let mut running = started.map_err(|error| error.to_string())?;
    for (name, addresses) in running.state().addresses() {
        for addr in addresses {
            tracing::info!(listener = %name, %addr, "listening");
        }
    }
    let mut admins = Vec::new();
    for (socket, access) in doors {
        tracing::info!(addr = %socket.addr, "admin listening");
        let (reloader, path) = (running.reloader.clone(), path.to_path_buf());
        admins.push(tokio::spawn(admin::serve(socket, reloader, path, access)));
    }
    let reloader = running.reloader.clone();
    let (giver, shared) = (roles.clone(), reloader.clone());
    let giver = |socket| Giver::new(socket, &folder, giver, shared, notify);
    let giving = socket.map(|socket| socket.and_then(giver)).transpose();
    let giving = giving.map_err(|error| tracing::warn!("{error}; it cannot hand over"));
    running.serves().await?;
    roles.iter().for_each(|role| role.pause(false));
    let giving = giving.ok().flatten().map(Giver::start);
    let ending = {
        let mut over = std::pin::pin!(server::until_over(&mut signals, &reloader, path, giving));
        tokio::select! {
            ending = &mut over => ending,
            why = running.taken_back() => {
                // Nothing may be tidied up: it is all the other's.
                last.say(&format!("evenkeel: {why}"));
                last.flush(LAST_WORDS);
                std::process::exit(1);
            }
        }
    };
    let handed_over = ending == Ending::HandedOver;
    let state = running.state().clone();
    let ended = async {
        if handed_over {
            running.leave().await;
            // Who wrote while it was open who hears is told that it was not heard.
            admin::answered(&state).await;
        } else {
            running.stop().await;
        }
    };
    let told = tokio::select! {
        () = ended => Told::InOrder,
        () = signals.told_to_end(&reloader, handed_over) => Told::AtOnce,
    };
    if told == Told::InOrder {
        tracing::info!("ended");
    }
    // Waited for, so that their files are gone when the process is.
    for admin in admins {
        admin.abort();
        let _ = admin.await;
    }
    Ok(told)
}

type Served = (admin::Socket, admin::Access);

/// Binds what is served besides the listeners, or takes it over.
fn doors(config: &Config, past: &mut Past) -> Result<Vec<(Arc<Role>, Served)>, String> {
    let mut doors = Vec::new();
    let mut serve = |role, at: &BindAddr, mut socket: admin::Socket, access| {
        let shared = socket.share(role, at).map_err(|error| error.to_string())?;
        doors.push((shared, (socket, access)));
        Ok::<_, String>(())
    };
    let mut bound = |role, bind: &Bind, access: &admin::Access| {
        let open = past.inherited.of_role(role, &bind.addr);
        admin::bind_or(bind, access, open).map_err(|error| error.to_string())
    };
    if let Some(bind) = &config.admin.bind {
        let access = admin::Access { api: true, known_hosts: true };
        serve("admin", &bind.addr, bound("admin", bind, &access)?, access)?;
    }
    if let Some(bind) = &config.metrics {
        let access = admin::Access { api: false, known_hosts: false };
        serve("metrics", &bind.addr, bound("metrics", bind, &access)?, access)?;
    }
    let at = BindAddr::Unix(config.server.state.join(admin::SOCKET));
    let open = past.inherited.of_role("api", &at);
    match admin::bind_private_or(&config.server.state, open) {
        Ok(socket) => {
            serve("api", &at, socket, admin::Access { api: true, known_hosts: false })?;
        }
        // Two processes must not share what one of them remembers.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error.to_string()),
        Err(error) => tracing::warn!("{error}; the API has no Unix socket"),
    }
    Ok(doors)
}

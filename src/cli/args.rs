//! The command line.
use crate::admin;
use crate::config::{Addr, Name, Weight};
use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The configuration where none is named.
pub(super) const CONFIG: &str = "proxy.toml";

/// What the process ends with.
pub(super) const EXIT: &str = "Exit codes: 0 done, 1 the answer is no (problems, or it did not start), \
    2 wrong usage, 3 the proxy could not be reached.";

/// A layer 4 and 7 load-balancing reverse proxy.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, propagate_version = true, after_help = EXIT)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve. SIGHUP reloads, SIGTERM drains, SIGUSR2 hands over to the program on disk.
    #[command(display_name = "evenkeel")]
    Run(Run),
    /// Say every problem of a file, or a one-line summary.
    #[command(display_name = "evenkeel")]
    Check(Check),
    /// Run with built-in backends: works at once, nothing else needed.
    #[command(display_name = "evenkeel")]
    Demo(Demo),
    /// A test backend that answers with what it received.
    #[command(display_name = "evenkeel")]
    Echo(Echo),
    /// What runs, and how each backend is; exit 1 when it is not ready or a pool has nobody who works.
    #[command(display_name = "evenkeel")]
    Status(Status),
    /// A live view of pools and backends, with keys to drain and undrain.
    #[command(display_name = "evenkeel")]
    Top(Client),
    /// The last failed and slow requests, with where the time of each went.
    #[command(display_name = "evenkeel")]
    Errors(Client),
    /// Why a request would go where it goes: each rule, the pool, the key, each candidate.
    #[command(display_name = "evenkeel")]
    Explain(Explain),
    /// List, add and remove backends at run time.
    #[command(display_name = "evenkeel")]
    Backend(Backend),
    /// No new work for a backend; what it has may end.
    #[command(display_name = "evenkeel")]
    Drain(Drain),
    /// Work again for a backend that was drained.
    #[command(display_name = "evenkeel")]
    Undrain(One),
    /// Another weight for a backend, or `file` to give it back to the file.
    #[command(display_name = "evenkeel")]
    Weight(Weigh),
    /// Read the file again.
    #[command(display_name = "evenkeel")]
    Reload(Client),
    /// What a reload of another file would change, and what it would cut: nothing.
    #[command(display_name = "evenkeel")]
    Plan(Plan),
    /// What becomes of the keys of a consistent-hash pool when a backend goes.
    #[command(display_name = "evenkeel")]
    Ring(Ring),
    /// A script that completes these commands in a shell.
    #[command(display_name = "evenkeel")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// The manual page, for man.
    #[command(display_name = "evenkeel")]
    Man,
}

impl Command {
    /// Where the proxy is, of a command that asks one.
    pub(super) fn client(&self) -> Option<&Client> {
        Some(match self {
            Self::Run(_) | Self::Check(_) | Self::Demo(_) | Self::Echo(_) => return None,
            Self::Completions { .. } | Self::Man => return None,
            Self::Status(args) => &args.client,
            Self::Top(client) | Self::Errors(client) | Self::Reload(client) => client,
            Self::Explain(args) => &args.proxy,
            Self::Backend(args) => match &args.what {
                BackendCommand::List { client, .. } | BackendCommand::Remove { client, .. } => {
                    client
                }
                BackendCommand::Add(add) => &add.client,
            },
            Self::Drain(args) => &args.one.client,
            Self::Undrain(args) => &args.client,
            Self::Weight(args) => &args.client,
            Self::Plan(args) => &args.client,
            Self::Ring(args) => &args.client,
        })
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The configuration.
    #[arg(short, long, default_value = CONFIG)]
    pub(super) config: PathBuf,
    /// Take over from the process that serves: its listening sockets, what it knows of backends and
    /// what the API said. It drains when this one serves, and goes on if this one has problems. SOCKET
    /// is handover.sock in its folder server.state, by default in that of the configuration.
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true)]
    pub(super) take_over: Option<Option<PathBuf>>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The configuration.
    #[arg(short, long, default_value = CONFIG)]
    pub(super) config: PathBuf,
    /// Problems as JSON on standard output.
    #[arg(long)]
    pub(super) json: bool,
    /// Also dial each backend.
    #[arg(long)]
    pub(super) connect: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// How many built-in backends.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) backends: u16,
}

#[derive(Debug, clap::Args)]
pub(super) struct Echo {
    /// Where to listen; may be said more than once.
    #[arg(long, required = true)]
    pub(super) bind: Vec<SocketAddr>,
    /// What it calls itself; its address by default.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Send back raw bytes instead of speaking HTTP.
    #[arg(long, conflicts_with = "udp")]
    pub(super) tcp: bool,
    /// Send back datagrams.
    #[arg(long)]
    pub(super) udp: bool,
}

/// Where the proxy is that is asked.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Client {
    /// The configuration of the proxy: its Unix socket is in the folder `server.state` of this file.
    #[arg(short, long, default_value = CONFIG)]
    pub(super) config: PathBuf,
    /// Its admin address instead, as http://127.0.0.1:9900 or unix:/path.
    #[arg(long, value_name = "URL")]
    pub(super) admin: Option<String>,
    /// The file with the token of that address.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// What the proxy answers, as JSON on standard output; a no as well.
    #[arg(long)]
    pub(super) json: bool,
}

/// `POOL/BACKEND`. Either may have slashes of its own: then it is looked up who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member(Vec<Place>);

/// A backend and its pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pool: String,
    pub(super) backend: String,
}

impl Member {
    /// Everybody who may be meant: one for each slash.
    pub(super) fn places(&self) -> &[Place] {
        &self.0
    }
}

impl std::str::FromStr for Member {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let judged = text.match_indices('/').map(|(at, _)| {
            let (pool, backend) = (named(&text[..at])?, named(&text[at + 1..])?);
            Ok(Place { pool, backend })
        });
        let judged: Vec<Result<Place, String>> = judged.collect();
        let places: Vec<Place> = judged.iter().flatten().cloned().collect();
        match judged.into_iter().find_map(Result::err) {
            _ if !places.is_empty() => Ok(Self(places)),
            Some(why) => Err(format!("{why}: write POOL/BACKEND")),
            None => Err("write POOL/BACKEND".into()),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Only whether the proxy itself is ready, as /readyz says it, whatever its backends are: for health
    /// checks that restart it.
    #[arg(long)]
    pub(super) ready: bool,
    #[command(flatten)]
    pub(super) client: Client,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Which backend.
    #[arg(value_name = "POOL/BACKEND")]
    pub(super) member: Member,
    #[command(flatten)]
    pub(super) client: Client,
}

#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    #[command(flatten)]
    pub(super) one: One,
    /// Wait until it has no work any more.
    #[arg(long)]
    pub(super) wait: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Weigh {
    /// Which backend.
    #[arg(value_name = "POOL/BACKEND")]
    pub(super) member: Member,
    /// 0 to 1000, or `file`.
    #[arg(value_parser = given)]
    pub(super) weight: Given,
    #[command(flatten)]
    pub(super) client: Client,
}

/// A weight, or the file's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given(pub(super) Option<u16>);

fn given(text: &str) -> Result<Given, String> {
    if text == "file" {
        return Ok(Given(None));
    }
    weight(text).map(|weight| Given(Some(weight))).map_err(|why| format!("{why}, or file"))
}

fn weight(text: &str) -> Result<u16, String> {
    let weight = text.parse().ok().and_then(Weight::new);
    weight.map(Weight::get).ok_or_else(|| "write 0 to 1000".into())
}

fn named(text: &str) -> Result<String, String> {
    Name::new(text).map(|name| name.to_string())
}

fn addr(text: &str) -> Result<String, String> {
    Addr::new(text).map(|_| text.into())
}

fn ttl(text: &str) -> Result<String, String> {
    admin::check_ttl(text).map(|_| text.into())
}

#[derive(Debug, clap::Args)]
pub(super) struct Plan {
    /// The other file.
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) client: Client,
}

#[derive(Debug, clap::Args)]
pub(super) struct Ring {
    /// Which pool.
    #[arg(value_parser = named)]
    pub(super) pool: String,
    /// Which backend would go.
    #[arg(long, value_name = "BACKEND", value_parser = named)]
    pub(super) remove: String,
    #[command(flatten)]
    pub(super) client: Client,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "evenkeel explain [OPTIONS] [METHOD] URL\n       \
    evenkeel explain [OPTIONS] --sni NAME\n       evenkeel explain [OPTIONS] --request ID")]
pub(super) struct Explain {
    /// As GET https://api.example.com/v1/x; GET where no method is said.
    #[arg(value_name = "REQUEST", num_args = 1..=2, required_unless_present_any = ["request", "sni"])]
    pub(super) what: Vec<String>,
    /// A header field of it, as 'X-User: 7'; may be said again.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(super) headers: Vec<String>,
    /// Who sends it: an address, with or without a port; 127.0.0.1 by default.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) client: Option<String>,
    /// The listener that it comes to, where scheme and port do not say.
    #[arg(long, value_name = "NAME", value_parser = named)]
    pub(super) listener: Option<String>,
    /// Instead of a request a connection that asks for this name by TLS that is let pass.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["what", "headers"])]
    pub(super) sni: Option<String>,
    /// A request that failed or was slow instead, by its id.
    #[arg(long, value_name = "ID", conflicts_with_all = ["what", "headers", "client", "listener", "sni"])]
    pub(super) request: Option<String>,
    #[command(flatten)]
    pub(super) proxy: Client,
}

#[derive(Debug, clap::Args)]
pub(super) struct Backend {
    #[command(subcommand)]
    pub(super) what: BackendCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum BackendCommand {
    /// The backends of a pool, or of all.
    #[command(display_name = "evenkeel")]
    List {
        /// Which pool.
        #[arg(value_parser = named)]
        pool: Option<String>,
        #[command(flatten)]
        client: Client,
    },
    /// Add a backend; it stays until it is removed, through restarts, too.
    #[command(display_name = "evenkeel")]
    Add(Add),
    /// Drain a backend and take it out.
    #[command(display_name = "evenkeel")]
    Remove {
        /// Which pool.
        #[arg(value_parser = named)]
        pool: String,
        /// Which backend.
        #[arg(value_parser = named)]
        name: String,
        #[command(flatten)]
        client: Client,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Which pool.
    #[arg(value_parser = named)]
    pub(super) pool: String,
    /// Its address, as 10.0.0.9:8080.
    #[arg(value_parser = addr)]
    pub(super) addr: String,
    /// Its name; its address by default.
    #[arg(long, value_parser = named)]
    pub(super) name: Option<String>,
    /// Its weight, 0 to 1000.
    #[arg(long, value_parser = weight)]
    pub(super) weight: Option<u16>,
    /// Only when nobody else is usable.
    #[arg(long)]
    pub(super) backup: bool,
    /// It lives while its heartbeat comes within this time, 1s to 1d.
    #[arg(long, value_parser = ttl)]
    pub(super) ttl: Option<String>,
    #[command(flatten)]
    pub(super) client: Client,
}

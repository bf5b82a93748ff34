//! The command line.
use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A layer 4 and 7 load-balancing reverse proxy.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, propagate_version = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve. SIGHUP reloads, SIGTERM drains.
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
}

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The configuration.
    #[arg(short, long, default_value = "proxy.toml")]
    pub(super) config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The configuration.
    #[arg(short, long, default_value = "proxy.toml")]
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
    /// Where to listen.
    #[arg(long)]
    pub(super) bind: SocketAddr,
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

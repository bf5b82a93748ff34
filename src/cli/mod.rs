//! Arguments, exit codes: 0 done, 1 the answer is no, 2 usage, 3 the proxy could not be reached.

#[macro_use]
mod out;
mod args;
mod ask;
mod check;
mod demo;
mod dial;
mod echo;
mod explain;
mod find;
mod kept;
mod known;
mod manual;
mod ops;
mod progress;
mod run;
mod seek;
mod table;
mod top;
mod whose;

use args::{Args, Command};
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

/// Parses the arguments and runs the command. `tidy` is called by each worker thread each second:
/// the allocator may give memory back.
pub fn main(tidy: fn()) -> ExitCode {
    let args = Args::parse();
    let json = args.command.client().is_some_and(|client| client.json);
    let done = match args.command {
        Command::Run(args) => run::run(&args, tidy),
        Command::Check(args) => check::check(&args),
        Command::Demo(args) => demo::demo(&args, tidy),
        Command::Echo(args) => echo::echo(&args),
        Command::Top(client) => ops::run(json, top::top(&client)),
        Command::Status(args) => ops::run(json, ops::status(&args)),
        Command::Errors(client) => ops::run(json, kept::errors(&client)),
        Command::Explain(args) => ops::run(json, explain::explain(&args)),
        Command::Backend(args) => ops::run(json, ops::backend(&args.what)),
        Command::Drain(args) => ops::run(json, ops::drain(&args)),
        Command::Undrain(args) => ops::run(json, ops::undrain(&args)),
        Command::Weight(args) => ops::run(json, ops::weight(&args)),
        Command::Reload(client) => ops::run(json, ops::reload(&client)),
        Command::Plan(args) => ops::run(json, ops::plan(&args)),
        Command::Ring(args) => ops::run(json, ops::ring(&args)),
        Command::Completions { shell } => completions(shell),
        Command::Man => written(&manual::page(Args::command())),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("evenkeel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn written(bytes: &[u8]) -> Result<ExitCode, String> {
    let done = out::write(bytes).map(|()| ExitCode::SUCCESS);
    done.map_err(|error| format!("write to standard output: {error}"))
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode, String> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "evenkeel", &mut out);
    written(&out)
}

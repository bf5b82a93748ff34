//! Arguments, exit codes: 0 done, 1 the answer is no, 2 usage.

mod args;
mod check;
mod demo;
mod echo;
mod run;

use args::{Args, Command};
use clap::Parser;
use std::process::ExitCode;

/// Parses the arguments and runs the command. `tidy` is called by each worker thread each second:
/// the allocator may give memory back.
pub fn main(tidy: fn()) -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Command::Run(args) => run::run(&args, tidy),
        Command::Check(args) => check::check(&args),
        Command::Demo(args) => demo::demo(&args, tidy),
        Command::Echo(args) => echo::echo(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("evenkeel: {error}");
            ExitCode::FAILURE
        }
    }
}

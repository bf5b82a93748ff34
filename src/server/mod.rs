//! Threads, sockets, reload, signals: the only floor with side effects on the process.

mod accept;
mod connection;
mod datagrams;
mod door;
mod gate;
mod listener;
mod memory;
mod pools;
mod reload;
mod report;
mod run;
mod signal;
mod state;
mod watch;
mod worker;

pub use reload::Reloader;
pub use report::{ReloadError, Report, bind_hint};
pub use run::{Layout, Options, Running, StartError, start};
pub use signal::{Signals, until_stopped};
pub use state::{LastReload, Stage, State};

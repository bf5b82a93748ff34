//! Threads, sockets, reload, signals: the only floor with side effects on the process.

mod accept;
mod beats;
mod compare;
mod connection;
mod datagrams;
mod door;
mod events;
mod folder;
mod gate;
mod handover;
mod kept;
mod listener;
mod memory;
mod notify;
mod outcome;
mod pools;
mod reload;
mod report;
mod run;
mod said;
mod signal;
mod state;
mod watch;
mod worker;
mod writer;

pub use compare::{Drained, Leaving};
pub use events::{Event, Events};
pub use handover::{
    Giver, Giving, HandOver, HandOvers, Inherited, Legacy, ROLE, Role, SOCKET,
    bind as bind_hand_over,
};
pub use notify::Notify;
pub use reload::Reloader;
pub use report::{ReloadError, Report, bind_hint};
pub use run::{Layout, Options, Past, Running, StartError, start, start_from};
pub use said::{Covered, Refused, Said, What, Write};
pub use signal::{Ending, Signals, until_over, until_stopped};
pub use state::{AdminCells, LastReload, Stage, State};
pub use writer::Desk;

//! Metrics, health, status and the API over plain views. Runs on the control runtime; never waits
//! for the data plane and never makes it wait.

mod answer;
mod asked;
mod body;
mod collect;
mod compat;
mod config_view;
mod control;
mod crowd;
mod dashboard;
mod differs;
mod errors;
mod events;
mod explain;
mod guard;
mod heard;
mod keeper;
mod line;
mod places;
mod room;
mod routes;
mod serve;
mod strangers;
mod turn;
mod unshown;
mod view;
mod write;

pub use asked::check_question;
pub use keeper::{FILE, KEEPER, file, is_file, keeper};
pub use serve::{
    Access, SOCKET, Socket, answered, bind, bind_or, bind_private, bind_private_or, serve,
};
pub use write::check_ttl;

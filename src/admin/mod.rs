//! Metrics, health and status over plain views. Runs on the control runtime; never waits for the
//! data plane and never makes it wait.

mod answer;
mod collect;
mod serve;
mod view;

pub use serve::{Access, Socket, bind, serve};

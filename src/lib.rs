//! Evenkeel: a layer 4 and 7 load-balancing reverse proxy.
//!
//! # The house
//!
//! Every top-level module is a room on a floor. A file imports from its own room or from lower
//! floors: never from another room of its floor, never from above. A child file never imports its
//! own `mod.rs`; what children need sits in a leaf file and `mod.rs` only shows it. A test
//! (`tests/it/house.rs`) holds both rules.
//!
//! ```text
//! 9 door       main.rs, cli         arguments, exit codes
//! 8 admin      admin                metrics, health and status over plain views
//! 7 server     server               threads, sockets, reload, signals: the side effects
//! 6 plan       plan                 pure: document -> things (tests: simulation, a pool under load)
//! 5 services   tcp  udp  http       what happens to one connection
//! 4 reach      upstream  probe  discover  export
//! 3 way        mux  reach  arrival  pool
//! 2 stock      tls  http2
//! 1 wire       net  http1  metrics  drain  telemetry
//! 0 ground     config  message  websocket
//! ```
//!
//! # What is deliberately absent
//!
//! - `config` imports nothing of the house and knows no running thing.
//! - `pool` does no I/O and knows no protocol; time and seeds are arguments.
//! - `http1` and `http2` are codecs without I/O: bytes in, events out. `mux` has the sockets of
//!   HTTP/2: one task reads and writes a connection, its streams are in the hands of others.
//! - `plan` starts no task and opens no socket, so `check` does exactly what a reload does first.
//! - `http` knows neither listeners nor reload: it is given a way to the current gateway.
//! - Nobody below floor 7 names a runtime or a handle.
//! - Nobody but the door imports `admin`.
//! - There is no crate-wide error and no registry in a `static`: counters live in what they count.
//!
//! # Reading order
//!
//! `http/forward.rs` is the life of one request, `pool/mod.rs` the life of a backend, `plan.rs`
//! the way from a file to running things.
#![deny(clippy::self_named_module_files)]

pub mod config;
pub mod message;
pub mod websocket;

pub mod drain;
pub mod http1;
pub mod metrics;
pub mod net;
pub mod telemetry;

pub mod http2;
pub mod tls;

pub mod arrival;
pub mod mux;

pub mod reach;

pub mod pool;

pub mod discover;
pub mod export;
pub mod probe;
pub mod upstream;

pub mod entry;
pub mod http;
pub mod tcp;
pub mod udp;

pub mod plan;
#[cfg(test)]
mod simulation;

pub mod server;

pub mod admin;

pub mod cli;

//! End to end: real sockets on port 0, real backends, no sleeps as synchronisation.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod cli;
mod cut;
mod examples;
mod fuzz_seeds;
mod health;
mod hostile;
mod house;
mod http;
mod http_bodies;
mod http_faults;
mod http_uploads;
mod limits;
mod memory;
mod nginx;
mod nginx_files;
mod oracle;
mod readme;
mod reload;
mod routes;
mod support;
mod tcp;
mod upstream_http2;

pub(crate) use support::web as support_web;

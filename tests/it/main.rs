//! End to end: real sockets on port 0, real backends, no sleeps as synchronisation.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod cli;
mod cut;
mod ejection;
mod examples;
mod fuzz_seeds;
mod grpc;
mod grpc_moves;
mod health;
mod hostile;
mod house;
mod http;
mod http2;
mod http2_floods;
mod http2_wrong;
mod http_bodies;
mod http_faults;
mod http_uploads;
mod limits;
mod memory;
mod nginx;
mod nginx_files;
mod oracle;
mod passthrough;
mod proxy_protocol;
mod proxy_protocol_out;
mod queue;
mod rate_limit;
mod readme;
mod reload;
mod retries;
mod routes;
mod support;
mod tcp;
mod tls;
mod tls_agreed;
mod tls_backends;
mod tls_clients;
mod tls_files;
mod tls_hostile;
mod tls_staples;
mod udp;
mod udp_dns;
mod upstream_http2;
mod websocket;

pub(crate) use support::web as support_web;

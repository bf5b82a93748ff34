//! `GET /v1/errors`: the last failed and slow requests, with the time of each phase.
use super::answer::{Answer, json};
use crate::server::State;
use crate::telemetry::{Attempt, Kept, rfc3339};
use serde::Serialize;
use std::time::Duration;

#[derive(Debug, Serialize)]
struct Errors {
    errors: Vec<One>,
}

/// A request that is kept: the fields of its line in the access log, and more.
#[derive(Debug, Serialize)]
pub(super) struct One {
    id: String,
    at: String,
    kind: &'static str,
    time: String,
    client: Option<String>,
    method: String,
    target: String,
    host: String,
    status: u16,
    reason: &'static str,
    listener: String,
    pub(super) route: String,
    pub(super) pool: String,
    pub(super) backend: String,
    tries: u32,
    bytes_in: u64,
    bytes_out: u64,
    duration: f64,
    connect: Option<f64>,
    first_byte: Option<f64>,
    request_id: String,
    tls: &'static str,
    sni: String,
    phases: Phases,
    attempts: Vec<Try>,
}

/// Where its time went, in seconds; what is not known is null. Together they are its duration.
#[derive(Debug, Serialize)]
struct Phases {
    /// In the queue, with tries that came to nothing but the last, and for another one.
    wait: f64,
    /// Until its last try had a connection; null for a kept one.
    connect: Option<f64>,
    /// From there to the first byte of the answer, or for as long as it was waited for.
    backend: Option<f64>,
    /// From there to its end, of our own answer where no other came.
    transfer: f64,
}

#[derive(Debug, Serialize)]
struct Try {
    backend: String,
    at: f64,
    seconds: f64,
    result: String,
}

/// Microseconds are what is measured.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

fn phases(kept: &Kept) -> Phases {
    let mut left = kept.duration;
    let mut part = |time: Duration| {
        let time = time.min(left);
        left -= time;
        seconds(time)
    };
    let wait = part(kept.spent.waited);
    let connect = kept.spent.connect.map(&mut part);
    let backend = kept.spent.backend.map(&mut part);
    Phases { wait, connect, backend, transfer: seconds(left) }
}

pub(super) fn one(kept: &Kept) -> One {
    let attempt = |attempt: &Attempt| Try {
        backend: attempt.backend.to_string(),
        at: seconds(attempt.at),
        seconds: seconds(attempt.took),
        result: attempt.result.to_string(),
    };
    One {
        id: kept.request_id.to_string(),
        at: rfc3339(kept.time + kept.duration),
        kind: kept.kind.word(),
        time: rfc3339(kept.time),
        client: kept.client.map(|client| client.to_string()),
        method: kept.method.to_string(),
        target: kept.target.to_string(),
        host: kept.host.to_string(),
        status: kept.status,
        reason: kept.reason,
        listener: kept.listener.to_string(),
        route: kept.route.to_string(),
        pool: kept.pool.to_string(),
        backend: kept.backend.to_string(),
        tries: kept.tries,
        bytes_in: kept.bytes_in,
        bytes_out: kept.bytes_out,
        duration: seconds(kept.duration),
        connect: kept.connect.map(seconds),
        first_byte: kept.first_byte.map(seconds),
        request_id: kept.request_id.to_string(),
        tls: kept.tls,
        sni: kept.sni.to_string(),
        phases: phases(kept),
        attempts: kept.attempts.iter().map(attempt).collect(),
    }
}

/// All of them, the last first.
pub(super) fn errors(state: &State) -> Answer {
    let all = state.telemetry.errors.all();
    json(&Errors { errors: all.iter().map(|kept| one(kept)).collect() })
}

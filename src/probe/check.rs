//! One probe within its time: which check, where, and what a failure is called.
use super::{http, tcp};
use crate::config::{Check, Pool};
use crate::net::{Stream, Target, connect};
use crate::pool::Backend;
use std::time::Duration;

/// How long the connect probe of a pool without `health` may take.
const REACH: Duration = Duration::from_secs(1);

/// Sends one probe as the pool says: `health`, else a TCP connect.
pub(super) async fn run(config: &Pool, backend: &Backend) -> Result<(), String> {
    let limit = config.health.as_ref().map_or(REACH, |health| health.timeout);
    let asked = async {
        let mut target = backend.dial().ok_or("its name has no address")?;
        let Some(health) = &config.health else { return dial(&target).await.map(drop) };
        if let (Some(port), Target::Ip(addr)) = (health.port, &mut target) {
            addr.set_port(port);
        }
        let stream = dial(&target).await?;
        match &health.check {
            Check::Tcp { send, expect } => {
                tcp::check(stream, send.as_deref(), expect.as_deref()).await
            }
            Check::Http { path, host, status, body } => {
                let own = backend.addr().to_string();
                let asks = http::Asks {
                    path,
                    host: host.as_deref().unwrap_or(&own),
                    status,
                    body: body.as_deref(),
                };
                http::check(stream, &asks).await
            }
        }
    };
    tokio::time::timeout(limit, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

async fn dial(target: &Target) -> Result<Stream, String> {
    connect(target).await.map_err(|error| format!("connect: {error}"))
}
